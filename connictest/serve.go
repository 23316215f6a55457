package connictest

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/api"
)

// exchange is a request being handled.
type exchange struct {
	ctx   context.Context
	op    *api.Operation
	id    string // the argument in the path, other than the project
	query map[string][]string
	body  []byte
	key   connic.APIKey

	origin      string // that the client used, such as "http://127.0.0.1:8080"
	contentType string // of the body
	lenient     bool
}

// answer is the response to a request.
type answer struct {
	status   int
	header   map[string]string
	body     []byte
	drop     bool   // cut the connection without a response
	truncate int    // cut the connection after this many bytes of the body; -1 means never
	told     string // reported to the test: the request breaks the rules
}

// handlers handle the operations with the mutex of the server held.
var handlers = [api.NumOps]func(*Server, *exchange) answer{
	api.AgentsList:    (*Server).listAgents,
	api.AgentsGet:     (*Server).getAgent,
	api.AgentsTrigger: (*Server).triggerAgent,

	api.RunsList:   (*Server).listRuns,
	api.RunsGet:    (*Server).getRun,
	api.RunsCancel: (*Server).cancelRun,
	api.RunsRerun:  (*Server).rerunRun,
	api.RunsDelete: (*Server).deleteRun,

	api.KnowledgeUploadText:      (*Server).uploadText,
	api.KnowledgeUploadFile:      (*Server).uploadFile,
	api.KnowledgeList:            (*Server).listEntries,
	api.KnowledgeGet:             (*Server).getEntry,
	api.KnowledgeDelete:          (*Server).deleteEntry,
	api.KnowledgeDeleteNamespace: (*Server).deleteNamespace,
	api.KnowledgeQuery:           (*Server).queryKnowledge,
	api.KnowledgeNamespaces:      (*Server).listNamespaces,
	api.KnowledgeJobsList:        (*Server).listJobs,
	api.KnowledgeJobsGet:         (*Server).getJob,

	api.JudgesList:        (*Server).listJudges,
	api.JudgesCreate:      (*Server).createJudge,
	api.JudgesGet:         (*Server).getJudge,
	api.JudgesUpdate:      (*Server).updateJudge,
	api.JudgesDelete:      (*Server).deleteJudge,
	api.JudgesEvaluate:    (*Server).evaluateRun,
	api.JudgesEvaluations: (*Server).listEvaluations,

	api.BudgetsList:   (*Server).listBudgets,
	api.BudgetsCreate: (*Server).createBudget,
	api.BudgetsGet:    (*Server).getBudget,
	api.BudgetsUpdate: (*Server).updateBudget,
	api.BudgetsDelete: (*Server).deleteBudget,
	api.BudgetsUsage:  (*Server).listUsage,

	api.AuditLogsList: (*Server).listAuditLogs,

	api.DeploymentsList:     (*Server).listDeployments,
	api.DeploymentsGet:      (*Server).getDeployment,
	api.DeploymentsUpload:   (*Server).uploadDeployment,
	api.DeploymentsActivate: (*Server).activateDeployment,

	api.ProjectGet:       (*Server).getProject,
	api.EnvironmentsList: (*Server).listEnvironments,

	api.TestRunsCreate: (*Server).createTestRun,
	api.TestRunsGet:    (*Server).getTestRun,

	api.DevSessionsCreate: (*Server).createSession,
	api.DevSessionsGet:    (*Server).getSession,
	api.DevSessionsStatus: (*Server).sessionStatus,
	api.DevSessionsUpload: (*Server).uploadSession,
	api.DevSessionsDelete: (*Server).deleteSession,

	api.BridgesRoutes:    (*Server).getBridgeRoutes,
	api.BridgesSetRoutes: (*Server).setBridgeRoutes,

	api.ApprovalsList:   (*Server).listApprovals,
	api.ApprovalsGet:    (*Server).getApproval,
	api.ApprovalsDecide: (*Server).decideApproval,

	api.ConnectorsList:   (*Server).listConnectors,
	api.ConnectorsCreate: (*Server).createConnector,
	api.ConnectorsGet:    (*Server).getConnector,
	api.ConnectorsUpdate: (*Server).updateConnector,
	api.ConnectorsDelete: (*Server).deleteConnector,

	api.LoginStart: (*Server).startLogin,
	api.LoginToken: (*Server).pollLogin,
}

// respond handles a request: faults, key, quota, route, permission, arguments,
// operation.
func (s *Server) respond(r *http.Request, body []byte) answer {
	if c, found := s.connectorAt(r.URL.Path); found {
		return c.respond(s, r, body)
	}
	op, project, id, routed := route(r.Method, r.URL.EscapedPath())
	name := ""
	if routed {
		name = op.Name
	}
	s.mu.Lock()
	request := s.note(name, r, body)
	f := s.nextFault(name)
	s.mu.Unlock()

	a := f.around(r.Context(), s, func() answer { return s.handle(r, op, routed, project, id, body) })
	s.mu.Lock()
	if a.header != nil {
		a.header["X-Request-Id"] = request.ID
	}
	if !a.drop {
		request.Status = a.status
	}
	lenient := s.lenient
	s.mu.Unlock()
	if a.told != "" && !lenient {
		s.tell("%s %s: %s", r.Method, r.URL.Path, a.told)
	}
	return a
}

// pass waits for the latency of a fault. It reports false if the caller or the
// server has gone in the meantime.
func (s *Server) pass(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-s.ctx.Done():
	}
	return false
}

// handle handles a request without faults.
func (s *Server) handle(r *http.Request, op *api.Operation, routed bool, project, id string, body []byte) (a answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		if p := recover(); p != nil {
			a = problem(http.StatusInternalServerError, fmt.Sprintf("connictest: the fake panicked: %v", p))
			a.told = "the fake panicked: " + fmt.Sprint(p)
		}
	}()
	return s.execute(r, op, routed, project, id, body)
}

// execute handles an admitted request. The caller holds the mutex.
func (s *Server) execute(r *http.Request, op *api.Operation, routed bool, project, id string, body []byte) answer {
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	x := &exchange{
		ctx: r.Context(), op: op, id: id, query: r.URL.Query(), body: body, origin: scheme + cmp.Or(r.Host, r.URL.Host),
		contentType: r.Header.Get("Content-Type"), lenient: s.lenient,
	}
	if routed && op.Keyless {
		return s.answer(x)
	}
	authorization := r.Header.Get("Authorization")
	if authorization == "" {
		a := problem(http.StatusUnauthorized, "Missing API key: expected the header Authorization: Bearer cnc_…")
		a.told = "the header Authorization is missing; expected Bearer and a key"
		return a
	}
	token, bearer := strings.CutPrefix(authorization, "Bearer ")
	permissions, known := s.keys[connic.APIKey(token)]
	if !bearer || !known {
		return problem(http.StatusUnauthorized, "Invalid API key")
	}
	if wait, ok := s.quota.take(time.Now()); !ok {
		a := problem(http.StatusTooManyRequests, "Rate limit exceeded")
		a.header["Retry-After"] = strconv.Itoa(wait)
		return a
	}
	if !routed {
		a := problem(http.StatusForbidden, "This endpoint is not part of the public API: "+r.Method+" "+r.URL.Path)
		a.told = "no operation has this method and path"
		return a
	}
	if project != ProjectID && strings.Contains(op.Route, "{project}") {
		return notFound("Project")
	}
	if !permissions.allow(op.Section, op.Access) {
		return problem(http.StatusForbidden, "Key lacks permission for this endpoint")
	}
	if s.slash && op.Op == api.EnvironmentsList && !strings.HasSuffix(r.URL.Path, "/") {
		a := problem(http.StatusTemporaryRedirect, "")
		a.header["Location"] = "http://behind-the-proxy.invalid" + r.URL.Path + "/"
		return a
	}
	x.key = connic.APIKey(token)
	return s.answer(x)
}

// answer handles an authorized request.
func (s *Server) answer(x *exchange) answer {
	if complaint := x.check(); complaint != nil {
		return *complaint
	}
	h := handlers[x.op.Op]
	if h == nil {
		return problem(http.StatusNotImplemented, "The fake does not offer "+x.op.Name+" yet")
	}
	a := h(s, x)
	if a.status < 300 && !a.drop {
		s.executed[x.op.Name]++
	}
	return a
}

// route finds the operation of a request. Literal segments take precedence over
// placeholders: /budgets/usage is not a budget.
func route(method, path string) (op *api.Operation, project, id string, ok bool) {
	path, found := strings.CutPrefix(path, "/v1")
	if !found {
		return nil, "", "", false
	}
	segments := strings.Split(strings.TrimSuffix(path, "/"), "/")
	best := -1
	for i := range api.Table {
		o := &api.Table[i]
		if o.Method != method {
			continue
		}
		p, d, literals := match(strings.Split(o.Route, "/"), segments)
		if literals > best {
			op, project, id, best = o, p, d, literals
		}
	}
	return op, project, id, best >= 0
}

// match extracts the placeholders of a route; literals is -1 if it does not
// match.
func match(route, segments []string) (project, id string, literals int) {
	if len(route) != len(segments) {
		return "", "", -1
	}
	for i, want := range route {
		switch {
		case want == segments[i]:
			literals++
		case want == "{project}":
			project = unescape(segments[i])
		case strings.HasPrefix(want, "{") && segments[i] != "":
			id = unescape(segments[i])
		default:
			return "", "", -1
		}
	}
	return project, id, literals
}
