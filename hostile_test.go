package connic

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic/internal/exchange"
)

// What cannot take the answer is refused before anything is sent.
func TestDoRefusesWhatCannotTakeTheAnswer(t *testing.T) {
	t.Parallel()
	c := newTestClient(t, func(*http.Request) (*http.Response, error) {
		t.Error("a request left the process")
		return respond(200, `{}`), nil
	})
	for name, out := range map[string]any{
		"nil raw message": (*json.RawMessage)(nil), "nil pointer": (*Run)(nil), "value": Run{}, "map": map[string]any{}, "function": func() {},
	} {
		var bad *ArgumentError
		if err := c.Do(t.Context(), "POST", "/x", nil, nil, out); !errors.As(err, &bad) || bad.Arg != "out" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A Client for another environment keeps what guards the first one.
func TestForEnvironmentKeepsEveryOption(t *testing.T) {
	t.Parallel()
	derived := 0
	c := newTestClient(t, func(*http.Request) (*http.Response, error) {
		return respond(400, `{"detail": "bad key `+strings.ToUpper(string(testKey))+`"}`), nil
	}, WithCallContext(func(ctx context.Context, _ Operation) context.Context { derived++; return ctx }))
	_, err := c.ForEnvironment("e").Runs.Get(t.Context(), "r1")
	if text := err.Error(); strings.Contains(text, strings.ToUpper(string(testKey[len("cnc_"):]))) {
		t.Errorf("the key shows in %s", text)
	}
	if derived != 1 {
		t.Errorf("WithCallContext was asked %d times", derived)
	}
}

// runawayFile is a file whose reader runs away.
func runawayFile(at string, end func()) FileSource {
	opened := 0
	return FileSource{Name: "a.txt", Open: func() (io.Reader, error) {
		if opened++; at == "Open" || at == "Open again" && opened > 1 {
			end()
		}
		return &runawayReader{at, opened > 1, end}, nil
	}}
}

type runawayReader struct {
	at    string
	again bool
	end   func()
}

func (r *runawayReader) Read(p []byte) (int, error) {
	if r.at == "Read" && r.again {
		r.end()
	}
	return copy(p, "x"), io.EOF
}

func (r *runawayReader) Close() error {
	if r.at == "Close" && r.again {
		r.end()
	}
	return nil
}

// Files are read by net/http's goroutines, and by those of UploadAll. What goes
// wrong there comes to the caller and ends nothing else.
func TestFilesThatRunAway(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"entry_id": "e", "job_id": "j"}`)
	}))
	t.Cleanup(server.Close)
	for ending, end := range map[string]func(){"panic": func() { panic("user's own") }, "Goexit": runtime.Goexit} {
		for _, at := range []string{"Open", "Open again", "Read", "Close"} {
			t.Run(ending+" in "+at, func(t *testing.T) {
				t.Parallel()
				c, err := New("p", testKey, WithBaseURL(server.URL), WithEnvironment("e"), WithTimeout(10*time.Second))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = c.Close() })
				call := func(upload func()) (recovered any, returned bool) {
					done := make(chan struct{})
					go func() {
						defer close(done)
						defer func() { recovered = recover() }()
						upload()
						returned = true
					}()
					select {
					case <-done:
					case <-time.After(time.Minute):
						t.Error("it hangs")
					}
					return recovered, returned
				}
				var uploadErr error
				recovered, returned := call(func() {
					_, uploadErr = c.Knowledge.UploadFile(context.Background(), FileUpload{File: runawayFile(at, end)})
				})
				if ending == "panic" && at != "Close" && recovered != "user's own" || returned && at != "Close" && uploadErr == nil {
					t.Errorf("UploadFile ends with %v, %v, %v", recovered, returned, uploadErr)
				}
				var failed, good int
				recovered, returned = call(func() {
					docs := func(yield func(string, Document) bool) {
						_ = yield("", FileUpload{File: runawayFile(at, end)}) && yield("", TextUpload{Content: "x"})
					}
					for _, err := range c.Knowledge.UploadAll(context.Background(), docs, nil) {
						if err != nil {
							failed++
						} else {
							good++
						}
					}
				})
				if ending == "panic" && at != "Close" && recovered != "user's own" || ending == "Goexit" && at != "Close" && (failed != 1 || good != 1) {
					t.Errorf("UploadAll ends with %v, %v, %d, %d", recovered, returned, failed, good)
				}
				if s := c.RateLimit(); s.InFlight != 0 {
					t.Errorf("%d permits are leaked", s.InFlight)
				}
				if _, err := c.Knowledge.UploadText(t.Context(), TextUpload{Content: "x"}); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestUploadAllRefusesNilDocuments(t *testing.T) {
	t.Parallel()
	c := newTestClient(t, func(*http.Request) (*http.Response, error) { return respond(200, `{"entry_id": "e"}`), nil }, WithEnvironment("e"))
	docs := func(yield func(string, Document) bool) {
		for _, d := range []Document{nil, (*TextUpload)(nil), (*FileUpload)(nil), &TextUpload{Content: "x"}} {
			if !yield("", d) {
				return
			}
		}
	}
	var bad, good int
	for _, err := range c.Knowledge.UploadAll(t.Context(), docs, nil) {
		var argument *ArgumentError
		if errors.As(err, &argument) {
			bad++
		} else if err == nil {
			good++
		}
	}
	if bad != 3 || good != 1 {
		t.Errorf("%d are refused and %d sent", bad, good)
	}
}

// A body that brings nothing, again and again, ends the attempt.
func TestBodiesWithoutProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestClient(t, func(*http.Request) (*http.Response, error) {
			resp := respond(200, "")
			resp.Body = io.NopCloser(lazy{})
			return resp, nil
		}, WithRetry(RetryPolicy{MaxAttempts: 1}))
		_, err := c.Runs.Get(t.Context(), "r1")
		if !errors.Is(err, io.ErrNoProgress) {
			t.Error(err)
		}
	})
}

type lazy struct{}

func (lazy) Read([]byte) (int, error) { return 0, nil }

// An interval that is too short to grow does not make a wait spin.
func TestPollsDoNotSpin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
			if looks++; looks > 10_000 {
				t.Fatal("it spins")
			}
			return respond(200, fmt.Sprintf(`{"id": %q, "status": "running"}`, path.Base(r.URL.Path))), nil
		}, WithoutRateLimit())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := c.Runs.Wait(ctx, "r1", WithPoll(1, time.Hour))
		if !errors.Is(err, context.DeadlineExceeded) || looks > 1000 {
			t.Errorf("%d looks, %v", looks, err)
		}
		looks = 0
		ctx, cancel = context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err = c.Deployments.Wait(ctx, "r1", WithPoll(1, 1))
		if !errors.Is(err, context.DeadlineExceeded) || looks < 10 || looks > 500 {
			t.Errorf("%d looks, %v", looks, err)
		}
	})
}

// An observer may call the client, at every step.
func TestObserversThatCallTheClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		type inner struct{}
		var c *Client
		var calls atomic.Int32
		c = newTestClient(t, func(*http.Request) (*http.Response, error) {
			return respond(200, `{"id": "r1", "status": "completed"}`), nil
		}, WithRateLimit(2, time.Second), WithObserver(func(ctx context.Context, _ Event) {
			if ctx.Value(inner{}) == nil {
				calls.Add(1)
				time.Sleep(time.Millisecond) // until all others wait
				if _, err := c.Runs.Get(context.WithValue(ctx, inner{}, 1), "r1"); err != nil {
					t.Error(err)
				}
			}
		}))
		done := make(chan error)
		for range 20 {
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
				defer cancel()
				_, err := c.Runs.Get(ctx, "r1")
				done <- err
			}()
		}
		for range 20 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if calls.Load() < 40 {
			t.Errorf("%d steps were seen", calls.Load())
		}
	})
}

// What an agent says of a key that it got to see does not show it in capital letters
// either.
func TestTheKeyInAnswersOfEveryKind(t *testing.T) {
	t.Parallel()
	secret := strings.ToUpper(string(testKey[len("cnc_"):]))
	for name, answer := range map[string]string{
		"capital": `{"id": "r1", "status": "failed", "error": "the key ` + strings.ToUpper(string(testKey)) + `"}`,
		"mixed":   `{"id": "r1", "status": "CNC_` + secret + `"}`,
		"escaped": `{"id": "r1", "status": "failed", "error": "%43%4e%43_` + secret + `"}`,
	} {
		c := newTestClient(t, func(*http.Request) (*http.Response, error) { return respond(200, answer), nil })
		_, err := c.Runs.Wait(t.Context(), "r1")
		var buf strings.Builder
		slog.New(slog.NewTextHandler(&buf, nil)).Info("x", "err", err)
		if text := err.Error() + buf.String(); strings.Contains(strings.ToUpper(text), secret) {
			t.Errorf("%s: the key shows in %s", name, text)
		}
	}
}

// A success that says nothing of what was asked for is none, and no route of an event
// has an id.
func TestAnswersThatSayNothing(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{}`, `null`, `{"unknown": 1}`, `[]`, `{"run": {}}`, ` `} {
		var routes []string
		c := newTestClient(t, func(*http.Request) (*http.Response, error) { return respond(200, body), nil },
			WithRetry(RetryPolicy{MaxAttempts: 1}), WithObserver(func(_ context.Context, e Event) { routes = append(routes, e.Route) }))
		var out Run
		for name, call := range map[string]func() error{
			"get": func() error { _, err := c.Runs.Get(t.Context(), "secret-id"); return err },
			"trigger": func() error {
				_, err := c.Agents.Trigger(t.Context(), "secret-id", TriggerRequest{Message: "m"})
				return err
			},
			"judge": func() error { _, err := c.Judges.Get(t.Context(), "secret-id"); return err },
		} {
			var decode *DecodeError
			if err := call(); !errors.As(err, &decode) || name == "trigger" && !errors.Is(err, ErrOutcomeUnknown) {
				t.Errorf("%s of %s: %v", name, body, err)
			}
		}
		_ = c.Do(t.Context(), "GET", "/x/secret-id", nil, nil, &out)
		for _, route := range routes {
			if strings.Contains(route, "secret-id") {
				t.Errorf("the route is %s", route)
			}
		}
	}
}

// A secret at the end of what is kept of a body is not cut, but masked: its
// beginning would be most of it.
func TestKeysAreNotCut(t *testing.T) {
	t.Parallel()
	const rest = "0123456789abcdefghijklmnopqrstuvwxyz"
	for status, kept := range map[int]int{200: 512, 400: exchange.MaxErrorBody} {
		for name, spelled := range map[string]string{
			"whole": "cnc_" + rest, "behind the prefix": rest, "hexadecimal": hex.EncodeToString([]byte(rest)), "escaped": `\u0030\u0031\u0032\u0033` + rest[4:],
		} {
			for cut := range spelled {
				if status == 400 && cut%8 != 7 { // each is a large text
					continue
				}
				blank := strings.Repeat("x ", kept/2)
				body := blank[:kept-cut] + spelled + " and more " + blank
				c, err := New("p", "cnc_"+rest, WithHTTPClient(&http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
					return respond(status, body), nil
				})}))
				if err != nil {
					t.Fatal(err)
				}
				_, err = c.Runs.Get(t.Context(), "r1")
				var undecoded *DecodeError
				var answer *Error
				var shown []byte
				switch {
				case errors.As(err, &undecoded):
					shown = undecoded.Body
				case errors.As(err, &answer):
					shown = answer.Body
				}
				if len(shown) == 0 || len(shown) > kept || strings.Contains(string(shown), spelled[:max(1, cut)]) && cut > 4 {
					t.Errorf("%d, %s, cut after %d: %q", status, name, cut, shown[max(0, len(shown)-80):])
				}
			}
		}
	}
}
