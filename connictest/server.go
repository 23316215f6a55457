package connictest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/api"
)

// ProjectID is the id of the fake's one project.
const ProjectID = "11111111-1111-4111-8111-111111111111"

// fullKey is the key with full access that every Server knows.
const fullKey connic.APIKey = "cnc_connictest_full_access"

// TB is what [NewServer] needs of a *testing.T.
type TB interface {
	Helper()
	Cleanup(func())
}

// Server is a fake Connic service with one project. All its methods are safe for
// concurrent use.
type Server struct {
	listener *httptest.Server // nil: in process only
	ctx      context.Context  // ends when the server is closed
	cancel   context.CancelFunc
	work     sync.WaitGroup // agents that run

	mu       sync.Mutex
	keys     map[connic.APIKey]scopes
	quota    quota
	faults   []*fault
	requests []Request
	executed map[string]int
	lastID   int
	slash    bool
	audit    []AuditEntry

	environments []environment
	gitProvider  string
	agents       []*agent
	runs         []*run // oldest first

	entries       []*entry // what queries find
	jobs          []*job   // oldest first
	ingestionTime time.Duration
	failIngestion func(IngestedEntry) error

	deployments    []*deployment // oldest first
	testRuns       []*testRun
	phaseTime      time.Duration
	failDeployment func(UploadedProject) error
	tests          func(UploadedProject) []connic.TestCase

	judges         []*judge
	scoring        map[string]JudgeFunc // by the judge's name
	budgets        []*budget
	budgetsChanged chan struct{} // closed when a budget changes
	charges        []charge
	past           []connic.UsageRow // costs from before the test: see Usage
	begun          []*run // all runs ever, deleted ones too
	notices        []Notice

	sessions     []*devSession
	failSessions bool
	bridges      map[string][]connic.BridgeRoute
	logins       []*login
	autoLogin    time.Duration // until a login is confirmed
	autoApproves bool

	connectors []*Connector
	outbound   []*Outbound
}

// New makes a fake that does not listen: [Server.Client] and [Server.Transport]
// reach it in process. Close it when its agents may still be running.
func New() *Server {
	s := &Server{
		keys:     map[connic.APIKey]scopes{fullKey: nil},
		executed: make(map[string]int),
		scoring:  make(map[string]JudgeFunc), budgetsChanged: make(chan struct{}),
		environments: []environment{
			{ID: "env-production", Name: "production", Type: "production", Default: true, Test: "env-test"},
			{ID: "env-test", Name: "test", Type: "test"},
		},
	}
	s.ingestionTime, s.phaseTime = time.Second, time.Second
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.RateLimit(60, time.Minute, FixedWindow)
	return s
}

// NewServer makes a fake that listens on a loopback address and is closed by
// t.Cleanup.
func NewServer(t TB) *Server {
	t.Helper()
	s := Start()
	t.Cleanup(s.Close)
	return s
}

// Start makes a fake that listens on a loopback address, for programs that are
// not tests. Close it.
func Start() *Server {
	s := New()
	s.listener = httptest.NewServer(s)
	return s
}

// Close stops the fake: agents that run get a cancelled context and are waited
// for.
func (s *Server) Close() {
	s.cancel()
	if s.listener != nil {
		s.listener.CloseClientConnections()
		s.listener.Close()
	}
	s.work.Wait()
}

// URL is the base URL of a fake that listens, as [connic.WithBaseURL] takes it.
// That of a fake that does not is reached through [Server.Transport] only.
func (s *Server) URL() string {
	if s.listener == nil {
		return "http://localhost/v1"
	}
	return s.listener.URL + "/v1"
}

// Client makes a client of the fake with full access. Options are added to those
// that lead to the fake.
func (s *Server) Client(opts ...connic.Option) *connic.Client {
	return s.ClientWithKey(fullKey, opts...)
}

// ClientWithKey makes a client of the fake with a key: see [Server.Key]. It
// panics when an option is refused.
func (s *Server) ClientWithKey(key connic.APIKey, opts ...connic.Option) *connic.Client {
	own := []connic.Option{connic.WithBaseURL(s.URL())}
	if s.listener == nil {
		own = append(own, connic.WithHTTPClient(&http.Client{Transport: s.Transport()}))
	}
	client, err := connic.New(ProjectID, key, append(own, opts...)...)
	if err != nil {
		panic(fmt.Sprintf("connictest: %v", err))
	}
	return client
}

// scopes are the permissions of a key; nil is full access.
type scopes []string

func (k scopes) allow(section, access string) bool {
	if k == nil || section == "" {
		return true
	}
	for want := range strings.SplitSeq(access, " or ") {
		if slices.Contains(k, section+":"+want) || slices.Contains(k, "*:"+want) || slices.Contains(k, "*") {
			return true
		}
	}
	return false
}

// Key makes a key with permissions like "runs:read", "knowledge:write",
// "*:read" or "*". Without permissions it has full access.
func (s *Server) Key(permissions ...string) connic.APIKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newKey(permissions)
}

// newKey makes a key. The caller holds the mutex.
func (s *Server) newKey(permissions []string) connic.APIKey {
	key := connic.APIKey("cnc_" + s.newID("connictestkey"))
	if len(permissions) == 0 {
		s.keys[key] = nil
	} else {
		s.keys[key] = scopes(slices.Clone(permissions))
	}
	return key
}

// RevokeKey makes a key invalid.
func (s *Server) RevokeKey(key connic.APIKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, key)
}

// newID makes an id that is unique within the server. The caller holds the mutex.
func (s *Server) newID(prefix string) string {
	s.lastID++
	return fmt.Sprintf("%s-%08d", prefix, s.lastID)
}

// Request is a request that the fake received.
type Request struct {
	Op     string // "runs.get"; empty for an unknown route
	Method string
	Path   string
	Query  string
	Header http.Header // without Authorization
	Body   []byte
	Status int // of the answer; 0 if there was none
	At     time.Time
}

// Requests returns the requests so far, oldest first, refused ones included.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Executions returns how many requests of an operation were executed: not those
// that were refused for their key, the quota or their arguments, but those whose
// answer was lost.
func (s *Server) Executions(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.executed[op]
}

// exchange is a request that is being answered.
type exchange struct {
	ctx   context.Context
	op    *api.Operation
	id    string // the path's argument besides the project
	query map[string][]string
	body  []byte
	key   connic.APIKey

	contentType string // of the body
}

// answer is what goes back.
type answer struct {
	status   int
	header   map[string]string
	body     []byte
	drop     bool // no answer: the connection is cut
	truncate int  // cut the connection after so many bytes of the body; -1: do not
}

// handlers answer the operations, with the server's mutex held.
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

	api.LoginStart: (*Server).startLogin,
	api.LoginToken: (*Server).pollLogin,
}

// respond answers a request: faults, key, quota, route, permission, arguments,
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
	index := len(s.requests)
	header := r.Header.Clone()
	header.Del("Authorization")
	s.requests = append(s.requests, Request{
		Op: name, Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Header: header, Body: body, At: time.Now(),
	})
	f := s.nextFault(name)
	s.mu.Unlock()

	if f.Latency > 0 {
		timer := time.NewTimer(f.Latency)
		select {
		case <-timer.C:
		case <-r.Context().Done():
			timer.Stop()
			return answer{drop: true, truncate: -1}
		case <-s.ctx.Done():
			timer.Stop()
			return answer{drop: true, truncate: -1}
		}
	}
	a := answer{truncate: -1}
	if f.executes() {
		s.mu.Lock()
		a = s.execute(r, op, routed, project, id, body)
		s.mu.Unlock()
	}
	a = f.apply(a)
	s.mu.Lock()
	if !a.drop {
		s.requests[index].Status = a.status
	}
	s.mu.Unlock()
	return a
}

// execute answers a request without faults. The caller holds the mutex.
func (s *Server) execute(r *http.Request, op *api.Operation, routed bool, project, id string, body []byte) answer {
	if routed && op.Keyless {
		return s.answer(&exchange{ctx: r.Context(), op: op, query: r.URL.Query(), body: body, contentType: r.Header.Get("Content-Type")})
	}
	authorization := r.Header.Get("Authorization")
	if authorization == "" {
		return problem(http.StatusUnauthorized, "Missing API key: expected the header Authorization: Bearer cnc_…")
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
		return problem(http.StatusForbidden, "This endpoint is not part of the public API: "+r.Method+" "+r.URL.Path)
	}
	if project != ProjectID && strings.Contains(op.Route, "{project}") {
		return problem(http.StatusForbidden, "Key lacks permission for this project")
	}
	if !permissions.allow(op.Section, op.Access) {
		return problem(http.StatusForbidden, "Key lacks permission for this endpoint")
	}
	if s.slash && op.Op == api.EnvironmentsList && !strings.HasSuffix(r.URL.Path, "/") {
		a := problem(http.StatusTemporaryRedirect, "")
		a.header["Location"] = "http://behind-the-proxy.invalid" + r.URL.Path + "/"
		return a
	}
	x := &exchange{ctx: r.Context(), op: op, id: id, query: r.URL.Query(), body: body, key: connic.APIKey(token)}
	x.contentType = r.Header.Get("Content-Type")
	return s.answer(x)
}

// answer answers a request whose sender may make it.
func (s *Server) answer(x *exchange) answer {
	if complaint := x.check(); complaint != nil {
		return *complaint
	}
	h := handlers[x.op.Op]
	if h == nil {
		return problem(http.StatusNotImplemented, "The fake does not offer "+x.op.Name+" yet")
	}
	a := h(s, x)
	if a.status < 300 {
		s.executed[x.op.Name]++
	}
	return a
}

// route finds the operation of a request. Literal segments go before
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

// match fills the placeholders of a route; literals is -1 if it does not match.
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

// errClosed is what in-process requests get from a closed server.
var errClosed = errors.New("connictest: the server is closed")
