package connic

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
)

// The parameters of a page that no service accepts are refused before anything is
// sent, by every list.
func TestLimitsOfPages(t *testing.T) {
	t.Parallel()
	sent := 0
	c := newTestClient(t, func(*http.Request) (*http.Response, error) {
		sent++
		return respond(200, `[]`), nil
	}, WithEnvironment("e"))
	for name, call := range map[string]func(ctx context.Context, limit, offset int) []error{
		"agents": func(ctx context.Context, limit, offset int) []error {
			p := &AgentListParams{Limit: limit, Offset: offset}
			_, err := c.Agents.List(ctx, p)
			return []error{err, firstError(c.Agents.All(ctx, p))}
		},
		"runs": func(ctx context.Context, limit, offset int) []error {
			p := &RunListParams{Limit: limit, Offset: offset}
			_, err := c.Runs.List(ctx, p)
			return []error{err, firstError(c.Runs.All(ctx, p))}
		},
		"entries": func(ctx context.Context, limit, offset int) []error {
			p := &EntryListParams{Limit: limit, Offset: offset}
			_, err := c.Knowledge.List(ctx, p)
			return []error{err, firstError(c.Knowledge.All(ctx, p))}
		},
		"jobs": func(ctx context.Context, limit, offset int) []error {
			p := &JobListParams{Limit: limit, Offset: offset}
			_, err := c.Knowledge.Jobs(ctx, p)
			return []error{err, firstError(c.Knowledge.AllJobs(ctx, p))}
		},
		"judges": func(ctx context.Context, limit, offset int) []error {
			p := &JudgeListParams{Limit: limit, Offset: offset}
			_, err := c.Judges.List(ctx, p)
			return []error{err, firstError(c.Judges.All(ctx, p))}
		},
		"evaluations": func(ctx context.Context, limit, offset int) []error {
			p := &EvaluationListParams{Limit: limit, Offset: offset}
			_, err := c.Judges.Evaluations(ctx, "j", p)
			return []error{err, firstError(c.Judges.AllEvaluations(ctx, "j", p))}
		},
		"budgets": func(ctx context.Context, limit, offset int) []error {
			p := &BudgetListParams{Limit: limit, Offset: offset}
			_, err := c.Budgets.List(ctx, p)
			return []error{err, firstError(c.Budgets.All(ctx, p))}
		},
		"audit logs": func(ctx context.Context, limit, offset int) []error {
			p := &AuditLogListParams{Limit: limit, Offset: offset}
			_, err := c.AuditLogs.List(ctx, p)
			return []error{err, firstError(c.AuditLogs.All(ctx, p))}
		},
		"deployments": func(ctx context.Context, limit, offset int) []error {
			p := &DeploymentListParams{Limit: limit, Offset: offset}
			_, err := c.Deployments.List(ctx, p)
			return []error{err, firstError(c.Deployments.All(ctx, p))}
		},
	} {
		for _, test := range []struct {
			limit, offset int
			want          string // the start of the error
		}{{101, 0, "limit is not between 0 and 100"}, {-1, 0, "limit is not"}, {0, -1, "offset is negative"}, {100, 0, ""}, {0, 5, ""}} {
			sent = 0
			for _, err := range call(t.Context(), test.limit, test.offset) {
				var bad *ArgumentError
				if refused := errors.As(err, &bad); refused != (test.want != "") || refused && !strings.Contains(err.Error(), ": "+test.want) || !refused && err != nil {
					t.Errorf("%s, limit %d, offset %d: %v", name, test.limit, test.offset, err)
				}
			}
			if want := map[bool]int{true: 2}[test.want == ""]; sent != want {
				t.Errorf("%s, limit %d, offset %d: %d requests", name, test.limit, test.offset, sent)
			}
		}
	}
}
