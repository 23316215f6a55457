package connic

import "time"

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
