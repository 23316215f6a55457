package connic

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// followOverlap is how far back each look reaches beyond the newest entry that
// was seen: entries are written by several machines, and some come late.
const followOverlap = 2 * time.Minute

const (
	followInitial = 5 * time.Second
	followMax     = 30 * time.Second
)

// Follow iterates over the audit log as it grows, oldest first: over the entries
// since p.From, or only those that come from now on where p is nil or p.From is
// zero, and then over new ones until the context ends, whose error is the last
// pair's. Each entry comes once, as long as it is not older than two minutes when
// it appears. To, Limit and Offset are not used.
//
// A look that fails for a reason that can pass is repeated; any other error ends
// the iteration. Looks go in the low lane (see [WithLane]) and cost one request
// each, and one more per 100 new entries: 5 s after news, and then less and less
// often down to every 30 s (see [WithPoll]).
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

// auditFollower remembers what it has yielded.
type auditFollower struct {
	service *AuditLogsService
	conf    waitConfig
	params  AuditLogListParams
	newest  time.Time            // the time of the newest entry so far
	seen    map[string]time.Time // by auditKey: entries that the next look may show again
}

func (f *auditFollower) run(ctx context.Context, yield func(*AuditEntry, error) bool) {
	interval := f.conf.initial
	skip := f.params.From.IsZero() // what is there already
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

// look returns the entries that are new, newest first. It remembers them only if
// the whole look succeeds, so that none is lost. The first look of those who want
// no old entries reads one page.
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
		// The service may not filter by time: a page of old entries is enough. Those
		// that were seen are no sign of that, because a late one may stand behind them.
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

// auditKey tells an entry from others: by its id or, where it has none, by what
// else it says.
func auditKey(e *AuditEntry) string {
	if e.ID != "" {
		return e.ID
	}
	return strings.Join([]string{
		"", e.Timestamp.String(), e.Action, e.ResourceType, e.ResourceID, e.Actor.Type, e.Actor.ID, e.Actor.Name, e.Actor.Email,
		string(e.Before), string(e.After), string(e.Metadata),
	}, "\x00")
}
