package connictest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// TestPlaceholdersOfTheService records ids and texts that look like placeholders.
func TestPlaceholdersOfTheService(t *testing.T) {
	t.Parallel()
	// real ids and texts that look like placeholders
	bodies := map[string]string{
		"run-2":   `{"id": "run-2", "status": "completed", "output": "two"}`,
		"run-1":   `{"id": "run-1", "status": "failed", "error": "one"}`,
		"trigger": `{"run_id": "abcdefgh", "status": "queued"}`,
	}
	work := func(ctx context.Context, c *connic.Client) error {
		for _, id := range []string{"run-2", "run-1"} {
			run, err := c.Runs.Get(ctx, id)
			if err != nil || run.ID != id || (run.Status == connic.RunCompleted) != (id == "run-2") {
				return fmt.Errorf("%s: %+v, %w", id, run, err)
			}
		}
		for _, m := range []string{"[text 2]", "[text 1]"} {
			if _, err := c.Agents.Trigger(ctx, "support", connic.TriggerRequest{Message: m}); err != nil {
				return err
			}
		}
		return nil
	}
	path, text, told := recordOf(t, connictest.RecordOptions{}, bodies, work)
	if told != "" {
		t.Fatal(told)
	}
	reverse := func(ctx context.Context, c *connic.Client) error {
		for _, id := range []string{"run-1", "run-2"} {
			run, err := c.Runs.Get(ctx, id)
			if err != nil || run.ID != id || (run.Status == connic.RunCompleted) != (id == "run-2") {
				return fmt.Errorf("%s: %+v, %w", id, run, err)
			}
		}
		for _, m := range []string{"[text 1]", "[text 2]"} {
			if _, err := c.Agents.Trigger(ctx, "support", connic.TriggerRequest{Message: m}); err != nil {
				return err
			}
		}
		return nil
	}
	if told := replay(t, path, nil, work); told != "" {
		t.Errorf("%s\n%s", told, text)
	}
	if told := replay(t, path, nil, reverse); told != "" {
		t.Errorf("%s\n%s", told, text)
	}
}

// TestIDsThatArePlaceholders records ids that are as long as what is searched for.
func TestIDsThatArePlaceholders(t *testing.T) {
	t.Parallel()
	_, _, told := recordOf(t, connictest.RecordOptions{}, map[string]string{"agents": `{"items": [{"id":"a", "name": "x", "environment_id": "environment-1"}, {"id":"b","name":"y","environment_id":"production-7"}]}`}, func(ctx context.Context, c *connic.Client) error {
		_, err := c.Agents.List(ctx, nil)
		return err
	})
	if told != "" {
		t.Error(told)
	}
}

// TestPlaceholdersThatBeginAlike replays the ids of many, of which the test passes
// the first.
func TestPlaceholdersThatBeginAlike(t *testing.T) {
	t.Parallel()
	var list []string
	for i := range 15 {
		list = append(list, fmt.Sprintf(`{"id": "abcdefgh%02d", "status": "completed"}`, i))
	}
	bodies := map[string]string{"mine": `{"id": "mine", "status": "completed"}`, "runs": `{"items": [` + strings.Join(list, ",") + `], "total": 15}`}
	work := func(ctx context.Context, c *connic.Client) error {
		if _, err := c.Runs.Get(ctx, "mine"); err != nil {
			return err
		}
		page, err := c.Runs.List(ctx, nil)
		if err != nil {
			return err
		}
		for _, r := range page.Items {
			if strings.Contains(r.ID, "mine") {
				return fmt.Errorf("id %s", r.ID)
			}
		}
		return nil
	}
	path, _, told := recordOf(t, connictest.RecordOptions{}, bodies, work)
	if told != "" {
		t.Fatal(told)
	}
	if told := replay(t, path, nil, work); told != "" {
		t.Error(told)
	}
}

// TestQuotesInJSONInText replays an output that repeats a message with quotes.
func TestQuotesInJSONInText(t *testing.T) {
	t.Parallel()
	const message = "say \"hi\"\nand \\ go"
	output, _ := json.Marshal(map[string]any{"echo": message})
	body, _ := json.Marshal(map[string]any{"id": "abcdefgh", "status": "completed", "output": string(output)})
	work := func(ctx context.Context, c *connic.Client) error {
		if _, err := c.Agents.Trigger(ctx, "support", connic.TriggerRequest{Message: message}); err != nil {
			return err
		}
		page, err := c.Runs.List(ctx, nil)
		if err != nil {
			return err
		}
		var out struct{ Echo string }
		if err := page.Items[0].DecodeOutput(&out); err != nil || out.Echo != message {
			return fmt.Errorf("%q %w", page.Items[0].Output, err)
		}
		return nil
	}
	path, _, told := recordOf(t, connictest.RecordOptions{}, map[string]string{"trigger": `{"run_id": "abcdefgh", "status": "queued"}`, "runs": `{"items": [` + string(body) + `]}`}, work)
	if told != "" {
		t.Fatal(told)
	}
	if told := replay(t, path, nil, work); told != "" {
		t.Error(told)
	}
}

// TestReplayOfADeletedRun replays a wait that ends with a 404.
func TestReplayOfADeletedRun(t *testing.T) {
	t.Parallel()
	work := func(ctx context.Context, c *connic.Client) error {
		result, err := c.Agents.Trigger(ctx, "support", connic.TriggerRequest{Message: "x"})
		if err != nil {
			return err
		}
		bounded, cancel := context.WithTimeout(ctx, 10*time.Minute)
		defer cancel()
		go func() {
			time.Sleep(5 * time.Second)
			if err := c.Runs.Cancel(ctx, result.RunID); err != nil {
				panic(err)
			}
			if err := c.Runs.Delete(ctx, result.RunID); err != nil {
				panic(err)
			}
		}()
		if _, err := c.Runs.Wait(bounded, result.RunID); !errors.Is(err, connic.ErrNotFound) {
			return fmt.Errorf("wait: %w", err)
		}
		return nil
	}
	path := session(t, connictest.RecordOptions{}, work)
	if told := replay(t, path, nil, work); told != "" {
		text, _ := os.ReadFile(path)
		t.Errorf("%s\n%s", told, text)
	}
}

// TestReplayOfOtherPolls replays polls of lists with polls of items, and the
// reverse.
func TestReplayOfOtherPolls(t *testing.T) {
	t.Parallel()
	start := func(ctx context.Context, c *connic.Client) ([]string, error) {
		var ids []string
		for i := range 6 {
			result, err := c.Agents.Trigger(ctx, "support", connic.TriggerRequest{Message: fmt.Sprint("m", i)})
			if err != nil {
				return nil, err
			}
			ids = append(ids, result.RunID)
		}
		return ids, nil
	}
	check := func(run *connic.Run, err error) error {
		var out struct{ N int }
		if err != nil || run.Status != connic.RunCompleted || run.DecodeOutput(&out) != nil || out.N != 5 {
			return fmt.Errorf("%+v, %w", run, err)
		}
		return nil
	}
	all := func(ctx context.Context, c *connic.Client) error {
		ids, err := start(ctx, c)
		if err != nil {
			return err
		}
		for run, err := range c.Runs.WaitAll(ctx, ids) {
			if err := check(run, err); err != nil {
				return err
			}
		}
		return nil
	}
	single := func(ctx context.Context, c *connic.Client) error {
		ids, err := start(ctx, c)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := check(c.Runs.Wait(ctx, id)); err != nil {
				return err
			}
		}
		return nil
	}
	watch := func(ctx context.Context, c *connic.Client) error {
		ids, err := start(ctx, c)
		if err != nil {
			return err
		}
		more := make(chan string, len(ids))
		for _, id := range ids {
			more <- id
		}
		close(more)
		for run, err := range c.Runs.Watch(ctx, more) {
			if err := check(run, err); err != nil {
				return err
			}
		}
		return nil
	}
	kinds := map[string]func(context.Context, *connic.Client) error{"all": all, "single": single, "watch": watch}
	for a, record := range kinds {
		path := session(t, connictest.RecordOptions{}, record)
		for b, again := range kinds {
			if a == "watch" && b != "watch" {
				continue
			}
			t.Run(a+" "+b, func(t *testing.T) {
				t.Parallel()
				if told := replay(t, path, nil, again); told != "" {
					t.Errorf("%s", told)
				}
			})
		}
	}
}

// TestReplayOfABrokenResponse replays a response that breaks off.
func TestReplayOfABrokenResponse(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "recording.json")
	srv := connictest.NewServer(t)
	srv.Agent("support", func(context.Context, connictest.Input) (any, error) { return "x", nil })
	srv.Fault(connictest.Fault{Op: "agents.trigger", Nth: 1, After: true, Truncate: 10})
	work := func(ctx context.Context, c *connic.Client) error {
		if _, err := c.Agents.Trigger(ctx, "support", connic.TriggerRequest{Message: "x"}); !errors.Is(err, connic.ErrOutcomeUnknown) {
			return fmt.Errorf("the lost trigger: %w", err)
		}
		return nil
	}
	r := new(reports)
	rec := connictest.Record(r, path, &connictest.RecordOptions{Client: func(opts ...connic.Option) (*connic.Client, error) { return srv.Client(opts...), nil }})
	if err := work(t.Context(), rec.Client()); err != nil {
		t.Fatal(err)
	}
	if told := r.end(); told != "" {
		t.Fatal(told)
	}
	if told := replay(t, path, nil, work); told != "" {
		text, _ := os.ReadFile(path)
		t.Errorf("%s\n%s", told, text)
	}
}

// TestReplayOfMovedRoutes replays polls on a route that does not end with the id.
func TestReplayOfMovedRoutes(t *testing.T) {
	t.Parallel()
	next := func() http.RoundTripper {
		polls := map[string]int{}
		return service(func(q *http.Request) (*http.Response, error) {
			id := strings.Split(q.URL.Path, "/")
			polls[q.URL.Path]++
			status := "running"
			if polls[q.URL.Path] > 1 {
				status = "completed"
			}
			_ = id
			return respondWith(200, nil, fmt.Sprintf(`{"id": %q, "status": %q}`, id[len(id)-2], status))(q)
		})
	}
	path := filepath.Join(t.TempDir(), "recording.json")
	work := func(ctx context.Context, c *connic.Client) error {
		for _, id := range []string{"abcdefghi1", "abcdefghi2"} {
			run, err := c.Runs.Wait(ctx, id)
			if err != nil || run.ID != id {
				return fmt.Errorf("%+v %w", run, err)
			}
		}
		return nil
	}
	synctest.Test(t, func(t *testing.T) {
		r := new(reports)
		rec := connictest.Record(r, path, &connictest.RecordOptions{Client: func(opts ...connic.Option) (*connic.Client, error) {
			return connic.New("the-project-id", "cnc_Zq7rT2mX9pLw4kVb8nYd", append([]connic.Option{
				connic.WithHTTPClient(&http.Client{Transport: next()}), connic.WithRoute("runs.get", "/projects/{project}/executions/{run}/full"),
			}, opts...)...)
		}})
		if err := work(t.Context(), rec.Client()); err != nil {
			t.Fatal(err)
		}
		if told := r.end(); told != "" {
			t.Fatal(told)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r := new(reports)
		if err := work(t.Context(), connictest.Replay(r, path, nil).Client(connic.WithRoute("runs.get", "/projects/{project}/executions/{run}/full"))); err != nil {
			t.Error(err)
		}
		if told := r.end(); told != "" {
			text, _ := os.ReadFile(path)
			t.Errorf("%s\n%s", told, text)
		}
	})
}

// TestReplayOfNull replays a response that is null.
func TestReplayOfNull(t *testing.T) {
	t.Parallel()
	work := func(ctx context.Context, c *connic.Client) error {
		var raw json.RawMessage
		if err := c.Do(ctx, http.MethodGet, "/notes", nil, nil, &raw); err != nil || string(raw) != "null" {
			return fmt.Errorf("%q, %w", raw, err)
		}
		return nil
	}
	path, _, told := recordOf(t, connictest.RecordOptions{}, map[string]string{"notes": "null"}, work)
	if told != "" {
		t.Fatal(told)
	}
	if told := replay(t, path, nil, work); told != "" {
		t.Error(told)
	}
}
