package connic

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// RetryPolicy limits the retries of a Client. Zero fields select the defaults.
type RetryPolicy struct {
	// MaxAttempts is how often a request is sent if it fails. The default is 4;
	// 1 disables retries. Refusals with 429 are counted separately: see
	// MaxRefusals.
	MaxAttempts int
	// MinWait and MaxWait bound the exponential backoff. The defaults are 0.5 s
	// and 20 s. The wait before the nth retry is random, between 0 and MinWait
	// × 2^(n-1), but at most MaxWait.
	MinWait, MaxWait time.Duration
	// MaxRefusals is how many 429 responses a call absorbs before it returns
	// the next one as an error. The default, 0, means no limit: a call waits as
	// long as its context allows.
	MaxRefusals int
	// MaxRetryAfter is the longest Retry-After that a call waits for. The
	// default is 2 minutes. If the service asks for more, the call returns at
	// once.
	MaxRetryAfter time.Duration
	// Budget is the number of retries available to the Client. The default is
	// 10. Each retry costs one. A call that succeeds restores the retries it
	// used and adds another half, up to Budget. An outage therefore costs a
	// Client at most 10 retries in total, however many calls it affects. A
	// negative Budget means no limit.
	Budget int
}

func (p RetryPolicy) withDefaults() RetryPolicy {
	if p.MaxAttempts <= 0 {
		p.MaxAttempts = 4
	}
	if p.MinWait <= 0 {
		p.MinWait = 500 * time.Millisecond
	}
	if p.MaxWait <= 0 {
		p.MaxWait = 20 * time.Second
	}
	p.MaxWait = max(p.MaxWait, p.MinWait)
	if p.MaxRetryAfter <= 0 {
		p.MaxRetryAfter = 2 * time.Minute
	}
	if p.Budget == 0 {
		p.Budget = 10
	}
	return p
}

// result classifies the outcome of one attempt.
type result uint8

const (
	succeeded  result = iota
	unsent            // no byte left the process
	broken            // no response, or a truncated successful one
	refused           // 429
	failed            // a status that may improve
	unreadable        // a complete successful response that cannot be decoded
	final             // anything else: a retry would end the same way
)

// action is what to do after a result.
type action uint8

const (
	stop action = iota
	retry
	stopUnknown // stop: the request may have been executed
)

// retryTable is the complete policy, indexed by operation class and result.
var retryTable = [...][7]action{
	api.Safe:       {succeeded: stop, unsent: retry, broken: retry, refused: retry, failed: retry, unreadable: stop, final: stop},
	api.Idempotent: {succeeded: stop, unsent: retry, broken: retry, refused: retry, failed: retry, unreadable: stop, final: stop},
	api.Unsafe: {
		succeeded: stop, unsent: retry, broken: stopUnknown, refused: retry, failed: stopUnknown, unreadable: stopUnknown, final: stop,
	},
}

// statusResult classifies an HTTP status.
func statusResult(status int) result {
	switch {
	case status >= 200 && status < 300:
		return succeeded
	case status == http.StatusTooManyRequests:
		return refused
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		return failed
	case status >= 500 && status != http.StatusNotImplemented:
		return failed
	default:
		return final
	}
}

// certificateError reports whether err says that the server failed to prove its
// identity. A retry does not help.
func certificateError(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		authority    x509.UnknownAuthorityError
		hostname     x509.HostnameError
		invalid      x509.CertificateInvalidError
	)
	return errors.As(err, &verification) || errors.As(err, &authority) ||
		errors.As(err, &hostname) || errors.As(err, &invalid)
}

// dialError reports whether err is a failure to connect.
func dialError(err error) bool {
	var dial *net.OpError
	var dns *net.DNSError
	return errors.As(err, &dns) || (errors.As(err, &dial) && dial.Op == "dial")
}

// checkRetry is the retryablehttp.CheckRetry of every Client. The decision has
// already been made by the attempt (see attempts).
func checkRetry(ctx context.Context, _ *http.Response, err error) (bool, error) {
	return err == nil && callOf(ctx).again, err
}

// backoff is the retryablehttp.Backoff of every Client. Attempts never return
// an error to retryablehttp, so resp is never nil and its request leads to the
// call.
func backoff(_, _ time.Duration, _ int, resp *http.Response) time.Duration {
	return callOf(resp.Request.Context()).wait
}

// judge reports whether the call is tried again, and sets the wait.
func (k *call) judge(now time.Time) bool {
	policy := &k.client.retry
	act := retryTable[k.class][k.result]
	if act != retry || k.over() != nil {
		return false
	}
	k.wait = 0
	why := k.reason()
	var asked time.Duration // what the service asked for
	if k.failure != nil {
		asked = k.failure.RetryAfter
	}
	switch {
	case k.options.once():
		return false
	case asked > policy.MaxRetryAfter:
		return false
	case k.redirect: // to the same path with a trailing slash added or removed
	case k.result == refused:
		// The limiter makes the attempt wait, at the head of its lane.
		if k.refusals++; k.options.failFast || policy.MaxRefusals > 0 && int(k.refusals) > policy.MaxRefusals {
			return false
		}
		asked = max(asked, minPause)
	default:
		if k.failures++; k.failures >= k.maxAttempts() {
			return false
		}
		k.wait = max(asked, policy.backoff(int(k.failures)))
		if k.stale && k.failures == 1 {
			k.wait = 0 // nothing is wrong with the service
		}
		if deadline, ok := k.Deadline(); ok && now.Add(k.wait).After(deadline) {
			return false
		}
		if !k.client.budget.take() {
			return false
		}
		k.taken++
		asked = k.wait
	}
	k.observe(Event{Kind: EventRetry, Wait: asked, Reason: Reason(why), Err: k.failed()})
	return true
}

// backoff returns the wait before the nth retry. Full jitter keeps callers that
// failed together from returning together.
func (p RetryPolicy) backoff(n int) time.Duration {
	most := p.MaxWait
	if shift := n - 1; shift < 30 {
		most = min(most, p.MinWait<<shift)
	}
	return time.Duration(rand.Float64() * float64(most)) //nolint:gosec // spreads load, guards nothing
}

// budget is the retry budget of a Client, in halves of a retry.
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

// retryAfter returns the longest of the Retry-After headers of a response, or 0
// if none is understood. Seconds may have a fraction; dates may use any HTTP
// date format. A date is compared with the response's own Date header, since
// the two clocks may differ.
func retryAfter(h http.Header, now time.Time) time.Duration {
	var longest time.Duration
	for _, value := range h["Retry-After"] {
		longest = max(longest, parseRetryAfter(value, h, now))
	}
	return longest
}

func parseRetryAfter(value string, h http.Header, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0
	}
	if isDigit(value[0]) {
		seconds, err := strconv.ParseFloat(value, 64)
		switch {
		case errors.Is(err, strconv.ErrRange) && seconds > 1:
			return math.MaxInt64
		case err != nil || strings.ContainsAny(value, "xX_"):
			return 0
		case seconds >= float64(math.MaxInt64)/float64(time.Second):
			return math.MaxInt64
		}
		// Round up, so as never to be early.
		return time.Duration(math.Ceil(seconds * float64(time.Second)))
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	wait := max(0, at.Sub(now))
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return wait
	}
	// Go by the server's clock. If it is far from ours, either may be wrong:
	// use the shorter positive wait.
	byDate := max(0, at.Sub(date))
	if off := byDate - wait; wait == 0 || byDate > 0 && off.Abs() <= clockSkew {
		return byDate
	} else if byDate == 0 {
		return wait
	}
	return min(wait, byDate)
}

// clockSkew is how far apart two correct clocks may be.
const clockSkew = 5 * time.Minute
