package redisquota

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/redis/go-redis/v9"
)

// Attempts of one lane that are always queued leave another its turn, also without
// a store.
func TestTurnsWithoutAStore(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ many, one connic.Lane }{
		"a low one among calls": {connic.LaneCall, connic.LaneLow},
		"a call beside cancels": {connic.LaneCancel, connic.LaneCall},
	} {
		synctest.Test(t, func(t *testing.T) {
			store := &canned{processes: 1}
			store.gone.Store(true)
			rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
			defer rdb.Close()
			rdb.AddHook(store)
			l, err := New(rdb, "p", WithProcesses(2))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			for range 40 {
				go func() {
					for ctx.Err() == nil {
						p, err := l.Acquire(ctx, connic.Admission{Lane: test.many})
						if err != nil {
							return
						}
						time.Sleep(100 * time.Millisecond)
						l.Release(p, connic.Outcome{})
					}
				}()
			}
			time.Sleep(time.Second)
			start := time.Now()
			p, err := l.Acquire(ctx, connic.Admission{Lane: test.one})
			if took := time.Since(start); err != nil || took > 6*time.Minute {
				t.Errorf("%s goes after %v, %v", name, took, err)
			}
			l.Release(p, connic.Outcome{})
			cancel()
			time.Sleep(10 * time.Minute)
			if s := l.Status(); s.Waiting != 0 || s.Reserved != 0 || s.InFlight != 0 {
				t.Errorf("%s: %+v", name, s)
			}
		})
	}
}
