package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/internal/api"
)

var update = flag.Bool("update", false, "write testdata/fixtures anew, from the fake")

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

// TestFixtures looks for what a user wrote in the answers that are kept, and
// replays them.
func TestFixtures(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	private := []string{canary, "77.31", "12.5", "cnc_", connictest.ProjectID, "run-0000", "judge-0000", "connictest"}
	kept := make(map[string]bool)
	look(t, LiveOptions{Keep: func(f Fixture) error {
		path, err := f.Write(dir)
		check(t, err)
		text, err := os.ReadFile(path)
		check(t, err)
		for _, part := range private {
			if bytes.Contains(text, []byte(part)) {
				t.Errorf("%s has %s in it: %s", f.Operation, part, text)
			}
		}
		kept[path] = true
		return nil
	}}, nil)
	if len(kept) != len(calls) {
		t.Errorf("%d fixtures, want %d", len(kept), len(calls))
	}
	for path := range kept {
		f, err := ReadFixture(path)
		check(t, err)
		made, err := Case(t.Context(), *f)
		if err != nil || len(made.Want) < 3 {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if *update {
			_, err := made.Write(filepath.Join("testdata", "fixtures"))
			check(t, err)
		}
	}
}

// TestCases replays the conformance cases: answers of services, and what the
// client makes of them.
func TestCases(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob(filepath.Join("testdata", "fixtures", "*.json"))
	check(t, err)
	if len(paths) < len(calls) {
		t.Errorf("there are %d cases", len(paths))
	}
	for _, path := range paths {
		f, err := ReadFixture(path)
		check(t, err)
		got, err := Replay(t.Context(), f)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		text, err := json.Marshal(got)
		check(t, err)
		var have, want any
		check(t, json.Unmarshal(text, &have))
		check(t, json.Unmarshal(f.Want, &want))
		if !holds(have, want) {
			t.Errorf("%s: the client makes %s of it, want %s", path, text, f.Want)
		}
	}
}

// holds reports whether a value is what was wanted. An object may have more
// members: those of fields that the client has learned since.
func holds(have, want any) bool {
	switch w := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		for name := range w {
			ok = ok && holds(h[name], w[name])
		}
		return ok
	case []any:
		h, ok := have.([]any)
		return ok && slices.EqualFunc(h, w, holds)
	}
	return reflect.DeepEqual(have, want)
}

func TestRedaction(t *testing.T) {
	t.Parallel()
	op := &api.Table[api.RunsGet]
	doc := mustOwn(t)
	l := &live{comparison: comparison{ours: doc}}
	body := `{"id": "8c1f2a34-0000-4abc-8def-0123456789ab", "parent_run_id": "8c1f2a34-0000-4abc-8def-0123456789ab", "status": "completed",
		"agent_name": "Zephyrine", "output": "{\"Zephyrine\": \"x@example.com\"}", "run_context": {"x@example.com": {"Zephyrine": 5}},
		"cost": "1234.5600", "duration_ms": 0, "created_at": "2025-07-08 09:10:11.123456+02:00", "started_at": "2025-07-08T09:10:11Z",
		"x@example.com": true, "traces": [{"span_id": "s1", "parent_span_id": null, "metadata_json": "{\"tool_name\": \"Zephyrine\"}"}],
		"token_usage": {"input": 123456, "output": 0}, "currency": "EUR", "shoe_size": -7.25, "notes": ["Zephyrine", ""]}`
	f := redact(op, nil, &connic.Response{StatusCode: 200, Body: []byte(body), Header: http.Header{
		"Content-Type": {"application/json; charset=utf-8"}, "X-Request-Id": {"Zephyrine"},
	}}, l.schema(op))
	want := `{"agent_name":"text","cost":"1.5555","created_at":"2026-01-02 03:04:05.000000+02:00","currency":"EUR","duration_ms":0,` +
		`"id":"00000000-0000-4000-8000-000000000001","key16":true,"notes":["text",""],"output":"{\"key1\":\"text\"}",` +
		`"parent_run_id":"00000000-0000-4000-8000-000000000001","run_context":{"key1":{"key1":1}},"shoe_size":-1.55,` +
		`"started_at":"2026-01-02T03:04:05Z","status":"completed","token_usage":{"input":1,"output":0},` +
		`"traces":[{"metadata_json":"{\"key1\":\"text\"}","parent_span_id":null,"span_id":"00000000-0000-4000-8000-000000000002"}]}`
	var have, expected any
	check(t, json.Unmarshal(f.Body, &have))
	check(t, json.Unmarshal([]byte(want), &expected))
	if !reflect.DeepEqual(have, expected) {
		t.Errorf("%s\nwant\n%s", f.Body, want)
	}
	if f.ContentType != "application/json" || !slices.Equal(f.Headers, []string{"X-Request-Id"}) {
		t.Errorf("%+v", f)
	}
}

// Names below a field that the client does not know may be a user's.
func TestRedactionOfUnknownMaps(t *testing.T) {
	t.Parallel()
	l := &live{comparison: comparison{ours: mustOwn(t)}}
	for name, test := range map[string]struct {
		op         api.Op
		body, want string
	}{
		"a map":       {api.RunsGet, `{"spend_by_customer": {"acmecorp": 5}}`, `{"spend_by_customer": {"key1": 1}}`},
		"a deep map":  {api.RunsGet, `{"extra": {"data": [{"acmecorp": {"cost": "5"}}]}}`, `{"extra": {"data": [{"key1": {"cost": "1"}}]}}`},
		"within":      {api.RunsGet, `{"token_usage": {"by_customer": {"acmecorp": 5}}}`, `{"token_usage": {"by_customer": {"key1": 1}}}`},
		"of a list":   {api.RunsList, `{"items": [{"id": "x", "tags": {"acmecorp": true}}], "facets": {"acmecorp": 3}}`, `{"items": [{"id": "00000000-0000-4000-8000-000000000001", "tags": {"key1": true}}], "facets": {"key1": 1}}`},
		"an envelope": {api.RunsList, `{"page": {"rows": [{"agent_name": "acme", "acmecorp": 5}]}}`, `{"page": {"rows": [{"agent_name": "text", "key1": 1}]}}`},
		"wrapped":     {api.RunsGet, `{"run_info": {"id": "x", "status": "completed"}}`, `{"run_info": {"id": "00000000-0000-4000-8000-000000000001", "status": "text"}}`},
		"a key":       {api.RunsGet, `{"cnc_abcdefghijklmnop": 1, "status": "cnc_abcdefghijklmnop"}`, `{"key1": 1, "status": "text"}`},
	} {
		op := &api.Table[test.op]
		f := redact(op, nil, &connic.Response{StatusCode: http.StatusOK, Body: []byte(test.body)}, l.schema(op))
		var have, want any
		check(t, json.Unmarshal(f.Body, &have))
		check(t, json.Unmarshal([]byte(test.want), &want))
		if !reflect.DeepEqual(have, want) {
			t.Errorf("%s: %s, want %s", name, f.Body, test.want)
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
