package connic

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
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

func (s *AuditLogsService) listing(p *AuditLogListParams) listing[AuditEntry] {
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
	return s.listing(p).page(ctx, opts)
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
	return s.listing(p).all(ctx, opts)
}

// followOverlap is how far each poll reaches back before the newest entry seen
// so far: entries are written by several machines, and some arrive late.
const followOverlap = 2 * time.Minute

const (
	followInitial = 5 * time.Second
	followMax     = 30 * time.Second
)

// Follow iterates over the audit log as it grows, oldest entry first. It begins
// with the entries since p.From, or with the current end of the log if p is nil
// or p.From is zero. It ends when the context ends, whose error is in the last
// pair. Each entry is yielded once, provided that it is no older than two
// minutes when it appears. To, Limit and Offset are ignored.
//
// A poll that fails temporarily is repeated; any other error ends the
// iteration. Polls use [LaneLow] and cost one request each, plus one per 100
// new entries. They are 5 s apart after new entries, and then at growing
// intervals of up to 30 s (see [WithPoll]).
//
//	API:    GET /projects/{project}/audit-logs
//	Access: audit-logs read
//	Status: assumed
func (s *AuditLogsService) Follow(ctx context.Context, p *AuditLogListParams, opts ...WaitOption) iter.Seq2[*AuditEntry, error] {
	conf := newWaitConfig(append([]WaitOption{WithPoll(followInitial, followMax)}, opts...))
	return func(yield func(*AuditEntry, error) bool) {
		if ctx == nil {
			yield(nil, &ArgumentError{Op: api.Table[api.AuditLogsList].Name, Arg: "context", Reason: "is nil"})
			return
		}
		f := auditFollower{service: s, conf: conf, seen: make(map[string]time.Time)}
		if p != nil {
			f.params = *p
		}
		f.params.To, f.params.Limit, f.params.Offset = time.Time{}, 0, 0
		f.run(ctx, yield)
	}
}

// auditFollower keeps track of the entries it has yielded.
type auditFollower struct {
	service *AuditLogsService
	conf    waitConfig
	params  AuditLogListParams
	newest  time.Time            // the time of the newest entry so far
	seen    map[string]time.Time // by auditKey: entries that the next poll may return again
}

func (f *auditFollower) run(ctx context.Context, yield func(*AuditEntry, error) bool) {
	interval := f.conf.initial
	skip := f.params.From.IsZero() // skip existing entries
	for {
		fresh, err := f.look(ctx, skip)
		switch {
		case ctx.Err() != nil:
			yield(nil, contextError(ctx))
			return
		case err != nil && (hopeless(err) || errors.Is(err, ErrNotFound)):
			yield(nil, err)
			return
		case err == nil:
			for _, e := range slices.Backward(fresh) {
				if !skip && !yield(e, nil) {
					return
				}
			}
			if skip = false; len(fresh) > 0 {
				interval = f.conf.initial
			}
		}
		if err := sleep(ctx, jitter(interval)); err != nil {
			yield(nil, contextError(ctx))
			return
		}
		interval = min(time.Duration(float64(interval)*pollGrowth), f.conf.max)
	}
}

// look returns the new entries, newest first. It records them only if the whole
// poll succeeds, so that none is lost. If existing entries are skipped, the
// first poll reads a single page.
func (f *auditFollower) look(ctx context.Context, first bool) ([]*AuditEntry, error) {
	var since time.Time
	if !f.newest.IsZero() {
		since = f.newest.Add(-followOverlap)
	}
	params := f.params
	if since.After(params.From) {
		params.From = since
	}
	opts := append([]RequestOption{WithLane(LaneLow)}, f.conf.request...)
	var fresh []*AuditEntry
	newest, known := f.newest, 0
	for e, err := range f.service.All(ctx, &params, opts...) {
		if err != nil {
			return nil, err
		}
		// The service may not filter by time, so a page of old entries ends the
		// poll. Entries seen before do not, because a late one may follow them.
		old := !params.From.IsZero() && !e.Timestamp.IsZero() && e.Timestamp.Before(params.From)
		_, seen := f.seen[auditKey(e)]
		if old || seen && e.Timestamp.IsZero() {
			if known++; known >= pageLimit {
				break
			}
		}
		if old || seen {
			continue
		}
		fresh = append(fresh, e)
		if e.Timestamp.After(newest) {
			newest = e.Timestamp
		}
		if first && len(fresh) >= pageLimit {
			break
		}
	}
	f.newest = newest
	for _, e := range fresh {
		f.seen[auditKey(e)] = e.Timestamp
	}
	for id, at := range f.seen {
		if !at.IsZero() && at.Before(newest.Add(-2*followOverlap)) {
			delete(f.seen, id)
		}
	}
	return fresh, nil
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
