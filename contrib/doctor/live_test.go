package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/internal/api"
)

// canary stands wherever a user's own data stands.
const canary = "Zephyrine"

// furnished is a fake that has something of each kind.
func furnished(t *testing.T) *connictest.Server {
	t.Helper()
	srv := connictest.New()
	srv.RateLimit(0, time.Minute, connictest.FixedWindow)
	srv.IngestionTime(0)
	srv.PhaseTime(0)
	srv.Agent(canary, func(_ context.Context, in connictest.Input) (any, error) {
		in.Cost("12.50", "EUR")
		in.Tokens(connic.TokenUsage{Input: 7, Total: 7})
		return map[string]any{canary: in.Message}, in.Step(canary, "tool", func() error { return nil })
	})
	srv.Judge("", func(context.Context, connictest.JudgeInput) (map[string]connictest.Score, error) {
		return map[string]connictest.Score{canary: {Points: 4, Reasoning: canary}}, nil
	})
	c := srv.Client(connic.WithEnvironment("env-production"), connic.WithoutRateLimit())
	ctx := t.Context()
	run, err := c.Agents.TriggerAndWait(ctx, canary, connic.TriggerRequest{Message: canary})
	check(t, err)
	_, err = c.Knowledge.UploadText(ctx, connic.TextUpload{
		Content: canary, Namespace: canary, EntryID: canary, Metadata: map[string]any{canary: canary, "n": 5},
	})
	check(t, err)
	judge, err := c.Judges.Create(ctx, connic.JudgeCreate{
		Name: canary, AgentName: canary, Model: "a/" + canary, SystemPrompt: canary, Criteria: []connic.Criterion{{Name: canary, MaxScore: 5}},
	})
	check(t, err)
	_, err = c.Judges.EvaluateAndWait(ctx, judge.ID, run.ID)
	check(t, err)
	amount, err := connic.ParseDecimal("77.31")
	check(t, err)
	_, err = c.Budgets.Create(ctx, connic.BudgetCreate{
		Name: canary, Kind: connic.BudgetAlert, Scope: connic.BudgetGlobal, Period: connic.BudgetDaily, Amount: amount, Currency: connic.EUR,
	})
	check(t, err)
	_, err = c.Deployments.UploadFS(ctx, project{}.fs(), &connic.UploadParams{SkipTests: true})
	check(t, err)
	return srv
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rewriting is a transport that changes the answers of a path.
type rewriting struct {
	next   http.RoundTripper
	change func(path string, body any) (status int, changed any)
}

func (r rewriting) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := r.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	var body any
	if err := json.Unmarshal(text, &body); err != nil {
		return nil, err
	}
	_, path, _ := strings.Cut(request.URL.Path, connictest.ProjectID)
	status, changed := r.change(path, body)
	if status != 0 {
		response.StatusCode = status
	}
	if text, err = json.Marshal(changed); err != nil {
		return nil, err
	}
	response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	return response, nil
}

// look asks a fake whose answers are changed.
func look(t *testing.T, o LiveOptions, change func(path string, body any) (int, any)) *Report {
	t.Helper()
	var report *Report
	synctest.Test(t, func(t *testing.T) {
		srv := furnished(t)
		defer srv.Close()
		before := len(srv.Requests())
		wire := srv.Transport()
		if change != nil {
			wire = rewriting{wire, change}
		}
		c := srv.Client(connic.WithHTTPClient(&http.Client{Transport: wire}), connic.WithReadOnly(), connic.WithRetry(connic.RetryPolicy{MaxAttempts: 1}))
		var err error
		report, err = Live(t.Context(), c, o)
		check(t, err)
		sent := srv.Requests()[before:]
		for _, r := range sent {
			if r.Method != http.MethodGet {
				t.Errorf("%s %s was sent", r.Method, r.Path)
			}
		}
		if len(sent) != report.Requests || len(sent) > o.Requests() {
			t.Errorf("%d requests were sent, %d are reported, at most %d were said", len(sent), report.Requests, o.Requests())
		}
	})
	return report
}

// items are the items of a list of the fake.
func items(body any) []any { return list(body.(object)["items"]) }

// live cases are responses with one change.
var liveCases = []struct {
	name    string
	path    string // of the answer that is changed; the others are as they are
	change  func(body any) (int, any)
	id, op  string
	subject string
	text    string
	worst   Severity
}{
	{
		name: "another envelope", path: "/runs", change: func(body any) (int, any) { return 0, object{"rows": items(body)} },
		id: "envelope", op: "runs.list", subject: "rows", text: "is under rows", worst: Error,
	},
	{
		name: "a list one level down", path: "/runs", change: func(body any) (int, any) { return 0, object{"page": object{"rows": items(body)}} },
		id: "envelope", op: "runs.list", subject: "page.rows", text: "is under page.rows, which the client does not read", worst: Error,
	},
	{
		name: "a list below a name that may be a user's", path: "/runs", change: func(body any) (int, any) {
			return 0, object{"runs_by_customer": object{"acmecorp": items(body)}}
		},
		id: "list-missing", op: "runs.list", text: "no list", worst: Error,
	},
	{
		name: "a slash more", path: "/judges", change: func(any) (int, any) { return 307, object{} },
		id: "redirected", op: "judges.list", subject: "307", text: "redirects the path", worst: Warning,
	},
	{
		name: "no list", path: "/runs", change: func(any) (int, any) { return 0, object{"count": 5} },
		id: "list-missing", op: "runs.list", text: "no list", worst: Error,
	},
	{
		name: "a field one level down", path: "/runs", change: func(body any) (int, any) {
			for _, item := range items(body) {
				o := item.(object)
				o["billing"] = object{"cost": o["cost"]}
				delete(o, "cost")
			}
			return 0, body
		},
		id: "field-moved", op: "runs.list", subject: "cost", text: "billing.cost", worst: Warning,
	},
	{
		name: "a field more", path: "/agents", change: func(body any) (int, any) {
			items(body)[0].(object)["owner"] = canary
			return 0, body
		},
		id: "field-unknown", op: "agents.list", subject: "owner", text: "a field owner", worst: Info,
	},
	{
		name: "a word in capital letters", path: "/runs", change: func(body any) (int, any) {
			items(body)[0].(object)["status"] = "COMPLETED"
			return 0, body
		},
		id: "enum-spelling", op: "runs.list", subject: "status", text: "COMPLETED", worst: Warning,
	},
	{
		name: "a word that is not known", path: "/runs", change: func(body any) (int, any) {
			items(body)[0].(object)["status"] = "paused"
			return 0, body
		},
		id: "enum-value", op: "runs.list", subject: "status", text: "paused", worst: Warning,
	},
	{
		name: "text for number", path: "/budgets", change: func(body any) (int, any) {
			items(body)[0].(object)["enabled"] = "yes"
			return 0, body
		},
		id: "field-type", op: "budgets.list", subject: "enabled", text: "string", worst: Error,
	},
	{
		name: "number in a text", path: "/runs", change: func(body any) (int, any) {
			items(body)[0].(object)["duration_ms"] = "12.5"
			return 0, body
		},
		id: "field-type", op: "runs.list", subject: "duration_ms", text: "expects number", worst: Warning,
	},
	{
		name: "nothing there", path: "/judges", change: func(any) (int, any) { return 404, object{"detail": "Not Found"} },
		id: "not-found", op: "judges.list", subject: "404", text: "There is nothing at /projects/{project}/judges. Its message: Not Found", worst: Error,
	},
	{
		name: "not allowed", path: "/budgets", change: func(any) (int, any) { return 403, object{"detail": "Key lacks permission"} },
		id: "forbidden", op: "budgets.list", subject: "403", text: "lacks budgets read", worst: Warning,
	},
	{
		name: "a parameter that is missing", path: "/audit-logs", change: func(any) (int, any) {
			return 422, object{"detail": []any{object{"loc": []any{"query", "actor"}, "msg": "Field required"}}}
		},
		id: "refused", op: "audit_logs.list", subject: "422", text: "Field required", worst: Error,
	},
	{
		name: "an error of another shape", path: "/deployments", change: func(any) (int, any) { return 500, object{"title": "no"} },
		id: "error-shape", op: "deployments.list", subject: "500", text: "no detail", worst: Error,
	},
}

func TestDoctoredAnswers(t *testing.T) {
	t.Parallel()
	for _, test := range liveCases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			report := look(t, LiveOptions{}, func(path string, body any) (int, any) {
				if path == test.path {
					return test.change(body)
				}
				return 0, body
			})
			if !slices.ContainsFunc(report.Findings, func(f Finding) bool {
				return f.ID == test.id && f.Operation == test.op && strings.Contains(f.Text, test.text) && (test.subject == "" || f.Subject == test.subject)
			}) {
				t.Errorf("not found: %+v", report.Findings)
			}
			if worst, _ := report.Worst(); worst != test.worst {
				t.Errorf("the worst is %s, want %s: %+v", worst, test.worst, report.Findings[0])
			}
			for _, f := range report.Findings {
				if strings.Contains(f.Text, canary) || strings.Contains(f.Text, "acmecorp") {
					t.Errorf("a finding tells what a user wrote: %+v", f)
				}
			}
		})
	}
}

func TestEnvelopesAndPaging(t *testing.T) {
	t.Parallel()
	report := look(t, LiveOptions{}, func(path string, body any) (int, any) {
		switch path {
		case "/runs":
			return 0, items(body)
		case "/judges":
			return 0, object{"judges": items(body), "next_cursor": "x"}
		}
		return 0, body
	})
	for op, want := range map[string]Result{
		"runs.list":   {Envelope: "array"},
		"judges.list": {Envelope: "judges", Paging: "next_cursor"},
		"agents.list": {Envelope: "items", Paging: "has_more total offset"},
		"project.get": {},
	} {
		i := slices.IndexFunc(report.Operations, func(r Result) bool { return r.Operation == op })
		if r := report.Operations[i]; r.Envelope != want.Envelope || r.Paging != want.Paging || r.State != Same {
			t.Errorf("%+v, want %+v", r, want)
		}
	}
}

func TestAnswersThatAreAsExpected(t *testing.T) {
	t.Parallel()
	report := look(t, LiveOptions{Items: 3}, nil)
	if worst, _ := report.Worst(); worst > Info {
		t.Errorf("%+v", report.Findings)
	}
	for _, o := range report.Operations {
		op, _ := api.Lookup(o.Operation)
		asked := calls[op.Op] != nil
		if asked != (o.State == Same) || asked && o.Status != 200 {
			t.Errorf("%+v", o)
		}
	}
}

// No client sends more than is announced: not one that retries, nor one whose
// paths are redirected.
func TestRequestsAreBounded(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]int{"retries": 503, "refusals": 429, "redirects": 307} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv := furnished(t)
				defer srv.Close()
				sent, seen := 0, make(map[string]bool)
				wire := roundTripper(func(r *http.Request) (*http.Response, error) {
					sent++
					resp, err := srv.Transport().RoundTrip(r)
					if err == nil && !strings.HasSuffix(r.URL.Path, connictest.ProjectID) && !seen[r.URL.Path] {
						resp.StatusCode = status
						resp.Header.Set("Location", r.URL.Path+"/")
						seen[strings.TrimSuffix(r.URL.Path, "/")], seen[r.URL.Path+"/"] = status != 307, true
					}
					return resp, err
				})
				c := srv.Client(connic.WithHTTPClient(&http.Client{Transport: wire}), connic.WithReadOnly())
				checkup, err := Check(t.Context(), c, srv.URL())
				check(t, err)
				if sent > CheckRequests || checkup.Requests != sent {
					t.Errorf("a check sent %d requests of %d, and reports %d", sent, CheckRequests, checkup.Requests)
				}
				clear(seen)
				sent = 0
				report, err := Live(t.Context(), c, LiveOptions{})
				check(t, err)
				if sent > (LiveOptions{}).Requests() || report.Requests != sent {
					t.Errorf("a comparison sent %d requests, and reports %d", sent, report.Requests)
				}
			})
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestLiveEndsWithItsContext(t *testing.T) {
	t.Parallel()
	srv := connictest.New()
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Live(ctx, srv.Client(), LiveOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if n := len(srv.Requests()); n > 1 {
		t.Errorf("%d requests were sent", n)
	}
}
