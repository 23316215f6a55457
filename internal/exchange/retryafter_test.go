package exchange

import (
	"math"
	"net/http"
	"strings"
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
		if got := RetryAfter(h, now); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestR4RetryAfterTable(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	date := func(d time.Duration, layout string) string { return now.Add(d).Format(layout) }
	const gmt = "Mon, 02 Jan 2006 15:04:05 GMT"
	tests := []struct {
		values []string
		date   string
		want   time.Duration
	}{
		{[]string{"0"}, "", 0},
		{[]string{"5"}, "", 5 * time.Second},
		{[]string{"1.5"}, "", 1500 * time.Millisecond},
		{[]string{" 5 "}, "", 5 * time.Second},
		{[]string{"0.0000000001"}, "", 1},
		{[]string{"007"}, "", 7 * time.Second},
		{[]string{"-1"}, "", 0},
		{[]string{"abc"}, "", 0},
		{[]string{"NaN"}, "", 0},
		{[]string{"Inf"}, "", 0},
		{[]string{""}, "", 0},
		{[]string{"0x10"}, "", 0},
		{[]string{"0x1p4"}, "", 0},
		{[]string{"1_000"}, "", 0},
		{[]string{"5s"}, "", 0},
		{[]string{"5,6"}, "", 0},
		{[]string{"120"}, "", 2 * time.Minute},
		{[]string{"121"}, "", 121 * time.Second},
		{[]string{"1e400"}, "", math.MaxInt64},
		{[]string{"9223372037"}, "", math.MaxInt64},
		{[]string{"1" + strings.Repeat("0", 39)}, "", math.MaxInt64},
		{[]string{"1795428000"}, "", 1795428000 * time.Second},
		{[]string{date(90*time.Second, gmt)}, "", 90 * time.Second},
		{[]string{date(90*time.Second, "Monday, 02-Jan-06 15:04:05 GMT")}, "", 90 * time.Second},
		{[]string{date(90*time.Second, time.ANSIC)}, "", 90 * time.Second},
		{[]string{date(-time.Hour, gmt)}, "", 0},
		{[]string{date(90*time.Second, gmt)}, date(60*time.Second, gmt), 30 * time.Second}, // the service's clock is ahead
		{[]string{date(-30*time.Minute+10*time.Second, gmt)}, date(-30*time.Minute, gmt), 10 * time.Second},
		{[]string{"5", "7"}, "", 7 * time.Second},
		{[]string{"abc", "7"}, "", 7 * time.Second},
		{nil, "", 0},
	}
	for _, test := range tests {
		h := http.Header{"Retry-After": test.values}
		if test.date != "" {
			h.Set("Date", test.date)
		}
		if got := RetryAfter(h, now); got != test.want {
			t.Errorf("%q is %v, want %v", test.values, got, test.want)
		}
	}
}
