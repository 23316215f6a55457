package redisquota

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/redis/go-redis/v9"
)

// change runs Lua code on the state S of a store, and keeps the result.
func change(t *testing.T, rdb *redis.Client, key, code string) {
	t.Helper()
	script := "local S = cmsgpack.unpack(redis.call('GET', KEYS[1]))\n" + code + "\nredis.call('SET', KEYS[1], cmsgpack.pack(S))\nreturn 1"
	if err := rdb.Eval(t.Context(), script, []string{key}).Err(); err != nil {
		t.Fatal(err)
	}
}

// A state that is lost or cannot be read is replaced, and one whose waits or counts are out of
// bounds is not believed: the processes go on to share the quota, and the window is
// kept.
func TestAStateThatIsLost(t *testing.T) {
	t.Parallel()
	changes := map[string]string{
		"a newer version":            "S.v = 2",
		"a pause of an hour":         "S.pu = S.t + 3600e6",
		"a pause that is no number":  "S.pu = 0 / 0",
		"no processes":               "S.p = nil",
		"a window of a year":         "for _, P in pairs(S.p) do P.h = 365 * 86400e6 end",
		"a quota of nothing":         "for _, P in pairs(S.p) do P.n = 0 end",
		"an attempt in a year":       "for _, P in pairs(S.p) do P.e[1] = {1, S.t + 365 * 86400e6, 0, 0} end",
		"another shape":              "for _, P in pairs(S.p) do P.w = 'x' end",
		"a learnt share of nothing":  "S.ln, S.lr = 0, 0",
		"a clock far in the future":  "S.t = 2 ^ 60",
		"a process seen in a year":   "S.m = {x = S.t + 365 * 86400e6}",
		"an end that is no number":   "S.se = {}",
		"a probe without an end":     "S.b, S.bi = true, 'x.1'",
		"a table instead of a state": "S = {1, 2, 3}",
	}
	tests := map[string]func(*testing.T, *redis.Client, string){
		"another type": func(t *testing.T, rdb *redis.Client, key string) {
			t.Helper()
			if err := rdb.Del(t.Context(), key).Err(); err != nil {
				t.Fatal(err)
			}
			if err := rdb.LPush(t.Context(), key, "x").Err(); err != nil {
				t.Fatal(err)
			}
		},
		"no state and no script": func(t *testing.T, rdb *redis.Client, key string) {
			t.Helper()
			if err := errors.Join(rdb.Del(t.Context(), key).Err(), rdb.ScriptFlush(t.Context()).Err()); err != nil {
				t.Fatal(err)
			}
		},
		"garbage": func(t *testing.T, rdb *redis.Client, key string) {
			t.Helper()
			if err := rdb.Set(t.Context(), key, "\xc1garbage", 0).Err(); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, code := range changes {
		tests[name] = func(t *testing.T, rdb *redis.Client, key string) { t.Helper(); change(t, rdb, key, code) }
	}
	srv := startRedis(t)
	admin := dial(t, srv)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const n, window = 12, 3 * time.Second
			var b book
			var events told
			var processes []*limiter
			for range 2 {
				l, err := New(dial(t, srv), name, WithQuota(n, window), WithStoreTimeout(time.Minute), events.option())
				if err != nil {
					t.Fatal(err)
				}
				processes = append(processes, l.(*limiter))
			}
			all := func() {
				t.Helper()
				var wg sync.WaitGroup
				for _, l := range processes {
					for range n / 2 {
						wg.Go(func() { b.through(t, l, time.Millisecond) })
					}
				}
				wg.Wait()
			}
			all()
			for _, l := range processes {
				report(t, l)
			}
			for _, l := range processes { // a state that is lost does not say that there are two
				eventually(t, "they know of each other", func() bool {
					l.mu.Lock()
					defer l.mu.Unlock()
					if l.busy || l.known == 2 {
						return !l.busy
					}
					l.urgent = true
					l.advance(time.Now())
					return false
				})
			}
			test(t, admin, processes[0].store.key)
			all()
			b.check(t, n, window)
			for _, l := range processes {
				if s := l.Status(); s.Fallback != "" {
					t.Error(s.Fallback)
				}
			}
			eventually(t, "an event", func() bool { return events.has(EventLost) })
		})
	}
}

// Replies with values out of bounds are errors.
func TestRepliesOutOfBounds(t *testing.T) {
	t.Parallel()
	reply := func(change func([]any)) []any {
		values := []any{"epoch"}
		for range replyFields - 1 {
			values = append(values, int64(1))
		}
		change(values)
		return values
	}
	if _, err := parse(reply(func([]any) {})); err != nil {
		t.Fatal(err)
	}
	for name, values := range map[string][]any{
		"a pause of a day":    reply(func(v []any) { v[2] = (24 * time.Hour).Microseconds() }),
		"a wait of a week":    reply(func(v []any) { v[7] = (7 * 24 * time.Hour).Microseconds() }),
		"a negative wait":     reply(func(v []any) { v[7] = int64(-1) }),
		"very many processes": reply(func(v []any) { v[15] = int64(1) << 40 }),
		"an epoch of numbers": reply(func(v []any) { v[0] = int64(1) }),
		"text":                reply(func(v []any) { v[3] = "1" }),
		"too few":             {"epoch"},
	} {
		if r, err := parse(values); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// A fleet that makes one call at a time still knows how many processes it has.
func TestQuietProcessesAreRemembered(t *testing.T) {
	t.Parallel()
	rdb := dial(t, startRedis(t))
	const hold = time.Minute
	var last *reply
	for _, name := range []string{"a", "b", "c"} {
		p := newRaw(t, rdb, name, 10, hold)
		p.step([lanes]int{calls: 1}, nil, nil)
		setClock(t, rdb, p.store.key, 2*hold)
		last = p.step([lanes]int{}, nil, nil)
	}
	if last.processes != 1 || last.known != 3 {
		t.Errorf("%d processes and %d known, want 1 and 3", last.processes, last.known)
	}
	// A smaller number is believed gradually.
	l := newLimiter(t, rdb, 10, time.Minute)
	now := time.Now()
	take := func(known int) {
		now = now.Add(10 * l.hold)
		l.take(&step{sent: now}, &reply{known: known}, now)
	}
	take(20)
	take(1)
	if l.known != 15 {
		t.Errorf("after ten windows %d processes are reckoned with, want 15", l.known)
	}
	for range 20 {
		take(1)
	}
	if l.known != 1 {
		t.Errorf("after two hundred windows %d processes are reckoned with, want 1", l.known)
	}
}

// Attempts that do not wait are admitted as long as slots are free.
func TestFailFastUsesAnUnusedQuota(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, dial(t, startRedis(t)), 60, time.Minute)
	var wg sync.WaitGroup
	for range 60 {
		wg.Go(func() {
			if _, err := l.Acquire(t.Context(), connic.Admission{NoWait: true}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, err := l.Acquire(t.Context(), connic.Admission{NoWait: true}); err == nil {
		t.Error("the 61st attempt is admitted")
	}
}

// An attempt that waits for the mutex while an answer is taken is not refused
// because of it.
func TestFailFastDuringAnAnswer(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, dial(t, startRedis(t)), 60, time.Minute)
	l.mu.Lock()
	l.lines[calls].insert(&waiter{ready: make(chan struct{})}, false)
	done := make(chan error)
	go func() {
		_, err := l.Acquire(t.Context(), connic.Admission{NoWait: true})
		done <- err
	}()
	time.Sleep(50 * time.Millisecond)
	l.askAt = time.Now() // as an answer that leaves nothing sets it
	l.mu.Unlock()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
