package connic

import (
	"context"
	"io"
	"iter"
	"net/http"
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
		docs := iter.Seq[Document](func(yield func(Document) bool) {
			d := &TextUpload{Content: "x", EntryID: "one"}
			if !yield(d) {
				return
			}
			time.Sleep(100 * time.Millisecond) // it is sent by now
			d.EntryID = "two"                  // the same variable is used again
			if !yield(d) {
				return
			}
			time.Sleep(100 * time.Millisecond)
			yield(&TextUpload{Content: "z", EntryID: "one"})
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

// Unknown lists no document with a StableID, also if the code that reads it panics.
func TestStableDocumentsAreNotUnknown(t *testing.T) {
	t.Parallel()
	sent := 0
	c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
		sent++
		return respond(200, `{"entry_id":"x"}`), nil
	}, WithEnvironment("e"))
	var p UploadProgress
	docs := iter.Seq[Document](func(yield func(Document) bool) {
		yield(FileUpload{File: FileSource{Name: "a.txt", Open: func() (io.Reader, error) { panic("never sent") }}, StableID: true})
	})
	func() {
		defer func() { _ = recover() }()
		for range c.Knowledge.UploadAll(t.Context(), docs, &UploadAllParams{Progress: &p}) {
		}
	}()
	if u := p.Unknown(); len(u) > 0 {
		t.Errorf("unknown %v after %d requests", u, sent)
	}
}
