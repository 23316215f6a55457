package connic

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// tight is a quota that five leaked permits would use up.
func tight() Option { return WithLimiter(NewLimiter(5, 100*time.Millisecond)) }

// runaway calls f on a goroutine that it may panic on or exit.
func runaway(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover() }()
		f()
	}()
	<-done
}

func TestUserCodeThatRunsAwayLeaksNoPermit(t *testing.T) {
	t.Parallel()
	for ending, end := range map[string]func(){"panic": func() { panic("user") }, "Goexit": runtime.Goexit} {
		for where := range map[string]bool{"transport": true, "body": true, "key source": true, "observer": true, "upload": true} {
			t.Run(where+" "+ending, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					broken := true
					at := func(place string) {
						if broken && place == where {
							end()
						}
					}
					c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
						if r.Body != nil {
							_, _ = io.Copy(io.Discard, r.Body)
						}
						at("transport")
						resp := respond(200, `{"id": "r1", "status": "completed", "entry_id": "e", "job_id": "j"}`)
						resp.Body = &hookedBody{resp.Body, func() { at("body") }}
						return resp, nil
					}, tight(), WithKeySource(KeySourceFunc(func(context.Context) (APIKey, error) {
						at("key source")
						return testKey, nil
					})), WithObserver(func(context.Context, Event) { at("observer") }))
					call := func() {
						ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
						defer cancel()
						var err error
						if where == "upload" {
							_, err = do(ctx, &c.scope, request{op: 0, id: "r1", form: &upload{"text/plain", func() (io.Reader, error) {
								at("upload")
								return strings.NewReader("x"), nil
							}}}, decodeRun, nil)
						} else {
							_, err = c.Runs.Get(ctx, "r1")
						}
						if err != nil {
							t.Errorf("it ends with %v", err)
						}
					}
					for range 6 {
						runaway(call)
					}
					if s := c.RateLimit(); s.InFlight != 0 {
						t.Errorf("%d permits are leaked", s.InFlight)
					}
					broken = false
					call()
				})
			})
		}
	}
}

type hookedBody struct {
	io.ReadCloser
	hook func()
}

func (b *hookedBody) Read(p []byte) (int, error) {
	b.hook()
	return b.ReadCloser.Read(p)
}

// A source of keys that hangs holds nobody else up, and not for ever.
func TestKeySourcesThatHang(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := NewLimiter(1, time.Second)
		answer := func(*http.Request) (*http.Response, error) {
			return respond(200, `{"id": "r1", "status": "completed"}`), nil
		}
		hung := newTestClient(t, answer, WithLimiter(limiter), WithTimeout(time.Minute), WithKeySource(KeySourceFunc(func(ctx context.Context) (APIKey, error) {
			<-ctx.Done()
			return "", ctx.Err()
		})))
		start := time.Now()
		done := make(chan error)
		go func() {
			_, err := hung.Runs.Get(context.Background(), "r1")
			done <- err
		}()
		synctest.Wait()
		if _, err := newTestClient(t, answer, WithLimiter(limiter)).Runs.Get(t.Context(), "r1"); err != nil || time.Since(start) > 0 {
			t.Errorf("the other client's call ends after %v with %v", time.Since(start), err)
		}
		err := <-done
		var transport *TransportError
		if !errors.As(err, &transport) || transport.Attempts != 0 || time.Since(start) != time.Minute {
			t.Errorf("it ends after %v with %v", time.Since(start), err)
		}
	})
}

func TestTransportsThatBreakTheContract(t *testing.T) {
	t.Parallel()
	for name, transport := range map[string]roundTripper{
		"neither":   func(*http.Request) (*http.Response, error) { return nil, nil },
		"nil body":  func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 500}, nil },
		"bare":      func(*http.Request) (*http.Response, error) { return &http.Response{}, nil },
		"both":      func(*http.Request) (*http.Response, error) { return respond(200, "{}"), io.ErrUnexpectedEOF },
		"empty 200": func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 200}, nil },
	} {
		c := newTestClient(t, transport, WithRetry(RetryPolicy{MaxAttempts: 1}))
		if _, err := c.Agents.Trigger(t.Context(), "a", TriggerRequest{Message: "m"}); err == nil {
			t.Errorf("%s: no error", name)
		}
		if s := c.RateLimit(); s.InFlight != 0 {
			t.Errorf("%s: %d permits are leaked", name, s.InFlight)
		}
	}
}

// An upload that goes on is alive, however long it takes; one that stalls is not.
func TestUploadsAreBoundedByProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pause, stall := 40*time.Second, false
		c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
			buf := make([]byte, 1)
			for {
				if _, err := r.Body.Read(buf); err != nil {
					break
				}
				if stall {
					<-r.Context().Done()
				}
				select {
				case <-r.Context().Done():
					return nil, r.Context().Err()
				case <-time.After(pause):
				}
			}
			return respond(200, `{"id": "r1"}`), nil
		}, WithTimeout(time.Minute), WithRetry(RetryPolicy{MaxAttempts: 1}))
		send := func(opts ...RequestOption) (time.Duration, error) {
			start := time.Now()
			_, err := do(t.Context(), &c.scope, request{op: 0, form: &upload{"text/plain", func() (io.Reader, error) {
				return strings.NewReader("0123456789"), nil
			}}}, decodeRun, opts)
			return time.Since(start), err
		}
		if took, err := send(); err != nil || took != 400*time.Second {
			t.Errorf("it ends after %v with %v", took, err)
		}
		if took, err := send(WithAttemptTimeout(30 * time.Second)); !errors.Is(err, context.DeadlineExceeded) || took != 30*time.Second {
			t.Errorf("with a timeout of its own it ends after %v with %v", took, err)
		}
		stall = true
		if took, err := send(); !errors.Is(err, context.DeadlineExceeded) || took != time.Minute {
			t.Errorf("stalled, it ends after %v with %v", took, err)
		}
	})
}

// A DELETE that is repeated because its answer was lost has succeeded when the
// item is gone.
func TestDeletesWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]func() (*http.Response, error){
		"lost": func() (*http.Response, error) { return nil, io.ErrUnexpectedEOF },
		"502":  func() (*http.Response, error) { return respond(502, "bad gateway"), nil },
		"429":  func() (*http.Response, error) { return respond(429, "{}"), nil },
		"none": nil,
	} {
		synctest.Test(t, func(t *testing.T) {
			calls, then := 0, 404
			c := newTestClient(t, func(*http.Request) (*http.Response, error) {
				if calls++; calls == 1 && first != nil {
					return first()
				}
				return respond(then, `{"detail": "not found"}`), nil
			})
			deletes := map[string]func() error{
				"run":   func() error { return c.Runs.Delete(t.Context(), "r1") },
				"judge": func() error { return c.Judges.Delete(t.Context(), "j1") },
				"raw":   func() error { return c.Do(t.Context(), "DELETE", "/x/1", nil, nil, nil) },
			}
			for what, remove := range deletes {
				calls = 0
				err := remove()
				if gone := name == "lost" || name == "502"; gone != (err == nil) || !gone && !errors.Is(err, ErrNotFound) {
					t.Errorf("%s, %s: %v", name, what, err)
				}
			}
			// The same in other words: an item that is gone, and a run that is not to be
			// cancelled any more.
			for then = range map[int]bool{404: true, 409: true, 410: true} {
				for what, call := range map[string]func() error{
					"run": deletes["run"], "cancel": func() error { return c.Runs.Cancel(t.Context(), "r1") },
				} {
					calls = 0
					err := call()
					done := (name == "lost" || name == "502") && (what == "cancel") == (then == 409)
					if done != (err == nil) {
						t.Errorf("%s, %s, %d: %v", name, what, then, err)
					}
				}
			}
		})
	}
}

func TestLimitErrorsOfALimiterAreLeftAlone(t *testing.T) {
	t.Parallel()
	shared := &LimitError{Op: "the limiter's own", Reason: "closed"}
	c := newTestClient(t, nil, WithLimiter(refusing{shared}))
	_, err := c.Runs.Get(t.Context(), "r1")
	var limit *LimitError
	if !errors.As(err, &limit) || limit == shared || limit.Op != "runs.get" || shared.Op != "the limiter's own" {
		t.Errorf("%v; the limiter's is %v", err, shared)
	}
}

type refusing struct{ err error }

func (l refusing) Acquire(context.Context, Admission) (Permit, error) { return Permit{}, l.err }
func (refusing) Release(Permit, Outcome)                              {}
func (refusing) Status() RateLimitStatus                              { return RateLimitStatus{} }

// What an observer was told of an attempt does not change any more.
func TestErrorsOfEventsAreFinished(t *testing.T) {
	t.Parallel()
	type seen struct {
		err  error
		text string
	}
	for name, answer := range map[string]func() (*http.Response, error){
		"status": func() (*http.Response, error) { return respond(500, "{}"), nil },
		"decode": func() (*http.Response, error) { return respond(200, "[1]"), nil },
		"broken": func() (*http.Response, error) { return nil, io.ErrUnexpectedEOF },
	} {
		var events []seen
		c := newTestClient(t, func(*http.Request) (*http.Response, error) { return answer() }, WithObserver(func(_ context.Context, e Event) {
			if e.Err != nil {
				events = append(events, seen{e.Err, e.Err.Error()})
			}
		}))
		_, err := c.Agents.Trigger(t.Context(), "a", TriggerRequest{Message: "m"})
		if !errors.Is(err, ErrOutcomeUnknown) || len(events) != 2 {
			t.Errorf("%s: %v, %d events", name, err, len(events))
		}
		for _, e := range events {
			if e.err.Error() != e.text || !errors.Is(e.err, ErrOutcomeUnknown) {
				t.Errorf("%s: it was %q and is %q", name, e.text, e.err)
			}
		}
	}
}

func TestAttemptsWithoutBound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c := newTestClient(t, func(*http.Request) (*http.Response, error) {
			if calls++; calls < 7 {
				return respond(503, "{}"), nil
			}
			return respond(200, `{"id": "r1", "status": "completed"}`), nil
		}, WithRetry(RetryPolicy{MaxAttempts: math.MaxInt, Budget: -1}))
		if _, err := c.Runs.Get(t.Context(), "r1"); err != nil {
			t.Error(err)
		}
		calls = 0
		if _, err := c.Runs.Get(t.Context(), "r1", WithMaxAttempts(math.MaxInt)); err != nil {
			t.Error(err)
		}
	})
}

// One wrong redirect moves nothing for good.
func TestASlashIsRememberedOnlyAfterItWorked(t *testing.T) {
	t.Parallel()
	var paths []string
	bogus := true
	c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
		paths = append(paths, r.URL.Path)
		if bogus {
			bogus = false
			resp := respond(307, "")
			resp.Header.Set("Location", r.URL.Path+"/")
			return resp, nil
		}
		if strings.HasSuffix(r.URL.Path, "/") {
			return respond(404, "{}"), nil
		}
		return respond(200, `{"id": "r1", "status": "completed"}`), nil
	})
	if _, err := c.Runs.Get(t.Context(), "r1"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, err := c.Runs.Get(t.Context(), "r1"); err != nil {
		t.Errorf("%v after %q", err, paths)
	}
}

// What redirects one path, and serves it, does not hide all others for good.
func TestASlashThatOtherPathsDoNotKnow(t *testing.T) {
	t.Parallel()
	c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
		path, slashed := strings.CutSuffix(r.URL.Path, "/")
		switch odd := strings.HasSuffix(path, "/odd"); {
		case odd && !slashed:
			resp := respond(307, "")
			resp.Header.Set("Location", r.URL.Path+"/")
			return resp, nil
		case odd == slashed:
			return respond(200, `{"traces": [], "status": "completed"}`), nil
		}
		return respond(404, "{}"), nil
	})
	for range 2 {
		if _, err := c.Runs.Get(t.Context(), "odd"); err != nil {
			t.Error(err)
		}
		if _, err := c.Runs.Get(t.Context(), "r1"); !errors.Is(err, ErrNotFound) {
			t.Errorf("the slash is not remembered: %v", err)
		}
		if _, err := c.Runs.Get(t.Context(), "r1"); err != nil {
			t.Errorf("the slash is not forgotten: %v", err)
		}
	}
}
