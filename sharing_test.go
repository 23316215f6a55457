//go:build simulations

// The tests of this file take means over many courses of several clients on one
// quota, which takes a minute of two processors. With the tag, the other rate
// simulations use all their seeds, too. The gate runs
//
//	go test -tags simulations -run 'R[0-9]|P1' .

package connic_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

func init() { simulations = true }

func (l *load) course(srv *connictest.Server, took time.Duration) course {
	var sum, squares float64
	for _, n := range l.perClient {
		sum += float64(n)
		squares += float64(n) * float64(n)
	}
	n := refusals(srv)
	return course{
		refused: float64(n) / float64(n+l.accepted), accepted: l.accepted,
		jain: sum * sum / (float64(len(l.perClient)) * squares), took: took,
	}
}

// courses runs a simulation n times, in separate bubbles.
func courses(t *testing.T, n uint64, window connictest.Window, f func(t *testing.T, srv *connictest.Server, d *dice) course) []course {
	t.Helper()
	if raceDetector {
		t.Skip("figures are means over many courses, which the race detector makes too slow; R1 and R2 run the same code under it")
	}
	var all []course
	for seed := range n {
		synctest.Test(t, func(t *testing.T) {
			srv := newFake(window)
			all = append(all, f(t, srv, newDice(seed)))
		})
	}
	return all
}

func mean(all []course, f func(course) float64) float64 {
	sum := 0.0
	for _, c := range all {
		sum += f(c)
	}
	return sum / float64(len(all))
}

// R3: independent clients share the quota. The refusals are a mean over the
// seeds; throughput and fairness hold for each.
func TestR3ClientsShareTheQuota(t *testing.T) {
	t.Parallel()
	for name, window := range windows {
		for _, k := range []int{2, 3, 5} {
			t.Run(fmt.Sprint(name, "/", k), func(t *testing.T) {
				t.Parallel()
				// With more clients the result is closer to its limit, and more
				// runs are needed.
				n := seeds()
				if k == 5 {
					n *= 3
				}
				all := courses(t, n, window, func(t *testing.T, srv *connictest.Server, d *dice) course {
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
					defer cancel()
					l := saturate(ctx, newClients(srv, k, withDelay(internet(d))), 200/k, getProject)
					if l.failed > 0 {
						t.Errorf("%d calls failed: %v", l.failed, l.last)
					}
					return l.course(srv, 0)
				})
				refused := mean(all, func(c course) float64 { return c.refused })
				least, unfair := all[0].accepted, all[0].jain
				for _, c := range all {
					least, unfair = min(least, c.accepted), min(unfair, c.jain)
				}
				t.Logf("%.1f %% refused, at least %d accepted, fairness at least %.2f", 100*refused, least, unfair)
				most, enough := 0.10, 540
				if window == connictest.SlidingWindowRejects {
					// Here each refusal costs a request of the quota.
					most = 0.115
				}
				if refused > most || least < enough || unfair < 0.75 {
					t.Errorf("%.1f %% refused, at least %d accepted, fairness at least %.2f", 100*refused, least, unfair)
				}
			})
		}
	}
}

func TestR3ALoneClientWinsTheQuotaBack(t *testing.T) {
	t.Parallel()
	for name, window := range windows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := courses(t, seeds(), window, func(t *testing.T, srv *connictest.Server, d *dice) course {
				clients := newClients(srv, 3, withDelay(internet(d)))
				together, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				alone, cancelAlone := context.WithTimeout(t.Context(), 9*time.Minute)
				defer cancelAlone()
				var others sync.WaitGroup
				others.Go(func() { saturate(together, clients[1:], 60, getProject) })
				last := &load{perClient: make([]int, 1)}
				saturate(alone, clients[:1], 60, func(ctx context.Context, c *connic.Client) error {
					err := getProject(ctx, c)
					if left, _ := alone.Deadline(); time.Until(left) < time.Minute && err == nil {
						last.count(0, nil)
					}
					return err
				})
				others.Wait()
				return course{accepted: last.accepted}
			})
			// The last of the four minutes alone is the one after three.
			if got := median(all, func(c course) float64 { return float64(c.accepted) }); got < 57 {
				t.Errorf("%v calls in the fourth minute alone, want at least 57", got)
			}
		})
	}
}

func TestR3AnotherProgramTakesHalf(t *testing.T) {
	t.Parallel()
	for name, window := range windows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := courses(t, seeds(), window, func(t *testing.T, srv *connictest.Server, d *dice) course {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				var others sync.WaitGroup
				others.Go(func() {
					for pause(ctx, time.Second+d.upTo(2*time.Second)) == nil {
						srv.Spend(1)
					}
				})
				l := saturate(ctx, newClients(srv, 1, withDelay(internet(d))), 50, getProject)
				others.Wait()
				return l.course(srv, 0)
			})
			refused := mean(all, func(c course) float64 { return c.refused })
			accepted := mean(all, func(c course) float64 { return float64(c.accepted) })
			t.Logf("%.1f %% refused, %.0f accepted", 100*refused, accepted)
			if refused > 0.10 || accepted < 240 {
				t.Errorf("%.1f %% refused, %.0f accepted", 100*refused, accepted)
			}
		})
	}
}

// P10: 600 calls by 200 goroutines over a round trip of 100 ms.
func TestP10SixHundredCalls(t *testing.T) {
	t.Parallel()
	hundred := withDelay(func(*http.Request) (there, back time.Duration) { return 50 * time.Millisecond, 50 * time.Millisecond })
	for name, window := range windows {
		for _, k := range []int{1, 4} {
			t.Run(fmt.Sprint(name, "/", k), func(t *testing.T) {
				t.Parallel()
				// With four clients a run varies by one or two windows.
				all := courses(t, map[int]uint64{1: seeds(), 4: 5 * seeds()}[k], window, func(t *testing.T, srv *connictest.Server, _ *dice) course {
					start := time.Now()
					l := &load{perClient: make([]int, k)}
					var wg sync.WaitGroup
					for i, c := range newClients(srv, k, hundred) {
						for range 200 / k {
							wg.Go(func() {
								for range 3 {
									l.count(i, getProject(t.Context(), c))
								}
							})
						}
					}
					wg.Wait()
					if l.accepted != 600 {
						t.Errorf("%d calls failed: %v", 600-l.accepted, l.last)
					}
					return l.course(srv, time.Since(start))
				})
				took := median(all, func(c course) float64 { return c.took.Seconds() })
				refused := mean(all, func(c course) float64 { return 600 * c.refused / (1 - c.refused) })
				t.Logf("median %.0f s, %.0f refusals", took, refused)
				within, most := 546.0, 0.0
				if k == 4 {
					within, most = 556, 100
					if window == connictest.SlidingWindowRejects {
						within = 616 // the refusals cost a window
					}
				}
				if took > within || refused > most {
					t.Errorf("median %.0f s, %.0f refusals; want %.0f s and %.0f", took, refused, within, most)
				}
			})
		}
	}
}

func TestP10AnUnusedQuotaIsThereAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := newFake(connictest.FixedWindow)
		c := srv.Client(withDelay(func(*http.Request) (there, back time.Duration) { return 50 * time.Millisecond, 50 * time.Millisecond }))
		start := time.Now()
		var wg sync.WaitGroup
		for range 60 {
			wg.Go(func() {
				if err := getProject(t.Context(), c); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took > 600*time.Millisecond {
			t.Errorf("60 calls took %v, want at most 0.5 s more than one", took)
		}
	})
}
