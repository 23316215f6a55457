package redisquota

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/redis/go-redis/v9"
)

// shift makes the state one of a store whose clock was so many microseconds ahead,
// which is what a store knows whose clock was set back, or forward if they are
// negative.
var shift = redis.NewScript(`
local S = cmsgpack.unpack(redis.call('GET', KEYS[1]))
local by = tonumber(ARGV[1])
for _, k in ipairs({'t', 'pu', 'xa', 'se', 'lr', 'bu', 'xu', 'cu'}) do if S[k] and S[k] > 0 then S[k] = S[k] + by end end
for _, times in ipairs({S.f, S.m}) do for k, t in pairs(times) do times[k] = t + by end end
for _, P in pairs(S.p) do
  P.d, P.x, P.g = P.d + by, P.x + by, P.g + by
  for _, E in ipairs(P.e) do E[2] = E[2] + by end
end
redis.call('SET', KEYS[1], cmsgpack.pack(S), 'KEEPTTL')
return 1`)

// setClock sets the clock of a store by so much.
func setClock(t *testing.T, rdb *redis.Client, key string, by time.Duration) {
	t.Helper()
	if err := shift.Run(t.Context(), rdb, []string{key}, -by.Microseconds()).Err(); err != nil {
		t.Fatal(err)
	}
}

func TestAClockThatIsSetBack(t *testing.T) {
	t.Parallel()
	rdb := dial(t, startRedis(t))
	const n, hold = 5, time.Minute
	a, b := newRaw(t, rdb, "a", n, hold), newRaw(t, rdb, "b", n, hold)
	a.step([lanes]int{calls: n}, nil, nil)
	var ends []trip
	for id := range n {
		ends = append(ends, trip{id: uint64(id + 1), lane: calls, ended: time.Now()})
	}
	a.step([lanes]int{}, nil, ends)
	setClock(t, rdb, a.store.key, -10*time.Second)
	r := b.step([lanes]int{calls: n}, nil, nil)
	if r.give[calls] != 0 || r.used != n {
		t.Fatalf("granted %v beside %d", r.give, r.used)
	}
	if r.wait > hold {
		t.Errorf("told to wait %v, longer than a window", r.wait)
	}
	setClock(t, rdb, a.store.key, hold/2)
	if r := b.step([lanes]int{calls: n}, nil, nil); r.give[calls] != 0 {
		t.Errorf("after half a window %v went", r.give)
	}
	setClock(t, rdb, a.store.key, hold/2)
	if r := b.step([lanes]int{calls: n}, nil, nil); r.give[calls] != n {
		t.Errorf("after the window %v went", r.give)
	}
}

// Two processes have used up a window when the clock of their store is set, and
// then want more. The window is kept, and nobody waits for the clock.
func TestAClockThatIsSetBetweenProcesses(t *testing.T) {
	t.Parallel()
	const n, window = 12, 1500 * time.Millisecond
	tests := map[string]time.Duration{
		"forward by half a window": window / 2,
		"forward by a window":      window,
		"forward by two windows":   2 * window,
		"back by half a window":    -window / 2,
		"back by an hour":          -time.Hour,
	}
	for name, by := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := startRedis(t)
			var b book
			var events told
			processes := []*limiter{
				newLimiter(t, dial(t, srv), n, window, events.option()),
				newLimiter(t, dial(t, srv), n, window, events.option()),
			}
			all := func(calls int) {
				t.Helper()
				var wg sync.WaitGroup
				for _, l := range processes {
					for range calls {
						wg.Go(func() { b.through(t, l, time.Millisecond) })
					}
				}
				wg.Wait()
			}
			all(n / 2)
			for _, l := range processes {
				report(t, l)
			}
			setClock(t, dial(t, srv), processes[0].store.key, by)
			all(n / 2) // an acquire that takes many windows fails
			all(n)
			b.check(t, n, window)
			if by < 0 && events.has(EventLost) {
				t.Error("a clock that was set back loses nothing")
			}
			for _, l := range processes {
				if s := l.Status(); s.Fallback != "" {
					t.Error(s.Fallback)
				}
			}
		})
	}
}

// The window is used up when the clock of the store is set forward by two of them,
// by processes that have unequal parts, or asked before they knew of each other.
func TestAClockThatIsSetForwardInAFullWindow(t *testing.T) {
	t.Parallel()
	const n, window = 12, time.Minute
	tests := map[string]struct {
		rounds [][2]int // calls of each process
		other  bool     // a process that knows nothing is the first to ask
	}{
		"equal parts":                 {[][2]int{{n / 2, n / 2}}, false},
		"one came later":              {[][2]int{{n / 2, 0}, {0, n / 2}}, false},
		"one has most, and is known":  {[][2]int{{0, n - 1}, {1, 0}}, false},
		"one has most, at the end":    {[][2]int{{1, 0}, {0, n - 1}}, false},
		"one came later, and a third": {[][2]int{{n / 2, 0}, {0, n / 2}}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := dial(t, startRedis(t))
			var processes [2]*limiter
			for i := range processes {
				processes[i] = newLimiter(t, rdb, n, window)
			}
			for _, round := range test.rounds {
				for i, l := range processes {
					for range round[i] {
						l.Release(acquire(t, l, connic.LaneCall), answered)
					}
					report(t, l)
				}
			}
			setClock(t, rdb, processes[0].store.key, 2*window)
			if test.other {
				newRaw(t, rdb, "other", n, processes[0].hold).step([lanes]int{}, nil, nil)
			}
			for i, l := range processes {
				_, err := l.Acquire(t.Context(), connic.Admission{NoWait: true})
				if limit := new(*connic.LimitError); !errors.As(err, limit) || (*limit).Wait > l.hold+l.lease {
					t.Errorf("process %d: %v, %+v", i, err, l.Status())
				}
			}
		})
	}
}

// A step that is under way for long looks like a clock that was set forward.
func TestAStepThatIsLate(t *testing.T) {
	t.Parallel()
	const hold = time.Second
	a := newRaw(t, dial(t, startRedis(t)), "a", 10, hold)
	began := time.Now()
	a.step([lanes]int{calls: 2}, nil, nil)
	time.Sleep(hold / 20)
	r, err := a.store.run(t.Context(), &step{
		number: 2, quota: 10, hold: hold, lease: hold, first: 3, want: [lanes]int{calls: 3}, open: []trip{{id: 1, lane: calls}},
		asked: began, seen: began, sent: began,
	})
	if err != nil || r.give[calls] != 3 || r.used != 4 {
		t.Errorf("%+v, %v", r, err)
	}
}
