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
	"github.com/connic-go/connic/internal/list"
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

const (
	// followLate is how late an entry may appear: they are written by several
	// machines.
	followLate = 2 * time.Minute
	// followSettled is how many entries in a row, all older than that, end a poll.
	// Some that are dated in the future may stand above newer ones.
	followSettled = 25
	// followKept is how long an entry is remembered after a poll has listed it.
	followKept    = 5 * followLate
	followInitial = 5 * time.Second
	followMax     = 30 * time.Second
)

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
// one per 100 entries of the last two minutes. They are 5 s apart after new
// entries, and then at growing intervals of up to 30 s (see [WithPoll]).
//
//	API:    GET /projects/{project}/audit-logs
//	Access: audit-logs read
//	Status: assumed
func (s *AuditLogsService) Follow(ctx context.Context, p *AuditLogListParams, opts ...WaitOption) iter.Seq2[*AuditEntry, error] {
	conf := newWaitConfig(append([]WaitOption{WithPoll(followInitial, followMax)}, opts...))
	var params AuditLogListParams
	if p != nil {
		params = *p
	}
	params.To, params.Limit, params.Offset = time.Time{}, pageLimit, 0
	l := s.listing(&params)
	l.id, l.request.lane = auditKey, LaneLow
	return func(yield func(*AuditEntry, error) bool) {
		if ctx == nil {
			yield(nil, &ArgumentError{Op: api.Table[api.AuditLogsList].Name, Arg: "context", Reason: "is nil"})
			return
		}
		f := follower{listing: l, opts: conf.request, begin: params.From, known: make(map[string]listed)}
		f.run(ctx, &conf, yield)
	}
}

// A follower polls the audit log. What is new it decides by what it has listed
// before, and when that was by the local clock: the timestamp of an entry says
// nothing about the others.
type follower struct {
	listing listing[AuditEntry]
	opts    []RequestOption
	begin   time.Time         // entries with earlier timestamps are not yielded
	last    time.Time         // when the last poll that succeeded began
	known   map[string]listed // by auditKey
	whole   bool              // it has read the log to its end, all of which is known
	longest int               // see list.Walk
	ahead   []time.Duration   // of the local clock: the timestamps of the latest entries
}

// listed is an entry with its timestamp, and when it was first and last listed.
type listed struct{ timestamp, first, last time.Time }

func (f *follower) run(ctx context.Context, conf *waitConfig, yield func(*AuditEntry, error) bool) {
	interval, failures := conf.initial, 0
	var refused time.Time // since when all polls were refused
	for {
		fresh, err := f.poll(ctx)
		switch {
		case ctx.Err() != nil:
			yield(nil, contextError(ctx))
			return
		case err == nil:
			failures, refused = 0, time.Time{}
			for _, e := range slices.Backward(fresh) {
				if !yield(e, nil) {
					return
				}
			}
			if len(fresh) > 0 {
				interval = conf.initial
			}
		default:
			failures++
			v := verdict(err, 0)
			if !v.Refused && !errors.Is(err, ErrPageLoop) {
				refused = time.Time{}
			} else if refused.IsZero() {
				refused = time.Now()
			}
			if v.Hopeless || failures == conf.failures || !refused.IsZero() && time.Since(refused) >= missingFor {
				yield(nil, err)
				return
			}
		}
		if err := sleep(ctx, jitter(interval)); err != nil {
			yield(nil, contextError(ctx))
			return
		}
		interval = min(time.Duration(float64(interval)*pollGrowth), conf.max)
	}
}

// poll returns the new entries, newest first. It records them only if the whole
// poll succeeds, so that none is lost.
func (f *follower) poll(ctx context.Context) ([]*AuditEntry, error) {
	start, begin := time.Now(), f.begin
	first := f.last.IsZero()
	skip := first && begin.IsZero() // the entries that there are
	latest := start                 // the timestamps of most entries are earlier
	if n := len(f.ahead); n > 0 {
		latest = start.Add(slices.Sorted(slices.Values(f.ahead))[n/10])
	}
	settled := f.last.Add(-followLate)
	var fresh []*AuditEntry
	var again []string
	row, stopped := 0, false
	w := list.NewWalk(auditKey, list.Position{})
	w.Longest = f.longest
	err := f.listing.walk(ctx, w, f.opts, func(e *AuditEntry) bool {
		key := auditKey(e)
		k, known := f.known[key]
		early := !e.Timestamp.IsZero() && e.Timestamp.Before(begin)
		switch {
		case known:
			again = append(again, key)
		case skip || !early:
			fresh = append(fresh, e)
		}
		if known && !k.first.After(settled) && !e.Timestamp.After(latest) || !known && early {
			row++
		} else {
			row = 0
		}
		if skip && len(fresh) == pageLimit {
			ahead := ahead(fresh, start)
			if len(ahead) == 0 {
				stopped = true
				return false
			}
			begin = start.Add(middle(ahead) - followLate)
			for row < pageLimit && fresh[pageLimit-1-row].Timestamp.Before(begin) {
				row++
			}
		}
		stopped = row >= followSettled
		return !stopped && (row == 0 || !f.whole || len(again) < len(f.known))
	})
	if err != nil {
		return nil, err
	}
	f.record(fresh, again, start)
	if stopped && skip {
		f.begin = earlier(begin, start.Add(-followLate))
	}
	f.last, f.longest, f.whole = start, w.Longest, !stopped
	if skip {
		return nil, nil
	}
	return fresh, nil
}

// record notes the entries of a poll, and forgets those that polls have not
// reached for a while.
func (f *follower) record(fresh []*AuditEntry, again []string, start time.Time) {
	now := time.Now()
	latest := ahead(fresh[:min(len(fresh), pageLimit)], start)
	for _, e := range fresh {
		k := listed{e.Timestamp, now, now}
		if f.last.IsZero() { // they are older than the poll
			k.first = start.Add(-followLate)
			age := middle(latest) - e.Timestamp.Sub(start)
			switch {
			case e.Timestamp.IsZero():
			case age < 0:
				k.first = now
			default:
				k.first = start.Add(-age)
			}
		}
		f.known[auditKey(e)] = k
	}
	slices.Reverse(latest)
	f.ahead = append(f.ahead, latest...)
	f.ahead = slices.Clone(f.ahead[max(0, len(f.ahead)-2*followSettled):])
	for _, key := range again {
		k := f.known[key]
		k.last = now
		f.known[key] = k
	}
	for key, k := range f.known {
		if now.Sub(k.last) < followKept {
			continue
		}
		delete(f.known, key)
		if at := earlier(k.timestamp, start.Add(-followLate)); at.After(f.begin) {
			f.begin = at
		}
	}
}

// ahead returns how far timestamps are ahead of the local clock.
func ahead(entries []*AuditEntry, now time.Time) (all []time.Duration) {
	for _, e := range entries {
		if !e.Timestamp.IsZero() {
			all = append(all, e.Timestamp.Sub(now))
		}
	}
	return all
}

// middle returns the median, 0 if there is none.
func middle(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
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
