package connictest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/connic-go/connic"
)

// ProjectID is the id of the fake's only project.
const ProjectID = "11111111-1111-4111-8111-111111111111"

// fullKey is a key with full access that every Server accepts.
const fullKey connic.APIKey = "cnc_connictest_full_access"

// A Server is a fake Connic service with one project. All methods are safe for
// concurrent use.
type Server struct {
	listener *httptest.Server // nil: in process only
	bubble   string           // the synctest bubble it was made in, if any
	ctx      context.Context  // ends when the server is closed
	cancel   context.CancelFunc
	work     sync.WaitGroup // agents and judges at work, complaints on their way
	offset   atomic.Int64   // of the fake's clock from the real one, in nanoseconds

	mu         sync.Mutex
	test       TB // nil if there is no test to report to
	closed     bool
	lenient    bool
	complaints []string
	keys       map[connic.APIKey]scopes
	quota      quota
	faults     []*fault
	record     record
	executed   map[string]int
	ids        ids
	slash      bool
	audit      history[AuditEntry]

	environments []environment
	gitProvider  string
	agents       []*agent
	runs         []*run // oldest first
	ending       []*run // deleted before they ended
	ended        int    // runs that have ended, and the size of their texts
	endedBytes   int
	openBytes    int // of the inputs of the others

	entries       []*entry // what queries find
	jobs          []*job   // oldest first
	uploads       int      // jobs ever
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
	past           []connic.UsageRow      // costs from before the test: see Usage
	olderUsage     map[usageKey]*usageRow // of deleted runs and older charges
	notices        []Notice

	sessions     []*devSession
	failSessions bool
	bridges      map[string][]connic.BridgeRoute
	logins       []*login
	loginCount   int
	loginKeys    []connic.APIKey // oldest first
	autoLogin    time.Duration   // until a login is confirmed
	autoApproves bool

	approvals       []*approval // oldest first
	approvalNotices []*Outbound

	connectors []*Connector
	outbound   []*Outbound
	resources  []*resource // the connectors that the API has shown
}

// New returns a fake that does not listen. [Server.Client] and
// [Server.Transport] reach it in process, even inside a testing/synctest
// bubble. If a test is given, the fake is closed by t.Cleanup and reports
// requests that break the rules to the test (see [Server.Lenient]). Otherwise
// the caller must close it.
func New(t ...TB) *Server {
	s := &Server{
		bubble: bubble(), keys: map[connic.APIKey]scopes{fullKey: nil}, executed: make(map[string]int),
		scoring: make(map[string]JudgeFunc), olderUsage: make(map[usageKey]*usageRow), budgetsChanged: make(chan struct{}),
		environments: []environment{
			{ID: "env-production", Name: "production", Type: "production", IsDefault: true, TestEnvironmentID: "env-test"},
			{ID: "env-test", Name: "test", Type: "test"},
		},
		ingestionTime: time.Second, phaseTime: time.Second,
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.RateLimit(60, time.Minute, FixedWindow)
	for _, t := range t {
		s.test = t
		t.Cleanup(s.Close)
	}
	return s
}

// NewServer returns a fake that listens on a loopback address. It is closed by
// t.Cleanup and reports requests that break the rules to the test (see
// [Server.Lenient]). Inside a testing/synctest bubble it fails the test at
// once, because time does not advance there while a socket is waited for: use
// [New].
func NewServer(t TB) *Server {
	t.Helper()
	if bubble() != "" {
		t.Fatalf("connictest: %s", listensInBubble)
	}
	s := New(t)
	s.listener = httptest.NewServer(s)
	return s
}

// Start returns a fake that listens on a loopback address, for programs that
// are not tests. The caller must close it. Start panics inside a
// testing/synctest bubble.
func Start() *Server {
	if bubble() != "" {
		panic("connictest: " + listensInBubble)
	}
	s := New()
	s.listener = httptest.NewServer(s)
	return s
}

const listensInBubble = "a fake that listens does not work inside a synctest bubble; make it with connictest.New"

// Close stops the fake. It cancels the contexts of running agents and judges
// and waits for them, for up to 10 s, or an hour in a synctest bubble. Any that
// are still running then are reported to the test. Unfinished runs are
// cancelled.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	if s.listener != nil {
		s.listener.CloseClientConnections()
		s.listener.Close()
	}
	idle := make(chan struct{})
	go func() {
		defer close(idle)
		s.work.Wait()
	}()
	timeout := 10 * time.Second
	if s.bubble != "" {
		timeout = time.Hour
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	stuck := false
	select {
	case <-idle:
	case <-timer.C:
		stuck = true
	}

	s.mu.Lock()
	t := s.test
	s.test = nil
	var running []string
	for _, r := range s.runs {
		if r.ended.IsZero() {
			r.status, r.ended = connic.RunCancelled, s.now()
			running = append(running, r.agent)
		}
	}
	s.mu.Unlock()
	if stuck && t != nil {
		t.Errorf("connictest: Close gave up after %v: an agent or judge ignores the end of its context; running agents: %q", timeout, running)
	}
}

// begin registers work that Close waits for. It reports false if the server is
// closed. The caller holds the mutex.
func (s *Server) begin() bool {
	if s.closed {
		return false
	}
	s.work.Add(1)
	return true
}

// URL returns the base URL of the fake, for [connic.WithBaseURL]. The URL of a
// fake that does not listen can only be reached through [Server.Transport].
func (s *Server) URL() string {
	if s.listener == nil {
		return "http://localhost/v1"
	}
	return s.listener.URL + "/v1"
}

// Client returns a client of the fake with full access. The options are added
// to those that lead to the fake. If the fake has no quota (see
// [Server.RateLimit]), neither has the client.
func (s *Server) Client(opts ...connic.Option) *connic.Client {
	return s.ClientWithKey(fullKey, opts...)
}

// ClientWithKey returns a client of the fake that uses the given key: see
// [Server.Key]. It panics if an option is refused, or if the fake cannot be
// reached from the calling goroutine: see [NewServer].
func (s *Server) ClientWithKey(key connic.APIKey, opts ...connic.Option) *connic.Client {
	if err := s.reachable(); err != nil {
		panic(err.Error())
	}
	own := []connic.Option{connic.WithBaseURL(s.URL())}
	if s.listener == nil {
		own = append(own, connic.WithHTTPClient(&http.Client{Transport: s.Transport()}))
	}
	s.mu.Lock()
	if s.quota.n <= 0 {
		own = append(own, connic.WithoutRateLimit())
	}
	s.mu.Unlock()
	client, err := connic.New(ProjectID, key, append(own, opts...)...)
	if err != nil {
		panic(fmt.Sprintf("connictest: %v", err))
	}
	return client
}

// scopes are the permissions of a key; nil means full access.
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

// Key returns a new key with permissions such as "runs:read",
// "knowledge:write", "*:read" or "*". Without permissions it has full access.
func (s *Server) Key(permissions ...string) connic.APIKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newKey(permissions)
}

// newKey creates a key. The caller holds the mutex.
func (s *Server) newKey(permissions []string) connic.APIKey {
	key := connic.APIKey("cnc_" + s.newID("connictestkey"))
	s.keys[key] = nil
	if len(permissions) > 0 {
		s.keys[key] = scopes(slices.Clone(permissions))
	}
	return key
}

// SetKey makes a key valid, with permissions in the form accepted by
// [Server.Key].
func (s *Server) SetKey(key connic.APIKey, permissions ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(permissions) == 0 {
		s.keys[key] = nil
	} else {
		s.keys[key] = scopes(slices.Clone(permissions))
	}
}

// RevokeKey makes a key invalid.
func (s *Server) RevokeKey(key connic.APIKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, key)
}
