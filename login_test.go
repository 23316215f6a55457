package connic_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// loginOptions returns the options for a login to a fake.
func loginOptions(srv *connictest.Server) []connic.Option {
	return []connic.Option{connic.WithBaseURL(srv.URL()), connic.WithHTTPClient(&http.Client{Transport: srv.Transport()})}
}

func TestLoginYieldsWhatNewTakes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		began := time.Now()
		shown := 0
		project, key, err := connic.Login(t.Context(), func(p connic.LoginPrompt) error {
			shown++
			if p.UserCode == "" || !strings.HasPrefix(p.VerificationURL, "https://") || p.ExpiresAt.Sub(began) != 10*time.Minute {
				t.Errorf("the person is shown %+v", p)
			}
			time.AfterFunc(30*time.Second, func() { srv.ApproveLogin(p.UserCode) })
			return nil
		}, append(loginOptions(srv), connic.WithReadOnly())...)
		if err != nil || project != connictest.ProjectID || shown != 1 {
			t.Fatalf("%s, %v, shown %d times", project, err, shown)
		}
		if d := time.Since(began); d < 29*time.Second || d > 40*time.Second {
			t.Errorf("it took %v", d)
		}
		for _, r := range srv.Requests() {
			if _, sent := r.Header["Authorization"]; sent {
				t.Errorf("%s has an Authorization header", r.Path)
			}
		}
		c := must[*connic.Client](t)(connic.New(project, key, loginOptions(srv)...))
		if _, err := c.Project.Get(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestLoginsThatFail(t *testing.T) {
	t.Parallel()
	stop := errors.New("nobody is there")
	for name, test := range map[string]struct {
		show func(srv *connictest.Server, cancel func(), p connic.LoginPrompt) error
		want error
		took time.Duration
	}{
		"denied": {func(srv *connictest.Server, _ func(), p connic.LoginPrompt) error {
			srv.DenyLogin(p.UserCode)
			return nil
		}, connic.ErrLoginDenied, time.Second},
		"expired":   {func(*connictest.Server, func(), connic.LoginPrompt) error { return nil }, connic.ErrLoginExpired, 10 * time.Minute},
		"not shown": {func(*connictest.Server, func(), connic.LoginPrompt) error { return stop }, stop, 0},
		"cancelled": {func(_ *connictest.Server, cancel func(), _ connic.LoginPrompt) error {
			time.AfterFunc(10*time.Second, cancel)
			return nil
		}, context.Canceled, 10 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			srv := connictest.New()
			defer srv.Close()
			srv.RateLimit(1_000_000, time.Minute, connictest.FixedWindow)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			began := time.Now()
			_, key, err := connic.Login(ctx, func(p connic.LoginPrompt) error { return test.show(srv, cancel, p) }, append(loginOptions(srv), connic.WithoutRateLimit())...)
			if d := time.Since(began); !errors.Is(err, test.want) || key != "" || d < test.took || d > test.took+2*time.Second {
				t.Errorf("%s: %v after %v", name, err, d)
			}
		})
	}
	show := func(connic.LoginPrompt) error { return nil }
	var argument *connic.ArgumentError
	if _, _, err := connic.Login(nil, show); !errors.As(err, &argument) { //nolint:staticcheck // that is what is tested
		t.Error(err)
	}
	if _, _, err := connic.Login(t.Context(), nil); !errors.As(err, &argument) {
		t.Error(err)
	}
}

const codes = `{"device_code": "DEVICE-SECRET", "user_code": "AB-CD", "verification_url": "https://connic.test/login", "expires_in": 60, "interval": 5}`

// loginScript responds to the start of a login and then to each poll in turn,
// repeating the last response.
func loginScript(start string, polls ...func(r *http.Request) (*http.Response, error)) (opts []connic.Option, at *[]time.Time) {
	at = new([]time.Time)
	transport := transportFunc(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/start") {
			return response(r, 200, start), nil
		}
		n := min(len(*at), len(polls)-1)
		*at = append(*at, time.Now())
		return polls[n](r)
	})
	return []connic.Option{connic.WithHTTPClient(&http.Client{Transport: transport}), connic.WithoutRateLimit()}, at
}

func answers(status int, body string) func(r *http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) { return response(r, status, body), nil }
}

// TestLoginWaitsOutWhatPasses has every temporary failure before the key
// arrives.
func TestLoginWaitsOutWhatPasses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		opts, at := loginScript(codes, answers(400, `{"error": "authorization_pending"}`),
			func(*http.Request) (*http.Response, error) { return nil, errors.New("the network is down") },
			answers(502, "<html>"), answers(429, `{"detail": "slow down"}`), answers(400, `{"error": "slow_down"}`),
			answers(200, `{"project_id": "p-1", "api_key": "cnc_from-the-login"}`))
		project, key, err := connic.Login(t.Context(), func(connic.LoginPrompt) error { return nil }, opts...)
		if err != nil || project != "p-1" || string(key) != "cnc_from-the-login" || len(*at) != 6 {
			t.Fatalf("%s, %v after %d polls", project, err, len(*at))
		}
		for i, want := range []int{5, 5, 5, 7, 9} {
			// After a 429 the limiter may add a little.
			if got := (*at)[i+1].Sub((*at)[i]); got < time.Duration(want)*time.Second || got > time.Duration(want+1)*time.Second {
				t.Errorf("the wait before poll %d is %v", i+2, got)
			}
		}
	})
}

// TestLoginUnderHostileAnswers verifies that hostile values are not passed on.
func TestLoginUnderHostileAnswers(t *testing.T) {
	t.Parallel()
	page := func(url string) string { return strings.Replace(codes, "https://connic.test/login", url, 1) }
	for name, test := range map[string]struct {
		start, poll string
		status      int
		says        string
	}{
		"a script for a page":    {start: page("javascript:alert(1)"), says: "no https page"},
		"a file for a page":      {start: page("file:///etc/passwd"), says: "no https page"},
		"plain http":             {start: page("http://evil.test/"), says: "no https page"},
		"a page with a user":     {start: page("https://connic.co@evil.test/"), says: "no https page"},
		"control characters":     {start: page(`https://connic.test/\u001b[2J`), says: "no https page"},
		"a code of two lines":    {start: strings.Replace(codes, "AB-CD", `AB\nrm -rf /`, 1), says: "no code"},
		"nothing":                {start: `{}`, says: "cannot be decoded"},
		"no code":                {start: `{"interval": 5}`, says: "no code"},
		"no key":                 {start: codes, status: 200, poll: `{"project_id": "p-1"}`, says: "no project id and key"},
		"a key that is none":     {start: codes, status: 200, poll: `{"project_id": "p-1", "api_key": "hunter2\nSECRET"}`, says: "no project id and key"},
		"a project that is none": {start: codes, status: 200, poll: `{"project_id": "../other", "api_key": "cnc_SECRET-1234"}`, says: "no project id and key"},
		"a code that comes back": {start: codes, status: 400, poll: `{"error": "invalid", "detail": "unknown code DEVICE-SECRET"}`, says: "unknown code [secret]"},
		"expired":                {start: codes, status: 400, poll: `{"error": "expired_token"}`, says: "expired"},
		"another status":         {start: codes, status: 403, poll: `{"error": "authorization_pending"}`, says: "403"},
	} {
		synctest.Test(t, func(t *testing.T) {
			opts, _ := loginScript(test.start, answers(test.status, test.poll))
			_, key, err := connic.Login(t.Context(), func(connic.LoginPrompt) error { return nil }, opts...)
			if text := fmt.Sprintf("%v %+v", err, err); err == nil || key != "" || !strings.Contains(text, test.says) || strings.Contains(text, "SECRET") {
				t.Errorf("%s: %v", name, err)
			}
			var answer *connic.Error
			if errors.As(err, &answer) && strings.Contains(string(answer.Body), "SECRET") {
				t.Errorf("%s: the body has the device code: %s", name, answer.Body)
			}
		})
	}
	// An invalid interval and expiry.
	synctest.Test(t, func(t *testing.T) {
		opts, at := loginScript(`{"device_code": "d-12345678", "user_code": "u", "verification_url": "https://x.test", "expires_in": 1e300, "interval": -5}`,
			answers(400, `{"error": "authorization_pending"}`))
		_, _, err := connic.Login(t.Context(), func(connic.LoginPrompt) error { return nil }, opts...)
		if !errors.Is(err, connic.ErrLoginExpired) || len(*at) < 700 || len(*at) > 720 {
			t.Errorf("%v after %d polls", err, len(*at))
		}
	})
}

func TestLoginOfAnOldService(t *testing.T) {
	t.Parallel()
	transport := transportFunc(func(r *http.Request) (*http.Response, error) { return response(r, 404, `{"detail": "Not Found"}`), nil })
	_, _, err := connic.Login(t.Context(), func(connic.LoginPrompt) error { return nil }, connic.WithHTTPClient(&http.Client{Transport: transport}))
	if !errors.Is(err, connic.ErrNotFound) || !strings.Contains(err.Error(), "API Keys & MCP Auth") {
		t.Error(err)
	}
}

func TestLoginGoesWhereARouteSays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var paths []string
		transport := transportFunc(func(r *http.Request) (*http.Response, error) {
			if paths = append(paths, r.Method+" "+r.URL.Path); len(paths) == 1 {
				return response(r, 200, codes), nil
			}
			return response(r, 200, `{"project_id": "p", "api_key": "cnc_1234567890"}`), nil
		})
		_, _, err := connic.Login(t.Context(), func(connic.LoginPrompt) error { return nil }, connic.WithHTTPClient(&http.Client{Transport: transport}),
			connic.WithRoute("login.start", "/device/code"), connic.WithRoute("login.token", "/device/token"))
		if got := strings.Join(paths, ", "); err != nil || got != "POST /v1/device/code, POST /v1/device/token" {
			t.Errorf("%s: %v", got, err)
		}
	})
}

// TestLoginHidesTheDeviceCode has the service repeat the code that leads to the
// key, in the response and in its headers.
func TestLoginHidesTheDeviceCode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		opts, _ := loginScript(codes, func(r *http.Request) (*http.Response, error) {
			resp := response(r, 400, `{"error": "authorization_pending", "detail": "wait for DEVICE-SECRET", "message": "device%2Dsecret"}`)
			resp.Header.Set("X-Request-Id", "DEVICE-SECRET")
			return resp, nil
		}, func(*http.Request) (*http.Response, error) { return nil, errors.New("cannot send device-secret") },
			answers(403, `{"detail": "REVWSUNFLVNFQ1JFVA=="}`)) // in base64
		var seen strings.Builder
		opts = append(opts, connic.WithLogger(slog.New(slog.NewJSONHandler(&seen, &slog.HandlerOptions{Level: slog.LevelDebug}))),
			connic.WithObserver(func(_ context.Context, e connic.Event) { fmt.Fprintf(&seen, "%+v %v\n", e, e.Err) }))
		_, _, err := connic.Login(t.Context(), func(connic.LoginPrompt) error { return nil }, opts...)
		fmt.Fprintf(&seen, "%v %+v %#v", err, err, err)
		if text := strings.ToLower(seen.String()); strings.Contains(text, "device-secret") || strings.Contains(text, "device%2dsecret") ||
			strings.Contains(text, "revwsunf") || !strings.Contains(text, "wait for [secret]") || !errors.Is(err, connic.ErrForbidden) {
			t.Errorf("%v; seen:\n%s", err, seen.String())
		}
	})
}
