package connic_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

func judgesOf(t *testing.T, srv *connictest.Server) []*connic.Judge {
	t.Helper()
	return must[[]*connic.Judge](t)(connic.Collect(srv.Client().Judges.All(t.Context(), nil), 0))
}

// TestEnsure makes judges and budgets what is wanted, and counts the requests.
func TestEnsure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, client := judged(t)
		srv.Agent("sales", nil)
		wanted := fair()
		wanted.ScoreAlert = &connic.ScoreAlert{Threshold: 8}
		wanted.Filters = []connic.RunFilter{{Field: "status", Operator: connic.FilterExists}}
		other := wanted
		other.AgentName = "sales"
		poorer := wanted
		poorer.ScoreAlert, poorer.Filters = nil, nil
		automatic := poorer
		automatic.TriggerMode = connic.JudgeAutomatic // the service chooses the sample rate
		sampled := automatic
		sampled.SampleRate = 20
		manual := poorer
		manual.TriggerMode = connic.JudgeManual
		for i, step := range []struct {
			req      connic.JudgeCreate
			created  bool
			changes  string
			requests int
		}{
			{wanted, true, "[]", 3},
			{wanted, false, "[]", 1},
			{other, true, "[]", 3},
			{poorer, false, "[filters score_alert]", 2},
			{poorer, false, "[]", 1},
			{automatic, false, "[trigger_mode]", 2},
			{automatic, false, "[]", 1},
			{sampled, false, "[sample_rate]", 2},
			{manual, false, "[trigger_mode sample_rate]", 2},
			{manual, false, "[]", 1},
			{poorer, false, "[]", 1},
		} {
			before := len(srv.Requests())
			got, err := client.Judges.Ensure(t.Context(), step.req)
			if err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
			var fields []string
			for _, c := range got.Changes {
				fields = append(fields, c.Field)
			}
			if n := len(srv.Requests()) - before; got.Created != step.created || fmt.Sprint(fields) != step.changes || n != step.requests {
				t.Errorf("step %d: created %v, changes %v, %d requests; want %+v", i, got.Created, fields, n, step)
			}
			if rest := got.Item.Diff(step.req.AsUpdate()); len(rest) != 0 || got.Item.ID == "" {
				t.Errorf("step %d: %v is left of %s", i, rest, got.Item)
			}
			time.Sleep(10 * time.Second)
		}
		if all := judgesOf(t, srv); len(all) != 2 {
			t.Errorf("%d judges", len(all))
		}

		budget := connic.BudgetCreate{Name: "a month", Kind: connic.BudgetLimit, Scope: connic.BudgetAgent, AgentName: "support", Period: connic.BudgetMonthly, Amount: dec("10"), Currency: connic.EUR}
		same := budget
		same.Amount = dec("10.00")
		global := budget
		global.Scope, global.AgentName = connic.BudgetGlobal, ""
		for i, step := range []struct {
			req     connic.BudgetCreate
			created bool
			changes string
		}{
			{budget, true, "[]"},
			{same, false, "[]"},
			{global, false, `[scope: "agent" → "global" agent_name: "support" → null]`},
			{global, false, "[]"},
		} {
			got, err := client.Budgets.Ensure(t.Context(), step.req)
			if err != nil || got.Created != step.created || fmt.Sprint(got.Changes) != step.changes {
				t.Errorf("budget %d: %+v, %v", i, got, err)
			}
			time.Sleep(10 * time.Second)
		}
		// What was read describes what is to be created elsewhere.
		elsewhere, there := judged(t)
		for _, judge := range judgesOf(t, srv) {
			if judge.AgentName == "support" {
				copied := must[*connic.Ensured[connic.Judge]](t)(there.Judges.Ensure(t.Context(), judge.AsCreate()))
				if !copied.Created || len(judge.Diff(copied.Item.AsCreate().AsUpdate())) != 0 {
					t.Errorf("%+v became %+v", judge, copied.Item)
				}
			}
		}
		if n := len(judgesOf(t, elsewhere)); n != 1 {
			t.Errorf("%d copies", n)
		}
		page := must[*connic.Page[connic.Budget]](t)(client.Budgets.List(t.Context(), nil))
		if len(page.Items) != 1 || len(page.Items[0].Diff(page.Items[0].AsCreate().AsUpdate())) != 0 {
			t.Errorf("%+v", page.Items)
		}
		for _, err := range []error{
			second(client.Judges.Ensure(t.Context(), connic.JudgeCreate{Name: "x"})), second(client.Budgets.Ensure(t.Context(), connic.BudgetCreate{Name: "x"})),
			second(client.Judges.Ensure(nil, fair())), //nolint:staticcheck // a nil context is refused
		} {
			var argument *connic.ArgumentError
			if !errors.As(err, &argument) {
				t.Errorf("%v", err)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

// TestEnsureTogether lets many goroutines of one client want the same judge.
func TestEnsureTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, client := judged(t)
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				c := client
				if i%2 == 0 {
					c = client.ForEnvironment("e-1")
				}
				if _, err := c.Judges.Ensure(t.Context(), fair()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := srv.Executions("judges.create"); n != 1 || len(judgesOf(t, srv)) != 1 {
			t.Errorf("%d creates", n)
		}
	})
}

// TestEnsureApart lets two programs want the same judge while there is none.
func TestEnsureApart(t *testing.T) {
	t.Parallel()
	for name, later := range map[string]time.Duration{"before the second look": time.Millisecond, "after the second look": 10 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv, _ := judged(t)
				var all sync.WaitGroup
				var ids [2]string
				for i := range ids {
					client := srv.Client(connic.WithTransport(func(next http.RoundTripper) http.RoundTripper {
						return transportFunc(func(r *http.Request) (*http.Response, error) {
							switch {
							case r.Method == http.MethodPost && i == 1:
								time.Sleep(time.Second + later)
							case r.Method == http.MethodPost:
								time.Sleep(time.Second)
								defer time.Sleep(time.Second)
							}
							return next.RoundTrip(r)
						})
					}))
					all.Go(func() {
						got, err := client.Judges.Ensure(t.Context(), fair())
						if err != nil {
							t.Error(err)
							return
						}
						ids[i] = got.Item.ID
						if got.Created != (i == 0) {
							t.Errorf("client %d created it: %v", i, got.Created)
						}
					})
				}
				all.Wait()
				left := judgesOf(t, srv)
				if len(left) != 1 || ids[0] != left[0].ID || ids[1] != left[0].ID {
					t.Errorf("%v are left, and %v were returned", left, ids)
				}
			})
		})
	}
}

// TestEnsureFindsWhatItsCreateLost covers creations without a response, and
// other failures.
func TestEnsureFindsWhatItsCreateLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, client := judged(t)
		srv.Fault(connictest.Fault{Op: "judges.create", Nth: 1, After: true, Drop: true})
		got, err := client.Judges.Ensure(t.Context(), fair())
		if err != nil || !got.Created || srv.Executions("judges.create") != 1 {
			t.Errorf("%+v, %v", got, err)
		}
		req := fair()
		req.Name = "lost"
		srv.Fault(connictest.Fault{Op: "judges.create", Nth: 1, Drop: true})
		if got, err := client.Judges.Ensure(t.Context(), req); !errors.Is(err, connic.ErrOutcomeUnknown) || got != nil {
			t.Errorf("%+v, %v", got, err)
		}
		// What was created differs, and cannot be changed.
		req.Name = "other"
		srv.Fault(connictest.Fault{Op: "judges.create", Nth: 1, After: true, Drop: true})
		srv.Fault(connictest.Fault{Op: "judges.list", Nth: 2, Set: map[string]any{"items.*.model": "other/model"}})
		srv.Fault(connictest.Fault{Op: "judges.update", Nth: 1, Status: 403})
		if got, err := client.Judges.Ensure(t.Context(), req); !errors.Is(err, connic.ErrForbidden) || got == nil || !got.Created || got.Item.Name != "other" {
			t.Errorf("%+v, %v", got, err)
		}
		// The second look fails: the judge was created all the same.
		req.Name = "unseen"
		srv.Fault(connictest.Fault{Op: "judges.list", Nth: 2, Status: 403})
		if got, err := client.Judges.Ensure(t.Context(), req); !errors.Is(err, connic.ErrForbidden) || got == nil || !got.Created || got.Item.ID == "" {
			t.Errorf("%+v, %v", got, err)
		}
		// Two of the name are left alone.
		must[*connic.Judge](t)(client.Judges.Create(t.Context(), req))
		if got, err := client.Judges.Ensure(t.Context(), req); !errors.Is(err, connic.ErrAmbiguous) || got != nil || strings.Count(err.Error(), ",") != 1 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// TestEnsureIsNeverLocked ends calls in the middle: by their context, a panic,
// runtime.Goexit, and an observer that wants the same.
func TestEnsureIsNeverLocked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, _ := judged(t)
		var end func()
		client := srv.Client(connic.WithObserver(func(context.Context, connic.Event) {
			if f := end; f != nil {
				end = nil
				f()
			}
		}))
		ended := func(f func()) {
			end = f
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer func() { _ = recover() }()
				_, _ = client.Judges.Ensure(t.Context(), fair())
			}()
			<-done
		}
		ended(func() { panic("observed") })
		ended(runtime.Goexit)
		ended(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := client.Judges.Ensure(ctx, fair()); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
		ended(func() { // without an end of its own
			if _, err := client.Judges.Ensure(context.Background(), fair()); err != nil {
				t.Error(err)
			}
		})
		start := time.Now()
		if got, err := client.Judges.Ensure(t.Context(), fair()); err != nil || got.Created || time.Since(start) != 0 {
			t.Errorf("%+v, %v after %v", got, err, time.Since(start))
		}
		if n := len(judgesOf(t, srv)); n != 1 {
			t.Errorf("%d judges", n)
		}
	})
}

func TestEnsureConnectors(t *testing.T) {
	t.Parallel()
	srv := connictest.New(t)
	srv.Agent("support", func(context.Context, connictest.Input) (any, error) { return "x", nil })
	client := srv.Client()
	site := connic.ConnectorCreate{
		Name: "site", Type: "http", Mode: connic.ConnectorSync, Agents: []connic.ConnectorAgent{{Name: "support"}},
		Config: connic.ConnectorConfig{"require_auth": true, "rate_limit_per_minute": 60},
	}
	slower := site
	slower.Config = connic.ConnectorConfig{"rate_limit_per_minute": 30}
	for i, step := range []struct {
		req      connic.ConnectorCreate
		created  bool
		changes  string
		requests int
	}{
		{site, true, "[]", 3},
		{site, false, "[]", 1},
		{slower, false, "[config_json.rate_limit_per_minute: 60 → 30]", 2},
		{slower, false, "[]", 1},
	} {
		before := len(srv.Requests())
		got, err := client.Connectors.Ensure(t.Context(), step.req)
		if err != nil || got.Created != step.created || fmt.Sprint(got.Changes) != step.changes {
			t.Errorf("step %d: %+v, %v", i, got, err)
		}
		if n := len(srv.Requests()) - before; n != step.requests {
			t.Errorf("step %d: %d requests, want %d", i, n, step.requests)
		}
	}
	if _, err := client.Connectors.Ensure(t.Context(), connic.ConnectorCreate{Type: "http"}); !errors.As(err, new(*connic.ArgumentError)) {
		t.Errorf("a connector without a name: %v", err)
	}
}
