package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/examples/internal/service"
)

func TestWeb(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		question string
		prepare  func(*connictest.Server)
		status   int
		answer   string
		after    string // Retry-After
		executed int    // runs that were started
	}{
		"an answer":   {"May I return it?", nil, 200, "You may return the goods within 30 days.\n", "", 1},
		"no question": {" \n", nil, 400, "Ask a question of at most 16 KiB.\n", "", 0},
		"a long one":  {strings.Repeat("long", 1<<13), nil, 400, "Ask a question of at most 16 KiB.\n", "", 0},
		"no quota left": {"May I?", func(s *connictest.Server) {
			s.Fault(connictest.Fault{Op: "agents.trigger", Status: 429, RetryAfter: "40"})
		}, 503, "Too many questions at once.\n", "41", 0},
		"lost":      {"May I?", func(s *connictest.Server) { s.Fault(connictest.Fault{Op: "agents.trigger", After: true, Drop: true}) }, 502, "It is not known whether your question was received.\n", "", 1},
		"an outage": {"May I?", func(s *connictest.Server) { s.Fault(connictest.Fault{Op: "agents.trigger", Status: 503, Times: -1}) }, 502, "It is not known whether your question was received.\n", "", 0},
		"overload": {"May I?", func(s *connictest.Server) {
			s.Fault(connictest.Fault{Op: "agents.trigger", Status: 503, RetryAfter: "5", Times: -1})
		}, 502, "It is not known whether your question was received.\n", "", 0},
		"a refused key": {"May I?", func(s *connictest.Server) { s.Fault(connictest.Fault{Op: "agents.trigger", Status: 401}) }, 502, "Something went wrong.\n", "", 0},
		"too slow": {"May I?", func(s *connictest.Server) {
			s.Agent("support", func(ctx context.Context, _ connictest.Input) (any, error) { <-ctx.Done(); return nil, ctx.Err() })
		}, 504, "The answer took too long.\n", "", 1},
		"no quota left to poll, or to cancel": {"May I?", func(s *connictest.Server) {
			for _, op := range []string{"runs.get", "runs.list"} {
				s.Fault(connictest.Fault{Op: op, Status: 429, RetryAfter: "40", Times: -1})
			}
		}, 504, "The answer took too long.\n", "", 1},
		"a failure": {"May I?", func(s *connictest.Server) {
			s.Agent("support", func(context.Context, connictest.Input) (any, error) { return nil, errors.New("no idea") })
		}, 502, "The agent failed.\n", "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv := connictest.New(t)
				service.Furnish(srv)
				if test.prepare != nil {
					test.prepare(srv)
				}
				began := time.Now()
				w := httptest.NewRecorder()
				ask(srv.Client())(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/ask", strings.NewReader(test.question)))
				if w.Code != test.status || w.Body.String() != test.answer || w.Header().Get("Retry-After") != test.after {
					t.Errorf("%d %v %q", w.Code, w.Header(), w.Body)
				}
				if n := srv.Executions("agents.trigger"); n != test.executed {
					t.Errorf("%d runs", n)
				}
				if took := time.Since(began); took > timeout+10*time.Second {
					t.Errorf("it took %v", took)
				}
				if name == "too slow" && srv.Executions("runs.cancel") != 1 {
					t.Error("the run goes on")
				}
			})
		})
	}
}

func TestWebWithoutCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		service.Furnish(srv)
		gone, leave := context.WithCancel(t.Context())
		time.AfterFunc(300*time.Millisecond, leave)
		w := httptest.NewRecorder()
		ask(srv.Client())(w, httptest.NewRequestWithContext(gone, http.MethodPost, "/ask", strings.NewReader("May I?")))
		if w.Body.Len() > 0 || srv.Executions("runs.cancel") != 1 {
			t.Errorf("%q, %d cancellations", w.Body, srv.Executions("runs.cancel"))
		}
	})
}
