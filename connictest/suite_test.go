package connictest_test

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

func tested(t *testing.T, srv *connictest.Server, project fstest.MapFS, filter string) *connic.TestRun {
	t.Helper()
	srv.PhaseTime(0)
	run, err := srv.Client().TestRuns.Create(t.Context(), connic.TestRunCreate{Project: project, EnvironmentID: "env-test", Filter: filter})
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func files(pairs ...string) fstest.MapFS {
	tree := fstest.MapFS{"agents/support.yaml": {Data: []byte("name: support\nmodel: {a: [not, yaml\n")}}
	for i := 0; i < len(pairs); i += 2 {
		tree[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return tree
}

func TestSuitesAreRead(t *testing.T) {
	t.Parallel()
	project := files(
		"agents/deep/down/clerk.yaml", "description: x\nname: \"Clerk\" # quoted\n",
		"agents/_defaults.yaml", "name: never\n",
		"agents/stem.yaml", "description: no name\n",
		"agents/notes.md", "name: no agent\n",
		"tests/support.yaml", "tests:\n  - name: greets\n    payload: 'hello'\n  - name: says bye\n    builder: goodbye\n    runs: 3\n",
		"tests/nested/more/any.yaml", `
version: "1.0"
agent: Clerk
defaults: {runs: 5, success_threshold: 80}
tests:
  - name: files the greeting
    payload: |
      {"a": 1}
    success_threshold: 90
    expected_tool_calls:
      - math.add
      - math.add: invocations >= 5
`,
		"tests/empty.yaml", "# nothing\n",
		"tests/README.md", "no suite",
		"tests/files/data.csv", "a,b",
	)
	srv := connictest.New(t)
	run := tested(t, srv, project, "")
	var got []string
	for _, c := range run.Cases {
		raw, err := json.Marshal([]any{c.AgentName, c.TestName, c.Passed, c.Successes, c.Runs, c.SuccessThreshold})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(raw))
	}
	want := `["Clerk","files the greeting",true,5,5,90] ["support","greets",true,1,1,100] ["support","says bye",true,3,3,100]`
	if strings.Join(got, " ") != want || run.Status != connic.TestRunPassed || run.DeploymentID == "" {
		t.Errorf("%+v\n%s, want\n%s", run, got, want)
	}
	if run := tested(t, srv, project, "greet"); len(run.Cases) != 2 || run.TotalCases != 2 {
		t.Errorf("with a filter %+v", run)
	}
	if run := tested(t, srv, project, "refund"); run.Status != connic.TestRunErrored || !strings.Contains(run.Error, `No test has "refund" in its name`) {
		t.Errorf("with a filter that matches nothing %+v", run)
	}
	d, err := srv.Client().Deployments.UploadFS(t.Context(), project, &connic.UploadParams{EnvironmentID: "env-production"})
	if err != nil || strings.Join(d.Agents, " ") != "Clerk stem support" {
		t.Errorf("%+v, %v", d, err)
	}

	// A function may change what was read.
	srv.Tests(func(p connictest.UploadedProject) []connic.TestCase {
		p.Cases[1].Passed, p.Cases[1].Successes = false, 0
		return p.Cases
	})
	if run := tested(t, srv, project, ""); run.Status != connic.TestRunFailed || len(run.Failed()) != 1 || run.Failed()[0].TestName != "greets" {
		t.Errorf("%+v", run)
	}
}

func TestSuitesThatAreNone(t *testing.T) {
	t.Parallel()
	srv := connictest.New(t)
	for suite, want := range map[string]string{
		"[1]":                            "a suite is a mapping",
		"agent: support":                 "at least one case",
		"tests: []":                      "at least one case",
		"tests: [x]":                     "case 1 is not a mapping",
		"tests: [{payload: x}]":          "case 1 needs a name",
		"tests: [{name: x}]":             `the case "x" needs a payload or a builder`,
		"tests: [{name: x, payload: 5}]": "payload is a text",
		"tests: [{name: x, payload: x, runs: 0}]":                 "runs is a whole number from 1 to 100",
		"tests: [{name: x, payload: x, success_threshold: 0.75}]": "success_threshold is a whole number",
		"tests: [{name: x, payload: x}, {name: x, payload: y}]":   `"x" comes twice`,
		"agent: nobody\ntests: [{name: x, payload: x}]":           `unknown agent "nobody"`,
		"defaults: 5\ntests: [{name: x, payload: x}]":             "defaults is a mapping",
		"tests: &all\n  - {name: x, payload: x}":                  "tests/support.yaml: line 1: a value that begins with & is not understood",
		"tests:\n  - name: a text\n      over two rows\n":         "line 3: a value over several rows",
	} {
		if run := tested(t, srv, files("tests/support.yaml", suite), ""); run.Status != connic.TestRunErrored || !strings.Contains(run.Error, want) {
			t.Errorf("%s: %s %q, want %q", suite, run.Status, run.Error, want)
		}
		d, err := srv.Client().Deployments.UploadFS(t.Context(), files("tests/support.yaml", suite), &connic.UploadParams{EnvironmentID: "env-production"})
		if err != nil || d.Status != connic.DeploymentFailed || !strings.Contains(d.Error, want) {
			t.Errorf("%s: the deployment is %+v, %v", suite, d, err)
		}
	}
}

// TestTestsNeverRunInProduction because somebody forgot the environment.
func TestTestsNeverRunInProduction(t *testing.T) {
	t.Parallel()
	srv := connictest.New(t)
	var where []string
	srv.Tests(func(p connictest.UploadedProject) []connic.TestCase {
		where = append(where, p.EnvironmentID)
		return p.Cases
	})
	raw := uploadBody(t, tarred(t, tar.Header{Name: "agents/a.yaml", Typeflag: tar.TypeReg, Size: 0}))
	var body struct {
		Data string `json:"files_data"`
	}
	if err := json.Unmarshal([]byte(raw), &body); err != nil {
		t.Fatal(err)
	}
	for _, environments := range [][]connictest.Environment{
		nil, // the usual ones
		{{ID: "t", Type: "test", IsDefault: true}, {ID: "a"}, {ID: "b", IsDefault: true, TestEnvironmentID: "t"}},
		{{ID: "t", Type: "test"}, {ID: "a", TestEnvironmentID: "t"}},
		{{ID: "alone"}},
	} {
		if environments != nil {
			srv.Environments(environments...)
		}
		if status, text, _ := send(t, srv, "POST", "/test-runs", string(srv.Key()), `{"files_data": "`+body.Data+`"}`); status != 200 {
			t.Error(text)
		}
	}
	if got := strings.Join(where, " "); got != "env-test t t alone" {
		t.Errorf("the tests ran in %s", got)
	}
	srv.Environments()
	if status, text, _ := send(t, srv, "POST", "/test-runs", string(srv.Key()), `{"files_data": "`+body.Data+`"}`); status != 404 {
		t.Error(text)
	}
}

func TestEnvironmentsThatForbid(t *testing.T) {
	t.Parallel()
	srv := connictest.New(t)
	srv.Environments(
		connictest.Environment{ID: "live", Name: "live", IsDefault: true, CannotDeploy: true},
		connictest.Environment{ID: "lab", Name: "lab", Type: connic.EnvironmentTest, CannotUseDevSession: true},
	)
	c := srv.Client()
	if _, err := c.DevSessions.Create(t.Context(), connic.DevSessionCreate{Name: "lab"}); !errors.Is(err, connic.ErrForbidden) {
		t.Errorf("a dev session is created: %v", err)
	}
	if _, err := c.Deployments.UploadFS(t.Context(), files(), &connic.UploadParams{EnvironmentID: "live"}); !errors.Is(err, connic.ErrForbidden) {
		t.Errorf("a project is deployed: %v", err)
	}
}
