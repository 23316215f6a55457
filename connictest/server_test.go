package connictest_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// send sends a request as it is, without a client in between.
func send(t *testing.T, srv *connictest.Server, method, path, key, body string) (int, string, http.Header) {
	t.Helper()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, srv.URL()+"/projects/"+connictest.ProjectID+path, content)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := srv.Transport().RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

func echo(_ context.Context, in connictest.Input) (any, error) { return in.Message, nil }

func TestKeysAndPermissions(t *testing.T) {
	t.Parallel()
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("echo", echo)
	reader, all, full := string(srv.Key("runs:read")), string(srv.Key("*:read")), string(srv.Key())
	gone := srv.Key()
	srv.RevokeKey(gone)
	for _, test := range []struct {
		method, path, key, body string
		status                  int
		detail                  string
	}{
		{"GET", "/runs", "", "", 401, "Missing API key"},
		{"GET", "/runs", "cnc_unknown", "", 401, "Invalid API key"},
		{"GET", "/runs", string(gone), "", 401, "Invalid API key"},
		{"GET", "/runs", reader, "", 200, ""},
		{"GET", "/runs", all, "", 200, ""},
		{"GET", "/agents", reader, "", 403, "Key lacks permission"},
		{"GET", "/agents", all, "", 200, ""},
		{"POST", "/agents/echo/trigger", all, `{"message": "x"}`, 403, "Key lacks permission"},
		{"POST", "/agents/echo/trigger", full, `{"message": "x"}`, 200, ""},
		{"GET", "/environments", reader, "", 200, ""},
	} {
		status, body, _ := send(t, srv, test.method, test.path, test.key, test.body)
		if status != test.status || !strings.Contains(body, test.detail) {
			t.Errorf("%s %s: %d %s, want %d %s", test.method, test.path, status, body, test.status, test.detail)
		}
	}
}

func TestStrictness(t *testing.T) {
	t.Parallel()
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("echo", echo)
	key := string(srv.Key())
	for _, test := range []struct {
		method, path, body string
		status             int
		detail             string
	}{
		{"GET", "/nothing", "", 403, "not part of the public API: GET"},
		{"PUT", "/runs/r1", "", 403, "not part of the public API: PUT"},
		{"GET", "/runs?colour=red", "", 422, "Unknown parameter; expected one of agent_name, status"},
		{"GET", "/agents/echo?limit=1", "", 422, "Unknown parameter; expected one of environment_id"},
		{"GET", "/runs?limit=many", "", 422, "integer"},
		{"GET", "/runs?limit=0", "", 422, "integer"},
		{"GET", "/runs?limit=1000", "", 422, "integer"},
		{"GET", "/runs?offset=-1", "", 422, "integer"},
		{"GET", "/runs?status=sleeping", "", 422, "run status"},
		{"GET", "/runs?created_after=now", "", 422, "datetime"},
		{"GET", "/runs/none", "", 404, "Run not found"},
		{"POST", "/agents/none/trigger", `{"message": "x"}`, 404, "Agent not found"},
		{"POST", "/agents/echo/trigger", "", 422, "Field required"},
		{"POST", "/agents/echo/trigger", `{"message": 5}`, 422, "valid string"},
		{"POST", "/agents/echo/trigger", `{"message": null}`, 422, "should not be null"},
		{"POST", "/agents/echo/trigger", `{"message": "x", "files": null}`, 422, "should not be null"},
		{"POST", "/agents/echo/trigger", `{"message": "x", "files": [null]}`, 422, "Each file needs"},
		{"POST", "/agents/echo/trigger", `{"message": "x", "files": [{"name": "a", "mime_type": "b", "data": "%"}]}`, 422, "base64"},
		{"POST", "/agents/echo/trigger", `{"message": "x", "files": [{"name": "a", "mime_type": "b", "data": [1]}]}`, 422, "cannot unmarshal"},
		{"POST", "/agents/echo/trigger", `{"message": "x", "files": [{"name": "a", "mime_type": "b", "data": "", "c": 1}]}`, 422, "unknown field"},
		{"POST", "/agents/echo/trigger", `null`, 422, "not a JSON object"},
		{"GET", "/runs?limit=", "", 422, "integer"},
		{"GET", "/runs?created_after=", "", 422, "datetime"},
		{"GET", "/budgets/usage?group_by=", "", 422, "'agent'"},
		{"GET", "/knowledge/jobs?environment_id=env-test&status=", "", 422, "job status"},
		{"GET", "/knowledge/namespaces?environment_id=env-test&depth=", "", 422, "integer"},
		{"POST", "/knowledge/query?environment_id=env-test", `{"query": "x", "max_results": 2.5}`, 422, "an integer"},
		{"POST", "/knowledge/query?environment_id=env-test", `{"query": "x", "max_results": 2.0}`, 200, "results"},
		{"POST", "/knowledge/query?environment_id=env-test", `{"query": "x", "namespace": null}`, 422, "should not be null"},
		{"POST", "/agents/echo/trigger", `[1`, 422, "not a JSON object"},
		{"POST", "/agents/echo/trigger", `{"message": "x", "anything": {"goes": true}}`, 200, "run_id"},
		{"POST", "/runs/none/cancel", `{"reason": "x"}`, 422, "takes no body"},
	} {
		status, body, _ := send(t, srv, test.method, test.path, key, test.body)
		if status != test.status || !strings.Contains(body, test.detail) {
			t.Errorf("%s %s: %d %s, want %d %s", test.method, test.path, status, body, test.status, test.detail)
		}
	}
	if n := srv.Executions("agents.trigger"); n != 1 {
		t.Errorf("%d triggers were executed, want 1", n)
	}
}

func TestQuota(t *testing.T) {
	t.Parallel()
	type step struct {
		after    time.Duration // since the start
		send     int
		accepted int
		wait     string // the last Retry-After
	}
	for window, steps := range map[connictest.Window][]step{
		connictest.FixedWindow: {
			{10 * time.Second, 2, 2, ""}, {30 * time.Second, 3, 1, "40"}, {69 * time.Second, 1, 0, "1"}, {70 * time.Second, 4, 3, "60"},
		},
		connictest.SlidingWindow: {
			{0, 2, 2, ""}, {30 * time.Second, 3, 1, "30"}, {59500 * time.Millisecond, 1, 0, "1"}, {60 * time.Second, 3, 2, "30"}, {90 * time.Second, 1, 1, ""},
		},
		connictest.SlidingWindowRejects: {
			{0, 3, 3, ""}, {30 * time.Second, 2, 0, "30"}, {60 * time.Second, 2, 1, "30"}, {100 * time.Second, 3, 1, "60"},
		},
		connictest.TokenBucket: {
			{0, 4, 3, "20"}, {10 * time.Second, 1, 0, "10"}, {20 * time.Second, 2, 1, "20"}, {200 * time.Second, 4, 3, "20"},
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			srv := connictest.New()
			srv.RateLimit(3, time.Minute, window)
			key := string(srv.Key())
			start := time.Now()
			for _, s := range steps {
				time.Sleep(s.after - time.Since(start))
				accepted, wait := 0, ""
				for range s.send {
					status, _, header := send(t, srv, "GET", "", key, "")
					if status == 200 {
						accepted++
					} else if wait = header.Get("Retry-After"); status != 429 {
						t.Errorf("window %d: status %d", window, status)
					}
				}
				if accepted != s.accepted || wait != s.wait {
					t.Errorf("window %d after %v: %d accepted and Retry-After %q, want %d and %q", window, s.after, accepted, wait, s.accepted, s.wait)
				}
			}
			srv.RateLimit(0, time.Minute, window)
			for range 10 {
				if status, _, _ := send(t, srv, "GET", "", key, ""); status != 200 {
					t.Errorf("without a limit: status %d", status)
				}
			}
		})
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fault    connictest.Fault
		executed bool
		check    func(status int, body string, header http.Header, err error) bool
	}{
		"status":              {connictest.Fault{Status: 503, RetryAfter: "7"}, false, func(s int, _ string, h http.Header, _ error) bool { return s == 503 && h.Get("Retry-After") == "7" }},
		"status after":        {connictest.Fault{Status: 500, After: true}, true, func(s int, _ string, _ http.Header, _ error) bool { return s == 500 }},
		"drop":                {connictest.Fault{Drop: true}, false, func(_ int, _ string, _ http.Header, err error) bool { return err != nil }},
		"drop after":          {connictest.Fault{Drop: true, After: true}, true, func(_ int, _ string, _ http.Header, err error) bool { return err != nil }},
		"truncate":            {connictest.Fault{Truncate: 5}, true, func(_ int, body string, _ http.Header, err error) bool { return len(body) == 5 && err != nil }},
		"truncate to nothing": {connictest.Fault{Truncate: -1}, true, func(_ int, body string, _ http.Header, err error) bool { return body == "" && err != nil }},
		"HTML": {connictest.Fault{HTML: true}, false, func(s int, body string, _ http.Header, _ error) bool {
			return s == 200 && strings.HasPrefix(body, "<html>")
		}},
		"HTML with a status": {connictest.Fault{HTML: true, Status: 502}, false, func(s int, body string, _ http.Header, _ error) bool {
			return s == 502 && strings.Contains(body, "502 Bad Gateway")
		}},
		"latency":              {connictest.Fault{Latency: 30 * time.Millisecond}, true, func(s int, _ string, _ http.Header, _ error) bool { return s == 200 }},
		"latency and a status": {connictest.Fault{Latency: time.Millisecond, Status: 500}, false, func(s int, _ string, _ http.Header, _ error) bool { return s == 500 }},
	}
	for name, test := range tests {
		for _, srv := range []*connictest.Server{connictest.New(), connictest.NewServer(t)} {
			srv.Agent("echo", echo)
			key := srv.Key()
			test.fault.Op, test.fault.Nth = "agents.trigger", 2
			srv.Fault(test.fault)
			transport := srv.Transport()
			if !strings.HasPrefix(srv.URL(), "http://localhost/") {
				transport = &http.Transport{DisableKeepAlives: true}
			}
			hit := func() (int, string, http.Header, error) {
				r, err := http.NewRequestWithContext(t.Context(), "POST", srv.URL()+"/projects/"+connictest.ProjectID+"/agents/echo/trigger", strings.NewReader(`{"message": "x"}`))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Authorization", "Bearer "+string(key))
				resp, err := transport.RoundTrip(r)
				if err != nil {
					return 0, "", nil, err
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				return resp.StatusCode, string(body), resp.Header, err
			}
			for n := 1; n <= 3; n++ {
				before := srv.Executions("agents.trigger")
				start := time.Now()
				status, body, header, err := hit()
				executed := srv.Executions("agents.trigger") > before
				if n != 2 {
					if status != 200 || err != nil || !executed {
						t.Errorf("%s, request %d: %d, %v", name, n, status, err)
					}
					continue
				}
				if !test.check(status, body, header, err) || executed != test.executed || time.Since(start) < test.fault.Latency {
					t.Errorf("%s at %s: %d %q %v, executed %v", name, srv.URL(), status, body, err, executed)
				}
			}
			srv.Close()
		}
	}
}

func TestFaultsCount(t *testing.T) {
	t.Parallel()
	srv := connictest.New()
	key := string(srv.Key())
	statuses := func(n int) (got []int) {
		for range n {
			status, _, _ := send(t, srv, "GET", "", key, "")
			got = append(got, status)
		}
		return got
	}
	srv.Fault(connictest.Fault{Op: "runs.get", Status: 400, Times: -1})
	srv.Fault(connictest.Fault{Nth: 2, Times: 2, Status: 500})
	srv.Fault(connictest.Fault{Op: "project.get", Nth: 3, Times: 2, Status: 502})
	if got, want := statuses(6), []int{200, 500, 500, 502, 502, 200}; !equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	srv.Fault(connictest.Fault{Status: 500, Times: -1})
	srv.ClearFaults()
	if got := statuses(1); got[0] != 200 {
		t.Errorf("%v after the faults were cleared", got)
	}
}

func equal(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		srv.Agent("echo", func(ctx context.Context, in connictest.Input) (any, error) {
			var payload struct{ N int }
			if err := in.DecodePayload(&payload); err != nil {
				return nil, err
			}
			time.Sleep(time.Duration(payload.N) * time.Second)
			return len(in.Files), nil
		})
		c := srv.Client()
		ctx := t.Context()
		trigger := func(n int) string {
			r, err := c.Agents.Trigger(ctx, "echo", connic.TriggerRequest{
				Payload: map[string]int{"n": n}, Files: []connic.File{{Name: "a", MIMEType: "text/plain", Data: []byte("x")}},
			})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			return r.RunID
		}
		first, second := trigger(1), trigger(60)
		page, err := c.Runs.List(ctx, &connic.RunListParams{Limit: 1})
		if err != nil || page.Total != 2 || !page.HasNext() || page.Items[0].ID != second || page.Items[0].Traces != nil {
			t.Errorf("%+v, %v", page, err)
		}
		page, err = c.Runs.List(ctx, &connic.RunListParams{Status: []connic.RunStatus{connic.RunCompleted}, AgentName: "echo"})
		if err != nil || len(page.Items) != 1 || page.Items[0].ID != first || page.Items[0].Output != "1" {
			t.Errorf("%+v, %v", page, err)
		}
		run, err := c.Runs.Get(ctx, second)
		if err != nil || run.Status != connic.RunRunning || !run.EndedAt.IsZero() || run.Input != `{"n":60}` {
			t.Errorf("%+v, %v", run, err)
		}
		page, err = c.Runs.List(ctx, &connic.RunListParams{CreatedAfter: run.CreatedAt.Add(-time.Millisecond)})
		if err != nil || len(page.Items) != 1 {
			t.Errorf("%+v, %v", page, err)
		}

		if err := c.Runs.Delete(ctx, second); !errors.Is(err, connic.ErrConflict) {
			t.Errorf("a run that runs is deleted: %v", err)
		}
		for range 2 {
			if err := c.Runs.Cancel(ctx, second); err != nil {
				t.Error(err)
			}
		}
		if err := c.Runs.Cancel(ctx, first); !errors.Is(err, connic.ErrConflict) {
			t.Errorf("a run that ended is cancelled: %v", err)
		}
		again, err := c.Runs.Rerun(ctx, first)
		if err != nil {
			t.Fatal(err)
		}
		if run, err = c.Runs.Wait(ctx, again.RunID); err != nil || run.ParentRunID != first || run.Output != "1" {
			t.Errorf("%+v, %v", run, err)
		}
		if err := c.Runs.Delete(ctx, first); err != nil {
			t.Error(err)
		}
		if _, err := c.Runs.Get(ctx, first); !errors.Is(err, connic.ErrNotFound) {
			t.Error(err)
		}
		var actions []string
		for _, e := range srv.AuditLog() {
			actions = append(actions, e.Action)
			if strings.Contains(e.Actor, "connictest") || e.ResourceType != "run" {
				t.Errorf("%+v", e)
			}
		}
		if got := strings.Join(actions, " "); got != "agents.trigger agents.trigger runs.cancel runs.rerun runs.delete" {
			t.Errorf("the audit log has %s", got)
		}
		srv.Close()
	})
}

func TestCloseEndsRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		ended := false
		srv.Agent("stubborn", func(ctx context.Context, _ connictest.Input) (any, error) {
			<-ctx.Done()
			ended = true
			return nil, ctx.Err()
		})
		c := srv.Client()
		if _, err := c.Agents.Trigger(t.Context(), "stubborn", connic.TriggerRequest{Message: "x"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // for the agent to begin
		srv.Close()
		if !ended {
			t.Error("the agent goes on")
		}
		if _, err := c.Runs.List(t.Context(), nil, connic.WithMaxAttempts(1)); err == nil {
			t.Error("a closed server answers")
		}
	})
}

func TestTheFakeAgreesWithItselfOnBothWays(t *testing.T) {
	t.Parallel()
	for _, srv := range []*connictest.Server{connictest.New(), connictest.NewServer(t)} {
		srv.Agent("echo", echo)
		c := srv.Client()
		run, err := c.Agents.TriggerAndWait(t.Context(), "echo", connic.TriggerRequest{Message: "hello"}, connic.WithPoll(time.Millisecond, time.Millisecond))
		if err != nil || run.Output != "hello" {
			t.Errorf("%s: %v, %+v", srv.URL(), err, run)
		}
		env, err := c.Environments.Default(t.Context())
		if err != nil || env.Name != "production" || env.TestEnvironmentID == "" {
			t.Errorf("%v, %+v", err, env)
		}
		if _, err := c.Environments.Find(t.Context(), "nowhere"); !errors.Is(err, connic.ErrNotFound) {
			t.Error(err)
		}
		if _, err := c.Environments.Find(t.Context(), "test"); !errors.Is(err, connic.ErrNotFound) {
			t.Errorf("an environment for tests is a target of deployments: %v", err)
		}
		if found, err := c.Environments.Find(t.Context(), "Production"); err != nil || found.ID != env.ID {
			t.Errorf("%v, %+v", err, found)
		}
		agents, err := connic.Collect(c.Agents.All(t.Context(), nil), 0)
		if err != nil || len(agents) != 1 || agents[0].Name != "echo" {
			t.Errorf("%v, %v", err, agents)
		}
		requests := srv.Requests()
		var body struct{ Message string }
		if err := json.Unmarshal(requests[0].Body, &body); err != nil || body.Message != "hello" || requests[0].Op != "agents.trigger" || requests[0].Header.Get("Authorization") != "" {
			t.Errorf("%v, %+v", err, requests[0])
		}
		srv.Close()
	}
}
