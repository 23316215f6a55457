package connic_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
)

// Of several versions of an entry the last one remains, even if an earlier one
// is retried.
func TestVersionsOfAnEntryAreSentInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var stored []string // the contents in the order in which they were executed
		failed := false
		c := must[*connic.Client](t)(connic.New("p", "cnc_order_test", connic.WithEnvironment("e1"), connic.WithHTTPClient(&http.Client{
			Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
				var body struct {
					Content string `json:"content"`
					EntryID string `json:"entry_id"`
				}
				b, _ := io.ReadAll(r.Body)
				_ = json.Unmarshal(b, &body)
				if body.Content == "one" && !failed {
					failed = true
					return response(r, 503, "{}"), nil
				}
				if body.EntryID == "a" {
					stored = append(stored, body.Content)
				}
				return response(r, 200, `{"entry_id": "`+body.EntryID+`"}`), nil
			}),
		})))
		docs := keyed(

			connic.TextUpload{EntryID: "a", Content: "one"},
			connic.TextUpload{EntryID: "b", Content: "other"},
			connic.TextUpload{EntryID: "a", EnvironmentID: "e1", Content: "two"},
			connic.TextUpload{EntryID: "a", Namespace: "n", Content: "elsewhere"},
			connic.TextUpload{EntryID: "a", Content: "three"},
		)
		for r, err := range c.Knowledge.UploadAll(t.Context(), docs, nil) {
			if err != nil {
				t.Errorf("document %d: %v", r.Index, err)
			}
		}
		stored = slices.DeleteFunc(stored, func(s string) bool { return s == "elsewhere" })
		if got := strings.Join(stored, " "); got != "one two three" {
			t.Errorf("stored are %s", got)
		}
	})
}

// stuckFile is a file that is slow for ever, or says nothing for ever.
type stuckFile struct{ empty bool }

func (h stuckFile) Read([]byte) (int, error) {
	if h.empty {
		return 0, nil
	}
	select {}
}

// A call ends with its context although a file of it hangs.
func TestFilesThatHang(t *testing.T) {
	t.Parallel()
	c := must[*connic.Client](t)(connic.New("p", "cnc_hang_test", connic.WithEnvironment("e1"), connic.WithHTTPClient(&http.Client{
		Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
			t.Error("a request was sent")
			return response(r, 500, "{}"), nil
		}),
	})))
	open := func(r io.Reader) func() (io.Reader, error) { return func() (io.Reader, error) { return r, nil } }
	never := func() (io.Reader, error) { select {} }
	for name, call := range map[string]func(context.Context) error{
		"StableID": func(ctx context.Context) error {
			_, err := c.Knowledge.UploadFile(ctx, connic.FileUpload{StableID: true, File: connic.FileSource{Name: "a.txt", Open: open(stuckFile{})}})
			return err
		},
		"open": func(ctx context.Context) error {
			_, err := c.Knowledge.UploadFile(ctx, connic.FileUpload{File: connic.FileSource{Name: "a.txt", Open: never}})
			return err
		},
		"archive": func(ctx context.Context) error {
			_, err := c.Deployments.Upload(ctx, connic.FileSource{Name: "a.tar.gz", Open: open(stuckFile{})}, nil)
			return err
		},
		"archive of a session": func(ctx context.Context) error {
			_, err := c.DevSessions.Upload(ctx, "s1", connic.FileSource{Name: "a.tar.gz", Open: never})
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, connic.ErrOutcomeUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Without a deadline, a file that says nothing is an error.
	_, err := c.Knowledge.UploadFile(t.Context(), connic.FileUpload{StableID: true, File: connic.FileSource{Name: "a.txt", Open: open(stuckFile{empty: true})}})
	if !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("StableID of nothing: %v", err)
	}
}
