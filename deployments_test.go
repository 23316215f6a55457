package connic_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// phases records the statuses and phases that a wait reports.
func phases(seen *[]string) connic.WaitOption {
	return connic.WithProgress(func(e connic.WaitEvent) {
		state := strings.TrimSuffix(e.Status+"/"+e.Phase, "/")
		if n := len(*seen); n == 0 || (*seen)[n-1] != state {
			*seen = append(*seen, state)
		}
	})
}

var eachSecond = connic.WithPoll(time.Second, time.Second)

func TestDeploymentsAreBuiltTestedAndDeployed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.PhaseTime(10 * time.Second)
		c := srv.Client()
		d := must[*connic.Deployment](t)(c.Deployments.UploadFS(t.Context(), project, nil))
		if d.Status != connic.DeploymentBuilding || d.Queued || d.EnvironmentID != "env-production" || strings.Join(d.Agents, " ") != "support" {
			t.Errorf("the upload answers %+v", d)
		}
		var seen []string
		d = must[*connic.Deployment](t)(c.Deployments.Wait(t.Context(), d.ID, phases(&seen), eachSecond))
		if got := strings.Join(seen, ", "); got != "building/build, testing/tests, deploying/deploy, deployed/deploy" {
			t.Errorf("the wait saw %s", got)
		}
		if !d.Active || d.FinishedAt.Sub(d.CreatedAt) != 30*time.Second || d.Status != connic.DeploymentDeployed {
			t.Errorf("it ended as %+v", d)
		}

		// Without tests there are two phases, and another environment does not
		// have to wait.
		skipping := must[*connic.Deployment](t)(c.Deployments.UploadFS(t.Context(), project, &connic.UploadParams{SkipTests: true}))
		queued := must[*connic.Deployment](t)(c.Deployments.UploadFS(t.Context(), project, nil))
		other := must[*connic.Deployment](t)(c.Deployments.UploadFS(t.Context(), project, &connic.UploadParams{EnvironmentID: "env-test"}))
		if skipping.Queued || !queued.Queued || queued.Status != connic.DeploymentQueued || other.Queued {
			t.Errorf("queued are %v, %v, %v", skipping.Queued, queued.Queued, other.Queued)
		}
		seen = nil
		queued = must[*connic.Deployment](t)(c.Deployments.Wait(t.Context(), queued.ID, phases(&seen), eachSecond))
		if got := strings.Join(seen, ", "); got != "queued, building/build, testing/tests, deploying/deploy, deployed/deploy" {
			t.Errorf("the wait saw %s", got)
		}
		if queued.FinishedAt.Sub(queued.CreatedAt) != 50*time.Second {
			t.Errorf("it took %v", queued.FinishedAt.Sub(queued.CreatedAt))
		}

		// A rollback: an older deployment becomes the active one again.
		if err := c.Deployments.Activate(t.Context(), d.ID); err != nil {
			t.Error(err)
		}
		var active []string
		for d, err := range c.Deployments.All(t.Context(), &connic.DeploymentListParams{EnvironmentID: "env-production", Limit: 2}) {
			if err != nil {
				t.Fatal(err)
			}
			if d.Active {
				active = append(active, d.ID)
			}
		}
		if len(active) != 1 || active[0] != d.ID {
			t.Errorf("%v are active, want %s", active, d.ID)
		}
		page := must[*connic.Page[connic.Deployment]](t)(c.Deployments.List(t.Context(), &connic.DeploymentListParams{EnvironmentID: "env-test"}))
		if len(page.Items) != 1 || page.Items[0].ID != other.ID || !page.Items[0].Active {
			t.Errorf("the test environment has %+v", page.Items)
		}
	})
}

func TestDeploymentsThatFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		c := srv.Client()
		good := must[*connic.Deployment](t)(c.Deployments.UploadFS(t.Context(), project, nil))
		must[*connic.Deployment](t)(c.Deployments.Wait(t.Context(), good.ID))

		srv.FailDeployment(func(p connictest.UploadedProject) error {
			if strings.Contains(p.Files["agents/support.yaml"], "broken") {
				return errors.New("line 1: broken")
			}
			return nil
		})
		srv.Tests(func(connictest.UploadedProject) []connic.TestCase {
			return []connic.TestCase{{AgentName: "support", TestName: "greets", Runs: 3, Successes: 1}}
		})
		broken := fstest.MapFS{"agents/support.yaml": {Data: []byte("broken")}}
		for want, upload := range map[string]func() (*connic.Deployment, error){
			"ended: failed in the phase build: line 1: broken": func() (*connic.Deployment, error) {
				return c.Deployments.UploadFS(t.Context(), broken, nil)
			},
			"ended: failed in the phase tests: The test greets failed": func() (*connic.Deployment, error) {
				return c.Deployments.Upload(t.Context(), archiveOf(tarball(map[string]string{"agents/a.yaml": "x"})), nil)
			},
		} {
			d := must[*connic.Deployment](t)(upload())
			d, err := c.Deployments.Wait(t.Context(), d.ID)
			var failed *connic.DeploymentError
			if !errors.As(err, &failed) || failed.Deployment != d || !strings.HasSuffix(err.Error(), want) || d.Active {
				t.Errorf("%v, %+v", err, d)
			}
			if err := c.Deployments.Activate(t.Context(), d.ID); !errors.Is(err, connic.ErrConflict) {
				t.Errorf("a failed one is activated: %v", err)
			}
		}
		if d := must[*connic.Deployment](t)(c.Deployments.Get(t.Context(), good.ID)); !d.Active {
			t.Error("the good one is not active any more")
		}
		if _, err := c.Deployments.Wait(t.Context(), "nowhere"); !errors.Is(err, connic.ErrNotFound) {
			t.Error(err)
		}

		srv.GitProvider("github")
		_, err := c.Deployments.UploadFS(t.Context(), project, nil)
		if !errors.Is(err, connic.ErrBadRequest) || errors.Is(err, connic.ErrOutcomeUnknown) || !strings.Contains(err.Error(), "connected with github") {
			t.Error(err)
		}
	})
}

// The names of the service's states are not known.
func TestDeploymentStatesOfOtherServices(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		`{"id": "d", "status": "superseded"}`:                                                      "good",
		`{"id": "d", "status": "SHIPPED", "is_active": true}`:                                      "good",
		`{"id": "d", "status": "SHIPPED", "finished_at": "2026-01-02T03:04:05"}`:                   "good",
		`{"id": "d", "is_active": true}`:                                                           "good",
		`{"id": "d", "status": "SHIPPED"}`:                                                         "unknown",
		`{"id": "d", "status": "SHIPPED", "error": "x", "is_active": true}`:                        "unknown",
		`{"id": "d", "status": "tests_failed"}`:                                                    "bad",
		`{"id": "d", "status": "canceled", "finished_at": "2026-01-02"}`:                           "bad",
		`{"deployment": {"deployment_id": "d", "status": "live", "agents": [{"name": "a"}, "b"]}}`: "good",
	} {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			c := scripted(t, func() string {
				asked++
				if asked < 3 {
					return `{"id": "d", "status": "in_progress"}`
				}
				return answer
			})
			d, err := c.Deployments.Wait(t.Context(), "d")
			got := "good"
			if errors.Is(err, connic.ErrUnknownStatus) {
				got = "unknown"
			} else if err != nil {
				got = "bad"
			}
			if got != want || asked != 3 || d.ID != "d" {
				t.Errorf("%s is %s after %d polls: %v", answer, got, asked, err)
			}
		})
	}
}

// scripted returns a client whose requests get the responses of next.
func scripted(t *testing.T, next func() string) *connic.Client {
	t.Helper()
	transport := transportFunc(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Header: make(http.Header), Body: io.NopCloser(strings.NewReader(next())), Request: r}, nil
	})
	return must[*connic.Client](t)(connic.New("p", canary, connic.WithHTTPClient(&http.Client{Transport: transport})))
}

func TestDeploymentsOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]connictest.Fault{
		"cut after": {Drop: true, After: true}, "500": {Status: 500, After: true}, "truncated": {Truncate: 10},
	} {
		srv := connictest.New()
		fault.Op = "deployments.upload"
		srv.Fault(fault)
		_, err := srv.Client(quick).Deployments.UploadFS(context.Background(), project, nil)
		if !errors.Is(err, connic.ErrOutcomeUnknown) || srv.Executions("deployments.upload") != 1 {
			t.Errorf("%s: %v, executed %d times", name, err, srv.Executions("deployments.upload"))
		}
		srv.Close()
	}
}

// A folder of a project that the vendor documents, and its own client does not
// send, is not left out in silence.
func TestFoldersAreNotLeftOutInSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		c := srv.Client()
		tree := fstest.MapFS{
			"agents/a.yaml": {Data: []byte("name: a")}, "apps/shop.yaml": {Data: []byte("name: shop")}, "apps/shop/index.html": {Data: []byte("<p>")},
			"docs/a.md": {Data: []byte("x")}, ".env": {Data: []byte("x")},
		}
		_, err := c.Deployments.UploadFS(t.Context(), tree, nil)
		var bad *connic.ArchiveError
		if !errors.As(err, &bad) || len(bad.Problems) != 1 || bad.Problems[0].Path != "apps" || srv.Executions("deployments.upload") != 0 {
			t.Errorf("%v", err)
		}
		if _, err := c.TestRuns.Create(t.Context(), connic.TestRunCreate{Project: tree}); !errors.As(err, &bad) {
			t.Errorf("test run: %v", err)
		}
		with := must[*connic.Deployment](t)(c.Deployments.UploadFS(t.Context(), tree, &connic.UploadParams{Folders: []string{"apps"}}))
		if got := strings.Join(with.LeftOut, " "); got != ".env docs/" {
			t.Errorf("left out are %s", got)
		}
		without := must[*connic.Deployment](t)(c.Deployments.UploadFS(t.Context(), tree, &connic.UploadParams{Exclude: []string{"apps"}}))
		if got := strings.Join(without.LeftOut, " "); got != ".env apps/ docs/" {
			t.Errorf("left out are %s", got)
		}
		tests, err := c.TestRuns.Create(t.Context(), connic.TestRunCreate{Project: tree, Folders: []string{"apps"}})
		if err != nil || strings.Join(tests.LeftOut, " ") != ".env docs/" {
			t.Errorf("of the test run, %v are left out: %v", tests, err)
		}
		session := must[*connic.DevSession](t)(c.DevSessions.Create(t.Context(), connic.DevSessionCreate{}))
		must[*connic.DevSession](t)(c.DevSessions.Wait(t.Context(), session.ID))
		if _, err := c.DevSessions.Sync(t.Context(), *session, tree); !errors.As(err, &bad) {
			t.Errorf("session: %v", err)
		}
		for _, where := range []*[]string{&session.Folders, &session.Exclude} {
			session.Folders, session.Exclude = nil, nil
			*where = []string{"apps"}
			synced, err := c.DevSessions.Sync(t.Context(), *session, tree)
			want := ".env docs/"
			if where == &session.Exclude {
				want = ".env apps/ docs/"
			}
			if err != nil || strings.Join(synced.LeftOut, " ") != want {
				t.Errorf("of the session, %v are left out: %v, want %s", synced, err, want)
			}
		}
		archive := archiveOf(tarball(map[string]string{"agents/a.yaml": "name: a", "apps/shop.yaml": "name: shop"}))
		if _, err := c.DevSessions.Upload(t.Context(), session.ID, archive); err != nil {
			t.Errorf("an archive for the session: %v", err)
		}
	})
}
