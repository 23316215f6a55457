package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/connic-go/connic"
)

func clearEnvironment(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, name := range []string{"CONNIC_API_KEY", "CONNIC_PROJECT_ID", "CONNIC_TOKEN", "CONNIC_API_URL"} {
		t.Setenv(name, "")
	}
}

//nolint:paralleltest // it changes the environment and the directory
func TestQuickstartOnTheFake(t *testing.T) {
	clearEnvironment(t)
	var stdout, stderr bytes.Buffer
	if err := run(t.Context(), nil, &stdout, &stderr); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Triggering report-reader on the embedded fake", "is running", "is completed", "The west region did best with 72300. All regions together made 221850.",
		"  report-reader (agent, ok,", "    read_table (tool, ok,", "Tokens  73 (input 52, output 21)", "Cost    0.0004 EUR", "of 60 requests used in the last 1m0s",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("%q is missing in\n%s", want, stdout.String())
		}
	}
	if stderr.Len() > 0 {
		t.Errorf("it complains: %s", stderr.String())
	}
}

//nolint:paralleltest // it changes the environment and the directory
func TestQuickstartAsJSON(t *testing.T) {
	clearEnvironment(t)
	var stdout, stderr bytes.Buffer
	if err := run(t.Context(), []string{"-json", "-message", "Who?"}, &stdout, &stderr); err != nil {
		t.Fatal(err)
	}
	var result connic.Run
	if err := json.Unmarshal(stdout.Bytes(), &result); err != nil || result.Status != connic.RunCompleted || result.Input != "Who?" || len(result.Traces) != 4 {
		t.Errorf("%v in %s", err, stdout.String())
	}
	if !strings.Contains(stderr.String(), "is completed") {
		t.Error("the progress is missing on stderr")
	}
}

func TestQuickstartExplainsItself(t *testing.T) {
	for name, test := range map[string]struct {
		env  map[string]string
		args []string
		want string
	}{
		"bad key":       {map[string]string{"CONNIC_API_KEY": "abc", "CONNIC_PROJECT_ID": "p"}, nil, "API key does not start with cnc_"},
		"no project":    {map[string]string{"CONNIC_API_KEY": "cnc_abc"}, nil, "lack a project id (CONNIC_PROJECT_ID;"},
		"no agent":      {map[string]string{"CONNIC_API_KEY": "cnc_abc", "CONNIC_PROJECT_ID": "p"}, nil, "name an agent of your project with -agent"},
		"no such agent": {nil, []string{"-agent", "nobody"}, "Check the agent's name and CONNIC_PROJECT_ID."},
		"too late":      {nil, []string{"-timeout", "1200ms"}, "not sent, refused by the client's own rate limit: the deadline comes first"},
		"flag":          {nil, []string{"-colour"}, "flag provided but not defined"},
	} {
		t.Run(name, func(t *testing.T) {
			clearEnvironment(t)
			for k, v := range test.env {
				t.Setenv(k, v)
			}
			var stdout, stderr bytes.Buffer
			err := run(t.Context(), test.args, &stdout, &stderr)
			if err == nil || !strings.Contains(explain(err), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func TestQuickstartCleansItsOutput(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	printRun(&out, &connic.Run{Output: "a\nb\x1b[2J\u202e", Currency: "\r", Traces: []connic.Span{{Name: "\x1b", Type: "\a", Status: "\u009b"}}}, connic.RateLimitStatus{})
	if got := out.String(); strings.ContainsAny(got, "\x1b\u202e\r\a\u009b") || !strings.Contains(got, "a\n  b?[2J?\n") {
		t.Errorf("got %q", got)
	}
}

func TestQuickstartExplainsAWaitThatEnded(t *testing.T) {
	t.Parallel()
	err := &connic.WaitError{Kind: "run", ID: "run-7", Pending: []string{"run-7"}, Err: context.DeadlineExceeded}
	if got := explain(err); !strings.Contains(got, "The run continues; fetch it later by its id run-7.") {
		t.Errorf("got %q", got)
	}
}
