package exchange

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// RetryAfter returns the longest of the Retry-After headers of a response, or 0
// if none is understood. Seconds may have a fraction; dates may use any HTTP
// date format. A date is compared with the response's own Date header, since
// the two clocks may differ.
func RetryAfter(h http.Header, now time.Time) time.Duration {
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
	if value[0] >= '0' && value[0] <= '9' {
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
