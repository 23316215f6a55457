package exchange

import (
	"testing"
	"time"
)

func TestDates(t *testing.T) {
	t.Parallel()
	at := time.Date(2023, 6, 30, 23, 59, 59, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"@1688169599":                     at,
		"@1688169599;x=1":                 at,
		"@0":                              time.Unix(0, 0).UTC(),
		"Fri, 30 Jun 2023 23:59:59 GMT":   at,
		"Friday, 30-Jun-23 23:59:59 GMT":  at,
		"@253402300799":                   time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		"@253402300800":                   {},
		"@99999999999999999999":           {},
		"@-1":                             {},
		"@1.5":                            {},
		"true":                            {},
		"":                                {},
		"@":                               {},
		"Fri, 30 Jun 12023 23:59:59 GMT":  {},
		"Fri, 30 Jun 2023 23:59:59 +0100": {},
	} {
		if got := date(text); !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("%q became %v, want %v", text, got, want)
		}
	}
}
