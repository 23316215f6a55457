package bulk

import (
	"fmt"
	"time"
)

// deliver yields what became of an input. It reports whether the caller has
// taken it and wants more.
func (e *engine[In, Out, Part]) deliver(it *item[In, Out, Part], value *Out, err error) bool {
	e.remove(it)
	e.progress.Ended++
	e.row++
	switch {
	case err == nil:
		e.row = 0
	case e.job.Lost(err) && it.State == Unknown:
		e.lost++
		e.progress.Unknown++
		fallthrough
	default:
		e.progress.Failed++
		if n := e.conf.MaxFailures; n > 0 && e.row >= n {
			e.endAll(fmt.Errorf("%d inputs in a row have failed: %w", e.row, err))
		}
	}
	if !e.yield(Result[Out]{Index: it.index, Key: it.Key, Value: value}, err) {
		e.left = true
	}
	return !e.left
}

// conclude yields the result of an input that was started. Once the caller has
// taken it, the input is done, if what it has started is over.
func (e *engine[In, Out, Part]) conclude(it *item[In, Out, Part], value *Out, err error, over bool) {
	if over && value != nil && e.job.Cost != nil {
		it.Cost, it.Currency = e.job.Cost(value)
		e.meter(it.Cost, it.Currency)
	}
	if over && !it.Sent.IsZero() && it.begun {
		e.took += time.Since(it.Sent)
		e.timed++
	}
	if !over {
		e.lost++ // it may still cost something
	}
	if e.deliver(it, value, err) && over {
		it.State, it.Marker = Done, ""
		e.log.put(it.Record)
	}
}

func (e *engine[In, Out, Part]) meter(amount, currency string) {
	if m := e.conf.Meter; m != nil {
		m.Add(amount, currency)
	}
}

// report tells the caller how far the work is.
func (e *engine[In, Out, Part]) report() {
	if e.conf.Progress == nil {
		return
	}
	now := e.progress
	now.Open = e.open
	if now == e.reported {
		return
	}
	e.reported = now
	now.Elapsed = time.Since(e.began)
	e.conf.Progress(now)
}
