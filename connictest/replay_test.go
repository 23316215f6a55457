package connictest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/internal/leaktest"
)

func ask(message string) func(ctx context.Context, c *connic.Client) error {
	return func(ctx context.Context, c *connic.Client) error {
		_, err := c.Agents.TriggerAndWait(ctx, "support", connic.TriggerRequest{Message: message, Payload: map[string]any{"order": 7}})
		return err
	}
}

// TestReplayReportsDifferences replays programs that do something else than was
// recorded.
func TestReplayReportsDifferences(t *testing.T) {
	t.Parallel()
	path := session(t, connictest.RecordOptions{}, ask("Where is it?"))
	for name, test := range map[string]struct {
		do   func(ctx context.Context, c *connic.Client) error
		want []string
	}{
		"another text": {ask("Where?"), []string{`body.message: recorded "[text 1]", sent "Where?"`, "1 exchanges", "number 1: agents.trigger", "501"}},
		"another number": {func(ctx context.Context, c *connic.Client) error {
			_, err := c.Agents.Trigger(ctx, "support", connic.TriggerRequest{Message: "Where is it?", Payload: map[string]any{"order": 8}})
			return err
		}, []string{"body.order: recorded 7, sent 8"}},
		"a further member": {func(ctx context.Context, c *connic.Client) error {
			_, err := c.Agents.Trigger(ctx, "support", connic.TriggerRequest{Message: "Where is it?", Payload: map[string]any{"order": 7, "x": nil}})
			return err
		}, []string{"body.x: recorded nothing, sent null"}},
		"another agent": {func(ctx context.Context, c *connic.Client) error {
			_, err := c.Agents.Trigger(ctx, "sales", connic.TriggerRequest{Message: "Where is it?", Payload: map[string]any{"order": 7}})
			return err
		}, []string{"path: recorded /projects/project-1/agents/support/trigger"}},
		"twice": {func(ctx context.Context, c *connic.Client) error {
			return errors.Join(ask("Where is it?")(ctx, c), ask("Where is it?")(ctx, c))
		}, []string{"it has it fewer times than it was sent"}},
		"another operation": {func(ctx context.Context, c *connic.Client) error {
			_, err := c.Budgets.List(ctx, nil)
			return errors.Join(ask("Where is it?")(ctx, c), err)
		}, []string{"it has no request of budgets.list; it has those of agents.trigger, runs.get"}},
		"nothing": {func(context.Context, *connic.Client) error { return nil }, []string{"1 exchanges of", "number 1: agents.trigger: POST /projects/project-1/agents/support/trigger"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := replay(t, path, nil, test.do)
			for _, want := range test.want {
				if !strings.Contains(told, want) {
					t.Errorf("%s\nlacks %s", told, want)
				}
			}
		})
	}
	if told := replay(t, path, &connictest.RecordOptions{Ignore: []string{"order"}}, func(ctx context.Context, c *connic.Client) error {
		_, err := c.Agents.TriggerAndWait(ctx, "support", connic.TriggerRequest{Message: "Where is it?", Payload: map[string]any{"order": 9}})
		return err
	}); told != "" {
		t.Error(told)
	}
}

// TestReplayOfMarkers replays triggers whose markers are new each time.
func TestReplayOfMarkers(t *testing.T) {
	t.Parallel()
	work := func(ctx context.Context, c *connic.Client) error {
		start := time.Now()
		request, marker := connic.TriggerRequest{Message: "Pay the bill"}.Marked()
		if _, err := c.Agents.TriggerAndWait(ctx, "support", request); err != nil {
			return err
		}
		found, err := c.Runs.FindTriggered(ctx, connic.RunSearch{AgentName: "support", Marker: marker, Since: start})
		if err == nil && len(found) != 1 {
			err = fmt.Errorf("found %d runs", len(found))
		}
		return err
	}
	if told := replay(t, session(t, connictest.RecordOptions{}, work), nil, work); told != "" {
		t.Error(told)
	}
}

// TestTextsInRecordings keeps, shortens and hides texts.
func TestTextsInRecordings(t *testing.T) {
	t.Parallel()
	message := "Tell Acme Industries (bob@acme.example) that its delivery leaves tomorrow"
	for mode, want := range map[connictest.TextMode]string{
		connictest.ReplaceTexts: `"message": "[text 1]"`, connictest.ShortenTexts: `"message": "Tell [secret] (person-1@email.invalid) t…"`,
		connictest.KeepTexts: `"message": "Tell [secret] (person-1@email.invalid) that its delivery leaves tomorrow"`,
	} {
		o := connictest.RecordOptions{Texts: mode, Hide: []string{"Acme Industries"}}
		path := session(t, o, ask(message))
		text, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(text, []byte(want)) || bytes.Contains(text, []byte("Acme")) || bytes.Contains(text, []byte("bob@")) {
			t.Errorf("%v: %v\n%s", mode, err, text)
		}
		if told := replay(t, path, &o, ask(message)); told != "" {
			t.Errorf("%v: %s", mode, told)
		}
	}
}

// TestReplayOfFailures replays lost connections and refusals.
func TestReplayOfFailures(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "recording.json")
	work := func(ctx context.Context, c *connic.Client) error {
		if _, err := c.Agents.Trigger(ctx, "support", connic.TriggerRequest{Message: "x"}); !errors.Is(err, connic.ErrOutcomeUnknown) {
			return fmt.Errorf("the lost trigger: %w", err)
		}
		if _, err := c.Runs.Get(ctx, "none"); !errors.Is(err, connic.ErrNotFound) {
			return fmt.Errorf("the unknown run: %w", err)
		}
		_, err := c.Budgets.List(ctx, nil)
		return err
	}
	srv := connictest.New(t)
	srv.Agent("support", func(context.Context, connictest.Input) (any, error) { return "x", nil })
	srv.Fault(connictest.Fault{Op: "agents.trigger", Nth: 1, After: true, Drop: true})
	srv.Fault(connictest.Fault{Op: "budgets.list", Nth: 1, Status: http.StatusTooManyRequests, RetryAfter: "0"})
	r := new(reports)
	rec := connictest.Record(r, path, &connictest.RecordOptions{Client: func(opts ...connic.Option) (*connic.Client, error) { return srv.Client(opts...), nil }})
	if err := work(t.Context(), rec.Client()); err != nil {
		t.Fatal(err)
	}
	if told := r.end(); told != "" {
		t.Fatal(told)
	}
	if text, _ := os.ReadFile(path); bytes.Contains(text, []byte("429")) || !bytes.Contains(text, []byte(`"failed": true`)) {
		t.Errorf("%s", text)
	}
	if told := replay(t, path, nil, work); told != "" {
		t.Error(told)
	}
}

// TestRecordingsOfConnectors records a call of a connector and deliveries.
func TestRecordingsOfConnectors(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "recording.json")
	srv := connictest.NewServer(t)
	srv.Agent("support", func(_ context.Context, in connictest.Input) (any, error) { return map[string]any{"n": 5}, nil })
	hook := srv.Connector("support")
	const secret = connector.Secret("signing-secret-of-the-test")
	handled := make(chan string, 10)
	receiver := func() http.Handler {
		return connector.Handler(func(_ context.Context, d connector.Delivery) error {
			handled <- string(d.Kind)
			return nil
		}, secret)
	}
	r := new(reports)
	rec := connictest.Record(r, path, nil)
	caller := func(rec *connictest.Recording, url string, secret connector.Secret) *connector.Connector {
		c, err := connector.New(url, secret, connector.WithHTTPClient(&http.Client{Transport: rec.Transport(http.DefaultTransport)}))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	result, err := caller(rec, hook.URL(), hook.Secret()).Call(t.Context(), connector.Input{Message: "Hello", Payload: map[string]any{"n": 1}})
	if err != nil || result.RunID == "" {
		t.Fatal(result, err)
	}
	received := rec.Deliveries(receiver())
	deliver := func(body string, secret connector.Secret) int {
		q, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/", strings.NewReader(body))
		q.Header = connector.Sign([]byte(body), time.Now(), secret)
		w := httptest.NewRecorder()
		received.ServeHTTP(w, q)
		return w.Code
	}
	envelope := `{"run_id": "run-of-the-delivery", "agent_name": "support", "status": "completed", "output": "Hello bob@acme.example", "ended_at": "2026-01-02T03:04:05Z"}`
	if status := deliver(envelope, secret); status != http.StatusOK && status != http.StatusNoContent {
		t.Fatal(status)
	}
	if status := deliver(`{"name": "Jane Doe", "status": "divorced"}`, secret); status >= http.StatusMultipleChoices {
		t.Fatal(status)
	}
	if told := r.end(); told != "" {
		t.Fatal(told)
	}
	text, err := os.ReadFile(path)
	if err != nil || bytes.Contains(text, []byte("Jane")) || bytes.Contains(text, []byte("divorced")) || leaktest.For(string(hook.Secret()), string(secret), hook.Path()).In(string(text)) != "" || bytes.Contains(text, []byte("bob@")) || bytes.Contains(text, []byte("run-of-the-delivery")) {
		t.Errorf("%v\n%s", err, text)
	}
	for len(handled) > 0 {
		<-handled
	}

	r = new(reports)
	rec = connictest.Replay(r, path, nil)
	again, err := caller(rec, "https://connect.test/another", "another-secret").Call(t.Context(), connector.Input{Message: "Hello", Payload: map[string]any{"n": 1}})
	if err != nil || again.RunID == "" || again.RunID == result.RunID {
		t.Error(again, err)
	}
	if err := rec.Deliver(t.Context(), receiver(), secret); err != nil || <-handled != "run" || <-handled != "payload" {
		t.Error(err)
	}
	if told := r.end(); told != "" {
		t.Error(told)
	}
}

// TestDriftedRecordings replays what a service that has changed would respond.
func TestDriftedRecordings(t *testing.T) {
	t.Parallel()
	path := session(t, connictest.RecordOptions{}, ask("Where is it?"))
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ old, new, want string }{
		"another name of the id": {`"run_id": "run-1"`, `"execution": "run-1"`, "names no run"},
		"an unknown status":      {`"status": "completed"`, `"status": "archived"`, "archived"},
		"an error with 200":      {`"agent_name": "support",` + "\n          " + `"run_id"`, `"error": "x", "run_idx"`, "agents.trigger"},
		"no recording":           {`"version": 1`, `"version": 2`, "is a recording of version 2"},
		"not JSON":               {`"version": 1,`, `"version": 1`, "is not a recording"},
	} {
		doctored := bytes.ReplaceAll(text, []byte(test.old), []byte(test.new))
		if bytes.Equal(doctored, text) {
			t.Errorf("%s: nothing to replace in\n%s", name, text)
			continue
		}
		path := filepath.Join(t.TempDir(), "doctored.json")
		if err := os.WriteFile(path, doctored, 0o600); err != nil {
			t.Fatal(err)
		}
		var told string
		if strings.HasPrefix(test.want, "is ") {
			r := new(reports)
			func() {
				defer func() { _ = recover() }()
				connictest.Replay(r, path, nil)
			}()
			told = strings.Join(r.errors, "\n")
		} else {
			told = replay(t, path, nil, ask("Where is it?"))
		}
		if !strings.Contains(told, test.want) {
			t.Errorf("%s: %s", name, told)
		}
	}
}

// TestFailedTestsWriteNothing leaves the recording of a test that has failed as
// it was.
func TestFailedTestsWriteNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "recording.json")
	r := &failed{}
	_, _ = connictest.Record(r, path, nil).Transport(respondWith(200, nil, "{}")).RoundTrip(httptest.NewRequest(http.MethodGet, "/v1/projects/p", nil))
	if told := r.end(); told != "" {
		t.Error(told)
	}
	empty := new(reports)
	connictest.Record(empty, path, nil)
	if told := empty.end(); !strings.Contains(told, "there was no request") {
		t.Error(told)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

type failed struct{ reports }

func (*failed) Failed() bool { return true }
