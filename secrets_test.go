package connic_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/api/coverage/source"
	"github.com/connic-go/connic/internal/leaktest"
)

// keySearch finds the key of the tests.
var keySearch = leaktest.For(string(canary))

// reporting makes a client write everything it reports to r.
func reporting(r *leaktest.Record) []connic.Option {
	return []connic.Option{
		connic.WithLogger(r.Loggers()[0]), connic.WithRetry(connic.RetryPolicy{MaxRefusals: 10}), connic.WithEnvironment("e-1"), connic.WithApplication("secrets", "1"),
		connic.WithObserver(func(_ context.Context, e connic.Event) { r.Print(e, e.Err) }),
	}
}

// echo is the response of a service that repeats the key.
type echo func(key string) (status int, header http.Header, body string, err error)

func says(status int, header http.Header, body string) echo {
	return func(key string) (int, http.Header, string, error) {
		shown := make(http.Header)
		for name, values := range header {
			shown.Set(name, strings.ReplaceAll(values[0], "KEY", key))
		}
		return status, shown, strings.ReplaceAll(body, "KEY", key), nil
	}
}

var echoes = map[string]echo{
	"detail":            says(401, nil, `{"detail": "the key KEY is unknown"}`),
	"detail, quoted":    says(403, nil, `{"detail": "no \"KEY\" and no 'KEY'"}`),
	"detail as a list":  says(422, nil, `{"detail": [{"loc": ["header", "KEY"], "msg": "Bearer KEY is bad", "type": "KEY", "input": "KEY"}]}`),
	"detail, an object": says(400, nil, `{"detail": {"key": "KEY", "KEY": {"deep": ["KEY"]}}}`),
	"HTML":              says(502, nil, `<html><title>KEY</title>Authorization: Bearer KEY</html>`),
	"headers":           says(404, http.Header{"X-Request-Id": {"KEY"}, "Retry-After": {"KEY"}, "Date": {"KEY"}}, `{"detail": "x"}`),
	"a refusal":         says(429, http.Header{"X-Request-Id": {"KEY"}}, `{"detail": "KEY"}`),
	"a redirect":        says(307, http.Header{"Location": {"https://user:KEY@evil.example/KEY?key=KEY#KEY"}}, "KEY"),
	"a bad redirect":    says(302, http.Header{"Location": {"https://%zz/KEY"}}, ""),
	"no JSON":           says(200, http.Header{"X-Request-Id": {"KEY"}}, "KEY"),
	"a wrong type":      says(200, http.Header{"X-Request-Id": {"KEY"}}, `{"id": {"x": "x"}, "items": "KEY", "rows": "KEY", "results": 5, "created_at": "KEY"}`),
	"a wrong item":      says(200, nil, `[{"id": "x", "created_at": "KEY", "cost": "KEY", "amount": "KEY", "score": "KEY", "chunk_count": "KEY"}]`),
	"a state":           says(200, nil, `{"id": "x", "run_id": "x", "job_id": "x", "entry_id": "x", "status": "x", "error": "KEY is bad"}`),
	"a state, keyed":    says(200, nil, `{"id": "x", "run_id": "x", "job_id": "x", "entry_id": "KEY", "agent_name": "KEY", "status": "KEY", "phase": "KEY", "output": "KEY"}`),
	"a pending state":   says(200, nil, `{"id": "x", "run_id": "x", "job_id": "x", "status": "running", "phase": "KEY", "output": "KEY", "name": "KEY"}`),
}

// shown makes one call of every method with a given response, and returns what
// the calls reveal: errors, events and logs.
func shown(t *testing.T, answer echo, opts ...connic.Option) map[string]*leaktest.Record {
	t.Helper()
	records := make(map[string]*leaktest.Record)
	for _, m := range methods(t) {
		r := new(leaktest.Record)
		records[m.String()] = r
		answered(t, answer, m, slices.Concat(reporting(r), opts), func(c *connic.Client, err error) { r.Print(err, c, c.RateLimit()) })
	}
	return records
}

// answered calls a method of a client whose service gives such an answer.
func answered(t *testing.T, answer echo, m source.Method, opts []connic.Option, then func(*connic.Client, error)) {
	t.Helper()
	call := callOf(t, m)
	synctest.Test(t, func(t *testing.T) {
		transport := transportFunc(func(r *http.Request) (*http.Response, error) {
			if r.Body != nil {
				_, _ = io.Copy(io.Discard, r.Body)
				_ = r.Body.Close()
			}
			status, header, body, err := answer(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
			if err != nil {
				return nil, err
			}
			return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
		})
		c := must[*connic.Client](t)(connic.New("p-1", canary, slices.Concat(opts, []connic.Option{
			connic.WithHTTPClient(&http.Client{Transport: transport}),
		})...))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // some wait for what never comes
		defer cancel()
		then(c, call(ctx, c))
	})
}

func TestS1TheKeyShowsNowhere(t *testing.T) {
	t.Parallel()
	if raceDetector {
		t.Skip("it searches texts on one goroutine at a time: the detector has nothing to see, and makes it ten times slower")
	}
	for name, answer := range echoes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for method, r := range shown(t, answer) {
				if len(r.String()) < 100 {
					t.Errorf("%s shows nothing", method)
				}
				if where := keySearch.In(r.String()); where != "" {
					t.Errorf("%s shows the key: %s", method, where)
				}
			}
		})
	}
}

// What a transport or key source of the user puts into an error stays in that
// error, but the client's own texts and events do not repeat it.
func TestS1TheKeyInErrorsOfOthers(t *testing.T) {
	t.Parallel()
	bad := errors.New("proxy http://user:" + string(canary) + "@localhost refused")
	failing := func(string) (int, http.Header, string, error) { return 0, nil, "", bad }
	source := connic.WithKeySource(connic.KeySourceFunc(func(context.Context) (connic.APIKey, error) { return "", bad }))
	wrong := connic.WithKeySource(connic.KeySourceFunc(func(context.Context) (connic.APIKey, error) {
		return "x" + canary, nil
	}))
	for name, opts := range map[string][]connic.Option{"transport": nil, "key source": {source}, "a key that is none": {wrong}} {
		var r leaktest.Record
		synctest.Test(t, func(t *testing.T) {
			transport := transportFunc(func(*http.Request) (*http.Response, error) { _, _, _, err := failing(""); return nil, err })
			c := must[*connic.Client](t)(connic.New("p-1", canary, append(opts,
				connic.WithHTTPClient(&http.Client{Transport: transport}), connic.WithLogger(r.Loggers()[1]))...))
			_, err := c.Runs.Get(t.Context(), "r1")
			r.Print(err)
			_, err = c.Agents.Trigger(t.Context(), "a", connic.TriggerRequest{Message: "x"})
			r.Print(err)
			if name != "a key that is none" && !errors.Is(err, bad) {
				t.Errorf("%s: the cause is lost: %v", name, err)
			}
		})
		if where := keySearch.In(r.String()); where != "" {
			t.Errorf("%s: the key shows: %s", name, where)
		}
	}
}

func TestS1TheKeyInACapturedResponse(t *testing.T) {
	t.Parallel()
	c := scripted(t, func() string { return `{"id": "r1"}` })
	var captured connic.Response
	must[*connic.Run](t)(c.Runs.Get(t.Context(), "r1", connic.CaptureResponse(&captured)))
	var r leaktest.Record
	r.Print(captured, &captured)
	if where := keySearch.In(r.String()); where != "" || captured.StatusCode != 200 {
		t.Errorf("it shows the key: %s", where)
	}
}

// hostile holds responses that no one sends by mistake.
var hostile = map[string]string{
	"null": `null`, "array": `[]`, "object": `{}`, "number": `0`, "text": `"x"`, "true": `true`,
	"null in a list": `[null]`, "null item": `{"items": [null], "total": 1}`, "items an object": `{"items": {}}`, "lists in lists": `[[[]]]`,
	"deep":      strings.Repeat(`{"items": [`, 20_000) + strings.Repeat(`]}`, 20_000),
	"deeper":    strings.Repeat(`[`, 100_000),
	"huge":      `{"id": 1e400, "total": 1e99, "limit": -9223372036854775809, "offset": 99999999999999999999, "items": [{"id": 1e999}]}`,
	"not UTF-8": "{\"id\": \"\xff\xfe\", \"items\": [{\"id\": \"\xff\"}]}",
	"twice":     `{"id": "a", "id": {"b": 1}, "items": [], "items": [{"id": "x"}], "status": "queued", "status": 5}`,
	"NUL":       "{\"id\": \"\\u0000\", \"items\": [{\"id\": \"\\u0000\", \"status\": \"\\ud800\"}]}",
	"a cursor":  `{"items": [], "next_cursor": "c"}`, "more of nothing": `{"items": [], "has_more": true, "total": 9}`,
	"all null": `{"id": null, "items": null, "status": null, "cost": null, "traces": [null], "criteria": [null], "cases": [null], "agents": [null]}`,
}

// TestS10NoAnswerMakesTheClientPanic also verifies that no response makes the
// client loop without a pause: the time of such a call would stand still.
func TestS10NoAnswerMakesTheClientPanic(t *testing.T) {
	t.Parallel()
	if raceDetector {
		t.Skip("it searches texts on one goroutine at a time: the detector has nothing to see, and makes it ten times slower")
	}
	for name, body := range hostile {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shown(t, says(200, nil, body), connic.WithLimiter(open{}))
		})
	}
}

func TestS10NoArgumentMakesTheClientPanic(t *testing.T) {
	t.Parallel()
	var nowhere context.Context
	for _, m := range methods(t) {
		c := scripted(t, func() string { return `{}` })
		var argument *connic.ArgumentError
		if err := callOf(t, m)(nowhere, c); !errors.As(err, &argument) {
			t.Errorf("%s without a context: %v", m, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := callOf(t, m)(ctx, c); err == nil {
			t.Errorf("%s succeeds on a closed client", m)
		}
	}
}

// quietChild is set in the process that must not print anything.
const quietChild = "CONNIC_TEST_QUIET_CHILD"

func TestS10TheClientIsQuiet(t *testing.T) {
	t.Parallel()
	if os.Getenv(quietChild) != "" {
		// No logger and no observer: what reports without being asked to is heard.
		bounded := []connic.Option{connic.WithRetry(connic.RetryPolicy{MaxRefusals: 10}), connic.WithEnvironment("e-1")}
		failed := 0
		for _, name := range slices.Sorted(maps.Keys(echoes)) {
			for _, m := range methods(t) {
				answered(t, echoes[name], m, bounded, func(_ *connic.Client, err error) {
					if err != nil {
						failed++
					}
				})
			}
		}
		if failed < len(echoes)*len(methods(t))/2 {
			t.Errorf("only %d calls failed", failed)
		}
		return
	}
	cmd := exec.CommandContext(t.Context(), must[string](t)(os.Executable()), "-test.run=^TestS10TheClientIsQuiet$")
	cmd.Env = append(os.Environ(), quietChild+"=1")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("%v: %s", err, stdout.String())
	}
	for line := range strings.Lines(stdout.String()) {
		if line != "PASS\n" && !strings.HasPrefix(line, "coverage: ") {
			t.Errorf("it says %q", line)
		}
	}
	if stderr.Len() > 0 {
		t.Errorf("it complains: %s", stderr.String())
	}
}
