package connic_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
)

// auditService answers with a log that grows by the clock: an entry a minute, and
// one that appears a minute late. It fails now and then.
type auditService struct {
	start    time.Time
	requests int
	filters  bool
}

func (s *auditService) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.requests++; s.requests%5 == 0 {
		return respondWith(r, http.StatusServiceUnavailable, ""), nil
	}
	now := time.Now()
	from := time.Time{}
	if text := r.URL.Query().Get("from"); text != "" && s.filters {
		var err error
		if from, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return respondWith(r, http.StatusUnprocessableEntity, ""), nil
		}
	}
	var entries []string
	for i := 0; ; i++ {
		at := s.start.Add(time.Duration(i-5) * time.Minute)
		appears := at
		if i%7 == 0 {
			appears = at.Add(time.Minute)
		}
		if at.After(now) {
			break
		}
		if !appears.After(now) && !at.Before(from) {
			entries = append(entries, fmt.Sprintf(`{"id":"a%d","action":"x","timestamp":%q}`, i, at.Format(time.RFC3339)))
		}
	}
	slices.Reverse(entries)
	return respondWith(r, http.StatusOK, "["+strings.Join(entries, ",")+"]"), nil
}

func respondWith(r *http.Request, status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}
}

func TestFollowYieldsEachEntryOnce(t *testing.T) {
	t.Parallel()
	for _, filters := range []bool{true, false} {
		for name, since := range map[string]time.Duration{"from now on": 0, "from before": -3 * time.Minute} {
			t.Run(fmt.Sprint(name, ", filters ", filters), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					service := &auditService{start: time.Now(), filters: filters}
					client := must[*connic.Client](t)(connic.New("p", "cnc_audit_test_key", connic.WithHTTPClient(&http.Client{Transport: service})))
					ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute+30*time.Second)
					defer cancel()
					var params *connic.AuditLogListParams
					if since != 0 {
						params = &connic.AuditLogListParams{From: time.Now().Add(since)}
					}
					var got []string
					var last error
					for e, err := range client.AuditLogs.Follow(ctx, params) {
						if err != nil {
							last = err
							continue
						}
						got = append(got, e.ID)
					}
					if !errors.Is(last, context.DeadlineExceeded) {
						t.Errorf("it ended with %v", last)
					}
					sorted := slices.Clone(got)
					slices.Sort(sorted)
					if len(slices.Compact(sorted)) != len(got) {
						t.Errorf("some came twice: %v", got)
					}
					missing := 0
					for i := range 35 { // a0 to a34 have appeared by then
						old := i <= 5 // there before it began
						if since != 0 {
							old = i < 2
						}
						if has := slices.Contains(got, fmt.Sprintf("a%d", i)); has == old && (i%7 != 0) {
							t.Errorf("a%d: yielded %v", i, has)
						} else if !has && !old {
							missing++
						}
					}
					if missing > 0 {
						t.Errorf("%d entries are missing: %v", missing, got)
					}
					if service.requests > 180 {
						t.Errorf("%d requests in half an hour", service.requests)
					}
				})
			})
		}
	}
}

func TestFollowEndsWhereNothingHelps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		status := 0
		client := must[*connic.Client](t)(connic.New("p", "cnc_audit_test_key", connic.WithHTTPClient(&http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			return respondWith(r, status, `{"detail":"no"}`), nil
		})})))
		start := time.Now()
		for code, sentinel := range map[int]error{
			http.StatusForbidden: connic.ErrForbidden, http.StatusNotFound: connic.ErrNotFound, http.StatusUnprocessableEntity: connic.ErrInvalid,
			http.StatusBadRequest: nil, http.StatusMethodNotAllowed: nil,
		} {
			status = code
			pairs := 0
			for _, err := range client.AuditLogs.Follow(t.Context(), nil) {
				var answer *connic.Error
				if pairs++; !errors.As(err, &answer) || answer.StatusCode != code || sentinel != nil && !errors.Is(err, sentinel) {
					t.Errorf("it yields %v", err)
				}
			}
			if pairs != 1 {
				t.Errorf("%d: %d pairs", code, pairs)
			}
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("%d: it ends after %v", code, took)
			}
			start = time.Now()
		}
		// What stands in for the service for a while ends nothing, and a number of
		// failures does if it is to.
		requests := 0
		client = must[*connic.Client](t)(connic.New("p", "cnc_audit_test_key", connic.WithRetry(connic.RetryPolicy{MaxAttempts: 1}), connic.WithHTTPClient(&http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			switch requests++; {
			case requests == 2 || requests == 3:
				return respondWith(r, http.StatusBadRequest, ""), nil
			case requests > 5:
				return respondWith(r, http.StatusServiceUnavailable, ""), nil
			}
			return respondWith(r, http.StatusOK, "[]"), nil
		})})))
		for _, err := range client.AuditLogs.Follow(t.Context(), nil, connic.WithPollFailures(3)) {
			if !errors.Is(err, connic.ErrServer) || requests != 8 {
				t.Errorf("it ends with %v after %d requests", err, requests)
			}
		}
	})
}
