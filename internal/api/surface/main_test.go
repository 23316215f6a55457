package main

import (
	"bytes"
	"os"
	"testing"
)

// TestSurfaceIsWrittenDown fails when what users compile against has changed and
// nobody has said so: go generate writes the file.
func TestSurfaceIsWrittenDown(t *testing.T) {
	t.Parallel()
	got, err := Surface("../../..")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../../../testdata/api.golden")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("testdata/api.golden is not what the packages export; run go generate, and see CONTRIBUTING.md")
	}
}
