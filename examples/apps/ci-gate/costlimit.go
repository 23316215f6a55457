package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/connic-go/connic"
)

var errCost = errors.New("the bound on the cost is reached")

// A costLimit keeps the cost within its limit. The cost of a run is known when it
// has ended. Until then it counts with the estimate, or with the maximum cost
// of a run so far if that is more.
type costLimit struct {
	mu       sync.Mutex
	changed  *sync.Cond
	bound    connic.Money // no currency: no limit
	estimate connic.Decimal
	spent    connic.Sums
	open     int // runs in progress
	lost     int // runs that may be in progress, or may never have started
	unpriced int // runs that ended without reporting their cost
}

func newCostLimit(s *Suite) *costLimit {
	p := &costLimit{bound: s.MaxCost.Money, estimate: s.CaseCost.Amount}
	p.changed = sync.NewCond(&p.mu)
	return p
}

// start waits until one more run is within the limit. Without an estimate it
// does not wait, and only what has already been spent counts.
func (p *costLimit) start(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.changed.Broadcast()
	})
	defer stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case p.err() != nil:
			return p.err()
		case p.bound.Currency == "" || p.estimate.Sign() == 0 || p.expected(p.open+p.lost+1).Cmp(p.bound.Amount) <= 0:
			p.open++
			return nil
		case p.open == 0:
			return fmt.Errorf("%w: %s are spent, and another run may cost %s", errCost, p.spent, p.estimate)
		}
		p.changed.Wait()
	}
}

// expected returns what will have been spent when that many runs have ended.
func (p *costLimit) expected(open int) connic.Decimal {
	sum := p.spent.In(p.bound.Currency).Amount
	for range open {
		sum = sum.Add(p.estimate)
	}
	return sum
}

// adopt counts a run that is already in progress.
func (p *costLimit) adopt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open++
}

// lose counts a run in progress as one whose end may never be seen. It may cost
// as much as others, but is not waited for.
func (p *costLimit) lose() { p.move(1) }

// regain counts a lost run as one in progress.
func (p *costLimit) regain() { p.move(-1) }

func (p *costLimit) move(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost += n
	p.open -= n
	p.changed.Broadcast()
}

// end records the cost of a run; nil is a run that was not started. It returns
// an error if the limit is exceeded.
func (p *costLimit) end(run *connic.Run) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.changed.Broadcast()
	p.open--
	if run == nil {
		return nil
	}
	cost := connic.Money{Amount: run.Cost, Currency: run.Currency}
	if run.Currency == "" {
		p.unpriced++
	}
	p.spent = p.spent.Add(cost)
	if p.estimate.Sign() > 0 && strings.EqualFold(cost.Currency, p.bound.Currency) && cost.Amount.Cmp(p.estimate) > 0 {
		p.estimate = cost.Amount
	}
	return p.err()
}

func (p *costLimit) err() error {
	if p.bound.Currency == "" {
		return nil
	}
	for _, sum := range p.spent {
		if sum.Currency != p.bound.Currency && sum.Amount.Sign() > 0 {
			return fmt.Errorf("%w: %s are spent, which cannot be compared with %s", errCost, sum, p.bound)
		}
	}
	if p.spent.In(p.bound.Currency).Amount.Cmp(p.bound.Amount) > 0 {
		return fmt.Errorf("%w: %s of %s are spent", errCost, p.spent, p.bound)
	}
	return nil
}

func (p *costLimit) total() connic.Sums {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.spent
}
