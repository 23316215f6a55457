package connic

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// slowly is a body that takes time for each byte.
type slowly struct {
	ctx  context.Context
	rest string
	each time.Duration
}

func (s *slowly) Read(p []byte) (int, error) {
	if s.rest == "" {
		return 0, io.EOF
	}
	if err := sleep(s.ctx, s.each); err != nil {
		return 0, context.Cause(s.ctx)
	}
	p[0] = s.rest[0]
	s.rest = s.rest[1:]
	return 1, nil
}

func (s *slowly) Close() error { return nil }

func TestAttemptsTimeOut(t *testing.T) {
	t.Parallel()
	hang := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, context.Cause(r.Context())
	}
	drip := func(r *http.Request) (*http.Response, error) {
		resp := respond(200, "")
		resp.ContentLength = -1
		resp.Body = &slowly{r.Context(), strings.Repeat(" ", 100) + `{"id": "r1"}`, time.Second}
		return resp, nil
	}
	for name, first := range map[string]roundTripper{"no answer": hang, "slow body": drip} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sent := 0
				c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
					if sent++; sent%2 == 1 {
						return first(r)
					}
					return respond(200, `{"id": "r1"}`), nil
				}, WithTimeout(10*time.Second))
				start := time.Now()
				if _, err := c.Runs.Get(t.Context(), "r1"); err != nil || sent != 2 {
					t.Errorf("a read: %v after %d requests", err, sent)
				}
				if took := time.Since(start); took < 10*time.Second || took > 11*time.Second {
					t.Errorf("it took %v", took)
				}
				start, sent = time.Now(), 0
				_, err := c.Agents.Trigger(t.Context(), "a", TriggerRequest{Message: "x"})
				var transport *TransportError
				if !errors.Is(err, ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &transport) || sent != 1 {
					t.Errorf("a trigger: %v after %d requests", err, sent)
				}
				if took := time.Since(start); took != 10*time.Second {
					t.Errorf("it took %v", took)
				}
				synctest.Wait() // a look of several waits ends behind the one that left
				if s := c.RateLimit(); s.InFlight != 0 {
					t.Errorf("%d attempts are still in flight", s.InFlight)
				}
			})
		})
	}
}

func TestTimeInLineIsNotAttemptTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestClient(t, func(*http.Request) (*http.Response, error) {
			return respond(200, `{"id": "r1"}`), nil
		}, WithTimeout(time.Second), WithRateLimit(1, time.Minute))
		for range 3 {
			if _, err := c.Runs.Get(t.Context(), "r1"); err != nil {
				t.Error(err)
			}
		}
	})
}

// F4: a cancelled call returns at once, wherever it is.
func TestF4CancelledCallsReturn(t *testing.T) {
	t.Parallel()
	type point struct {
		opts    []Option
		prepare func(*testing.T, *Client)
		answer  roundTripper
		unknown bool // for an unsafe call
	}
	ok := func(*http.Request) (*http.Response, error) {
		return respond(200, `{"id": "r1", "status": "running"}`), nil
	}
	points := map[string]point{
		"in line": {
			opts: []Option{WithRateLimit(1, time.Hour)}, answer: ok,
			prepare: func(t *testing.T, c *Client) {
				t.Helper()
				if _, err := c.Runs.Get(t.Context(), "r1"); err != nil {
					t.Fatal(err)
				}
			},
		},
		"in dial": {answer: func(r *http.Request) (*http.Response, error) {
			traceOf(r).GetConn("host")
			<-r.Context().Done()
			return nil, r.Context().Err()
		}},
		"in headers": {unknown: true, answer: func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}},
		"in body": {unknown: true, answer: func(r *http.Request) (*http.Response, error) {
			resp := respond(200, "")
			resp.ContentLength = -1
			resp.Body = &slowly{r.Context(), strings.Repeat(" ", 1000), time.Second}
			return resp, nil
		}},
		"in a pause": {answer: func(*http.Request) (*http.Response, error) {
			resp := respond(429, `{"detail": "slow down"}`)
			resp.Header.Set("Retry-After", "60")
			return resp, nil
		}},
	}
	backoff := point{answer: func(*http.Request) (*http.Response, error) { return respond(503, ""), nil }, opts: []Option{WithRetry(RetryPolicy{MinWait: 10 * time.Minute, MaxWait: time.Hour})}}
	cause := errors.New("the user left")
	calls := map[string]func(context.Context, *Client) error{
		"read": func(ctx context.Context, c *Client) error { _, err := c.Runs.Get(ctx, "r1"); return err },
		"trigger": func(ctx context.Context, c *Client) error {
			_, err := c.Agents.Trigger(ctx, "a", TriggerRequest{Message: "x"})
			return err
		},
		"wait": func(ctx context.Context, c *Client) error { _, err := c.Runs.Wait(ctx, "r1"); return err },
		"all": func(ctx context.Context, c *Client) error {
			_, err := Collect(c.Runs.All(ctx, nil), 0)
			return err
		},
	}
	check := func(t *testing.T, p point, call func(context.Context, *Client) error, unsafe bool) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			c := newTestClient(t, p.answer, p.opts...)
			if p.prepare != nil {
				p.prepare(t, c)
			}
			for _, end := range []func() (context.Context, context.CancelFunc, error){
				func() (context.Context, context.CancelFunc, error) {
					ctx, cancel := context.WithCancelCause(t.Context())
					return ctx, func() { cancel(cause) }, context.Canceled
				},
				func() (context.Context, context.CancelFunc, error) {
					ctx, cancel := context.WithCancel(t.Context())
					return ctx, cancel, context.Canceled
				},
			} {
				ctx, cancel, want := end()
				done := make(chan error, 1)
				go func() { done <- call(ctx, c) }()
				time.Sleep(5 * time.Second)
				cancelled := time.Now()
				cancel()
				err := <-done
				if took := time.Since(cancelled); took > 50*time.Millisecond {
					t.Errorf("it came back after %v", took)
				}
				if !errors.Is(err, want) || (errors.Is(context.Cause(ctx), cause) && !errors.Is(err, cause)) {
					t.Errorf("%v is not %v with its cause", err, want)
				}
				if got := errors.Is(err, ErrOutcomeUnknown); got != (unsafe && p.unknown) {
					t.Errorf("outcome unknown: %v (%v)", got, err)
				}
				synctest.Wait() // a look of several waits ends behind the one that left
				if s := c.RateLimit(); s.InFlight != 0 || s.Waiting != 0 || s.Polling != 0 {
					t.Errorf("it left behind %+v", s)
				}
			}
		})
	}
	for name, p := range points {
		for kind, call := range calls {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				check(t, p, call, kind == "trigger")
			})
		}
	}
	t.Run("in backoff/read", func(t *testing.T) {
		t.Parallel()
		check(t, backoff, calls["read"], false)
	})
	t.Run("between polls/wait", func(t *testing.T) {
		t.Parallel()
		check(t, point{answer: ok}, calls["wait"], false)
	})
	t.Run("before/trigger", func(t *testing.T) {
		t.Parallel()
		c := newTestClient(t, func(*http.Request) (*http.Response, error) {
			t.Error("a request left the process")
			return nil, io.EOF
		})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := calls["trigger"](ctx, c); !errors.Is(err, context.Canceled) || errors.Is(err, ErrOutcomeUnknown) {
			t.Error(err)
		}
	})
}

func TestTheLastAnswerStaysInTheChain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestClient(t, func(*http.Request) (*http.Response, error) { return respond(503, `{"detail": "maintenance"}`), nil },
			WithRetry(RetryPolicy{MinWait: time.Hour, MaxWait: time.Hour}))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err := c.Runs.Get(ctx, "r1")
		var e *Error
		if !errors.Is(err, context.Canceled) || !errors.As(err, &e) || e.Detail != "maintenance" {
			t.Errorf("%v lacks the 503 or the cancellation", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		// The next attempt cannot come before the deadline, so the response is
		// returned now.
		c := newTestClient(t, func(*http.Request) (*http.Response, error) {
			resp := respond(503, "")
			resp.Header.Set("Retry-After", "20")
			return resp, nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		_, err := c.Runs.Get(ctx, "r1")
		var e *Error
		if !errors.As(err, &e) || e.RetryAfter != 20*time.Second || time.Since(start) != 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// endless is a body without end.
type endless struct{ read, most int64 }

func (e *endless) Read(p []byte) (int, error) {
	if e.read += int64(len(p)); e.read > e.most {
		return 0, errors.New("the client reads past its limit")
	}
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func (e *endless) Close() error { return nil }

func TestS5BodiesAreBounded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		opts   []Option
		most   int64
	}{
		"success":         {200, nil, 64<<20 + 1},
		"success, option": {200, []Option{WithMaxResponseBytes(5000)}, 5001},
		"error":           {400, nil, 1<<20 + 1},
		"error, option":   {400, []Option{WithMaxResponseBytes(5000)}, 5001},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := &endless{most: test.most}
			sent := 0
			c := newTestClient(t, func(*http.Request) (*http.Response, error) {
				sent++
				resp := respond(test.status, "")
				resp.ContentLength, resp.Body = -1, body
				return resp, nil
			}, test.opts...)
			_, err := c.Runs.Get(t.Context(), "r1")
			if sent != 1 {
				t.Errorf("%d requests", sent)
			}
			var e *Error
			switch {
			case test.status == 200 && !errors.Is(err, ErrTooLarge):
				t.Errorf("%v is not ErrTooLarge", err)
			case test.status != 200 && (!errors.As(err, &e) || e.StatusCode != test.status):
				t.Errorf("%v is no *Error", err)
			}
			if body.read > test.most {
				t.Errorf("%d bytes were read", body.read)
			}
		})
	}
	// A body of exactly the limit is accepted, and one more byte is not.
	document := `{"id": "r1"}`
	for extra, want := range map[int]bool{0: true, 1: false} {
		c := newTestClient(t, func(*http.Request) (*http.Response, error) {
			return respond(200, document+strings.Repeat(" ", extra)), nil
		}, WithMaxResponseBytes(int64(len(document))))
		_, err := c.Runs.Get(t.Context(), "r1")
		if (err == nil) != want || (!want && !errors.Is(err, ErrTooLarge)) {
			t.Errorf("%d bytes more: %v", extra, err)
		}
	}
	// A trigger was executed, whatever its response.
	c := newTestClient(t, func(*http.Request) (*http.Response, error) {
		return respond(200, strings.Repeat(" ", 100)), nil
	}, WithMaxResponseBytes(50))
	if _, err := c.Agents.Trigger(t.Context(), "a", TriggerRequest{Message: "x"}); !errors.Is(err, ErrOutcomeUnknown) || !errors.Is(err, ErrTooLarge) {
		t.Errorf("a trigger: %v", err)
	}
}

func TestAnswersWithoutABody(t *testing.T) {
	t.Parallel()
	for body, fine := range map[string]bool{"": true, "{}": true, `"ok"`: true, "null": true, "<html></html>": false, `{"a":`: false, "ok": false} {
		synctest.Test(t, func(t *testing.T) {
			c := newTestClient(t, func(*http.Request) (*http.Response, error) { return respond(200, body), nil })
			if err := c.Runs.Delete(t.Context(), "r1"); (err == nil) != fine {
				t.Errorf("%q: %v", body, err)
			}
		})
	}
}

func TestObserverSeesEveryStep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var events []Event
		sent := 0
		c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
			op, ok := OperationFromContext(r.Context())
			if !ok || op.Name != "runs.get" || op.Route != "/projects/{project}/runs/{run}" || op.Class != "safe" || op.Section != "runs" || op.Status != "documented" {
				t.Errorf("the transport sees %+v", op)
			}
			sent++
			time.Sleep(time.Second)
			switch sent {
			case 1:
				return respond(503, ""), nil
			case 2:
				return nil, io.EOF
			}
			resp := respond(200, `{"id": "r1"}`)
			resp.Header.Set("X-Request-Id", "req-3")
			return resp, nil
		}, WithObserver(func(_ context.Context, e Event) { events = append(events, e) }))
		if _, err := c.Runs.Get(t.Context(), "r1"); err != nil {
			t.Fatal(err)
		}
		var kinds []string
		for _, e := range events {
			kinds = append(kinds, string(e.Kind))
			if e.Op != "runs.get" || e.Method != "GET" || e.Route != "/projects/{project}/runs/{run}" {
				t.Errorf("%+v", e)
			}
		}
		if got := strings.Join(kinds, " "); got != "attempt retry attempt retry attempt done" {
			t.Fatalf("the steps are %s", got)
		}
		first, retry, done := events[0], events[1], events[5]
		if first.StatusCode != 503 || first.Duration != time.Second || !errors.Is(first.Err, ErrServer) || first.Attempt != 1 {
			t.Errorf("the first attempt: %+v", first)
		}
		if retry.Reason != "503 Service Unavailable" || retry.Wait <= 0 || retry.Wait > 500*time.Millisecond {
			t.Errorf("the first retry: %+v", retry)
		}
		if !errors.Is(events[2].Err, io.EOF) || events[2].StatusCode != 0 || events[3].Reason != "incomplete response" {
			t.Errorf("the second attempt: %+v, %+v", events[2], events[3])
		}
		if done.Err != nil || done.StatusCode != 200 || done.RequestID != "req-3" || done.Attempt != 3 || done.Duration < 3*time.Second {
			t.Errorf("the end: %+v", done)
		}
	})
	if _, ok := OperationFromContext(t.Context()); ok {
		t.Error("a context without a call has an operation")
	}
}
