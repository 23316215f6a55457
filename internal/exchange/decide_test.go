package exchange

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestBackoffIsExponentialWithFullJitter(t *testing.T) {
	t.Parallel()
	p := Policy{MinWait: 500 * time.Millisecond, MaxWait: 20 * time.Second}
	for n, most := range map[int]time.Duration{1: 500 * time.Millisecond, 2: time.Second, 3: 2 * time.Second, 6: 16 * time.Second, 7: 20 * time.Second, 40: 20 * time.Second, 1000: 20 * time.Second} {
		var longest, sum time.Duration
		for range 2000 {
			d := p.backoff(n, rand.Float64())
			if d < 0 || d > most {
				t.Fatalf("wait %d is %v, want up to %v", n, d, most)
			}
			longest = max(longest, d)
			sum += d
		}
		if mean := sum / 2000; longest < most*9/10 || mean < most*4/10 || mean > most*6/10 {
			t.Errorf("wait %d: mean %v, longest %v of %v", n, mean, longest, most)
		}
	}
}

func TestRetryBudgetCountsHalves(t *testing.T) {
	t.Parallel()
	var b budget
	b.init(1)
	for i, step := range []struct {
		refunds int
		want    bool
	}{{0, true}, {0, false}, {1, false}, {1, true}, {9, true}, {0, false}} {
		for range step.refunds {
			b.refund(0) // half a retry for a call that needed none
		}
		if got := b.take(); got != step.want {
			t.Errorf("step %d: a retry is granted: %v, want %v", i, got, step.want)
		}
	}
}
