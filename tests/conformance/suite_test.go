package conformance

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/internal/api"
)

func cases(t *testing.T) []Case {
	t.Helper()
	all, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// check runs the cases, all of which must come as expected.
func check(t *testing.T, target Target) {
	t.Helper()
	rows, err := Run(t.Context(), target, cases(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if len(row.Differs) > 0 || row.Skipped != "" {
			t.Errorf("%s, %s: %s%s", row.Case.Op, row.Case.Name, row.Skipped, strings.Join(row.Differs, "; "))
		}
	}
	t.Logf("\n%s", Table(rows, true))
}

func TestEveryOperationHasACase(t *testing.T) {
	t.Parallel()
	all := cases(t)
	for _, o := range api.Table {
		if !slices.ContainsFunc(all, func(c Case) bool {
			return c.Op == o.Name && slices.ContainsFunc(c.Status, func(s int) bool { return s < 300 })
		}) {
			t.Errorf("%s has no case that succeeds", o.Name)
		}
	}
	for _, c := range all {
		if o := api.Table[max(slices.IndexFunc(api.Table[:], func(o api.Operation) bool { return o.Name == c.Op }), 0)]; c.Op != "" && (o.Name != c.Op || o.Method != c.Method) {
			t.Errorf("the case %q is of the operation %q, which has another method or does not exist", c.Name, c.Op)
		}
	}
}

// set gives a fake what the cases need.
func set(srv *connictest.Server) Target {
	srv.RateLimit(0, 0, connictest.FixedWindow)
	srv.IngestionTime(0)
	srv.PhaseTime(0)
	srv.ApproveLogins(0)
	srv.Bridge("conformance")
	srv.Agent("echo", func(_ context.Context, in connictest.Input) (any, error) { return in.Message, nil })
	srv.Agent("asks", func(ctx context.Context, in connictest.Input) (any, error) { return in.Message, in.AwaitApproval(ctx) })
	return Target{
		URL: srv.URL(), Project: connictest.ProjectID, Key: string(srv.Key()), Agent: "echo", Asks: "asks", Transport: srv.Transport(),
		Writes: true, Deploys: true, Poll: time.Millisecond,
	}
}

func TestInProcess(t *testing.T) {
	t.Parallel()
	srv := connictest.New()
	defer srv.Close()
	check(t, set(srv))
	broken := 0
	for _, c := range cases(t) {
		if c.Broken || c.Anonymous && !c.Keyless {
			broken++
		}
	}
	if told := srv.Complaints(); len(told) != broken {
		t.Errorf("%d cases break the rules, and the fake has complained %d times: %q", broken, len(told), told)
	}
}

func TestOverLoopback(t *testing.T) {
	t.Parallel()
	srv := connictest.Start()
	defer srv.Close()
	target := set(srv)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	target.Transport = transport
	check(t, target)
}

func TestConnicFake(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "connic-fake")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", name, "./connictest/cmd/connic-fake")
	build.Dir = "../.."
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	config := filepath.Join(t.TempDir(), "fake.json")
	if err := os.WriteFile(config, []byte(`{
		"bridges": ["conformance"],
		"agents": [{"name": "echo", "answers": [{}]}, {"name": "asks", "answers": [{"approval": true}]}]
	}`), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, name, "-addr", "127.0.0.1:0", "-config", config, "-rate", "0", "-phase", "0s")
	log := new(strings.Builder)
	cmd.Stderr = log
	output, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	variables := make(map[string]string)
	for lines := bufio.NewScanner(output); len(variables) < 3 && lines.Scan(); {
		key, value, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "export "), "=")
		variables[key] = value
	}
	transport := &http.Transport{}
	check(t, Target{
		URL: variables["CONNIC_API_URL"], Project: variables["CONNIC_PROJECT_ID"], Key: variables["CONNIC_API_KEY"], Agent: "echo", Asks: "asks",
		Transport: transport, Writes: true, Deploys: true, Poll: 10 * time.Millisecond,
	})
	transport.CloseIdleConnections()
	if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil {
		t.Errorf("it ends with %v", err)
	}
	if text := log.String(); strings.Contains(text, variables["CONNIC_API_KEY"]) || !strings.Contains(text, "POST /v1/projects/") {
		t.Errorf("the log is\n%s", text)
	}
}

// TestService compares the service with the cases. See the package's comment.
func TestService(t *testing.T) {
	t.Parallel()
	key, project, url := os.Getenv("CONNIC_API_KEY"), os.Getenv("CONNIC_PROJECT_ID"), os.Getenv("CONNIC_API_URL")
	if os.Getenv("CONNIC_CONFORMANCE") == "" || key == "" || project == "" {
		t.Skip("it spends the quota of a real project: CONNIC_CONFORMANCE, CONNIC_API_KEY and CONNIC_PROJECT_ID are not set")
	}
	if url == "" {
		url = "https://api.connic.co/v1"
	}
	agent := os.Getenv("CONNIC_CONFORMANCE_AGENT")
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
	defer transport.CloseIdleConnections()
	rows, err := Run(t.Context(), Target{
		URL: strings.TrimSuffix(url, "/"), Project: project, Key: key, Agent: agent, Transport: transport,
		Asks:    os.Getenv("CONNIC_CONFORMANCE_ASKS"),
		Writes:  os.Getenv("CONNIC_CONFORMANCE_WRITES") != "" && agent != "",
		Deploys: false, Poll: 5 * time.Second,
	}, cases(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("all cases\n%s", Table(rows, true))
	if slices.ContainsFunc(rows, func(r Row) bool { return len(r.Differs) > 0 }) {
		t.Errorf("what differs\n%s", Table(rows, false))
	}
}

func TestDifferencesAreSeen(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]connictest.Fault{
		`"id" is absent, expected string`:                 {Op: "project.get", Remove: []string{"id"}},
		`"*.name" is object, expected string`:             {Op: "environments.list", Retype: []string{"*.name"}},
		`"items" is absent, expected array`:               {Op: "runs.list", Envelope: "data"},
		`status 500, expected [200]: {"detail":"Internal`: {Op: "agents.list", Status: 500},
		`the response is not JSON: <html>`:                {Op: "deployments.list", HTML: true},
	} {
		srv := connictest.New()
		target := set(srv)
		fault.Times = -1
		srv.Fault(fault)
		rows, err := Run(t.Context(), target, cases(t))
		srv.Close()
		if report := Table(rows, false); err != nil || !strings.Contains(report, name) || !strings.Contains(report, fault.Op) {
			t.Errorf("%v, the report is\n%s and does not say %s", err, report, name)
		}
	}
}
