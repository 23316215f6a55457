package redisquota

import (
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/redis/go-redis/v9"
)

func TestLanesWithinAProcess(t *testing.T) {
	t.Parallel()
	rdb := dial(t, startRedis(t))
	l := newLimiter(t, rdb, 1, time.Second)
	p := acquire(t, l, connic.LaneCall)
	served := make(chan connic.Lane, 4)
	for i, lane := range []connic.Lane{connic.LaneLow, connic.LaneCall, connic.LaneCancel} {
		go func() {
			p, err := l.Acquire(t.Context(), connic.Admission{Lane: lane})
			if err == nil {
				served <- lane
				l.Release(p, connic.Outcome{Kind: connic.OutcomeNotSent})
			}
		}()
		eventually(t, "it waits", func() bool { return l.Status().Waiting == i+1 })
	}
	l.Release(p, connic.Outcome{Kind: connic.OutcomeNotSent})
	got := []connic.Lane{<-served, <-served, <-served}
	if want := []connic.Lane{connic.LaneCancel, connic.LaneCall, connic.LaneLow}; !reflect.DeepEqual(got, want) {
		t.Errorf("served %v, want %v", got, want)
	}
}

func TestLanesAcrossProcesses(t *testing.T) {
	t.Parallel()
	rdb := dial(t, startRedis(t))
	const n, hold = 10, time.Minute
	a, b := newRaw(t, rdb, "a", n, hold), newRaw(t, rdb, "b", n, hold)

	// Nobody polls: calls get everything. Somebody does: the reserve is kept.
	if r := a.step([lanes]int{calls: 20}, nil, nil); r.give[calls] != n {
		t.Errorf("without polls calls got %d of %d", r.give[calls], n)
	}
	a.last = 100
	ends := func(n int, kind connic.OutcomeKind) (ends []trip) {
		for id := range n {
			ends = append(ends, trip{id: uint64(id + 1), lane: calls, ended: time.Now(), kind: kind})
		}
		return ends
	}
	a.step([lanes]int{}, nil, ends(n, connic.OutcomeNotSent))
	if r := b.step([lanes]int{polls: 1}, nil, nil); r.give[polls] != 1 {
		t.Errorf("a poll got %v", r.give)
	}
	b.last = 100
	// B waits for something: its poll has one slot and it reserves two more, so that
	// calls of anybody get seven.
	b.reserve = 2
	b.step([lanes]int{}, []trip{{id: 1, lane: polls}}, nil)
	if r := a.step([lanes]int{calls: 20, lows: 5}, nil, nil); r.give[calls] != n-3 || r.give[lows] != 0 {
		t.Errorf("beside two reserved slots calls and lows got %v", r.give)
	}
	if r := b.step([lanes]int{polls: 1, calls: 5}, []trip{{id: 1, lane: polls}}, nil); r.give[polls] != 1 || r.give[calls] != 0 {
		t.Errorf("with two reserved slots left a poll and calls got %v", r.give)
	}
	// A reserve lapses with the process.
	c := newRaw(t, rdb, "c", n, hold)
	c.store.key = "connic:{other}:quota"
	c.reserve = 5
	c.step([lanes]int{}, nil, nil)
	d := newRaw(t, rdb, "d", n, hold)
	d.store.key = c.store.key
	if r := d.step([lanes]int{calls: 20}, nil, nil); r.give[calls] != n-5 {
		t.Errorf("beside five reserved slots calls got %d", r.give[calls])
	}
	setClock(t, rdb, c.store.key, 2*hold)
	d.last += 20
	if r := d.step([lanes]int{calls: 20}, nil, nil); r.give[calls] != n {
		t.Errorf("beside a reserve that has lapsed calls got %d", r.give[calls])
	}
}

func TestACancelGoesBeforeCallsOfOthers(t *testing.T) {
	t.Parallel()
	rdb := dial(t, startRedis(t))
	const n, hold = 10, time.Hour
	a, b := newRaw(t, rdb, "a", n, hold), newRaw(t, rdb, "b", n, hold)
	a.step([lanes]int{calls: n}, nil, nil)
	a.last = 100
	var ends []trip
	for id := range n { // they stop to count in two minutes
		ends = append(ends, trip{id: uint64(id + 1), lane: calls, ended: time.Now().Add(2*time.Minute - hold)})
	}
	a.step([lanes]int{}, nil, ends)
	r := b.step([lanes]int{cancels: 2}, nil, nil)
	if r.give[cancels] != 0 || r.wait > 2*time.Minute {
		t.Fatalf("a full window granted %v, and to wait %v", r.give, r.wait)
	}
	setClock(t, rdb, a.store.key, r.wait)
	if r := a.step([lanes]int{calls: 100}, nil, nil); r.give[calls] != n-2 {
		t.Errorf("calls got %d, with two cancels waiting", r.give[calls])
	}
	if r := b.step([lanes]int{cancels: 2}, nil, nil); r.give[cancels] != 2 {
		t.Errorf("the cancels got %v", r.give)
	}
}

func TestLowGoesOnlyWhereNoCallWaits(t *testing.T) {
	t.Parallel()
	rdb := dial(t, startRedis(t))
	a := newRaw(t, rdb, "a", 10, 10*time.Second)
	if r := a.step([lanes]int{calls: 4, lows: 20}, nil, nil); r.give[calls] != 4 || r.give[lows] != 6 {
		t.Errorf("with room for all calls: %v", r.give)
	}
	a.last = 100
	if r := a.step([lanes]int{calls: 30, lows: 20}, nil, nil); r.give[calls] != 10 || r.give[lows] != 0 {
		t.Errorf("with more calls than room: %v", r.give)
	}
}

func TestSlotsForPollsAreReservedInTheFleet(t *testing.T) {
	t.Parallel()
	srv := startRedis(t)
	a, b := newLimiter(t, dial(t, srv), 10, time.Minute), newLimiter(t, dial(t, srv), 10, time.Minute)
	p, err := a.Acquire(t.Context(), connic.Admission{Follow: 3})
	if err != nil {
		t.Fatal(err)
	}
	a.Release(p, answered)
	other := newRaw(t, dial(t, srv), "other", 10, time.Minute)
	eventually(t, "the store knows", func() bool {
		other.last += 20
		return other.step([lanes]int{calls: 10}, nil, nil).give[calls] == 10-1-3
	})
	other.step([lanes]int{}, nil, nil)
	for range 6 {
		b.Release(acquire(t, b, connic.LaneCall), answered)
	}
	if _, err := b.Acquire(t.Context(), connic.Admission{NoWait: true}); err == nil {
		t.Error("a call got a reserved slot")
	}
	a.Release(acquire(t, a, connic.LanePoll), answered)
	report(t, a)
	a.Reserve(-3)
	eventually(t, "others may use them", func() bool {
		other.last += 20
		return other.step([lanes]int{calls: 10}, nil, nil).give[calls] == 2
	})
	if n := a.Status().Reserved; n != 0 {
		t.Errorf("%d are reserved after all were given back", n)
	}
}

func TestProcessesGetEqualParts(t *testing.T) {
	t.Parallel()
	rdb := dial(t, startRedis(t))
	const hold = time.Hour
	fleet := make([]*raw, 6)
	for i := range fleet {
		fleet[i] = newRaw(t, rdb, "p"+strconv.Itoa(i), 60, hold)
	}
	// One takes everything, which stops to count in two minutes; all the others wait.
	fleet[0].step([lanes]int{calls: 60}, nil, nil)
	fleet[0].last = 60
	var ends []trip
	for id := range 60 {
		ends = append(ends, trip{id: uint64(id + 1), lane: calls, ended: time.Now().Add(2*time.Minute - hold)})
	}
	for i, p := range fleet {
		if r := p.step([lanes]int{calls: 100}, nil, ends); r.give[calls] != 0 {
			t.Fatalf("process %d got %v of a used quota", i, r.give)
		}
		ends = nil
	}
	setClock(t, rdb, fleet[0].store.key, 2*time.Minute)
	for i, p := range fleet {
		if got := p.step([lanes]int{calls: 100}, nil, nil).give[calls]; got != 10 {
			t.Errorf("process %d got %d of 60, want a sixth", i, got)
		}
	}
}

// Polls have at most half of the quota while calls wait, and calls have the rest at
// once.
func TestPollsLeaveHalfToCalls(t *testing.T) {
	t.Parallel()
	rdb := dial(t, startRedis(t))
	const n, hold = 60, 10 * time.Minute
	a, b := newRaw(t, rdb, "a", n, hold), newRaw(t, rdb, "b", n, hold)
	a.reserve = n
	r := a.step([lanes]int{polls: 60, calls: 10}, nil, nil)
	if r.give[polls] != 30 || r.give[calls] != 10 {
		t.Errorf("60 polls and 10 calls got %v, want 30 and 10", r.give)
	}
	b.reserve = n
	if r := b.step([lanes]int{calls: 60}, nil, nil); r.give[calls] != 20 {
		t.Errorf("beside 30 polls calls got %v, want the other half", r.give)
	}
	var ends []trip
	for id := range 30 {
		ends = append(ends, trip{id: uint64(id + 1), lane: polls, ended: time.Now().Add(time.Minute - hold)})
	}
	a.last = 100
	a.step([lanes]int{}, nil, ends)
	if r := b.step([lanes]int{polls: 5}, nil, nil); r.give[polls] != 0 || r.wait > time.Minute {
		t.Errorf("polls beyond their half got %v, and are to ask in %v", r.give, r.wait)
	}
	// Where no call waits, they have all.
	c := newRaw(t, rdb, "c", n, hold)
	c.store.key = "connic:{polls}:quota"
	if r := c.step([lanes]int{polls: 60}, nil, nil); r.give[polls] != n {
		t.Errorf("without calls polls got %v", r.give)
	}
}

// Reservations may be released before they are made: only their sum counts.
func TestReservationsInAnyOrder(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}), 10, time.Minute)
	l.Reserve(-3)
	l.Reserve(3)
	if s := l.Status(); s.Reserved != 0 {
		t.Errorf("%d slots are reserved for nobody", s.Reserved)
	}
	l.Reserve(4)
	if s := l.Status(); s.Reserved != 4 {
		t.Errorf("%d slots are reserved, want 4", s.Reserved)
	}
}
