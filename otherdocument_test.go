package connic_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/api"
)

// answeringWith returns an option for a client whose every request is answered with
// a body.
func answeringWith(body string) connic.Option {
	return connic.WithHTTPClient(&http.Client{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
		return response(r, http.StatusOK, body), nil
	})})
}

// A response with status 200 that is another document than the one requested,
// such as the error of a gateway, is no success. Where the operation may have
// been executed, its outcome is unknown.
func TestOtherDocumentsAreRefused(t *testing.T) {
	t.Parallel()
	// What these say is optional, so nothing tells another document from theirs.
	vague := []api.Op{api.DevSessionsGet, api.DevSessionsStatus}
	for _, op := range operations(t) {
		if silent(op.Operation) || slices.Contains(vague, op.Op) {
			continue
		}
		for _, body := range []string{
			`{"error": "overloaded"}`, `{"detail": "overloaded"}`, `{"status": "ok"}`, `{"status": 200, "message": "ok"}`, `{}`, `{"id": null, "run_id": ""}`,
		} {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				c := must[*connic.Client](t)(connic.New("p", "cnc_other_document", connic.WithEnvironment("e"), answeringWith(body)))
				err := op.call(ctx, c)
				var decode *connic.DecodeError
				if !errors.As(err, &decode) {
					t.Errorf("%s takes %s for an answer: %v", op.Name, body, err)
				}
				if unknown := errors.Is(err, connic.ErrOutcomeUnknown); unknown != (op.Class == api.Unsafe) {
					t.Errorf("%s, %s: the outcome is unknown: %v", op.Name, body, unknown)
				}
			})
		}
	}
}

// A response about another item is refused, whatever its letter case.
func TestItemsOfAnotherIDAreRefused(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for name, get := range map[string]func(*connic.Client, string) error{
		"run":        func(c *connic.Client, id string) error { _, err := c.Runs.Get(ctx, id); return err },
		"agent":      func(c *connic.Client, id string) error { _, err := c.Agents.Get(ctx, id); return err },
		"judge":      func(c *connic.Client, id string) error { _, err := c.Judges.Get(ctx, id); return err },
		"budget":     func(c *connic.Client, id string) error { _, err := c.Budgets.Get(ctx, id); return err },
		"deployment": func(c *connic.Client, id string) error { _, err := c.Deployments.Get(ctx, id); return err },
		"test run":   func(c *connic.Client, id string) error { _, err := c.TestRuns.Get(ctx, id); return err },
		"job":        func(c *connic.Client, id string) error { _, err := c.Knowledge.GetJob(ctx, id, nil); return err },
		"update": func(c *connic.Client, id string) error {
			_, err := c.Judges.Update(ctx, id, connic.JudgeUpdate{Name: connic.Set("n")})
			return err
		},
	} {
		c := must[*connic.Client](t)(connic.New("p", "cnc_other_document", connic.WithEnvironment("e"),
			answeringWith(`{"id": "abc-1", "name": "abc-1", "status": "completed"}`)))
		for id, want := range map[string]bool{"abc-1": true, "ABC-1": true, "abc-2": false} {
			if err := get(c, id); (err == nil) != want {
				t.Errorf("%s %s: %v", name, id, err)
			}
		}
	}
}

// A wait is not ended by another document that comes instead of the run for a
// while, and not with the state that it seems to have.
func TestWaitsOutliveOtherDocuments(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"error": "overloaded"}`, `{"detail": "overloaded"}`, `{"status": "ok"}`, `{"id": "r2", "status": "completed"}`} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			c := must[*connic.Client](t)(connic.New("p", "cnc_other_document", connic.WithHTTPClient(&http.Client{
				Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
					if time.Since(start) < 10*time.Second {
						return response(r, http.StatusOK, body), nil
					}
					return response(r, http.StatusOK, `{"id": "r1", "status": "completed", "output": "42"}`), nil
				}),
			})))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if run, err := c.Runs.Wait(ctx, "r1"); err != nil || run.Output != "42" {
				t.Errorf("%s: %+v, %v", body, run, err)
			}
		})
	}
}
