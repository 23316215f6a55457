package connic

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/bulk"
)

// A BulkResult is what became of one input of a bulk call.
type BulkResult[T any] struct {
	// Index is the position of the input in the sequence, starting at 0. It is -1
	// if the input was left open by an earlier process and has not been read in
	// this one, and in the last result of a call that ended early.
	Index int
	Key   string // the caller's own; "" in the last result of a call that ended early
	// Value is the result, or what is known of it if there is an error. It may be
	// nil then.
	Value *T
}

// bulkOptions are the options of a bulk call.
type bulkOptions = bulk.Options[WaitOption, RequestOption, Run]

// A BulkOption configures a bulk call, such as [AgentsService.TriggerAll].
type BulkOption func(*bulk.Options[WaitOption, RequestOption, Run])

func newBulkOptions(opts []BulkOption) *bulkOptions {
	o := new(bulkOptions)
	for _, opt := range opts {
		if opt != nil {
			opt(o)
		}
	}
	return o
}

// WithInFlight limits the inputs that are read and not yet yielded, and so the
// memory that a bulk call takes. The default is 1,000 for runs, 256 for
// [connector.Connector.CallAll], and 8 for documents.
//
// [connector.Connector.CallAll]: https://pkg.go.dev/github.com/connic-go/connic/connector#Connector.CallAll
func WithInFlight(n int) BulkOption {
	return func(o *bulkOptions) {
		if o.InFlight = n; n < 1 {
			o.Bad = "WithInFlight is less than 1"
		}
	}
}

// WithBudget starts nothing more once limit may be exceeded: by what has ended,
// including in earlier processes with the same journal, plus perRun, or the most
// expensive run so far if that is more, for each run that is in progress or lost.
// If perRun is 0, only what has ended counts. Runs whose cost is in another
// currency also end the start of further ones.
func WithBudget(limit Money, perRun Decimal) BulkOption {
	return func(o *bulkOptions) {
		m := meterOf(o)
		m.limit, m.perRun = limit, perRun
		if limit.Currency == "" || limit.Amount.Sign() <= 0 || perRun.Sign() < 0 {
			o.Bad = "WithBudget has no currency, or an amount that is not positive"
		}
	}
}

// ErrBudgetExceeded marks the end of a bulk call that reached the limit of
// [WithBudget].
const ErrBudgetExceeded = sentinel("connic: the budget would be exceeded")

// WithRunTime says how long an input takes from its start to its result. What
// could not be collected before the deadline of the context is not started. The
// mean time of the inputs so far is used if it is more.
func WithRunTime(d time.Duration) BulkOption { return func(o *bulkOptions) { o.RunTime = d } }

// WithMaxFailures ends the start of further inputs after n in a row have failed,
// in the order of their ends.
func WithMaxFailures(n int) BulkOption { return func(o *bulkOptions) { o.MaxFailures = n } }

// WithStop ends the start of further inputs when stop is closed, as with Ctrl-C,
// and of those that wait for the rate limit. What was started is collected. To
// leave that to a later process, end the context.
func WithStop(stop <-chan struct{}) BulkOption { return func(o *bulkOptions) { o.Stop = stop } }

// WithMarker says by which string an input can be found, if it is sent and no
// response comes: f returns it for the input with a given key. It is part of the
// input and of no other, and as [RunSearch] describes it. If f returns "", the
// input cannot be found.
//
// By default, a bulk call with a journal adds a marker to each input: see
// [TriggerRequest.Marked]. The agent receives it.
func WithMarker(f func(key string) string) BulkOption {
	return func(o *bulkOptions) { o.Marker = f }
}

// ResendUnknown has inputs sent again whose outcome is unknown and stays so after
// a search, once in each call. They may have been executed: they may be paid for
// twice. If a search failed, its inputs are not sent again.
func ResendUnknown() BulkOption { return func(o *bulkOptions) { o.Resend = true } }

// A Settlement is the decision about an input whose outcome is unknown. The zero
// value leaves it unknown.
type Settlement struct {
	IDs    []string // the runs that it started
	Resend bool     // it was certainly not executed, or it does not matter
}

// WithSettle has f decide, by key, about inputs whose outcome is unknown and stays
// so after a search. It is called on another goroutine, with several at a time.
func WithSettle(f func(ctx context.Context, unknown []JournalRecord) (map[string]Settlement, error)) BulkOption {
	return func(o *bulkOptions) {
		if o.Settle = nil; f == nil {
			return
		}
		o.Settle = func(ctx context.Context, lost []bulk.Record) (map[string]bulk.Settlement, error) {
			records := make([]JournalRecord, len(lost))
			for i, r := range lost {
				records[i] = JournalRecord{r.Key, JournalState(r.State), r.Sent, r.Marker, r.IDs, r.Cost, r.Currency, r.Repeatable}
			}
			decided, err := f(ctx, records)
			settled := make(map[string]bulk.Settlement, len(decided))
			for key, s := range decided {
				settled[key] = bulk.Settlement(s)
			}
			return settled, err
		}
	}
}

// WithBulkProgress calls f whenever the numbers change, on the goroutine of the
// loop. Total is the number of inputs, or 0 if it is not known.
func WithBulkProgress(total int, f func(BulkProgress)) BulkOption {
	return func(o *bulkOptions) {
		m := meterOf(o)
		o.Total, o.Progress = total, nil
		if f != nil {
			o.Progress = func(p bulk.Progress) {
				f(BulkProgress{p.Total, p.Read, p.Skipped, p.Open, p.Ended, p.Failed, p.Unknown, p.Complete, p.Elapsed, m.spent})
			}
		}
	}
}

// WithBulkWait applies options to the wait for runs, such as [CancelAfter] and
// [CancelOnAbort].
func WithBulkWait(opts ...WaitOption) BulkOption {
	return func(o *bulkOptions) { o.Wait = append(o.Wait, opts...) }
}

// WithBulkRequest applies options to the requests that send the inputs, except
// for [CaptureResponse]. Connectors have none.
func WithBulkRequest(opts ...RequestOption) BulkOption {
	return func(o *bulkOptions) { o.Request = append(o.Request, opts...) }
}

// WithCollector has the runs of a connector collected, and those of lost calls
// searched for, by a client of its project.
func WithCollector(client *Client) BulkOption {
	return func(o *bulkOptions) {
		if o.Collector = nil; client == nil {
			return
		}
		const op = "runs.watch"
		if client.Runs.scope().made(op) != nil {
			o.Bad = "WithCollector has a client that was not made by New"
			return
		}
		o.Collector = &bulk.Collector[WaitOption, Run]{
			Collect: func(ctx context.Context, ids <-chan string, opts []WaitOption, f func(string, *Run, error) bool) {
				conf := newWaitConfig(opts)
				eachRun(ctx, runWaiter(client.Runs, &conf), op, ids, f)
			},
			Find: func(ctx context.Context, lost []bulk.Record, single bool, found func(string, []string)) error {
				return client.Runs.findLost(ctx, "", lost, true, single, found)
			},
			Over: runIsOver,
		}
	}
}

// BulkProgress tells how far a bulk call is.
type BulkProgress struct {
	Total    int  // as given to WithBulkProgress
	Read     int  // inputs taken from the sequence
	Skipped  int  // of these, done in an earlier process, or with the key of an earlier one
	Open     int  // inputs that are being sent, waited for or searched for
	Ended    int  // inputs that were yielded
	Failed   int  // of these, with an error
	Unknown  int  // of these, with an unknown outcome
	Complete bool // all inputs were read
	Elapsed  time.Duration
	// Cost is that of the runs that have ended, including in earlier processes.
	Cost Sums
}

// PerMinute returns the rate of the inputs that were yielded.
func (p BulkProgress) PerMinute() float64 {
	if p.Elapsed <= 0 {
		return 0
	}
	return float64(p.Ended) / p.Elapsed.Minutes()
}

// Remaining estimates the time to the end from the rate so far. It returns 0 if
// it cannot.
func (p BulkProgress) Remaining() time.Duration {
	left := p.Open
	if !p.Complete {
		if p.Total < p.Read {
			return 0
		}
		left += p.Total - p.Read
	}
	rate := p.PerMinute()
	if rate == 0 {
		return 0
	}
	return time.Duration(float64(left) / rate * float64(time.Minute))
}

// String returns the progress as a line for a terminal.
func (p BulkProgress) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", p.Ended+p.Skipped)
	if p.Total > 0 {
		fmt.Fprintf(&b, " of %d", p.Total)
	}
	fmt.Fprintf(&b, " done, %d open", p.Open)
	for _, c := range []struct {
		n    int
		what string
	}{{p.Failed - p.Unknown, "failed"}, {p.Unknown, "unknown"}} {
		if c.n > 0 {
			fmt.Fprintf(&b, ", %d %s", c.n, c.what)
		}
	}
	if p.Ended > 0 {
		fmt.Fprintf(&b, ", %.0f/min", p.PerMinute())
	}
	if len(p.Cost) > 0 {
		fmt.Fprintf(&b, ", cost %s", p.Cost)
	}
	if left := p.Remaining(); left > 0 {
		fmt.Fprintf(&b, ", %v left", left.Round(time.Second))
	}
	return b.String()
}

// meter adds up costs, and compares them with a budget.
type meter struct {
	limit  Money // no currency: no limit
	perRun Decimal
	spent  Sums
}

func meterOf(o *bulkOptions) *meter {
	if m, ok := o.Meter.(*meter); ok {
		return m
	}
	m := new(meter)
	o.Meter = m
	return m
}

// Add implements [bulk.Meter].
func (m *meter) Add(amount, currency string) {
	d, err := ParseDecimal(amount)
	if err != nil || currency == "" {
		return
	}
	m.spent = m.spent.Add(Money{d, currency})
	if m.perRun.Sign() > 0 && strings.EqualFold(currency, m.limit.Currency) && d.Cmp(m.perRun) > 0 {
		m.perRun = d
	}
}

// May implements [bulk.Meter].
func (m *meter) May(open int) error {
	if m.limit.Currency == "" {
		return nil
	}
	for _, sum := range m.spent {
		if !strings.EqualFold(sum.Currency, m.limit.Currency) && sum.Amount.Sign() > 0 {
			return fmt.Errorf("%w: %s are spent, which cannot be compared with %s", ErrBudgetExceeded, sum, m.limit)
		}
	}
	expected := m.spent.In(m.limit.Currency).Amount
	if m.perRun.Sign() == 0 {
		if expected.Cmp(m.limit.Amount) >= 0 {
			return fmt.Errorf("%w: %s of %s are spent", ErrBudgetExceeded, m.spent, m.limit)
		}
		return nil
	}
	for range open + 1 {
		expected = expected.Add(m.perRun)
	}
	if expected.Cmp(m.limit.Amount) > 0 {
		return fmt.Errorf("%w: %s of %s are spent, and another run may cost %s", ErrBudgetExceeded, m.spent, m.limit, m.perRun)
	}
	return nil
}

// graceOf returns how long a request that was sent outlives the context: with a
// journal, its response is worth waiting for.
func graceOf(journal Journal) time.Duration {
	if journal == nil {
		return 0
	}
	return abortTimeout
}

// runBulk runs a job as the methods of the services do. Its job is complete but
// for what all of them share.
func runBulk[In, Out, Part any](ctx context.Context, s *scope, job *bulk.Job[In, Out, Part], inputs iter.Seq2[string, In], journal Journal, o *bulkOptions) iter.Seq2[BulkResult[Out], error] {
	job.Argument = func(arg, reason string) error { return &ArgumentError{Op: job.Op, Arg: arg, Reason: reason} }
	job.Unknown, job.Lost, job.Fatal = ErrOutcomeUnknown, isUnknown, endsBulk
	return func(yield func(BulkResult[Out], error) bool) {
		err := s.made(job.Op)
		switch {
		case err != nil:
		case ctx == nil:
			err = job.Argument("context", "is nil")
		case inputs == nil:
			err = job.Argument("inputs", "are a nil sequence")
		case o.Bad != "":
			err = job.Argument("options", o.Bad)
		default:
			bulk.Run(ctx, job, inputs, journal, &o.Config, func(r bulk.Result[Out], err error) bool {
				return yield(BulkResult[Out](r), s.hide(err))
			})
			return
		}
		yield(BulkResult[Out]{Index: -1}, err)
	}
}
