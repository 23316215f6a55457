package tests

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/docs"
	"github.com/connic-go/connic/internal/api"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// apiDocument loads docs/openapi.json for a service at a base URL.
func apiDocument(t *testing.T, base string) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(docs.OpenAPI())
	require.NoError(t, err)
	doc.Servers = openapi3.Servers{{URL: base}}
	return doc
}

func TestDocumentIsValid(t *testing.T) {
	t.Parallel()
	doc := apiDocument(t, baseURL)
	assert.True(t, doc.IsOpenAPI31OrLater())
	assert.NoError(t, doc.Validate(t.Context()))
}

// conforming is a transport that holds each request, and each answer if it is
// told to, against the document.
type conforming struct {
	t       *testing.T
	router  routers.Router
	next    http.RoundTripper
	answers bool

	mu   sync.Mutex
	seen map[string]int // by operation
}

func conform(t *testing.T, base string, next http.RoundTripper, answers bool) *conforming {
	t.Helper()
	router, err := gorillamux.NewRouter(apiDocument(t, base))
	require.NoError(t, err)
	return &conforming{t: t, router: router, next: next, answers: answers, seen: make(map[string]int)}
}

func (c *conforming) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		_ = r.Body.Close()
	}
	sent := r.Clone(r.Context())
	again := func() io.ReadCloser { return io.NopCloser(bytes.NewReader(body)) }
	sent.Body, r.Body = again(), again()
	route, path, err := c.router.FindRoute(sent)
	if !assert.NoError(c.t, err, "%s %s", r.Method, r.URL) {
		return nil, err
	}
	name := route.Operation.OperationID
	c.mu.Lock()
	c.seen[name]++
	c.mu.Unlock()
	input := &openapi3filter.RequestValidationInput{
		Request: sent, PathParams: path, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: bearer, MultiError: true, IncludeResponseStatus: true},
	}
	assert.NoError(c.t, openapi3filter.ValidateRequest(r.Context(), input), "%s: %s", name, body)
	for parameter := range r.URL.Query() {
		assert.NotNil(c.t, route.Operation.Parameters.GetByInAndName("query", parameter), "%s: the parameter %s", name, parameter)
	}
	response, err := c.next.RoundTrip(r)
	if err != nil || !c.answers {
		return response, err
	}
	answer, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(answer))
	if err != nil {
		return response, err
	}
	assert.NoError(c.t, openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: response.StatusCode, Header: response.Header, Body: io.NopCloser(bytes.NewReader(answer)),
		Options: input.Options,
	}), "%s: %d %s", name, response.StatusCode, answer)
	return response, nil
}

// bearer checks the security of a request.
func bearer(_ context.Context, input *openapi3filter.AuthenticationInput) error {
	header := input.RequestValidationInput.Request.Header.Get("Authorization")
	if !strings.HasPrefix(header, "Bearer cnc_") {
		return input.NewError(http.ErrNoLocation)
	}
	return nil
}

// all fails the test for operations that were not sent. Those of a login are not a
// client's: see TestLoginConforms.
func (c *conforming) all() {
	for i := range api.Table {
		if !api.Table[i].Keyless {
			assert.NotZero(c.t, c.seen[api.Table[i].Name], api.Table[i].Name)
		}
	}
}

// canned answers with the answer of a shape.
type canned struct{ shape }

func (s canned) RoundTrip(r *http.Request) (*http.Response, error) {
	header := http.Header{"Content-Type": {"application/json"}}
	maps.Copy(header, s.header)
	status := s.status
	if status == 0 {
		status = http.StatusOK
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(s.answer)), Request: r}, nil
}

// TestRequestsConform holds what the shapes send against the document.
func TestRequestsConform(t *testing.T) {
	t.Parallel()
	seen := conform(t, baseURL, nil, false)
	for section, cases := range shapes {
		for _, s := range cases {
			wire := &conforming{t: t, router: seen.router, next: canned{s}, seen: make(map[string]int)}
			client, err := connic.New(projectID, testKey, append([]connic.Option{
				connic.WithBaseURL(baseURL), connic.WithHTTPClient(&http.Client{Transport: wire}),
			}, s.opts...)...)
			require.NoError(t, err)
			_, err = s.call(t.Context(), client)
			require.NoError(t, err, "%s/%s", section, s.name)
			assert.Equal(t, map[string]int{s.op: 1}, wire.seen, "%s/%s", section, s.name)
			seen.seen[s.op]++
		}
	}
	seen.all()
}

// TestFakeConforms calls every operation of the fake, and some that are refused,
// and holds requests and answers against the document.
func TestFakeConforms(t *testing.T) {
	t.Parallel()
	srv := connictest.New()
	defer srv.Close()
	prepare(srv)
	wire := conform(t, srv.URL(), srv.Transport(), true)
	c, err := connic.New(connictest.ProjectID, srv.Key(), connic.WithBaseURL(srv.URL()), connic.WithEnvironment("env-production"),
		connic.WithHTTPClient(&http.Client{Transport: wire}), connic.WithoutRateLimit())
	require.NoError(t, err)
	defer func() { assert.NoError(t, c.Close()) }()
	fakeConversation(t, c)
	wire.all()
}

func TestLoginConforms(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.ApproveLogins(12 * time.Second)
		wire := conform(t, srv.URL(), srv.Transport(), true)
		_, key, err := connic.Login(t.Context(), func(connic.LoginPrompt) error { return nil },
			connic.WithBaseURL(srv.URL()), connic.WithHTTPClient(&http.Client{Transport: wire}))
		require.NoError(t, err)
		assert.NotEmpty(t, string(key))
		assert.Equal(t, 1, wire.seen["login.start"])
		assert.Greater(t, wire.seen["login.token"], 1, "it was refused, and then confirmed")
	})
}

// must returns the value of a call that has to succeed.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		require.NoError(t, err)
		return v
	}
}

// prepare has a fake play its part in fakeConversation.
func prepare(srv *connictest.Server) {
	srv.RateLimit(0, time.Minute, connictest.FixedWindow)
	srv.IngestionTime(0)
	srv.PhaseTime(0)
	srv.Bridge("bridge")
	srv.Agent("echo", func(_ context.Context, in connictest.Input) (any, error) {
		return map[string]any{"said": in.Message}, in.Step("look", "tool", func() error { return nil })
	})
	srv.Agent("pay", func(ctx context.Context, in connictest.Input) (any, error) {
		return in.RequestApproval(ctx, connictest.ApprovalRequest{ToolName: "pay", Arguments: map[string]any{"amount": 5}})
	})
	srv.Judge("j", func(context.Context, connictest.JudgeInput) (map[string]connictest.Score, error) {
		return map[string]connictest.Score{"clear": {Points: 4, Reasoning: "short"}}, nil
	})
}

func fakeConversation(t *testing.T, c *connic.Client) {
	t.Helper()
	ctx := t.Context()
	quick := connic.WithPoll(time.Millisecond, time.Millisecond)

	must[*connic.Project](t)(c.Project.Get(ctx))
	must[*connic.Page[connic.Environment]](t)(c.Environments.List(ctx))
	must[*connic.Page[connic.Agent]](t)(c.Agents.List(ctx, nil))
	must[*connic.Agent](t)(c.Agents.Get(ctx, "echo"))
	run := must[*connic.Run](t)(c.Agents.TriggerAndWait(ctx, "echo", connic.TriggerRequest{
		Message: "hi", Payload: map[string]any{"n": 1}, Files: []connic.File{{Name: "a.txt", MIMEType: "text/plain", Data: []byte("x")}},
	}, quick))
	again := must[*connic.TriggerResult](t)(c.Runs.Rerun(ctx, run.ID))
	must[*connic.Run](t)(c.Runs.Wait(ctx, again.RunID, quick))
	require.ErrorIs(t, c.Runs.Cancel(ctx, run.ID), connic.ErrConflict)
	must[*connic.Page[connic.Run]](t)(c.Runs.List(ctx, &connic.RunListParams{
		AgentName: "echo", Status: []connic.RunStatus{connic.RunCompleted, connic.RunFailed}, CreatedAfter: time.Now().Add(-time.Hour), Limit: 10,
	}))

	judge := must[*connic.Judge](t)(c.Judges.Create(ctx, connic.JudgeCreate{
		Name: "j", AgentName: "echo", Model: "fake/model", Criteria: []connic.Criterion{{Name: "clear", MaxScore: 5}},
		TriggerMode: connic.JudgeManual, ScoreAlert: &connic.ScoreAlert{Threshold: 1, Window: 3},
	}))
	must[*connic.Page[connic.Judge]](t)(c.Judges.List(ctx, nil))
	must[*connic.Judge](t)(c.Judges.Get(ctx, judge.ID))
	must[*connic.Judge](t)(c.Judges.Update(ctx, judge.ID, connic.JudgeUpdate{SystemPrompt: connic.Null[string](), Enabled: connic.Set(true)}))
	must[*connic.Evaluation](t)(c.Judges.EvaluateAndWait(ctx, judge.ID, run.ID, quick))
	must[*connic.Page[connic.Evaluation]](t)(c.Judges.Evaluations(ctx, judge.ID, nil))
	require.NoError(t, c.Judges.Delete(ctx, judge.ID))

	amount, err := connic.ParseDecimal("12.50")
	require.NoError(t, err)
	budget := must[*connic.Budget](t)(c.Budgets.Create(ctx, connic.BudgetCreate{
		Name: "b", Kind: connic.BudgetAlert, Scope: connic.BudgetGlobal, Period: connic.BudgetDaily, Amount: amount, Currency: connic.EUR,
	}))
	must[*connic.Page[connic.Budget]](t)(c.Budgets.List(ctx, nil))
	must[*connic.Budget](t)(c.Budgets.Get(ctx, budget.ID))
	must[*connic.Budget](t)(c.Budgets.Update(ctx, budget.ID, connic.BudgetUpdate{Name: connic.Set("c"), AgentName: connic.Null[string]()}))
	must[*connic.Usage](t)(c.Budgets.Usage(ctx, &connic.UsageParams{From: time.Now().Add(-time.Hour), GroupBy: connic.UsageByDay}))
	require.NoError(t, c.Budgets.Delete(ctx, budget.ID))

	upload := must[*connic.Ingestion](t)(c.Knowledge.UploadText(ctx, connic.TextUpload{
		Content: "north and south", Namespace: "a.b", EntryID: "e", Metadata: map[string]any{"k": 1},
	}))
	must[*connic.Job](t)(c.Knowledge.WaitJob(ctx, upload.JobID, nil, quick))
	must[*connic.Ingestion](t)(c.Knowledge.UploadFile(ctx, connic.FileUpload{
		File:      connic.FileSource{Name: "a.md", Open: func() (io.Reader, error) { return strings.NewReader("# west"), nil }},
		Namespace: "a", EntryID: "f", Metadata: map[string]any{"k": "v"},
	}))
	must[*connic.Page[connic.Entry]](t)(c.Knowledge.List(ctx, &connic.EntryListParams{Namespace: "a"}))
	must[*connic.Entry](t)(c.Knowledge.Get(ctx, "e", &connic.EntryParams{Namespace: "a.b"}))
	must[*connic.Page[connic.Match]](t)(c.Knowledge.Query(ctx, connic.KnowledgeQuery{Query: "north", AnyScore: true, MaxResults: 20}))
	must[*connic.Page[connic.Namespace]](t)(c.Knowledge.Namespaces(ctx, &connic.NamespaceListParams{Depth: connic.AllLevels}))
	must[*connic.Page[connic.Job]](t)(c.Knowledge.Jobs(ctx, &connic.JobListParams{Status: connic.JobCompleted}))
	require.NoError(t, c.Knowledge.Delete(ctx, "e", &connic.EntryParams{Namespace: "a.b"}))
	require.NoError(t, c.Knowledge.DeleteNamespace(ctx, "a", nil))

	project := fstest.MapFS{"agents/echo.yaml": {Data: []byte("name: echo")}}
	deployment := must[*connic.Deployment](t)(c.Deployments.UploadFS(ctx, project, &connic.UploadParams{SkipTests: true}))
	must[*connic.Deployment](t)(c.Deployments.Wait(ctx, deployment.ID, quick))
	must[*connic.Page[connic.Deployment]](t)(c.Deployments.List(ctx, nil))
	require.NoError(t, c.Deployments.Activate(ctx, deployment.ID))
	test := must[*connic.TestRun](t)(c.TestRuns.Create(ctx, connic.TestRunCreate{Project: project, EnvironmentID: "env-test"}))
	must[*connic.TestRun](t)(c.TestRuns.Get(ctx, test.ID))

	session := must[*connic.DevSession](t)(c.DevSessions.Create(ctx, connic.DevSessionCreate{Name: "mine"}))
	must[*connic.DevSession](t)(c.DevSessions.Wait(ctx, session.ID, quick))
	must[connic.DevSessionStatus](t)(c.DevSessions.Status(ctx, session.ID))
	must[*connic.DevSession](t)(c.DevSessions.Sync(ctx, *session, project, quick))
	must[bool](t)(c.DevSessions.Delete(ctx, session.ID))
	require.NoError(t, c.Bridges.SetRoutes(ctx, "bridge", []connic.BridgeRoute{{MatchType: connic.BridgeExact, Target: "db.internal", Port: 5432}}))
	must[[]connic.BridgeRoute](t)(c.Bridges.Routes(ctx, "bridge"))

	paid := must[*connic.Run](t)(c.Agents.TriggerAndWait(ctx, "pay", connic.TriggerRequest{Message: "5 EUR"}, quick,
		connic.OnApproval(func(ctx context.Context, a *connic.Approval) (connic.Decision, error) {
			must[*connic.Approval](t)(c.Approvals.Get(ctx, a.ID))
			return connic.Decision{Approve: true}, nil
		})))
	require.Equal(t, connic.RunCompleted, paid.Status)
	hook := must[*connic.Connector](t)(c.Connectors.Create(ctx, connic.ConnectorCreate{
		Name: "web", Type: "http", Mode: connic.ConnectorSync, Agents: []connic.ConnectorAgent{{Name: "echo"}}, Config: connic.ConnectorConfig{"require_auth": true},
	}))
	must[*connic.Page[connic.Connector]](t)(c.Connectors.List(ctx, nil))
	must[*connic.Connector](t)(c.Connectors.Get(ctx, hook.ID))
	must[*connic.Connector](t)(c.Connectors.Update(ctx, hook.ID, connic.ConnectorUpdate{Name: connic.Set("site")}))
	require.NoError(t, c.Connectors.Delete(ctx, hook.ID))

	require.NoError(t, c.Runs.Delete(ctx, run.ID))
	_, err = c.Runs.Get(ctx, run.ID)
	require.ErrorIs(t, err, connic.ErrNotFound)
	_, err = c.Budgets.Create(ctx, connic.BudgetCreate{
		Name: "b", Kind: connic.BudgetAlert, Scope: connic.BudgetAgent, AgentName: "nobody", Period: connic.BudgetDaily, Amount: amount, Currency: connic.EUR,
	})
	require.ErrorIs(t, err, connic.ErrInvalid)
	must[*connic.Page[connic.AuditEntry]](t)(c.AuditLogs.List(ctx, &connic.AuditLogListParams{ResourceType: "run"}))
}
