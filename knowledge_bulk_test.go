package connic_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// texts returns n documents whose content is their index. id returns their ids;
// nil means none.
func texts(n int, id func(int) string) iter.Seq2[string, connic.Document] {
	return func(yield func(string, connic.Document) bool) {
		for i := range n {
			u := connic.TextUpload{Content: fmt.Sprint("document ", i)}
			if id != nil {
				u.EntryID = id(i)
			}
			if !yield(fmt.Sprint("d", i), u) {
				return
			}
		}
	}
}

// keyed returns documents with keys.
func keyed(docs ...connic.Document) iter.Seq2[string, connic.Document] {
	return func(yield func(string, connic.Document) bool) {
		for i, d := range docs {
			if !yield(fmt.Sprint("d", i), d) {
				return
			}
		}
	}
}

func numbered(i int) string { return fmt.Sprint("e", i) }

// A tally is the result of an UploadAll.
type tally struct {
	done    []int         // in order
	failed  map[int]error // by index
	last    error         // the reason of an early end
	results int
}

// consume reads results until there are none left or more returns false.
func consume(t *testing.T, seq iter.Seq2[connic.BulkResult[connic.Ingestion], error], more func(*tally) bool) *tally {
	t.Helper()
	got := &tally{failed: make(map[int]error)}
	for r, err := range seq {
		if got.last != nil {
			t.Errorf("after the end came %+v, %v", r, err)
		}
		got.results++
		switch {
		case r.Index == -1 && r.Key == "":
			if got.last = err; err == nil {
				t.Error("an end without a reason")
			}
		case err != nil:
			got.failed[numberOf(t, r.Key)] = err
		default:
			if r.Value == nil || r.Value.EntryID == "" || r.Value.JobID == "" {
				t.Errorf("result %+v", r)
			}
			got.done = append(got.done, numberOf(t, r.Key))
		}
		if more != nil && !more(got) {
			break
		}
	}
	slices.Sort(got.done)
	return got
}

func numberOf(t *testing.T, key string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimPrefix(key, "d"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// TestUploadAllKeepsTheQuotaBusy uploads 180 documents: 60 at once and 60 more
// each minute, but never more than 8 at the same time.
func TestUploadAllKeepsTheQuotaBusy(t *testing.T) {
	t.Parallel()
	for _, concurrency := range []int{0, 1, 20} {
		var inFlight connic.BulkOption
		if concurrency > 0 {
			inFlight = connic.WithInFlight(concurrency)
		}
		busy := &flight{}
		synctest.Test(t, func(t *testing.T) {
			srv := connictest.New()
			srv.IngestionTime(0)
			client := srv.Client(connic.WithEnvironment("env-test"), withDelay(internet(newDice(1))), busy.option())
			start := time.Now()
			got := consume(t, client.Knowledge.UploadAll(t.Context(), texts(180, nil), nil, inFlight), nil)
			if !slices.Equal(got.done, upTo(180)) || len(got.failed) > 0 || got.last != nil {
				t.Errorf("done %d, failed %v, %v", len(got.done), got.failed, got.last)
			}
			ideal := 2 * time.Minute
			if took := time.Since(start); took < ideal || took > ideal+20*time.Second {
				t.Errorf("with a concurrency of %d it took %v, want not much more than %v", concurrency, took, ideal)
			}
			if refused := refusals(srv); refused > 0 {
				t.Errorf("%d were refused", refused)
			}
			if want := max(concurrency, 8*(1-min(concurrency, 1))); busy.most != want {
				t.Errorf("%d were under way at the same time, want %d", busy.most, want)
			}
		})
	}
}

// flight counts the requests in progress.
type flight struct {
	mu        sync.Mutex
	now, most int
}

func (f *flight) option() connic.Option {
	return connic.WithTransport(func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			f.add(1)
			defer f.add(-1)
			return next.RoundTrip(r)
		})
	})
}

func (f *flight) add(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now += n
	f.most = max(f.most, f.now)
}

// TestUploadAllWithFaults makes requests fail in every way. All documents with
// an id arrive. Of those without one, each is executed at most once, and
// unknown outcomes are reported.
func TestUploadAllWithFaults(t *testing.T) {
	t.Parallel()
	for _, f := range faults {
		for _, safe := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/%t", f.name, safe), func(t *testing.T) {
				t.Parallel()
				inBubble(t, func(t *testing.T, srv *connictest.Server, client *connic.Client) {
					srv.IngestionTime(0)
					fault := f.fault
					fault.Op = "knowledge.upload_text"
					for _, nth := range []int{2, 9, 25} {
						fault.Nth = nth
						srv.Fault(fault)
					}
					id := numbered
					if !safe {
						id = nil
					}
					journal := connic.FileJournal(filepath.Join(t.TempDir(), "journal"))
					upload := func(opts ...connic.BulkOption) *tally {
						return consume(t, client.Knowledge.UploadAll(t.Context(), texts(30, id), journal, opts...), nil)
					}
					got := upload()
					if got.last != nil || got.results != 30 {
						t.Errorf("it ended with %v after %d results", got.last, got.results)
					}
					wantFailed := 0
					if !safe && !f.refused {
						wantFailed = 3
					}
					if len(got.failed) != wantFailed {
						t.Errorf("%v failed, want %d", got.failed, wantFailed)
					}
					for i, err := range got.failed {
						if !errors.Is(err, connic.ErrOutcomeUnknown) {
							t.Errorf("document %d: %v", i, err)
						}
					}
					sent := len(srv.Requests())

					// Again: documents with an unknown outcome are not sent,
					// and are reported.
					again := upload()
					if len(again.done) != 0 || len(again.failed) != wantFailed || again.last != nil || len(srv.Requests()) != sent {
						t.Errorf("again: %+v", again)
					}
					for i, err := range again.failed {
						if !errors.Is(err, connic.ErrOutcomeUnknown) || got.failed[i] == nil {
							t.Errorf("again, document %d: %v", i, err)
						}
					}
					// Once they are settled, everything exists exactly once.
					last := upload(connic.WithSettle(func(_ context.Context, lost []connic.JournalRecord) (map[string]connic.Settlement, error) {
						settled := make(map[string]connic.Settlement)
						for _, r := range lost {
							if f.executed {
								settled[r.Key] = connic.Settlement{IDs: []string{"entry", "job"}}
							} else {
								settled[r.Key] = connic.Settlement{Resend: true}
							}
						}
						return settled, nil
					}))
					if len(last.failed) > 0 || last.last != nil || len(last.done) != wantFailed {
						t.Errorf("at last: %+v", last)
					}
					if end := upload(); end.results > 0 {
						t.Errorf("in the end: %+v", end)
					}
					assertEachOnce(t, client, 30)
				})
			})
		}
	}
}

// everything returns the content of all entries.
func everything(t *testing.T, client *connic.Client) []string {
	t.Helper()
	var all []string
	for e, err := range client.Knowledge.All(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		whole, err := client.Knowledge.Get(t.Context(), e.EntryID, nil)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, whole.Content)
	}
	return all
}

// assertEachOnce verifies that every document is an entry exactly once.
func assertEachOnce(t *testing.T, client *connic.Client, n int) {
	t.Helper()
	seen := make(map[string]int)
	for _, content := range everything(t, client) {
		seen[content]++
	}
	for i := range n {
		if times := seen[fmt.Sprint("document ", i)]; times != 1 {
			t.Errorf("document %d is there %d times", i, times)
		}
	}
	if len(seen) != n {
		t.Errorf("%d different documents are there, want %d", len(seen), n)
	}
}

// TestUploadAllOfWhatIsRefused mixes documents that cannot be sent with others.
func TestUploadAllOfWhatIsRefused(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, srv *connictest.Server, client *connic.Client) {
		docs := keyed(
			connic.TextUpload{Content: "text", EntryID: "a"},
			connic.TextUpload{},
			nil,
			connic.FileUpload{File: connic.ReaderAtFile("a.exe", strings.NewReader("x"), 1), EntryID: "b"},
			connic.FileUpload{File: connic.ReaderAtFile("a.txt", strings.NewReader("file"), 4), StableID: true},
			connic.TextUpload{Content: "text", EnvironmentID: "nowhere"},
		)
		var capture connic.Response
		got := consume(t, client.Knowledge.UploadAll(t.Context(), docs, nil, connic.WithBulkRequest(connic.CaptureResponse(&capture))), nil)
		var argument *connic.ArgumentError
		for _, i := range []int{1, 2, 3} {
			if !errors.As(got.failed[i], &argument) {
				t.Errorf("document %d: %v", i, got.failed[i])
			}
		}
		if !errors.Is(got.failed[5], connic.ErrNotFound) || !slices.Equal(got.done, []int{0, 4}) || got.last != nil {
			t.Errorf("%+v", got)
		}
		if n := len(srv.Requests()); n != 3 || capture.StatusCode != 0 {
			t.Errorf("%d requests, captured %+v", n, capture)
		}
	})
}

func TestUploadAllWaitsOut429s(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, srv *connictest.Server, client *connic.Client) {
		srv.IngestionTime(0)
		srv.Spend(50)
		got := consume(t, client.Knowledge.UploadAll(t.Context(), texts(100, nil), nil), nil)
		if !slices.Equal(got.done, upTo(100)) || refusals(srv) == 0 {
			t.Errorf("%d done, failed %v, after %d refusals", len(got.done), got.failed, refusals(srv))
		}
		if n := srv.Executions("knowledge.upload_text"); n != 100 {
			t.Errorf("%d were executed", n)
		}
	})
}

// TestUploadAllStops ends the context or the loop in the middle, and then
// resumes as another process would.
func TestUploadAllStops(t *testing.T) {
	t.Parallel()
	cause := errors.New("the operator has had enough")
	for name, test := range map[string]struct {
		id    func(int) string
		leave bool
	}{
		"context, with ids":    {id: numbered},
		"context, without ids": {},
		"loop, with ids":       {id: numbered, leave: true},
		"loop, without ids":    {leave: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, srv *connictest.Server, client *connic.Client) {
				srv.IngestionTime(0)
				srv.RateLimit(0, time.Minute, connictest.FixedWindow)
				// Some are cancelled before the service sees them, the others
				// after.
				d := newDice(3)
				late := srv.Client(connic.WithEnvironment("env-test"), connic.WithoutRateLimit(), withDelay(func(*http.Request) (there, back time.Duration) {
					return d.upTo(2 * time.Second), d.upTo(2 * time.Second)
				}))
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				pulled := 0
				ended := false
				docs := func(yield func(string, connic.Document) bool) {
					defer func() { ended = true }()
					for key, d := range texts(200, test.id) {
						pulled++
						if !yield(key, d) {
							return
						}
					}
				}
				journal := connic.FileJournal(filepath.Join(t.TempDir(), "journal"))
				start := time.Now()
				got := consume(t, late.Knowledge.UploadAll(ctx, docs, journal), func(y *tally) bool {
					if len(y.done) < 20 {
						return true
					}
					if test.leave {
						return false
					}
					cancel(cause)
					return true
				})
				if took := time.Since(start); took > 10*time.Second {
					t.Errorf("it took %v to stop", took)
				}
				if !ended || pulled > 20+8+1 {
					t.Errorf("%d documents were taken, and the sequence has ended: %t", pulled, ended)
				}
				if test.leave != (got.last == nil) || (!test.leave && (!errors.Is(got.last, context.Canceled) || !errors.Is(got.last, cause))) {
					t.Errorf("the reason is %v", got.last)
				}
				// Requests that were sent have time for their response.
				for i, err := range got.failed {
					if !errors.Is(err, context.Canceled) || errors.Is(err, connic.ErrOutcomeUnknown) {
						t.Errorf("document %d: %v", i, err)
					}
				}
				accepted := srv.Executions("knowledge.upload_text")
				rest := consume(t, client.Knowledge.UploadAll(t.Context(), texts(200, test.id), journal), nil)
				if len(rest.failed) > 0 || rest.last != nil || len(got.done)+len(rest.done) < 200 {
					t.Errorf("afterwards: %d done, failed %v, %v", len(rest.done), rest.failed, rest.last)
				}
				if n := srv.Executions("knowledge.upload_text"); n != 200 {
					t.Errorf("%d were executed, %d of them at first", n, accepted)
				}
				assertEachOnce(t, client, 200)
			})
		})
	}
}

// TestUploadAllEndsWhereOthersWouldFailToo tests the failures that end an
// upload.
func TestUploadAllEndsWhereOthersWouldFailToo(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		prepare func(*connictest.Server) *connic.Client
		is      error
		timeout time.Duration
	}{
		"unknown key": {func(srv *connictest.Server) *connic.Client {
			return srv.ClientWithKey("cnc_unknown_key", connic.WithEnvironment("env-test"))
		}, connic.ErrUnauthorized, time.Hour},
		"forbidden": {func(srv *connictest.Server) *connic.Client {
			return srv.ClientWithKey(srv.Key("knowledge:read"), connic.WithEnvironment("env-test"))
		}, connic.ErrForbidden, time.Hour},
		"read-only": {func(srv *connictest.Server) *connic.Client {
			return srv.Client(connic.WithReadOnly(), connic.WithEnvironment("env-test"))
		}, connic.ErrReadOnly, time.Hour},
		"closed": {func(srv *connictest.Server) *connic.Client {
			client := srv.Client(connic.WithEnvironment("env-test"))
			client.Close()
			return client
		}, connic.ErrClosed, time.Hour},
		"no time": {func(srv *connictest.Server) *connic.Client {
			return srv.Client(connic.WithEnvironment("env-test"), connic.WithRateLimit(5, time.Hour))
		}, connic.ErrRateLimited, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, srv *connictest.Server, _ *connic.Client) {
				client := test.prepare(srv)
				ctx, cancel := context.WithTimeout(t.Context(), test.timeout)
				defer cancel()
				start := time.Now()
				got := consume(t, client.Knowledge.UploadAll(ctx, texts(1000, nil), nil), nil)
				if !errors.Is(got.last, test.is) || got.results > 5+8+1 || time.Since(start) > time.Second {
					t.Errorf("%d results in %v, and the reason is %v", got.results, time.Since(start), got.last)
				}
				if !strings.HasPrefix(got.last.Error(), "connic: knowledge.upload_all: stopped before input ") {
					t.Errorf("the reason reads %q", got.last)
				}
			})
		})
	}
}

func TestUploadAllRefusesItsArguments(t *testing.T) {
	t.Parallel()
	client := connictest.New().Client(connic.WithEnvironment("env-test"))
	for name, seq := range map[string]iter.Seq2[connic.BulkResult[connic.Ingestion], error]{
		"context": client.Knowledge.UploadAll(nil, texts(1, nil), nil), //nolint:staticcheck // a nil context is what is tested
		"inputs":  client.Knowledge.UploadAll(t.Context(), nil, nil),
		"options": client.Knowledge.UploadAll(t.Context(), texts(1, nil), nil, connic.WithInFlight(0)),
	} {
		var argument *connic.ArgumentError
		if got := consume(t, seq, nil); got.results != 1 || !errors.As(got.last, &argument) || argument.Arg != name {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := consume(t, client.Knowledge.UploadAll(t.Context(), texts(0, nil), nil), nil); got.results != 0 {
		t.Errorf("no documents: %+v", got)
	}
}
