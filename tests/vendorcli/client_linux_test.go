package vendorcli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const agent = "version: \"1.0\"\nname: support\ntype: llm\nmodel: openai/gpt-4o\ndescription: Answers questions\nsystem_prompt: You answer questions.\n"

// project is a small project: an agent at the top and one deeper, defaults that
// are no agent, a connector, a suite at the top and one deeper.
var project = map[string]string{
	"agents/support.yaml":     agent,
	"agents/deep/clerk.yaml":  strings.Replace(agent, "support", "clerk", 1),
	"agents/_defaults.yaml":   "model: openai/gpt-4o\n",
	"connectors/nightly.yaml": "type: webhook\nmode: inbound\nagents: [support]\n",
	"tests/support.yaml":      "tests:\n  - name: greets\n    payload: hello\n  - name: says bye\n    payload: bye\n",
	"tests/nested/files.yaml": "agent: clerk\ndefaults:\n  success_threshold: 90\ntests:\n  - name: greets back\n    payload: hello\n    runs: 2\n",
	"tests/README.md":         "No suite.\n",
}

// config is what all fakes of this test have in common.
const config = `"phase_time": "0s", "quota": {"limit": 0}`

// binary is the program connic-fake, built once.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "connic-fake")
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "connic-fake")
	build := exec.Command("go", "build", "-o", name, "./connictest/cmd/connic-fake")
	build.Dir = "../.."
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, output)
	}
	return name, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if name, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(name))
	}
	os.Exit(code)
}

// desk is where the client works: a project's folder, and a fake to talk to.
type desk struct {
	t      *testing.T
	client string // the vendor's program
	dir    string
	env    map[string]string
	key    string        // the one that connic-fake printed
	log    *bytes.Buffer // of the fake; complete once it has stopped
	stop   func()
}

// sit makes a desk with a fake of its own.
func sit(t *testing.T, settings string) *desk {
	t.Helper()
	client := os.Getenv("CONNIC_VENDOR_CLIENT")
	if client == "" {
		t.Skip("CONNIC_VENDOR_CLIENT does not name the vendor's client, which is not part of this module; run.sh installs it")
	}
	d := &desk{t: t, client: client, dir: t.TempDir(), env: map[string]string{
		"CONNIC_NO_UPDATE_CHECK": "1", "HOME": t.TempDir(), "PATH": os.Getenv("PATH"), "BROWSER": "true",
		"LC_ALL": "C.UTF-8", "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "200",
	}, log: new(bytes.Buffer)}
	for name, content := range project {
		d.write(name, content)
	}
	fake, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "fake.json")
	if settings != "" {
		settings = ", " + settings
	}
	if err := os.WriteFile(file, []byte("{"+config+settings+"}"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.stop = d.start(fake, "CONNIC_API_KEY", "-config", file)
	if d.key = d.env["CONNIC_API_KEY"]; d.key == "" {
		t.Fatalf("connic-fake printed no key: %v", d.env)
	}
	return d
}

// start starts connic-fake, and takes the variables that it prints, up to the
// last one. What it returns stops it.
func (d *desk) start(fake, last string, args ...string) (stop func()) {
	d.t.Helper()
	life, end := context.WithTimeout(context.WithoutCancel(d.t.Context()), 5*time.Minute)
	cmd := exec.CommandContext(life, fake, append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	cmd.Stderr = d.log
	output, err := cmd.StdoutPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		defer end()
		if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil {
			d.t.Errorf("connic-fake ended with %v\n%s", err, d.log)
		}
	})
	d.t.Cleanup(stop)
	for lines := bufio.NewScanner(output); lines.Scan(); {
		name, value, ok := strings.Cut(strings.TrimPrefix(lines.Text(), "export "), "=")
		if d.env[name] = value; !ok || name == last {
			break
		}
	}
	return stop
}

func (d *desk) write(name, content string) {
	d.t.Helper()
	file := filepath.Join(d.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(content), 0o600)); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.client, args...)
	cmd.Dir = d.dir
	for name, value := range d.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

var escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[a-zA-Z]|\r`)

// run runs the client, and checks its exit code and what it prints.
func (d *desk) run(input string, code int, args []string, wants ...string) string {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := d.command(ctx, args...)
	cmd.Stdin = strings.NewReader(input)
	raw, err := cmd.CombinedOutput()
	output := escapes.ReplaceAllString(string(raw), "")
	d.show(args, output, cmd.ProcessState.ExitCode())
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		d.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		d.t.Errorf("connic %q: exit code %d, want %d", args, got, code)
	}
	for _, want := range wants {
		if !strings.Contains(output, want) {
			d.t.Errorf("connic %q does not print %q", args, want)
		}
	}
	return output
}

// show writes a command into the transcript.
func (d *desk) show(args []string, output string, code int) {
	d.t.Logf("$ connic %s\n%s[exit code %d]", strings.ReplaceAll(strings.Join(args, " "), d.key, "cnc_…"), output, code)
}

func TestLoginWithAToken(t *testing.T) {
	t.Parallel()
	d := sit(t, "")
	token := d.env["CONNIC_PROJECT_ID"] + ":" + d.env["CONNIC_API_KEY"]
	delete(d.env, "CONNIC_PROJECT_ID")
	delete(d.env, "CONNIC_API_KEY")
	d.run("", 0, []string{"login", "--token", token})
	var saved struct {
		Key     string `json:"api_key"`
		Project string `json:"project_id"`
	}
	raw, err := os.ReadFile(filepath.Join(d.dir, ".connic"))
	if err = errors.Join(err, json.Unmarshal(raw, &saved)); err != nil || saved.Project+":"+saved.Key != token {
		t.Errorf("%v, the file holds %s", err, raw)
	}
	// What was saved is enough from here on.
	d.run("", 0, []string{"deploy", "--list"}, "production", "env-production")
}

func TestDeploy(t *testing.T) {
	t.Parallel()
	d := sit(t, `"environments": [
		{"id": "live", "name": "Production", "env_type": "production", "is_default": true, "test_environment_id": "lab"},
		{"id": "stage", "name": "Staging", "env_type": "production", "deploy_gate_tests_enabled": false},
		{"id": "shut", "name": "Shut", "env_type": "production", "can_deploy": false},
		{"id": "lab", "name": "Lab", "env_type": "test"}
	]`)
	list := d.run("", 0, []string{"deploy", "--list"}, "Project: connictest", "Production", "live", "Staging")
	if strings.Contains(list, "Lab") || strings.Contains(list, "Shut") {
		t.Error("it lists environments that are not deployed to")
	}
	d.run("", 0, []string{"deploy", "--env", "production", "--yes"}, "Environment: Production", "Deployment id: deployment-00000001", "7 files", "Tests: run when present")
	d.run("", 0, []string{"deploy", "--env", "stage", "--yes", "--skip-tests"}, "Environment: Staging", "Deployment id: deployment-00000002")
	d.run("", 0, []string{"deploy", "--env", "Staging", "--yes"}, "Tests: disabled for this environment")
	d.run("1\ny\n", 0, []string{"deploy"}, "Environment: Production", "Deployment created.")
	d.run("", 1, []string{"deploy", "--env", "nowhere", "--yes"}, "Available environments")
	d.run("", 1, []string{"deploy", "--env", "Lab", "--yes"}, "Available environments")
	d.run("", 1, []string{"deploy", "--env", "Shut", "--yes"}, "Available environments")
	key, project := d.env["CONNIC_API_KEY"], d.env["CONNIC_PROJECT_ID"]
	d.env["CONNIC_API_KEY"] = "cnc_wrong"
	d.run("", 1, []string{"deploy", "--list"}, "Invalid API key")
	d.env["CONNIC_API_KEY"], d.env["CONNIC_PROJECT_ID"] = key, "other"
	d.run("", 1, []string{"deploy", "--list"}, "Project not found")
	d.env["CONNIC_PROJECT_ID"] = project
	d.stop()
	if log := d.log.String(); strings.Contains(log, key) || strings.Count(log, "/deploy/upload?environment_id=") != 4 {
		t.Errorf("the fake's log is\n%s", log)
	}
}

func TestDeployQueuedAndRefused(t *testing.T) {
	t.Parallel()
	queued := sit(t, `"phase_time": "5m"`)
	args := []string{"deploy", "--env", "production", "--yes"}
	queued.run("", 0, args, "Deployment created.")
	queued.run("", 0, args, "Another deployment is currently building")

	refused := sit(t, `"faults": [{"op": "deployments.upload", "status": 400}]`)
	refused.run("", 1, args, "Bad Request")

	key := sit(t, `"keys": [{"key": "cnc_reader_0123456789", "permissions": ["runs:read"]}]`)
	key.env["CONNIC_API_KEY"] = "cnc_reader_0123456789"
	key.run("", 1, args, "Failed to create deployment", "Key lacks permission")

	limited := sit(t, `"faults": [{"op": "environments.list", "status": 429, "retry_after": "30"}]`)
	limited.run("", 1, args, "Failed to get environments")

	connected := sit(t, `"git_provider": "github"`)
	connected.run("", 1, args, "This project has a git repository connected")
}

func TestTest(t *testing.T) {
	t.Parallel()
	d := sit(t, "")
	d.run("", 0, []string{"test"}, "2 test suite(s) found", "production.test_environment_id (env-test)", "Test run id: testrun-00000001",
		"greets back", "90%", "100%", "says bye", "clerk", "3/3 cases passed.", "/deployments/deployment-")
	filtered := d.run("", 0, []string{"test", "--filter", "greets"}, "greets back", "2/2 cases passed.")
	if strings.Contains(filtered, "says bye") {
		t.Error("the filter leaves a test in whose name does not match")
	}
	output := d.run("", 0, []string{"test", "--json", "--env", "env-production"})
	var result struct {
		Status, Environment string
		Cases               []struct {
			Agent     string  `json:"agent_name"`
			Passed    bool    `json:"passed"`
			Threshold float64 `json:"success_threshold"`
		}
	}
	if err := json.Unmarshal([]byte(output), &result); err != nil || result.Status != "passed" || len(result.Cases) != 3 || result.Cases[0].Threshold != 90 {
		t.Errorf("%v, %+v", err, result)
	}
	d.run("", 1, []string{"test", "--env", "nowhere"}, "Environment not found")
	d.run("", 2, []string{"test", "--filter", "no such test"}, "Test run errored: No test has")
	d.write("tests/support.yaml", "agent: nobody\ntests:\n  - name: x\n    payload: x\n")
	d.run("", 1, []string{"test"}, "unknown agent 'nobody'")
}

// TestRecordedSession records what the client exchanges with the fake, and replays
// it to the client.
func TestRecordedSession(t *testing.T) {
	t.Parallel()
	d := sit(t, "")
	fake, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	session := func() (said string) {
		said += d.run("", 0, []string{"deploy", "--list"}, "production")
		said += d.run("", 0, []string{"deploy", "--env", "production", "--yes"}, "Deployment created.")
		said += d.run("", 0, []string{"test", "--filter", "greets"}, "greets back", "2/2 cases passed.")
		return said
	}
	file := filepath.Join(t.TempDir(), "session.json")
	stop := d.start(fake, "CONNIC_API_URL", "-record", file, "-upstream", d.env["CONNIC_API_URL"])
	recorded := session()
	stop()
	text, err := os.ReadFile(file)
	if err != nil || strings.Contains(string(text), d.key) || strings.Contains(string(text), d.env["CONNIC_PROJECT_ID"]) {
		t.Fatalf("%v\n%s", err, text)
	}
	stop = d.start(fake, "CONNIC_API_KEY", "-replay", file, "-ignore", "files_data,files_hash") // its archives hold the time
	replayed := session()
	stop()
	ids := regexp.MustCompile(`(deployment|testrun|test-run|env|test-environment|environment|project)-[a-z0-9-]+|[0-9a-f-]{36}|[0-9]+ bytes|[─┌┬┐├┼┤└┴┘│ ]+|[0-9.]+ ?m?s|[0-9a-f]{12}|\[text [0-9]+\]|connictest`)
	if a, b := ids.ReplaceAllString(recorded, "x"), ids.ReplaceAllString(replayed, "x"); a != b {
		t.Errorf("%s\nwas recorded, and replayed\n%s", a, b)
	}
}

func TestTestThatFails(t *testing.T) {
	t.Parallel()
	d := sit(t, `"agents": [{"name": "support", "answers": [{"error": "no idea", "spans": [{"name": "lookup", "spans": [{"name": "database", "error": "gone"}, {"name": "a line", "type": "log"}]}]}]}],
		"runs": [{"agent": "support", "message": "hello"}],
		"tests": [{"agent": "support", "test": "greets", "failure_reason": "it did not greet", "agent_run_ids": ["run-00000001", "run-gone"]}]`)
	output := d.run("", 1, []string{"test"}, "it did not greet", "2/3 cases passed.", "no idea", "lookup", "database")
	if strings.Contains(output, "a line") {
		t.Error("the client shows log lines, and did not")
	}
	d.run("", 1, []string{"test", "--json"}, `"status": "failed"`, `"failure_reason": "it did not greet"`)

	broken := sit(t, `"faults": [{"op": "test_runs.create", "status": 503, "times": -1}]`)
	broken.run("", 2, []string{"test"})
	limited := sit(t, `"faults": [{"op": "test_runs.create", "status": 429, "retry_after": "30"}]`)
	limited.run("", 2, []string{"test"})
}

// typist works with the client in a terminal.
type typist struct {
	d      *desk
	master *os.File
	cmd    *exec.Cmd
	mu     sync.Mutex
	text   strings.Builder
	grown  chan struct{}
	done   chan struct{}
}

// expect waits until the client has printed a text.
func (y *typist) expect(want string) {
	y.d.t.Helper()
	timeout := time.After(time.Minute)
	for {
		if y.printed(want) {
			return
		}
		select {
		case <-y.grown:
		case <-y.done:
			if y.printed(want) {
				return
			}
			y.d.t.Fatalf("it ended without %q:\n%s", want, y.text.String())
		case <-timeout:
			y.mu.Lock()
			defer y.mu.Unlock()
			y.d.t.Fatalf("it does not print %q, but\n%s", want, y.text.String())
		}
	}
}

// printed reports whether the client has printed a text.
func (y *typist) printed(want string) bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	return strings.Contains(escapes.ReplaceAllString(y.text.String(), ""), want)
}

func (y *typist) press(keys string) {
	if _, err := io.WriteString(y.master, keys); err != nil {
		y.d.t.Error(err)
	}
}

// end waits for the client, and checks its exit code.
func (y *typist) end(code int) {
	y.d.t.Helper()
	err := y.cmd.Wait()
	<-y.done
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		y.d.t.Error(err)
	}
	y.d.show(y.cmd.Args[1:], escapes.ReplaceAllString(y.text.String(), ""), y.cmd.ProcessState.ExitCode())
	if got := y.cmd.ProcessState.ExitCode(); got != code {
		y.d.t.Errorf("exit code %d, want %d", got, code)
	}
}

func (d *desk) typing(args ...string) *typist {
	d.t.Helper()
	master, slave, err := terminal()
	if err != nil {
		d.t.Fatal(err)
	}
	y := &typist{d: d, master: master, grown: make(chan struct{}, 1), done: make(chan struct{})}
	ctx, cancel := context.WithTimeout(d.t.Context(), 3*time.Minute)
	y.cmd = d.command(ctx, args...)
	y.cmd.Stdin, y.cmd.Stdout, y.cmd.Stderr = slave, slave, slave
	y.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = y.cmd.Start()
	_ = slave.Close()
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { cancel(); _ = master.Close() })
	go func() {
		defer close(y.done)
		buffer := make([]byte, 4096)
		for {
			n, err := master.Read(buffer)
			y.mu.Lock()
			y.text.Write(buffer[:n])
			y.mu.Unlock()
			select {
			case y.grown <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	return y
}

func TestLoginInTheBrowser(t *testing.T) {
	t.Parallel()
	offered(t, "login.start")
	d := sit(t, "")
	delete(d.env, "CONNIC_PROJECT_ID")
	delete(d.env, "CONNIC_API_KEY")
	d.run("", 0, []string{"login"}, "Confirmation code:", "Waiting for approval...")
	d.run("", 0, []string{"deploy", "--list"}, "production", "env-production")
}

func TestDev(t *testing.T) {
	t.Parallel()
	offered(t, "dev_sessions.create")
	d := sit(t, "")
	y := d.typing("dev", "--quick")
	y.expect("Container: running")
	y.expect("Keys: [r] refresh")
	// It says that it watches shortly before it does, so the change is repeated.
	for n := 2; n < 30 && !y.printed("Detected change: support.yaml"); n++ {
		d.write("agents/support.yaml", agent+fmt.Sprintf("max_concurrent_runs: %d\n", n))
		time.Sleep(time.Second)
	}
	y.expect("Files changed, uploading...")
	y.expect("✓ Uploaded")
	time.Sleep(3 * time.Second) // what it has detected meanwhile is uploaded too
	y.press("r")
	y.expect("Manual refresh — uploading")
	y.press("t")
	y.expect("3/3 cases passed.")
	y.expect("Back to watching")
	y.press("q")
	y.expect("Ephemeral environment deleted.")
	y.end(0)
}

func TestDevInANamedEnvironment(t *testing.T) {
	t.Parallel()
	offered(t, "dev_sessions.create")
	d := sit(t, "")
	first := d.typing("dev", "mine")
	first.expect("Environment: mine")
	first.expect("Keys: [r] refresh")
	d.run("", 1, []string{"dev", "mine"}) // one is active
	first.press("\x03")
	first.expect("named environment preserved")
	first.end(0)
	// The preference that it saved is found again.
	second := d.typing("dev")
	second.expect("Reuse mine (preferred)")
	second.press("\r")
	second.expect("Keys: [r] refresh")
	second.press("q")
	second.end(0)
}
