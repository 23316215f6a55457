//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic/connictest"
	"go.yaml.in/yaml/v3"
)

// action is the part of action.yml, and of a workflow, that the tests read.
type action struct {
	Inputs map[string]struct {
		Default  string
		Required bool
	}
	Outputs map[string]struct{ Value string }
	Runs    struct{ Steps []step }

	Permissions map[string]string
	Concurrency map[string]any
	Jobs        map[string]struct{ Steps []step }
}

type step struct {
	ID, If, Shell, Run, Uses string
	Env                      map[string]string
	With                     map[string]string
}

func readAction(t *testing.T, text []byte) (a action) {
	t.Helper()
	if err := yaml.Unmarshal(text, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

func actionFile(t *testing.T) action {
	t.Helper()
	text, err := os.ReadFile("../../action.yml")
	if err != nil {
		t.Fatal(err)
	}
	return readAction(t, text)
}

// A runner runs the steps of action.yml as a runner of GitHub does.
type runner struct {
	t      *testing.T
	action action
	dir    string // the working folder
	bin    string // in the PATH, with connicctl
	fake   *connictest.Server
	job    map[string]string // the environment of the job
}

func newRunner(t *testing.T) *runner {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip(err)
	}
	r := &runner{t: t, action: actionFile(t), dir: t.TempDir(), bin: t.TempDir(), fake: connictest.NewServer(t)}
	r.fake.Agent("support", func(_ context.Context, in connictest.Input) (any, error) {
		in.Cost("0.01", "EUR")
		return "You said: " + in.Message, nil
	})
	r.job = map[string]string{
		"PATH": r.bin + ":" + os.Getenv("PATH"), "HOME": t.TempDir(), "RUNNER_TEMP": t.TempDir(),
		"GITHUB_OUTPUT": filepath.Join(t.TempDir(), "output"), "GITHUB_STEP_SUMMARY": filepath.Join(t.TempDir(), "summary"), "GITHUB_PATH": filepath.Join(t.TempDir(), "path"),
		"CONNIC_API_URL": r.fake.URL(), "CONNIC_PROJECT_ID": connictest.ProjectID,
	}
	program, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	r.program("connicctl", "export CONNICCTL_TEST_PROGRAM=1\nexec '"+program+"' \"$@\"")
	return r
}

// program writes a program of the PATH.
func (r *runner) program(name, script string) {
	r.t.Helper()
	name = filepath.Join(r.bin, name)
	r.write(name, "#!/bin/sh\n"+script+"\n")
	if err := os.Chmod(name, 0o700); err != nil {
		r.t.Fatal(err)
	}
}

func (r *runner) write(name, text string) {
	r.t.Helper()
	if !filepath.IsAbs(name) {
		name = filepath.Join(r.dir, name)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *runner) read(variable string) string {
	text, err := os.ReadFile(r.job[variable])
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		r.t.Fatal(err)
	}
	return string(text)
}

var expression = regexp.MustCompile(`\$\{\{ inputs\.([a-z-]+)(?: \|\| env\.([A-Z_]+))? \}\}`)

// run runs the step with an id, or else the first, and returns its exit status and log.
func (r *runner) run(id string, inputs map[string]string) (int, string) {
	r.t.Helper()
	s := r.action.Runs.Steps[slices.IndexFunc(r.action.Runs.Steps, func(s step) bool { return s.ID == id })]
	if s.Shell != "bash" || strings.Contains(s.Run, "${{") {
		r.t.Fatalf("the script of step %q has expressions, or is not of bash", id)
	}
	environment := maps.Clone(r.job)
	for name, value := range s.Env {
		environment[name] = expression.ReplaceAllStringFunc(value, func(text string) string {
			m := expression.FindStringSubmatch(text)
			input, ok := r.action.Inputs[m[1]]
			if !ok {
				r.t.Errorf("there is no input %s", m[1])
			}
			value, set := inputs[m[1]]
			if !set {
				value = input.Default
			}
			if value == "" {
				value = r.job[m[2]]
			}
			return value
		})
		if strings.Contains(s.Env[name], "${{") && !expression.MatchString(s.Env[name]) {
			r.t.Errorf("the expression of %s is not understood", name)
		}
	}
	script := filepath.Join(r.t.TempDir(), "script.sh")
	r.write(script, s.Run)
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "--noprofile", "--norc", "-e", "-o", "pipefail", script)
	shell.Dir = r.dir
	for name, value := range environment {
		shell.Env = append(shell.Env, name+"="+value)
	}
	var log bytes.Buffer
	shell.Stdout, shell.Stderr = &log, &log
	err := shell.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	return shell.ProcessState.ExitCode(), log.String()
}

const passing = "agent: support\ncases:\n- {name: a case, message: hi, expect: {contains: hi}}\n- {name: another, message: yes, expect: {contains: 'yes'}}\n"

// The action has outputs and a summary, also if the cases do not pass, and the key
// of a secret is nowhere else.
func TestAction(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	key := string(r.fake.Key())
	r.write("agents/a.yaml", passing)
	r.write("agents/b 1.yaml", "agent: support\ncases: [{name: bad, message: hi, expect: {contains: bye}}]")
	status, log := r.run("gate", map[string]string{"suite": "agents/*.yaml\r\n", "api-key": key, "environment": "production"})
	if status != 1 || !strings.Contains(log, `does not contain "bye"`) {
		t.Errorf("exit status %d: %s", status, log)
	}
	if want := "passed=2\nfailed=1\ncost=0.03 EUR\njunit=connic-junit.xml\n"; r.read("GITHUB_OUTPUT") != want {
		t.Errorf("the outputs are %s", r.read("GITHUB_OUTPUT"))
	}
	for _, output := range slices.Collect(maps.Keys(r.action.Outputs)) {
		if !strings.Contains(r.read("GITHUB_OUTPUT"), output+"=") || r.action.Outputs[output].Value != "${{ steps.gate.outputs."+output+" }}" {
			t.Errorf("there is no output %s", output)
		}
	}
	summary := r.read("GITHUB_STEP_SUMMARY")
	if !strings.Contains(summary, "### ✅ agents/a.yaml") || !strings.Contains(summary, "### ❌ agents/b 1.yaml") || !strings.Contains(summary, "| failed | bad |") {
		t.Errorf("the summary is %s", summary)
	}
	junit, err := os.ReadFile(filepath.Join(r.dir, "connic-junit.xml"))
	if err != nil || !strings.Contains(string(junit), `tests="3" failures="1"`) {
		t.Errorf("%v: %s", err, junit)
	}
	if strings.Contains(log+summary+string(junit)+r.read("GITHUB_OUTPUT"), strings.TrimPrefix(key, "cnc_")) {
		t.Error("the key is shown")
	}
}

// A second attempt with the same journal costs nothing.
func TestActionAgain(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	r.job["CONNIC_API_KEY"] = string(r.fake.Key())
	r.write("cases.yaml", passing)
	for range 2 {
		if status, log := r.run("gate", map[string]string{"suite": "cases.yaml", "journal": ".gate"}); status != 0 {
			t.Errorf("exit status %d: %s", status, log)
		}
	}
	if n := r.fake.Executions("agents.trigger"); n != 2 {
		t.Errorf("%d runs", n)
	}
}

// No input is executed, or taken for a flag.
func TestActionInputs(t *testing.T) {
	t.Parallel()
	for input := range actionFile(t).Inputs {
		for _, hostile := range []string{
			"$(touch executed)`touch executed`\"; touch executed; \"'; touch executed; '${IFS}\\ * ? && touch executed",
			"x\ntouch executed\nEOF\ntouch executed\n", "--help",
		} {
			t.Run(input+" "+hostile, func(t *testing.T) {
				t.Parallel()
				r := newRunner(t)
				r.job["CONNIC_API_KEY"] = string(r.fake.Key())
				r.write("cases.yaml", passing)
				r.program("go", "touch '"+r.dir+"/executed'")
				id, inputs := "gate", map[string]string{"suite": "cases.yaml"}
				if inputs[input] = hostile; input == "version" {
					id = ""
				}
				status, log := r.run(id, inputs)
				if _, err := os.Stat(filepath.Join(r.dir, "executed")); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("it was executed: %v: %s", err, log)
				}
				// Any text is a name of a file or a folder, but for a line break in an output.
				named := input == "journal" || input == "junit" && !strings.Contains(hostile, "\n")
				if (status == 0) != named {
					t.Errorf("exit status %d: %s", status, log)
				}
			})
		}
	}
}

// Two asterisks are folders of any depth: no file is left out.
func TestActionPattern(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	r.job["CONNIC_API_KEY"] = string(r.fake.Key())
	for _, folder := range []string{"", "one/", "one/two/", "one/two/three/"} {
		r.write("agents/"+folder+"cases.yaml", "agent: support\ncases: [{name: a, message: hi "+folder+"}]")
	}
	if status, log := r.run("gate", map[string]string{"suite": "agents/**/*.yaml"}); status != 0 || r.fake.Executions("agents.trigger") != 4 {
		t.Errorf("exit status %d, %d runs: %s", status, r.fake.Executions("agents.trigger"), log)
	}
}

// A name with spaces and quotes is a name.
func TestActionNames(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	r.job["CONNIC_API_KEY"] = string(r.fake.Key())
	r.write(`a "b" $(touch executed)'.yaml`, passing)
	status, log := r.run("gate", map[string]string{"suite": `a "b" $(touch executed)'.yaml`, "junit": `out $(x) "y".xml`})
	if _, err := os.Stat(filepath.Join(r.dir, `out $(x) "y".xml`)); status != 0 || err != nil || !strings.Contains(r.read("GITHUB_OUTPUT"), "junit=out $(x) \"y\".xml\n") {
		t.Errorf("exit status %d, %v: %s", status, err, log)
	}
}

// A version is installed into a folder that later steps have in their PATH.
func TestActionInstall(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	r.program("go", "echo \"$GOBIN $*\" > '"+r.dir+"/installed'")
	status, log := r.run("", map[string]string{"version": "v1.2.3-rc.1"})
	bin := r.job["RUNNER_TEMP"] + "/connicctl"
	installed, err := os.ReadFile(filepath.Join(r.dir, "installed"))
	if err != nil || status != 0 || string(installed) != bin+" install github.com/connic-go/connic/cmd/connicctl@v1.2.3-rc.1\n" || r.read("GITHUB_PATH") != bin+"\n" {
		t.Errorf("%v, exit status %d: %s%s", err, status, log, installed)
	}
}

// The workflow in the guide uses inputs and outputs that the action has, keeps the
// journal, and may do nothing else.
func TestWorkflowOfTheGuide(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/guide/ci.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "```yaml\n# .github/workflows/agents.yaml\n")
	text, _, _ = strings.Cut(text, "```\n")
	workflow, own := readAction(t, []byte(text)), actionFile(t)
	if !maps.Equal(workflow.Permissions, map[string]string{"contents": "read"}) || workflow.Concurrency["group"] == nil {
		t.Errorf("%v, %v", workflow.Permissions, workflow.Concurrency)
	}
	journal, paths := "", []string(nil)
	for _, s := range workflow.Jobs["gate"].Steps {
		switch {
		case strings.HasPrefix(s.Uses, "connic-go/connic@"):
			for name := range s.With {
				if _, ok := own.Inputs[name]; !ok {
					t.Errorf("the action has no input %s", name)
				}
			}
			for name, input := range own.Inputs {
				if input.Required && s.With[name] == "" {
					t.Errorf("the workflow lacks the input %s", name)
				}
			}
			if journal = s.With["journal"]; !strings.HasPrefix(s.With["api-key"], "${{ secrets.") {
				t.Error("the key is from no secret")
			}
		case strings.HasPrefix(s.Uses, "actions/cache/"):
			paths = append(paths, s.With["path"])
		}
		for _, m := range regexp.MustCompile(`steps\.gate\.outputs\.(\w+)`).FindAllStringSubmatch(s.If+s.With["path"], -1) {
			if _, ok := own.Outputs[m[1]]; !ok {
				t.Errorf("the action has no output %s", m[1])
			}
		}
	}
	if journal == "" || !slices.Equal(paths, []string{journal, journal}) {
		t.Errorf("the journal is in %q, and the cache has %q", journal, paths)
	}
}
