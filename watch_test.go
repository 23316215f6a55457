package connic_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// R8: whatever the service does meanwhile, a wait lasts as long as its context.
func TestR8AWaitOutlivesAnOutage(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]connictest.Fault{
		"503": {Status: 503}, "drops": {Drop: true}, "429": {Status: 429, RetryAfter: "130"}, "429 of a day": {Status: 429, RetryAfter: "86400"},
	} {
		for _, op := range []string{"runs.get", "runs.list"} {
			t.Run(name+"/"+op, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					srv := connictest.New()
					defer srv.Close()
					srv.Agent("a", lasting(time.Minute))
					client := srv.Client()
					n := 1
					if op == "runs.list" {
						n = 5
					}
					var ids []string
					for range n {
						ids = append(ids, trigger(t, client, "a", "x"))
					}
					fault := fault
					fault.Op, fault.Times = op, -1
					srv.Fault(fault)
					time.AfterFunc(10*time.Minute, srv.ClearFaults)
					start := time.Now()
					runs, err := connic.Collect(client.Runs.WaitAll(t.Context(), ids), 0)
					if err != nil || len(runs) != n {
						t.Errorf("%d of %d runs came, and %v", len(runs), n, err)
					}
					if took := time.Since(start); took < 10*time.Minute || took > 21*time.Minute {
						t.Errorf("it took %v", took)
					}
				})
			})
		}
	}
}

// R8: what cannot be had is its own pair, whether the list is there or not.
func TestR8WaitAllYieldsWhatIsMissing(t *testing.T) {
	t.Parallel()
	for _, status := range []int{0, 403, 404, 405} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv := connictest.New()
				defer srv.Close()
				srv.RateLimit(0, 0, connictest.FixedWindow)
				srv.Agent("a", lasting(30*time.Second))
				setup := srv.Client(connic.WithoutRateLimit())
				ids := []string{"no-1", "no-2", "no-3", "no-4", "no-5"}
				for range 95 {
					ids = append(ids, trigger(t, setup, "a", "x"))
				}
				if status != 0 {
					srv.Fault(connictest.Fault{Op: "runs.list", Times: -1, Status: status})
				}
				ended, missing := 0, 0
				for run, err := range srv.Client().Runs.WaitAll(t.Context(), ids) {
					var wait *connic.WaitError
					switch {
					case err == nil && run.Status == connic.RunCompleted:
						ended++
					case errors.As(err, &wait) && errors.Is(err, connic.ErrNotFound) && strings.HasPrefix(wait.ID, "no-") && run == nil:
						missing++
					default:
						t.Errorf("%v, %+v", err, run)
					}
				}
				if ended != 95 || missing != 5 {
					t.Errorf("%d ended and %d are missing", ended, missing)
				}
			})
		})
	}
}

// R8: waits share their looks, and one that is given up goes at once. The same with
// 10,000 of them, and with their goroutines counted, stands in tests/many.
func TestR8ManyWaits(t *testing.T) {
	t.Parallel()
	n := 1000
	if raceDetector {
		n = 300
	}
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		srv.RateLimit(0, 0, connictest.FixedWindow)
		srv.Agent("a", lasting(24*time.Hour))
		setup := srv.Client(connic.WithoutRateLimit())
		ids := make([]string, n)
		for i := range ids {
			ids[i] = trigger(t, setup, "a", "x")
		}
		srv.RateLimit(60, time.Minute, connictest.SlidingWindow)
		client := srv.Client()
		requests := len(srv.Requests())
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		early, cancelEarly := context.WithCancel(ctx)
		defer cancelEarly()
		var waits sync.WaitGroup
		gone := make(chan time.Time, 1)
		for i, id := range ids {
			waits.Go(func() {
				ctx := ctx
				if i == n/2 {
					ctx = early
				}
				_, err := client.Runs.Wait(ctx, id)
				var wait *connic.WaitError
				if !errors.As(err, &wait) || !errors.Is(err, context.Canceled) || wait.ID != id {
					t.Errorf("%s: %v", id, err)
				}
				if i == n/2 {
					gone <- time.Now()
				}
			})
		}
		time.Sleep(10*time.Minute - time.Second)
		synctest.Wait()
		if got, most := len(srv.Requests())-requests, 10*25; got > most || got < 10 {
			t.Errorf("%d requests in ten minutes, want at most %d", got, most)
		}
		start := time.Now()
		cancelEarly()
		if took := (<-gone).Sub(start); took > 50*time.Millisecond {
			t.Errorf("the wait that was given up came back after %v", took)
		}
		cancel()
		waits.Wait()
		synctest.Wait()
		if s := client.RateLimit(); s.InFlight != 0 || s.Waiting != 0 || s.Polling != 0 || s.Reserved != 0 {
			t.Errorf("they left behind %+v", s)
		}
		srv.Close()
	})
}

func TestOneBadWaitHarmsNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.Agent("a", lasting(20*time.Second))
		var foreign string
		client := srv.Client(connic.WithTransport(func(next http.RoundTripper) http.RoundTripper {
			return transportFunc(func(r *http.Request) (*http.Response, error) {
				if r.Method == http.MethodGet && (strings.HasSuffix(r.URL.Path, "/runs") || strings.HasSuffix(r.URL.Path, "/"+foreign)) {
					return response(r, 200, `{"items": [{"id": {"not": "a text"}, "status": []}]}`), nil
				}
				return next.RoundTrip(r)
			})
		}))
		var ids []string
		for range 6 {
			ids = append(ids, trigger(t, client, "a", "x"))
		}
		foreign = ids[0]
		var waits sync.WaitGroup
		for i, id := range ids[1:] {
			waits.Go(func() {
				opts := []connic.WaitOption{connic.WithProgress(func(connic.WaitEvent) {
					switch i {
					case 0:
						panic("oh")
					case 1:
						runtime.Goexit()
					}
				})}
				defer func() { _ = recover() }()
				run, err := client.Runs.Wait(t.Context(), id, opts...)
				if err != nil || run.Output != "done: x" {
					t.Errorf("%v, %+v", err, run)
				}
			})
		}
		_, err := client.Runs.Wait(t.Context(), foreign)
		var decode *connic.DecodeError
		if !errors.As(err, &decode) {
			t.Errorf("the run that cannot be decoded: %v", err)
		}
		waits.Wait()
		synctest.Wait()
		if s := client.RateLimit(); s.InFlight != 0 || s.Polling != 0 || s.Reserved != 0 {
			t.Errorf("they left behind %+v", s)
		}
	})
}

// A panic of a transport within a look ends the waits, and not the process.
func TestAPollThatPanics(t *testing.T) {
	t.Parallel()
	for name, fall := range map[string]func(){"panic": func() { panic("oh") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				armed := true
				client := connictest.New().Client(connic.WithTransport(func(http.RoundTripper) http.RoundTripper {
					return transportFunc(func(r *http.Request) (*http.Response, error) {
						if armed {
							fall()
						}
						return response(r, 200, `{"id": "r1", "status": "completed", "output": "x"}`), nil
					})
				}))
				var wait *connic.WaitError
				if _, err := client.Runs.Wait(t.Context(), "r1"); !errors.As(err, &wait) || !strings.Contains(err.Error(), "panicked") {
					t.Errorf("%v", err)
				}
				armed = false
				if run, err := client.Runs.Wait(t.Context(), "r1"); err != nil || run.Output != "x" {
					t.Errorf("afterwards: %v, %+v", err, run)
				}
			})
		})
	}
}

func TestWatchTakesIDsAsTheyCome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.Agent("a", lasting(5*time.Second))
		client := srv.Client()
		ids := make(chan string)
		go func() {
			defer close(ids)
			for i := range 8 {
				ids <- trigger(t, client, "a", fmt.Sprint(i))
				time.Sleep(3 * time.Second)
			}
			ids <- ".."
		}()
		outputs, refused := make(map[string]bool), 0
		for run, err := range client.Runs.Watch(t.Context(), ids) {
			var argument *connic.ArgumentError
			if errors.As(err, &argument) && run == nil {
				refused++
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			outputs[run.Output] = true
		}
		if len(outputs) != 8 || refused != 1 {
			t.Errorf("%v and %d refused", outputs, refused)
		}
	})
}

func TestProgressSeesTheLastPoll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.Agent("a", lasting(time.Second))
		client := srv.Client()
		var last connic.WaitEvent
		see := connic.WithProgress(func(e connic.WaitEvent) { last = e })
		run, err := client.Agents.TriggerAndWait(t.Context(), "a", connic.TriggerRequest{Message: "x"}, see)
		if err != nil || !last.Done || last.Run == nil || last.Run.ID != run.ID || last.Next != 0 {
			t.Errorf("%v: %+v", err, last)
		}
		srv.Fault(connictest.Fault{Op: "runs.get", Times: -1, Status: 500})
		_, err = client.Runs.Wait(t.Context(), run.ID, see, connic.WithPollFailures(3))
		if !errors.Is(err, connic.ErrServer) || !errors.Is(last.Err, connic.ErrServer) || last.Polls != 3 || last.Next != 0 {
			t.Errorf("%v: %+v", err, last)
		}
	})
}

func TestCancelOnAbort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.Agent("slow", lasting(time.Hour))
		client := srv.Client()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		run, err := client.Agents.TriggerAndWait(ctx, "slow", connic.TriggerRequest{Message: "x"}, connic.CancelOnAbort())
		var wait *connic.WaitError
		if !errors.As(err, &wait) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if run, err = client.Runs.Get(t.Context(), run.ID); err != nil || run.Status != connic.RunCancelled {
			t.Errorf("%v, %+v", err, run)
		}
	})
}

// Options of the looks are none of the trigger.
func TestRequestOptionsAreForThePolls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.Agent("a", lasting(time.Second))
		seen := make(map[string]string)
		client := srv.Client(connic.WithTransport(func(next http.RoundTripper) http.RoundTripper {
			return transportFunc(func(r *http.Request) (*http.Response, error) {
				seen[r.Method] += r.Header.Get("X-Look")
				return next.RoundTrip(r)
			})
		}))
		_, err := client.Agents.TriggerAndWait(t.Context(), "a", connic.TriggerRequest{Message: "x"},
			connic.WithRequestOptions(connic.WithHeader("X-Look", "1")))
		if err != nil || seen["POST"] != "" || seen["GET"] == "" {
			t.Errorf("%v, %v", err, seen)
		}
	})
}

// Jobs, evaluations and test runs are waited for as runs are.
func TestWaitAllOfOtherKinds(t *testing.T) {
	t.Parallel()
	scripts := map[string]struct {
		list string // "" where there is none
		get  string
		wait func(context.Context, *connic.Client) pairs
	}{
		"jobs": {
			list: `{"jobs": [{"id": "a", "status": "completed"}, {"job_id": "b", "status": "failed", "error": "no"}, {"id": "other", "status": "pending"}]}`,
			get:  `{"id": "c", "status": "completed"}`,
			wait: func(ctx context.Context, c *connic.Client) (p pairs) {
				for job, err := range c.Knowledge.WaitJobs(ctx, []string{"a", "b", "c", "missing"}, nil) {
					p.add(job == nil, func() string { return job.ID }, err)
				}
				return p
			},
		},
		"evaluations": {
			list: `{"evaluations": [{"id": "a", "status": "completed"}, {"id": "b", "status": "failed"}, {"id": "c", "score": 3}]}`,
			wait: func(ctx context.Context, c *connic.Client) (p pairs) {
				for e, err := range c.Judges.WaitEvaluations(ctx, "j", []string{"a", "b", "c", "missing"}) {
					p.add(e == nil, func() string { return e.ID }, err)
				}
				return p
			},
		},
		"test runs": {
			get: `{"id": "ID", "status": "STATUS"}`,
			wait: func(ctx context.Context, c *connic.Client) (p pairs) {
				for r, err := range c.TestRuns.WaitAll(ctx, []string{"a", "b", "c", "missing"}) {
					p.add(r == nil, func() string { return r.ID }, err)
				}
				return p
			},
		},
	}
	for name, script := range scripts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client := connictest.New().Client(connic.WithTransport(func(http.RoundTripper) http.RoundTripper {
					return transportFunc(func(r *http.Request) (*http.Response, error) {
						id := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
						switch id {
						case "jobs", "evaluations":
							return response(r, 200, script.list), nil
						case "missing":
							return response(r, 404, `{"detail": "not found"}`), nil
						case "b":
							return response(r, 200, strings.NewReplacer("ID", id, "STATUS", "failed").Replace(script.get)), nil
						}
						return response(r, 200, strings.NewReplacer("ID", id, "STATUS", "passed").Replace(script.get)), nil
					})
				}), connic.WithEnvironment("e"))
				p := script.wait(t.Context(), client)
				slices.Sort(p.ended)
				if !slices.Equal(p.ended, []string{"a", "c"}) || !slices.Equal(p.failed, []string{"b"}) || !errors.Is(p.err, connic.ErrNotFound) {
					t.Errorf("%+v", p)
				}
				var wait *connic.WaitError
				if !errors.As(p.err, &wait) || wait.ID != "missing" {
					t.Errorf("what is missing: %v", p.err)
				}
			})
		})
	}
}

// pairs is what an iterator yielded.
type pairs struct {
	ended, failed []string
	err           error // of what is nil
}

func (p *pairs) add(missing bool, id func() string, err error) {
	switch {
	case missing:
		p.err = err
	case err != nil:
		p.failed = append(p.failed, id())
	default:
		p.ended = append(p.ended, id())
	}
}
