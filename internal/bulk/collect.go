package bulk

import (
	"context"
	"errors"
	"fmt"
)

// recover takes up what an earlier process has left open.
func (e *engine[In, Out, Part]) recover() error {
	var open []Record
	err := e.log.each(e.ctx, func(r Record) {
		if !r.Repeatable || r.State == Started {
			open = append(open, r)
		}
	}, func(r Record) { e.meter(r.Cost, r.Currency) })
	if err != nil {
		return err
	}
	for _, r := range open {
		it := &item[In, Out, Part]{Record: r, index: -1, noted: true}
		e.add(it)
		if r.State == Started {
			e.collect(it, nil)
		} else {
			it.State = Unknown
			e.isLost(it)
		}
		if e.left {
			return nil
		}
	}
	return nil
}

// collect waits for what an item has started.
func (e *engine[In, Out, Part]) collect(it *item[In, Out, Part], collecting func()) {
	if e.job.Collect == nil {
		value, err := e.job.Recover(it.IDs)
		e.conclude(it, value, err, e.over(err))
		return
	}
	it.waits = len(it.IDs)
	for i, id := range it.IDs {
		known := len(e.byID[id]) > 0
		e.byID[id] = append(e.byID[id], it)
		c := collectable{id: id}
		if i == len(it.IDs)-1 {
			c.collecting = collecting
		}
		if !known || c.collecting != nil {
			e.toCollect = append(e.toCollect, c)
		}
	}
	if e.ceased {
		e.abandon()
	}
}

// finish is the end of a goroutine that runs code from outside.
type finish struct {
	exited   bool
	panicked any
}

// collector starts the goroutine that waits.
func (e *engine[In, Out, Part]) collector() {
	if e.collected != nil {
		return
	}
	e.collected = make(chan finish, 1)
	go func() {
		end := finish{exited: true}
		defer func() {
			if end.exited {
				end.panicked = recover()
			}
			e.collected <- end
		}()
		e.job.Collect(e.ctx, e.ids, func(id string, part *Part, err error) bool {
			select {
			case e.ended <- Ended[Part]{id, part, err}:
				return true
			case <-e.quit:
				return false
			}
		})
		end.exited = false
	}()
}

// passed notes that the first id is being waited for.
func (e *engine[In, Out, Part]) passed() {
	c := e.toCollect[0]
	e.toCollect = e.toCollect[1:]
	if c.collecting != nil {
		c.collecting()
	}
}

// partEnded handles something that was waited for.
func (e *engine[In, Out, Part]) partEnded(p Ended[Part]) {
	over := e.over(p.Err)
	if !over && !errors.Is(p.Err, errCollectorEnded) {
		e.collectBy = p.Err
	}
	waiting := e.byID[p.ID]
	delete(e.byID, p.ID)
	for _, it := range waiting {
		it.parts, it.pending = append(it.parts, p), it.pending || !over
		if it.waits--; it.waits == 0 {
			value, err := e.job.Join(it.value, it.parts)
			e.conclude(it, value, err, !it.pending)
			if e.left {
				return
			}
		}
	}
}

// over reports whether something has ended, by the error that it was waited for
// with.
func (e *engine[In, Out, Part]) over(err error) bool {
	return err == nil || !errors.Is(err, errCollectorEnded) && e.job.Over(err)
}

var errCollectorEnded = errors.New("the wait has ended")

// collectorEnded handles the end of the wait before everything has ended.
func (e *engine[In, Out, Part]) collectorEnded(f finish) {
	e.ceased = true
	e.collected <- f // for close
	if f.panicked != nil {
		panic(f.panicked) //nolint:forbidigo // where the caller can recover from it
	}
	if e.collectBy == nil {
		e.collectBy = e.stop
	}
	if e.collectBy == nil {
		e.collectBy = errors.New("nobody waits")
	}
	e.end(e.collectBy)
	e.abandon()
}

// abandon ends the items that nobody waits for any more. They remain recorded as
// started.
func (e *engine[In, Out, Part]) abandon() {
	for _, c := range e.toCollect {
		if c.collecting != nil {
			c.collecting()
		}
	}
	e.toCollect = nil
	for len(e.byID) > 0 && !e.left {
		for id := range e.byID {
			e.partEnded(Ended[Part]{ID: id, Err: fmt.Errorf("%w: %w", errCollectorEnded, e.collectBy)})
			break
		}
	}
}

// located is something that a search has found.
type located struct {
	key string
	ids []string
}

// verdict is the result of a search.
type verdict[In, Out, Part any] struct {
	finish
	batch   []*item[In, Out, Part]
	settled map[string]Settlement
	err     error // of the search
}

// isLost handles an item whose outcome is unknown: it is searched for, if that is
// possible, or else yielded.
func (e *engine[In, Out, Part]) isLost(it *item[In, Out, Part]) {
	switch {
	case it.Repeatable:
		e.deliver(it, it.value, it.err)
	case it.Key == "" && e.conf.Resend && !it.resent:
		e.again(it)
	case it.Key == "":
		e.unknown(it, nil)
	case e.conf.Settle != nil, it.Marker != "" && e.job.Find != nil, e.conf.Resend && !it.resent:
		e.toSearch = append(e.toSearch, it)
	default:
		e.unknown(it, nil)
	}
}

// unknown yields an item whose outcome stays unknown.
func (e *engine[In, Out, Part]) unknown(it *item[In, Out, Part], search error) {
	it.State = Unknown
	err := it.err
	if err == nil {
		err = fmt.Errorf("connic: %s: an earlier process may have sent it: %w", e.job.Op, e.job.Unknown)
	}
	if search != nil {
		err = fmt.Errorf("%w; the search failed: %w", err, search)
	}
	e.deliver(it, it.value, err)
}

// search starts a search for all that is lost, unless there is one.
func (e *engine[In, Out, Part]) search() {
	if e.searching || len(e.toSearch) == 0 {
		return
	}
	v := verdict[In, Out, Part]{finish: finish{exited: true}, batch: e.toSearch}
	e.searching, e.toSearch = true, nil
	lost := make(map[string]Record, len(v.batch))
	for _, it := range v.batch {
		lost[it.Key] = it.Record
	}
	go func() {
		defer func() {
			if v.exited {
				v.panicked = recover()
				v.err = errRanAway
			}
			e.searched <- v
		}()
		v.settled, v.err = e.decide(e.ctx, lost)
		v.exited = false
	}()
}

// decide searches for lost inputs, and then asks the caller about the rest.
func (e *engine[In, Out, Part]) decide(ctx context.Context, lost map[string]Record) (map[string]Settlement, error) {
	list := func(f func(Record) bool) (all []Record) {
		for _, r := range lost {
			if f(r) {
				all = append(all, r)
			}
		}
		return all
	}
	var failed error
	if marked := list(func(r Record) bool { return r.Marker != "" }); e.job.Find != nil && len(marked) > 0 {
		failed = e.job.Find(ctx, marked, func(key string, ids []string) {
			delete(lost, key)
			select {
			case e.found <- located{key, ids}:
			case <-e.quit:
			}
		})
	}
	if e.conf.Settle == nil || len(lost) == 0 || ctx.Err() != nil {
		return nil, failed
	}
	settled, err := e.conf.Settle(ctx, list(func(Record) bool { return true }))
	if failed == nil {
		failed = err
	}
	return settled, failed
}

// locate handles something that was found.
func (e *engine[In, Out, Part]) locate(f located) {
	it := e.items[f.key]
	switch {
	case it == nil || it.State != Unknown:
	case len(f.ids) == 0: // it was executed, and nobody can say as what
		it.resent = true
	default:
		it.State, it.IDs = Started, f.ids
		e.log.put(it.Record)
		e.collect(it, nil)
	}
}

// settle handles the end of a search.
func (e *engine[In, Out, Part]) settle(v verdict[In, Out, Part]) {
	e.searching = false
	if v.panicked != nil {
		panic(v.panicked) //nolint:forbidigo // where the caller can recover from it
	}
	for _, it := range v.batch {
		if it.State != Unknown || e.left {
			continue
		}
		s := v.settled[it.Key]
		resend := s.Resend || e.conf.Resend && v.err == nil
		switch {
		case len(s.IDs) > 0:
			e.locate(located{it.Key, s.IDs})
		case resend && !it.resent && e.ctx.Err() == nil:
			e.again(it)
		default:
			e.unknown(it, v.err)
		}
	}
}

// again has an input sent again, or as soon as it is read.
func (e *engine[In, Out, Part]) again(it *item[In, Out, Part]) {
	it.State, it.Marker, it.begun = NotStarted, "", false
	it.turn.Store(waits)
	e.log.put(it.Record)
	if !it.given {
		e.remove(it)
		return
	}
	it.resent = true
	it.err, it.value = nil, nil
	e.ready = append(e.ready, it)
}
