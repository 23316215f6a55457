package main

import (
	"runtime"
	"time"
)

// cost is what one operation takes.
type cost struct {
	time          time.Duration
	bytes, allocs float64
}

const (
	rounds   = 40
	roundFor = 20 * time.Millisecond
)

// compare measures two functions in short rounds that alternate, and returns the
// smallest time of each: a ratio of these holds on a machine that others use too.
// Bytes and allocations hardly vary.
func compare(floor, sdk func() error) (a, b cost, err error) {
	n, err := calibrate(floor)
	if err != nil {
		return a, b, err
	}
	m, err := calibrate(sdk)
	if err != nil {
		return a, b, err
	}
	for i := range rounds {
		x, err := round(floor, n)
		if err != nil {
			return a, b, err
		}
		y, err := round(sdk, m)
		if err != nil {
			return a, b, err
		}
		if i == 0 {
			a, b = x, y
			continue
		}
		a, b = least(a, x), least(b, y)
	}
	return a, b, nil
}

func least(a, b cost) cost {
	return cost{min(a.time, b.time), min(a.bytes, b.bytes), min(a.allocs, b.allocs)}
}

// calibrate finds how many calls make a round.
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

func round(f func() error, n int) (cost, error) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	for range n {
		if err := f(); err != nil {
			return cost{}, err
		}
	}
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	return cost{
		time:   took / time.Duration(n),
		bytes:  float64(after.TotalAlloc-before.TotalAlloc) / float64(n),
		allocs: float64(after.Mallocs-before.Mallocs) / float64(n),
	}, nil
}

// peak runs f once and returns by how much the heap grew at most, sampled.
func peak(f func() error) (uint64, error) {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	base, top := stats.HeapAlloc, stats.HeapAlloc
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
