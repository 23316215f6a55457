package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// job is the work of the tests.
type job struct {
	ID, Status string
	Output     []string // left out by the list if the service is terse
	err        error    // it cannot be decoded
}

func (j *job) clone() *job {
	own := *j
	own.Output = slices.Clone(j.Output)
	return &own
}

// service has jobs that end at some time, and lists the newest first.
type service struct {
	mu     sync.Mutex
	ends   map[string]time.Time
	listed []string // oldest first
	bad    map[string]bool
	terse  bool
	// fail, if not nil, is called before each request; id is "" for the list.
	fail func(ctx context.Context, id string) error

	requests      []request
	atOnce, most  int
	reserved, max int
	broken        string // invariant of the quota
	waiting       int
}

type request struct {
	at   time.Time
	id   string // "" for the list
	page int
}

var (
	errBad      = errors.New("undecodable")
	errRefused  = errors.New("refused")
	errUseless  = errors.New("no list")
	errForeign  = errors.New("about another one")
	errUnlisted = errors.New("not in the list")
	errDown     = errors.New("down")
)

func (s *service) add(prefix string, n int, ends time.Duration, listed bool) (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ends == nil {
		s.ends = make(map[string]time.Time)
	}
	for i := range n {
		id := fmt.Sprintf("%s-%03d", prefix, i)
		ids = append(ids, id)
		s.ends[id] = time.Now().Add(ends)
		if listed {
			s.listed = append(s.listed, id)
		}
	}
	return ids
}

func (s *service) send(ctx context.Context, id string, page int, a Ask) error {
	if a.Sending != nil {
		defer a.Sending()()
	}
	s.mu.Lock()
	s.requests = append(s.requests, request{time.Now(), id, page})
	s.atOnce++
	s.most = max(s.most, s.atOnce)
	s.check()
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.atOnce--
	}()
	time.Sleep(20 * time.Millisecond)
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(a.Timeout, time.Minute))
	defer cancel()
	if s.fail != nil {
		return s.fail(ctx, id)
	}
	return nil
}

// end is when a job ends.
func (s *service) end(id string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ends[id]
}

// log returns the requests so far.
func (s *service) log() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

func (s *service) show(id string, whole bool) *job {
	j := &job{ID: id, Status: "running"}
	if !time.Now().Before(s.ends[id]) {
		j.Status = "completed"
		if whole {
			j.Output = []string{"the output of " + id}
		}
	}
	if s.bad[id] {
		j.err = errBad
	}
	return j
}

func (s *service) get(ctx context.Context, id string, a Ask) (*job, error) {
	if err := s.send(ctx, id, 0, a); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.ends[id]; !ok {
		return nil, errRefused
	}
	j := s.show(id, true)
	return j, j.err
}

const pageSize = 100

func (s *service) list([]*job) func(context.Context, Position, Ask) (Page[job], error) {
	return func(ctx context.Context, at Position, a Ask) (Page[job], error) {
		if err := s.send(ctx, "", at.Offset/pageSize, a); err != nil {
			return Page[job]{}, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		p := Page[job]{Row: func(j *job) string { return j.ID }, Bad: func(j *job) error { return j.err }}
		for i := len(s.listed) - 1 - at.Offset; i >= 0 && len(p.Items) < pageSize; i-- {
			p.Items = append(p.Items, s.show(s.listed[i], !s.terse))
		}
		p.Next.Offset = at.Offset + len(p.Items)
		p.More = p.Next.Offset < len(s.listed)
		return p, nil
	}
}

// Limits implements Quota.
func (s *service) Limits() Limits { return Limits{Limit: 60, Window: time.Minute, Waiting: s.waiting} }

// Reserve implements Quota.
func (s *service) Reserve(slots int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved += slots
	s.max = max(s.max, s.reserved)
	s.check()
}

// check notes if polls have more than half of the quota, used in the last minute or
// reserved.
func (s *service) check() {
	used := s.since(time.Minute)
	if used > 30 || used-s.atOnce+s.reserved > 30 || s.reserved < 0 { // a slot stays reserved until the response
		s.broken = fmt.Sprintf("%d slots are used and %d reserved", used, s.reserved)
	}
}

func (s *service) sent(d time.Duration) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since(d)
}

func (s *service) since(d time.Duration) (n int) {
	for _, r := range s.requests {
		if time.Since(r.at) < d {
			n++
		}
	}
	return n
}

// kinds of work by what the service offers.
const (
	both = iota
	getOnly
	listOnly
)

func (s *service) watch(offers int) *Watch[job] {
	k := Kind[job]{
		Name: "job", ID: func(j *job) string { return j.ID }, Copy: (*job).clone, Get: s.get, List: s.list,
		State:   func(j *job) State { return State{Status: j.Status, Done: j.Status == "completed"} },
		Partial: func(j *job) bool { return j.Status == "completed" && j.Output == nil },
	}
	switch offers {
	case getOnly:
		k.List = nil
	case listOnly:
		k.Get, k.Partial = nil, nil
	}
	return New(k, Config{
		Quota: s, Timeout: time.Minute, PageSize: pageSize, Assumed: Limits{Limit: 60, Window: time.Minute},
		Unlisted: func(string) error { return errUnlisted }, Foreign: func(string) error { return errForeign },
		Judge: func(err error) (v Verdict) {
			v.Hopeless = errors.Is(err, errBad) || errors.Is(err, ErrPanicked)
			v.Refused = errors.Is(err, errRefused) || errors.Is(err, errForeign) || errors.Is(err, errUnlisted)
			if errors.Is(err, errUseless) {
				v.List = ListUseless
			}
			return v
		},
	})
}

var usual = Terms{Initial: 2 * time.Second, Max: 15 * time.Second}

// outcome is what became of an item.
type outcome struct {
	own   *job
	at    time.Time
	ended *Pending
}

// wait waits for ids until they have ended, and returns what became of each.
func wait(ctx context.Context, w *Watch[job], terms Terms, ids ...string) map[string]outcome {
	x := w.Join(ctx, terms, false, ids...)
	defer x.Leave()
	got := make(map[string]outcome)
	for !x.Empty() {
		updates, _, _, ended := x.Next(ctx, nil)
		for _, u := range updates {
			if u.Done || u.Ended != nil {
				got[u.ID] = outcome{u.Own, time.Now(), u.Ended}
			}
		}
		if ended != nil {
			for _, id := range ended.IDs {
				got[id] = outcome{nil, time.Now(), ended}
			}
			break
		}
	}
	return got
}

// inBubble runs a test in virtual time. Nothing may be left of it.
func inBubble(t *testing.T, test func(t *testing.T, s *service)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := new(service)
		test(t, s)
		time.Sleep(time.Second)
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.reserved != 0 || s.atOnce != 0 {
			t.Errorf("%d slots stay reserved, and %d requests in flight", s.reserved, s.atOnce)
		}
		if s.broken != "" {
			t.Error(s.broken)
		}
	})
}
