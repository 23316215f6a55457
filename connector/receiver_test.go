package connector_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic/connector"
)

// post hands a signed delivery to a handler, changed.
func post(h http.Handler, body []byte, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/hooks/connic", bytes.NewReader(body))
	maps.Copy(r.Header, connector.Sign(body, time.Now(), signing))
	r.Header.Set("Content-Type", "application/json")
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestS11RefusedDeliveries: the same answer for each, and the handler is not called.
func TestS11RefusedDeliveries(t *testing.T) {
	t.Parallel()
	called := 0
	handle := func(context.Context, connector.Delivery) error { called++; return nil }
	large := append(bytes.Repeat([]byte(" "), 4<<20), "{}"...)
	for name, change := range map[string]func(*http.Request){
		"no signature":    func(r *http.Request) { r.Header.Del(connector.SignatureHeader) },
		"wrong signature": func(r *http.Request) { r.Header.Set(connector.SignatureHeader, strings.Repeat("a", 64)) },
		"upper case": func(r *http.Request) {
			r.Header.Set(connector.SignatureHeader, strings.ToUpper(r.Header.Get(connector.SignatureHeader)))
		},
		"two signatures": func(r *http.Request) {
			r.Header.Add(connector.SignatureHeader, r.Header.Get(connector.SignatureHeader))
		},
		"no timestamp": func(r *http.Request) { r.Header.Del(connector.TimestampHeader) },
		"another body": func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(strings.Replace(string(delivery), "done", "dome", 1)))
		},
		"old":   resign(delivery, -301*time.Second),
		"ahead": resign(delivery, 302*time.Second),
		"large": func(r *http.Request) {
			resign(large, 0)(r)
			r.Body = io.NopCloser(bytes.NewReader(large))
			r.ContentLength = int64(len(large))
		},
		"large, undeclared": func(r *http.Request) {
			resign(large, 0)(r)
			r.Body = io.NopCloser(bytes.NewReader(large))
			r.ContentLength = -1
		},
		"a form":             func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") },
		"text":               func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") },
		"a broken type":      func(r *http.Request) { r.Header.Set("Content-Type", "application/json; =") },
		"a body that breaks": func(r *http.Request) { r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(delivery[:9]), broken{})) },
		"the secret of others": func(r *http.Request) {
			maps.Copy(r.Header, connector.Sign(delivery, time.Now(), "another"))
		},
	} {
		var told []error
		v := &connector.Receiver{Handle: handle, Secrets: []connector.Secret{signing}, OnError: func(_ *http.Request, err error) { told = append(told, err) }}
		w := post(v, delivery, change)
		if w.Code != http.StatusUnauthorized || w.Body.String() != "refused\n" || len(w.Result().Header) != 2 {
			t.Errorf("%s: %d %q %v", name, w.Code, w.Body, w.Result().Header)
		}
		if len(told) != 1 || strings.Contains(told[0].Error(), string(signing)) {
			t.Errorf("%s: %v", name, told)
		}
	}
	if called != 0 {
		t.Errorf("the handler was called %d times", called)
	}
}

func resign(body []byte, offset time.Duration) func(*http.Request) {
	return func(r *http.Request) {
		maps.Copy(r.Header, connector.Sign(body, time.Now().Add(offset), signing))
	}
}

func TestAnswersOfAReceiver(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body   string
		change func(*http.Request)
		handle func(context.Context, connector.Delivery) error
		want   int
	}{
		"handled":        {string(delivery), nil, func(context.Context, connector.Delivery) error { return nil }, 204},
		"no type":        {string(delivery), func(r *http.Request) { r.Header.Del("Content-Type") }, func(context.Context, connector.Delivery) error { return nil }, 204},
		"charset":        {string(delivery), func(r *http.Request) { r.Header.Set("Content-Type", "application/json; charset=utf-8") }, func(context.Context, connector.Delivery) error { return nil }, 204},
		"cloud event":    {string(delivery), func(r *http.Request) { r.Header.Set("Content-Type", "application/cloudevents+json") }, func(context.Context, connector.Delivery) error { return nil }, 204},
		"a list":         {"[1]", nil, func(context.Context, connector.Delivery) error { return nil }, 204},
		"no JSON":        {"{", nil, nil, 400},
		"an error":       {string(delivery), nil, func(context.Context, connector.Delivery) error { return errors.New("disk full: " + string(signing)) }, 500},
		"permanent":      {string(delivery), nil, func(context.Context, connector.Delivery) error { return connector.Permanent(errors.New("unknown run")) }, 422},
		"a panic":        {string(delivery), nil, func(context.Context, connector.Delivery) error { panic("a bug") }, 500},
		"GET":            {string(delivery), func(r *http.Request) { r.Method = http.MethodGet }, nil, 405},
		"HEAD":           {string(delivery), func(r *http.Request) { r.Method = http.MethodHead }, nil, 405},
		"consumed":       {string(delivery), func(r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }, nil, 500},
		"parsed as form": {string(delivery), func(r *http.Request) { consume(r) }, nil, 500},
	} {
		calls := 0
		var told error
		v := &connector.Receiver{
			Secrets: []connector.Secret{signing}, OnError: func(_ *http.Request, err error) { told = err },
			Handle: func(ctx context.Context, d connector.Delivery) error {
				calls++
				if test.handle == nil {
					t.Errorf("%s: the handler was called", name)
					return nil
				}
				return test.handle(ctx, d)
			},
		}
		w := post(v, []byte(test.body), test.change)
		if w.Code != test.want || (told != nil) != (test.want != 204) || strings.Contains(w.Body.String(), "disk") {
			t.Errorf("%s: %d %q, %v", name, w.Code, w.Body, told)
		}
		if test.want == 405 && w.Header().Get("Allow") != "POST" {
			t.Errorf("%s: %v", name, w.Header())
		}
		if test.handle == nil {
			continue
		}
		// A delivery that was handled is dropped, another comes back.
		again := post(v, []byte(test.body), test.change)
		if want := map[bool]int{true: 1, false: 2}[test.want == 204]; again.Code != test.want || calls != want {
			t.Errorf("%s again: %d, %d calls", name, again.Code, calls)
		}
	}
	if connector.Permanent(nil) != nil {
		t.Error("Permanent of nil is an error")
	}
}

func consume(r *http.Request) {
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	_ = r.ParseForm()
	r.Form, r.Body = url.Values{}, http.NoBody
	r.Header.Set("Content-Type", "application/json")
}

func TestAReceiverWithoutSecrets(t *testing.T) {
	t.Parallel()
	handle := func(context.Context, connector.Delivery) error { t.Error("called"); return nil }
	for _, h := range []http.Handler{connector.Handler(handle), connector.Handler(handle, "", " \n"), connector.Handler(nil, signing)} {
		w := post(h, delivery, func(r *http.Request) {
			maps.Copy(r.Header, connector.Sign(delivery, time.Now(), ""))
		})
		if w.Code != http.StatusInternalServerError {
			t.Errorf("%d", w.Code)
		}
	}
}

// TestDeliveriesAreHandledOnce: a hundred at once, of which the first fails.
func TestDeliveriesAreHandledOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls, busy, fine, failed atomic.Int32
		h := connector.Handler(func(ctx context.Context, _ connector.Delivery) error {
			if calls.Add(1) == 1 {
				return errors.Join(sleepFor(ctx, time.Second), errors.New("not yet"))
			}
			return sleepFor(ctx, time.Second)
		}, signing)
		round := func() {
			var senders sync.WaitGroup
			for range 100 {
				senders.Go(func() {
					w := post(h, delivery, nil)
					switch w.Code {
					case 204:
						fine.Add(1)
					case 500:
						failed.Add(1)
					case 503:
						if w.Header().Get("Retry-After") == "" {
							t.Error("no Retry-After")
						}
						busy.Add(1)
					default:
						t.Errorf("%d", w.Code)
					}
				})
			}
			senders.Wait()
		}
		round()
		if calls.Load() != 1 || failed.Load() != 1 || busy.Load() != 99 {
			t.Errorf("%d calls, %d failed, %d busy", calls.Load(), failed.Load(), busy.Load())
		}
		round()
		if calls.Load() != 2 || fine.Load() != 1 || busy.Load() != 198 {
			t.Errorf("%d calls, %d fine, %d busy", calls.Load(), fine.Load(), busy.Load())
		}
		round()
		if calls.Load() != 2 || fine.Load() != 101 {
			t.Errorf("%d calls, %d fine", calls.Load(), fine.Load())
		}
	})
}

// TestWhatIsARepetition: notices on the way of a run are none of each other.
func TestWhatIsARepetition(t *testing.T) {
	t.Parallel()
	var seen []string
	h := connector.Handler(func(_ context.Context, d connector.Delivery) error { seen = append(seen, string(d.Body)); return nil }, signing)
	for _, body := range []string{
		`{"run_id": "1", "status": "awaiting_approval", "approval": 1}`, `{"run_id": "1", "status": "awaiting_approval", "approval": 2}`,
		`{"run_id": "1", "status": "completed"}`, `{"run_id": "2", "status": "completed"}`, `{"approval": 3}`, `{"approval": 4}`, `{"run_id": ""}`,
		// And these are repetitions.
		`{"run_id": "1", "status": "completed", "sent": "again"}`, `{"approval": 3}`, `{"run_id": "1", "status": "awaiting_approval", "approval": 1}`,
	} {
		if w := post(h, []byte(body), nil); w.Code != 204 {
			t.Errorf("%s: %d", body, w.Code)
		}
	}
	if len(seen) != 7 {
		t.Errorf("%q", seen)
	}
}

// failing is a store that fails where it is told to.
type failing struct {
	connector.Store
	claim, finish, release error
}

func (f failing) Claim(ctx context.Context, key string, lease time.Duration) (connector.State, error) {
	if f.claim != nil {
		return 0, f.claim
	}
	return f.Store.Claim(ctx, key, lease)
}

func (f failing) Finish(ctx context.Context, key string) error {
	return errors.Join(ctx.Err(), f.finish, f.Store.Finish(ctx, key))
}

func (f failing) Release(ctx context.Context, key string) error {
	return errors.Join(ctx.Err(), f.release, f.Store.Release(ctx, key))
}

func TestAStoreThatFails(t *testing.T) {
	t.Parallel()
	down := errors.New("store down")
	for name, test := range map[string]struct {
		store  failing
		handle error
		want   int
		calls  int
	}{
		"claim":   {failing{claim: down}, nil, 503, 0},
		"finish":  {failing{finish: down}, nil, 204, 1},
		"release": {failing{release: down}, errors.New("no"), 500, 1},
	} {
		calls := 0
		var told error
		test.store.Store = connector.NewMemory(10, time.Hour)
		v := &connector.Receiver{
			Store: test.store, Secrets: []connector.Secret{signing}, OnError: func(_ *http.Request, err error) { told = err },
			Handle: func(context.Context, connector.Delivery) error { calls++; return test.handle },
		}
		if w := post(v, delivery, nil); w.Code != test.want || calls != test.calls || !errors.Is(told, down) {
			t.Errorf("%s: %d, %d calls, %v", name, w.Code, calls, told)
		}
	}
}

// TestTheSenderLeaves: what was handled meanwhile is remembered all the same.
func TestTheSenderLeaves(t *testing.T) {
	t.Parallel()
	calls := 0
	var told error
	v := &connector.Receiver{
		Store: failing{Store: connector.NewMemory(10, time.Hour)}, Secrets: []connector.Secret{signing},
		OnError: func(_ *http.Request, err error) { told = err },
	}
	ctx, cancel := context.WithCancel(t.Context())
	v.Handle = func(ctx context.Context, _ connector.Delivery) error {
		calls++
		cancel()
		<-ctx.Done()
		return nil
	}
	for range 2 {
		post(v, delivery, func(r *http.Request) { *r = *r.WithContext(ctx) })
	}
	if calls != 1 || told != nil {
		t.Errorf("%d calls, %v", calls, told)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m := connector.NewMemory(3, time.Hour)
		claim := func(key string) connector.State {
			t.Helper()
			return must(m.Claim(ctx, key, time.Minute))(t)
		}
		for _, key := range []string{"a", "b", "c", "d"} {
			if claim(key) != connector.Claimed || m.Finish(ctx, key) != nil {
				t.Error(key)
			}
		}
		if claim("b") != connector.Done || claim("d") != connector.Done || claim("a") != connector.Claimed {
			t.Error("not the oldest was forgotten")
		}
		if claim("a") != connector.Running {
			t.Error("it was given away twice")
		}
		// A process that hangs loses its claim with the lease.
		sleepUntil(t, time.Now().Add(time.Minute))
		if claim("a") != connector.Claimed || m.Release(ctx, "a") != nil || claim("a") != connector.Claimed {
			t.Error("a claim has not ended")
		}
		claim("e")
		claim("f")
		if _, err := m.Claim(ctx, "g", time.Minute); err == nil {
			t.Error("more are in the works than the bound allows")
		}
		if claim("c") != connector.Done || m.Release(ctx, "c") != nil || claim("c") != connector.Done {
			t.Error("what is done was released")
		}
		sleepUntil(t, time.Now().Add(time.Minute))
		if claim("g") != connector.Claimed {
			t.Error("leases that have run out still count")
		}
		sleepUntil(t, time.Now().Add(time.Hour))
		if claim("d") != connector.Claimed {
			t.Error("nothing is forgotten")
		}
	})
}

// TestAFloodWithoutSignatures reads no body, and keeps nothing.
func TestAFloodWithoutSignatures(t *testing.T) { //nolint:paralleltest // it measures the heap
	h := connector.Handler(func(context.Context, connector.Delivery) error { t.Error("called"); return nil }, signing)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 10_000 {
		w := post(h, nil, func(r *http.Request) {
			r.Body = io.NopCloser(unread{t})
			if i%2 == 0 {
				r.Header.Del(connector.SignatureHeader)
			} else {
				r.Header.Set(connector.TimestampHeader, "1")
			}
		})
		if w.Code != 401 {
			t.Fatal(w.Code)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
}

type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

// TestPanicsOverTheWire: the sender gets a 500, the log what net/http would have logged,
// and the delivery can come again.
func TestPanicsOverTheWire(t *testing.T) {
	t.Parallel()
	var logged lockedBuffer
	calls := 0
	server := httptest.NewUnstartedServer(connector.Handler(func(context.Context, connector.Delivery) error {
		switch calls++; calls {
		case 1:
			panic("a bug")
		case 2:
			panic(http.ErrAbortHandler)
		case 3:
			runtime.Goexit()
		}
		return nil
	}, signing))
	server.Config.ErrorLog = log.New(&logged, "", 0)
	server.Start()
	defer server.Close()
	for i, want := range []int{500, 0, 0, 204, 204} {
		r := must(http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, bytes.NewReader(delivery)))(t)
		r.Header = connector.Sign(delivery, time.Now(), signing)
		resp, err := server.Client().Do(r)
		got := 0
		if err == nil {
			got = resp.StatusCode
			_ = resp.Body.Close()
		}
		if got != want {
			t.Errorf("delivery %d: %d, %v", i+1, got, err)
		}
	}
	if calls != 4 || strings.Count(logged.String(), "a bug") != 1 || !strings.Contains(logged.String(), "receiver_test.go") {
		t.Errorf("%d calls; %s", calls, logged.String())
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

// TestOutboundDeliveries lets the fake deliver to the receiver, well and badly.
func TestOutboundDeliveries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, outboundDeliveries)
}
