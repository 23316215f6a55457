package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
)

// TestMain is the program itself where a test has started it as a process.
func TestMain(m *testing.M) {
	if os.Getenv("APPROVAL_DESK") != "" {
		main()
		return
	}
	for _, name := range []string{"CONNIC_API_KEY", "CONNIC_PROJECT_ID", "CONNIC_TOKEN", "CONNIC_API_URL"} {
		_ = os.Unsetenv(name)
	}
	os.Exit(m.Run())
}

// payments is a fake with an agent that asks, and a client of it.
func payments(t *testing.T, request connictest.ApprovalRequest) (*connictest.Server, *connic.Client) {
	t.Helper()
	srv := connictest.NewServer(t)
	srv.Agent("payer", func(ctx context.Context, in connictest.Input) (any, error) { return in.RequestApproval(ctx, request) })
	return srv, srv.Client()
}

// paused starts a run and returns it as it awaits approval.
func paused(t *testing.T, c *connic.Client) *connic.Run {
	t.Helper()
	run, err := c.Agents.TriggerAndWait(t.Context(), "payer", connic.TriggerRequest{Message: "pay"}, connic.StopAtApproval(), quickly)
	if err != nil || run.Approval == nil {
		t.Fatal(run, err)
	}
	return run
}

var quickly = connic.WithPoll(20*time.Millisecond, 50*time.Millisecond)

// serve serves a desk with a state file.
func serve(t *testing.T, c *connic.Client, path string, secret connector.Secret) (address string) {
	t.Helper()
	s, err := openStore(path)
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{client: c, store: s, log: slog.New(slog.DiscardHandler)}
	server := httptest.NewServer(d.handler(secret))
	t.Cleanup(server.Close)
	ctx, cancel := context.WithCancel(t.Context())
	var followed sync.WaitGroup
	followed.Go(func() { _ = d.follow(ctx) })
	t.Cleanup(func() { cancel(); followed.Wait() })
	return server.URL
}

// send sends a form, or reads the page if there is none.
func send(t *testing.T, address string, form url.Values, header ...string) (int, string) {
	t.Helper()
	method, body := http.MethodGet, ""
	if form != nil {
		method, body = http.MethodPost, form.Encode()
	}
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp.StatusCode, string(text)
}

// shows waits until the page contains a text.
func shows(t *testing.T, address, text string) string {
	t.Helper()
	for {
		_, page := send(t, address, nil)
		if strings.Contains(page, text) {
			return page
		}
		select {
		case <-t.Context().Done():
			t.Fatal("the page does not show " + text)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Two people decide at once: one is told, and the run has one decision.
func TestTwoPeopleAtOnce(t *testing.T) {
	t.Parallel()
	srv, c := payments(t, connictest.ApprovalRequest{ToolName: "pay"})
	run := paused(t, c)
	address := serve(t, c, filepath.Join(t.TempDir(), "state.json"), "")
	shows(t, address, run.Approval.ID)
	names := []string{"Alice", "Bob"}
	status, pages := make([]int, 2), make([]string, 2)
	var both sync.WaitGroup
	for i, decision := range []string{"approve", "reject"} {
		both.Go(func() {
			status[i], pages[i] = send(t, address+"/approvals/"+run.Approval.ID, url.Values{"name": {names[i]}, "decision": {decision}})
		})
	}
	both.Wait()
	first := 0
	if status[0] != http.StatusOK {
		first = 1
	}
	if status[first] != http.StatusOK || status[1-first] != http.StatusConflict || !strings.Contains(pages[1-first], names[first]) {
		t.Errorf("%v, and the other is told %s", status, pages[1-first])
	}
	if srv.Executions("approvals.decide") != 1 {
		t.Errorf("%d decisions", srv.Executions("approvals.decide"))
	}
	if code, page := send(t, address+"/approvals/"+run.Approval.ID, url.Values{"name": {"Carol"}, "decision": {"approve"}}); code != http.StatusConflict || !strings.Contains(page, names[first]+" has ") {
		t.Errorf("later: %d %s", code, page)
	}
}

// What is open survives a restart; what was decided meanwhile is not.
func TestRestart(t *testing.T) {
	t.Parallel()
	srv, c := payments(t, connictest.ApprovalRequest{ToolName: "pay"})
	path := filepath.Join(t.TempDir(), "state.json")
	s, err := openStore(path)
	if err != nil {
		t.Fatal(err)
	}
	open, decided := paused(t, c), paused(t, c)
	for _, run := range []*connic.Run{open, decided} {
		if err := s.put(run.Approval); err != nil {
			t.Fatal(err)
		}
	}
	if err := srv.Decide(decided.Approval.ID, "Dora", connic.Decision{Approve: true}); err != nil {
		t.Fatal(err)
	}
	page := shows(t, serve(t, c, path, ""), "Dora has approved it")
	if !strings.Contains(page, "/approvals/"+open.Approval.ID) || strings.Contains(page, "/approvals/"+decided.Approval.ID) {
		t.Error(page)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openStore(path); err == nil {
		t.Error("a state file that cannot be read is taken for an empty one")
	}
}

// The page shows arguments as text, and asks for inputs; nobody else makes it
// decide.
func TestPage(t *testing.T) {
	t.Parallel()
	srv, c := payments(t, connictest.ApprovalRequest{
		ToolName:  `<b onclick="x">`,
		Arguments: map[string]any{"note": "\u202e<script>alert(1)</script>"},
		Inputs:    []connic.ApprovalInput{{Label: "Purpose"}, {Label: "PIN", Sensitive: true}},
	})
	run := paused(t, c)
	id := run.Approval.ID
	path := filepath.Join(t.TempDir(), "state.json")
	address := serve(t, c, path, "")
	page := shows(t, address, id)
	if strings.Contains(page, "<script") || strings.Contains(page, "<b ") || strings.Contains(page, "\u202e") || !strings.Contains(page, `type="password"`) {
		t.Error(page)
	}
	form := url.Values{"name": {"Alice"}, "decision": {"approve"}, "input": {"rent", ""}}
	for name, header := range map[string][]string{
		"another site":   {"Sec-Fetch-Site", "cross-site"},
		"an old browser": {"Origin", "https://evil.example"},
	} {
		if code, _ := send(t, address+"/approvals/"+id, form, header...); code != http.StatusForbidden {
			t.Errorf("%s: %d", name, code)
		}
	}
	if code, _ := send(t, address+"/approvals/"+id, form); code != http.StatusUnprocessableEntity {
		t.Errorf("without a PIN: %d", code)
	}
	form["input"] = []string{"rent", "PIN-0123456789"}
	if code, page := send(t, address+"/approvals/"+id, form); code != http.StatusOK || !strings.Contains(page, "Alice has approved it") {
		t.Errorf("%d %s", code, page)
	}
	if got := srv.Response(id); got != "Purpose: rent\nPIN: PIN-0123456789" {
		t.Errorf("the response is %q", got)
	}
	if state, err := os.ReadFile(path); err != nil || strings.Contains(string(state), "PIN-0123456789") {
		t.Errorf("the state has the response: %s, %v", state, err)
	}
	if code, _ := send(t, address+"/approvals/none", form); code != http.StatusNotFound {
		t.Errorf("an unknown one: %d", code)
	}
}

// The desk is another process than the one that waits. It is told by a signed
// notice, and its decision resumes the run.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	srv, c := payments(t, connictest.ApprovalRequest{ToolName: "pay", Arguments: map[string]int{"amount": 12}})
	target, err := c.Connectors.Create(t.Context(), connic.ConnectorCreate{
		Name: "approvals", Type: "http", Mode: connic.ConnectorOutbound, Config: connic.ConnectorConfig{"outbound_url": "http://127.0.0.1:1/"},
	})
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, exe, "-addr", "127.0.0.1:0", "-state", filepath.Join(t.TempDir(), "state.json"), "-connector", "approvals")
	cmd.Env = append(os.Environ(), "APPROVAL_DESK=1", "CONNIC_API_KEY="+string(srv.Key()), "CONNIC_PROJECT_ID="+connictest.ProjectID, "CONNIC_API_URL="+srv.URL())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address := strings.TrimSpace(strings.TrimPrefix(line, "approvals at "))
	// Its address is known now, so that the service can notify it.
	if _, err := c.Connectors.Update(ctx, target.ID, connic.ConnectorUpdate{Config: connic.Set(connic.ConnectorConfig{"outbound_url": address + "/hooks/connic"})}); err != nil {
		t.Fatal(err)
	}
	srv.NotifyApprovals(target.ID)

	started, err := c.Agents.Trigger(ctx, "payer", connic.TriggerRequest{Message: "pay"})
	if err != nil {
		t.Fatal(err)
	}
	page := shows(t, address, started.RunID)
	id := page[strings.Index(page, `action="/approvals/`)+len(`action="/approvals/`):]
	id = id[:strings.IndexByte(id, '"')]
	ended := make(chan error, 1)
	go func() {
		run, err := c.Runs.Wait(ctx, started.RunID, quickly)
		if err == nil && run.Status != connic.RunCompleted {
			err = fmt.Errorf("the run is %s", run.Status)
		}
		ended <- err
	}()
	if code, page := send(t, address+"/approvals/"+id, url.Values{"name": {"Alice"}, "decision": {"approve"}}); code != http.StatusOK {
		t.Errorf("%d %s", code, page)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	requests := make(map[string]int)
	for _, r := range srv.Requests() {
		requests[r.Op]++
	}
	t.Log("requests of both processes:", requests)
	// An unsigned notice is refused.
	if code, _ := send(t, address+"/hooks/connic", url.Values{}, "Content-Type", "application/json"); code != http.StatusUnauthorized {
		t.Errorf("an unsigned notice: %d", code)
	}
}

// Without configuration all begins anew each time, whatever was decided before.
func TestWithoutConfiguration(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state.json")
	for range 2 {
		ctx, stop := context.WithCancel(t.Context())
		r, w := io.Pipe()
		ended := make(chan error, 1)
		go func() {
			err := run(ctx, []string{"-addr", "127.0.0.1:0", "-state", path}, w, io.Discard)
			_ = w.Close()
			ended <- err
		}()
		line, err := bufio.NewReader(r).ReadString('\n')
		if err != nil {
			t.Fatal(err, <-ended)
		}
		address := strings.TrimSpace(strings.TrimPrefix(line, "approvals at "))
		for _, tool := range []string{"pay_invoice", "delete_customer", "confirm_transfer"} {
			shows(t, address, tool)
		}
		shows(t, address, `action="/approvals/approval-00000001"`)
		if code, page := send(t, address+"/approvals/approval-00000001", url.Values{"name": {"Alice"}, "decision": {"approve"}}); code != http.StatusOK {
			t.Errorf("%d %s", code, page)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("approvals of the fake are remembered")
	}
}
