package connic

import (
	"context"
	"io"
	"iter"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A document that is changed after it was passed on does not block those behind it.
func TestDocumentsThatAreUsedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
			_, _ = io.ReadAll(r.Body)
			return respond(200, `{"entry_id":"x"}`), nil
		}, WithEnvironment("e"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		docs := iter.Seq2[string, Document](func(yield func(string, Document) bool) {
			d := &TextUpload{Content: "x", EntryID: "one"}
			if !yield("a", d) {
				return
			}
			time.Sleep(100 * time.Millisecond) // it is sent by now
			d.EntryID = "two"                  // the same variable is used again
			if !yield("b", d) {
				return
			}
			time.Sleep(100 * time.Millisecond)
			yield("c", &TextUpload{Content: "z", EntryID: "one"})
		})
		n := 0
		for _, err := range c.Knowledge.UploadAll(ctx, docs, nil) {
			if n++; err != nil {
				t.Error(err)
			}
		}
		if n != 3 {
			t.Errorf("%d results", n)
		}
	})
}

// A document with a StableID is not unknown, also if the code that reads it
// panics: it is sent again by the next call.
func TestStableDocumentsAreNotUnknown(t *testing.T) {
	t.Parallel()
	c := newTestClient(t, func(*http.Request) (*http.Response, error) {
		return respond(200, `{"entry_id":"x"}`), nil
	}, WithEnvironment("e"))
	journal := FileJournal(filepath.Join(t.TempDir(), "journal"))
	upload := func(open func() (io.Reader, error)) (accepted int, err error) {
		docs := iter.Seq2[string, Document](func(yield func(string, Document) bool) {
			yield("a", FileUpload{File: FileSource{Name: "a.txt", Open: open}, StableID: true})
		})
		defer func() { _ = recover() }()
		for _, err = range c.Knowledge.UploadAll(t.Context(), docs, journal) {
			if err == nil {
				accepted++
			}
		}
		return accepted, err
	}
	if n, _ := upload(func() (io.Reader, error) { panic("never sent") }); n > 0 {
		t.Errorf("%d were accepted", n)
	}
	if n, err := upload(func() (io.Reader, error) { return strings.NewReader("text"), nil }); n != 1 || err != nil {
		t.Errorf("%d were accepted, %v", n, err)
	}
	if n, err := upload(nil); n != 0 || err != nil {
		t.Errorf("%d were accepted again, %v", n, err)
	}
}
