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
