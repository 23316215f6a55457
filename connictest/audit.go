package connictest

import (
	"encoding/json"
	"regexp"
	"slices"
	"time"

	"github.com/connic-go/connic/internal/mask"
)

// An AuditEntry is an entry of the audit log: a change made through the API.
type AuditEntry struct {
	ID           string
	Action       string // the operation, such as "judges.update"
	Actor        string // the API key, redacted
	ResourceType string // such as "judge"
	ResourceID   string
	Before       map[string]any // nil if it did not exist
	After        map[string]any // nil if it no longer exists
	At           time.Time
}

// AuditLog returns the newest 10,000 changes made through the API, oldest
// first, with at most 16 MiB of resources.
func (s *Server) AuditLog() []AuditEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.audit.items)
}

// changed records a change in the audit log. Handlers that change something
// call it once, with the resource as the service shows it before and after the
// change.
func (s *Server) changed(x *exchange, resourceType, id string, before, after object) {
	old, oldSize := masked(before)
	current, size := masked(after)
	s.audit.push(AuditEntry{
		ID: s.newID("audit"), Action: x.op.Name, Actor: x.key.String(), ResourceType: resourceType, ResourceID: id,
		Before: old, After: current, At: s.now(),
	}, oldSize+size+len(id), maxAudit, maxAuditBytes)
}

// masked copies an object without its secrets: strings under a name that
// suggests a secret, and API keys anywhere. It also returns its size as JSON.
func masked(o object) (clean map[string]any, size int) {
	if o == nil {
		return nil, 0
	}
	raw, err := json.Marshal(o)
	if err != nil {
		return map[string]any{"error": err.Error()}, 0
	}
	if err := json.Unmarshal(raw, &clean); err != nil {
		return map[string]any{"error": err.Error()}, 0
	}
	hide(clean)
	return clean, len(raw)
}

var apiKeys = regexp.MustCompile(`cnc_[^\s"',;]+`)

func hide(value any) any {
	switch v := value.(type) {
	case string:
		return apiKeys.ReplaceAllString(v, "cnc_***")
	case []any:
		for i := range v {
			v[i] = hide(v[i])
		}
	case map[string]any:
		for name, inner := range v {
			if s, isText := inner.(string); isText && s != "" && mask.SecretName(name) {
				inner = "***"
			}
			v[name] = hide(inner)
		}
	}
	return value
}

func (e *AuditEntry) object() object {
	return object{
		"id": e.ID, "action": e.Action, "actor": object{"type": "api_key", "name": e.Actor},
		"resource_type": e.ResourceType, "resource_id": e.ResourceID, "timestamp": timestamp(e.At),
		"before": nullable(e.Before), "after": nullable(e.After), "metadata": object{},
	}
}

// nullable keeps a nil map from being encoded as an object.
func nullable(m map[string]any) any {
	if m == nil {
		return nil
	}
	return m
}

func (s *Server) listAuditLogs(x *exchange) answer {
	from, complaint := x.time("from")
	if complaint != nil {
		return *complaint
	}
	to, complaint := x.time("to")
	if complaint != nil {
		return *complaint
	}
	var items []object
	for _, e := range slices.Backward(s.audit.items) {
		switch {
		case x.differs("action", e.Action), x.differs("resource_type", e.ResourceType),
			x.differs("resource_id", e.ResourceID), x.differs("actor", e.Actor):
		case e.At.Before(from), !to.IsZero() && !e.At.Before(to):
		default:
			items = append(items, e.object())
		}
	}
	return x.page(items)
}
