package fakecmd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
)

func TestServesAClientAndStops(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, []string{"-addr", "127.0.0.1:0", "-rate", "30", "-window", "sliding"}, w, io.Discard)
	}()
	variables := make(map[string]string)
	for lines := bufio.NewScanner(r); len(variables) < 7 && lines.Scan(); {
		name, value, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "export "), "=")
		variables[name] = value
	}
	c, err := connic.New(variables["CONNIC_PROJECT_ID"], connic.APIKey(variables["CONNIC_API_KEY"]), connic.WithBaseURL(variables["CONNIC_API_URL"]))
	if err != nil {
		t.Fatal(err)
	}
	run, err := c.Agents.TriggerAndWait(ctx, "echo", connic.TriggerRequest{Message: "hello"}, connic.WithPoll(time.Millisecond, time.Millisecond))
	if err != nil || run.Output != "hello" {
		t.Errorf("%v, %+v", err, run)
	}
	for _, name := range []string{"SYNC", "INBOUND"} {
		hook, err := connector.New(variables[name+"_URL"], connector.Secret(variables[name+"_SECRET"]))
		if err != nil {
			t.Fatal(err)
		}
		d, err := hook.Send(ctx, connector.Input{Message: "hello"})
		if err != nil || len(d.RunIDs) != 1 || (d.Result != nil) != (name == "SYNC") {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestBadArguments(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"-window round": "none of fixed, sliding, sliding-rejects and bucket", "-rate -1": "less than 0", "extra": "unknown argument",
		"-addr nowhere:-1": "port", "-fail-test greets": "a slash", "-per 0s": "is empty", "-config /nowhere.json": "no such file",
		"-phase -1s": "less than 0",
	} {
		if err := Serve(t.Context(), strings.Fields(args), io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// A client refuses http to an address such as [::], and so do some systems.
func TestAllAddresses(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0"} {
		c := serve(t, `{}`, io.Discard, "-addr", addr)
		if _, err := c.Project.Get(t.Context(), connic.WithMaxAttempts(1)); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

// serve runs the program with a configuration, and returns what leads to it.
func serve(t *testing.T, config string, stderr io.Writer, flags ...string) *connic.Client {
	t.Helper()
	file := filepath.Join(t.TempDir(), "fake.json")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, append([]string{"-addr", "127.0.0.1:0", "-config", file}, flags...), w, stderr)
		_ = w.Close()
	}()
	variables := make(map[string]string)
	for lines := bufio.NewScanner(r); len(variables) < 3 && lines.Scan(); {
		name, value, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "export "), "=")
		variables[name] = value
	}
	go func() { _, _ = io.Copy(io.Discard, r) }() // what it prints of connectors
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if len(variables) < 3 {
		t.Fatalf("it printed %v", variables)
	}
	c, err := connic.New(variables["CONNIC_PROJECT_ID"], connic.APIKey(variables["CONNIC_API_KEY"]),
		connic.WithBaseURL(variables["CONNIC_API_URL"]), connic.WithoutRateLimit())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// lockedBuffer is a bytes.Buffer for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestConfiguration(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	c := serve(t, `{
		"seed": 7, "time": "2031-05-06T07:08:09Z",
		"environments": [
			{"id": "live", "name": "Live", "env_type": "production", "is_default": true, "test_environment_id": "lab"},
			{"id": "closed", "name": "Closed", "can_deploy": false},
			{"id": "lab", "name": "Lab", "env_type": "test"}
		],
		"agents": [{"name": "clerk", "answers": [
			{"when": "invoice", "output": {"total": 12}, "cost": "0.02", "currency": "USD", "tokens": {"input": 10, "output": 5}, "delay": "1ms",
				"spans": [{"name": "lookup", "delay": "1ms", "spans": [{"name": "reading", "type": "log"}, {"name": "db", "error": "slow"}]}]},
			{"when": "fail", "error": "no idea"},
			{"when": "ask", "approval": true}
		]}],
		"runs": [{"agent": "clerk", "message": "invoice 1"}],
		"keys": [{"key": "cnc_reader_0123456789", "permissions": ["runs:read"]}],
		"fail_deployments": [{"environment_id": "live", "error": "no more space"}],
		"tests": [{"agent": "clerk", "test": "adds", "failure_reason": "12 is not 13", "agent_run_ids": ["r1"]}],
		"phase_time": "0s", "quota": {"limit": 30, "per": "1m"},
		"faults": [{"op": "budgets.list", "status": 503, "retry_after": "1"}]
	}`, &log)
	ctx := t.Context()
	poll := connic.WithPoll(time.Millisecond, time.Millisecond)
	runs, err := connic.Collect(c.Runs.All(ctx, nil), 0)
	if err != nil || len(runs) != 1 || !strings.Contains(runs[0].ID, "-4") || runs[0].CreatedAt.Year() != 2031 {
		t.Fatalf("the runs are %+v, %v", runs, err)
	}
	run, err := c.Runs.Wait(ctx, runs[0].ID, poll)
	if err != nil || run.Output != `{"total":12}` || run.Cost.String() != "0.02" || run.TokenUsage.Total != 15 || len(run.Traces) != 4 {
		t.Errorf("the run is %+v, %v", run, err)
	}
	_, err = c.Agents.TriggerAndWait(ctx, "clerk", connic.TriggerRequest{Message: "fail"}, poll)
	if err == nil || !strings.Contains(err.Error(), "no idea") {
		t.Error(err)
	}
	_, err = c.Agents.TriggerAndWait(ctx, "clerk", connic.TriggerRequest{Message: "what"}, poll)
	if err == nil || !strings.Contains(err.Error(), "no answer is scripted") {
		t.Error(err)
	}
	run, err = c.Agents.TriggerAndWait(ctx, "clerk", connic.TriggerRequest{Message: "ask"}, poll, connic.StopAtApproval())
	if err != nil || run.Status != connic.RunAwaitingApproval {
		t.Errorf("the run that asks is %+v, %v", run, err)
	}
	project := fstest.MapFS{
		"agents/deep/clerk.yaml": {Data: []byte("name: clerk\n")},
		"tests/clerk.yaml":       {Data: []byte("tests:\n  - {name: adds, payload: x}\n  - {name: says, payload: x}\n")},
	}
	tested, err := c.TestRuns.Create(ctx, connic.TestRunCreate{Project: project, EnvironmentID: "lab"})
	if err != nil || tested.Status != connic.TestRunFailed || tested.TotalCases != 2 || len(tested.Failed()) != 1 || tested.Failed()[0].FailureReason != "12 is not 13" {
		t.Errorf("the test run is %+v, %v", tested, err)
	}
	d, err := c.Deployments.UploadFS(ctx, project, &connic.UploadParams{EnvironmentID: "live", SkipTests: true})
	if err != nil || d.Error != "no more space" {
		t.Errorf("the deployment is %+v, %v", d, err)
	}
	if _, err := c.Deployments.UploadFS(ctx, project, &connic.UploadParams{EnvironmentID: "closed"}); !errors.Is(err, connic.ErrForbidden) {
		t.Error(err)
	}
	if _, err := c.Budgets.List(ctx, nil, connic.WithMaxAttempts(1)); !errors.Is(err, connic.ErrServer) {
		t.Error(err)
	}
	if text := log.String(); strings.Contains(text, "connictestkey") || !strings.Contains(text, "/agents/clerk/trigger 200") || !strings.Contains(text, "Bearer cnc_…") {
		t.Errorf("the log is\n%s", text)
	}
}

func TestFlagsGoBeforeTheConfiguration(t *testing.T) {
	t.Parallel()
	c := serve(t, `{"git_provider": "gitlab", "quota": {"limit": 5, "per": "1m"}}`, io.Discard, "-rate", "0", "-git", "github", "-quiet")
	for range 10 {
		if p, err := c.Project.Get(t.Context(), connic.WithMaxAttempts(1)); err != nil || p.GitProvider != "github" {
			t.Fatalf("%+v, %v", p, err)
		}
	}
}

func TestBrokenConfigurations(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		`{"agent": []}`:    `unknown field "agent"`,
		`{} {}`:            "more behind",
		`{"agents": [{}]}`: "needs a name",
		`{"agents": [{"name": "a"}, {"name": "b"}, {"name": "a"}]}`:                                            "several agents have the name a",
		`{"agents": [{"name": "a", "environment_id": "live"}]}`:                                                `no environment has the id "live"`,
		`{"environments": [{"id": "x", "name": "live"}], "agents": [{"name": "a", "environment_id": "live"}]}`: `no environment has the id "live"`,
		`{"agents": [{"name": "a", "answers": [{"cost": "x"}]}]}`:                                              "the agent a",
		`{"phase_time": "-1s"}`:                 "negative",
		`{"environments": [{"id": "x"}]}`:       "an id and a name",
		`{"keys": [{"key": "abc"}]}`:            "a key of the configuration is none",
		`{"runs": [{"agent": "nobody"}]}`:       "a run of the configuration",
		`{"faults": [{"op": "agent.trigger"}]}`: "no operation is called",
		`{"quota": {"limit": 5}}`:               "is empty",
	} {
		file := filepath.Join(t.TempDir(), "fake.json")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Serve(t.Context(), []string{"-config", file, "-addr", "127.0.0.1:0"}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", config, err)
		}
	}
}

func TestMasked(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"/v1/x?key=cnc_abc123&y=1":         "/v1/x?key=cnc_…",
		"/v1/x?y=cbr_0123456789abcdef\x1b": "/v1/x?y=cbr_…",
		"a\x1b[2Jb":                        `a\x1b[2Jb`,
		"a\nb":                             "a b",
	} {
		if got := masked(nil, text); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := masked(nil, strings.Repeat("x", 1<<20)); len(got) > 2*maxLogged {
		t.Errorf("a line of %d bytes", len(got))
	}
}

// TestTheConfigurationOfTheDocs has every key that there is, and works.
func TestTheConfigurationOfTheDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/guide/testing.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```json\n")
	config, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("there is no configuration in the docs")
	}
	c := serve(t, config, io.Discard)
	if runs, err := connic.Collect(c.Runs.All(t.Context(), nil, connic.WithMaxAttempts(2)), 0); err != nil || len(runs) != 1 {
		t.Errorf("%+v, %v", runs, err)
	}
	var keys func(of reflect.Type)
	keys = func(of reflect.Type) {
		switch of.Kind() {
		case reflect.Pointer, reflect.Slice:
			keys(of.Elem())
		case reflect.Struct:
			for i := range of.NumField() {
				f := of.Field(i)
				if name := f.Tag.Get("json"); name != "" {
					if !strings.Contains(config, `"`+name+`"`) {
						t.Errorf("the docs do not have the key %q of %v", name, of)
					}
					if f.Type != of && f.Type != reflect.TypeFor[[]Span]() {
						keys(f.Type)
					}
				}
			}
		default:
		}
	}
	keys(reflect.TypeFor[Config]())
}
