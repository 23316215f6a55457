package redisquota

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/redis/go-redis/v9"
)

// A low attempt has its turn among calls, also without a store.
func TestLowAttemptsWithoutAStore(t *testing.T) {
	t.Parallel()
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
					p, err := l.Acquire(ctx, connic.Admission{})
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
		var at time.Duration
		go func() {
			p, err := l.Acquire(ctx, connic.Admission{Lane: connic.LaneLow})
			if err == nil {
				at = time.Since(start)
				l.Release(p, connic.Outcome{})
			}
		}()
		time.Sleep(60 * time.Minute)
		if at == 0 || at > 6*time.Minute {
			t.Errorf("low went after %v", at)
		}
		cancel()
		time.Sleep(10 * time.Minute)
		if s := l.Status(); s.Waiting != 0 || s.Reserved != 0 || s.InFlight != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// Cancels that are always queued leave calls their turn, also without a store.
func TestCancelsWithoutAStore(t *testing.T) {
	t.Parallel()
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
					p, err := l.Acquire(ctx, connic.Admission{Lane: connic.LaneCancel})
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
		var at time.Duration
		go func() {
			p, err := l.Acquire(ctx, connic.Admission{})
			if err == nil {
				at = time.Since(start)
				l.Release(p, connic.Outcome{})
			}
		}()
		time.Sleep(20 * time.Minute)
		if at == 0 || at > 6*time.Minute {
			t.Errorf("call went after %v", at)
		}
		cancel()
		time.Sleep(10 * time.Minute)
	})
}
