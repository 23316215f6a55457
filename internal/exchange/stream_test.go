package exchange

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// A reader that was used up by an earlier attempt is no body: an upload of nothing
// must not succeed.
func TestUsedUpReadersFail(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusServiceUnavailable, http.StatusTooManyRequests} {
		var got atomic.Int64
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			if err == nil && got.Add(1) == 1 {
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(status)
			}
			if err == nil && got.Load() > 1 {
				t.Errorf("%d bytes are taken for the body", len(b))
			}
			_, _ = io.WriteString(w, "{}")
		})
		for name, s := range services(t, handler) {
			for _, class := range []api.Class{api.Idempotent, api.Unsafe} {
				got.Store(0)
				used := bufio.NewReader(strings.NewReader(strings.Repeat("line\n", 5000)))
				f := newCall(t.Context(), s.url, http.MethodPost, class, streamed(func() (io.Reader, error) { return used, nil }))
				out := newEngine(s.transport).Run(&f.x, f)
				retried := class == api.Idempotent || status == http.StatusTooManyRequests
				if out.Cause == CauseNone || retried && (out.Cause != CauseBody || !errors.Is(out.Err, errShort) || out.Attempts < 2) {
					t.Errorf("%s, %d, %v: %+v", name, status, class, out)
				}
				if out.Unknown != (class == api.Unsafe) { // a part of the body arrived
					t.Errorf("%s, %d, %v: unknown %v", name, status, class, out.Unknown)
				}
			}
		}
	}
}

// zeroReader reads nothing, for ever.
type zeroReader struct{}

func (zeroReader) Read([]byte) (int, error) { return 0, nil }

// A body that hangs, or makes no progress, ends with the context or with the attempt.
func TestBodiesThatHangEndWithTheContext(t *testing.T) {
	t.Parallel()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	var wg sync.WaitGroup
	defer wg.Wait()
	for name, s := range services(t, handler) {
		never, stop := io.Pipe()
		t.Cleanup(func() { _ = stop.Close() })
		for kind, reader := range map[string]io.Reader{"hangs": struct{ io.Reader }{never}, "no progress": zeroReader{}} {
			// Enough to be sent before, on a busy machine too.
			for _, attempt := range []time.Duration{2 * time.Second, time.Minute} {
				wg.Go(func() { // all at once: they wait
					ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
					defer cancel()
					f := newCall(ctx, s.url, http.MethodPost, api.Unsafe, streamed(func() (io.Reader, error) { return io.MultiReader(strings.NewReader("begun"), reader), nil }))
					f.x.Timeout = attempt
					out := newEngine(s.transport).Run(&f.x, f)
					if out.Cause == CauseNone || !out.Unknown || kind == "hangs" && !errors.Is(out.Err, context.DeadlineExceeded) {
						t.Errorf("%s, %s, %v: %+v", name, kind, attempt, out)
					}
				})
			}
		}
	}
}

// A reader is closed when the call returns, whatever the transport does with it, and
// what it panics with reaches the caller.
func TestReadersAreClosed(t *testing.T) {
	t.Parallel()
	for name, transport := range map[string]transportFunc{
		"reads": func(r *http.Request) (*http.Response, error) {
			_, _ = io.Copy(io.Discard, r.Body)
			return answer(200, "{}"), nil
		},
		"reads nothing": func(*http.Request) (*http.Response, error) { return answer(200, "{}"), nil },
		"reads a part": func(r *http.Request) (*http.Response, error) {
			_, err := r.Body.Read(make([]byte, 1))
			return answer(500, ""), err
		},
		"fails": func(*http.Request) (*http.Response, error) { return nil, io.EOF },
	} {
		var opened, closed atomic.Int32
		f := newCall(t.Context(), "https://api.test/x", http.MethodPost, api.Idempotent, streamed(func() (io.Reader, error) {
			opened.Add(1)
			return closingReader{strings.NewReader("text"), func(place string) {
				if place == "body close" {
					closed.Add(1)
				}
			}}, nil
		}))
		newEngine(transport).Run(&f.x, f)
		if opened.Load() == 0 || opened.Load() != closed.Load() {
			t.Errorf("%s: %d opened, %d closed", name, opened.Load(), closed.Load())
		}
	}
	for ending, end := range map[string]func(){"panic": func() { panic("user") }, "Goexit": runtime.Goexit} {
		for name, s := range services(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })) {
			f := newCall(t.Context(), s.url, http.MethodPost, api.Unsafe, streamed(func() (io.Reader, error) {
				return closingReader{strings.NewReader("text"), func(string) { end() }}, nil
			}))
			var out Outcome
			panicked := func() (v any) {
				defer func() { v = recover() }()
				out = newEngine(s.transport).Run(&f.x, f)
				return nil
			}()
			if ending == "panic" && panicked != "user" || ending == "Goexit" && !errors.Is(out.Err, errRunaway) || len(f.ends) != 1 {
				t.Errorf("%s, %s: %v, %+v, %v", ending, name, panicked, out, f.ends)
			}
		}
	}
}

// An attempt lives as long as its body makes progress.
func TestBodiesThatMakeProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(transportFunc(func(r *http.Request) (*http.Response, error) {
			for {
				if _, err := r.Body.Read(make([]byte, 1)); err == io.EOF {
					return answer(http.StatusOK, "{}"), nil
				} else if err != nil {
					return nil, err
				}
				select {
				case <-r.Context().Done():
					return nil, r.Context().Err()
				case <-time.After(9 * time.Second):
				}
			}
		}))
		f := newCall(t.Context(), "https://api.test/x", http.MethodPost, api.Unsafe, reading("0123456789"))
		start := time.Now()
		if out := e.Run(&f.x, f); out.Cause != CauseNone || time.Since(start) != 90*time.Second {
			t.Errorf("%+v after %v", out, time.Since(start))
		}
	})
}
