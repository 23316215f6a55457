package doctor

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/scrub"
)

// LiveOptions configures [Live].
type LiveOptions struct {
	// Items is the number of items of each list that are requested
	// individually. The default is 1. More items show more fields.
	Items int
	// Keep, if not nil, is called with the redacted responses, one per
	// operation.
	Keep func(Fixture) error
}

// Requests returns the maximum number of requests that Live sends.
func (o LiveOptions) Requests() int {
	n := 0
	for _, p := range probes() {
		if n++; len(p.field) > 0 {
			n += max(o.Items, 1) - 1
		}
	}
	return n
}

// A probe is a read of an operation.
type probe struct {
	op    api.Op
	query url.Values
	// first names the operation whose first item this probe requests, and field
	// the member of that item that goes into the path.
	first api.Op
	field []string
}

// probes lists the reads in an order in which each finds what it needs.
func probes() []probe {
	few := func(more ...string) url.Values {
		q := url.Values{"limit": {"5"}, "offset": {"0"}}
		for _, name := range more {
			q.Set(name, "")
		}
		return q
	}
	const environment = "environment_id"
	return []probe{
		{op: api.ProjectGet},
		{op: api.EnvironmentsList},
		{op: api.AgentsList, query: few()},
		{op: api.AgentsGet, first: api.AgentsList, field: []string{"name"}},
		{op: api.RunsList, query: few()},
		{op: api.RunsGet, first: api.RunsList, field: []string{"id", "run_id"}},
		{op: api.KnowledgeList, query: few(environment)},
		{op: api.KnowledgeGet, first: api.KnowledgeList, field: []string{"entry_id", "id"}, query: url.Values{environment: {""}, "namespace": {""}}},
		{op: api.KnowledgeNamespaces, query: url.Values{environment: {""}}},
		{op: api.KnowledgeJobsList, query: few(environment)},
		{op: api.KnowledgeJobsGet, first: api.KnowledgeJobsList, field: []string{"id", "job_id"}, query: url.Values{environment: {""}}},
		{op: api.JudgesList, query: few()},
		{op: api.JudgesGet, first: api.JudgesList, field: []string{"id"}},
		{op: api.JudgesEvaluations, first: api.JudgesList, field: []string{"id"}, query: few()},
		{op: api.BudgetsList, query: few()},
		{op: api.BudgetsGet, first: api.BudgetsList, field: []string{"id"}},
		{op: api.BudgetsUsage},
		{op: api.AuditLogsList, query: few()},
		{op: api.DeploymentsList, query: few()},
		{op: api.DeploymentsGet, first: api.DeploymentsList, field: []string{"id", "deployment_id"}},
	}
}

// Live requests what a client would read, with GET only, and compares the
// responses with the client's document. It sends [LiveOptions.Requests]
// requests, or fewer if lists are empty, whatever the client retries or follows
// otherwise. Its error is that of a context that ended, or of Keep.
func Live(ctx context.Context, c *connic.Client, o LiveOptions) (*Report, error) {
	l, err := newLive()
	if err != nil {
		return nil, err
	}
	l.client, l.options = c, o
	for _, p := range probes() {
		if err := l.ask(ctx, p); err != nil {
			return nil, err
		}
	}
	l.states()
	l.report.sort()
	return l.report, nil
}

// newLive returns a comparison with no responses yet.
func newLive() (*live, error) {
	doc, err := own()
	if err != nil {
		return nil, err
	}
	l := &live{
		comparison: comparison{report: new(Report), ours: doc, results: make(map[string]*Result)}, items: make(map[api.Op][]object),
	}
	for i := range api.Table {
		op := &api.Table[i]
		l.results[op.Name] = &Result{Operation: op.Name, Ours: op.Method + " " + op.Route, State: Skipped}
	}
	return l, nil
}

// A live is a comparison with responses.
type live struct {
	comparison
	client  *connic.Client
	options LiveOptions
	items   map[api.Op][]object // of each list
	// environment is the first environment of the project.
	environment string
}

// ask sends the requests of an operation and inspects the responses.
func (l *live) ask(ctx context.Context, p probe) error {
	op := &api.Table[p.op]
	if p.query.Has("environment_id") && l.environment == "" {
		l.add(op, Info, "not-asked", "", "Not requested: no environment is known.", "")
		return nil
	}
	path := strings.TrimPrefix(op.Route, "/projects/{project}")
	var answers [][]byte
	if len(p.field) == 0 {
		body, err := l.send(ctx, op, path, l.query(p, nil), true)
		if err != nil {
			return err
		}
		answers = append(answers, body)
	}
	for i, item := range l.items[p.first] {
		if len(p.field) == 0 || i >= max(l.options.Items, 1) {
			break
		}
		id := ""
		for _, name := range p.field {
			id = cmp.Or(id, text(item[name]))
		}
		if id == "" {
			continue
		}
		body, err := l.send(ctx, op, placeholder.ReplaceAllLiteralString(path, url.PathEscape(id)), l.query(p, item), i == 0)
		if err != nil {
			return err
		}
		answers = append(answers, body)
	}
	answers = slices.DeleteFunc(answers, func(body []byte) bool { return body == nil })
	switch {
	case len(answers) > 0:
		l.results[op.Name].State = Same
		l.compare(op, p.op, l.schema(op), answers)
	case l.results[op.Name].State == Skipped:
		l.add(op, Info, "not-asked", "", "Not requested: "+api.Table[p.first].Name+" returned no items.", "")
	}
	return nil
}

// query returns the query of a request.
func (l *live) query(p probe, item object) url.Values {
	query := url.Values{}
	maps.Copy(query, p.query)
	if query.Has("environment_id") {
		query.Set("environment_id", l.environment)
	}
	if query.Has("namespace") {
		if query.Set("namespace", text(item["namespace"])); query.Get("namespace") == "" {
			query.Del("namespace")
		}
	}
	return query
}

// schema returns the schema of an operation's response.
func (l *live) schema(op *api.Operation) object {
	for _, o := range l.ours.operations {
		if o.id() == op.Name {
			return answerOf(o)
		}
	}
	return nil
}

// send sends one request and returns the body of a success, or nil.
func (l *live) send(ctx context.Context, op *api.Operation, path string, query url.Values, keep bool) ([]byte, error) {
	var response connic.Response
	err := l.client.Do(ctx, http.MethodGet, path, query, nil, nil, connic.CaptureResponse(&response), connic.WithMaxAttempts(1))
	l.report.Requests += response.Attempts
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	result := l.results[op.Name]
	result.Status = response.StatusCode
	if response.StatusCode == 0 {
		result.State = Missing
		l.add(op, Error, "no-answer", "", "There was no response: "+err.Error()+".", "")
		return nil, nil
	}
	if keep && l.options.Keep != nil {
		if err := l.options.Keep(redact(op, query, &response, l.schema(op))); err != nil {
			return nil, err
		}
	}
	if response.StatusCode >= 300 {
		l.refused(op, result, err)
		return nil, nil
	}
	return append([]byte{}, response.Body...), nil
}

// refused reports the meaning of an error status.
func (l *live) refused(op *api.Operation, result *Result, err error) {
	result.State = Missing
	detail := ""
	var refusal *connic.Error
	if errors.As(err, &refusal) && refusal.Detail != "" {
		detail = " Its message: " + refusal.Detail
	}
	switch {
	case result.Status < 400:
		l.add(op, Warning, "redirected", strconv.Itoa(result.Status), redirected(err),
			"Look up its path in the API reference, and use connic.WithRoute.")
		return
	case result.Status == http.StatusForbidden:
		l.add(op, Warning, "forbidden", "403", "The key lacks "+op.Section+" "+op.Access+", or the operation is not part of the public API."+detail, "")
	case result.Status == http.StatusUnauthorized:
		l.add(op, Error, "unauthorized", "401", "The key is unknown or no longer valid."+detail, "")
	case result.Status == http.StatusNotFound:
		l.add(op, Error, "not-found", "404", "There is nothing at "+op.Route+"."+detail,
			"Look up its path in the API reference, and use connic.WithRoute.")
	case result.Status == http.StatusUnprocessableEntity, result.Status == http.StatusBadRequest:
		l.add(op, Error, "refused", strconv.Itoa(result.Status), "The service does not accept the request."+detail, "")
	default:
		l.add(op, Error, "status", strconv.Itoa(result.Status), "The service responded with an error."+detail, "")
	}
	if refusal != nil && json.Valid(refusal.Body) && bytes.HasPrefix(bytes.TrimSpace(refusal.Body), []byte("{")) {
		var body object
		if json.Unmarshal(refusal.Body, &body) == nil && body["detail"] == nil {
			l.add(op, Warning, "error-shape", strconv.Itoa(result.Status), "The error has no detail.", "connic.Error.Body has the whole response.")
		}
	}
}

// compare compares responses with the schema of their operation.
func (l *live) compare(op *api.Operation, at api.Op, schema object, answers [][]byte) {
	seen := &inspection{live: l, op: op, told: make(map[string]bool)}
	names := list(schema["x-list-names"])
	own := schema
	if inner := list(schema["anyOf"]); len(names) > 0 {
		own, _, _ = unlist(schema, names)
	} else if len(inner) > 0 && schema["x-member"] != nil {
		own, _ = inner[0].(object)
	}
	var objects []object
	for _, body := range answers {
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.UseNumber()
		var value any
		if err := decoder.Decode(&value); err != nil {
			seen.say(Error, "no-json", "", "The response is not JSON.")
			continue
		}
		if len(names) == 0 {
			if o, ok := value.(object); ok {
				objects = append(objects, o)
			} else {
				seen.say(Error, "list-unexpected", "", "The response is not an object.")
			}
			continue
		}
		items, ok := l.list(op, value, names)
		if !ok {
			seen.say(Error, "list-missing", "", "The response has no list.")
		}
		for _, item := range items {
			if o, ok := item.(object); ok {
				objects = append(objects, o)
			}
		}
	}
	l.items[at] = objects
	if at == api.EnvironmentsList && len(objects) > 0 {
		l.environment = text(objects[0]["id"])
	}
	seen.objects("", own, objects)
}

// pagingNames lists the members of a list's envelope that say how it is paged.
var pagingNames = []string{"next_cursor", "next", "has_more", "total", "offset", "page", "pages"}

// list finds the list in a response, and reports its envelope and paging.
func (l *live) list(op *api.Operation, value any, names []any) (items []any, ok bool) {
	result := l.results[op.Name]
	switch v := value.(type) {
	case []any:
		result.Envelope = "array"
		return v, true
	case object:
		var paging []string
		for _, name := range pagingNames {
			if _, ok := v[name]; ok {
				paging = append(paging, name)
			}
		}
		result.Paging = strings.Join(paging, " ")
		for _, name := range names {
			if items, ok := v[text(name)].([]any); ok {
				result.Envelope = text(name)
				return items, true
			}
		}
		for name, inner := range sorted(v) {
			if !scrub.IsName(name) {
				continue
			}
			if items, ok := inner.([]any); ok {
				result.Envelope = name
				l.add(op, Error, "envelope", name, "The list is under "+name+", which the client does not read.", "Client.Do decodes it into your own type.")
				return items, true
			}
			for deeper, inner := range sorted(member(v, name)) {
				if items, ok := inner.([]any); ok && scrub.Names(l.schema(op))[deeper] {
					result.Envelope = name + "." + deeper
					l.add(op, Error, "envelope", result.Envelope, "The list is under "+result.Envelope+", which the client does not read.",
						"Client.Do decodes it into your own type.")
					return items, true
				}
			}
		}
	}
	return nil, false
}
