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

// RetryPolicy bounds the retries of a Client. Zero fields take the defaults.
type RetryPolicy struct {
	// MaxAttempts is how often a request is sent when it fails: 4. 1 sends it
	// once. Refusals with 429 are not failures and count apart; see
	// MaxRefusals.
	MaxAttempts int
	// MinWait and MaxWait bound the exponential backoff: 0.5 s and 20 s. The wait
	// before the n-th retry is random, up to MinWait times 2 to the n-1.
	MinWait, MaxWait time.Duration
	// MaxRefusals is how many answers 429 a call takes before it returns the last
	// one. 0, the default, means no bound: a call waits as long as its context.
	MaxRefusals int
	// MaxRetryAfter is the longest Retry-After that is waited for: 2 minutes. In
	// face of a longer one the call returns at once.
	MaxRetryAfter time.Duration
	// Budget is how many retries the Client has in hand: 10. Each retry costs one,
	// a call that succeeds gives back what it took, and half a retry more. So an
	// outage costs a Client 10 retries in all, however many calls run into it. A
	// negative Budget means no bound.
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

// result is what came of one attempt.
type result uint8

const (
	succeeded  result = iota
	unsent            // not a byte left the process
	broken            // no answer, or a successful one that is not whole
	refused           // 429
	failed            // a status that may be better next time
	unreadable        // a successful answer that is whole and cannot be decoded
	final             // anything else: the next attempt would end the same way
)

// action is what follows from a result.
type action uint8

const (
	stop action = iota
	retry
	stopUnknown // stop: the request may have been executed
)

// retryTable is the whole policy: by the operation's class and the result.
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

// certificateError reports whether err says that the server is not who it should
// be. No retry changes that.
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

// dialError reports whether err is the failure to make a connection.
func dialError(err error) bool {
	var dial *net.OpError
	var dns *net.DNSError
	return errors.As(err, &dns) || (errors.As(err, &dial) && dial.Op == "dial")
}

// checkRetry is the retryablehttp.CheckRetry of every Client. The attempt itself
// has judged (see attempts).
func checkRetry(ctx context.Context, _ *http.Response, err error) (bool, error) {
	return err == nil && callOf(ctx).again, err
}

// backoff is the retryablehttp.Backoff of every Client. Attempts never end in an
// error there, so resp is never nil, and leads to the call.
func backoff(_, _ time.Duration, _ int, resp *http.Response) time.Duration {
	return callOf(resp.Request.Context()).wait
}

// judge decides whether the call is tried again, and when.
func (k *call) judge(now time.Time) bool {
	policy := &k.client.retry
	act := retryTable[k.class][k.result]
	if act != retry || k.Err() != nil {
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
	case k.redirect: // to the same place with a slash more or less
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

// backoff returns the wait before the n-th retry, with full jitter: callers that
// failed together do not come back together.
func (p RetryPolicy) backoff(n int) time.Duration {
	most := p.MaxWait
	if shift := n - 1; shift < 30 {
		most = min(most, p.MinWait<<shift)
	}
	return time.Duration(rand.Float64() * float64(most)) //nolint:gosec // spreads load, guards nothing
}

// budget is what a Client may spend on retries, in halves of a retry.
type budget struct {
	mu    sync.Mutex
	whole int // negative: no bound
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

// refund pays for a call that succeeded after so many retries.
func (b *budget) refund(retries int32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = min(b.left+2*int(retries)+1, b.whole)
}

// retryAfter reads the Retry-After headers of an answer: the longest of them, 0
// if none can be understood. Seconds may have a fraction; dates may have any form
// of HTTP. A date is compared with the answer's own Date, since the two clocks
// may differ.
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
		// Rounded up: never earlier than it says.
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
	// By the answer's own clock. One that is far from ours is as likely to be wrong
	// as ours: then the shorter wait that is one counts.
	byDate := max(0, at.Sub(date))
	if off := byDate - wait; wait == 0 || byDate > 0 && off.Abs() <= clockSkew {
		return byDate
	} else if byDate == 0 {
		return wait
	}
	return min(wait, byDate)
}

// clockSkew is how far two clocks that are right may be apart.
const clockSkew = 5 * time.Minute
