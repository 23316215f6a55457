package connic_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// manyWaits is work that many single waits wait for.
type manyWaits struct {
	ids  []string // of work that lasts for more than ten minutes; the last of it ends badly
	wait func(ctx context.Context, c *connic.Client, id string, opts ...connic.WaitOption) (got string, err error)
	op   string // the list operation, or the one that gets a single item where there is none
	most int    // requests in ten minutes
	poor int    // the same where the list is refused
	// single is the operation that gets a single item.
	single string
}

// waitKinds start n pieces of work of each kind.
var waitKinds = map[string]func(t *testing.T, srv *connictest.Server, c *connic.Client, n int) manyWaits{
	"jobs": func(t *testing.T, srv *connictest.Server, c *connic.Client, n int) manyWaits {
		w := manyWaits{op: "knowledge.jobs_list", single: "knowledge.jobs_get", most: 60, poor: 310}
		srv.IngestionTime(11 * time.Minute)
		srv.FailIngestion(func(e connictest.IngestedEntry) error {
			if e.EntryID == fmt.Sprint(n-1) {
				return errors.New("unreadable")
			}
			return nil
		})
		for i := range n {
			w.ids = append(w.ids, upload(t, c, connic.TextUpload{Content: "text", EntryID: fmt.Sprint(i)}).JobID)
		}
		w.wait = func(ctx context.Context, c *connic.Client, id string, opts ...connic.WaitOption) (string, error) {
			job, err := c.Knowledge.WaitJob(ctx, id, nil, opts...)
			return job.ID, err
		}
		return w
	},
	"evaluations": func(t *testing.T, srv *connictest.Server, c *connic.Client, n int) manyWaits {
		w := manyWaits{op: "judges.evaluations", most: 60}
		judge := slowJudge(t, srv, c, connic.JudgeManual, 11*time.Minute)
		for i := range n {
			id := trigger(t, c, "a", fmt.Sprint(n-1-i))
			time.Sleep(time.Second)
			w.ids = append(w.ids, must[*connic.Evaluation](t)(c.Judges.Evaluate(t.Context(), judge, id)).ID)
		}
		w.wait = func(ctx context.Context, c *connic.Client, id string, opts ...connic.WaitOption) (string, error) {
			e, err := c.Judges.WaitEvaluation(ctx, judge, id, opts...)
			return e.ID, err
		}
		return w
	},
	"evaluations of runs": func(t *testing.T, srv *connictest.Server, c *connic.Client, n int) manyWaits {
		w := manyWaits{op: "judges.evaluations", most: 60}
		judge := slowJudge(t, srv, c, connic.JudgeAutomatic, 6*time.Minute)
		srv.Agent("a", lasting(5*time.Minute)) // until then they have no evaluation
		for i := range n {
			w.ids = append(w.ids, trigger(t, c, "a", fmt.Sprint(n-1-i)))
		}
		w.wait = func(ctx context.Context, c *connic.Client, id string, opts ...connic.WaitOption) (string, error) {
			e, err := c.Judges.WaitRunEvaluation(ctx, judge, id, opts...)
			return e.RunID, err
		}
		return w
	},
	"deployments": func(t *testing.T, srv *connictest.Server, c *connic.Client, n int) manyWaits {
		w := manyWaits{op: "deployments.list", single: "deployments.get", most: 60, poor: 310}
		srv.PhaseTime(4 * time.Minute) // the others are queued behind the first
		srv.FailDeployment(func(connictest.UploadedProject) error {
			if len(w.ids) == n-1 {
				return errors.New("broken")
			}
			return nil
		})
		for range n {
			w.ids = append(w.ids, must[*connic.Deployment](t)(c.Deployments.UploadFS(t.Context(), project, nil)).ID)
			srv.PhaseTime(time.Second)
		}
		w.wait = func(ctx context.Context, c *connic.Client, id string, opts ...connic.WaitOption) (string, error) {
			d, err := c.Deployments.Wait(ctx, id, opts...)
			return d.ID, err
		}
		return w
	},
	"test runs": func(t *testing.T, srv *connictest.Server, c *connic.Client, n int) manyWaits {
		w := manyWaits{op: "test_runs.get", single: "test_runs.get", most: 310}
		srv.PhaseTime(3 * time.Minute)
		srv.Tests(func(connictest.UploadedProject) []connic.TestCase {
			return []connic.TestCase{{AgentName: "a", TestName: "greets", Passed: len(w.ids) != n-1}}
		})
		for range n {
			w.ids = append(w.ids, must[*connic.TestRun](t)(c.TestRuns.Create(t.Context(), connic.TestRunCreate{Project: project})).ID)
		}
		w.wait = func(ctx context.Context, c *connic.Client, id string, opts ...connic.WaitOption) (string, error) {
			r, err := c.TestRuns.Wait(ctx, id, opts...)
			return r.ID, err
		}
		return w
	},
	"dev sessions": func(t *testing.T, srv *connictest.Server, c *connic.Client, n int) manyWaits {
		w := manyWaits{op: "dev_sessions.get", single: "dev_sessions.get", most: 90} // of two sessions
		srv.PhaseTime(11 * time.Minute)
		good := must[*connic.DevSession](t)(c.DevSessions.Create(t.Context(), connic.DevSessionCreate{Name: "good"}))
		srv.FailDevSessions(true)
		bad := must[*connic.DevSession](t)(c.DevSessions.Create(t.Context(), connic.DevSessionCreate{Name: "bad"}))
		for range n - 1 {
			w.ids = append(w.ids, good.ID)
		}
		w.ids = append(w.ids, bad.ID)
		w.wait = func(ctx context.Context, c *connic.Client, id string, opts ...connic.WaitOption) (string, error) {
			s, err := c.DevSessions.Wait(ctx, id, opts...)
			return s.ID, err
		}
		return w
	},
}

// slowJudge makes a judge that takes so long, and fails on runs that output
// "done: 0".
func slowJudge(t *testing.T, srv *connictest.Server, c *connic.Client, mode connic.JudgeTrigger, takes time.Duration) string {
	t.Helper()
	srv.Agent("a", lasting(0))
	srv.Judge("", func(ctx context.Context, in connictest.JudgeInput) (map[string]connictest.Score, error) {
		if err := pause(ctx, takes); err != nil {
			return nil, err
		}
		if in.Run.Output == "done: 0" {
			return nil, errors.New("speechless")
		}
		return map[string]connictest.Score{"accuracy": {Points: 7}}, nil
	})
	params := fair()
	params.AgentName = "a"
	params.TriggerMode = mode
	return must[*connic.Judge](t)(c.Judges.Create(t.Context(), params)).ID
}

// Single waits of one kind on one client share their polls, and nothing else: each
// has its context, its progress, its options and its error.
func TestSingleWaitsShareTheirPolls(t *testing.T) {
	t.Parallel()
	for name, prepare := range waitKinds {
		refusals := []int{0}
		if name == "jobs" || name == "deployments" { // those with a list and another way
			refusals = append(refusals, 400, 403, 404, 405, 422)
		}
		for _, refusal := range refusals {
			t.Run(fmt.Sprint(name, "/", refusal), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { shareTheirPolls(t, prepare, refusal) })
			})
		}
	}
}

func shareTheirPolls(t *testing.T, prepare func(*testing.T, *connictest.Server, *connic.Client, int) manyWaits, refusal int) {
	const n = 100
	srv := connictest.New()
	defer srv.Close()
	srv.RateLimit(0, 0, connictest.FixedWindow)
	environment := connic.WithEnvironment("env-test")
	work := prepare(t, srv, srv.Client(connic.WithoutRateLimit(), environment), n)
	most := work.most
	if refusal != 0 {
		srv.Fault(connictest.Fault{Op: work.op, Times: -1, Status: refusal})
		most = work.poor
	}
	srv.RateLimit(60, time.Minute, connictest.SlidingWindow)
	client := srv.Client(environment)
	before := len(srv.Requests())

	early, cancel := context.WithCancel(t.Context())
	defer cancel()
	gone, bad := n/2, n-1
	var left time.Time
	var waits sync.WaitGroup
	seen := make([]int, n) // polls that each was shown
	ended := make([]error, n)
	for i, id := range work.ids {
		waits.Go(func() {
			ctx := t.Context()
			if i == gone {
				ctx = early
			}
			// The wait of a derived client joins the others.
			c := client
			if i%2 == 0 {
				c = client.ForEnvironment("env-test")
			}
			got, err := work.wait(ctx, c, id, connic.WithProgress(func(e connic.WaitEvent) {
				if e.ID != id || !e.Done && e.Next <= 0 {
					t.Errorf("the wait for %s is shown %+v", id, e)
				}
				seen[i]++
			}))
			if got != id && (i != gone || got != "") {
				t.Errorf("the wait for %s returned %s", id, got)
			}
			if ended[i] = err; i == gone {
				left = time.Now()
			}
		})
	}
	time.Sleep(10*time.Minute - time.Second)
	synctest.Wait()
	sent := srv.Requests()[before:]
	if len(sent) > most || len(sent) < 20 {
		t.Errorf("%d requests in ten minutes, want at most %d", len(sent), most)
	}
	t.Logf("%d requests in ten minutes", len(sent))

	at := time.Now()
	cancel()
	synctest.Wait()
	var wait *connic.WaitError
	if !errors.As(ended[gone], &wait) || !errors.Is(ended[gone], context.Canceled) || left.Sub(at) > 50*time.Millisecond || wait.ID != work.ids[gone] {
		t.Errorf("the wait that was given up ended after %v with %v", left.Sub(at), ended[gone])
	}
	waits.Wait()
	for i, err := range ended {
		if (err != nil) != (i == gone || i == bad) || seen[i] == 0 {
			t.Errorf("the wait for %s ended with %v after %d polls", work.ids[i], err, seen[i])
		}
	}
	if err := ended[bad]; err == nil || errors.As(err, &wait) || !strings.Contains(err.Error(), "fail") {
		t.Errorf("the work that ended badly: %v", err)
	}
	synctest.Wait()
	if s := client.RateLimit(); s.InFlight != 0 || s.Waiting != 0 || s.Polling != 0 || s.Reserved != 0 || s.Refusals != 0 {
		t.Errorf("they left behind %+v", s)
	}
}

// What one wait is configured with is none of another's.
func TestSharedWaitsKeepTheirOptions(t *testing.T) {
	t.Parallel()
	for name, prepare := range waitKinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv := connictest.New()
				defer srv.Close()
				srv.RateLimit(0, 0, connictest.FixedWindow)
				environment := connic.WithEnvironment("env-test")
				work := prepare(t, srv, srv.Client(connic.WithoutRateLimit(), environment), 4)
				client := srv.Client(environment)
				var waits sync.WaitGroup
				for i, id := range work.ids[:3] {
					waits.Go(func() {
						var opts []connic.WaitOption
						switch i {
						case 1:
							opts = append(opts, connic.WithPollFailures(2))
						case 2: // its own polls
							opts = append(opts, connic.WithRequestOptions(connic.WithHeader("X-Own", "1")))
						}
						start := time.Now()
						_, err := work.wait(t.Context(), client, id, opts...)
						var wait *connic.WaitError
						switch took := time.Since(start); {
						case i != 1 && (err != nil || took < 9*time.Minute):
							t.Errorf("wait %d ended after %v with %v", i, took, err)
						case i == 1 && (!errors.As(err, &wait) || !errors.Is(err, connic.ErrServer) || took > 3*time.Minute):
							t.Errorf("wait %d ended after %v with %v", i, took, err)
						}
					})
				}
				time.Sleep(time.Minute)
				for _, op := range []string{work.op, work.single} {
					if op != "" {
						srv.Fault(connictest.Fault{Op: op, Times: -1, Status: 500})
					}
				}
				time.Sleep(3 * time.Minute)
				srv.ClearFaults()
				waits.Wait()
			})
		})
	}
}

// A list that may not be read ends the waits for what only the list shows.
func TestEvaluationsWithoutAList(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]error{400: connic.ErrBadRequest, 403: connic.ErrForbidden, 405: nil} {
		synctest.Test(t, func(t *testing.T) {
			srv := connictest.New()
			defer srv.Close()
			srv.Fault(connictest.Fault{Op: "judges.evaluations", Times: -1, Status: status})
			client := srv.Client()
			var waits sync.WaitGroup
			for i := range 5 {
				waits.Go(func() {
					e, err := client.Judges.WaitEvaluation(t.Context(), "j", fmt.Sprint(i))
					var wait *connic.WaitError
					if !errors.As(err, &wait) || want != nil && !errors.Is(err, want) || e.ID != fmt.Sprint(i) || e.JudgeID != "j" {
						t.Errorf("%d: %+v, %v", status, e, err)
					}
				})
			}
			waits.Wait()
		})
	}
}

// A list may leave out why a deployment failed: what has ended is asked for once more.
func TestDeploymentsEndByTheirOwnAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.FailDeployment(func(connictest.UploadedProject) error { return errors.New("line 1: broken") })
		client := srv.Client()
		var ids []string
		for range 5 {
			ids = append(ids, must[*connic.Deployment](t)(client.Deployments.UploadFS(t.Context(), project, nil)).ID)
		}
		srv.Fault(connictest.Fault{Op: "deployments.list", Times: -1, Remove: []string{"items.*.error", "items.*.agents"}})
		var waits sync.WaitGroup
		for _, id := range ids {
			waits.Go(func() {
				d, err := client.Deployments.Wait(t.Context(), id)
				if err == nil || !strings.Contains(err.Error(), "line 1: broken") || len(d.Agents) == 0 {
					t.Errorf("%+v, %v", d, err)
				}
			})
		}
		waits.Wait()
		if list := count(srv, "deployments.list"); list == 0 {
			t.Error("the list was never asked for")
		}
	})
}

// Waits for evaluations that do not exist yet cost one request a look, and still find
// an evaluation that was pushed off the first page between two looks.
func TestEvaluationsThatComeLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.RateLimit(0, 0, connictest.FixedWindow)
		setup := srv.Client(connic.WithoutRateLimit())
		judge := slowJudge(t, srv, setup, connic.JudgeManual, time.Second)
		var runs []string
		for i := range 6 {
			runs = append(runs, trigger(t, setup, "a", fmt.Sprint(i+1)))
		}
		time.Sleep(time.Second)
		evaluate := func(run string, n int) {
			for range n {
				must[*connic.Evaluation](t)(setup.Judges.Evaluate(t.Context(), judge, run))
				time.Sleep(time.Millisecond) // they have an order
			}
		}
		evaluate(runs[5], 450)
		client := srv.Client()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		var waits sync.WaitGroup
		for _, run := range runs[:5] {
			waits.Go(func() {
				e, err := client.Judges.WaitRunEvaluation(ctx, judge, run)
				if err != nil || e.RunID != run {
					t.Errorf("%+v, %v", e, err)
				}
			})
		}
		time.Sleep(time.Minute)
		before := count(srv, "judges.evaluations")
		time.Sleep(time.Minute)
		if n := count(srv, "judges.evaluations") - before; n > 5 || n < 3 {
			t.Errorf("%d requests in a minute in which nothing came", n)
		}
		for _, run := range runs[:5] {
			evaluate(run, 1)
			evaluate(runs[5], 80)
		}
		start := time.Now()
		waits.Wait()
		if took := time.Since(start); took > 35*time.Second {
			t.Errorf("they were found after %v", took)
		}
	})
}

// Waits in several environments, and for several judges, do not mix.
func TestWaitsOfSeveralPlaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.RateLimit(0, 0, connictest.FixedWindow)
		srv.IngestionTime(time.Minute)
		srv.Environments(connictest.Environment{ID: "env-a", Name: "a"}, connictest.Environment{ID: "env-b", Name: "b"},
			connictest.Environment{ID: "env-c", Name: "c"})
		client := srv.Client(connic.WithoutRateLimit(), connic.WithEnvironment("env-a"))
		var waits sync.WaitGroup
		for i := range 12 {
			environment := []string{"env-a", "env-b", "env-c"}[i%3]
			job := upload(t, client, connic.TextUpload{Content: "text", EntryID: fmt.Sprint(i), EnvironmentID: environment}).JobID
			waits.Go(func() {
				var got *connic.Job
				var err error
				switch environment {
				case "env-a":
					got, err = client.Knowledge.WaitJob(t.Context(), job, nil)
				case "env-b":
					got, err = client.ForEnvironment("env-b").Knowledge.WaitJob(t.Context(), job, nil)
				default:
					got, err = client.Knowledge.WaitJob(t.Context(), job, &connic.KnowledgeParams{EnvironmentID: environment})
				}
				if err != nil || got.ID != job || got.Status != connic.JobCompleted {
					t.Errorf("%s: %+v, %v", environment, got, err)
				}
			})
		}
		waits.Wait()
		for _, environment := range []string{"env-a", "env-b", "env-c"} {
			n := 0
			for _, r := range srv.Requests() {
				if r.Op == "knowledge.jobs_list" && strings.HasPrefix(r.Query, "environment_id="+environment+"&") {
					n++
				}
			}
			if n == 0 || n > 20 { // alone, four waits make 36
				t.Errorf("the jobs of %s were listed %d times", environment, n)
			}
		}
	})
}
