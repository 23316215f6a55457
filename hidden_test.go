package connic

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic/internal/leaktest"
)

// The service may repeat the key in what it says of work that failed, without the
// prefix too. The errors that quote it know the key of their client.
func TestTheKeyInErrorsOfWork(t *testing.T) {
	t.Parallel()
	rest := strings.TrimPrefix(string(testKey), "cnc_")
	failed := fmt.Sprintf(`{"status": "failed", "container": "failed", "container_status": "failed", "id": "x1", "run_id": "x1", "job_id": "x1", "error": "%[1]s is bad",
		"agent_name": "%[1]s", "entry_id": "%[1]s", "cases": [{"agent_name": "a", "test_name": "%[1]s", "failure_reason": "%[2]s %[1]s"}]}`, rest, strings.Repeat("x", 480))
	for name, call := range map[string]func(context.Context, *Client) error{
		"run": func(ctx context.Context, c *Client) error { _, err := c.Runs.Wait(ctx, "x1"); return err },
		"triggered": func(ctx context.Context, c *Client) error {
			_, err := c.Agents.TriggerAndWait(ctx, "a", TriggerRequest{Message: "m"})
			return err
		},
		"runs": func(ctx context.Context, c *Client) error { return firstError(c.Runs.WaitAll(ctx, []string{"x1"})) },
		"job":  func(ctx context.Context, c *Client) error { _, err := c.Knowledge.WaitJob(ctx, "x1", nil); return err },
		"jobs": func(ctx context.Context, c *Client) error {
			return firstError(c.Knowledge.WaitJobs(ctx, []string{"x1"}, nil))
		},
		"evaluated": func(ctx context.Context, c *Client) error {
			_, err := c.Judges.EvaluateAndWait(ctx, "j", "x1")
			return err
		},
		"evaluation": func(ctx context.Context, c *Client) error {
			_, err := c.Judges.WaitEvaluation(ctx, "j", "x1")
			return err
		},
		"evaluations": func(ctx context.Context, c *Client) error {
			return firstError(c.Judges.WaitEvaluations(ctx, "j", []string{"x1"}))
		},
		"evaluation of a run": func(ctx context.Context, c *Client) error {
			_, err := c.Judges.WaitRunEvaluation(ctx, "j", "x1")
			return err
		},
		"deployment": func(ctx context.Context, c *Client) error { _, err := c.Deployments.Wait(ctx, "x1"); return err },
		"test run":   func(ctx context.Context, c *Client) error { _, err := c.TestRuns.Wait(ctx, "x1"); return err },
		"test runs":  func(ctx context.Context, c *Client) error { return firstError(c.TestRuns.WaitAll(ctx, []string{"x1"})) },
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
				if strings.HasSuffix(r.URL.Path, "/evaluations") || strings.HasSuffix(r.URL.Path, "/runs") {
					return respond(200, `{"items": [`+failed+`]}`), nil
				}
				return respond(200, failed), nil
			}, WithEnvironment("e"))
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			err := call(ctx, c)
			var wait *WaitError
			if err == nil || errors.As(err, &wait) {
				t.Fatalf("%s: %v", name, err)
			}
			text := err.Error()
			if leaktest.For(string(testKey)).In(text) != "" || !strings.Contains(text, "cnc_…") {
				t.Errorf("%s: it is shown in %s", name, text)
			}
		})
	}
}

// firstError returns the first error of a sequence.
func firstError[T any](seq func(func(T, error) bool)) (first error) {
	for _, err := range seq {
		if err != nil {
			return err
		}
	}
	return nil
}

// The last status of a wait that ended is a text of the service's, too.
func TestTheKeyInAStatus(t *testing.T) {
	t.Parallel()
	rest := strings.TrimPrefix(string(testKey), "cnc_")
	synctest.Test(t, func(t *testing.T) {
		c := newTestClient(t, func(*http.Request) (*http.Response, error) {
			return respond(200, fmt.Sprintf(`{"id": "x1", "status": %q}`, rest)), nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := c.TestRuns.Wait(ctx, "x1")
		var wait *WaitError
		if !errors.As(err, &wait) || leaktest.For(string(testKey)).In(err.Error()) != "" || !strings.Contains(wait.LastStatus, "cnc_…") {
			t.Errorf("%v", err)
		}
	})
}
