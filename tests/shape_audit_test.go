package tests

import (
	"context"
	"encoding/json"
	"net/url"
	"time"

	"github.com/connic-go/connic"
)

var auditShapes = []shape{
	{
		name: "list", op: "audit_logs.list", method: "GET", path: "/audit-logs",
		call: items(func(ctx context.Context, c *connic.Client) (*connic.Page[connic.AuditEntry], error) {
			return c.AuditLogs.List(ctx, &connic.AuditLogListParams{
				Action: "judge.updated", ResourceType: "judge", ResourceID: "j1", Actor: "somebody@example.com",
				From: day, To: day.Add(time.Hour), Limit: 10, Offset: 20,
			})
		}),
		query: url.Values{
			"action": {"judge.updated"}, "resource_type": {"judge"}, "resource_id": {"j1"}, "actor": {"somebody@example.com"},
			"from": {"2026-11-23T00:00:00Z"}, "to": {"2026-11-23T01:00:00Z"}, "limit": {"10"}, "offset": {"20"},
		},
		answer: `{"audit_logs": [
			{"id": "a1", "action": "judge.updated", "actor": {"type": "user", "id": "u1", "name": "Ada", "email": "ada@example.com", "role": "owner"},
				"resource_type": "judge", "resource_id": "j1", "timestamp": "2026-11-23T00:00:00Z",
				"before": {"name": "a", "n": 12345678901234567890}, "after": {"name": "b"}, "metadata": {"ip": "::1"}},
			{"id": 2, "actor": "ada@example.com", "created_at": "2026-11-23 00:00:00", "before": null, "after": {}},
			{"id": "a3", "actor": null, "resource_id": 17},
			{"id": "a4", "actor": {"id": 9}, "timestamp": null, "created_at": 1795392000}]}`,
		want: []*connic.AuditEntry{
			{
				ID: "a1", Action: "judge.updated", Actor: connic.Actor{Type: "user", ID: "u1", Name: "Ada", Email: "ada@example.com"},
				ResourceType: "judge", ResourceID: "j1", Timestamp: day, Before: json.RawMessage(`{"name": "a", "n": 12345678901234567890}`),
				After: json.RawMessage(`{"name": "b"}`), Metadata: json.RawMessage(`{"ip": "::1"}`),
			},
			{ID: "2", Actor: connic.Actor{Name: "ada@example.com"}, Timestamp: day, After: json.RawMessage(`{}`)},
			{ID: "a3", ResourceID: "17"},
			{ID: "a4", Actor: connic.Actor{ID: "9"}, Timestamp: day},
		},
	},
	{
		name: "list without parameters", op: "audit_logs.list", method: "GET", path: "/audit-logs",
		call: items(func(ctx context.Context, c *connic.Client) (*connic.Page[connic.AuditEntry], error) {
			return c.AuditLogs.List(ctx, nil)
		}),
		answer: `[]`, want: []*connic.AuditEntry{},
	},
}
