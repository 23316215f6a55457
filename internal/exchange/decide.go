package exchange

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// A Policy bounds the retries of an Engine. Its fields are those of the root's
// RetryPolicy, so that one converts to the other.
type Policy struct {
	MaxAttempts      int
	MinWait, MaxWait time.Duration
	MaxRefusals      int
	MaxRetryAfter    time.Duration
	Budget           int
}

// MinPause is the shortest wait after a 429, and longPause the longest that a
// gate may cut short.
const (
	MinPause  = time.Second
	longPause = 10 * time.Minute
)

// A Result classifies the outcome of one attempt.
type Result uint8

// The results.
const (
	Succeeded  Result = iota
	Unsent            // no byte left the process
	Broken            // no answer, or a truncated success
	Refused           // 429
	Failed            // a status that may improve
	Unreadable        // a complete success that cannot be decoded
	Final             // anything else: a retry would end the same way
)

type action uint8

const (
	stop action = iota
	retry
	stopUnknown // the request may have been executed
)

// retryTable is the complete policy.
var retryTable = [...][7]action{
	api.Safe:       {Succeeded: stop, Unsent: retry, Broken: retry, Refused: retry, Failed: retry, Unreadable: stop, Final: stop},
	api.Idempotent: {Succeeded: stop, Unsent: retry, Broken: retry, Refused: retry, Failed: retry, Unreadable: stop, Final: stop},
	api.Unsafe:     {Succeeded: stop, Unsent: retry, Broken: stopUnknown, Refused: retry, Failed: stopUnknown, Unreadable: stopUnknown, Final: stop},
}

// facts are all that a decision depends on.
type facts struct {
	class              api.Class
	result             Result
	once, failFast     bool
	redirect, stale    bool
	failures, refusals int32 // with this one
	maxAttempts        int32
	asked              time.Duration // what the service asked for
	left               time.Duration // until the caller's deadline; negative if there is none
	random             float64       // in [0, 1)
}

// decision says what follows an attempt.
type decision struct {
	again bool
	cost  bool          // it takes a retry from the budget
	wait  time.Duration // before the next attempt
	told  time.Duration // the wait that observers are told
}

// decide is the whole retry policy.
func (p *Policy) decide(f facts) (d decision) {
	switch {
	case retryTable[f.class][f.result] != retry, f.once, f.asked > p.MaxRetryAfter:
		return decision{}
	case f.redirect:
		return decision{again: true}
	case f.result == Refused: // the gate makes the attempt wait
		d.again = !f.failFast && (p.MaxRefusals <= 0 || int(f.refusals) <= p.MaxRefusals)
		d.told = max(f.asked, MinPause)
		return d
	}
	if f.failures >= f.maxAttempts {
		return decision{}
	}
	d.wait = max(f.asked, p.backoff(int(f.failures), f.random))
	if f.stale && f.failures == 1 {
		d.wait = 0 // nothing is wrong with the service
	}
	d.again, d.cost, d.told = f.left < 0 || d.wait <= f.left, true, d.wait
	return d
}

// judge reports whether the exchange goes on.
func (x *Exchange) judge(now time.Time) bool {
	if retryTable[x.Class][x.result] != retry || x.over() != nil {
		return false
	}
	f := facts{
		class: x.Class, result: x.result, once: x.Once, failFast: x.FailFast, redirect: x.redirect, stale: x.stale,
		maxAttempts: x.MaxAttempts, left: -1, random: rand.Float64(), //nolint:gosec // spreads load, guards nothing
	}
	if x.failure != nil {
		f.asked = x.failure.RetryAfter
	}
	switch {
	case x.redirect:
	case x.result == Refused:
		x.refusals++
	default:
		x.failures++
	}
	f.failures, f.refusals = x.failures, x.refusals
	if deadline, ok := x.Deadline(); ok {
		f.left = max(0, deadline.Sub(now))
	}
	d := x.engine.Policy.decide(f)
	if !d.again || d.cost && !x.engine.budget.take() {
		return false
	}
	if d.cost {
		x.taken++
	}
	x.wait = d.wait
	if x.Observed {
		x.Observe(Event{Retry: true, Wait: d.told, Reason: x.reason(), Outcome: x.outcome()})
	}
	return true
}

// classify classifies an HTTP status.
func classify(status int) Result {
	switch {
	case status >= 200 && status < 300:
		return Succeeded
	case status == http.StatusTooManyRequests:
		return Refused
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		return Failed
	case status >= 500 && status != http.StatusNotImplemented:
		return Failed
	default:
		return Final
	}
}

// IsFinal reports whether a repeated request would meet the same status.
func IsFinal(status int) bool { return classify(status) == Final }

// CertificateError reports whether err says that the server failed to prove its
// identity. A retry does not help.
func CertificateError(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		authority    x509.UnknownAuthorityError
		hostname     x509.HostnameError
		invalid      x509.CertificateInvalidError
	)
	return errors.As(err, &verification) || errors.As(err, &authority) ||
		errors.As(err, &hostname) || errors.As(err, &invalid)
}

// backoff returns the wait before the nth retry. Full jitter keeps callers that
// failed together from returning together.
func (p *Policy) backoff(n int, random float64) time.Duration {
	most := p.MaxWait
	if shift := n - 1; shift < 30 && p.MinWait <= p.MaxWait>>shift {
		most = p.MinWait << shift
	}
	return time.Duration(random * float64(most))
}

// budget is the retry budget of an Engine, in halves of a retry.
type budget struct {
	mu    sync.Mutex
	whole int // negative means no limit
	left  int
}

func (b *budget) init(retries int) { b.whole, b.left = 2*retries, 2*retries }

func (b *budget) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.whole < 0 {
		return true
	}
	if b.left < 2 {
		return false
	}
	b.left -= 2
	return true
}

// refund credits a call that succeeded after the given number of retries.
func (b *budget) refund(retries int32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = min(b.left+2*int(retries)+1, b.whole)
}
