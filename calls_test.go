package connic_test

import (
	"context"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/api"
)

// calls makes one call of each operation. Marker stands somewhere in what an
// operation that does its work again each time sends, so that a server can count
// executions by it. TestEveryOperationHasACall finds the ones that are missing.
var calls = map[string]func(ctx context.Context, c *connic.Client, marker string) error{
	"agents.list": func(ctx context.Context, c *connic.Client, _ string) error {
		_, err := c.Agents.List(ctx, &connic.AgentListParams{Limit: 10})
		return err
	},
	"agents.get": func(ctx context.Context, c *connic.Client, _ string) error {
		_, err := c.Agents.Get(ctx, "a1")
		return err
	},
	"agents.trigger": func(ctx context.Context, c *connic.Client, marker string) error {
		_, err := c.Agents.Trigger(ctx, "a1", connic.TriggerRequest{Message: marker})
		return err
	},
	"runs.list": func(ctx context.Context, c *connic.Client, _ string) error {
		_, err := c.Runs.List(ctx, nil)
		return err
	},
	"runs.get": func(ctx context.Context, c *connic.Client, _ string) error {
		_, err := c.Runs.Get(ctx, "r1")
		return err
	},
	"runs.cancel": func(ctx context.Context, c *connic.Client, _ string) error { return c.Runs.Cancel(ctx, "r1") },
	"runs.rerun": func(ctx context.Context, c *connic.Client, _ string) error {
		_, err := c.Runs.Rerun(ctx, "r1")
		return err
	},
	"runs.delete": func(ctx context.Context, c *connic.Client, _ string) error { return c.Runs.Delete(ctx, "r1") },
	"project.get": func(ctx context.Context, c *connic.Client, _ string) error {
		_, err := c.Project.Get(ctx)
		return err
	},
	"environments.list": func(ctx context.Context, c *connic.Client, _ string) error {
		_, err := c.Environments.List(ctx)
		return err
	},
}

// silent are the operations whose answer needs no body.
var silent = map[string]bool{"runs.cancel": true, "runs.delete": true}

// golden is an answer that every operation takes for a good one.
const golden = `{"id": "x1", "run_id": "x1", "name": "x", "status": "completed", "items": [{"id": "x1", "name": "x"}], "has_more": false, "total": 1}`

// operations are the operations that have a call.
func operations() []*api.Operation {
	var all []*api.Operation
	for i := range api.Table {
		if calls[api.Table[i].Name] != nil {
			all = append(all, &api.Table[i])
		}
	}
	return all
}

func TestEveryOperationHasACall(t *testing.T) {
	t.Parallel()
	for name := range calls {
		if _, ok := api.Lookup(name); !ok {
			t.Errorf("%s is no operation", name)
		}
	}
}
