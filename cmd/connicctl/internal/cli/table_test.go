package cli

import (
	"testing"
	"time"
)

// A time that is shortened stays a time.
func TestShorten(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 10, 1, 23, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		cell  string
		width int
		want  string
	}{
		{"2026-10-01 12:34:56", 19, "2026-10-01 12:34:56"},
		{"2026-10-01 12:34:56", 18, "12:34:56"},
		{"2026-10-01 12:34:56", 7, "12:34"},
		{"2026-10-01 12:34:56", 4, "202…"},
		{"2026-09-30 12:34:56", 18, "09-30 12:34"},
		{"2026-09-30 12:34:56", 10, "09-30"},
		{"2026-10-01", 10, "2026-10-01"},
		{"2026-10-01", 8, "10-01"},
		{"another text of 23 runes", 10, "another t…"},
	} {
		if got := shorten(test.cell, test.width, now); got != test.want {
			t.Errorf("%s, %d columns: %q", test.cell, test.width, got)
		}
	}
}
