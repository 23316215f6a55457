package connic

import (
	"net/http"
	"testing"
	"time"
)

// Retry-After may be a date, while the Date of the response, or the local
// clock, may be wrong.
func TestRetryAfterDates(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for name, test := range map[string]struct {
		date, retry string
		want        time.Duration
	}{
		"both clocks agree":             {at(0), at(30 * time.Second), 30 * time.Second},
		"no Date":                       {"", at(30 * time.Second), 30 * time.Second},
		"theirs is two minutes ahead":   {at(2 * time.Minute), at(150 * time.Second), 30 * time.Second},
		"theirs is two minutes behind":  {at(-2 * time.Minute), at(-90 * time.Second), 30 * time.Second},
		"a Date of yesterday":           {at(-24 * time.Hour), at(30 * time.Second), 30 * time.Second},
		"a Date of tomorrow":            {at(24 * time.Hour), at(30 * time.Second), 30 * time.Second},
		"we are a day behind":           {at(24 * time.Hour), at(24*time.Hour + 30*time.Second), 30 * time.Second},
		"we are a day ahead":            {at(-24 * time.Hour), at(-24*time.Hour + 30*time.Second), 30 * time.Second},
		"an honest hour, clocks agree":  {at(0), at(time.Hour), time.Hour},
		"past by both":                  {at(0), at(-time.Hour), 0},
		"an honest day, a minute apart": {at(time.Minute), at(24*time.Hour + time.Minute), 24 * time.Hour},
	} {
		h := http.Header{"Retry-After": {test.retry}}
		if test.date != "" {
			h.Set("Date", test.date)
		}
		if got := retryAfter(h, now); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
