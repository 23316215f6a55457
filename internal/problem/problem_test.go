package problem

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// Processing the body of an error costs no more than a few passes over it.
//
//nolint:paralleltest // it counts allocations
func TestErrorBodiesThatNest(t *testing.T) {
	for name, body := range map[string]string{
		"lists":   `{"detail": ` + strings.Repeat("[", 5_000) + strings.Repeat("]", 5_000) + `}`,
		"objects": strings.Repeat(`{"detail": `, 5_000) + `"x"` + strings.Repeat("}", 5_000),
		"wide":    `{"detail": [` + strings.Repeat(`{"loc": ["a"], "msg": "m"},`, 2_000) + `{}]}`,
	} {
		var text string
		var fields []Field
		allocations := testing.AllocsPerRun(1, func() { text, fields = Parse([]byte(body)) })
		if len(fields) > maxFields || text == "" || utf8.RuneCountInString(text) > MaxDetail || allocations > 10_000 {
			t.Errorf("%s: %d fields, %.0f allocations, %q", name, len(fields), allocations, text)
		}
	}
}
