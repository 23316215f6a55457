package connector_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
)

// steps are the events of calls, one a line.
type steps struct {
	mu    sync.Mutex
	lines []string
	errs  []error // of the last events
}

func (s *steps) observe(_ context.Context, e connic.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := fmt.Sprintf("%s %s", e.Kind, strings.TrimPrefix(e.Op, "connectors."))
	switch e.Kind { //nolint:exhaustive // the others have nothing more
	case connic.EventQueued, connic.EventRetry:
		line += fmt.Sprintf(" %d %s", e.Attempt, e.Reason)
		if e.Wait >= time.Second { // there is jitter
			line += fmt.Sprintf(" %ds", e.Wait/time.Second/10*10)
		}
	case connic.EventAttempt, connic.EventDone:
		line += fmt.Sprintf(" %d %d", e.Attempt, e.StatusCode)
		if e.RequestID != "" {
			line += " " + e.RequestID
		}
		if e.Queued >= time.Second {
			line += fmt.Sprintf(" queued %ds", e.Queued/time.Second/10*10)
		}
		if e.Err != nil {
			line += " error"
		}
	}
	if e.Method != http.MethodPost || e.Route != "{connector}" || e.Kind == connic.EventDone && e.Duration < e.Queued {
		line += fmt.Sprintf(" %+v", e)
	}
	s.lines = append(s.lines, line)
	if e.Kind == connic.EventDone {
		s.errs = append(s.errs, e.Err)
	}
}

func TestCallsAreObserved(t *testing.T) {
	t.Parallel()
	const failed = `{"status":"ok","result":{"run_id":"r","status":"failed","error":"no"}}`
	for name, test := range map[string]struct {
		fault wireFault
		times int
		good  string
		op    string
		ctx   time.Duration
		fast  bool
		want  []string
	}{
		"success":   {good: syncAnswer, op: "call", want: []string{"attempt call 1 200", "done call 1 200"}},
		"send":      {good: `{"status":"ok","dispatched_to":1,"run_ids":["r"]}`, op: "send", want: []string{"attempt send 1 200", "done send 1 200"}},
		"failed":    {good: failed, op: "call", want: []string{"attempt call 1 200", "done call 1 200 error"}},
		"sent":      {good: failed, op: "send", want: []string{"attempt send 1 200", "done send 1 200"}},
		"mode":      {good: `{"status":"ok","dispatched_to":1,"run_ids":["r"]}`, op: "call", want: []string{"attempt call 1 200", "done call 1 200 error"}},
		"no answer": {good: `[]`, op: "call", want: []string{"attempt call 1 200 error", "done call 1 200 error"}},
		"404":       {fault: wireFault{answer: status(404, "X-Request-Id: q-1\r\n", "")}, times: 1, op: "call", want: []string{"attempt call 1 404 q-1 error", "done call 1 404 q-1 error"}},
		"refused dial": {fault: wireFault{dial: errors.New("no")}, times: 1, good: syncAnswer, op: "call", want: []string{
			"attempt call 1 0 error", "retry call 1 no connection", "attempt call 2 200", "done call 2 200",
		}},
		"429": {fault: wireFault{answer: status(429, "Retry-After: 20\r\n", "")}, times: 1, good: syncAnswer, op: "call", want: []string{
			"attempt call 1 429 error", "retry call 1 refused: rate limited 20s", "queued call 1 the service requested a pause 20s", "attempt call 2 200", "done call 2 200 queued 20s",
		}},
		"429 too long": {fault: wireFault{answer: status(429, "Retry-After: 20\r\n", "")}, times: 1, op: "call", ctx: 10 * time.Second, want: []string{
			"attempt call 1 429 error", "retry call 1 refused: rate limited 20s", "done call 1 0 error",
		}},
		"429, fast": {fault: wireFault{answer: status(429, "Retry-After: 20\r\n", "")}, times: 1, op: "call", fast: true, want: []string{"attempt call 1 429 error", "done call 1 429 error"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var seen steps
				p := &pipes{t: t, fault: test.fault, times: test.times, good: test.good}
				c := p.client(connector.WithTelemetry(connic.WithObserver(seen.observe)))
				ctx := t.Context()
				if test.ctx > 0 {
					var cancel func()
					ctx, cancel = context.WithTimeout(ctx, test.ctx)
					defer cancel()
				}
				in := connector.Input{Message: "hello", FailFast: test.fast}
				var err error
				if test.op == "call" {
					_, err = c.Call(ctx, in)
				} else {
					_, err = c.Send(ctx, in)
				}
				for i, line := range seen.lines {
					if i == len(test.want) || line != test.want[i] {
						t.Errorf("%q, want %q", seen.lines, test.want)
						break
					}
				}
				if len(seen.lines) != len(test.want) || len(seen.errs) != 1 || !errors.Is(err, seen.errs[0]) {
					t.Errorf("%q, want %q; %v, and the call returns %v", seen.lines, test.want, seen.errs, err)
				}
				p.work.Wait()
			})
		})
	}
}

// A call that would have to wait for others, or for the end of a pause, does so
// and says so, or fails at once.
func TestCallsThatWouldWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen steps
		p := &pipes{t: t, good: syncAnswer}
		busy := make(chan struct{})
		transport := roundTripper(func(r *http.Request) (*http.Response, error) {
			<-busy
			return p.transport().RoundTrip(r)
		})
		c := p.client(connector.WithMaxInFlight(1), connector.WithTelemetry(connic.WithObserver(seen.observe)), connector.WithHTTPClient(&http.Client{Transport: transport}))
		var callers sync.WaitGroup
		for range 2 {
			callers.Go(func() {
				if _, err := c.Call(t.Context(), connector.Input{Message: "m"}); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		fast := func(want connic.Reason, wait time.Duration) {
			t.Helper()
			start := time.Now()
			_, err := c.Send(t.Context(), connector.Input{Message: "m", FailFast: true})
			var limit *connic.LimitError
			if !errors.Is(err, connic.ErrRateLimited) || errors.Is(err, connic.ErrOutcomeUnknown) || !errors.As(err, &limit) || limit.Reason != want || time.Since(start) != 0 {
				t.Errorf("%v after %v", err, time.Since(start))
			}
			if after, _ := connic.RetryAfter(err); after != wait {
				t.Errorf("RetryAfter is %v", after)
			}
			if info, ok := connic.Describe(err); !ok || info.Op != "connectors.send" || info.Attempts != 0 || info.Unknown {
				t.Errorf("%+v", info)
			}
		}
		fast(connic.ReasonInFlight, 0)
		time.Sleep(15 * time.Second)
		close(busy)
		callers.Wait()
		want := []string{
			"queued call 0 enough requests are in flight", "done send 0 0 error", "attempt call 1 200", "done call 1 200",
			"attempt call 1 200", "done call 1 200 queued 10s",
		}
		if !slices.Equal(slices.Sorted(slices.Values(seen.lines)), slices.Sorted(slices.Values(want))) {
			t.Errorf("%q", seen.lines)
		}
		p.fault, p.times = wireFault{answer: status(429, "Retry-After: 60\r\n", "")}, 1
		if _, err := c.Send(t.Context(), connector.Input{Message: "m", FailFast: true}); !errors.Is(err, connic.ErrRateLimited) {
			t.Error(err)
		}
		fast(connic.ReasonPaused, time.Minute)
		p.work.Wait()
	})
}

// A pause that outlasts the deadline is an error of the limit, with the answer
// that began the pause.
func TestARefusalHasTheAnswerBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{t: t, fault: wireFault{answer: status(429, "Retry-After: 60\r\n", `{"detail":"slow down"}`)}, times: 1}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		_, err := p.client().Call(ctx, connector.Input{Message: "m"})
		var limit *connic.LimitError
		if !errors.As(err, &limit) || !limit.Deadline || limit.Last == nil || limit.Last.StatusCode != 429 || limit.Last.Detail != "slow down" {
			t.Errorf("%+v", limit)
		}
		if info, _ := connic.Describe(err); info.StatusCode != 429 || info.Attempts != 1 || info.RetryAfter != time.Minute {
			t.Errorf("%+v", info)
		}
		p.work.Wait()
	})
}

// Neither a log nor an event shows the secret or the address, and the log is that
// of a client.
func TestCallsAreLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		echo := `{"detail":"` + string(canary) + ` ` + hookPath + ` t-91827364"}`
		p := &pipes{t: t, fault: wireFault{answer: status(500, "X-Request-Id: "+string(canary)+"\r\n", echo)}, times: 1}
		c := p.client(connector.WithTelemetry(connic.WithLogger(logger), connic.WithObserver(func(_ context.Context, e connic.Event) { fmt.Fprintf(&log, "%+v\n", e) })))
		if _, err := c.Call(t.Context(), connector.Input{Message: "m"}); err == nil {
			t.Error("no error")
		}
		for _, secret := range []string{string(canary), hookPath, "t-91827364"} {
			if strings.Contains(log.String(), secret) {
				t.Errorf("%s", &log)
			}
		}
		if !strings.Contains(log.String(), `level=DEBUG msg="connic: done" op=connectors.call attempt=1 status=500`) {
			t.Errorf("%s", &log)
		}
		p.work.Wait()
	})
}

type spanKey struct{}

// The context of a call reaches its transport, with the operation.
func TestACallHasAContext(t *testing.T) {
	t.Parallel()
	var got []any
	transport := roundTripper(func(r *http.Request) (*http.Response, error) {
		op, ok := connic.OperationFromContext(r.Context())
		got = append(got, r.Context().Value(spanKey{}), op, ok)
		return nil, errors.New("no")
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	c := must(connector.New(hookURL, canary, connector.WithHTTPClient(&http.Client{Transport: transport}), connector.WithTelemetry(
		connic.WithCallContext(func(ctx context.Context, op connic.Operation) context.Context {
			return context.WithValue(ctx, spanKey{}, op.Name)
		}),
	)))(t)
	_, _ = c.Send(ctx, connector.Input{Message: "m"})
	op := connic.Operation{Name: "connectors.send", Method: "POST", Route: "{connector}", Class: "unsafe", Status: "documented"}
	if want := []any{"connectors.send", op, true}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

// Options that are no telemetry are refused, and so are those that a client refuses.
func TestOptionsOfTelemetry(t *testing.T) {
	t.Parallel()
	for _, opt := range []connic.Option{connic.WithReadOnly(), connic.WithTimeout(time.Second), connic.WithoutRateLimit(), connic.WithObserver(nil), connic.WithSlowQueue(0)} {
		var bad *connic.ArgumentError
		if _, err := connector.New(hookURL, canary, connector.WithTelemetry(connic.WithLogger(slog.Default()), opt)); !errors.As(err, &bad) {
			t.Error(err)
		}
	}
	if _, err := connector.New(hookURL, canary, connector.WithTelemetry(nil, connic.WithSlowQueue(time.Second))); err != nil {
		t.Error(err)
	}
}

// An observer that panics, or exits, leaves the connector as it was.
func TestObserversThatDoNotReturn(t *testing.T) {
	t.Parallel()
	for _, exits := range []bool{false, true} {
		for _, kind := range []connic.EventKind{connic.EventAttempt, connic.EventDone, "context"} {
			broken := true
			die := func(at connic.EventKind) {
				if broken && at == kind {
					broken = false
					if exits {
						runtime.Goexit()
					}
					panic("an observer")
				}
			}
			p := &pipes{t: t, good: syncAnswer}
			c := p.client(connector.WithMaxInFlight(1), connector.WithTelemetry(
				connic.WithObserver(func(_ context.Context, e connic.Event) { die(e.Kind) }),
				connic.WithCallContext(func(ctx context.Context, _ connic.Operation) context.Context { die("context"); return ctx }),
			))
			gone := make(chan struct{})
			go func() {
				defer close(gone)
				defer func() { _ = recover() }()
				_, _ = c.Call(t.Context(), connector.Input{Message: "m"})
			}()
			<-gone
			if _, err := c.Call(t.Context(), connector.Input{Message: "m", FailFast: true}); err != nil || broken {
				t.Errorf("%s, %v: %v", kind, exits, err)
			}
			p.work.Wait()
		}
	}
}

// Telemetry costs a call nothing if there is none, and at most four allocations if there is.
func TestWhatTelemetryOfACallCosts(t *testing.T) { //nolint:paralleltest // it counts allocations
	if raceEnabled {
		t.Skip("the race detector allocates too")
	}
	transport := roundTripper(func(r *http.Request) (*http.Response, error) {
		_, _ = io.Copy(io.Discard, r.Body)
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(syncAnswer))}, nil
	})
	cost := func(opts ...connector.Option) float64 {
		c := must(connector.New(hookURL, canary, append(opts, connector.WithHTTPClient(&http.Client{Transport: transport}))...))(t)
		return testing.AllocsPerRun(200, func() {
			if _, err := c.Call(t.Context(), connector.Input{Message: "m"}); err != nil {
				t.Error(err)
			}
		})
	}
	without, empty := cost(), cost(connector.WithTelemetry())
	observed := cost(connector.WithTelemetry(connic.WithObserver(func(context.Context, connic.Event) {})))
	t.Logf("%.0f allocations without telemetry, %.0f with none set, %.0f with an observer", without, empty, observed)
	if without > 36 || empty > without+1 || observed > without+4 {
		t.Errorf("%.0f allocations, %.0f, %.0f", without, empty, observed)
	}
}

// Options given in two parts all apply.
func TestTelemetryInParts(t *testing.T) {
	t.Parallel()
	srv := connictest.New(t)
	srv.Agent("a", func(context.Context, connictest.Input) (any, error) { return "x", nil })
	var first, second steps
	c := srv.Connector("a").Client(connector.WithTelemetry(connic.WithObserver(first.observe)), connector.WithTelemetry(connic.WithObserver(second.observe)))
	if _, err := c.Call(t.Context(), connector.Input{Message: "m"}); err != nil || len(first.lines) != 2 || !slices.Equal(first.lines, second.lines) {
		t.Errorf("%v, %q, %q", err, first.lines, second.lines)
	}
}

// An announcement that the connector goes away is reported once per operation.
func TestDeprecatedConnectors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen []connic.Event
		p := &pipes{t: t, times: 4, fault: wireFault{answer: status(200, "Deprecation: @1688169599\r\nSunset: Sun, 30 Jun 2030 23:59:59 GMT\r\n", syncAnswer)}}
		c := p.client(connector.WithTelemetry(connic.WithObserver(func(_ context.Context, e connic.Event) {
			if e.Kind == connic.EventDeprecated || e.Deprecation != nil {
				seen = append(seen, e)
			}
		})))
		for range 2 {
			if _, err := c.Call(t.Context(), connector.Input{Message: "m"}); err != nil {
				t.Error(err)
			}
			if _, err := c.Send(t.Context(), connector.Input{Message: "m"}); err != nil {
				t.Error(err)
			}
		}
		if len(seen) != 2 || seen[0].Op != "connectors.call" || seen[1].Op != "connectors.send" {
			t.Fatalf("%+v", seen)
		}
		want := connic.Deprecation{
			Since: time.Date(2023, 6, 30, 23, 59, 59, 0, time.UTC), Sunset: time.Date(2030, 6, 30, 23, 59, 59, 0, time.UTC),
			Text: "Deprecation: @1688169599; Sunset: Sun, 30 Jun 2030 23:59:59 GMT",
		}
		for _, e := range seen {
			if e.Kind != connic.EventDeprecated || e.StatusCode != http.StatusOK || e.Attempt != 1 || e.Deprecation == nil || *e.Deprecation != want {
				t.Errorf("%+v, %+v", e, e.Deprecation)
			}
		}
		p.work.Wait()
	})
}
