package connic

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/bulk"
)

const (
	// bulkInFlight is the default number of runs in flight.
	bulkInFlight = 1000
	// bulkSenders is the maximum number of triggers in the queue for the rate
	// limit. A longer queue would be of no use.
	bulkSenders = 64
)

// TriggerAll starts a run for each of many inputs, once, and yields each result
// as its run ends. Inputs are pairs of a key, which is the caller's own, and a
// request:
//
//	inputs := func(yield func(string, connic.TriggerRequest) bool) {
//		for _, o := range orders {
//			if !yield(o.ID, connic.TriggerRequest{Message: o.Text}) {
//				return
//			}
//		}
//	}
//	for r, err := range client.Agents.TriggerAll(ctx, "support", inputs, connic.FileJournal("orders.journal")) {
//		if err != nil {
//			log.Printf("order %s: %v", r.Key, err)
//			continue
//		}
//		save(r.Key, r.Value.Output)
//	}
//
// It reads inputs as the rate limit and [WithInFlight] allow, on another
// goroutine: a sequence may wait for a queue while results are yielded, and needs
// a lock for what it shares with the body of the loop. Inputs are read in their
// order, started in about that order, up to 64 at a time, and yielded when they
// have ended. Each input that was read is yielded once, except for those that the
// journal has as done and those with the key of an earlier one, which are skipped,
// and those that wait for the rate limit when the call ends early: up to 64. With
// an error, the result is:
//
//   - the run and a [*RunError]: the run ended badly
//   - a run with at least its ID and a [*WaitError]: the wait for it ended first
//   - nil and [ErrOutcomeUnknown]: a run may have been started
//   - nil and another error: no run was started
//
// An input that fails does not stop the others, unless they would fail too:
// because the key is refused, the client is closed or read-only, the rate limit
// leaves no time before the deadline, or the journal fails. Then, and for the
// reasons that options name, nothing more is started, and what is in flight is
// collected. When the context ends, it is not: requests that were sent have up to
// 10 s for their response, and runs go on. A last pair, with an Index of -1 and no
// Key, has the reason. There is no such pair if all inputs were started or failed.
//
// With a journal, an input is recorded before it is sent. After the end of the
// process, whatever it was, call TriggerAll with the same journal: inputs that are
// done are skipped, runs that were started are collected, whether or not the
// sequence has their inputs again, and nothing that was sent is sent again. An
// input is done when the body of the loop returns, and not if the loop is left by
// it: its result may be yielded twice, but is not lost. Inputs whose outcome is
// unknown are searched for by a marker (see [WithMarker]) for as long as
// [RunsService.SettleTriggered] does. If the search finds no run, they are yielded
// as unknown, in each call, and never sent again without [ResendUnknown] or
// [WithSettle]. A journal belongs to one agent.
//
// Without a journal, which is nil then, the inputs are sent as they are, and their
// keys may be empty. Those that are not take about 40 bytes each.
//
// If the code behind the sequence or an input panics, so does the loop, with the
// same value. The sequence should end when the context does: code that blocks is
// left behind 50 ms after the end of the loop.
//
// It costs one request for each input, plus the polls of [RunsService.Watch].
//
//	API:    POST /projects/{project}/agents/{agent}/trigger
//	Access: agents write
//	Status: documented
func (s *AgentsService) TriggerAll(ctx context.Context, agent string, inputs iter.Seq2[string, TriggerRequest], journal Journal, opts ...BulkOption) iter.Seq2[BulkResult[Run], error] {
	o := newBulkOptions(opts)
	runs, conf := (*RunsService)(s), newWaitConfig(o.Wait)
	w := runWaiter(runs, &conf)
	send := triggerOptions{wait: &conf, request: o.Request}
	grace := graceOf(journal)
	if conf.cancelOnAbort {
		grace = abortTimeout
	}
	return runBulk(ctx, s.scope(), &bulk.Job[TriggerRequest, Run, Run]{
		Op: "agents.trigger_all", Target: agent, InFlight: bulkInFlight, Senders: bulkSenders, Grace: grace,
		Mark: markTrigger,
		Send: func(ctx context.Context, in TriggerRequest, begin func() error) bulk.Sent[Run] {
			send := send
			send.begin = begin
			return triggerOne(ctx, s, w, agent, in, send)
		},
		Collect: func(ctx context.Context, ids <-chan string, f func(string, *Run, error) bool) {
			eachRun(ctx, w, "agents.trigger_all", ids, f)
		},
		Join: func(_ *Run, parts []bulk.Ended[Run]) (*Run, error) {
			run := parts[0].Value
			if run == nil {
				run = &Run{ID: parts[0].ID}
			}
			run.AgentName = cmp.Or(run.AgentName, agent)
			return run, waitFailed(run, parts[0].Err)
		},
		Find: func(ctx context.Context, lost []bulk.Record, found func(string, []string)) error {
			return runs.findLost(ctx, agent, lost, o.Resend, true, found)
		},
		Over: runIsOver, Cost: costOfRun,
	}, inputs, journal, o)
}

// triggerOne sends one input.
func triggerOne(ctx context.Context, s *AgentsService, w *waiter[Run], agent string, in TriggerRequest, o triggerOptions) bulk.Sent[Run] {
	r := request{op: api.AgentsTrigger, id: agent, salvage: salvageTrigger}
	if err := in.fill(&r); err != nil {
		return bulk.Sent[Run]{Err: err}
	}
	result, arrived, err := sendTrigger(ctx, s, w, r, o)
	if result == nil {
		return bulk.Sent[Run]{Err: err}
	}
	if result.RunID == "" {
		arrived()
		run := &Run{AgentName: agent, Status: result.Status, Output: result.Output}
		return bulk.Sent[Run]{Value: run, Final: true, Err: s.scope().hide(run.failure())}
	}
	return bulk.Sent[Run]{IDs: []string{result.RunID}, Collecting: arrived}
}

// markTrigger marks a request, if it can be marked.
func markTrigger(r TriggerRequest) (marked TriggerRequest, marker string) {
	marked, marker = r.Marked()
	if marked.Message == "" {
		raw, err := json.Marshal(marked.Payload)
		if err != nil { // it is no object
			return r, ""
		}
		marked.Payload = json.RawMessage(raw)
	}
	return marked, marker
}

func isUnknown(err error) bool { return errors.Is(err, ErrOutcomeUnknown) }

// runIsOver reports whether a run that was collected with an error has ended, or
// is not there.
func runIsOver(err error) bool {
	var ended *RunError
	var wait *WaitError
	return errors.As(err, &ended) || errors.As(err, &wait) && errors.Is(err, ErrNotFound)
}

// waitFailed returns the error that a run was collected with, as a *WaitError if
// the run did not end.
func waitFailed(run *Run, err error) error {
	var ended *RunError
	var wait *WaitError
	if err == nil || errors.As(err, &ended) || errors.As(err, &wait) {
		return err
	}
	return &WaitError{Kind: "run", ID: run.ID, Pending: []string{run.ID}, Err: err}
}

func costOfRun(r *Run) (amount, currency string) {
	if r.Currency == "" {
		return "", ""
	}
	return r.Cost.String(), r.Currency
}

// endsBulk reports whether other inputs would fail in the same way, and whether
// those that are queued for the rate limit would.
func endsBulk(err error) (fatal, all bool) {
	var limit *LimitError
	all = errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrForbidden) || errors.Is(err, ErrClosed) || errors.Is(err, ErrReadOnly)
	return all || errors.As(err, &limit), all
}

// eachRun waits for runs whose ids arrive one by one, and passes each to f with
// its id. When the wait ends first, it passes the pending ones with its error.
func eachRun(ctx context.Context, w *waiter[Run], op string, ids <-chan string, f func(id string, run *Run, err error) bool) {
	bad := ""
	check := func(id string) error {
		err := w.check(ctx, op, id)
		if err != nil {
			bad = id
		}
		return err
	}
	w.pairs(ctx, w.Join(ctx, w.conf.terms(), true), nil, ids, check, func(run *Run, err error) bool {
		var wait *WaitError
		switch {
		case errors.As(err, &wait):
			for _, id := range wait.Pending {
				if !f(id, run, err) {
					return false
				}
			}
			return true
		case run == nil:
			return f(bad, nil, &WaitError{Kind: "run", ID: bad, Pending: []string{bad}, Err: err})
		}
		return f(run.ID, run, err)
	})
}

// findLost searches for the runs of inputs whose outcome is unknown. It repeats
// that until their triggers can no longer be in progress or, if thorough, for that
// long from now. If an input starts a single run, it is the earliest one, and found
// as soon as the search shows it.
func (s *RunsService) findLost(ctx context.Context, agent string, lost []bulk.Record, thorough, single bool, found func(key string, ids []string)) error {
	now := time.Now()
	during := time.Duration(0)
	searches := make([]RunSearch, 0, len(lost))
	keys := make(map[string][]string, len(lost))
	for _, r := range lost {
		sent := r.Sent
		if sent.IsZero() || sent.After(now) || thorough { // another clock, or the decision about money
			sent = now
		}
		during = max(during, s.scope().timeout+missingFor-now.Sub(sent))
		if len(keys[r.Marker]) == 0 {
			searches = append(searches, RunSearch{Marker: r.Marker, AgentName: agent, Since: cmp.Or(r.Sent, now)})
		}
		keys[r.Marker] = append(keys[r.Marker], r.Key)
	}
	f, err := s.newFinder(searches, nil)
	if err != nil {
		return err
	}
	report := func() {
		for marker, runs := range f.found {
			// A run may start others with its own input.
			runs = slices.DeleteFunc(slices.Clone(runs), func(r *Run) bool { return r.ParentRunID != "" })
			slices.SortFunc(runs, func(a, b *Run) int { return a.CreatedAt.Compare(b.CreatedAt) })
			var ids []string
			for i, r := range runs {
				if i == 0 || !single {
					ids = append(ids, r.ID)
				}
			}
			if len(keys[marker]) > 1 { // whose they are, nobody can say
				ids = nil
			}
			for _, key := range keys[marker] {
				found(key, ids)
			}
			delete(keys, marker)
		}
	}
	soon := report
	if !single { // the others may follow
		soon = func() {}
	}
	err = f.repeat(ctx, during, soon)
	report()
	return err
}
