package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/api/coverage/source"
)

// A result describes the response of an operation.
type result struct {
	of   string // the Go type; empty if the client ignores the response
	list string // the section's own name for the array of a list
	// member is a key under which the object may be nested.
	member string
	// field and type, instead of of, name the only member that is read.
	field, fieldType string
}

var results = map[api.Op]result{
	api.AgentsList:    {of: "Agent", list: "agents"},
	api.AgentsGet:     {of: "Agent"},
	api.AgentsTrigger: {of: "TriggerResult"},

	api.RunsList:   {of: "Run", list: "runs"},
	api.RunsGet:    {of: "Run"},
	api.RunsCancel: {},
	api.RunsRerun:  {of: "TriggerResult"},
	api.RunsDelete: {},

	api.KnowledgeUploadText:      {of: "Ingestion"},
	api.KnowledgeUploadFile:      {of: "Ingestion"},
	api.KnowledgeList:            {of: "Entry", list: "entries"},
	api.KnowledgeGet:             {of: "Entry"},
	api.KnowledgeDelete:          {},
	api.KnowledgeDeleteNamespace: {},
	api.KnowledgeQuery:           {of: "Match", list: "results"},
	api.KnowledgeNamespaces:      {of: "Namespace", list: "namespaces"},
	api.KnowledgeJobsList:        {of: "Job", list: "jobs"},
	api.KnowledgeJobsGet:         {of: "Job"},

	api.JudgesList:        {of: "Judge", list: "judges"},
	api.JudgesCreate:      {of: "Judge"},
	api.JudgesGet:         {of: "Judge"},
	api.JudgesUpdate:      {of: "Judge"},
	api.JudgesDelete:      {},
	api.JudgesEvaluate:    {of: "Evaluation", member: "evaluation"},
	api.JudgesEvaluations: {of: "Evaluation", list: "evaluations"},

	api.BudgetsList:   {of: "Budget", list: "budgets"},
	api.BudgetsCreate: {of: "Budget"},
	api.BudgetsGet:    {of: "Budget"},
	api.BudgetsUpdate: {of: "Budget"},
	api.BudgetsDelete: {},
	api.BudgetsUsage:  {of: "UsageRow", list: "usage"},

	api.AuditLogsList: {of: "AuditEntry", list: "audit_logs"},

	api.DeploymentsList:     {of: "Deployment", list: "deployments"},
	api.DeploymentsGet:      {of: "Deployment", member: "deployment"},
	api.DeploymentsUpload:   {of: "Deployment", member: "deployment"},
	api.DeploymentsActivate: {},

	api.ProjectGet:       {of: "Project"},
	api.EnvironmentsList: {of: "Environment", list: "environments"},

	api.TestRunsCreate: {of: "TestRun", member: "test_run"},
	api.TestRunsGet:    {of: "TestRun", member: "test_run"},

	api.DevSessionsCreate: {of: "DevSession"},
	api.DevSessionsGet:    {of: "DevSession"},
	api.DevSessionsStatus: {field: "status", fieldType: "DevSessionStatus"},
	api.DevSessionsUpload: {of: "DevUpload"},
	api.DevSessionsDelete: {field: "environment_deleted", fieldType: "bool"},

	api.BridgesRoutes:    {of: "bridgeRoutes"},
	api.BridgesSetRoutes: {},

	api.ApprovalsList:   {of: "Approval", list: "approvals"},
	api.ApprovalsGet:    {of: "Approval"},
	api.ApprovalsDecide: {of: "Approval"},

	api.ConnectorsList:   {of: "Connector", list: "connectors"},
	api.ConnectorsCreate: {of: "Connector"},
	api.ConnectorsGet:    {of: "Connector"},
	api.ConnectorsUpdate: {of: "Connector"},
	api.ConnectorsDelete: {},

	api.LoginStart: {of: "loginStart"},
	api.LoginToken: {of: "loginToken"},
}

// parameter returns a query parameter of an operation.
func (g *generator) parameter(op *api.Operation, name string) (object, error) {
	p := object{"name": name, "in": "query"}
	known, from := mark(op, name)
	p["x-status"], p["x-source"] = string(known), from
	var s object
	switch name {
	case "limit":
		s = object{"type": "integer", "minimum": 1, "maximum": 100}
	case "offset":
		s = object{"type": "integer", "minimum": 0, "maximum": maxInt64}
	case "depth":
		s = object{"type": "integer", "minimum": 0, "maximum": maxInt64, "default": 1, "description": "0 means all levels."}
	case "created_after", "created_before", "from", "to":
		s = object{"type": "string", "format": "date-time"}
	case "namespace", "parent":
		s = namespace()
	case "group_by":
		s = object{"type": "string", "enum": g.types.Enums["UsageGrouping"]}
	case "status":
		s = object{"type": "string"}
		if of := statuses[op.Op]; of != "" {
			s["enum"] = g.types.Enums[of]
		}
		if op.Op == api.RunsList {
			s = object{"type": "array", "items": s}
			p["style"], p["explode"] = "form", true
		}
	case "environment_id", "agent_name", "deployment_id", "parent_run_id", "run_id", "action", "resource_type", "resource_id", "actor", "type":
		s = object{"type": "string"}
	default:
		return nil, fmt.Errorf("%s: the parameter %s has no schema", op.Name, name)
	}
	p["schema"] = s
	if (op.Section == "knowledge" && name == "environment_id") || (op.Op == api.KnowledgeDeleteNamespace && name == "namespace") {
		p["required"] = true
		if s["minLength"] == nil {
			s["minLength"] = 1
		}
	}
	return p, nil
}

// statuses holds the values that a filter accepts.
var statuses = map[api.Op]string{
	api.RunsList: "RunStatus", api.KnowledgeJobsList: "JobStatus", api.JudgesEvaluations: "EvaluationStatus",
	api.ApprovalsList: "ApprovalStatus",
}

var projectParameter = object{
	"name": "project", "in": "path", "required": true, "schema": object{"type": "string", "minLength": 1},
	"description": "The id of the project that the key belongs to.", "x-status": "documented", "x-source": sources[api.Documented],
}

// operations writes the paths and the tags.
func (g *generator) operations(doc *spec) error {
	tags := make(map[string]bool)
	for i := range api.Table {
		op := &api.Table[i]
		o, err := g.operation(op)
		if err != nil {
			return err
		}
		tag, _, _ := strings.Cut(op.Name, ".")
		if o["tags"] = []string{tag}; !tags[tag] {
			tags[tag] = true
			doc.Tags = append(doc.Tags, object{"name": tag})
		}
		if doc.Paths[op.Route] == nil {
			doc.Paths[op.Route] = object{}
		}
		doc.Paths[op.Route][strings.ToLower(op.Method)] = o
	}
	return nil
}

func order(m source.Method) int {
	if strings.HasSuffix(m.Name, "All") {
		return 1
	}
	return 0
}

func (g *generator) operation(op *api.Operation) (object, error) {
	methods := source.Of(g.methods, op)
	// The method that makes one request of the operation is the first.
	slices.SortStableFunc(methods, func(a, b source.Method) int { return order(a) - order(b) })
	names := make([]string, len(methods))
	for i, m := range methods {
		names[i] = m.String()
	}
	if op.Keyless { // there is no client yet, so a function makes both calls
		names = []string{"Login"}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s has no method", op.Name)
	}
	parameters := []any{}
	for segment := range strings.SplitSeq(op.Route, "/") {
		switch {
		case segment == "{project}":
			parameters = append(parameters, object{"$ref": "#/components/parameters/project"})
		case strings.HasPrefix(segment, "{"):
			parameters = append(parameters, object{
				"name": strings.Trim(segment, "{}"), "in": "path", "required": true, "schema": object{"type": "string", "minLength": 1},
				"x-status": string(op.Mark), "x-source": sources[op.Mark],
			})
		}
	}
	for _, name := range op.Query {
		p, err := g.parameter(op, name)
		if err != nil {
			return nil, err
		}
		parameters = append(parameters, p)
	}
	from := sources[op.Mark]
	if op.Mark == api.Assumed && op.Words {
		from = inWords
	}
	o := object{
		"operationId": op.Name, "parameters": parameters, "x-go": names,
		"x-status": string(op.Mark), "x-source": from, "x-retry": op.Class.String(), "x-permission": source.Access(op),
	}
	if op.Keyless {
		o["security"] = []object{}
	}
	body, err := g.body(op)
	if err != nil {
		return nil, err
	}
	if body != nil {
		o["requestBody"] = body
	}
	answers, err := g.answers(op)
	if err != nil {
		return nil, err
	}
	o["responses"] = answers
	return o, nil
}

// answers returns the responses of an operation.
func (g *generator) answers(op *api.Operation) (object, error) {
	r, ok := results[op.Op]
	if !ok {
		return nil, fmt.Errorf("it is not known what %s answers", op.Name)
	}
	all := object{}
	success := func(s object) {
		all["2XX"] = object{"description": "Success.", "content": object{"application/json": object{"schema": s}}}
	}
	switch {
	case r.field != "":
		s, err := g.schema(r.fieldType, answer)
		if err != nil {
			return nil, err
		}
		describe(s, op.Mark, "")
		success(object{"type": "object", "properties": object{r.field: s}})
	case r.of == "":
		// Any response means success.
		all["2XX"] = object{"description": "Success. The client ignores the body."}
	default:
		s, err := g.reference(r.of, answer)
		if err != nil {
			return nil, err
		}
		switch {
		case r.list != "":
			s = list(s, r.list)
		case r.member != "":
			s = object{"x-member": r.member, "anyOf": []object{s, {"type": "object", "properties": object{r.member: s}, "required": []string{r.member}}}}
		}
		success(s)
		if op.Op == api.DeploymentsUpload {
			all["2XX"].(object)["headers"] = object{"X-Deployment-Queued": object{
				"schema": object{"type": "string"}, "description": "true if the deployment is queued behind another one that is being built",
				"x-status": string(api.Observed), "x-source": sources[api.Observed],
			}}
		}
	}
	for _, status := range []int{400, 401, 403, 404, 409, 422, 429, 500, 503} {
		all[strconv.Itoa(status)] = object{"$ref": "#/components/responses/" + strconv.Itoa(status)}
	}
	return all, nil
}

// responses returns the errors that every operation may respond with.
func (g *generator) responses() object {
	content := object{"application/json": object{"schema": object{"$ref": "#/components/schemas/Error"}}}
	all := object{}
	for status, meaning := range map[int]struct {
		text string
		mark api.Mark
	}{
		400: {"The request is refused. It is not retried.", api.Observed},
		401: {"The API key is missing or invalid.", api.Documented},
		403: {"The key lacks the permission, or the endpoint is not part of the public API.", api.Documented},
		404: {"The resource does not exist.", api.Documented},
		409: {"The state of the resource does not allow it.", api.Observed},
		422: {"The request is not valid.", api.Assumed},
		429: {"The quota of the project, 60 requests a minute for all keys together, is used up.", api.Documented},
		500: {"The service failed.", api.Documented},
		503: {"The service is not available.", api.Observed},
	} {
		r := object{
			"description": meaning.text, "content": content, "x-status": string(meaning.mark), "x-source": sources[meaning.mark],
		}
		if status == 429 {
			r["headers"] = object{"Retry-After": object{
				"schema": object{"type": "string"}, "description": "The number of seconds to wait. The client also accepts HTTP dates.",
				"x-status": string(api.Documented), "x-source": sources[api.Documented],
			}}
		}
		all[strconv.Itoa(status)] = r
	}
	return all
}
