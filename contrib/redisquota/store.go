package redisquota

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed step.lua
var source string

var script = redis.NewScript(source)

// store runs steps. It is used by one goroutine at a time.
type store struct {
	rdb     redis.UniversalClient
	key     string
	process string
}

// step is what a process tells the store. Lanes are in the order of the script:
// cancel, poll, call, low.
type step struct {
	number     int64
	quota      int
	hold       time.Duration
	lease      time.Duration
	reserve    int
	settle     bool // the store may not know everything
	processes  int
	pause      time.Duration
	first      uint64
	want       [lanes]int
	open, ends []trip
	sent       time.Time
	// asked and seen are when the previous step was sent and answered; zero if that
	// was too long ago to tell whether the store's clock was set since.
	asked, seen time.Time
}

// reply is what the store answers.
type reply struct {
	epoch     string
	pauses    int64
	pause     time.Duration // the rest of it
	give      [lanes]int
	wait      time.Duration // until it is worth asking again
	used      int
	open      int
	processes int
	first     time.Duration // until the first admission stops to count; 0: none does
	limit     int           // the quota, or what other programs leave of it
	waiting   int
	// since is the time since the process's previous step, by the store's clock; 0
	// if the store does not know the process.
	since time.Duration
	known int // processes that used the quota within ten windows
}

const replyFields = 16

// run executes a step. If the previous one lies further back by the store's clock
// than by the process's own, the store does nothing, and the step is sent again once
// it is known whether its clock was set forward.
func (s *store) run(ctx context.Context, st *step) (*reply, error) {
	var longest time.Duration
	if !st.asked.IsZero() {
		longest = st.sent.Sub(st.asked) + st.hold/100
	}
	r, err := s.send(ctx, st, longest, 0)
	if err != nil || longest == 0 || r.since <= longest {
		return r, err
	}
	if r.since <= time.Since(st.asked)+st.hold/100 { // the step was late
		return s.send(ctx, st, 0, 0)
	}
	return s.send(ctx, st, longest, max(time.Microsecond, r.since-st.sent.Sub(st.seen)))
}

func (s *store) send(ctx context.Context, st *step, longest, ahead time.Duration) (*reply, error) {
	settle := 0
	if st.settle {
		settle = 1
	}
	args := make([]any, 0, 18+2*len(st.open)+6*len(st.ends))
	args = append(args, s.process, st.number, st.quota, st.hold.Microseconds(), st.lease.Microseconds(), st.reserve,
		settle, st.processes, st.pause.Microseconds(), st.first)
	for _, n := range st.want {
		args = append(args, n)
	}
	args = append(args, longest.Microseconds(), ahead.Microseconds(), len(st.open))
	for _, t := range st.open {
		args = append(args, t.id, t.poll())
	}
	args = append(args, len(st.ends))
	for _, t := range st.ends {
		age := max(0, st.sent.Sub(t.ended))
		args = append(args, t.id, t.poll(), age.Microseconds(), int(t.kind), t.pauses, t.retry.Microseconds())
	}
	values, err := script.Run(ctx, s.rdb, []string{s.key}, args...).Slice()
	if err != nil {
		return nil, err
	}
	return parse(values)
}

// parse reads an answer of the script. One with a value out of bounds is an error.
func parse(values []any) (*reply, error) {
	if len(values) < replyFields {
		return nil, fmt.Errorf("the store answered %d values", len(values))
	}
	epoch, ok := values[0].(string)
	if !ok {
		return nil, errReply
	}
	var n [replyFields]int64
	for i := 1; i < replyFields; i++ {
		if n[i], ok = values[i].(int64); !ok || n[i] < 0 || n[i] > 1<<53 {
			return nil, errReply
		}
	}
	us := func(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
	r := &reply{
		epoch: epoch, pauses: n[1], pause: us(n[2]), wait: us(n[7]), used: int(n[8]), open: int(n[9]),
		processes: int(n[10]), first: us(n[11]), limit: int(n[12]), waiting: int(n[13]), since: us(n[14]),
		known: int(n[15]),
	}
	if r.pause > maxPause || max(r.wait, r.first) > 2*maxWindow || max(r.used, r.open, r.processes, r.known) > 1<<20 {
		return nil, errReply
	}
	for lane := range r.give {
		r.give[lane] = int(n[3+lane])
	}
	return r, nil
}

var errReply = errors.New("the store answered with something else than numbers within bounds")
