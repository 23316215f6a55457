package connic_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// uploads holds the two ways to upload, with and without something that makes
// them repeatable.
var uploads = map[string]struct {
	op   string
	safe bool
	call func(context.Context, *connic.KnowledgeService) (*connic.Ingestion, error)
}{
	"text": {"knowledge.upload_text", false, func(ctx context.Context, k *connic.KnowledgeService) (*connic.Ingestion, error) {
		return k.UploadText(ctx, connic.TextUpload{Content: "text"})
	}},
	"text with id": {"knowledge.upload_text", true, func(ctx context.Context, k *connic.KnowledgeService) (*connic.Ingestion, error) {
		return k.UploadText(ctx, connic.TextUpload{Content: "text", EntryID: "e"})
	}},
	"text with stable id": {"knowledge.upload_text", true, func(ctx context.Context, k *connic.KnowledgeService) (*connic.Ingestion, error) {
		return k.UploadText(ctx, connic.TextUpload{Content: "text", StableID: true})
	}},
	"file": {"knowledge.upload_file", false, func(ctx context.Context, k *connic.KnowledgeService) (*connic.Ingestion, error) {
		return k.UploadFile(ctx, connic.FileUpload{File: connic.ReaderAtFile("a.txt", strings.NewReader("text"), 4)})
	}},
	"file with id": {"knowledge.upload_file", true, func(ctx context.Context, k *connic.KnowledgeService) (*connic.Ingestion, error) {
		return k.UploadFile(ctx, connic.FileUpload{File: connic.ReaderAtFile("a.txt", strings.NewReader("text"), 4), EntryID: "e"})
	}},
	"file with stable id": {"knowledge.upload_file", true, func(ctx context.Context, k *connic.KnowledgeService) (*connic.Ingestion, error) {
		return k.UploadFile(ctx, connic.FileUpload{File: connic.ReaderAtFile("a.txt", strings.NewReader("text"), 4), StableID: true})
	}},
}

func TestUploadsUnderFaults(t *testing.T) {
	t.Parallel()
	for name, up := range uploads {
		for _, f := range faults {
			for _, times := range []int{1, 2, -1} {
				t.Run(fmt.Sprintf("%s/%s/%d", name, f.name, times), func(t *testing.T) {
					t.Parallel()
					inBubble(t, func(t *testing.T, srv *connictest.Server, client *connic.Client) {
						srv.IngestionTime(0)
						fault := f.fault
						fault.Op, fault.Times = up.op, times
						srv.Fault(fault)
						_, err := up.call(t.Context(), client.Knowledge)
						executed := srv.Executions(up.op)
						unknown := errors.Is(err, connic.ErrOutcomeUnknown)
						switch {
						case f.refused && times > 0:
							if err != nil || executed != 1 {
								t.Errorf("it was executed %d times and ended with %v, want 1 and success", executed, err)
							}
						case f.refused:
							if !errors.Is(err, connic.ErrRateLimited) || unknown || executed != 0 {
								t.Errorf("it was executed %d times and ended with %v, want 0 and ErrRateLimited", executed, err)
							}
						case up.safe && times > 0:
							want := 1
							if f.executed {
								want += times
							}
							if err != nil || executed != want {
								t.Errorf("it was executed %d times and ended with %v, want %d and success", executed, err, want)
							}
							if n := entryCount(t, client); n != 1 {
								t.Errorf("there are %d entries, want 1", n)
							}
						case up.safe:
							if err == nil || unknown || executed > 4 {
								t.Errorf("it was executed %d times and ended with %v, want an error that leaves nothing open", executed, err)
							}
						default:
							want := 0
							if f.executed {
								want = 1
							}
							if !unknown || executed != want || len(srv.Requests()) != 1 {
								t.Errorf("it was executed %d times by %d requests and ended with %v, want %d by 1 and ErrOutcomeUnknown",
									executed, len(srv.Requests()), err, want)
							}
						}
					})
				})
			}
		}
	}
}

// count returns the number of entries.
func entryCount(t *testing.T, client *connic.Client) int {
	t.Helper()
	entries, err := connic.Collect(client.Knowledge.All(t.Context(), nil), 0)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestUploadAnswerCutAnywhere truncates the response at every byte. It is never
// a success, and an id returned with the error is correct.
func TestUploadAnswerCutAnywhere(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, srv *connictest.Server, _ *connic.Client) {
		srv.RateLimit(0, 1, connictest.FixedWindow)
		client := srv.Client(connic.WithEnvironment("env-test"), connic.WithoutRateLimit())
		var whole connic.Response
		first, err := client.Knowledge.UploadText(t.Context(), connic.TextUpload{Content: "text"}, connic.CaptureResponse(&whole))
		if err != nil {
			t.Fatal(err)
		}
		salvaged := 0
		for at := range len(whole.Body) {
			srv.Fault(connictest.Fault{Op: "knowledge.upload_text", Truncate: at - 1/(at+1)}) // 0 is written -1
			i, err := client.Knowledge.UploadText(t.Context(), connic.TextUpload{Content: "text"})
			if !errors.Is(err, connic.ErrOutcomeUnknown) {
				t.Errorf("cut after %d bytes: %v", at, err)
			}
			if i == nil {
				continue
			}
			salvaged++
			if len(i.EntryID) != len(first.EntryID) || (i.JobID != "" && len(i.JobID) != len(first.JobID)) {
				t.Errorf("cut after %d bytes, the ids are %+v", at, i)
			}
		}
		if salvaged < 30 || salvaged == len(whole.Body) {
			t.Errorf("of %d answers %d had an id", len(whole.Body), salvaged)
		}
	})
}

// TestUploadAnswerCutInANumber verifies that a truncated number is not taken
// for an id.
func TestUploadAnswerCutInANumber(t *testing.T) {
	t.Parallel()
	client, err := connic.New("p", "cnc_0123456789", connic.WithEnvironment("e"), connic.WithHTTPClient(&http.Client{
		Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			body := io.MultiReader(strings.NewReader(`{"job": {"id": 7}, "entry_id": 12`), failing{io.ErrUnexpectedEOF})
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(body), Request: r}, nil
		}),
	}))
	if err != nil {
		t.Fatal(err)
	}
	i, err := client.Knowledge.UploadText(t.Context(), connic.TextUpload{Content: "text"})
	if !errors.Is(err, connic.ErrOutcomeUnknown) || i == nil || i.JobID != "7" || i.EntryID != "" {
		t.Errorf("it ended with %+v, %v", i, err)
	}
}

func TestStableIDs(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, srv *connictest.Server, client *connic.Client) {
		srv.IngestionTime(0)
		file := func(name, content, namespace string) string {
			t.Helper()
			i, err := client.Knowledge.UploadFile(t.Context(), connic.FileUpload{
				File: connic.ReaderAtFile(name, strings.NewReader(content), int64(len(content))), Namespace: namespace, StableID: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			return i.EntryID
		}
		text := func(content, namespace string, metadata map[string]any) string {
			t.Helper()
			return upload(t, client, connic.TextUpload{Content: content, Namespace: namespace, Metadata: metadata, StableID: true}).EntryID
		}
		seen := make(map[string]string)
		for name, id := range map[string]string{
			"text": text("abc", "n", nil), "another text": text("abd", "n", nil), "another namespace": text("abc", "m", nil), "shifted": text("nabc", "", nil),
			"file": file("a.txt", "abc", "n"), "another name": file("b.txt", "abc", "n"), "another content": file("a.txt", "abd", "n"),
			"file elsewhere": file("a.txt", "abc", "m"),
		} {
			if len(id) != 64 {
				t.Errorf("%s has the id %q", name, id)
			}
			if other, twice := seen[id]; twice {
				t.Errorf("%s and %s have the same id", name, other)
			}
			seen[id] = name
		}
		if n := entryCount(t, client); n != 8 {
			t.Errorf("there are %d entries, want 8", n)
		}
		// Equal uploads replace each other, and bring their metadata.
		id := text("abc", "n", map[string]any{"v": 2})
		if file("a.txt", "abc", "n"); seen[id] != "text" || entryCount(t, client) != 8 {
			t.Errorf("repeated, there are %d entries", entryCount(t, client))
		}
		if e, err := client.Knowledge.Get(t.Context(), id, nil); err != nil || string(e.Metadata) != `{"v":2}` {
			t.Errorf("the entry is %+v, %v", e, err)
		}
	})
}
