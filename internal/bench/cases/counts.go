package cases

import (
	"context"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/bench/measure"
)

// FloorSide and ClientSide are the sides of [Concurrent], each with its own
// transport. The pool of the floor keeps 64 connections.
func FloorSide(url string) (call func() error, done func(), err error) {
	ctx := context.Background()
	transport := measure.Pooled()
	f := newFloor(transport, url)
	return func() error {
		return f.Do(ctx, http.MethodGet, runPath, nil, worst.target())
	}, transport.CloseIdleConnections, nil
}

// unwaiting admits each attempt without a wait, and tells the default quota, by
// which a client sizes its pool of connections.
type unwaiting struct{ connic.Limiter }

func (u unwaiting) Status() connic.RateLimitStatus {
	s := u.Limiter.Status()
	s.Limit = 60
	return s
}

// ClientSide is the client with its defaults.
func ClientSide(url string) (call func() error, done func(), err error) {
	ctx := context.Background()
	client, err := newClient(nil, connic.WithBaseURL(url), connic.WithLimiter(unwaiting{connic.NewLimiter(1_000_000, 10*time.Millisecond)}))
	if err != nil {
		return nil, nil, err
	}
	return func() error {
		_, err := client.Runs.Get(ctx, runID)
		return err
	}, func() { _ = client.Close() }, nil
}

// Concurrent makes calls from 64 goroutines over loopback.
func Concurrent(rounds int) (floor, client measure.ConcurrentCost, err error) {
	found, err := measure.Concurrent(worst.run(0, ""), rounds, FloorSide, ClientSide)
	if err != nil {
		return floor, client, err
	}
	return found[0], found[1], nil
}

// Large reads one run of 10 MB.
func Large() (Case, error) {
	f, client, err := inMemory(http.StatusOK, worst.large(10<<20))
	c := getOf("run of 10 MB", f, client, worst.spannedTarget, true)
	c.Close = func() {}
	return c, err
}

// Peaks returns the maximum growth of the heap during a call of the floor and
// of the client. It returns the minimum of several tries, because the garbage
// collector may run at any time.
func (c *Case) Peaks(tries int) (floor, client uint64, err error) {
	for i := range tries {
		a, err := measure.Peak(c.Floor)
		if err != nil {
			return 0, 0, err
		}
		b, err := measure.Peak(c.Client)
		if err != nil {
			return 0, 0, err
		}
		if i == 0 {
			floor, client = a, b
		}
		floor, client = min(floor, a), min(client, b)
	}
	return floor, client, nil
}

// Construct creates a client.
func Construct() error {
	_, err := connic.New("p", key)
	return err
}

// ConstructGoroutines returns how many goroutines a new client starts.
func ConstructGoroutines() (int, error) {
	before := runtime.NumGoroutine()
	client, err := connic.New("p", key)
	if err != nil {
		return 0, err
	}
	started := runtime.NumGoroutine() - before
	return started, client.Close()
}

// Admit returns a function that asks an idle limiter for admission.
func Admit() func() error {
	ctx := context.Background()
	limiter := connic.NewLimiter(1_000_000, 10*time.Millisecond)
	return func() error {
		permit, err := limiter.Acquire(ctx, connic.Admission{})
		limiter.Release(permit, connic.Outcome{})
		return err
	}
}

// AdmitQueued returns how long an admission takes while 1,000 goroutines are
// queued.
func AdmitQueued() time.Duration {
	const waiters, each = 1000, 100
	ctx := context.Background()
	narrow := connic.NewLimiter(1, time.Nanosecond) // admits one at a time
	var wg sync.WaitGroup
	start := time.Now()
	for range waiters {
		wg.Go(func() {
			for range each {
				if permit, err := narrow.Acquire(ctx, connic.Admission{}); err == nil {
					narrow.Release(permit, connic.Outcome{})
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start) / (waiters * each)
}
