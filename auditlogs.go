package connic

import (
	"cmp"
	"context"
	"encoding/json"
	"iter"
	"slices"
	"strings"
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

func (s *AuditLogsService) scope() *scope { return (*service)(s).scope() }

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

	RawItem
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
	// Limit is the number of entries per page, at most 100 (assumed). If it is 0,
	// List leaves it to the service, and All uses 100.
	Limit, Offset int
}

func auditListing(s *AuditLogsService, p *AuditLogListParams) listing[AuditEntry] {
	if p == nil {
		p = new(AuditLogListParams)
	}
	l := listing[AuditEntry]{
		scope: s.scope(), request: request{op: api.AuditLogsList}, name: "audit_logs", id: func(e *AuditEntry) string { return e.ID },
		limit: p.Limit, offset: p.Offset,
	}
	if !p.From.IsZero() && !p.To.IsZero() && p.To.Before(p.From) {
		l.err = &ArgumentError{Op: api.Table[api.AuditLogsList].Name, Arg: "to", Reason: "is before from"}
	}
	q := &l.request.query
	q.add("action", p.Action)
	q.add("resource_type", p.ResourceType)
	q.add("resource_id", p.ResourceID)
	q.add("actor", p.Actor)
	q.addTime("from", p.From)
	q.addTime("to", p.To)
	return l
}

// List returns one page of the audit log, newest first. It costs one request.
//
//	API:    GET /projects/{project}/audit-logs
//	Access: audit-logs read
//	Status: assumed
func (s *AuditLogsService) List(ctx context.Context, p *AuditLogListParams, opts ...RequestOption) (*Page[AuditEntry], error) {
	return auditListing(s, p).page(ctx, opts)
}

// All iterates over the audit log, newest first, starting at the given offset.
// Entries may be added and deleted during the iteration: each of the others is
// yielded once, or the iteration ends with [ErrPageLoop]. It costs one request
// per Limit entries, and a few more if the list changes; the default Limit is
// 100.
//
//	API:    GET /projects/{project}/audit-logs
//	Access: audit-logs read
//	Status: assumed
func (s *AuditLogsService) All(ctx context.Context, p *AuditLogListParams, opts ...RequestOption) iter.Seq2[*AuditEntry, error] {
	return auditListing(s, p).all(ctx, opts)
}

// Follow iterates over the audit log as it grows, oldest entry first. It begins
// with the entries since p.From, or with the current end of the log if p is nil
// or p.From is zero. It ends when the context ends, whose error is in the last
// pair. Each entry is yielded once, provided that it appears no later than two
// minutes after its time. To, Limit and Offset are ignored.
//
// The clock of the service may differ from the local one. If it does, the
// difference should be the same for most entries.
//
// A poll that fails temporarily is repeated. The refusal of the key or of the
// client itself ends the iteration, as does any other refusal that lasts for 15
// s, or [WithPollFailures]. Polls use [LaneLow] and cost one request each, plus
// one per 100 entries since the last one. Those of the last two minutes are read
// again every 30 s, for entries that appear late. Polls are 5 s apart after new
// entries, and then at growing intervals of up to 30 s (see [WithPoll]).
//
//	API:    GET /projects/{project}/audit-logs
//	Access: audit-logs read
//	Status: assumed
func (s *AuditLogsService) Follow(ctx context.Context, p *AuditLogListParams, opts ...WaitOption) iter.Seq2[*AuditEntry, error] {
	var params AuditLogListParams
	if p != nil {
		params = *p
	}
	params.To, params.Limit, params.Offset = time.Time{}, pageLimit, 0
	l := auditListing(s, &params)
	l.id = auditKey
	return func(yield func(*AuditEntry, error) bool) {
		f := newFollower(l, params.From, func(e *AuditEntry) time.Time { return e.Timestamp }, opts)
		f.run(ctx, f.poll, func(changes []changed[AuditEntry]) bool {
			for _, c := range slices.Backward(changes) {
				if !yield(c.item, nil) {
					return false
				}
			}
			return true
		}, func(err error) { yield(nil, err) })
	}
}

// auditKey identifies an entry by its id or, if it has none, by its other
// fields.
func auditKey(e *AuditEntry) string {
	if e.ID != "" {
		return e.ID
	}
	return strings.Join([]string{
		"", e.Timestamp.String(), e.Action, e.ResourceType, e.ResourceID, e.Actor.Type, e.Actor.ID, e.Actor.Name, e.Actor.Email,
		string(e.Before), string(e.After), string(e.Metadata),
	}, "\x00")
}
