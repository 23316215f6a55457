// Package cases has what is measured of the client: the same calls made by the
// client and by the floor, and the budgets that they keep to.
package cases

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/bench/measure"
)

const (
	key  = "cnc_benchmark-key-0001"
	base = "https://api.connic.co/v1"

	runPath = "/projects/p/runs/" + runID
	runID   = "7b1c4a52-7d0f-4a3e-9d0b-000000000000"
)

// Case is one call, made by the floor and by the client.
type Case struct {
	Name          string // its budget has the same
	Floor, Client func() error
	Close         func()
}

var errAnswer = errors.New("the answer is not what was sent")

// newClient makes a client with everything on: the limiter admits each attempt,
// and never makes one wait.
func newClient(transport http.RoundTripper, opts ...connic.Option) (*connic.Client, error) {
	own := []connic.Option{connic.WithRateLimit(1_000_000, 10*time.Millisecond)}
	if transport != nil {
		own = append(own, connic.WithHTTPClient(&http.Client{Transport: transport}))
	}
	return connic.New("p", key, append(own, opts...)...)
}

func newFloor(transport http.RoundTripper, url string) *measure.Floor {
	return &measure.Floor{HTTP: &http.Client{Transport: transport}, Base: url, Authorization: "Bearer " + key, Problem: measure.Detail}
}

// bothOn makes a floor and a client on the same transport.
func bothOn(transport http.RoundTripper) (*measure.Floor, *connic.Client, error) {
	client, err := newClient(transport)
	return newFloor(transport, base), client, err
}

// inMemory makes both on a transport that always answers the same.
func inMemory(status int, body string) (*measure.Floor, *connic.Client, error) {
	return bothOn(&measure.Memory{Status: status, Body: []byte(body)})
}

// All returns all cases. The caller closes them.
func All() ([]Case, error) {
	var cases []Case
	for _, make := range []func() (Case, error){Get, List, post, NotFound, wire, pages, Upload} {
		c, err := make()
		if err != nil {
			return nil, err
		}
		if c.Close == nil {
			c.Close = func() {}
		}
		cases = append(cases, c)
	}
	return cases, nil
}

func getOf(name string, f *measure.Floor, client *connic.Client) Case {
	ctx := context.Background()
	return Case{
		Name: name,
		Floor: func() error {
			var run floorRun
			if err := f.Do(ctx, http.MethodGet, runPath, nil, &run); err != nil || run.AgentName != "support" {
				return errors.Join(errAnswer, err)
			}
			return nil
		},
		Client: func() error {
			run, err := client.Runs.Get(ctx, runID)
			if err != nil || run.AgentName != "support" || run.EndedAt.IsZero() {
				return errors.Join(errAnswer, err)
			}
			return nil
		},
	}
}

// Get reads a run of 1 KB.
func Get() (Case, error) {
	f, client, err := inMemory(http.StatusOK, runBody(0))
	return getOf("GET 1 KB, memory", f, client), err
}

// wire is Get over loopback.
func wire() (Case, error) {
	server, err := measure.NewWire(http.StatusOK, runBody(0))
	if err != nil {
		return Case{}, err
	}
	client, err := newClient(nil, connic.WithBaseURL(server.URL()))
	if err != nil {
		return Case{}, err
	}
	transport := measure.Pooled()
	c := getOf("GET 1 KB, loopback", newFloor(transport, server.URL()), client)
	c.Close = func() {
		transport.CloseIdleConnections()
		_ = client.Close()
		server.Close()
	}
	return c, nil
}

// List reads a page of 100 runs.
func List() (Case, error) {
	ctx := context.Background()
	f, client, err := inMemory(http.StatusOK, listBody(100))
	return Case{
		Name: "list of 100, memory",
		Floor: func() error {
			var page floorPage
			if err := f.Do(ctx, http.MethodGet, "/projects/p/runs?limit=100", nil, &page); err != nil || len(page.Items) != 100 {
				return errors.Join(errAnswer, err)
			}
			return nil
		},
		Client: func() error {
			page, err := client.Runs.List(ctx, &connic.RunListParams{Limit: 100})
			if err != nil || len(page.Items) != 100 || page.Total != 100 {
				return errors.Join(errAnswer, err)
			}
			return nil
		},
	}, err
}

func post() (Case, error) {
	const message = "Summarize the latest sales report"
	ctx := context.Background()
	f, client, err := inMemory(http.StatusOK, triggerBody)
	return Case{
		Name: "POST, memory",
		Floor: func() error {
			var result floorTrigger
			in := struct {
				Message string `json:"message"`
			}{message}
			if err := f.Do(ctx, http.MethodPost, "/projects/p/agents/support/trigger", in, &result); err != nil || result.RunID != runID {
				return errors.Join(errAnswer, err)
			}
			return nil
		},
		Client: func() error {
			result, err := client.Agents.Trigger(ctx, "support", connic.TriggerRequest{Message: message})
			if err != nil || result.RunID != runID {
				return errors.Join(errAnswer, err)
			}
			return nil
		},
	}, err
}

// NotFound reads a run that is not there.
func NotFound() (Case, error) {
	ctx := context.Background()
	f, client, err := inMemory(http.StatusNotFound, errorBody)
	return Case{
		Name: "404 with its message, memory",
		Floor: func() error {
			var run floorRun
			var problem *measure.StatusError
			if err := f.Do(ctx, http.MethodGet, runPath, nil, &run); !errors.As(err, &problem) || problem.Message == "" {
				return errors.Join(errAnswer, err)
			}
			return nil
		},
		Client: func() error {
			_, err := client.Runs.Get(ctx, runID)
			var problem *connic.Error
			if !errors.As(err, &problem) || problem.Detail == "" {
				return errors.Join(errAnswer, err)
			}
			return nil
		},
	}, err
}
