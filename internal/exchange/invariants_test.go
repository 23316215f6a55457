package exchange

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// rawServer serves connections one request at a time. serve is called with the
// number of the connection and that of the request on it, and reports whether the
// connection goes on.
func rawServer(t *testing.T, serve func(c net.Conn, conn, request int) bool) (base string, requests *atomic.Int32) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	requests = new(atomic.Int32)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for n := 1; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				reader := bufio.NewReader(c)
				for i := 1; ; i++ {
					r, err := http.ReadRequest(reader)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					requests.Add(1)
					if !serve(c, n, i) {
						return
					}
				}
			}()
		}
	}()
	return "http://" + l.Addr().String(), requests
}

const okAnswer = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=60\r\nContent-Length: 2\r\n\r\n{}"

// What net/http would repeat by itself passes the gate and the retry table.
func TestNetHTTPRepeatsNothing(t *testing.T) {
	t.Parallel()
	for _, own := range []bool{true, false} {
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodPost} {
			for _, header := range []string{"", "Idempotency-Key", "X-Idempotency-Key"} {
				for _, class := range []api.Class{api.Safe, api.Idempotent, api.Unsafe} {
					base, requests := rawServer(t, func(c net.Conn, _, request int) bool {
						if request > 1 {
							return false // as if the server had just closed the idle connection
						}
						_, _ = io.WriteString(c, okAnswer)
						return true
					})
					transport := &http.Transport{}
					if own {
						transport = NewTransport(time.Second, 0)
					}
					e := newEngine(transport)
					var sent, unknown int
					for range 2 {
						var body *Body
						if method == http.MethodPut || method == http.MethodPost {
							body = jsonBody("{}")
						}
						f := newCall(t.Context(), base, method, class, body)
						if header != "" {
							f.x.Header = http.Header{header: {"k"}}
						}
						out := e.Run(&f.x, f)
						if sent += out.Attempts; out.Unknown {
							unknown++
						}
						if f.count("admit") != out.Attempts || len(f.ends) != out.Attempts {
							t.Errorf("%d attempts, %d admissions, %d ends", out.Attempts, f.count("admit"), len(f.ends))
						}
					}
					transport.CloseIdleConnections()
					want := 3
					if class == api.Unsafe {
						want = 2
					}
					if int(requests.Load()) != sent || sent != want || unknown != 3-want {
						t.Errorf("own %v, %s, %q, %v: %d requests, %d of them by the engine, want %d; %d unknown", own, method, header, class, requests.Load(), sent, want, unknown)
					}
				}
			}
		}
	}
}

// closingReader is a body that calls f at each step.
type closingReader struct {
	io.Reader
	f func(place string)
}

func (r closingReader) Read(p []byte) (int, error) { r.f("body read"); return r.Reader.Read(p) }
func (r closingReader) Close() error               { r.f("body close"); return nil }

// Each admission is ended once, whatever user code does.
func TestOneReleasePerAdmission(t *testing.T) {
	t.Parallel()
	for ending, end := range map[string]func(){"panic": func() { panic("user") }, "Goexit": runtime.Goexit} {
		for _, place := range []string{
			"key", "body open", "body read", "body close", "transport", "answer", "answer close", "sending", "landed", "decode", "salvage", "received", "observe", "done by",
		} {
			for _, fails := range []bool{false, true} {
				reached := false
				at := func(where string) {
					if where == place {
						reached = true
						end()
					}
				}
				e := newEngine(transportFunc(func(r *http.Request) (*http.Response, error) {
					at("transport")
					_, _ = io.Copy(io.Discard, r.Body)
					_ = r.Body.Close()
					resp := answer(http.StatusOK, "{}")
					if fails {
						resp = answer(http.StatusOK, "{")
					}
					resp.Body = closingReader{resp.Body, func(where string) { at(strings.Replace(where, "body", "answer", 1)) }}
					if place == "answer" {
						resp.Body = closingReader{nil, func(string) { reached = true; end() }}
					}
					return resp, nil
				}))
				e.Key.Slow = true
				e.Key.Value = func(context.Context) ([]string, error) { at("key"); return []string{"k"}, nil }
				f := newCall(t.Context(), "https://api.test/x", http.MethodPost, api.Idempotent, streamed(func() (io.Reader, error) {
					at("body open")
					return closingReader{strings.NewReader("text"), at}, nil
				}))
				f.at = at
				f.x.Observed = true
				f.x.DoneBy = func(int) bool { at("done by"); return false }
				done := make(chan struct{})
				go func() {
					defer close(done)
					defer func() { _ = recover() }()
					e.Run(&f.x, f)
				}()
				<-done
				what := fmt.Sprintf("%s at %s, failing %v", ending, place, fails)
				if !reached && (place != "salvage" || fails) && place != "done by" {
					t.Errorf("%s: it was not reached", what)
				}
				if admitted := f.count("admit"); admitted != len(f.ends) {
					t.Errorf("%s: %d admissions, %d ends", what, admitted, len(f.ends))
				}
			}
		}
	}
}

// The key is asked for before the gate, and again if the gate or a pause took more
// than 5 s.
func TestKeysAreNotOld(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		queue  time.Duration
		paused bool // the gate admits a refused attempt at once
		keys   int
	}{
		"at once": {0, false, 1}, "in 5 s": {5 * time.Second, false, 1}, "after 5 s": {5*time.Second + 1, false, 2}, "after a pause": {0, true, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var steps []string
				var made time.Time
				refuse := test.paused
				e := newEngine(transportFunc(func(*http.Request) (*http.Response, error) {
					if age := time.Since(made); age > keyAge {
						t.Errorf("the key is %v old", age)
					}
					if refuse {
						refuse = false
						return answer(http.StatusTooManyRequests, "", "Retry-After", "30"), nil
					}
					return answer(http.StatusOK, "{}"), nil
				}))
				e.Key.Slow = true
				e.Key.Value = func(context.Context) ([]string, error) {
					steps, made = append(steps, "key"), time.Now()
					return []string{"k"}, nil
				}
				f := newCall(t.Context(), "https://api.test/x", http.MethodGet, api.Safe, nil)
				f.admit = func(bool) error {
					steps = append(steps, "admit")
					time.Sleep(test.queue)
					return nil
				}
				out := e.Run(&f.x, f)
				keys := 0
				for _, s := range steps {
					if s == "key" {
						keys++
					}
				}
				if out.Cause != CauseNone || keys != test.keys || steps[0] != "key" {
					t.Errorf("%v: %+v", steps, out)
				}
			})
		})
	}
}

// What a transport or a key source returns is never taken for an error of the
// engine's own.
func TestForeignErrorsAreForeign(t *testing.T) {
	t.Parallel()
	for _, foreign := range []error{
		&NotAdmitted{errors.New("x")}, &TooLarge{7}, &Undecodable{Err: errors.New("x")}, ErrAttemptTimeout, errKeyTimeout, errShort, errRunaway, errResent,
		context.Canceled, context.DeadlineExceeded, io.EOF,
	} {
		for _, wrapped := range []bool{false, true} {
			err := foreign
			if wrapped {
				err = fmt.Errorf("token: %w", foreign)
			}
			for place, want := range map[string]Cause{"transport": CauseTransport, "answer": CauseTransport, "key": CauseKey} {
				e := newEngine(transportFunc(func(*http.Request) (*http.Response, error) {
					if place == "transport" {
						return nil, err
					}
					resp := answer(http.StatusOK, "")
					resp.ContentLength, resp.Body = -1, io.NopCloser(io.MultiReader(strings.NewReader("{"), failing{err}))
					return resp, nil
				}))
				if place == "key" {
					e.Key.Value = func(context.Context) ([]string, error) { return nil, err }
				}
				f := newCall(t.Context(), "https://api.test/x", http.MethodPost, api.Unsafe, jsonBody("{}"))
				out := e.Run(&f.x, f)
				if foreign == io.EOF && place == "answer" { //nolint:errorlint // the end of the body
					continue
				}
				if out.Cause != want || out.Unknown != (place != "key") || !errors.Is(out.Err, foreign) || f.count("admit") != len(f.ends) {
					t.Errorf("%v of the %s: %+v", err, place, out)
				}
			}
		}
	}
}

// failing is a reader that fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
