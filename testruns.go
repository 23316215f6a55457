package connic

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/lenient"
	"github.com/connic-go/connic/internal/mask"
	"github.com/connic-go/connic/internal/pack"
	"github.com/connic-go/connic/internal/watch"
)

// TestRunsService runs a project's tests on the service without deploying the
// project.
type TestRunsService service

func (s *TestRunsService) scope() *scope { return (*service)(s).scope() }

// A TestRun is a run of a project's tests.
type TestRun struct {
	ID           string        `json:"id" api:"observed,test_run_id"`
	Status       TestRunStatus `json:"status" api:"observed"`
	Phase        string        `json:"phase,omitzero" api:"observed"` // one of the Phase constants
	TotalCases   int           `json:"total_cases" api:"observed"`
	Error        string        `json:"error,omitzero" api:"observed"`
	DeploymentID string        `json:"deployment_id,omitzero" api:"observed"`
	Cases        []TestCase    `json:"cases,omitzero" api:"observed"`

	// LeftOut is set by [TestRunsService.Create], and lists what it did not send,
	// as [Deployment.LeftOut] does.
	LeftOut []string `json:"-"`

	RawItem
}

// A TestCase is the result of one test. Tests of agents are run several times,
// because the output of an agent varies.
type TestCase struct {
	AgentName string `json:"agent_name" api:"observed"`
	TestName  string `json:"test_name" api:"observed"`
	Passed    bool   `json:"passed" api:"observed"`
	Successes int    `json:"successes" api:"observed"`
	Runs      int    `json:"runs" api:"observed"`
	// SuccessThreshold is the percentage of runs that must succeed, from 1 to
	// 100. It is 100 if the service omits it.
	SuccessThreshold int      `json:"success_threshold" api:"observed"`
	FailureReason    string   `json:"failure_reason,omitzero" api:"observed"`
	AgentRunIDs      []string `json:"agent_run_ids,omitzero" api:"observed"` // see Runs.Get
	AgentRunPassed   []bool   `json:"agent_run_passed,omitzero" api:"observed"`
}

// PassRate returns the percentage of runs that succeeded, rounded down, or 0
// without runs. It is at least SuccessThreshold if enough runs succeeded.
func (c *TestCase) PassRate() int {
	if c.Runs <= 0 {
		return 0
	}
	return int(100 * int64(c.Successes) / int64(c.Runs))
}

// Failed returns the cases that did not pass.
func (r *TestRun) Failed() []TestCase {
	return slices.DeleteFunc(slices.Clone(r.Cases), func(c TestCase) bool { return c.Passed })
}

// TestRunStatus is the status of a test run: "pending", "queued" or "running", and
// finally "passed", "failed", "error" or "cancelled".
type TestRunStatus string

// The known test run statuses. The final ones are those recognized by the
// vendor's own client; the first three are assumed.
const (
	TestRunPending   TestRunStatus = "pending"
	TestRunQueued    TestRunStatus = "queued"
	TestRunRunning   TestRunStatus = "running"
	TestRunPassed    TestRunStatus = "passed"
	TestRunFailed    TestRunStatus = "failed"
	TestRunErrored   TestRunStatus = "error"
	TestRunCancelled TestRunStatus = "cancelled"
)

// The phases of a test run that the vendor's own client knows. There are
// others. A phase does not indicate whether the run has ended.
const (
	PhaseValidating        = "validating"
	PhaseBuilding          = "building"
	PhaseStartingContainer = "starting_container"
	PhaseRunningTests      = "running_tests"
	PhaseDone              = "done"
	PhaseError             = "error"
)

func (s TestRunStatus) active() bool {
	return s == TestRunPending || s == TestRunQueued || s == TestRunRunning
}

// Finished reports whether s is one of the known final statuses.
func (s TestRunStatus) Finished() bool {
	return s == TestRunPassed || s == TestRunFailed || s == TestRunErrored || s == TestRunCancelled
}

// Known reports whether this version of the package knows s.
func (s TestRunStatus) Known() bool { return s.active() || s.Finished() }

// A TestRunError is returned with a test run that ended without passing: tests
// failed or could not be run, or the run was cancelled.
type TestRunError struct {
	TestRun *TestRun
	hidden
}

// shownCases is the maximum number of cases in the text of a TestRunError.
const shownCases = 5

func (e *TestRunError) Error() string {
	r := e.TestRun
	if r == nil {
		return e.endedText("test run", "", "", "", false, "")
	}
	var why []string
	if r.Error != "" {
		why = append(why, e.by.Line(r.Error, maxDetail))
	}
	failed := r.Failed()
	if len(failed) > 0 {
		why = append(why, fmt.Sprintf("%d of %d cases failed", len(failed), max(r.TotalCases, len(r.Cases))))
	}
	for i, c := range failed {
		if i == shownCases {
			why = append(why, fmt.Sprintf("and %d more", len(failed)-i))
			break
		}
		why = append(why, fmt.Sprintf("%s/%s (%d of %d) %s", c.AgentName, c.TestName, c.Successes, c.Runs, e.by.Line(c.FailureReason, maxDetail)))
	}
	for i := range why {
		why[i] = strings.TrimSpace(why[i])
	}
	return e.endedText("test run", r.ID, "", string(r.Status), true, strings.Join(why, "; "))
}

// MarshalText implements [encoding.TextMarshaler]. It returns the same text as
// Error, so that a JSON log contains the text rather than the whole test run.
func (e *TestRunError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// decoded sets the default threshold of cases that lack one.
func (r *TestRun) decoded() {
	for i := range r.Cases {
		if c := &r.Cases[i]; c.SuccessThreshold == 0 {
			c.SuccessThreshold = 100
		}
	}
}

func decodeTestRun(d *lenient.Decoder) (*TestRun, error) {
	return decodeWithin(d, func(w *struct {
		TestRun
		Inner *TestRun `json:"test_run"`
	},
	) *TestRun {
		if w.Inner != nil && w.ID == "" {
			return w.Inner
		}
		return &w.TestRun
	})
}

// TestRunCreate describes a test run to create. Exactly one of Project and
// Archive must be set.
type TestRunCreate struct {
	// EnvironmentID is where the tests run; it is sent unmodified. If it is
	// empty, the tests run in the test environment that belongs to the client's
	// environment, or else to the project's default one. If there is no such
	// test environment, they run in that environment itself.
	EnvironmentID string
	Project       fs.FS      // packed as by Deployments.UploadFS
	Archive       FileSource // a tar.gz, as for Deployments.Upload
	Filter        string     // run only the tests whose names contain it
	// Folders and Exclude select folders, as in [UploadParams].
	Folders, Exclude []string
}

// Create starts a run of a project's tests and returns without waiting for it.
// To wait for the result, use [TestRunsService.Wait]. The rules for the project
// are those of [DeploymentsService.Upload] and [DeploymentsService.UploadFS].
//
// The tests run agents, which costs tokens. As with [AgentsService.Trigger],
// the request is not repeated blindly: see [ErrOutcomeUnknown]. The service may
// build an image before it responds, which can take minutes.
//
// It costs one request, plus one to list the environments if the request does
// not specify one.
//
//	API:    POST /projects/{project}/test-runs
//	Access: undocumented
//	Status: observed
func (s *TestRunsService) Create(ctx context.Context, req TestRunCreate, opts ...RequestOption) (*TestRun, error) {
	const op = api.TestRunsCreate
	bad := func(arg, reason string) error {
		return &ArgumentError{Op: api.Table[op].Name, Arg: arg, Reason: reason}
	}
	head, err := textHead(op, opts)
	if err != nil {
		return nil, err
	}
	selection := pack.Selection{Folders: req.Folders, Exclude: req.Exclude}
	open := func() (*pack.Archive, error) { return selection.Tree(ctx, req.Project) }
	if req.Archive.Open != nil {
		if req.Project != nil {
			return nil, bad("project", "is set together with an archive")
		}
		open = func() (*pack.Archive, error) { return selection.File(ctx, req.Archive.Name, req.Archive.Open) }
	}
	var leftOut []string
	open, err = checked(ctx, op, noting(&leftOut, open))
	if err != nil {
		return nil, err
	}
	environment := req.EnvironmentID
	if environment == "" && !s.scope().readOnly {
		if environment, err = (*EnvironmentsService)(s).testTarget(ctx, op, opts); err != nil {
			return nil, err
		}
	}
	rest, err := json.Marshal(struct {
		EnvironmentID string `json:"environment_id"`
		Filter        string `json:"test_filter,omitempty"`
	}{environment, req.Filter})
	if err != nil {
		return nil, bad("filter", "cannot be encoded: "+err.Error())
	}
	form := textForm(head, func([]byte) string { return "," + string(rest[1:len(rest)-1]) })
	r, err := sendArchive(ctx, s.scope(), request{op: op}, contentJSON[0], form, open, decodeTestRun, opts)
	if r != nil {
		r.LeftOut = leftOut
	}
	return r, err
}

// Get returns a test run. It costs one request.
//
//	API:    GET /projects/{project}/test-runs/{test_run}
//	Access: undocumented
//	Status: observed
func (s *TestRunsService) Get(ctx context.Context, id string, opts ...RequestOption) (*TestRun, error) {
	return do(ctx, s.scope(), request{op: api.TestRunsGet, id: id}, decodeTestRun, opts)
}

// Wait waits until a test run has ended and returns it. A test run that did not
// pass is returned together with a [*TestRunError], which names the failed
// cases. If the wait itself ends first, the test run as last seen is returned
// together with a [*WaitError].
//
// Only the statuses passed, failed, error and cancelled end the wait, as in the
// vendor's own client. Any other status, and every phase, is reported by
// [WithProgress] and waited through, so limit the wait with its context.
//
// Wait polls immediately, after 2 s, and then at growing intervals of up to 15 s
// (see [WithPoll]; the vendor's own client polls every 5 s). The API has no list
// of test runs, so each poll costs one request per test run. All waits of a
// Client for test runs share their polls: one request for all waits for the same
// test run, and at most 30 a minute of a quota of 60 if there are more than two.
//
//	API:    GET /projects/{project}/test-runs/{test_run}
//	Access: undocumented
//	Status: observed
func (s *TestRunsService) Wait(ctx context.Context, id string, opts ...WaitOption) (*TestRun, error) {
	conf := newWaitConfig(opts)
	return testRunWaiter(s, &conf).one(ctx, api.Table[api.TestRunsGet].Name, id, &TestRun{ID: id})
}

// WaitAll waits for many test runs and yields each as it ends. A test run that
// did not pass is yielded with a [*TestRunError], and one that cannot be
// retrieved with a [*WaitError]; the wait continues for the others. The API has
// no list of test runs, so each poll costs one request per test run that is
// due, at most 30 a minute of a quota of 60. In all other respects WaitAll
// relates to [TestRunsService.Wait] as [RunsService.WaitAll] does to
// [RunsService.Wait].
//
//	API:    GET /projects/{project}/test-runs/{test_run}
//	Access: undocumented
//	Status: observed
func (s *TestRunsService) WaitAll(ctx context.Context, ids []string, opts ...WaitOption) iter.Seq2[*TestRun, error] {
	conf := newWaitConfig(opts)
	return testRunWaiter(s, &conf).all(ctx, api.Table[api.TestRunsGet].Name, ids)
}

func testRunWaiter(s *TestRunsService, conf *waitConfig) *waiter[TestRun] {
	return newWaiter(s.scope(), conf, "", (*TestRun).failure, watch.Kind[TestRun]{
		Name: "test run",
		ID:   func(r *TestRun) string { return r.ID },
		State: func(r *TestRun) watch.State {
			return watch.State{Status: mask.Text(string(r.Status)), Phase: mask.Text(r.Phase), Done: r.Status.Finished()}
		},
		Get: func(ctx context.Context, id string, a watch.Ask) (*TestRun, error) {
			return do(ctx, s.scope(), request{op: api.TestRunsGet, id: id, lane: LanePoll}, decodeTestRun, conf.asked(a))
		},
		Copy: (*TestRun).clone,
	})
}

func (r *TestRun) clone() *TestRun {
	own := *r
	own.Cases, own.LeftOut = slices.Clone(r.Cases), slices.Clone(r.LeftOut)
	for i := range own.Cases {
		c := &own.Cases[i]
		c.AgentRunIDs, c.AgentRunPassed = slices.Clone(c.AgentRunIDs), slices.Clone(c.AgentRunPassed)
	}
	return &own
}

// failure returns the error of a test run that has ended, or nil if it passed.
func (r *TestRun) failure() error {
	if r.Status == TestRunPassed {
		return nil
	}
	return &TestRunError{TestRun: r}
}
