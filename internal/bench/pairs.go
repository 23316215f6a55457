package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/connic-go/connic"
)

const (
	key  = "cnc_benchmark-key-0001"
	base = "https://api.connic.co/v1"
)

// newClient makes a client with everything on: the limiter admits each attempt,
// and never makes one wait.
func newClient(transport http.RoundTripper, opts ...connic.Option) (*connic.Client, error) {
	own := []connic.Option{connic.WithRateLimit(1_000_000, 10*time.Millisecond)}
	if transport != nil {
		own = append(own, connic.WithHTTPClient(&http.Client{Transport: transport}))
	}
	return connic.New("p", key, append(own, opts...)...)
}

// pair is one benchmark: what the floor does, and what the client does.
type pair struct {
	name       string
	floor, sdk func() error
	// Demands as ratios of the floor: time, bytes, allocations; 0 for none.
	time, bytes, allocs float64
	close               func()
}

const runID = "7b1c4a52-7d0f-4a3e-9d0b-000000000000"

var errAnswer = errors.New("the answer is not what was sent")

func getPair(name string, floorHTTP *http.Client, floorBase string, client *connic.Client) pair {
	ctx := context.Background()
	f := &floor{floorHTTP, floorBase}
	return pair{
		name: name,
		floor: func() error {
			var run floorRun
			if err := f.do(ctx, http.MethodGet, "/projects/p/runs/"+runID, nil, &run); err != nil || run.AgentName != "support" {
				return errors.Join(errAnswer, err)
			}
			return nil
		},
		sdk: func() error {
			run, err := client.Runs.Get(ctx, runID)
			if err != nil || run.AgentName != "support" || run.EndedAt.IsZero() {
				return errors.Join(errAnswer, err)
			}
			return nil
		},
	}
}

// memoryPairs are the benchmarks on a transport in memory: the client's own cost.
func memoryPairs() ([]pair, error) {
	ctx := context.Background()
	var pairs []pair
	add := func(status int, body string, make func(f *floor, c *connic.Client) pair) error {
		transport := &memory{status, []byte(body)}
		client, err := newClient(transport)
		if err != nil {
			return err
		}
		pairs = append(pairs, make(&floor{&http.Client{Transport: transport}, base}, client))
		return nil
	}
	err := errors.Join(
		add(http.StatusOK, runBody(0), func(f *floor, c *connic.Client) pair {
			p := getPair("GET 1 KB, memory", f.http, f.base, c)
			p.time, p.bytes, p.allocs = 0.80, 0.65, 0.95
			return p
		}),
		add(http.StatusOK, listBody(100), func(f *floor, c *connic.Client) pair {
			return pair{
				name: "list of 100, memory", time: 0.80, bytes: 0.42, allocs: 1.01,
				floor: func() error {
					var page floorPage
					if err := f.do(ctx, http.MethodGet, "/projects/p/runs?limit=100", nil, &page); err != nil || len(page.Items) != 100 {
						return errors.Join(errAnswer, err)
					}
					return nil
				},
				sdk: func() error {
					page, err := c.Runs.List(ctx, &connic.RunListParams{Limit: 100})
					if err != nil || len(page.Items) != 100 || page.Total != 100 {
						return errors.Join(errAnswer, err)
					}
					return nil
				},
			}
		}),
		add(http.StatusOK, triggerBody, func(f *floor, c *connic.Client) pair {
			return pair{
				name: "POST, memory", time: 0.95, bytes: 0.70, allocs: 1.00,
				floor: func() error {
					var result floorTrigger
					in := struct {
						Message string `json:"message"`
					}{"Summarize the latest sales report"}
					if err := f.do(ctx, http.MethodPost, "/projects/p/agents/support/trigger", in, &result); err != nil || result.RunID != runID {
						return errors.Join(errAnswer, err)
					}
					return nil
				},
				sdk: func() error {
					result, err := c.Agents.Trigger(ctx, "support", connic.TriggerRequest{Message: "Summarize the latest sales report"})
					if err != nil || result.RunID != runID {
						return errors.Join(errAnswer, err)
					}
					return nil
				},
			}
		}),
		add(http.StatusNotFound, errorBody, func(f *floor, c *connic.Client) pair {
			return pair{
				name: "404 with its message, memory", time: 1.10, bytes: 0.90, allocs: 1.00,
				floor: func() error {
					var run floorRun
					var problem *floorError
					if err := f.do(ctx, http.MethodGet, "/projects/p/runs/"+runID, nil, &run); !errors.As(err, &problem) || problem.detail == "" {
						return errors.Join(errAnswer, err)
					}
					return nil
				},
				sdk: func() error {
					_, err := c.Runs.Get(ctx, runID)
					var problem *connic.Error
					if !errors.As(err, &problem) || problem.Detail == "" {
						return errors.Join(errAnswer, err)
					}
					return nil
				},
			}
		}),
	)
	return pairs, err
}

// wirePair is the small GET over loopback.
func wirePair() (pair, error) {
	server, err := newWire(http.StatusOK, runBody(0))
	if err != nil {
		return pair{}, err
	}
	client, err := newClient(nil, connic.WithBaseURL(server.url()))
	if err != nil {
		return pair{}, err
	}
	transport := pooled()
	p := getPair("GET 1 KB, loopback", &http.Client{Transport: transport}, server.url(), client)
	p.time, p.bytes, p.allocs = 0.95, 0.75, 0.97
	p.close = func() {
		transport.CloseIdleConnections()
		_ = client.Close()
		server.close()
	}
	return p, nil
}

func row(name string, a, b cost, p pair) string {
	ratio := func(x, y float64) float64 { return y / x }
	mark := func(got, want float64) string {
		switch {
		case want == 0:
			return ""
		case got <= want:
			return fmt.Sprintf(" (%.2f)", want)
		default:
			return fmt.Sprintf(" (%.2f!)", want)
		}
	}
	t, by, al := ratio(float64(a.time), float64(b.time)), ratio(a.bytes, b.bytes), ratio(a.allocs, b.allocs)
	return fmt.Sprintf("%-30s %10v %10v  %5.2f%-8s %9.0f %9.0f %5.2f%-8s %7.0f %7.0f %5.2f%s", name,
		a.time.Round(100*time.Nanosecond), b.time.Round(100*time.Nanosecond), t, mark(t, p.time),
		a.bytes, b.bytes, by, mark(by, p.bytes), a.allocs, b.allocs, al, mark(al, p.allocs))
}
