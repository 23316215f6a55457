package connic_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
)

// clockedLog is an audit log whose entries appear by the local clock. Their
// timestamps are those of another one.
type clockedLog struct {
	entries  []clockedEntry // newest timestamp first
	filters  bool
	envelope string // of the items, the total, and whether there are more
	requests int
}

type clockedEntry struct {
	id          string
	at, appears time.Time
}

// newClockedLog makes entries from ten minutes ago until in twelve, most of
// them random. One of ten appears up to two minutes late. Some machine is a day
// ahead of the others, and writes strays of them.
func newClockedLog(r *rand.Rand, perMinute, strays int, skew time.Duration) *clockedLog {
	l := new(clockedLog)
	start := time.Now().Add(-10 * time.Minute)
	add := func(id string, after, late, ahead time.Duration) {
		at := start.Add(after).Add(time.Duration(len(l.entries))) // no two are equal
		l.entries = append(l.entries, clockedEntry{id, at.Add(skew + ahead), at.Add(late)})
	}
	for i := range 22 * perMinute {
		late := time.Duration(0)
		if r.IntN(10) == 0 {
			late = time.Duration(r.Int64N(int64(2 * time.Minute)))
		}
		add(fmt.Sprint("e", i), time.Duration(r.Int64N(int64(22*time.Minute))), late, 0)
	}
	for i := range strays {
		add(fmt.Sprint("stray", i), 9*time.Minute+time.Duration(r.Int64N(int64(13*time.Minute))), 0, 24*time.Hour)
	}
	slices.SortFunc(l.entries, func(a, b clockedEntry) int { return b.at.Compare(a.at) })
	return l
}

func (l *clockedLog) RoundTrip(r *http.Request) (*http.Response, error) {
	l.requests++
	time.Sleep(100 * time.Millisecond)
	query := r.URL.Query()
	var offset, limit int
	_, _ = fmt.Sscan(query.Get("offset"), &offset)
	_, _ = fmt.Sscan(query.Get("limit"), &limit)
	var from time.Time
	if l.filters {
		from, _ = time.Parse(time.RFC3339Nano, query.Get("from"))
	}
	now, total := time.Now(), 0
	var items []string
	for _, e := range l.entries {
		if e.appears.After(now) || e.at.Before(from) {
			continue
		}
		if total++; total > offset && len(items) < limit {
			items = append(items, fmt.Sprintf(`{"id":%q,"timestamp":%q}`, e.id, e.at.Format(time.RFC3339Nano)))
		}
	}
	body := strings.NewReplacer("ITEMS", "["+strings.Join(items, ",")+"]", "TOTAL", fmt.Sprint(total), "MORE", fmt.Sprint(offset+len(items) < total)).Replace(l.envelope)
	return respondWith(r, http.StatusOK, body), nil
}

// TestL2FollowUnderForeignClocks follows logs whose clock is a day ahead or
// behind, that are quiet or busy, with entries that appear late, and others that
// are dated a day ahead: none is lost, none comes twice, and it begins where it
// says.
func TestL2FollowUnderForeignClocks(t *testing.T) {
	t.Parallel()
	const lasts = 11 * time.Minute
	seed := uint64(0)
	for _, skew := range []time.Duration{0, 24 * time.Hour, -24 * time.Hour, 90 * time.Second, -90 * time.Second} {
		for _, perMinute := range []int{0, 1, 20, 1000} {
			for _, strays := range []int{0, 1, 60} {
				if seed++; perMinute == 1000 && (seed%3 != 0 || raceDetector) {
					continue // it takes a second, and ten with the race detector
				}
				r := rand.New(rand.NewPCG(seed, 2))
				since := seed%2 == 0
				name := fmt.Sprintf("%v, %d a minute, %d strays, since %v", skew, perMinute, strays, since)
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						log := newClockedLog(r, perMinute, strays, skew)
						log.filters = r.IntN(2) == 0
						log.envelope = []string{"ITEMS", `{"items":ITEMS,"total":TOTAL}`, `{"items":ITEMS,"has_more":MORE}`}[r.IntN(3)]
						client := must[*connic.Client](t)(connic.New("p", "cnc_clock_test_key", connic.WithoutRateLimit(), connic.WithHTTPClient(&http.Client{Transport: log})))
						begin := time.Now()
						ctx, cancel := context.WithTimeout(t.Context(), lasts)
						defer cancel()
						var params connic.AuditLogListParams
						if since {
							params.From = begin.Add(skew - 3*time.Minute)
						}
						got := make(map[string]int)
						for e, err := range client.AuditLogs.Follow(ctx, &params) {
							if err != nil {
								if !errors.Is(err, context.DeadlineExceeded) {
									t.Errorf("it ended with %v", err)
								}
								break
							}
							got[e.ID]++
						}
						lost, twice, old := 0, 0, 0
						for _, e := range log.entries {
							n := got[e.id]
							if n > 1 {
								twice++
							}
							appeared := e.appears.After(begin.Add(3 * time.Second)) // the first poll takes that long
							switch {
							case n == 0 && e.appears.Before(begin.Add(lasts-40*time.Second)) && (appeared || since && !e.at.Before(params.From)):
								lost++
							case n > 0 && !since && !e.appears.After(begin), n > 0 && e.at.Before(params.From):
								old++
							}
						}
						if lost > 0 || twice > 0 || old > 0 {
							t.Errorf("of %d entries %d are lost, %d came twice, and %d are from before", len(log.entries), lost, twice, old)
						}
						t.Logf("%d requests", log.requests)
					})
				})
			}
		}
	}
}
