package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// dated is a transport whose answers carry a date, and more headers.
type dated struct {
	next   http.RoundTripper
	off    time.Duration
	header http.Header
}

func (d dated) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := d.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	response.Header.Set("Date", time.Now().Add(d.off).UTC().Format(http.TimeFormat))
	maps.Copy(response.Header, d.header)
	return response, nil
}

func TestCheck(t *testing.T) {
	t.Parallel()
	const key = connic.APIKey("cnc_no_such_key_0123456789")
	for name, test := range map[string]struct {
		arrange func(s *connictest.Server) connic.APIKey
		wire    func(next http.RoundTripper) http.RoundTripper
		want    map[string]string // a part of the line, after its verdict
		ok      bool
		cost    int
	}{
		"all is well": {
			want: map[string]string{
				"key": "ok Is valid", "project": "ok connictest (" + connictest.ProjectID, "environments": "ok production (default), test (test)",
				"agents read": "ok", "audit-logs read": "ok", "knowledge read": "ok", "writing": "note What the key may write is not known",
				"quota": "ok At most 51 of 60 requests are left", "clock": "ok It is off by", "latency": "ok", "base URL": "ok http://localhost/v1",
			},
			ok: true, cost: CheckRequests,
		},
		"a key that may little": {
			arrange: func(s *connictest.Server) connic.APIKey { return s.Key("runs:read") },
			want: map[string]string{
				"runs read": "ok", "agents read": "warning The key may not", "budgets read": "warning The key may not",
			},
			ok: true, cost: CheckRequests,
		},
		"a key that is not known": {
			arrange: func(*connictest.Server) connic.APIKey { return key },
			want:    map[string]string{"key": "failed The service does not know the key"},
			cost:    1,
		},
		"the quota is spent": {
			arrange: func(s *connictest.Server) connic.APIKey { s.Spend(57); return s.Key() },
			want:    map[string]string{"quota": "warning It was spent", "latency": "ok"},
			ok:      true, cost: CheckRequests,
		},
		"the clock is wrong": {
			wire: func(next http.RoundTripper) http.RoundTripper { return dated{next, -7 * time.Minute, nil} },
			want: map[string]string{"clock": "failed It is off by 7m0s"},
			cost: CheckRequests,
		},
		"the service says what is left": {
			wire: func(next http.RoundTripper) http.RoundTripper {
				return dated{next, 0, http.Header{"X-Ratelimit-Remaining": {"41"}}}
			},
			want: map[string]string{"quota": "ok The service says: X-Ratelimit-Remaining: 41"},
			ok:   true, cost: CheckRequests,
		},
		"the service is broken": {
			arrange: func(s *connictest.Server) connic.APIKey {
				s.Fault(connictest.Fault{Status: http.StatusBadGateway})
				return s.Key()
			},
			want: map[string]string{"service": "failed It is unreachable, or does not respond as expected"},
			cost: 1,
		},
		"a list is broken": {
			arrange: func(s *connictest.Server) connic.APIKey {
				s.Fault(connictest.Fault{Op: "budgets.list", Status: http.StatusServiceUnavailable})
				return s.Key()
			},
			want: map[string]string{"budgets read": "failed Not known: 503 Service Unavailable", "audit-logs read": "ok"},
			cost: CheckRequests,
		},
		"there is no network": {
			wire: func(http.RoundTripper) http.RoundTripper { return unreachable{} },
			want: map[string]string{"service": "failed It is unreachable"},
			cost: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv := connictest.New()
				defer srv.Close()
				use := srv.Key()
				if test.arrange != nil {
					use = test.arrange(srv)
				}
				wire := http.RoundTripper(dated{srv.Transport(), 0, nil})
				if test.wire != nil {
					wire = test.wire(srv.Transport())
				}
				c := srv.ClientWithKey(use, connic.WithHTTPClient(&http.Client{Transport: wire}), connic.WithReadOnly(),
					connic.WithRetry(connic.RetryPolicy{MaxAttempts: 1}))
				checkup, err := Check(t.Context(), c, srv.URL())
				check(t, err)
				lines := make(map[string]string)
				for _, l := range checkup.Lines {
					lines[l.Name] = string(l.Verdict) + " " + l.Text
				}
				for name, want := range test.want {
					if !strings.HasPrefix(lines[name], want) {
						t.Errorf("%s: %s, want %s", name, lines[name], want)
					}
				}
				if checkup.OK() != test.ok || checkup.Requests != test.cost {
					t.Errorf("ok is %v, and it cost %d requests, want %d: %v", checkup.OK(), checkup.Requests, test.cost, lines)
				}
				for _, r := range srv.Requests() {
					if r.Method != http.MethodGet {
						t.Errorf("%s %s was sent", r.Method, r.Path)
					}
				}
				var table, encoded bytes.Buffer
				check(t, checkup.WriteTable(&table))
				check(t, checkup.WriteJSON(&encoded))
				for _, text := range []string{table.String(), encoded.String()} {
					if strings.Contains(text, string(use)) {
						t.Errorf("the key is printed: %s", text)
					}
				}
				var decoded Checkup
				check(t, json.Unmarshal(encoded.Bytes(), &decoded))
				if len(decoded.Lines) != len(checkup.Lines) {
					t.Errorf("the JSON has %d lines, want %d", len(decoded.Lines), len(checkup.Lines))
				}
			})
		})
	}
}

// unreachable is a network that is not there.
type unreachable struct{}

func (unreachable) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("no route to cnc_this_is_a_secret_key")
}

func TestCheckEndsWithItsContext(t *testing.T) {
	t.Parallel()
	srv := connictest.New()
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Check(ctx, srv.Client(), srv.URL()); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}
