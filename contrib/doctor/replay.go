package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/api"
)

// Replay calls the operation of a fixture with the fixture as the response, and
// returns what the client decodes from it.
func Replay(ctx context.Context, f *Fixture) (any, error) {
	op, _ := api.Lookup(f.Operation)
	if op == nil || calls[op.Op] == nil {
		return nil, fmt.Errorf("the operation %q is not one that is read", f.Operation)
	}
	client, err := connic.New("p", "cnc_replayed_fixture", connic.WithHTTPClient(&http.Client{Transport: f}), connic.WithEnvironment("e"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = client.Close() }()
	return calls[op.Op](ctx, client, f.id(op.Op))
}

// id returns the identity of the object in a fixture, wrapped or not, since the
// client refuses another object than the one requested.
func (f *Fixture) id(op api.Op) string {
	const unnamed = "x" // of an object whose response does not name it
	at := slices.IndexFunc(probes(), func(p probe) bool { return p.op == op })
	var body object
	if json.Unmarshal(f.Body, &body) != nil || at < 0 {
		return unnamed
	}
	objects := []object{body}
	for _, inner := range sorted(body) {
		if o, ok := inner.(object); ok {
			objects = append(objects, o)
		}
	}
	for _, o := range objects {
		for _, name := range probes()[at].field {
			if id := text(o[name]); id != "" {
				return id
			}
		}
	}
	return unnamed
}

// RoundTrip implements [http.RoundTripper]. It returns the fixture as the
// response.
func (f *Fixture) RoundTrip(r *http.Request) (*http.Response, error) {
	header := http.Header{}
	if f.ContentType != "" {
		header.Set("Content-Type", f.ContentType)
	}
	return &http.Response{
		StatusCode: f.Status, Status: http.StatusText(f.Status), Header: header, Request: r,
		Body: io.NopCloser(bytes.NewReader(f.Body)), ContentLength: int64(len(f.Body)),
	}, nil
}

// Case turns a fixture into a conformance case: what the client decodes from it
// now is what a test expects from then on. Review the result before adding it
// to testdata/fixtures. Case refuses a fixture that the client cannot decode.
func Case(ctx context.Context, f Fixture) (*Fixture, error) {
	got, err := Replay(ctx, &f)
	if err != nil {
		return nil, err
	}
	if f.Want, err = json.Marshal(got); err != nil {
		return nil, err
	}
	return &f, nil
}

// A page is the part of a page that a case records.
type page struct {
	Items any  `json:"items"`
	Total int  `json:"total"` // -1 if the service does not report it
	More  bool `json:"more"`
}

func pageOf[T any](p *connic.Page[T], err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return page{p.Items, p.Total, p.HasNext()}, nil
}

func one[T any](v *T, err error) (any, error) { return v, err }

type call func(ctx context.Context, c *connic.Client, id string) (any, error)

// calls lists the typed reads of the operations.
var calls = map[api.Op]call{
	api.ProjectGet: func(ctx context.Context, c *connic.Client, _ string) (any, error) { return one(c.Project.Get(ctx)) },
	api.EnvironmentsList: func(ctx context.Context, c *connic.Client, _ string) (any, error) {
		return pageOf(c.Environments.List(ctx))
	},
	api.AgentsList: func(ctx context.Context, c *connic.Client, _ string) (any, error) {
		return pageOf(c.Agents.List(ctx, nil))
	},
	api.AgentsGet: func(ctx context.Context, c *connic.Client, id string) (any, error) { return one(c.Agents.Get(ctx, id)) },
	api.RunsList: func(ctx context.Context, c *connic.Client, _ string) (any, error) {
		return pageOf(c.Runs.List(ctx, nil))
	},
	api.RunsGet: func(ctx context.Context, c *connic.Client, id string) (any, error) { return one(c.Runs.Get(ctx, id)) },
	api.KnowledgeList: func(ctx context.Context, c *connic.Client, _ string) (any, error) {
		return pageOf(c.Knowledge.List(ctx, nil))
	},
	api.KnowledgeGet: func(ctx context.Context, c *connic.Client, id string) (any, error) {
		return one(c.Knowledge.Get(ctx, id, nil))
	},
	api.KnowledgeNamespaces: func(ctx context.Context, c *connic.Client, _ string) (any, error) {
		return pageOf(c.Knowledge.Namespaces(ctx, nil))
	},
	api.KnowledgeJobsList: func(ctx context.Context, c *connic.Client, _ string) (any, error) {
		return pageOf(c.Knowledge.Jobs(ctx, nil))
	},
	api.KnowledgeJobsGet: func(ctx context.Context, c *connic.Client, id string) (any, error) {
		return one(c.Knowledge.GetJob(ctx, id, nil))
	},
	api.JudgesList: func(ctx context.Context, c *connic.Client, _ string) (any, error) {
		return pageOf(c.Judges.List(ctx, nil))
	},
	api.JudgesGet: func(ctx context.Context, c *connic.Client, id string) (any, error) { return one(c.Judges.Get(ctx, id)) },
	api.JudgesEvaluations: func(ctx context.Context, c *connic.Client, id string) (any, error) {
		return pageOf(c.Judges.Evaluations(ctx, id, nil))
	},
	api.BudgetsList: func(ctx context.Context, c *connic.Client, _ string) (any, error) {
		return pageOf(c.Budgets.List(ctx, nil))
	},
	api.BudgetsGet: func(ctx context.Context, c *connic.Client, id string) (any, error) {
		return one(c.Budgets.Get(ctx, id))
	},
	api.BudgetsUsage: func(ctx context.Context, c *connic.Client, _ string) (any, error) {
		usage, err := c.Budgets.Usage(ctx, nil)
		if err != nil {
			return nil, err
		}
		return usage.Rows, nil
	},
	api.AuditLogsList: func(ctx context.Context, c *connic.Client, _ string) (any, error) {
		return pageOf(c.AuditLogs.List(ctx, nil))
	},
	api.DeploymentsList: func(ctx context.Context, c *connic.Client, _ string) (any, error) {
		return pageOf(c.Deployments.List(ctx, nil))
	},
	api.DeploymentsGet: func(ctx context.Context, c *connic.Client, id string) (any, error) {
		return one(c.Deployments.Get(ctx, id))
	},
}
