package governor

import (
	"context"
	"runtime"
	"testing"
	"time"
)

func BenchmarkAcquire(b *testing.B) {
	g := New(1<<30, time.Minute)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		id, err := g.Acquire(ctx, Admission{})
		if err != nil {
			b.Fatal(err)
		}
		g.Release(id, NotSent, 0)
	}
}

// BenchmarkAcquireBehind takes turns while 1,000 wait: each iteration lets one go
// and puts another in line.
func BenchmarkAcquireBehind(b *testing.B) {
	g := New(0, time.Minute)
	ctx := b.Context()
	id, _ := g.Acquire(ctx, Admission{})
	g.Release(id, Refused, time.Hour)
	for range 1000 {
		go func() { _, _ = g.Acquire(ctx, Admission{}) }()
	}
	for g.Status().Waiting < 1000 {
		runtime.Gosched()
	}
	b.ReportAllocs()
	for b.Loop() {
		w := &waiter{lane: Call, ready: make(chan struct{})}
		g.join(w, false)
		g.leave(w)
	}
}
