package connic

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Follow begins at the end of a log, also if its entries have no timestamps or all
// the same.
func TestFollowWithoutTimestamps(t *testing.T) {
	t.Parallel()
	for _, n := range []int{30, 99, 100, 101, 300} {
		for _, kind := range []string{"none", "same", "sameold", "nowsame"} {
			t.Run(fmt.Sprint(n, kind), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					start := time.Now()
					c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
						var offset int
						_, _ = fmt.Sscan(r.URL.Query().Get("offset"), &offset)
						m := n + int(time.Since(start)/(30*time.Second)) // one each 30 s
						var rows []string
						for i := m - 1 - offset; i >= 0 && len(rows) < 100; i-- {
							ts := ""
							switch kind {
							case "same":
								ts = fmt.Sprintf(`,"timestamp":%q`, start.Add(-time.Second).Format(time.RFC3339))
							case "sameold":
								ts = fmt.Sprintf(`,"timestamp":%q`, start.Add(-time.Hour).Format(time.RFC3339))
							case "nowsame":
								ts = fmt.Sprintf(`,"timestamp":%q`, start.Add(time.Hour).Format(time.RFC3339))
							}
							rows = append(rows, fmt.Sprintf(`{"id":"%d","action":"a"%s}`, i, ts))
						}
						return respond(200, fmt.Sprintf(`{"audit_logs":[%s],"total":%d}`, strings.Join(rows, ","), m)), nil
					})
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
					defer cancel()
					got := map[string]int{}
					old := 0
					var last error
					for e, err := range c.AuditLogs.Follow(ctx, nil) {
						if err != nil {
							last = err
							continue
						}
						got[e.ID]++
						if got[e.ID] > 1 {
							t.Errorf("twice %s", e.ID)
						}
						var i int
						_, _ = fmt.Sscan(e.ID, &i)
						if i < n {
							old++
						}
					}
					if old > 0 || len(got) < 38 {
						t.Errorf("n=%d %s: %d old entries, %d in all, %v", n, kind, old, len(got), last)
					}
				})
			})
		}
	}
}

// A list by cursors may end with a full page that names no other.
func TestCursorsThatEndWithAFullPage(t *testing.T) {
	t.Parallel()
	for _, tail := range []string{`"next_cursor":null`, `"next_cursor":""`} {
		for _, n := range []int{100, 150, 200} {
			synctest.Test(t, func(t *testing.T) {
				requests := 0
				c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
					requests++
					at := 0
					_, _ = fmt.Sscanf(r.URL.Query().Get("cursor"), "c%d", &at)
					var rows []string
					for i := at; i < n && len(rows) < 100; i++ {
						rows = append(rows, fmt.Sprintf(`{"id":"%d"}`, i))
					}
					next := tail
					if at+100 < n {
						next = fmt.Sprintf(`"next_cursor":"c%d"`, at+100)
					}
					return respond(200, fmt.Sprintf(`{"judges":[%s],%s}`, strings.Join(rows, ","), next)), nil
				})
				all, err := Collect(c.Judges.All(t.Context(), nil), 0)
				if err != nil || len(all) != n {
					t.Errorf("%s %d: %d items, %d requests, %v", tail, n, len(all), requests, err)
				}
			})
		}
	}
}
