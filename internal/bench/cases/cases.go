// Package cases defines what is measured of the client: the same calls made by
// the client and by the floor, and their budgets.
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

// A Case is one call, made by the floor and by the client.
type Case struct {
	Name          string // begins with the name of its budget
	Floor, Client func() error
	Close         func()
}

var errAnswer = errors.New("the answer is not what was sent")

// newClient creates a client with everything enabled. The limiter admits each
// attempt without a wait.
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

// bothOn creates a floor and a client on the same transport.
func bothOn(transport http.RoundTripper) (*measure.Floor, *connic.Client, error) {
	client, err := newClient(transport)
	return newFloor(transport, base), client, err
}

// inMemory creates both on a transport that always returns the same response.
func inMemory(status int, body string) (*measure.Floor, *connic.Client, error) {
	return bothOn(&measure.Memory{Status: status, Body: []byte(body)})
}

// All returns all cases. The caller must close them.
func All() ([]Case, error) {
	var cases []Case
	for _, form := range Forms {
		cases = append(cases, Get(form), spanned(form), List(form))
	}
	for _, make := range []func() (Case, error){post, postPayload, NotFound, wire, pages, Upload} {
		c, err := make()
		if err != nil {
			return nil, err
		}
		cases = append(cases, c)
	}
	for i := range cases {
		if cases[i].Close == nil {
			cases[i].Close = func() {}
		}
	}
	return cases, nil
}

// reading is a GET of a path, which the floor decodes into the result of
// target.
func reading(name string, f *measure.Floor, path string, target func() checked, client func(context.Context) (bool, error)) Case {
	ctx := context.Background()
	return Case{
		Name: name,
		Floor: func() error {
			v := target()
			if err := f.Do(ctx, http.MethodGet, path, nil, v); err != nil || !v.ok() {
				return errors.Join(errAnswer, err)
			}
			return nil
		},
		Client: func() error {
			if ok, err := client(ctx); err != nil || !ok {
				return errors.Join(errAnswer, err)
			}
			return nil
		},
	}
}

// getOf reads a run with or without spans.
func getOf(name string, f *measure.Floor, client *connic.Client, target func() checked, spans bool) Case {
	return reading(name, f, runPath, target, func(ctx context.Context) (bool, error) {
		run, err := client.Runs.Get(ctx, runID)
		return err == nil && run.AgentName == "support" && !run.EndedAt.IsZero() && run.TokenUsage.Total == 460 && len(run.Traces) > 0 == spans, err
	})
}

// mustBothOn is bothOn for options that are known to be valid.
func mustBothOn(body string) (*measure.Floor, *connic.Client) {
	f, client, err := inMemory(http.StatusOK, body)
	if err != nil {
		panic(err)
	}
	return f, client
}

// Get reads a run of 1 KB.
func Get(form Form) Case {
	f, client := mustBothOn(form.run(0, ""))
	return getOf("GET 1 KB, memory, "+form.Name, f, client, form.target, false)
}

// spanned reads a run with 30 spans.
func spanned(form Form) Case {
	f, client := mustBothOn(form.run(0, form.spans(30)))
	return getOf("GET with 30 spans, memory, "+form.Name, f, client, form.spannedTarget, true)
}

// wire is Get over loopback.
func wire() (Case, error) {
	server, err := measure.NewWire(http.StatusOK, worst.run(0, ""))
	if err != nil {
		return Case{}, err
	}
	client, err := newClient(nil, connic.WithBaseURL(server.URL()))
	if err != nil {
		return Case{}, err
	}
	transport := measure.Pooled()
	c := getOf("GET 1 KB, loopback", newFloor(transport, server.URL()), client, worst.target, false)
	c.Close = func() {
		transport.CloseIdleConnections()
		_ = client.Close()
		server.Close()
	}
	return c, nil
}

// List reads a page of 100 runs.
func List(form Form) Case {
	f, client := mustBothOn(form.list(100))
	return reading("list of 100, memory, "+form.Name, f, "/projects/p/runs?limit=100", form.pageTarget, func(ctx context.Context) (bool, error) {
		page, err := client.Runs.List(ctx, &connic.RunListParams{Limit: 100})
		return err == nil && len(page.Items) == 100 && page.Total == 100 && page.Items[99].TokenUsage.Total == 460, err
	})
}

// postPayload starts a run with a structured payload in addition to the
// message.
func postPayload() (Case, error) {
	type order struct {
		Number   int      `json:"number"`
		Customer string   `json:"customer"`
		Lines    []string `json:"lines"`
	}
	type input struct {
		Message string `json:"message"`
		Order   order  `json:"order"`
		Locale  string `json:"locale"`
	}
	type payload struct {
		Order  order  `json:"order"`
		Locale string `json:"locale"`
	}
	const message = "Check this order"
	own := order{4711, "c-17", []string{"two chairs", "a table", "four lamps"}}
	ctx := context.Background()
	f, client, err := inMemory(http.StatusOK, triggerBody)
	return Case{
		Name: "POST with a payload, memory",
		Floor: func() error {
			var result floorTrigger
			if err := f.Do(ctx, http.MethodPost, "/projects/p/agents/support/trigger", input{message, own, "de"}, &result); err != nil || result.RunID != runID {
				return errors.Join(errAnswer, err)
			}
			return nil
		},
		Client: func() error {
			result, err := client.Agents.Trigger(ctx, "support", connic.TriggerRequest{Message: message, Payload: payload{own, "de"}})
			if err != nil || result.RunID != runID {
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

// NotFound reads a run that does not exist.
func NotFound() (Case, error) {
	ctx := context.Background()
	f, client, err := inMemory(http.StatusNotFound, errorBody)
	return Case{
		Name: "404 with its message, memory",
		Floor: func() error {
			run := worst.target()
			var problem *measure.StatusError
			if err := f.Do(ctx, http.MethodGet, runPath, nil, run); !errors.As(err, &problem) || problem.Message == "" {
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
