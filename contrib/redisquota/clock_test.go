package redisquota

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// ahead makes the state one of a store whose clock was 10 s ahead.
var ahead = redis.NewScript(`
local S = cmsgpack.unpack(redis.call('GET', KEYS[1]))
local by = 10000000
S.t, S.pu, S.xa, S.se = S.t + by, S.pu > 0 and S.pu + by or 0, S.xa + by, S.se + by
for _, P in pairs(S.p) do
  P.d, P.x, P.g = P.d + by, P.x + by, P.g + by
  for _, E in ipairs(P.e) do E[2] = E[2] + by end
end
redis.call('SET', KEYS[1], cmsgpack.pack(S))
return 1`)

func TestAClockThatIsSetBack(t *testing.T) {
	t.Parallel()
	rdb := dial(t, startRedis(t))
	const n, hold = 5, time.Second
	a, b := newRaw(t, rdb, "a", n, hold), newRaw(t, rdb, "b", n, hold)
	a.step([lanes]int{calls: n}, nil, nil)
	var ends []trip
	for id := range n {
		ends = append(ends, trip{id: uint64(id + 1), lane: calls, ended: time.Now()})
	}
	began := time.Now()
	a.step([lanes]int{}, nil, ends)
	if err := ahead.Run(t.Context(), rdb, []string{a.store.key}).Err(); err != nil {
		t.Fatal(err)
	}
	r := b.step([lanes]int{calls: n}, nil, nil)
	if r.give[calls] != 0 || r.used != n {
		t.Fatalf("granted %v beside %d", r.give, r.used)
	}
	if r.wait > hold {
		t.Errorf("told to wait %v, longer than a window", r.wait)
	}
	eventually(t, "the window is over", func() bool {
		time.Sleep(r.wait)
		r = b.step([lanes]int{calls: n}, nil, nil)
		return r.give[calls] == n
	})
	if took := time.Since(began); took < hold {
		t.Errorf("the window was over after %v", took)
	}
}
