// Package measure compares clients with the same calls written by hand, the
// floor: it has the clock, the floor, and the two transports, in memory and on
// loopback.
package measure

import (
	"runtime"
	"time"
)

// A Cost is the cost of one operation.
type Cost struct {
	Time   time.Duration `json:"time"` // in nanoseconds
	Bytes  float64       `json:"bytes"`
	Allocs float64       `json:"allocs"`
}

// A Ratio is a cost relative to another one.
type Ratio struct{ Time, Bytes, Allocs float64 }

// Over returns c relative to the floor.
func (c Cost) Over(floor Cost) Ratio {
	return Ratio{float64(c.Time) / float64(floor.Time), c.Bytes / floor.Bytes, c.Allocs / floor.Allocs}
}

const (
	rounds   = 40
	roundFor = 20 * time.Millisecond
)

// Compare measures functions in short alternating rounds, and returns the
// minimum of each: ratios of these are reproducible even on a shared machine.
// Bytes and allocations hardly vary.
func Compare(functions ...func() error) ([]Cost, error) {
	calls := make([]int, len(functions))
	for i, f := range functions {
		n, err := calibrate(f)
		if err != nil {
			return nil, err
		}
		calls[i] = n
	}
	costs := make([]Cost, len(functions))
	for r := range rounds {
		for i, f := range functions {
			c, err := round(f, calls[i])
			if err != nil {
				return nil, err
			}
			if r > 0 {
				c = least(c, costs[i])
			}
			costs[i] = c
		}
	}
	return costs, nil
}

// Count measures a function by a number of calls instead of a time, which is
// enough for bytes and allocations. It also counts other goroutines of the
// process, so nothing else may run at the same time. It uses one processor:
// pools keep one value per processor, so with more of them the results would
// depend on the scheduler.
func Count(calls int, f func() error) (Cost, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for range 3 { // costs of the first calls only: pools, connections, caches
		if err := f(); err != nil {
			return Cost{}, err
		}
	}
	var best Cost
	tries := 5
	if calls < 10 { // they take long and hardly vary
		tries = 2
	}
	for i := range tries {
		c, err := round(f, calls)
		if err != nil {
			return Cost{}, err
		}
		if i > 0 {
			c = least(c, best)
		}
		best = c
	}
	return best, nil
}

func least(a, b Cost) Cost {
	return Cost{min(a.Time, b.Time), min(a.Bytes, b.Bytes), min(a.Allocs, b.Allocs)}
}

// calibrate determines how many calls make a round.
func calibrate(f func() error) (int, error) {
	for n := 1; ; n *= 2 {
		start := time.Now()
		for range n {
			if err := f(); err != nil {
				return 0, err
			}
		}
		if took := time.Since(start); took >= roundFor/2 {
			return max(1, int(float64(n)*float64(roundFor)/float64(took))), nil
		}
	}
}

func round(f func() error, n int) (Cost, error) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	for range n {
		if err := f(); err != nil {
			return Cost{}, err
		}
	}
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	return Cost{
		Time:   took / time.Duration(n),
		Bytes:  float64(after.TotalAlloc-before.TotalAlloc) / float64(n),
		Allocs: float64(after.Mallocs-before.Mallocs) / float64(n),
	}, nil
}

// Peak runs f once and returns the maximum growth of the heap in bytes, sampled
// every 200 µs. Garbage that was not collected yet counts.
func Peak(f func() error) (uint64, error) {
	base := Live()
	top := base
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		var s runtime.MemStats
		for {
			runtime.ReadMemStats(&s)
			top = max(top, s.HeapAlloc)
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Microsecond):
			}
		}
	}()
	err := f()
	close(stop)
	<-done
	return top - base, err
}

// Live returns how many bytes of the heap are in use after two collections; the
// first one only empties the pools.
func Live() uint64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}
