package main

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

func TestKnowledge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		client := srv.Client(connic.WithEnvironment("env-production"))
		var out bytes.Buffer
		for range 2 { // the second time replaces the entries
			if err := upload(t.Context(), client, os.DirFS("handbook"), &out); err != nil {
				t.Fatal(err)
			}
		}
		if err := search(t.Context(), client, "When are refunds paid?", &out); err != nil {
			t.Fatal(err)
		}
		if want := "2 of 2 texts uploaded\n2 of 2 texts uploaded\nrefunds.md: Refunds are paid within 14 days.\n"; out.String() != want {
			t.Errorf("%s", &out)
		}
		if n := len(srv.State().Entries); n != 2 {
			t.Errorf("%d entries", n)
		}
	})
}

func TestKnowledgeThatFailsInParts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		srv.FailIngestion(func(e connictest.IngestedEntry) error {
			if e.EntryID == "de~bad.md" {
				return errors.New("no text")
			}
			return nil
		})
		folder := fstest.MapFS{"good.md": {Data: []byte("good")}, "de/bad.md": {Data: []byte("bad")}, "blank.md": {}, "image.png": {}}
		var out bytes.Buffer
		err := upload(t.Context(), srv.Client(connic.WithEnvironment("env-production")), folder, &out)
		var failed *connic.JobError
		if !errors.As(err, &failed) || !strings.Contains(err.Error(), "blank.md: ") || out.String() != "1 of 3 texts uploaded\n" {
			t.Errorf("%q, %v", &out, err)
		}
	})
}

func TestKnowledgeOfAFolderThatIsNotThere(t *testing.T) {
	t.Parallel()
	srv := connictest.New(t)
	err := upload(t.Context(), srv.Client(), os.DirFS("no-such-folder"), new(bytes.Buffer))
	if !errors.Is(err, os.ErrNotExist) || len(srv.Requests()) > 0 {
		t.Error(err)
	}
}
