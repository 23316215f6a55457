package connictest_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// reports is a TB that collects what is reported.
type reports struct {
	mu       sync.Mutex
	cleanups []func()
	errors   []string
}

func (*reports) Helper()            {}
func (r *reports) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *reports) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
}

func (r *reports) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func (r *reports) end() string {
	for _, f := range r.cleanups {
		f()
	}
	return strings.Join(r.errors, "\n")
}

// session records a session with the fake, and returns the file.
func session(t *testing.T, o connictest.RecordOptions, f func(ctx context.Context, c *connic.Client) error) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "recording.json")
	var told string
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		srv.Agent("support", func(_ context.Context, in connictest.Input) (any, error) {
			time.Sleep(20 * time.Second)
			return map[string]any{"answer": "to " + in.Message, "mail": "jane@corp.example", "n": 5}, nil
		})
		o.Client = func(opts ...connic.Option) (*connic.Client, error) { return srv.Client(opts...), nil }
		r := new(reports)
		if err := f(t.Context(), connictest.Record(r, path, &o).Client()); err != nil {
			t.Error(err)
		}
		told = r.end()
	})
	if told != "" {
		t.Fatal(told)
	}
	return path
}

func replay(t *testing.T, path string, o *connictest.RecordOptions, f func(ctx context.Context, c *connic.Client) error) string {
	t.Helper()
	var told string
	synctest.Test(t, func(t *testing.T) {
		r := new(reports)
		if err := f(t.Context(), connictest.Replay(r, path, o).Client()); err != nil {
			r.Errorf("%v", err)
		}
		told = r.end()
	})
	return told
}

func TestRecordAndReplay(t *testing.T) {
	t.Parallel()
	work := func(ctx context.Context, c *connic.Client) error {
		run, err := c.Agents.TriggerAndWait(ctx, "support", connic.TriggerRequest{Message: "Where is the order of jane@corp.example?"})
		if err != nil {
			return err
		}
		if run.Input != "Where is the order of jane@corp.example?" {
			return fmt.Errorf("input %q", run.Input)
		}
		again, err := c.Agents.TriggerAndWait(ctx, "support", connic.TriggerRequest{Message: "About " + run.ID + ": " + run.Output})
		if err != nil {
			return err
		}
		if again.ID == run.ID {
			return fmt.Errorf("equal runs")
		}
		var out struct{ N int }
		if err := again.DecodeOutput(&out); err != nil || out.N != 5 {
			return fmt.Errorf("%v %v", out, err)
		}
		ingestion, err := c.Knowledge.UploadText(ctx, connic.TextUpload{EnvironmentID: "env-production", Content: "A document", EntryID: "doc-7", Namespace: "handbook"})
		if err != nil {
			return err
		}
		if _, err := c.Knowledge.WaitJob(ctx, ingestion.JobID, &connic.KnowledgeParams{EnvironmentID: "env-production"}); err != nil {
			return err
		}
		entry, err := c.Knowledge.Get(ctx, "doc-7", &connic.EntryParams{EnvironmentID: "env-production", Namespace: "handbook"})
		_ = entry
		return err
	}
	path := session(t, connictest.RecordOptions{}, work)
	text, _ := os.ReadFile(path)
	t.Logf("%s", text)
	if told := replay(t, path, nil, work); told != "" {
		t.Error(told)
	}
}
