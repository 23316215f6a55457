package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/connic-go/connic/connictest"
)

// redate changes the time of the entry with a number, in responses only.
func redate(n int, by time.Duration) func(http.RoundTripper) http.RoundTripper {
	entry := regexp.MustCompile(fmt.Sprintf(`("id":"audit-%08d".*?"timestamp":")([^"]+)`, n))
	return rewrite(nil, func(b []byte) []byte {
		return entry.ReplaceAllFunc(b, func(match []byte) []byte {
			parts := entry.FindSubmatch(match)
			at, err := time.Parse(time.RFC3339Nano, string(parts[2]))
			if err != nil {
				panic(err)
			}
			return append(bytes.Clone(parts[1]), at.Add(by).Format(time.RFC3339Nano)...)
		})
	})
}

// ids are those of the output, sorted.
func (r *records) ids() []string {
	var all []string
	for _, line := range r.lines() {
		all = append(all, regexp.MustCompile(`audit-\d+`).FindString(line))
	}
	slices.Sort(all)
	return all
}

func (r *records) each() {
	r.t.Helper()
	var want []string
	for _, e := range r.fake.AuditLog() {
		want = append(want, e.ID)
	}
	slices.Sort(want)
	if got := r.ids(); !slices.Equal(got, want) {
		r.t.Errorf("%d entries were exported of %d: %v", len(got), len(want), got)
	}
}

// One entry with a wrong clock does not end the export, nor hide others.
func TestWrongClocks(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{24 * time.Hour, 365 * 24 * time.Hour, -24 * time.Hour} {
		for _, follow := range []bool{false, true} {
			t.Run(fmt.Sprint(by, follow), func(t *testing.T) {
				t.Parallel()
				inVirtualTime(t, func(t *testing.T, r *records) {
					r.change(5)
					for range 4 {
						interrupt := func() { r.export(0) }
						if follow {
							interrupt = r.follow()
						}
						r.change(7)
						<-time.After(10 * time.Minute)
						interrupt()
					}
					r.export(0)
					r.each()
					var s state
					raw, err := os.ReadFile(r.file + ".state")
					if err != nil || json.Unmarshal(raw, &s) != nil || len(s.Recent) > 10 {
						t.Errorf("the state holds %d entries, %v", len(s.Recent), err)
					}
				}, redate(3, by))
			})
		}
	}
}

// An export resumes where it stopped, whatever a single entry is dated.
func TestResumesBehindAWrongClock(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, func(t *testing.T, r *records) {
		r.change(450)
		r.fake.Fault(connictest.Fault{Op: "audit_logs.list", Nth: 4, Status: 403, Times: 1})
		r.export(4)
		r.export(0)
		r.each()
	}, redate(200, -24*time.Hour))
}
