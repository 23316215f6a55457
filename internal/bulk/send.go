package bulk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/connic-go/connic/internal/grace"
)

// outcome is what became of an item that was sent.
type outcome[In, Out, Part any] struct {
	Sent[Out]
	it       *item[In, Out, Part]
	halted   bool // it was not sent, because nothing more is started
	ranAway  bool // the code that sends did not return
	panicked any
}

// startReady sends what may be sent now. Inputs are started in the order in which
// they were read.
func (e *engine[In, Out, Part]) startReady(caller context.Context) {
	for len(e.ready) > 0 && e.stop == nil {
		it := e.ready[0]
		if e.job.Lane != nil {
			it.lane, it.laned = e.job.Lane(it.in)
		}
		if e.sending == e.job.Senders || it.laned && e.lanes[it.lane] {
			return
		}
		if m := e.conf.Meter; m != nil {
			running := e.open - len(e.ready)
			if why := m.May(running + e.lost); why != nil {
				if running > 0 {
					return
				}
				e.end(why)
				break
			}
		}
		if why := e.late(caller); why != nil {
			e.end(why)
			break
		}
		e.ready = e.ready[1:]
		e.lanes[it.lane] = it.laned
		e.send(it)
	}
	if e.stop == nil {
		return
	}
	for _, it := range e.ready { // they were not started
		if it.resent {
			e.deliver(it, nil, fmt.Errorf("connic: %s: not started again: %w", e.job.Op, e.stop))
			if e.left {
				return
			}
			continue
		}
		e.unstarted(it)
	}
	e.ready = nil
}

// late returns why what is started now could not be collected before the deadline.
func (e *engine[In, Out, Part]) late(caller context.Context) error {
	deadline, ok := caller.Deadline()
	if !ok {
		return nil
	}
	need := e.conf.RunTime
	if e.timed > 0 {
		need = max(need, e.took/time.Duration(e.timed))
	}
	if left := time.Until(deadline); need > left {
		return fmt.Errorf("%w before the result: an input takes %v, and %v are left",
			context.DeadlineExceeded, need.Round(time.Millisecond), left.Round(time.Millisecond))
	}
	return nil
}

func (e *engine[In, Out, Part]) send(it *item[In, Out, Part]) {
	e.sending++
	if e.workers < e.sending {
		e.workers++
		go e.worker()
	}
	e.work <- it // has room
}

// worker sends one item after the other.
func (e *engine[In, Out, Part]) worker() {
	clean := false
	defer func() {
		if !clean { // the code that sends called runtime.Goexit
			go e.worker()
		}
	}()
	for it := range e.work {
		e.do(it)
	}
	clean = true
}

// do sends an item, and records what becomes of that.
func (e *engine[In, Out, Part]) do(it *item[In, Out, Part]) {
	o := outcome[In, Out, Part]{it: it, ranAway: true}
	defer func() {
		if o.ranAway {
			o.panicked = recover()
			o.Err = errRanAway
			if it.begun {
				o.Err = fmt.Errorf("%w: %w", errRanAway, e.job.Unknown)
			}
		}
		e.note(&o)
		e.sent <- o
	}()
	in, marker := it.in, ""
	switch {
	case e.log.journal == nil:
	case e.conf.Marker != nil:
		marker = e.conf.Marker(it.Key)
	case e.job.Mark != nil:
		in, marker = e.job.Mark(in)
	}
	ctx, give := context.WithCancelCause(e.ctx)
	defer give(nil)
	defer context.AfterFunc(e.starting, func() {
		if it.turn.CompareAndSwap(waits, halted) {
			give(context.Cause(e.starting))
		}
	})()
	leaves := func() {}
	if e.job.Grace > 0 {
		own := grace.New(ctx, e.job.Grace)
		defer own.Stop()
		ctx, leaves = own, own.Begin
	}
	it.Repeatable = e.job.Repeatable != nil && e.job.Repeatable(in)
	o.Sent = e.job.Send(ctx, in, func() error {
		if e.starting.Err() != nil { // if it is tried again, it was not executed before
			it.turn.Store(halted)
			return context.Cause(e.starting)
		}
		if !it.begun {
			if !it.turn.CompareAndSwap(waits, left) {
				return context.Cause(ctx)
			}
			it.State, it.Sent, it.Marker, it.noted = Sending, time.Now(), marker, true
			if err := e.log.put(it.Record).wait(e.ctx); err != nil {
				return err
			}
			it.begun = true
		}
		leaves()
		return nil
	})
	o.halted = it.turn.Load() == halted || !it.begun && e.ctx.Err() != nil
	o.ranAway = false
}

var errRanAway = errors.New("connic: the code that sends the input did not return")

// note records what became of an item.
func (e *engine[In, Out, Part]) note(o *outcome[In, Out, Part]) {
	it := o.it
	switch {
	case len(o.IDs) > 0:
		it.State, it.IDs = Started, o.IDs
	case o.Final: // recorded when the caller has it
		return
	case it.begun && e.job.Lost(o.Err):
		it.State = Unknown
	case it.noted:
		it.State = NotStarted
	default:
		it.State = NotStarted
		return
	}
	e.log.put(it.Record)
}

// arrived handles the outcome of a Send.
func (e *engine[In, Out, Part]) arrived(o outcome[In, Out, Part]) {
	it := o.it
	e.sending--
	delete(e.lanes, it.lane)
	if o.panicked != nil {
		panic(o.panicked) //nolint:forbidigo // where the caller can recover from it
	}
	switch fatal, all := e.job.Fatal(o.Err); {
	case all:
		e.endAll(o.Err)
	case fatal:
		e.end(o.Err)
	}
	switch {
	case o.Final:
		e.conclude(it, o.Value, o.Err, e.over(o.Err))
	case len(it.IDs) > 0 && it.State == Started:
		it.value = o.Value
		e.collect(it, o.Collecting)
	case it.State == Unknown:
		it.err, it.value = o.Err, o.Value
		e.isLost(it)
	case o.halted && !it.resent:
		e.unstarted(it)
	default:
		e.deliver(it, o.Value, o.Err)
	}
}

// unstarted forgets an item that was read and not started.
func (e *engine[In, Out, Part]) unstarted(it *item[In, Out, Part]) {
	e.remove(it)
	e.first = min(e.first, it.index)
	e.held++
}
