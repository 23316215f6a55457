package connic_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/api"
)

// calling is a transport of the user's that makes a call of its own with the
// context of each request.
type calling struct {
	base *http.Transport
	to   string
	when string
}

func (c calling) call(ctx context.Context) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.to, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := c.base.RoundTrip(r)
	if err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	return resp, err
}

func (c calling) RoundTrip(r *http.Request) (*http.Response, error) {
	switch c.when {
	case "before":
		_, _ = c.call(r.Context())
	case "after":
		defer func() { _, _ = c.call(r.Context()) }()
	case "instead":
		if r.Body != nil {
			_ = r.Body.Close()
		}
		_, err := c.call(r.Context())
		return nil, errors.Join(errors.New("not sent"), err)
	}
	return c.base.RoundTrip(r)
}

// F6: a transport that makes a call of its own changes neither how often a request
// is executed nor whether that is known, over HTTP/1.1 and HTTP/2.
func TestF6TransportsWithCallsOfTheirOwn(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2"} {
		for _, fault := range []string{"none", "503", "reset", "no connection"} {
			for _, op := range operations(t) {
				if op.Class != api.Unsafe {
					continue
				}
				for _, when := range []string{"before", "after", "instead"} {
					for _, own := range []string{"answered", "no connection"} {
						t.Run(protocol+"/"+fault+"/"+op.Name+"/"+when+"/"+own, func(t *testing.T) {
							t.Parallel()
							ownCalls(t, protocol, fault, op, when, own)
						})
					}
				}
			}
		}
	}
}

func ownCalls(t *testing.T, protocol, fault string, op operation, when, own string) {
	t.Helper()
	var executed atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/own" {
			return
		}
		if r.Method == http.MethodGet { // to find out about a decision
			_, _ = io.WriteString(w, golden)
			return
		}
		executed.Add(1)
		switch fault {
		case "503":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "reset":
			panic(http.ErrAbortHandler)
		default:
			_, _ = io.WriteString(w, golden)
		}
	}))
	srv.EnableHTTP2 = protocol == "HTTP/2"
	srv.StartTLS()
	defer srv.Close()
	base := srv.Client().Transport.(*http.Transport) //nolint:forcetypeassert // as httptest has it
	const nowhere = "https://127.0.0.1:1"
	transport, at := calling{base, srv.URL + "/own", when}, srv.URL
	if own == "no connection" {
		transport.to = nowhere
	}
	if fault == "no connection" {
		at = nowhere
	}
	c := must[*connic.Client](t)(connic.New("p", canary, connic.WithBaseURL(at), connic.WithEnvironment("e1"), connic.WithLimiter(open{}), quick,
		connic.WithHTTPClient(&http.Client{Transport: transport})))
	err := op.call(t.Context(), c)
	want := int64(1)
	if fault == "no connection" || when == "instead" {
		want = 0
	}
	if got := executed.Load(); got != want {
		t.Errorf("it was executed %d times: %v", got, err)
	}
	unknown := errors.Is(err, connic.ErrOutcomeUnknown)
	if (err == nil) != (want == 1 && fault == "none") || want == 1 && err != nil && !unknown {
		t.Errorf("%v", err)
	}
	if none := fault == "no connection" || when == "instead"; none && own == "no connection" && unknown {
		t.Errorf("nothing was sent: %v", err)
	}
}
