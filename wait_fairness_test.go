package connic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestR10CallsBesideWaitsWithoutAList starts runs one after the other while many
// items are polled one by one: polls have half of the quota, and calls the rest.
func TestR10CallsBesideWaitsWithoutAList(t *testing.T) {
	t.Parallel()
	testRuns := func(ctx context.Context, c *Client, ids []string) {
		for range c.TestRuns.WaitAll(ctx, ids) {
		}
	}
	for name, wait := range map[string]func(ctx context.Context, c *Client, ids []string){
		"test runs": testRuns,
		"test runs, each on its own": func(ctx context.Context, c *Client, ids []string) {
			var all sync.WaitGroup
			for _, id := range ids {
				all.Go(func() { _, _ = c.TestRuns.Wait(ctx, id) })
			}
			all.Wait()
		},
		"runs that may not be listed": func(ctx context.Context, c *Client, ids []string) {
			for range c.Runs.WaitAll(ctx, ids) {
			}
		},
	} {
		for _, many := range []int{40, 300} {
			t.Run(fmt.Sprint(name, "/", many), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					var mu sync.Mutex
					var sent []time.Time
					c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
						mu.Lock()
						sent = append(sent, time.Now())
						mu.Unlock()
						time.Sleep(20 * time.Millisecond)
						switch id := path.Base(r.URL.Path); id {
						case "trigger":
							_, _ = io.Copy(io.Discard, r.Body)
							return respond(200, `{"run_id": "r1"}`), nil
						case "runs":
							return respond(403, `{}`), nil
						default:
							return respond(200, fmt.Sprintf(`{"id": %q, "status": "running"}`, id)), nil
						}
					})
					ids := make([]string, many)
					for i := range ids {
						ids[i] = fmt.Sprint("w-", i)
					}
					ctx, cancel := context.WithCancel(t.Context())
					var waits sync.WaitGroup
					waits.Go(func() { wait(ctx, c, ids) })
					time.Sleep(2 * time.Minute)
					start, slowest := time.Now(), time.Duration(0)
					for range 60 {
						asked := time.Now()
						if _, err := c.Agents.Trigger(ctx, "a", TriggerRequest{Message: "x"}); err != nil {
							t.Fatal(err)
						}
						slowest = max(slowest, time.Since(asked))
					}
					if took := time.Since(start); took > 130*time.Second || slowest > 70*time.Second {
						t.Errorf("60 triggers took %v, and the slowest %v", took, slowest)
					}
					// While more are queued, nothing is left unused.
					queued, stop := context.WithCancel(ctx)
					for range 600 {
						waits.Go(func() { _, _ = c.Agents.Trigger(queued, "a", TriggerRequest{Message: "x"}) })
					}
					time.Sleep(time.Minute)
					mu.Lock()
					before := len(sent)
					mu.Unlock()
					time.Sleep(5*time.Minute + 3*time.Second) // the windows drift by their round trips
					mu.Lock()
					if n := len(sent) - before; n < 5*58 {
						t.Errorf("%d requests a minute were sent", n/5)
					}
					mu.Unlock()
					stop()
					cancel()
					waits.Wait()
					time.Sleep(time.Second)
					if s := c.RateLimit(); s.Reserved != 0 || s.InFlight != 0 || s.Refusals != 0 {
						t.Errorf("they left behind %+v", s)
					}
				})
			})
		}
	}
}

// TestR11WaitsOfOthers waits for a run beside 300 old ones of another caller, which
// the list shows without their outputs, or not at all.
func TestR11WaitsOfOthers(t *testing.T) {
	t.Parallel()
	for name, old := range map[string]string{"ended, without output": "completed", "not in the list": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				end := time.Now().Add(10 * time.Second)
				c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
					time.Sleep(50 * time.Millisecond)
					status := "running"
					if !time.Now().Before(end) {
						status = "completed"
					}
					switch id := path.Base(r.URL.Path); {
					case id == "runs":
						items := []string{fmt.Sprintf(`{"id": "new", "status": %q}`, status)}
						for i := range 300 {
							if old != "" {
								items = append(items, fmt.Sprintf(`{"id": "old-%d", "status": %q}`, i, old))
							}
						}
						var offset int
						_, _ = fmt.Sscan(r.URL.Query().Get("offset"), &offset)
						last := min(len(items), offset+100)
						return respond(200, fmt.Sprintf(`{"items": [%s], "total": %d}`, strings.Join(items[offset:last], ","), len(items))), nil
					case id == "new" || old != "":
						return respond(200, fmt.Sprintf(`{"id": %q, "status": %q, "output": "x"}`, id, status)), nil
					default:
						return respond(200, fmt.Sprintf(`{"id": %q, "status": "running"}`, id)), nil
					}
				})
				ids := make([]string, 300)
				for i := range ids {
					ids[i] = fmt.Sprint("old-", i)
				}
				ctx, cancel := context.WithCancel(t.Context())
				var others sync.WaitGroup
				others.Go(func() {
					for _, err := range c.Runs.WaitAll(ctx, ids) {
						if err != nil && !errors.Is(err, context.Canceled) {
							t.Error(err)
						}
					}
				})
				time.Sleep(time.Second)
				run, err := c.Runs.Wait(ctx, "new")
				if late := time.Since(end); err != nil || run.Output != "x" || late > 20*time.Second {
					t.Errorf("%+v, %v, %v after its end", run, err, late)
				}
				cancel()
				others.Wait()
				time.Sleep(time.Second)
			})
		})
	}
}

// TestAnotherResponseEndsNoWait answers polls with a 2xx that is about something else,
// for a while and for good.
func TestAnotherResponseEndsNoWait(t *testing.T) {
	t.Parallel()
	kinds := map[string]func(context.Context, *Client) (string, error){
		"run": func(ctx context.Context, c *Client) (string, error) {
			v, err := c.Runs.Wait(ctx, "x")
			return string(v.Status), err
		},
		"job": func(ctx context.Context, c *Client) (string, error) {
			v, err := c.Knowledge.WaitJob(ctx, "x", &KnowledgeParams{EnvironmentID: "e"})
			return string(v.Status), err
		},
		"test run": func(ctx context.Context, c *Client) (string, error) {
			v, err := c.TestRuns.Wait(ctx, "x")
			return string(v.Status), err
		},
		"deployment": func(ctx context.Context, c *Client) (string, error) {
			v, err := c.Deployments.Wait(ctx, "x")
			return string(v.Status), err
		},
		"dev session": func(ctx context.Context, c *Client) (string, error) {
			v, err := c.DevSessions.Wait(ctx, "x")
			return string(v.Container), err
		},
	}
	final := map[string]string{"run": "completed", "job": "completed", "test run": "passed", "deployment": "deployed", "dev session": "running"}
	for kind, wait := range kinds {
		for _, body := range []string{`{"id": "y", "status": "failed", "container_status": "failed"}`, `{"status": "failed", "error": "x"}`} {
			if kind == "dev session" && body[2] == 's' {
				continue // their responses may lack the id
			}
			for lasts, ends := range map[time.Duration]bool{10 * time.Second: false, time.Hour: true} {
				synctest.Test(t, func(t *testing.T) {
					start := time.Now()
					c := newTestClient(t, func(*http.Request) (*http.Response, error) {
						if time.Since(start) < lasts {
							return respond(200, body), nil
						}
						return respond(200, fmt.Sprintf(`{"id": "x", "status": %q, "container_status": "running"}`, final[kind])), nil
					})
					status, err := wait(t.Context(), c)
					var failed *WaitError
					if took := time.Since(start); ends != errors.As(err, &failed) || !ends && status != final[kind] || ends && took < 15*time.Second {
						t.Errorf("%s: %s for %v: %q, %v after %v", kind, body, lasts, status, err, took)
					}
				})
			}
		}
	}
}

// TestR11OddItems waits for several items, one of which cannot be decoded where it
// stands in the list: it ends its own wait, and only if it cannot be fetched.
func TestR11OddItems(t *testing.T) {
	t.Parallel()
	list := func(field, good, odd string) string {
		var items []string
		for i := range 5 {
			value := good
			if i == 2 {
				value = odd
			}
			items = append(items, fmt.Sprintf(`{"id": "i%d", "run_id": "i%d", "status": "completed", "output": "x", %q: %s}`, i, i, field, value))
		}
		return `{"items": [` + strings.Join(items, ",") + `]}`
	}
	for name, test := range map[string]struct {
		list string
		odd  bool // the odd item ends with a DecodeError
		wait func(ctx context.Context, c *Client, id string) error
	}{
		"evaluation": {list("score", "3", `"n/a"`), true, func(ctx context.Context, c *Client, id string) error {
			_, err := c.Judges.WaitEvaluation(ctx, "j", id)
			return err
		}},
		"evaluation of run": {list("score", "3", `"n/a"`), true, func(ctx context.Context, c *Client, id string) error {
			_, err := c.Judges.WaitRunEvaluation(ctx, "j", id)
			return err
		}},
		"run": {list("duration_ms", "3", `"n/a"`), false, func(ctx context.Context, c *Client, id string) error {
			_, err := c.Runs.Wait(ctx, id)
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
					if id := path.Base(r.URL.Path); id[0] == 'i' {
						return respond(200, fmt.Sprintf(`{"id": %q, "status": "completed", "output": "x"}`, id)), nil
					}
					return respond(200, test.list), nil
				})
				var waits sync.WaitGroup
				for i := range 5 {
					waits.Go(func() {
						err := test.wait(t.Context(), c, fmt.Sprint("i", i))
						var decode *DecodeError
						if want := i == 2 && test.odd; errors.As(err, &decode) != want || !want && err != nil {
							t.Errorf("the wait for item %d ends with %v", i, err)
						}
					})
				}
				waits.Wait()
			})
		})
	}
}
