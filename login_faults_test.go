package connic_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/leaktest"
)

// loginAnswer is a response to both requests of a login.
const loginAnswer = `{"device_code": "DEVICE-9f8e7d6c5b4a", "user_code": "AB-CD", "verification_url": "https://connic.test/login", "expires_in": 60,
	"interval": 1, "project_id": "p-1", "api_key": "cnc_from-the-login"}`

// F6: logins meet the faults of the matrix, in their first requests and in their
// polls. None ends with an unknown outcome: a login that was lost costs nothing.
func TestF6Logins(t *testing.T) {
	t.Parallel()
	search := leaktest.For("DEVICE-9f8e7d6c5b4a", "from-the-login")
	for i := range wireFaults {
		for _, first := range []bool{true, false} {
			for _, times := range []int64{1, 2, 1000} {
				if raceDetector && times == 2 {
					continue
				}
				synctest.Test(t, func(t *testing.T) {
					fault := &wireFaults[i]
					start := &matrixCase{fault: fault, times: times, golden: loginAnswer}
					polls := &matrixCase{fault: &wireFault{}, times: times, golden: loginAnswer}
					if !first {
						start.fault, polls.fault = polls.fault, start.fault
					}
					var phase atomic.Pointer[matrixCase]
					phase.Store(start)
					var wg sync.WaitGroup
					transport := &http.Transport{DisableKeepAlives: true, DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
						m := phase.Load()
						if n := m.dials.Add(1); m.fault.dial != nil && n <= times {
							return nil, m.fault.dial
						}
						near, far := net.Pipe()
						wg.Go(func() {
							defer far.Close()
							m.serve(far)
						})
						return near, nil
					}}
					var r leaktest.Record
					_, key, err := connic.Login(t.Context(), func(connic.LoginPrompt) error {
						phase.Store(polls)
						return nil
					}, connic.WithHTTPClient(&http.Client{Transport: transport}), connic.WithLimiter(open{}), quick, connic.WithTimeout(5*time.Second),
						connic.WithObserver(func(_ context.Context, e connic.Event) { r.Print(e, e.Err) }))
					r.Print(err)
					r.Reach(err)
					wg.Wait()
					if where := search.In(r.String()); where != "" {
						t.Errorf("%s: %.300s", fault.name, where)
					}
					passes := fault.safe == survives && times <= 2
					if errors.Is(err, connic.ErrOutcomeUnknown) || (err == nil) != (key == "cnc_from-the-login") || first && (err == nil) != passes || times > 2 && err == nil {
						t.Errorf("%s, first %v, %d times: %v", fault.name, first, times, err)
					}
				})
			}
		}
	}
}
