package connector_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
)

type bulkTest struct {
	srv     *connictest.Server
	hook    *connictest.Connector
	conn    *connector.Connector
	client  *connic.Client
	journal connic.Journal

	mu    sync.Mutex
	calls map[string]int // executions by message, without the marker
}

func inBulkBubble(t *testing.T, inbound bool, f func(t *testing.T, b *bulkTest)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal")
	synctest.Test(t, func(t *testing.T) {
		b := &bulkTest{srv: connictest.New(), journal: connic.FileJournal(path), calls: make(map[string]int)}
		agents := []string{"one"}
		if inbound {
			agents = append(agents, "two")
		}
		for _, name := range agents {
			b.srv.Agent(name, func(ctx context.Context, in connictest.Input) (any, error) {
				message := in.Message[strings.LastIndexByte(in.Message, '\n')+1:]
				b.mu.Lock()
				b.calls[message]++
				b.mu.Unlock()
				select {
				case <-time.After(3 * time.Second):
				case <-ctx.Done():
					return nil, ctx.Err()
				}
				in.Cost("0.01", connic.EUR)
				return name + ": " + message, nil
			})
		}
		b.hook = b.srv.Connector(agents...)
		if inbound {
			b.hook.Inbound()
		}
		b.conn = b.hook.Client()
		b.client = b.srv.Client(connic.WithTimeout(10 * time.Second))
		f(t, b)
		_ = b.client.Close()
		b.srv.Close()
	})
}

func (b *bulkTest) executed(t *testing.T, inputs, each int) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for message, n := range b.calls {
		if n != each {
			t.Errorf("%q was executed %d times, want %d", message, n, each)
		}
	}
	if len(b.calls) != inputs {
		t.Errorf("%d inputs were executed, want %d", len(b.calls), inputs)
	}
}

func messages(n int) iter.Seq2[string, connector.Input] {
	return func(yield func(string, connector.Input) bool) {
		for i := range n {
			if !yield(fmt.Sprint("k", i), connector.Input{Message: fmt.Sprint("m", i)}) {
				return
			}
		}
	}
}

// results are what a bulk call yielded.
type results[T any] struct {
	done   map[string]*T
	failed map[string]error
	last   error
}

func read[T any](t *testing.T, seq iter.Seq2[connic.BulkResult[T], error], most int) results[T] {
	t.Helper()
	got := results[T]{done: make(map[string]*T), failed: make(map[string]error)}
	n := 0
	for r, err := range seq {
		switch {
		case r.Key == "":
			got.last = err
		case err != nil:
			got.failed[r.Key] = err
		default:
			got.done[r.Key] = r.Value
		}
		if n++; n == most {
			break
		}
	}
	return got
}

func TestCallAll(t *testing.T) {
	t.Parallel()
	inBulkBubble(t, false, func(t *testing.T, b *bulkTest) {
		start := time.Now()
		got := read(t, b.conn.CallAll(t.Context(), messages(600), b.journal), -1)
		if len(got.done) != 600 || got.last != nil || got.done["k7"].Output != "one: m7" {
			t.Errorf("%d done, failed %v, %v", len(got.done), got.failed, got.last)
		}
		if took := time.Since(start); took > 10*time.Second { // 256 at a time, 3 s each
			t.Errorf("it took %v", took)
		}
		if again := read(t, b.conn.CallAll(t.Context(), messages(600), b.journal), -1); len(again.done)+len(again.failed) > 0 || again.last != nil {
			t.Errorf("again: %+v", again)
		}
		b.executed(t, 600, 1)
		// The journal is that of this connector and operation.
		if other := read(t, b.conn.SendAll(t.Context(), messages(1), b.journal), -1); other.last == nil || !strings.Contains(other.last.Error(), "call_all") {
			t.Errorf("another operation: %+v", other)
		}
	})
}

// What was in flight when the calls were interrupted is found through the API, and
// called once.
func TestCallAllResumes(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{time.Millisecond, time.Second, 4 * time.Second} {
		inBulkBubble(t, false, func(t *testing.T, b *bulkTest) {
			b.srv.Agent("one", func(ctx context.Context, in connictest.Input) (any, error) {
				message := in.Message[strings.LastIndexByte(in.Message, '\n')+1:]
				b.mu.Lock()
				b.calls[message]++
				b.mu.Unlock()
				select {
				case <-time.After(time.Minute):
				case <-ctx.Done():
				}
				return message, nil
			})
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(after, cancel)
			start := time.Now()
			first := read(t, b.conn.CallAll(ctx, messages(40), b.journal), -1)
			if took := time.Since(start); took > 15*time.Second || len(first.done) > 0 {
				t.Errorf("it took %v to stop: %+v", took, first)
			}
			blind := read(t, b.conn.CallAll(t.Context(), messages(40), b.journal), -1)
			for key, err := range blind.failed {
				if !errors.Is(err, connic.ErrOutcomeUnknown) {
					t.Errorf("%s: %v", key, err)
				}
			}
			if len(blind.failed) != 40 || len(blind.done) != 0 {
				t.Errorf("without a client: %d done, failed %v", len(blind.done), blind.failed)
			}
			rest := read(t, b.conn.CallAll(t.Context(), messages(40), b.journal, connic.WithCollector(b.client)), -1)
			if len(rest.done) != 40 || rest.last != nil {
				t.Errorf("%d done, failed %v, %v", len(rest.done), rest.failed, rest.last)
			}
			for key, r := range rest.done {
				if r.Output != "m"+key[1:] || r.Status != connic.RunCompleted {
					t.Errorf("%s: %+v", key, r)
				}
			}
			b.executed(t, 40, 1)
		})
	}
}

// Responses that are lost, and refusals, cost nothing twice.
func TestCallAllWithFaults(t *testing.T) {
	t.Parallel()
	inBulkBubble(t, false, func(t *testing.T, b *bulkTest) {
		b.srv.Fault(connictest.Fault{Op: "connectors.sync", Nth: 3, After: true, Drop: true})
		b.srv.Fault(connictest.Fault{Op: "connectors.sync", Nth: 5, Status: 429, RetryAfter: "2", Times: 4})
		b.srv.Fault(connictest.Fault{Op: "connectors.sync", Nth: 20, After: true, Status: 502})
		got := read(t, b.conn.CallAll(t.Context(), messages(50), b.journal, connic.WithCollector(b.client)), -1)
		if len(got.done) != 50 || got.last != nil {
			t.Errorf("%d done, failed %v, %v", len(got.done), got.failed, got.last)
		}
		b.executed(t, 50, 1)
	})
}

func TestSendAll(t *testing.T) {
	t.Parallel()
	for _, collect := range []bool{true, false} {
		inBulkBubble(t, true, func(t *testing.T, b *bulkTest) {
			var opts []connic.BulkOption
			if collect {
				opts = append(opts, connic.WithCollector(b.client))
			}
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Millisecond, cancel)
			first := read(t, b.conn.SendAll(ctx, messages(100), b.journal, opts...), -1)
			got := read(t, b.conn.SendAll(t.Context(), messages(100), b.journal, opts...), -1)
			if len(first.done)+len(got.done) < 100 || got.last != nil || len(got.failed) > 0 {
				t.Errorf("%d and %d done, failed %v, %v", len(first.done), len(got.done), got.failed, got.last)
			}
			for key, sent := range got.done {
				want := 0
				if collect {
					want = 2
				}
				if len(sent.RunIDs) != 2 || len(sent.Runs) != want || collect && sent.Runs[0].ID != sent.RunIDs[0] {
					t.Errorf("%s: %+v", key, sent)
				}
			}
			<-time.After(time.Minute)
			b.executed(t, 100, 2)
		})
	}
}

// A loop that is left yields its last result again.
func TestSendAllIsLeft(t *testing.T) {
	t.Parallel()
	inBulkBubble(t, true, func(t *testing.T, b *bulkTest) {
		first := read(t, b.conn.SendAll(t.Context(), messages(100), b.journal), 10)
		rest := read(t, b.conn.SendAll(t.Context(), messages(100), b.journal), -1)
		if len(first.done) != 10 || len(rest.done) != 91 || rest.last != nil {
			t.Errorf("%d and %d done, %v, %v", len(first.done), len(rest.done), rest.failed, rest.last)
		}
		<-time.After(time.Minute)
		b.executed(t, 100, 2)
	})
}

// Where all would fail, not all are tried.
func TestBulkCallsThatAreRefused(t *testing.T) {
	t.Parallel()
	inBulkBubble(t, true, func(t *testing.T, b *bulkTest) {
		var mode *connector.ModeError
		if got := read(t, b.conn.CallAll(t.Context(), messages(1000), nil), -1); !errors.As(got.last, &mode) || len(got.failed) > 300 {
			t.Errorf("the other mode: %d failed, %v", len(got.failed), got.last)
		}
		other, err := connector.New(b.hook.URL(), "another secret", connector.WithHTTPClient(&http.Client{Transport: b.srv.Transport()}))
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, other.SendAll(t.Context(), messages(1000), b.journal), -1); !errors.Is(got.last, connic.ErrUnauthorized) || len(got.failed) > 100 {
			t.Errorf("another secret: %d failed, %v", len(got.failed), got.last)
		}
		var none *connector.Connector
		var argument *connic.ArgumentError
		if got := read(t, none.CallAll(t.Context(), messages(1), nil), -1); !errors.As(got.last, &argument) {
			t.Errorf("no connector: %+v", got)
		}
	})
}

// A run that cannot be looked up ends its own input, and no other.
func TestCallAllWithRunsThatCannotBeCollected(t *testing.T) {
	t.Parallel()
	inBulkBubble(t, false, func(t *testing.T, b *bulkTest) {
		b.srv.Fault(connictest.Fault{Op: "connectors.sync", Nth: 3, Drop: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		settle := connic.WithSettle(func(_ context.Context, unknown []connic.JournalRecord) (map[string]connic.Settlement, error) {
			return map[string]connic.Settlement{unknown[0].Key: {IDs: []string{"../r"}}}, nil
		})
		got := read(t, b.conn.CallAll(ctx, messages(5), b.journal, connic.WithCollector(b.client), settle), -1)
		if len(got.done) != 4 || len(got.failed) != 1 || got.last != nil || ctx.Err() != nil {
			t.Errorf("%d done, failed %v, %v", len(got.done), got.failed, got.last)
		}
	})
}

// A run that carries the marker of two inputs is that of neither, as far as anybody
// can say, and neither is sent again.
func TestCallAllWithOneMarkerForAll(t *testing.T) {
	t.Parallel()
	inBulkBubble(t, false, func(t *testing.T, b *bulkTest) {
		b.srv.Fault(connictest.Fault{Op: "connectors.sync", After: true, Drop: true, Times: 2})
		inputs := func(yield func(string, connector.Input) bool) {
			_ = yield("a", connector.Input{Message: "[marker-1]\na"}) && yield("b", connector.Input{Message: "[marker-1]\nb"})
		}
		marker := connic.WithMarker(func(string) string { return "marker-1" })
		read(t, b.conn.CallAll(t.Context(), inputs, b.journal, marker), -1)
		got := read(t, b.conn.CallAll(t.Context(), inputs, b.journal, connic.WithCollector(b.client), connic.ResendUnknown()), -1)
		for key, err := range got.failed {
			if !errors.Is(err, connic.ErrOutcomeUnknown) {
				t.Errorf("%s: %v", key, err)
			}
		}
		if len(got.failed) != 2 || got.last != nil {
			t.Errorf("done %v, failed %v, %v", got.done, got.failed, got.last)
		}
		b.executed(t, 2, 1)
	})
}

// An input of which one run is gone is not done before the others have ended.
func TestSendAllWithARunThatIsGone(t *testing.T) {
	t.Parallel()
	inBulkBubble(t, true, func(t *testing.T, b *bulkTest) {
		b.srv.Agent("two", func(ctx context.Context, _ connictest.Input) (any, error) {
			select {
			case <-time.After(time.Hour):
			case <-ctx.Done():
			}
			return "late", nil
		})
		client := b.srv.Client(connic.WithTransport(func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				if !strings.Contains(r.URL.Path, "/runs") || strings.HasSuffix(r.URL.Path, "/run-00000002") {
					return next.RoundTrip(r)
				}
				gone := httptest.NewRecorder()
				gone.WriteHeader(http.StatusNotFound)
				return gone.Result(), nil
			})
		}))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		first := read(t, b.conn.SendAll(ctx, messages(1), b.journal, connic.WithCollector(client)), -1)
		_ = client.Close()
		rest := read(t, b.conn.SendAll(t.Context(), messages(1), b.journal, connic.WithCollector(b.client)), -1)
		if len(first.failed) != 1 || len(rest.done) != 1 {
			t.Errorf("%v, and then %d done, failed %v, %v", first.failed, len(rest.done), rest.failed, rest.last)
		}
	})
}

// A client that New did not make is refused before anything is sent.
func TestCollectorThatWasNotMadeByNew(t *testing.T) {
	t.Parallel()
	inBulkBubble(t, false, func(t *testing.T, b *bulkTest) {
		var argument *connic.ArgumentError
		got := read(t, b.conn.CallAll(t.Context(), messages(1), b.journal, connic.WithCollector(new(connic.Client))), -1)
		if !errors.As(got.last, &argument) || argument.Arg != "options" || len(got.done)+len(got.failed) > 0 {
			t.Errorf("%+v", got)
		}
		b.executed(t, 0, 0)
	})
}
