package connictest_test

import (
	"context"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

func TestBodiesAreNotKeptForEver(t *testing.T) {
	t.Parallel()
	srv := connictest.New(t)
	srv.RateLimit(0, 0, connictest.FixedWindow)
	key := string(srv.Key())
	big := `{"query": "` + strings.Repeat("x", 1<<20) + `"}`
	for range 40 {
		send(t, srv, "POST", "/knowledge/query?environment_id=env-test", key, big)
	}
	send(t, srv, "POST", "/knowledge/query?environment_id=env-test", key, `{"query": "`+strings.Repeat("x", 5<<20)+`"}`)
	requests := srv.Requests()
	held, last := 0, requests[len(requests)-1]
	for _, r := range requests {
		if held += len(r.Body); r.Length < len(big) || r.Body != nil && len(r.Body) != r.Length {
			t.Errorf("a body of %d bytes is held as %d", r.Length, len(r.Body))
		}
	}
	if len(requests) != 41 || held > 16<<20 || held < 14<<20 || last.Body != nil || requests[39].Body == nil {
		t.Errorf("of %d requests %d bytes are held", len(requests), held)
	}
	for range 10_100 {
		send(t, srv, "GET", "", key, "")
	}
	if requests = srv.Requests(); len(requests) != 10_000 || requests[0].Op != "project.get" || requests[0].Body != nil {
		t.Errorf("%d requests are held", len(requests))
	}
	if srv.ClearRequests(); len(srv.Requests()) != 0 || srv.Executions("project.get") != 0 {
		t.Error("there is something left")
	}
}

func TestIdsAndTimesFromASeed(t *testing.T) {
	t.Parallel()
	story := func(seed uint64) (state connictest.State) {
		synctest.Test(t, func(t *testing.T) {
			srv := connictest.New(t)
			srv.Seed(seed)
			srv.SetTime(time.Date(2031, 1, 31, 23, 0, 0, 0, time.UTC))
			srv.Agent("echo", echo)
			c := srv.Client(connic.WithEnvironment("env-test"))
			if _, err := c.Agents.Trigger(t.Context(), "echo", connic.TriggerRequest{Message: "x"}); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			if _, err := c.Knowledge.UploadText(t.Context(), connic.TextUpload{Content: "x"}); err != nil {
				t.Error(err)
			}
			time.Sleep(2 * time.Hour)
			state = srv.State()
			if a := srv.AuditLog(); a[0].At.Year() != 2031 || len(a[0].ID) != 36 {
				t.Errorf("the audit log has %+v", a[0])
			}
			if r := srv.Requests()[0]; len(r.ID) != 36 || r.At.Year() != 2031 {
				t.Errorf("%+v", r)
			}
		})
		return state
	}
	first, again, other := story(1), story(1), story(2)
	if !reflect.DeepEqual(first, again) {
		t.Errorf("the same seed gives %+v and %+v", first, again)
	}
	run := first.Runs[0]
	if len(run.ID) != 36 || run.ID[14] != '4' || run.ID == other.Runs[0].ID || !strings.HasPrefix(run.CreatedAt.String(), "2031-01-31 23:00:00") {
		t.Errorf("the run is %+v", run)
	}
	if len(first.Agents) != 1 || len(first.Entries) != 1 || len(first.Jobs) != 1 || first.Jobs[0].Status != connic.JobCompleted || first.Quota.Left != 60 {
		t.Errorf("the state is %+v", first)
	}
}

func TestStateOfTheQuota(t *testing.T) {
	t.Parallel()
	for _, window := range []connictest.Window{connictest.FixedWindow, connictest.SlidingWindow, connictest.TokenBucket, connictest.SlidingWindowRejects} {
		synctest.Test(t, func(t *testing.T) {
			srv := connictest.New(t)
			srv.RateLimit(10, time.Minute, window)
			left := []int{srv.State().Quota.Left}
			srv.Spend(4)
			left = append(left, srv.State().Quota.Left)
			srv.Spend(20)
			left = append(left, srv.State().Quota.Left)
			time.Sleep(time.Minute)
			if left = append(left, srv.State().Quota.Left); !equal(left, []int{10, 6, 0, 10}) {
				t.Errorf("window %d: %v are left", window, left)
			}
		})
	}
}

// TestAThousandCallers use one fake at once, in process and over the listener.
func TestAThousandCallers(t *testing.T) {
	t.Parallel()
	const callers = 1000
	for _, srv := range []*connictest.Server{connictest.New(t), connictest.NewServer(t)} {
		srv.RateLimit(0, 0, connictest.FixedWindow)
		srv.IngestionTime(0)
		srv.Agent("echo", func(_ context.Context, in connictest.Input) (any, error) {
			in.Log("working")
			in.Tokens(connic.TokenUsage{Input: 1})
			in.Cost("0.001", connic.EUR)
			return in.Message, nil
		})
		srv.FailIngestion(func(connictest.IngestedEntry) error { runtime.Gosched(); return nil })
		c := srv.Client(connic.WithEnvironment("env-test"))
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				var err error
				switch i % 4 {
				case 0:
					_, err = c.Agents.Trigger(t.Context(), "echo", connic.TriggerRequest{Message: "x"})
				case 1:
					_, err = c.Knowledge.UploadText(t.Context(), connic.TextUpload{Content: "x"})
				case 2:
					_, err = c.Runs.List(t.Context(), nil)
				case 3:
					_, err = c.Budgets.Usage(t.Context(), nil)
				}
				if err != nil {
					t.Error(err)
				}
				if i%100 == 0 {
					srv.State()
				}
			})
		}
		wg.Wait()
		c.Close()
		srv.Close()
		state := srv.State()
		if len(state.Runs) != callers/4 || len(state.Entries) != callers/4 || len(srv.Requests()) != callers {
			t.Errorf("%d runs, %d entries, %d requests", len(state.Runs), len(state.Entries), len(srv.Requests()))
		}
		for _, r := range state.Runs {
			if !r.Status.Finished() {
				t.Errorf("the run %s is %s", r.ID, r.Status)
			}
		}
	}
}
