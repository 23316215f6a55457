package connector_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
)

const (
	canary   = connector.Secret("canary-7f3a9c15e8b2d604")
	hookPath = "/hooks/4f2a1c9d8e7b6a50"
	hookURL  = "https://connect.invalid" + hookPath + "?tenant=t-91827364"
)

// wireFault is what a server does with a request. Executed says that it has done the
// work by then.
type wireFault struct {
	name     string
	dial     error // the connection is not even made
	silent   bool  // the connection is closed before the request is read
	executed bool
	answer   func(conn net.Conn)
	// final: no further attempt is made. Unknown: the error has to say so.
	final, unknown bool
}

func says(text string) func(net.Conn) {
	return func(conn net.Conn) { _, _ = io.WriteString(conn, text) }
}

func status(code int, header, body string) func(net.Conn) {
	return says(fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Length: %d\r\n%s\r\n%s", code, len(body), header, body))
}

const syncAnswer = `{"status": "ok", "result": {"run_id": "run-1", "agent_name": "support", "status": "completed", "output": "done", "error": null}}`

var wireFaults = []wireFault{
	{name: "dial refused", dial: errors.New("connection refused")},
	{name: "unknown host", dial: &net.DNSError{Err: "no such host", Name: "connect.invalid", IsNotFound: true}},
	{name: "closed before the request", silent: true, final: true, unknown: true},
	{name: "closed after the request", executed: true, final: true, unknown: true, answer: func(net.Conn) {}},
	{name: "closed in the headers", executed: true, final: true, unknown: true, answer: says("HTTP/1.1 200 OK\r\nContent-")},
	{name: "closed in the body", executed: true, final: true, unknown: true, answer: says("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + `{"status": "ok", "res`)},
	{name: "silence", executed: true, final: true, unknown: true, answer: func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }},
	{name: "body that stops", executed: true, final: true, unknown: true, answer: func(c net.Conn) {
		says("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")(c)
		_, _ = io.Copy(io.Discard, c)
	}},
	{name: "garbage", executed: true, final: true, unknown: true, answer: says("\x00\x01 no HTTP\r\n\r\n")},
	{name: "broken gzip", executed: true, final: true, unknown: true, answer: status(200, "Content-Encoding: gzip\r\n", "no gzip")},
	{name: "200 with HTML", executed: true, final: true, unknown: true, answer: status(200, "Content-Type: text/html\r\n", "<html><title>hello</title></html>")},
	{name: "200 empty", executed: true, final: true, unknown: true, answer: status(200, "", "")},
	{name: "204", executed: true, final: true, unknown: true, answer: says("HTTP/1.1 204 No Content\r\n\r\n")},
	{name: "truncated JSON", executed: true, final: true, unknown: true, answer: status(200, "", syncAnswer[:len(syncAnswer)-1])},
	{name: "another JSON", executed: true, final: true, unknown: true, answer: status(200, "", `{"status": "ok"}`)},
	{name: "a list", executed: true, final: true, unknown: true, answer: status(200, "", `[1]`)},
	{name: "null", executed: true, final: true, unknown: true, answer: status(200, "", `null`)},
	{name: "408", executed: true, final: true, unknown: true, answer: status(408, "", "")},
	{name: "425", executed: true, final: true, unknown: true, answer: status(425, "", "")},
	{name: "500", executed: true, final: true, unknown: true, answer: status(500, "", `{"detail": "no"}`)},
	{name: "502 with HTML", executed: true, final: true, unknown: true, answer: status(502, "", "<html>")},
	{name: "503 with Retry-After", executed: true, final: true, unknown: true, answer: status(503, "Retry-After: 1\r\n", "")},
	{name: "504", executed: true, final: true, unknown: true, answer: status(504, "", "")},
	{name: "520", executed: true, final: true, unknown: true, answer: status(520, "", "")},
	{name: "501", final: true, answer: status(501, "", "")},
	{name: "400", final: true, answer: status(400, "", `{"detail": "no"}`)},
	{name: "401", final: true, answer: status(401, "", `{"detail": "no"}`)},
	{name: "404", final: true, answer: status(404, "", "")},
	{name: "409", final: true, answer: status(409, "", "")},
	{name: "422", final: true, answer: status(422, "", "")},
	{name: "302", final: true, answer: status(302, "Location: https://elsewhere.invalid/x\r\n", "")},
	{name: "302 to nowhere", final: true, answer: status(302, "Location: ://\r\n", "")},
	{name: "307", final: true, answer: status(307, "Location: "+hookPath+"/\r\n", "")},
	{name: "429", answer: status(429, "", "")},
	{name: "429 with Retry-After", answer: status(429, "Retry-After: 7\r\n", "")},
	{name: "429 with Retry-After 0", answer: status(429, "Retry-After: 0\r\n", "")},
}

// pipes is a server behind a transport that dials pipes. It counts what it executes.
type pipes struct {
	t     *testing.T
	fault wireFault
	times int // requests to spoil; negative: all
	good  string

	mu       sync.Mutex
	executed int
	attempts int
	starts   []time.Time
	work     sync.WaitGroup
}

func (p *pipes) transport() *http.Transport {
	return &http.Transport{
		DialTLSContext:    p.dial,
		DisableKeepAlives: true,
	}
}

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	p.mu.Lock()
	p.attempts++
	p.starts = append(p.starts, time.Now())
	hit := p.times != 0
	if p.times > 0 {
		p.times--
	}
	p.mu.Unlock()
	if hit && p.fault.dial != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: p.fault.dial}
	}
	near, far := net.Pipe()
	p.work.Go(func() {
		defer far.Close()
		if hit && p.fault.silent {
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(far))
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		if r.Header.Get("X-Connic-Secret") != string(canary) || r.Method != http.MethodPost || r.URL.RequestURI() != hookPath+"?tenant=t-91827364" {
			p.t.Errorf("the request is %s %s with %v", r.Method, r.URL, r.Header)
		}
		p.mu.Lock()
		if !hit || p.fault.executed {
			p.executed++
		}
		p.mu.Unlock()
		if hit {
			p.fault.answer(far)
			return
		}
		status(200, "", p.good)(far)
	})
	return near, nil
}

func (p *pipes) client(opts ...connector.Option) *connector.Connector {
	opts = append([]connector.Option{connector.WithHTTPClient(&http.Client{Transport: p.transport()})}, opts...)
	return must(connector.New(hookURL, canary, opts...))(p.t)
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

var operations = map[string]func(context.Context, *connector.Connector) error{
	"call": func(ctx context.Context, c *connector.Connector) error {
		_, err := c.Call(ctx, connector.Input{Message: "hello"})
		return err
	},
	"send": func(ctx context.Context, c *connector.Connector) error {
		_, err := c.Send(ctx, connector.Input{Message: "hello", Payload: map[string]int{"n": 1}})
		return err
	},
	"send files": func(ctx context.Context, c *connector.Connector) error {
		_, err := c.Send(ctx, connector.Input{Files: []connector.File{{
			Name: "a.txt", MIMEType: "text/plain", Open: func() (io.Reader, error) { return strings.NewReader("content"), nil },
		}}})
		return err
	},
}

// TestF1ConnectorFaults is the fault matrix of connectors: an input is executed at most
// once, always, and the error says that it may have been exactly where that is so.
func TestF1ConnectorFaults(t *testing.T) {
	t.Parallel()
	for _, fault := range wireFaults {
		for name, operation := range operations {
			for _, times := range []int{1, 2, -1} {
				t.Run(fmt.Sprintf("%s/%s/%d", fault.name, name, times), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						p := &pipes{t: t, fault: fault, times: times, good: syncAnswer}
						ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
						defer cancel()
						err := operation(ctx, p.client())
						p.work.Wait()
						if p.executed > 1 {
							t.Errorf("executed %d times", p.executed)
						}
						if survives := !fault.final && times > 0; survives != (err == nil) {
							t.Errorf("survives %v, and the error is %v", survives, err)
						}
						if err == nil && p.executed != 1 {
							t.Errorf("a success with %d executions", p.executed)
						}
						if got := errors.Is(err, connic.ErrOutcomeUnknown); got != fault.unknown {
							t.Errorf("outcome unknown: %v; %v", got, err)
						}
						if fault.final && p.attempts != 1 {
							t.Errorf("%d attempts", p.attempts)
						}
						if fault.dial != nil && times < 0 && p.attempts != 4 {
							t.Errorf("%d attempts", p.attempts)
						}
						show(t, err)
					})
				})
			}
		}
	}
}

func sleepFor(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestCallsEndWithTheirContext(t *testing.T) {
	t.Parallel()
	reason := errors.New("the visitor has left")
	for name, fault := range map[string]wireFault{
		"in the answer": {answer: func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }},
		"in a pause":    {answer: status(429, "Retry-After: 100\r\n", "")},
		"in a backoff":  {dial: errors.New("refused")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &pipes{t: t, times: -1, fault: fault}
				ctx, cancel := context.WithCancelCause(t.Context())
				start := time.Now()
				time.AfterFunc(10*time.Millisecond, func() { cancel(reason) })
				_, err := p.client().Call(ctx, connector.Input{Message: "hello"})
				if !errors.Is(err, context.Canceled) || !errors.Is(err, reason) {
					t.Errorf("%v", err)
				}
				if errors.Is(err, connic.ErrOutcomeUnknown) != (name == "in the answer") {
					t.Errorf("%v", err)
				}
				if took := time.Since(start); took > 60*time.Millisecond {
					t.Errorf("after %v", took)
				}
				p.work.Wait()
			})
		})
	}
}

// TestAnAnswerAfterFiveMinutes: the service takes up to five minutes, and a call waits
// that long and a little more.
func TestAnAnswerAfterFiveMinutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := func(d time.Duration) wireFault {
			return wireFault{answer: func(c net.Conn) {
				if sleepFor(t.Context(), d) == nil {
					status(200, "", syncAnswer)(c)
				}
			}}
		}
		p := &pipes{t: t, times: 1, fault: slow(5 * time.Minute)}
		result, err := p.client().Call(t.Context(), connector.Input{Message: "hello"})
		if err != nil || result.Output != "done" || result.RunID != "run-1" || result.AgentName != "support" || result.Status != connic.RunCompleted {
			t.Errorf("%+v, %v", result, err)
		}
		p = &pipes{t: t, times: 1, fault: slow(10 * time.Minute)}
		start := time.Now()
		_, err = p.client().Call(t.Context(), connector.Input{Message: "hello"})
		if !errors.Is(err, connic.ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 5*time.Minute+15*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		p = &pipes{t: t, times: 1, fault: slow(10 * time.Minute)}
		client := &http.Client{Transport: p.transport(), Timeout: time.Second}
		start = time.Now()
		_, err = must(connector.New(hookURL, canary, connector.WithHTTPClient(client)))(t).Call(t.Context(), connector.Input{Message: "hello"})
		if !errors.Is(err, connic.ErrOutcomeUnknown) || !strings.Contains(err.Error(), "Timeout of the http.Client") || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
