package exchange

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/connic-go/connic/internal/api"
)

// unreachable is an address where nobody listens. A port that was free a moment
// ago may be another test's by now.
const unreachable = "http://127.0.0.1:1"

// A transport may make a request of its own with the context of the attempt:
// before it, after it, or instead. Nothing that happens to that one is evidence
// about the attempt: it is executed once at most, and its outcome is unknown exactly
// if it was executed and the answer was lost.
func TestRequestsOfTransports(t *testing.T) {
	t.Parallel()
	var executed atomic.Int32
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch r.URL.Path {
		case "/lost":
			panic(http.ErrAbortHandler)
		case "/run":
			executed.Add(1)
		}
		_, _ = io.WriteString(w, `{"id": "r1"}`)
	})
	nobody := unreachable
	for protocol, s := range services(t, handler) {
		for _, place := range []string{"before", "after", "instead", "before one that cannot be dialed"} {
			for _, fate := range []string{"answered", "lost", "undialable"} {
				for _, method := range []string{http.MethodGet, http.MethodPost} {
					for _, streamed := range []bool{false, true} {
						executed.Store(0)
						own := func(ctx context.Context) (*http.Response, error) {
							target := map[string]string{"answered": s.url + "/token", "lost": s.url + "/lost", "undialable": nobody}[fate]
							r, _ := http.NewRequestWithContext(ctx, method, target, http.NoBody)
							return s.transport.RoundTrip(r)
						}
						e := newEngine(transportFunc(func(r *http.Request) (*http.Response, error) {
							if place == "instead" {
								return own(r.Context())
							}
							var resp *http.Response
							if place == "after" {
								var err error
								if resp, err = s.transport.RoundTrip(r); err != nil {
									return nil, err
								}
							}
							mine, err := own(r.Context())
							if err != nil {
								if resp != nil {
									_ = resp.Body.Close()
								}
								return nil, fmt.Errorf("token: %w", err)
							}
							_, _ = io.Copy(io.Discard, mine.Body)
							_ = mine.Body.Close()
							switch place {
							case "before":
								return s.transport.RoundTrip(r)
							case "after":
								return resp, nil
							}
							away := r.Clone(r.Context())
							away.URL.Scheme, away.URL.Host = "http", nobody[len("http://"):]
							return s.transport.RoundTrip(away)
						}))
						body := jsonBody(`{"message": "m"}`)
						if streamed {
							body = reading(`{"message": "m"}`)
						}
						f := newCall(t.Context(), s.url+"/run", http.MethodPost, api.Unsafe, body)
						out := e.Run(&f.x, f)

						ran := int32(0)
						if place == "after" || place == "before" && fate == "answered" {
							ran = 1
						}
						succeeds := fate == "answered" && place != "before one that cannot be dialed"
						what := fmt.Sprintf("%s, %s, %s, by %s, streamed %v", protocol, place, fate, method, streamed)
						if n := executed.Load(); n != ran {
							t.Errorf("%s: executed %d times, want %d: %v", what, n, ran, out.Err)
						}
						if (out.Cause == CauseNone) != succeeds {
							t.Errorf("%s: %+v", what, out)
						}
						if want := ran == 1 && !succeeds; out.Unknown != want {
							t.Errorf("%s: unknown %v, want %v: %v", what, out.Unknown, want, out.Err)
						}
						for _, end := range f.ends {
							if notSent := end == EndNotSent; notSent != (ran == 0 && !succeeds) {
								t.Errorf("%s: the gate is told %v", what, f.ends)
							}
						}
					}
				}
			}
		}
	}
}

// A silent transport may have sent everything.
func TestTransportsThatReportNothing(t *testing.T) {
	t.Parallel()
	for _, class := range []api.Class{api.Safe, api.Idempotent, api.Unsafe} {
		sent := 0
		e := newEngine(transportFunc(func(*http.Request) (*http.Response, error) {
			sent++
			return nil, &net.OpError{Op: "dial", Err: errors.New("refused")}
		}))
		f := newCall(t.Context(), "https://api.test/x", http.MethodPost, class, jsonBody("{}"))
		out := e.Run(&f.x, f)
		want := 4
		if class == api.Unsafe {
			want = 1
		}
		if out.Result != Broken || out.Unknown != (class == api.Unsafe) || sent != want || f.ends[0] != EndFailed {
			t.Errorf("%v: %+v after %d requests, %v", class, out, sent, f.ends)
		}
	}
}
