package tests

import (
	"context"
	"encoding/json"
	"net/url"
	"time"

	"github.com/connic-go/connic"
)

var approvalShapes = []shape{
	{
		name: "list", op: "approvals.list", method: "GET", path: "/approvals",
		call: items(func(ctx context.Context, c *connic.Client) (*connic.Page[connic.Approval], error) {
			return c.Approvals.List(ctx, &connic.ApprovalListParams{
				Status: connic.ApprovalPending, RunID: "r1", AgentName: "payer", EnvironmentID: "e1", Limit: 10, Offset: 20,
			})
		}),
		query: url.Values{
			"status": {"pending"}, "run_id": {"r1"}, "agent_name": {"payer"}, "environment_id": {"e1"}, "limit": {"10"}, "offset": {"20"},
		},
		answer: `{"approvals": [{"id": "a1", "status": "pending"}, {"approval_id": 2, "status": "withdrawn", "inputs": null, "arguments": null}]}`,
		want:   []*connic.Approval{{ID: "a1", Status: connic.ApprovalPending}, {ID: "2", Status: "withdrawn"}},
	},
	{
		name: "get", op: "approvals.get", method: "GET", path: "/approvals/a1",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Approval, error) {
			return c.Approvals.Get(ctx, "a1")
		}),
		answer: `{"id": "a1", "run_id": "r1", "agent_name": "payer", "tool_name": "pay", "status": "approved", "arguments": {"amount": 12},
			"inputs": [{"label": "PIN", "sensitive": true}, "Name"], "requested_at": "2026-11-23T00:00:00Z", "expires_at": "2026-11-23T12:00:00",
			"decided_at": 1795392000, "decided_by": "Alice", "reason": "fine", "channel": "mail"}`,
		want: &connic.Approval{
			ID: "a1", RunID: "r1", AgentName: "payer", ToolName: "pay", Status: connic.ApprovalApproved, Arguments: json.RawMessage(`{"amount": 12}`),
			Inputs:      []connic.ApprovalInput{{Label: "PIN", Sensitive: true}, {Label: "Name"}},
			RequestedAt: day, ExpiresAt: day.Add(12 * time.Hour), DecidedAt: day, DecidedBy: connic.Actor{Name: "Alice"}, Reason: "fine",
		},
	},
	{
		name: "decide", op: "approvals.decide", method: "POST", path: "/approvals/a1/decide",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Approval, error) {
			return c.Approvals.Decide(ctx, "a1", connic.Decision{Approve: true, Reason: "fine", Response: "1234"})
		}),
		body:   `{"decision": "approve", "reason": "fine", "response": "1234"}`,
		answer: `{"id": "a1", "status": "approved", "decided_by": {"type": "user", "email": "alice@example.com"}}`,
		want:   &connic.Approval{ID: "a1", Status: connic.ApprovalApproved, DecidedBy: connic.Actor{Type: "user", Email: "alice@example.com"}},
	},
	{
		name: "approve", op: "approvals.decide", method: "POST", path: "/approvals/a1/decide",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Approval, error) {
			return c.Approvals.Approve(ctx, "a1")
		}),
		body:   `{"decision": "approve"}`,
		answer: `{"id": "a1", "status": "approved"}`,
	},
	{
		name: "reject", op: "approvals.decide", method: "POST", path: "/approvals/a1/decide",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Approval, error) {
			return c.Approvals.Reject(ctx, "a1", "too much")
		}),
		body:   `{"decision": "reject", "reason": "too much"}`,
		answer: `{"id": "a1", "status": "rejected"}`,
	},
}

var connectorShapes = []shape{
	{
		name: "list", op: "connectors.list", method: "GET", path: "/connectors",
		call: items(func(ctx context.Context, c *connic.Client) (*connic.Page[connic.Connector], error) {
			return c.Connectors.List(ctx, &connic.ConnectorListParams{EnvironmentID: "e1", Type: "http", Limit: 10, Offset: 20})
		}),
		query:  url.Values{"environment_id": {"e1"}, "type": {"http"}, "limit": {"10"}, "offset": {"20"}},
		answer: `{"connectors": [{"id": "c1", "name": "tickets"}, {"connector_id": 2, "connector_type": "kafka", "agents": null}]}`,
		want:   []*connic.Connector{{ID: "c1", Name: "tickets"}, {ID: "2", Type: "kafka"}},
	},
	{
		name: "get", op: "connectors.get", method: "GET", path: "/connectors/c1",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Connector, error) {
			return c.Connectors.Get(ctx, "c1")
		}),
		answer: `{"id": "c1", "name": "tickets", "type": "http", "mode": "inbound", "agents": ["a", {"name": "b", "files_required": true}],
			"config_json": "{\"require_auth\": true, \"secret\": \"s\"}", "webhook_url": "https://connect.example/c1",
			"environment_id": "e1", "created_at": "2026-11-23T00:00:00Z", "updated_at": "2026-11-23T12:00:00Z", "enabled": true}`,
		want: &connic.Connector{
			ID: "c1", Name: "tickets", Type: "http", Mode: connic.ConnectorInbound, Agents: []connic.ConnectorAgent{{Name: "a"}, {Name: "b", FilesRequired: true}},
			Config: connic.ConnectorConfig{"require_auth": true, "secret": "s"}, URL: "https://connect.example/c1", EnvironmentID: "e1",
			CreatedAt: day, UpdatedAt: day.Add(12 * time.Hour),
		},
	},
	{
		name: "create", op: "connectors.create", method: "POST", path: "/connectors",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Connector, error) {
			return c.Connectors.Create(ctx, connic.ConnectorCreate{
				Name: "tickets", Type: "http", Mode: connic.ConnectorSync, Agents: []connic.ConnectorAgent{{Name: "a"}, {Name: "b", FilesRequired: true}},
				Config: connic.ConnectorConfig{"rate_limit_per_minute": 30, "secret": "a-secret-0123456789"},
			})
		}),
		body: `{"name": "tickets", "type": "http", "mode": "sync", "agents": ["a", {"name": "b", "files_required": true}],
			"config_json": {"rate_limit_per_minute": 30, "secret": "a-secret-0123456789"}}`,
		status: 201, answer: `{"id": "c1"}`, want: &connic.Connector{ID: "c1"},
	},
	{
		name: "update", op: "connectors.update", method: "PATCH", path: "/connectors/c1",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Connector, error) {
			return c.Connectors.Update(ctx, "c1", connic.ConnectorUpdate{
				Name: connic.Set("b"), Type: connic.Set("http"), Mode: connic.Set(connic.ConnectorOutbound), Agents: connic.Set([]connic.ConnectorAgent{}),
				Config: connic.Set(connic.ConnectorConfig{"outbound_url": "https://shop.example/hook"}),
			})
		}),
		body:   `{"name": "b", "type": "http", "mode": "outbound", "agents": [], "config_json": {"outbound_url": "https://shop.example/hook"}}`,
		answer: `{"id": "c1"}`, want: &connic.Connector{ID: "c1"},
	},
	{
		name: "delete", op: "connectors.delete", method: "DELETE", path: "/connectors/c1",
		call:   call0(func(ctx context.Context, c *connic.Client) error { return c.Connectors.Delete(ctx, "c1") }),
		status: 204,
	},
}
