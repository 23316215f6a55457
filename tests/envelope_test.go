package tests

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/connic-go/connic"
	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// list is an operation that answers with a list.
type list struct {
	section string // its own name for the array
	key     string // the key of an item that tells it apart
	// page asks for 2 items from the 4th on, where the operation can.
	page func(ctx context.Context, c *connic.Client) (view, error)
	// all iterates, 2 items a page; nil where the operation cannot.
	all func(ctx context.Context, c *connic.Client) ([]string, error)
	// unlimited operations do not take a limit. Blind ones show their items, and
	// whether there are more, and nothing else.
	unlimited, blind bool
}

// view is what is seen of a page.
type view struct {
	ids                  []string
	total, limit, offset int
	cursor               string
	next                 bool
}

func viewOf[T any](page *connic.Page[T], err error, id func(*T) string) (view, error) {
	if err != nil {
		return view{}, err
	}
	v := view{total: page.Total, limit: page.Limit, offset: page.Offset, cursor: page.NextCursor, next: page.HasNext()}
	for _, item := range page.Items {
		v.ids = append(v.ids, id(item))
	}
	return v, nil
}

func idsOf[T any](seq iter.Seq2[*T, error], id func(*T) string) ([]string, error) {
	var ids []string
	for item, err := range seq {
		if err != nil {
			return ids, err
		}
		ids = append(ids, id(item))
	}
	return ids, nil
}

func (l list) item(id string) string { return fmt.Sprintf(`{"%s": "%s", "color": "red"}`, l.key, id) }

func agentID(a *connic.Agent) string           { return a.ID }
func runID(r *connic.Run) string               { return r.ID }
func judgeID(j *connic.Judge) string           { return j.ID }
func evaluationID(e *connic.Evaluation) string { return e.ID }
func approvalID(a *connic.Approval) string     { return a.ID }

func connectorID(c *connic.Connector) string { return c.ID }

func deploymentID(d *connic.Deployment) string { return d.ID }
func budgetID(b *connic.Budget) string         { return b.ID }
func auditEntryID(e *connic.AuditEntry) string { return e.ID }
func entryID(e *connic.Entry) string           { return e.EntryID }
func jobID(j *connic.Job) string               { return j.ID }
func matchID(m *connic.Match) string           { return m.EntryID }
func namespaceID(n *connic.Namespace) string   { return n.Name }
func environmentID(e *connic.Environment) string {
	return e.ID
}

// lists are the methods that return a page, and those that hold one.
var lists = map[string]list{
	"Agents.List": {
		section: "agents", key: "id",
		page: func(ctx context.Context, c *connic.Client) (view, error) {
			page, err := c.Agents.List(ctx, &connic.AgentListParams{Limit: 2, Offset: 4})
			return viewOf(page, err, agentID)
		},
		all: func(ctx context.Context, c *connic.Client) ([]string, error) {
			return idsOf(c.Agents.All(ctx, &connic.AgentListParams{Limit: 2}), agentID)
		},
	},
	"Runs.List": {
		section: "runs", key: "id",
		page: func(ctx context.Context, c *connic.Client) (view, error) {
			page, err := c.Runs.List(ctx, &connic.RunListParams{Limit: 2, Offset: 4})
			return viewOf(page, err, runID)
		},
		all: func(ctx context.Context, c *connic.Client) ([]string, error) {
			return idsOf(c.Runs.All(ctx, &connic.RunListParams{Limit: 2}), runID)
		},
	},
	"Knowledge.List": {
		section: "entries", key: "entry_id",
		page: func(ctx context.Context, c *connic.Client) (view, error) {
			page, err := c.Knowledge.List(ctx, &connic.EntryListParams{EnvironmentID: "e1", Limit: 2, Offset: 4})
			return viewOf(page, err, entryID)
		},
		all: func(ctx context.Context, c *connic.Client) ([]string, error) {
			return idsOf(c.Knowledge.All(ctx, &connic.EntryListParams{EnvironmentID: "e1", Limit: 2}), entryID)
		},
	},
	"Knowledge.Query": {
		section: "results", key: "entry_id", unlimited: true,
		page: func(ctx context.Context, c *connic.Client) (view, error) {
			page, err := c.Knowledge.Query(ctx, connic.KnowledgeQuery{EnvironmentID: "e1", Query: "what?"})
			return viewOf(page, err, matchID)
		},
	},
	"Knowledge.Namespaces": {
		section: "namespaces", key: "name", unlimited: true,
		page: func(ctx context.Context, c *connic.Client) (view, error) {
			page, err := c.Knowledge.Namespaces(ctx, &connic.NamespaceListParams{EnvironmentID: "e1"})
			return viewOf(page, err, namespaceID)
		},
	},
	"Knowledge.Jobs": {
		section: "jobs", key: "id",
		page: func(ctx context.Context, c *connic.Client) (view, error) {
			page, err := c.Knowledge.Jobs(ctx, &connic.JobListParams{EnvironmentID: "e1", Limit: 2, Offset: 4})
			return viewOf(page, err, jobID)
		},
		all: func(ctx context.Context, c *connic.Client) ([]string, error) {
			return idsOf(c.Knowledge.AllJobs(ctx, &connic.JobListParams{EnvironmentID: "e1", Limit: 2}), jobID)
		},
	},
	"Judges.List": {
		section: "judges", key: "id",
		page: func(ctx context.Context, c *connic.Client) (view, error) {
			page, err := c.Judges.List(ctx, &connic.JudgeListParams{Limit: 2, Offset: 4})
			return viewOf(page, err, judgeID)
		},
		all: func(ctx context.Context, c *connic.Client) ([]string, error) {
			return idsOf(c.Judges.All(ctx, &connic.JudgeListParams{Limit: 2}), judgeID)
		},
	},
	"Judges.Evaluations": {
		section: "evaluations", key: "id",
		page: func(ctx context.Context, c *connic.Client) (view, error) {
			page, err := c.Judges.Evaluations(ctx, "j1", &connic.EvaluationListParams{Limit: 2, Offset: 4})
			return viewOf(page, err, evaluationID)
		},
		all: func(ctx context.Context, c *connic.Client) ([]string, error) {
			return idsOf(c.Judges.AllEvaluations(ctx, "j1", &connic.EvaluationListParams{Limit: 2}), evaluationID)
		},
	},
	"Budgets.List": {
		section: "budgets", key: "id",
		page: func(ctx context.Context, c *connic.Client) (view, error) {
			page, err := c.Budgets.List(ctx, &connic.BudgetListParams{Limit: 2, Offset: 4})
			return viewOf(page, err, budgetID)
		},
		all: func(ctx context.Context, c *connic.Client) ([]string, error) {
			return idsOf(c.Budgets.All(ctx, &connic.BudgetListParams{Limit: 2}), budgetID)
		},
	},
	"Budgets.Usage": {
		section: "usage", key: "agent_name", unlimited: true, blind: true,
		page: func(ctx context.Context, c *connic.Client) (view, error) {
			usage, err := c.Budgets.Usage(ctx, nil)
			v := view{next: errors.Is(err, connic.ErrPartial)}
			if err != nil && !v.next {
				return v, err
			}
			for _, row := range usage.Rows {
				v.ids = append(v.ids, row.AgentName)
			}
			return v, nil
		},
	},
	"AuditLogs.List": {
		section: "audit_logs", key: "id",
		page: func(ctx context.Context, c *connic.Client) (view, error) {
			page, err := c.AuditLogs.List(ctx, &connic.AuditLogListParams{Limit: 2, Offset: 4})
			return viewOf(page, err, auditEntryID)
		},
		all: func(ctx context.Context, c *connic.Client) ([]string, error) {
			return idsOf(c.AuditLogs.All(ctx, &connic.AuditLogListParams{Limit: 2}), auditEntryID)
		},
	},
	"Deployments.List": {
		section: "deployments", key: "id",
		page: func(ctx context.Context, c *connic.Client) (view, error) {
			page, err := c.Deployments.List(ctx, &connic.DeploymentListParams{Limit: 2, Offset: 4})
			return viewOf(page, err, deploymentID)
		},
		all: func(ctx context.Context, c *connic.Client) ([]string, error) {
			return idsOf(c.Deployments.All(ctx, &connic.DeploymentListParams{Limit: 2}), deploymentID)
		},
	},
	"Approvals.List": {
		section: "approvals", key: "id",
		page: func(ctx context.Context, c *connic.Client) (view, error) {
			page, err := c.Approvals.List(ctx, &connic.ApprovalListParams{Limit: 2, Offset: 4})
			return viewOf(page, err, approvalID)
		},
		all: func(ctx context.Context, c *connic.Client) ([]string, error) {
			return idsOf(c.Approvals.All(ctx, &connic.ApprovalListParams{Limit: 2}), approvalID)
		},
	},
	"Connectors.List": {
		section: "connectors", key: "id",
		page: func(ctx context.Context, c *connic.Client) (view, error) {
			page, err := c.Connectors.List(ctx, &connic.ConnectorListParams{Limit: 2, Offset: 4})
			return viewOf(page, err, connectorID)
		},
		all: func(ctx context.Context, c *connic.Client) ([]string, error) {
			return idsOf(c.Connectors.All(ctx, &connic.ConnectorListParams{Limit: 2}), connectorID)
		},
	},
	"Environments.List": {
		section: "environments", key: "id", unlimited: true,
		page: func(ctx context.Context, c *connic.Client) (view, error) {
			page, err := c.Environments.List(ctx)
			return viewOf(page, err, environmentID)
		},
	},
}

// TestListsAreComplete fails when a method returns a page, or iterates, and its
// operation is not among the lists.
func TestListsAreComplete(t *testing.T) {
	t.Parallel()
	client := reflect.TypeFor[connic.Client]()
	found := 0
	for i := range client.NumField() {
		field := client.Field(i)
		if !field.IsExported() {
			continue
		}
		for j := range field.Type.NumMethod() {
			method := field.Type.Method(j)
			if out := method.Type.Out(0); strings.HasPrefix(out.String(), "*connic.Page[") {
				found++
				assert.Contains(t, lists, field.Name+"."+method.Name)
			}
			if name := field.Name + "." + strings.Replace(method.Name, "All", "", 1); strings.HasPrefix(method.Name, "All") {
				l := lists[strings.TrimSuffix(name, ".")+map[bool]string{true: ".List"}[method.Name == "All"]]
				assert.NotNil(t, l.all, "%s.%s", field.Name, method.Name)
			}
		}
	}
	assert.Positive(t, found)
}

// answering makes a client whose requests get these answers, in turn. It counts
// the queries.
func answering(t *testing.T, answers ...string) (*connic.Client, *[]url.Values) {
	t.Helper()
	mock := httpmock.NewMockTransport()
	var queries []url.Values
	mock.RegisterNoResponder(func(r *http.Request) (*http.Response, error) {
		query := r.URL.Query()
		query.Del("environment_id") // the shapes show which lists have one
		queries = append(queries, query)
		if len(queries) > len(answers) {
			return httpmock.NewStringResponse(http.StatusNotImplemented, `{"detail": "one request too many"}`), nil
		}
		return httpmock.NewStringResponse(http.StatusOK, answers[len(queries)-1]), nil
	})
	client, err := connic.New(projectID, testKey, connic.WithBaseURL(baseURL), connic.WithHTTPClient(&http.Client{Transport: mock}),
		connic.WithRetry(connic.RetryPolicy{MaxAttempts: 1}))
	require.NoError(t, err)
	return client, &queries
}

// more says why a page has, or has not, further pages after it.
type more int

const (
	no      more = iota
	yes          // the answer says so
	byLimit      // it is as long as the limit that was asked for, if one was
	byTotal      // as the total says
)

type envelope struct {
	answer               string // $ is the array, NAME the section's own name
	more                 more
	total, limit, offset int // what the answer says; 0 if nothing
	cursor               string
	empty                bool
}

var envelopes = map[string]envelope{
	"bare array":                {answer: `$`, more: byLimit},
	"items":                     {answer: `{"items": $}`, more: byLimit},
	"data":                      {answer: `{"data": $}`, more: byLimit},
	"results":                   {answer: `{"results": $}`, more: byLimit},
	"own name":                  {answer: `{"NAME": $}`, more: byLimit},
	"own name before items":     {answer: `{"items": [], "NAME": $, "data": []}`, more: byLimit},
	"items before data":         {answer: `{"data": [], "results": [], "items": $}`, more: byLimit},
	"an object of that name":    {answer: `{"NAME": {"count": 2}, "items": $}`, more: byLimit},
	"unknown members":           {answer: ` {"meta": {"items": [1, {"total": 9}]}, "items": $, "links": ["x"]} `, more: byLimit},
	"total reached":             {answer: `{"items": $, "total": 6}`, more: byTotal, total: 6},
	"total not reached":         {answer: `{"items": $, "total": 7}`, more: byTotal, total: 7},
	"total as a text":           {answer: `{"items": $, "total": "7"}`, more: byTotal, total: 7},
	"total as 7.0":              {answer: `{"items": $, "total": 7.0}`, more: byTotal, total: 7},
	"total null":                {answer: `{"items": $, "total": null}`, more: byLimit},
	"limit and offset null":     {answer: `{"items": $, "limit": null, "offset": null}`, more: byLimit},
	"page and pages null":       {answer: `{"items": $, "page": null, "pages": null}`, more: byLimit},
	"has_more":                  {answer: `{"items": $, "has_more": true}`, more: yes},
	"has_more false":            {answer: `{"items": $, "has_more": false}`},
	"has_more as a text":        {answer: `{"items": $, "has_more": "false"}`},
	"has_more null":             {answer: `{"items": $, "has_more": null}`, more: byLimit},
	"has_more against total":    {answer: `{"items": $, "has_more": false, "total": 100}`, total: 100},
	"next_cursor":               {answer: `{"items": $, "next_cursor": "c2"}`, more: yes, cursor: "c2"},
	"next_cursor as a number":   {answer: `{"items": $, "next_cursor": 17}`, more: yes, cursor: "17"},
	"next_cursor null":          {answer: `{"items": $, "next_cursor": null}`, more: byLimit},
	"next_cursor and has_more":  {answer: `{"items": $, "has_more": false, "next_cursor": "c2"}`, cursor: "c2"},
	"next is a cursor":          {answer: `{"items": $, "next": "c2"}`, more: yes, cursor: "c2"},
	"next is a URL":             {answer: `{"items": $, "next": "https://elsewhere.example/?offset=6"}`, more: yes},
	"next is null":              {answer: `{"items": $, "next": null}`},
	"page of pages":             {answer: `{"items": $, "page": 3, "pages": 4}`, more: yes},
	"last page of pages":        {answer: `{"items": $, "page": 3, "pages": 3}`},
	"page and pages as texts":   {answer: `{"items": $, "page": "3", "pages": "4"}`, more: yes},
	"the answer's limit":        {answer: `{"items": $, "limit": 5, "offset": 40}`, limit: 5, offset: 40},
	"limit and offset as texts": {answer: `{"items": $, "limit": "5", "offset": "40", "total": "43"}`, more: byTotal, limit: 5, offset: 40, total: 43},
	"null for the array":        {answer: `{"items": null}`, empty: true},
	"null for the own array":    {answer: `{"NAME": null, "total": 3}`, total: 3, empty: true},
	"empty array":               {answer: `{"items": [], "total": 3}`, total: 3, empty: true},
	"empty bare array":          {answer: `[]`, empty: true},
}

// seen is what the operation makes of the envelope.
func (e envelope) seen(l list) view {
	v := view{total: -1, cursor: e.cursor}
	if !l.unlimited {
		v.limit, v.offset = 2, 4 // as asked for
	}
	v.total, v.limit, v.offset = cmp.Or(e.total, v.total), cmp.Or(e.limit, v.limit), cmp.Or(e.offset, v.offset)
	if !e.empty {
		v.ids = []string{"a", "b"}
	}
	switch e.more {
	case no:
	case yes:
		v.next = true
	case byLimit:
		v.next = !l.unlimited
	case byTotal:
		v.next = v.offset+2 < e.total
	}
	if l.blind {
		v = view{ids: v.ids, next: v.next}
	}
	return v
}

func TestEnvelopes(t *testing.T) {
	t.Parallel()
	for method, l := range lists {
		for name, e := range envelopes {
			if strings.Contains(e.answer, `"`+l.section+`": []`) {
				continue // its own name goes before the others
			}
			t.Run(method+"/"+name, func(t *testing.T) {
				t.Parallel()
				array := "[" + l.item("a") + ",\n " + l.item("b") + "]"
				answer := strings.ReplaceAll(strings.ReplaceAll(e.answer, "NAME", l.section), "$", array)
				client, queries := answering(t, answer)
				got, err := l.page(t.Context(), client)
				require.NoError(t, err)
				assert.Equal(t, e.seen(l), got)
				if !l.unlimited {
					assert.Equal(t, []url.Values{{"limit": {"2"}, "offset": {"4"}}}, *queries)
				}
			})
		}
	}
}

func TestEnvelopesThatAreNone(t *testing.T) {
	t.Parallel()
	answers := map[string]string{
		"no array":               `{"total": 0}`,
		"an array of other name": `{"things": []}`,
		"an object":              `{"items": {"a": 1}}`,
		"a text":                 `"none"`,
		"numbers for items":      `[1, 2]`,
		"a total that is none":   `{"items": [], "total": "many"}`,
		"broken":                 `{"items": [{"id": "a"}`,
		"more than a document":   `[] []`,
		"HTML":                   `<html><title>Bad gateway</title></html>`,
	}
	for method, l := range lists {
		for name, answer := range answers {
			t.Run(method+"/"+name, func(t *testing.T) {
				t.Parallel()
				client, _ := answering(t, answer)
				_, err := l.page(t.Context(), client)
				var decode *connic.DecodeError
				assert.ErrorAs(t, err, &decode)
			})
		}
	}
}

// TestAllWalksThePages shows that every iterator follows offsets and cursors, and
// ends.
func TestAllWalksThePages(t *testing.T) {
	t.Parallel()
	for method, l := range lists {
		if l.all == nil {
			continue
		}
		page := func(from, to int) string {
			var items []string
			for i := from; i <= to; i++ {
				items = append(items, l.item(fmt.Sprint("id", i)))
			}
			return "[" + strings.Join(items, ", ") + "]"
		}
		t.Run(method+"/offset", func(t *testing.T) {
			t.Parallel()
			client, queries := answering(t, page(1, 2), page(2, 3), page(3, 4), page(4, 4)) // they overlap, since nothing shows a deletion
			ids, err := l.all(t.Context(), client)
			require.NoError(t, err)
			assert.Equal(t, []string{"id1", "id2", "id3", "id4"}, ids)
			assert.Equal(t, []url.Values{{"limit": {"2"}}, {"limit": {"2"}, "offset": {"1"}}, {"limit": {"2"}, "offset": {"2"}}, {"limit": {"2"}, "offset": {"3"}}}, *queries)
		})
		t.Run(method+"/total", func(t *testing.T) {
			t.Parallel()
			client, queries := answering(t, `{"items": `+page(1, 2)+`, "total": 4}`, `{"items": `+page(3, 4)+`, "total": 4}`)
			ids, err := l.all(t.Context(), client)
			require.NoError(t, err)
			assert.Equal(t, []string{"id1", "id2", "id3", "id4"}, ids)
			assert.Equal(t, []url.Values{{"limit": {"2"}}, {"limit": {"2"}, "offset": {"2"}}}, *queries)
		})
		t.Run(method+"/cursor", func(t *testing.T) {
			t.Parallel()
			client, queries := answering(t, `{"data": `+page(1, 2)+`, "next_cursor": "c2"}`, `{"data": `+page(3, 4)+`, "next_cursor": null}`)
			ids, err := l.all(t.Context(), client)
			require.NoError(t, err)
			assert.Equal(t, []string{"id1", "id2", "id3", "id4"}, ids)
			assert.Equal(t, []url.Values{{"limit": {"2"}}, {"limit": {"2"}, "cursor": {"c2"}}}, *queries)
		})
		t.Run(method+"/the same page again", func(t *testing.T) {
			t.Parallel()
			client, _ := answering(t, page(1, 2), page(1, 2), page(1, 2))
			ids, err := l.all(t.Context(), client)
			require.ErrorIs(t, err, connic.ErrPageLoop)
			assert.Equal(t, []string{"id1", "id2"}, ids)
		})
	}
}
