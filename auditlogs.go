package connic

import (
	"cmp"
	"context"
	"encoding/json"
	"iter"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// AuditLogsService reads the project's audit log, which nobody can change. It
// needs a key with access to the section audit-logs. How far back the log goes
// depends on the project's plan.
//
// The vendor describes the audit log in words. The names of all fields are
// assumed.
type AuditLogsService service

// AuditEntry is one change in the project.
type AuditEntry struct {
	ID           string    `json:"id"`
	Action       string    `json:"action,omitzero"`
	Actor        Actor     `json:"actor,omitzero"`
	ResourceType string    `json:"resource_type,omitzero"`
	ResourceID   string    `json:"resource_id,omitzero"`
	Timestamp    time.Time `json:"timestamp,omitzero"`
	// Before and After are the resource as JSON, with its secrets masked by the
	// service; nil where there is none, as before it was made.
	Before   json.RawMessage `json:"before,omitzero"`
	After    json.RawMessage `json:"after,omitzero"`
	Metadata json.RawMessage `json:"metadata,omitzero"`
}

// Actor is who made a change.
type Actor struct {
	Type  string `json:"type,omitzero"`
	ID    string `json:"id,omitzero"`
	Name  string `json:"name,omitzero"`
	Email string `json:"email,omitzero"`
}

// String returns the most telling of the actor's names.
func (a Actor) String() string { return cmp.Or(a.Name, a.Email, a.ID, a.Type) }

// auditWire is an AuditEntry as it comes: the wrapper's fields hide those of the
// AuditEntry that need a tolerant reader, and hold other spellings.
type auditWire struct {
	AuditEntry
	Who     actorWire `json:"actor"`
	At      Time      `json:"timestamp"`
	Created Time      `json:"created_at"`
}

func (w *auditWire) entry() *AuditEntry {
	e := &w.AuditEntry
	e.Actor, e.Timestamp = w.Who.Actor, w.At.Time
	if e.Timestamp.IsZero() {
		e.Timestamp = w.Created.Time
	}
	for _, raw := range [...]*json.RawMessage{&e.Before, &e.After, &e.Metadata} {
		if string(*raw) == "null" {
			*raw = nil
		}
	}
	return e
}

// actorWire accepts an object, and a plain text as the actor's name.
type actorWire struct{ Actor }

// UnmarshalJSON implements [json.Unmarshaler].
func (w *actorWire) UnmarshalJSON(data []byte) error {
	w.Actor = Actor{}
	if data[0] == '{' {
		return unmarshal(data, &w.Actor)
	}
	if string(data) != "null" {
		w.Name = scalar(data)
	}
	return nil
}

// AuditLogListParams selects entries. Zero fields select all.
type AuditLogListParams struct {
	Action       string
	ResourceType string
	ResourceID   string
	Actor        string    // whether the service compares ids, names or addresses is not known
	From, To     time.Time // whether To itself is included is not documented
	Limit        int
	Offset       int
}

func (s *AuditLogsService) listing(p *AuditLogListParams) (listing[AuditEntry, auditWire], AuditLogListParams) {
	var params AuditLogListParams
	if p != nil {
		params = *p
	}
	return listing[AuditEntry, auditWire]{
		name: "audit_logs", unwrap: (*auditWire).entry, id: func(e *AuditEntry) string { return e.ID },
		limit: params.Limit, offset: params.Offset,
	}, params
}

func (s *AuditLogsService) page(ctx context.Context, l *listing[AuditEntry, auditWire], p AuditLogListParams, opts []RequestOption) (*Page[AuditEntry], error) {
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
	return do(ctx, s.client, r, l.decode, opts)
}

// List returns one page of the audit log, newest first. It costs one request.
//
// API: GET /projects/{project}/audit-logs
// Access: audit-logs read
// Status: assumed
func (s *AuditLogsService) List(ctx context.Context, p *AuditLogListParams, opts ...RequestOption) (*Page[AuditEntry], error) {
	l, params := s.listing(p)
	return s.page(ctx, &l, params, opts)
}

// All iterates over the audit log, newest first, from the given offset on. New
// entries that come meanwhile shift the others: All leaves out what stood on the
// page before already. It costs one request per 100 entries, or per Limit.
//
// API: GET /projects/{project}/audit-logs
// Access: audit-logs read
// Status: assumed
func (s *AuditLogsService) All(ctx context.Context, p *AuditLogListParams, opts ...RequestOption) iter.Seq2[*AuditEntry, error] {
	l, params := s.listing(p)
	return l.all(ctx, "audit_logs.list", func(ctx context.Context, l *listing[AuditEntry, auditWire]) (*Page[AuditEntry], error) {
		return s.page(ctx, l, params, opts)
	})
}
