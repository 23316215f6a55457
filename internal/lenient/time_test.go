package lenient

import (
	"encoding/json"
	"testing"
	"time"
)

func FuzzTime(f *testing.F) {
	for _, seed := range []string{`"2026-11-23T10:00:00.123456+01:00"`, `"2026-11-23 10:00"`, `1795392000.5`, `null`, `""`, `"1e5"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := ParseTime(data)
		if err != nil {
			return
		}
		// Whatever the standard library takes as well, it takes for the same.
		var want time.Time
		if len(data) > 0 && data[0] == '"' && json.Unmarshal(data, &want) == nil && !want.Equal(got) {
			t.Errorf("%s is %v, want %v", data, got, want)
		}
		if text, err := got.MarshalJSON(); err == nil {
			again, err := ParseTime(text)
			if err != nil || !again.Equal(got) {
				t.Errorf("%s does not survive: %v, %v", data, again, err)
			}
		}
	})
}
