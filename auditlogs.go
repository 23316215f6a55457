package connic

import (
	"cmp"
	"context"
	"encoding/json"
	"iter"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// AuditLogsService reads the project's audit log, which is immutable. It needs
// a key with access to the audit-logs section. How far back the log reaches
// depends on the project's plan.
//
// The vendor describes the audit log in prose only. The names of all fields are
// assumed.
type AuditLogsService service

// An AuditEntry is one change in the project.
type AuditEntry struct {
	ID           string    `json:"id" api:"words"`
	Action       string    `json:"action,omitzero" api:"words"`
	Actor        Actor     `json:"actor,omitzero" api:"words"`
	ResourceType string    `json:"resource_type,omitzero" api:"words"`
	ResourceID   string    `json:"resource_id,omitzero" api:"words"`
	Timestamp    time.Time `json:"timestamp,omitzero" api:"words,created_at"`
	// Before and After are the resource as JSON, with secrets masked by the
	// service. They are nil if there is none, such as before its creation.
	Before   json.RawMessage `json:"before,omitzero" api:"words"`
	After    json.RawMessage `json:"after,omitzero" api:"words"`
	Metadata json.RawMessage `json:"metadata,omitzero" api:"words"`

	rawItem
}

// An Actor is who made a change.
type Actor struct {
	Type  string `json:"type,omitzero" api:"words"`
	ID    string `json:"id,omitzero" api:"words"`
	Name  string `json:"name,omitzero" api:"words,."`
	Email string `json:"email,omitzero" api:"words"`
}

// String returns the first non-empty of the name, email address, id and type.
func (a Actor) String() string { return cmp.Or(a.Name, a.Email, a.ID, a.Type) }

// AuditLogListParams selects entries. The zero value selects all of them.
type AuditLogListParams struct {
	Action       string
	ResourceType string
	ResourceID   string
	Actor        string    // whether the service compares ids, names or addresses is not known
	From, To     time.Time // whether To itself is included is not documented
	Limit        int
	Offset       int
}

func (s *AuditLogsService) listing(p *AuditLogListParams) (listing[AuditEntry], AuditLogListParams) {
	var params AuditLogListParams
	if p != nil {
		params = *p
	}
	return listing[AuditEntry]{
		name: "audit_logs", id: func(e *AuditEntry) string { return e.ID },
		limit: params.Limit, offset: params.Offset,
	}, params
}

func (s *AuditLogsService) page(ctx context.Context, l *listing[AuditEntry], p AuditLogListParams, opts []RequestOption) (*Page[AuditEntry], error) {
	if !p.From.IsZero() && !p.To.IsZero() && p.To.Before(p.From) {
		return nil, &ArgumentError{Op: api.Table[api.AuditLogsList].Name, Arg: "to", Reason: "is before from"}
	}
	r := request{op: api.AuditLogsList}
	r.query.add("action", p.Action)
	r.query.add("resource_type", p.ResourceType)
	r.query.add("resource_id", p.ResourceID)
	r.query.add("actor", p.Actor)
	r.query.addTime("from", p.From)
	r.query.addTime("to", p.To)
	l.query(&r.query)
	return do(ctx, s.scope(), r, l.decode, opts)
}

// List returns one page of the audit log, newest first. It costs one request.
//
//	API:    GET /projects/{project}/audit-logs
//	Access: audit-logs read
//	Status: assumed
func (s *AuditLogsService) List(ctx context.Context, p *AuditLogListParams, opts ...RequestOption) (*Page[AuditEntry], error) {
	l, params := s.listing(p)
	return s.page(ctx, &l, params, opts)
}

// All iterates over the audit log, newest first, starting at the given offset.
// Entries added during the iteration shift the others; All skips those that
// were already on the previous page. It costs one request per Limit entries;
// the default Limit is 100.
//
//	API:    GET /projects/{project}/audit-logs
//	Access: audit-logs read
//	Status: assumed
func (s *AuditLogsService) All(ctx context.Context, p *AuditLogListParams, opts ...RequestOption) iter.Seq2[*AuditEntry, error] {
	l, params := s.listing(p)
	return l.all(ctx, "audit_logs.list", func(ctx context.Context, l *listing[AuditEntry]) (*Page[AuditEntry], error) {
		return s.page(ctx, l, params, opts)
	})
}
