package source

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMethods(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := map[string]string{
		"runs.go": `package p

// Get returns a run.
//
//	API:    GET /projects/{project}/runs/{run}
//	Access: runs read
//	Status: documented
func (s *RunsService) Get() {}

// All iterates.
//
//	Status: assumed
//	Access: runs read
//	API:    GET /projects/{project}/runs
func (s *RunsService) All() {}

// Wait waits.
//	API:    GET /projects/{project}/runs/{run}
//	Access: runs read
//	Status: documented
func (s RunsService) Wait() {}

func (s *RunsService) Bare() {}

func (s *RunsService) hidden() {}

func (r *Run) Decode() {}

func Set() {}
`,
		"runs_test.go": "package p\n\nfunc (s *RunsService) Tested() {}\n",
		"notes.txt":    "no Go",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Methods(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []Method{
		{"Runs", "Get", "GET /projects/{project}/runs/{run}", "runs read", "documented"},
		{"Runs", "All", "", "runs read", ""}, // in another order
		{"Runs", "Wait", "", "", ""},         // not a paragraph of their own
		{"Runs", "Bare", "", "", ""},
	}
	if len(got) != len(want) {
		t.Fatalf("there are %d methods: %v", len(got), got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%+v, want %+v", got[i], want[i])
		}
	}
	if op := got[0].Operation(); op == nil || op.Name != "runs.get" || len(Of(got, op)) != 1 {
		t.Errorf("Get is the operation %v", op)
	}
	if op := got[3].Operation(); op != nil {
		t.Errorf("a method without lines is the operation %s", op.Name)
	}
	if _, err := Methods(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a directory that does not exist can be read")
	}
}
