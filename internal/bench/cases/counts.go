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

// FloorSide and ClientSide are the sides of a crowd, each with the transport
// that it brings. The floor's has a pool of 64.
func FloorSide(url string) (call func() error, done func(), err error) {
	ctx := context.Background()
	transport := measure.Pooled()
	f := newFloor(transport, url)
	return func() error {
		return f.Do(ctx, http.MethodGet, runPath, nil, worst.target())
	}, transport.CloseIdleConnections, nil
}

// ClientSide is the client as shipped.
func ClientSide(url string) (call func() error, done func(), err error) {
	ctx := context.Background()
	client, err := newClient(nil, connic.WithBaseURL(url))
	if err != nil {
		return nil, nil, err
	}
	return func() error {
		_, err := client.Runs.Get(ctx, runID)
		return err
	}, func() { _ = client.Close() }, nil
}

// Crowd lets 64 goroutines call over loopback.
func Crowd(rounds int) (floor, client measure.Crowded, err error) {
	found, err := measure.Crowd(worst.run(0, ""), rounds, FloorSide, ClientSide)
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

// Peaks returns by how much the heap grows at most during a call of the floor
// and of the client, the smallest of some tries: the collector decides when it
// comes.
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

// Construct makes a client.
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

// Admit returns a function that asks an idle limiter for leave.
func Admit() func() error {
	ctx := context.Background()
	limiter := connic.NewLimiter(1_000_000, 10*time.Millisecond)
	return func() error {
		permit, err := limiter.Acquire(ctx, connic.Admission{})
		limiter.Release(permit, connic.Outcome{})
		return err
	}
}

// AdmitCrowd returns how long an admission takes where 1,000 goroutines always
// ask for it.
func AdmitCrowd() time.Duration {
	const waiters, each = 1000, 100
	ctx := context.Background()
	narrow := connic.NewLimiter(1, time.Nanosecond) // one at a time gets through
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
