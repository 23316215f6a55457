package connictest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
)

type flow = func(ctx context.Context, c *connic.Client) error

func recordFake(t *testing.T, setup func(*connictest.Server), o connictest.RecordOptions, f flow) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "recording.json")
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		srv.Agent("support", func(_ context.Context, in connictest.Input) (any, error) {
			time.Sleep(20 * time.Second)
			return map[string]any{"answer": "to " + in.Message, "n": 5}, nil
		})
		if setup != nil {
			setup(srv)
		}
		o.Client = func(opts ...connic.Option) (*connic.Client, error) { return srv.Client(opts...), nil }
		r := new(reports)
		if err := f(t.Context(), connictest.Record(r, path, &o).Client()); err != nil {
			t.Error(err)
		}
		if told := r.end(); told != "" {
			t.Error(told)
		}
	})
	return path
}

// asking adds an agent that asks for a password.
func asking(srv *connictest.Server) {
	srv.Agent("payer", func(ctx context.Context, in connictest.Input) (any, error) {
		return in.RequestApproval(ctx, connictest.ApprovalRequest{ToolName: "pay", Inputs: []connic.ApprovalInput{{Label: "Password", Sensitive: true}}})
	})
}

// TestReplayOfEverySection records and replays waits, lists, uploads and
// decisions, without the secrets among them.
func TestReplayOfEverySection(t *testing.T) {
	t.Parallel()
	project := func() fstest.MapFS {
		return fstest.MapFS{"agents/support.yaml": {Data: []byte("name: support\ntype: llm"), ModTime: time.Now()}, "tests/refunds.yaml": {Data: []byte("agent: support\ntests:\n- name: a\n  payload: x\n"), ModTime: time.Now()}}
	}
	for name, test := range map[string]struct {
		setup func(*connictest.Server)
		do    flow
	}{
		"deployment": {nil, func(ctx context.Context, c *connic.Client) error {
			d, err := c.Deployments.UploadFS(ctx, project(), nil)
			if err != nil {
				return err
			}
			d, err = c.Deployments.Wait(ctx, d.ID)
			if err == nil && d.Status != connic.DeploymentDeployed {
				err = fmt.Errorf("%+v", d)
			}
			return err
		}},
		"tests": {nil, func(ctx context.Context, c *connic.Client) error {
			r, err := c.TestRuns.Create(ctx, connic.TestRunCreate{Project: project()})
			if err != nil {
				return err
			}
			r, err = c.TestRuns.Wait(ctx, r.ID)
			if err == nil && len(r.Cases) != 1 {
				err = fmt.Errorf("%+v", r)
			}
			return err
		}},
		"session": {nil, func(ctx context.Context, c *connic.Client) error {
			s, err := c.DevSessions.Create(ctx, connic.DevSessionCreate{Name: "dev"})
			if err != nil {
				return err
			}
			if _, err := c.DevSessions.Wait(ctx, s.ID); err != nil {
				return err
			}
			_, err = c.DevSessions.Delete(ctx, s.ID)
			return err
		}},
		"evaluations": {func(srv *connictest.Server) {
			srv.Judge("a", func(context.Context, connictest.JudgeInput) (map[string]connictest.Score, error) {
				time.Sleep(30 * time.Second)
				return map[string]connictest.Score{"c": {Points: 3, Reasoning: "hm"}}, nil
			})
			srv.Judge("b", func(context.Context, connictest.JudgeInput) (map[string]connictest.Score, error) {
				time.Sleep(50 * time.Second)
				return map[string]connictest.Score{"c": {Points: 7, Reasoning: "hm"}}, nil
			})
		}, func(ctx context.Context, c *connic.Client) error {
			run, err := c.Agents.TriggerAndWait(ctx, "support", connic.TriggerRequest{Message: "x"})
			if err != nil {
				return err
			}
			var ids []string
			for _, name := range []string{"a", "b"} {
				j, err := c.Judges.Create(ctx, connic.JudgeCreate{Name: name, AgentName: "support", Model: "acme/x", TriggerMode: connic.JudgeManual, Criteria: []connic.Criterion{{Name: "c", Description: "d", MaxScore: 10}}})
				if err != nil {
					return err
				}
				ids = append(ids, j.ID)
			}
			var wg sync.WaitGroup
			errs := make([]error, 2)
			for i, id := range ids {
				wg.Go(func() {
					e, err := c.Judges.EvaluateAndWait(ctx, id, run.ID)
					if err == nil && (e.JudgeID != id || e.Score != []float64{3, 7}[i]) {
						err = fmt.Errorf("%d %+v score %v", i, e, e.Score)
					}
					errs[i] = err
				})
			}
			wg.Wait()
			return errors.Join(errs...)
		}},
		"bulk": {nil, func(ctx context.Context, c *connic.Client) error {
			docs := func(yield func(string, connic.Document) bool) {
				for i := range 5 {
					if !yield(fmt.Sprint(i), connic.TextUpload{EnvironmentID: "env-production", EntryID: fmt.Sprint("d", i), Content: fmt.Sprint("text ", i)}) {
						return
					}
				}
			}
			n := 0
			for r, err := range c.Knowledge.UploadAll(ctx, docs, nil) {
				if err != nil {
					return fmt.Errorf("%+v %w", r, err)
				}
				n++
			}
			if n != 5 {
				return fmt.Errorf("%d", n)
			}
			return nil
		}},
		"follow": {nil, func(ctx context.Context, c *connic.Client) error {
			since := time.Now().Add(-time.Second)
			go func() {
				for i := range 4 {
					time.Sleep(7 * time.Second)
					_, _ = c.Agents.Trigger(ctx, "support", connic.TriggerRequest{Message: fmt.Sprint("m", i)})
				}
			}()
			bounded, cancel := context.WithTimeout(ctx, 10*time.Minute)
			defer cancel()
			seen := map[string]int{}
			for e, err := range c.Runs.Follow(bounded, connic.FollowEnded, &connic.RunListParams{CreatedAfter: since}) {
				if err != nil {
					return err
				}
				if seen[e.Run.ID]++; seen[e.Run.ID] > 1 {
					return fmt.Errorf("%s again", e.Run.ID)
				}
				if len(seen) == 4 {
					break
				}
			}
			return nil
		}},
		"audit": {nil, func(ctx context.Context, c *connic.Client) error {
			since := time.Now().Add(-time.Second)
			go func() {
				for i := range 3 {
					time.Sleep(7 * time.Second)
					_, _ = c.Agents.Trigger(ctx, "support", connic.TriggerRequest{Message: fmt.Sprint("m", i)})
				}
			}()
			bounded, cancel := context.WithTimeout(ctx, 10*time.Minute)
			defer cancel()
			n := 0
			for _, err := range c.AuditLogs.Follow(bounded, &connic.AuditLogListParams{From: since}) {
				if err != nil {
					return err
				}
				if n++; n == 3 {
					break
				}
			}
			return nil
		}},
		"retries": {func(srv *connictest.Server) {
			srv.Fault(connictest.Fault{Op: "budgets.list", Nth: 1, Truncate: 10})
			srv.Fault(connictest.Fault{Op: "agents.list", Nth: 1, Status: 503})
			srv.Fault(connictest.Fault{Op: "runs.get", Nth: 2, Status: 502, HTML: true})
			srv.Fault(connictest.Fault{Op: "runs.get", Nth: 1, Drop: true})
		}, func(ctx context.Context, c *connic.Client) error {
			if _, err := c.Budgets.List(ctx, nil); err != nil {
				return err
			}
			if _, err := c.Agents.List(ctx, nil); err != nil {
				return err
			}
			_, err := c.Agents.TriggerAndWait(ctx, "support", connic.TriggerRequest{Message: "x"})
			return err
		}},
		"slow polls": {func(srv *connictest.Server) {
			srv.Fault(connictest.Fault{Op: "runs.get", Times: 3, Latency: 40 * time.Second})
		}, func(ctx context.Context, c *connic.Client) error {
			_, err := c.Agents.TriggerAndWait(ctx, "support", connic.TriggerRequest{Message: "x"})
			return err
		}},
		"files": {nil, func(ctx context.Context, c *connic.Client) error {
			i, err := c.Knowledge.UploadFile(ctx, connic.FileUpload{EnvironmentID: "env-production", File: connic.ReaderAtFile("Jane's \"report\".txt", strings.NewReader("a long text "+strings.Repeat("x", 10000)), 9000), Metadata: map[string]any{"name": "Jane Doe"}})
			if err != nil {
				return err
			}
			_, err = c.Knowledge.WaitJob(ctx, i.JobID, &connic.KnowledgeParams{EnvironmentID: "env-production"})
			return err
		}},
		"approvals": {asking, func(ctx context.Context, c *connic.Client) error {
			run, err := c.Agents.TriggerAndWait(ctx, "payer", connic.TriggerRequest{Message: "pay"}, connic.StopAtApproval())
			if err != nil {
				return err
			}
			if _, err := c.Approvals.Decide(ctx, run.Approval.ID, connic.Decision{Approve: true, Response: "swordfish-1"}); err != nil {
				return err
			}
			_, err = c.Runs.Wait(ctx, run.ID)
			return err
		}},
		"approvals of a wait": {asking, func(ctx context.Context, c *connic.Client) error {
			run, err := c.Agents.TriggerAndWait(ctx, "payer", connic.TriggerRequest{Message: "pay"}, connic.OnApproval(func(context.Context, *connic.Approval) (connic.Decision, error) {
				return connic.Decision{Approve: true, Response: "swordfish-1"}, nil
			}))
			if err == nil && run.Status != connic.RunCompleted {
				err = fmt.Errorf("%+v", run)
			}
			return err
		}},
		"connectors": {nil, func(ctx context.Context, c *connic.Client) error {
			config := connic.ConnectorConfig{"signing_key": "swordfish-2", "account_sid": "swordfish-3", "pass": map[string]any{"passphrase": "swordfish-4"}, "limit": 7}
			n, err := c.Connectors.Create(ctx, connic.ConnectorCreate{Name: "pay", Type: "http", Agents: []connic.ConnectorAgent{{Name: "support"}}, Config: config})
			if err != nil {
				return err
			}
			if n, err = c.Connectors.Update(ctx, n.ID, connic.ConnectorUpdate{Config: connic.Set(connic.ConnectorConfig{"signing_key": "swordfish-5"})}); err != nil {
				return err
			}
			if limit := fmt.Sprint(n.Config["limit"]); limit != "7" {
				return errors.New(limit)
			}
			_, err = connector.FromProject(ctx, c, "pay")
			return err
		}},
		"raw": {nil, func(ctx context.Context, c *connic.Client) error {
			for _, p := range []string{"/runs/0e3b9d6e-2222-4a4a-8b8b-0123456789ab", "/agents"} {
				var v any
				if err := c.Do(ctx, "GET", p, nil, nil, &v); err != nil && !errors.Is(err, connic.ErrNotFound) {
					return err
				}
			}
			return nil
		}},
		"keys": {nil, func(ctx context.Context, c *connic.Client) error {
			_, err := c.Agents.Trigger(ctx, "support", connic.TriggerRequest{Message: "x", Payload: map[string]any{"bob@acme.example": 1, "0e3b9d6e-2222-4a4a-8b8b-0123456789ab": map[string]any{"a@b.example": 2}}})
			return err
		}},
	} {
		for _, mode := range []connictest.TextMode{connictest.ReplaceTexts, connictest.KeepTexts} {
			t.Run(fmt.Sprint(name, mode), func(t *testing.T) {
				t.Parallel()
				path := recordFake(t, test.setup, connictest.RecordOptions{Texts: mode}, test.do)
				text, _ := os.ReadFile(path)
				if told := replay(t, path, nil, test.do); told != "" {
					t.Errorf("%s\n%s", told, text[:min(len(text), 3000)])
				}
				for n := range 6 {
					secret := fmt.Sprint("swordfish-", n)
					if sum := sha256.Sum256([]byte("connictest recording\n" + secret)); bytes.Contains(text, []byte(secret)) || bytes.Contains(text, []byte(hex.EncodeToString(sum[:4]))) {
						t.Errorf("%s, or its fingerprint, is in\n%s", secret, text)
					}
				}
			})
		}
	}
}

// TestRecordingsOfOnePath are written at the same time. Readers see one of them.
func TestRecordingsOfOnePath(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "recording.json")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			r := new(reports)
			rec := connictest.Record(r, path, nil)
			for range 50 {
				_, _ = rec.Transport(respondWith(200, nil, fmt.Sprintf(`{"n": %d}`, i))).RoundTrip(must(http.NewRequestWithContext(t.Context(), "GET", "http://x.example/v1/projects/p", nil)))
			}
			if told := r.end(); told != "" {
				t.Error(told)
			}
			r = new(reports)
			connictest.Replay(r, path, nil)
			if len(r.errors) > 0 {
				t.Error(r.errors)
			}
		})
	}
	wg.Wait()
	if all, _ := filepath.Glob(path + "*"); len(all) != 1 {
		t.Error(all)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestPanicsWhileRecording leave the recording usable.
func TestPanicsWhileRecording(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "recording.json")
	r := new(reports)
	rec := connictest.Record(r, path, nil)
	func() {
		defer func() { _ = recover() }()
		_, _ = rec.Transport(service(func(*http.Request) (*http.Response, error) { panic("x") })).RoundTrip(must(http.NewRequestWithContext(t.Context(), "POST", "http://x.example/v1/projects/p", bytes.NewReader([]byte("x")))))
	}()
	_, _ = rec.Transport(respondWith(200, nil, `{}`)).RoundTrip(must(http.NewRequestWithContext(t.Context(), "GET", "http://x.example/v1/projects/p", nil)))
	if told := r.end(); told != "" {
		t.Error(told)
	}
}
