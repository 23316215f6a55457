package exchange

import (
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic/internal/api"
)

func TestBackoffIsExponentialWithFullJitter(t *testing.T) {
	t.Parallel()
	p := Policy{MinWait: 500 * time.Millisecond, MaxWait: 20 * time.Second}
	for n, most := range map[int]time.Duration{1: 500 * time.Millisecond, 2: time.Second, 3: 2 * time.Second, 6: 16 * time.Second, 7: 20 * time.Second, 40: 20 * time.Second, 1000: 20 * time.Second} {
		var longest, sum time.Duration
		for range 2000 {
			d := p.backoff(n, rand.Float64())
			if d < 0 || d > most {
				t.Fatalf("wait %d is %v, want up to %v", n, d, most)
			}
			longest = max(longest, d)
			sum += d
		}
		if mean := sum / 2000; longest < most*9/10 || mean < most*4/10 || mean > most*6/10 {
			t.Errorf("wait %d: mean %v, longest %v of %v", n, mean, longest, most)
		}
	}
}

func TestRetryBudgetCountsHalves(t *testing.T) {
	t.Parallel()
	var b budget
	b.init(1)
	for i, step := range []struct {
		refunds int
		want    bool
	}{{0, true}, {0, false}, {1, false}, {1, true}, {9, true}, {0, false}} {
		for range step.refunds {
			b.refund(0) // half a retry for a call that needed none
		}
		if got := b.take(); got != step.want {
			t.Errorf("step %d: a retry is granted: %v, want %v", i, got, step.want)
		}
	}
}

// The retry policy, said again without its table, for everything that it depends on.
func TestDecide(t *testing.T) {
	t.Parallel()
	p := Policy{MinWait: time.Second, MaxWait: 20 * time.Second, MaxRefusals: 3, MaxRetryAfter: 2 * time.Minute}
	bools := []bool{false, true}
	decisions := 0
	for _, class := range []api.Class{api.Safe, api.Idempotent, api.Unsafe} {
		for result := Succeeded; result <= Final; result++ {
			for flags := range 16 {
				for _, asked := range []time.Duration{0, 5 * time.Second, 2 * time.Minute, 2*time.Minute + 1} {
					for _, left := range []time.Duration{-1, 0, 3 * time.Second, time.Hour} {
						for count := int32(1); count <= 5; count++ {
							f := facts{
								class: class, result: result, once: bools[flags&1], failFast: bools[flags>>1&1], redirect: bools[flags>>2&1], stale: bools[flags>>3&1],
								failures: count, refusals: count, maxAttempts: 4, asked: asked, left: left, random: 0.5,
							}
							wait := max(asked, time.Second<<(count-1)/2)
							if f.stale && count == 1 {
								wait = 0
							}
							repeatable := result == Unsent || result == Refused || class != api.Unsafe && (result == Broken || result == Failed)
							var want decision
							switch {
							case !repeatable || f.once || asked > 2*time.Minute:
							case f.redirect:
								want = decision{again: true}
							case result == Refused:
								want = decision{again: !f.failFast && count <= 3, told: max(asked, time.Second)}
							case count < 4:
								want = decision{again: left < 0 || wait <= left, cost: true, wait: wait, told: wait}
							}
							got := p.decide(f)
							if !got.again && !want.again {
								got, want = decision{}, decision{}
							}
							if got != want {
								t.Fatalf("%+v: %+v, want %+v", f, got, want)
							}
							decisions++
						}
					}
				}
			}
		}
	}
	if unlimited := (&Policy{MaxRetryAfter: time.Minute}).decide(facts{result: Refused, refusals: 1 << 20, left: -1}); !unlimited.again {
		t.Error("without MaxRefusals the number of refusals is bounded")
	}
	t.Logf("%d decisions", decisions)
}

// No second request unless the table says retry: for an unsafe one only of what was
// not sent, or refused.
func TestRequestsThatAreRepeated(t *testing.T) {
	t.Parallel()
	for class := api.Safe; class <= api.Unsafe; class++ {
		for name, test := range map[string]struct {
			first  transportFunc
			result Result
		}{
			"success":   {func(*http.Request) (*http.Response, error) { return answer(200, "{}"), nil }, Succeeded},
			"no answer": {func(*http.Request) (*http.Response, error) { return nil, io.EOF }, Broken},
			"cut":       {func(*http.Request) (*http.Response, error) { return answer(200, `{"a`), nil }, Broken},
			"refused":   {func(*http.Request) (*http.Response, error) { return answer(429, ""), nil }, Refused},
			"failed":    {func(*http.Request) (*http.Response, error) { return answer(500, ""), nil }, Failed},
			"final":     {func(*http.Request) (*http.Response, error) { return answer(404, ""), nil }, Final},
			"undecoded": {func(*http.Request) (*http.Response, error) { return answer(200, "no"), nil }, Unreadable},
			"dial error": {func(r *http.Request) (*http.Response, error) {
				httptrace.ContextClientTrace(r.Context()).GetConn("api.test:443")
				return nil, io.EOF
			}, Unsent},
		} {
			synctest.Test(t, func(t *testing.T) {
				sent := 0
				e := newEngine(transportFunc(func(r *http.Request) (*http.Response, error) {
					if sent++; sent == 1 {
						return test.first(r)
					}
					return answer(200, "{}"), nil
				}))
				f := newCall(t.Context(), "https://api.test/x", http.MethodPost, class, jsonBody("{}"))
				f.x.Observed = true
				out := e.Run(&f.x, f)
				want := 1
				if retryTable[class][test.result] == retry {
					want = 2
				}
				if sent != want || out.Attempts != want || f.events[0].Outcome.Result != test.result || out.Unknown != (retryTable[class][test.result] == stopUnknown) {
					t.Errorf("%v, %s: %d requests, %+v, first %+v", class, name, sent, out, f.events[0].Outcome)
				}
			})
		}
	}
}

func TestBackoffDoesNotOverflow(t *testing.T) {
	t.Parallel()
	for _, least := range []time.Duration{time.Second, 20 * time.Second, time.Minute, 10 * time.Minute} {
		p := Policy{MinWait: least, MaxWait: time.Hour}
		for n := 13; n < 80; n++ {
			if wait := p.backoff(n, 1); wait != time.Hour {
				t.Errorf("from %v: retry %d waits %v", least, n, wait)
			}
		}
	}
}
