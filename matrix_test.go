package connic_test

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/leaktest"
)

// The fault matrix (F1): every fault on every operation, once, twice and
// always, over real sockets. Its three parts are data: the faults below, the
// operations in calls_test.go, and the expectations in the columns safe and
// unsafe.

// An expectation is the outcome of a call whose first attempts meet a fault.
type expectation string

const (
	survives expectation = "survives" // another attempt succeeds
	fails    expectation = "fails"    // the call fails with an error that describes the fault
	unknown  expectation = "unknown"  // the call fails with ErrOutcomeUnknown after one attempt
)

// A wireFault is a fault of a server or of the path to it.
type wireFault struct {
	name         string
	safe, unsafe expectation // for safe and idempotent operations, and for unsafe ones

	dial      error                       // no connection is established
	accept    func(net.Conn)              // the connection ends before a request is read
	answer    func(conn net.Conn)         // what happens after a request
	executed  bool                        // the server may have executed it, and counts it
	slow      bool                        // the client has to time out
	bodyless  expectation                 // instead of safe, if a response needs no body
	statusErr func(e *connic.Error) error // checks the error of a permanent fault
}

func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

func status(code int, header, body string) func(net.Conn) {
	return func(conn net.Conn) {
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s", code, len(body), header, body)
	}
}

func withStatus(code int) func(*connic.Error) error {
	return func(e *connic.Error) error {
		if e == nil || e.StatusCode != code {
			return fmt.Errorf("want an *Error with status %d", code)
		}
		return nil
	}
}

const html = "<html><head><title>Bad gateway</title></head></html>"

var wireFaults = []wireFault{
	{name: "dial refused", safe: survives, unsafe: survives, dial: &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}},
	{name: "DNS", safe: survives, unsafe: survives, dial: &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Name: "api", IsTemporary: true}}},
	{name: "TLS", safe: survives, unsafe: survives, dial: tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}},
	// Before the request is read means at its first byte. An earlier reset
	// could fail the connect, and then nothing was sent.
	{name: "reset before the request", safe: survives, unsafe: unknown, accept: func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1))
		reset(conn)
	}},
	{name: "reset after the request", safe: survives, unsafe: unknown, executed: true, answer: reset},
	{name: "reset in the headers", safe: survives, unsafe: unknown, executed: true, answer: func(conn net.Conn) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Ty")
		reset(conn)
	}},
	{name: "reset in the body", safe: survives, unsafe: unknown, executed: true, answer: func(conn net.Conn) {
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(golden), golden[:20])
		reset(conn)
	}},
	{name: "FIN early", safe: survives, unsafe: unknown, executed: true, answer: func(conn net.Conn) { _ = conn.Close() }},
	{name: "408", safe: survives, unsafe: unknown, executed: true, answer: status(408, "", `{"detail": "timeout"}`), statusErr: withStatus(408)},
	{name: "409", safe: fails, unsafe: fails, answer: status(409, "", `{"detail": "conflict"}`), statusErr: withStatus(409)},
	{name: "425", safe: survives, unsafe: unknown, executed: true, answer: status(425, "", ""), statusErr: withStatus(425)},
	{name: "429", safe: survives, unsafe: survives, answer: status(429, "", `{"detail": "slow down"}`), statusErr: withStatus(429)},
	{name: "429 with Retry-After", safe: survives, unsafe: survives, answer: status(429, "Retry-After: 0.01\r\n", ""), statusErr: withStatus(429)},
	{name: "500", safe: survives, unsafe: unknown, executed: true, answer: status(500, "", `{"detail": "oops"}`), statusErr: withStatus(500)},
	{name: "501", safe: fails, unsafe: fails, answer: status(501, "", ""), statusErr: withStatus(501)},
	{name: "502 with HTML", safe: survives, unsafe: unknown, executed: true, answer: status(502, "", html), statusErr: withStatus(502)},
	{name: "503 with Retry-After", safe: survives, unsafe: unknown, executed: true, answer: status(503, "Retry-After: 0.01\r\n", ""), statusErr: withStatus(503)},
	{name: "504", safe: survives, unsafe: unknown, executed: true, answer: status(504, "", html), statusErr: withStatus(504)},
	{name: "520", safe: survives, unsafe: unknown, executed: true, answer: status(520, "", ""), statusErr: withStatus(520)},
	{name: "slow headers", safe: survives, unsafe: unknown, executed: true, slow: true, answer: func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1)) // until the client gives up
	}},
	{name: "slow body", safe: survives, unsafe: unknown, executed: true, slow: true, answer: func(conn net.Conn) {
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(golden), golden[:20])
		_, _ = conn.Read(make([]byte, 1))
	}},
	{name: "truncated JSON", safe: survives, unsafe: unknown, executed: true, answer: status(200, "", golden[:len(golden)/2])},
	{name: "wrong Content-Length", safe: survives, unsafe: unknown, executed: true, answer: func(conn net.Conn) {
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(golden)+10, golden)
		_ = conn.Close()
	}},
	{name: "broken gzip", safe: survives, unsafe: unknown, executed: true, answer: status(200, "Content-Encoding: gzip\r\n", golden)},
	{name: "200 with HTML", safe: survives, unsafe: unknown, executed: true, answer: status(200, "", html)},
	{name: "200 empty", safe: survives, unsafe: unknown, executed: true, bodyless: "done", answer: status(200, "", "")},
}

// A matrixCase is one cell: a fault, an operation, and how often.
type matrixCase struct {
	fault  *wireFault
	op     operation
	times  int64  // how many attempts meet the fault; 1000 for all
	golden string // the response of an attempt that meets none; golden if empty

	dials, requests, executions atomic.Int64
}

// serve responds to the requests on one connection.
func (m *matrixCase) serve(conn net.Conn) {
	if m.fault.accept != nil && m.dials.Load() <= m.times {
		m.fault.accept(conn)
		return
	}
	reader := bufio.NewReader(conn)
	for {
		r, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		if m.op.Operation != nil && m.op.Op == api.ApprovalsDecide && r.Method == http.MethodGet { // to find out: see TestDecideFaults
			status(200, "", golden)(conn)
			continue
		}
		n := m.requests.Add(1)
		if m.fault.answer != nil && n <= m.times {
			if m.fault.executed {
				m.executions.Add(1)
			}
			m.fault.answer(conn)
			if m.fault.slow {
				return
			}
			continue
		}
		m.executions.Add(1)
		status(200, "", cmp.Or(m.golden, golden))(conn)
	}
}

// open is a Limiter that admits everything.
type open struct{}

func (open) Acquire(ctx context.Context, _ connic.Admission) (connic.Permit, error) {
	return connic.Permit{}, ctx.Err()
}
func (open) Release(connic.Permit, connic.Outcome) {}
func (open) Status() connic.RateLimitStatus        { return connic.RateLimitStatus{} }

// run makes the call over real sockets, unless the fault takes time: then over
// pipes and in virtual time.
func (m *matrixCase) run(t *testing.T) {
	t.Helper()
	if m.fault.slow {
		synctest.Test(t, func(t *testing.T) {
			m.call(t, func(context.Context) (net.Conn, error) {
				near, far := net.Pipe()
				go func() {
					defer far.Close()
					m.serve(far)
				}()
				return near, nil
			})
		})
		return
	}
	address := strings.TrimPrefix(raw(t, func(_ int, conn net.Conn) { m.serve(conn) }), "http://")
	m.call(t, func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", address) })
}

func (m *matrixCase) call(t *testing.T, dial func(context.Context) (net.Conn, error)) {
	t.Helper()
	transport := &http.Transport{
		// This tests the fault and not TLS, so a plain connection passes for
		// TLS.
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if n := m.dials.Add(1); m.fault.dial != nil && n <= m.times {
				return nil, m.fault.dial
			}
			return dial(ctx)
		},
	}
	defer transport.CloseIdleConnections()
	var told leaktest.Record
	client, err := connic.New("p", canary, connic.WithBaseURL("https://api.connic.test"), connic.WithEnvironment("e1"),
		connic.WithHTTPClient(&http.Client{Transport: transport}), connic.WithLimiter(open{}), quick,
		connic.WithObserver(func(_ context.Context, e connic.Event) { told.Print(e, e.Err) }))
	if err != nil {
		t.Error(err)
		return
	}
	err = m.op.call(t.Context(), client)
	m.check(t, err)
	told.Print(err)
	if where := keySearch.In(told.String()); where != "" { // S1
		t.Errorf("%s, %s: the key shows: %s", m.fault.name, m.op.Name, where)
	}
}

func (m *matrixCase) check(t *testing.T, err error) {
	t.Helper()
	want := m.fault.safe
	if m.op.Class == api.Unsafe {
		want = m.fault.unsafe
	} else if m.fault.bodyless != "" && silent(m.op.Operation) {
		want = "done"
	}
	lasting := m.times > 2
	name := fmt.Sprintf("%s, %s, %d times", m.fault.name, m.op.Name, m.times)
	complain := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s: %s; %d connections, %d requests, %d executions: %v", name, fmt.Sprintf(format, args...),
			m.dials.Load(), m.requests.Load(), m.executions.Load(), err)
	}
	attempts := max(m.dials.Load(), m.requests.Load())
	if m.op.Class == api.Unsafe && m.executions.Load() > 1 {
		complain("it was executed more than once")
	}
	if got := errors.Is(err, connic.ErrOutcomeUnknown); got != (want == unknown) {
		complain("outcome unknown is %v", got)
	}
	switch want {
	case "done":
		if err != nil || attempts != 1 {
			complain("it needs no second attempt")
		}
	case survives:
		if !lasting && (err != nil || attempts != m.times+1 || m.requests.Load() < 1) {
			complain("it does not survive with attempt %d", m.times+1)
		}
		if lasting && (err == nil || attempts < 4 || attempts > 11) {
			complain("it ends in another way than with an error after 4 attempts, or 11 refusals")
		}
	default:
		if m.op.Operation != nil && m.op.Op == api.ApprovalsDecide { // finding out needs connections of its own
			attempts = max(m.requests.Load(), 1)
		}
		if err == nil || attempts != 1 {
			complain("it does not end with an error after one attempt")
		}
	}
	if err != nil && m.fault.statusErr != nil {
		var e *connic.Error
		errors.As(err, &e)
		if bad := m.fault.statusErr(e); bad != nil {
			complain("%v", bad)
		}
	}
}

func TestF1FaultMatrix(t *testing.T) {
	t.Parallel()
	// The cases only wait for sockets, so many of them run at once.
	slots := make(chan struct{}, 32)
	var wg sync.WaitGroup
	n := 0
	ops := operations(t)
	for i := range wireFaults {
		for _, op := range ops {
			for _, times := range []int64{1, 2, 1000} {
				if n++; raceDetector && n%5 != 0 { // no multiple of the three times
					continue
				}
				m := &matrixCase{fault: &wireFaults[i], op: op, times: times}
				if m.fault.slow {
					m.run(t)
					continue
				}
				slots <- struct{}{}
				wg.Go(func() {
					defer func() { <-slots }()
					m.run(t)
				})
			}
		}
	}
	wg.Wait()
	t.Logf("%d faults, %d operations, %d cases", len(wireFaults), len(ops), n)
}
