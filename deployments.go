package connic

import (
	"cmp"
	"context"
	"io/fs"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/lenient"
	"github.com/connic-go/connic/internal/pack"
)

// DeploymentsService brings an agent project's code into service.
type DeploymentsService service

// Deployment is one version of a project's code in an environment.
type Deployment struct {
	ID            string           `json:"id" api:"assumed,deployment_id"`
	EnvironmentID string           `json:"environment_id,omitzero" api:"assumed"`
	Status        DeploymentStatus `json:"status" api:"assumed"`
	// Phase is the step that it is at: build, tests or deploy.
	Phase      string    `json:"phase,omitzero" api:"assumed"`
	Active     bool      `json:"is_active" api:"assumed"` // it serves the environment
	Source     string    `json:"source,omitzero" api:"assumed"`
	CommitSHA  string    `json:"commit_sha,omitzero" api:"assumed"`
	Branch     string    `json:"branch,omitzero" api:"assumed"`
	Agents     []string  `json:"agents,omitzero" api:"assumed"` // their names
	Error      string    `json:"error,omitzero" api:"assumed"`
	CreatedAt  time.Time `json:"created_at,omitzero" api:"assumed"`
	FinishedAt time.Time `json:"finished_at,omitzero" api:"assumed"`

	// Queued is set by an upload when another deployment is being built, and this
	// one waits for it.
	Queued bool `json:"-"`

	rawItem
}

// DeploymentStatus is the state of a deployment. The vendor names none: those
// below are assumed, and others are understood as well as can be.
type DeploymentStatus string

// The usual states of a deployment.
const (
	DeploymentQueued    DeploymentStatus = "queued"
	DeploymentBuilding  DeploymentStatus = "building"
	DeploymentTesting   DeploymentStatus = "testing"
	DeploymentDeploying DeploymentStatus = "deploying"
	DeploymentDeployed  DeploymentStatus = "deployed"
	DeploymentFailed    DeploymentStatus = "failed"
	DeploymentCancelled DeploymentStatus = "cancelled"
)

// What else a service may call these states.
var (
	deploymentsAtWork = []DeploymentStatus{
		DeploymentQueued, DeploymentBuilding, DeploymentTesting, DeploymentDeploying, "",
		"pending", "created", "uploaded", "waiting", "running", "processing", "in_progress", "validating",
		"build", "tests", "running_tests", "deploy", "starting", "starting_container", "activating",
	}
	deploymentsDone = []DeploymentStatus{
		DeploymentDeployed, "active", "inactive", "superseded", "live", "ready", "success", "succeeded", "completed", "done",
	}
	deploymentsFailed = []DeploymentStatus{
		DeploymentFailed, DeploymentCancelled, "failure", "error", "errored", "build_failed", "tests_failed", "deploy_failed",
		"canceled", "rejected", "timed_out",
	}
)

// Finished reports whether s is one of the known final states.
func (s DeploymentStatus) Finished() bool {
	return slices.Contains(deploymentsDone, s) || slices.Contains(deploymentsFailed, s)
}

// Known reports whether this version of the package knows s.
func (s DeploymentStatus) Known() bool {
	return s != "" && (s.Finished() || slices.Contains(deploymentsAtWork, s))
}

// succeeded reports whether the deployment came to a good end. Where the status
// is not known, the other fields tell.
func (d *Deployment) succeeded() bool {
	return slices.Contains(deploymentsDone, d.Status) || !d.Status.Known() && d.Error == "" && (d.Active || !d.FinishedAt.IsZero())
}

// atWork reports whether the deployment will go on by itself.
func (d *Deployment) atWork() bool {
	return slices.Contains(deploymentsAtWork, d.Status) && d.FinishedAt.IsZero() && (d.Status != "" || !d.Active && d.Error == "")
}

// DeploymentError is a deployment that ended badly: it failed, was cancelled, or
// is in a state that this version of the package does not know and that its other
// fields do not explain (then it matches [ErrUnknownStatus]).
type DeploymentError struct{ Deployment *Deployment }

func (e *DeploymentError) Error() string {
	d := e.Deployment
	if d == nil {
		return endedText("deployment", "", "", "", false, "")
	}
	status := string(d.Status)
	if d.Phase != "" && status != "" {
		status += " in the phase " + d.Phase
	}
	return endedText("deployment", d.ID, "", status, d.Status.Known(), d.Error)
}

// MarshalText implements [encoding.TextMarshaler] with what Error returns, so
// that an error in a JSON log is its text, and not the deployment with all its data.
func (e *DeploymentError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// Is matches [ErrUnknownStatus] where the status is not known.
func (e *DeploymentError) Is(target error) bool {
	return target == ErrUnknownStatus && e.Deployment != nil && !e.Deployment.Status.Known()
}

// decoded takes the names of agents that came as objects.
func (d *Deployment) decoded() {
	for i, agent := range d.Agents {
		var named struct {
			Name string `json:"name"`
		}
		if strings.HasPrefix(agent, "{") && lenient.Unmarshal([]byte(agent), &named) == nil {
			d.Agents[i] = named.Name
		}
	}
}

func decodeDeployment(d *lenient.Decoder) (*Deployment, error) {
	return decodeWithin(d, func(w *struct {
		Deployment
		Inner *Deployment `json:"deployment"`
	}) *Deployment {
		if w.Inner != nil && w.ID == "" {
			return w.Inner
		}
		return &w.Deployment
	})
}

// DeploymentListParams selects deployments. Zero fields select all.
type DeploymentListParams struct {
	EnvironmentID string // default: the client's environment, or all
	Status        DeploymentStatus
	Limit, Offset int
}

func (s *DeploymentsService) listing(p *DeploymentListParams) (listing[Deployment], DeploymentListParams) {
	var params DeploymentListParams
	if p != nil {
		params = *p
	}
	return listing[Deployment]{
		name: "deployments", id: func(d *Deployment) string { return d.ID },
		limit: params.Limit, offset: params.Offset,
	}, params
}

func (s *DeploymentsService) page(ctx context.Context, l *listing[Deployment], p DeploymentListParams, opts []RequestOption) (*Page[Deployment], error) {
	r := request{op: api.DeploymentsList}
	r.query.add("environment_id", cmp.Or(p.EnvironmentID, (*service)(s).of().environment))
	r.query.add("status", string(p.Status))
	l.query(&r.query)
	return do(ctx, (*service)(s).of(), r, l.decode, opts)
}

// List returns one page of deployments, newest first as far as is known. It
// costs one request.
//
//	API:    GET /projects/{project}/deployments
//	Access: deployments read
//	Status: assumed
func (s *DeploymentsService) List(ctx context.Context, p *DeploymentListParams, opts ...RequestOption) (*Page[Deployment], error) {
	l, params := s.listing(p)
	return s.page(ctx, &l, params, opts)
}

// All iterates over the deployments, from the given offset on. It costs one
// request per 100 deployments, or per Limit.
//
//	API:    GET /projects/{project}/deployments
//	Access: deployments read
//	Status: assumed
func (s *DeploymentsService) All(ctx context.Context, p *DeploymentListParams, opts ...RequestOption) iter.Seq2[*Deployment, error] {
	l, params := s.listing(p)
	return l.all(ctx, "deployments.list", func(ctx context.Context, l *listing[Deployment]) (*Page[Deployment], error) {
		return s.page(ctx, l, params, opts)
	})
}

// Get returns a deployment. It costs one request.
//
//	API:    GET /projects/{project}/deployments/{deployment}
//	Access: deployments read
//	Status: assumed
func (s *DeploymentsService) Get(ctx context.Context, id string, opts ...RequestOption) (*Deployment, error) {
	return do(ctx, (*service)(s).of(), request{op: api.DeploymentsGet, id: id}, decodeDeployment, opts)
}

func (s *DeploymentsService) poll(ctx context.Context, id string, opts []RequestOption) (*Deployment, error) {
	return do(ctx, (*service)(s).of(), request{op: api.DeploymentsGet, id: id, lane: LanePoll}, decodeDeployment, opts)
}

// UploadParams says where an upload goes.
type UploadParams struct {
	EnvironmentID string // default: the client's environment, or else the project's default one
	SkipTests     bool   // deploys without running the project's tests
}

// Upload deploys a project from a tar.gz, and returns when the service has
// accepted it; see [DeploymentsService.Wait] for the end of it.
//
// The archive is read once to check it, by the rules of the vendor's own client.
// It holds requirements.txt and the folders agents, tools, middleware, schemas,
// guardrails, hooks, tests and connectors, with files that end with .py .yaml .txt
// .json .csv .md .toml or .jsonl. Below tests/files/ any ending will do, and below
// tests/builders/ only .py. The tar.gz and all files together have at most 25 MiB
// each, the files outside tests/files/ at most 5 MiB. There are no links, hidden
// files or compiled Python. An [*ArchiveError] names every file that breaks a
// rule, and nothing is sent. The archive is streamed, and never held as a whole.
//
// A deployment without a connector that the last one declared may remove it. A
// project that is connected with Git refuses uploads with [ErrBadRequest]. An
// upload has no protection against replays: see [ErrOutcomeUnknown].
//
// It costs one request. Where neither the parameters nor the client name an
// environment, it costs one more to find the default one, as
// [EnvironmentsService.Default] does.
//
//	API:    POST /projects/{project}/deploy/upload
//	Access: deployments write
//	Status: observed
func (s *DeploymentsService) Upload(ctx context.Context, source FileSource, p *UploadParams, opts ...RequestOption) (*Deployment, error) {
	return s.upload(ctx, openArchive(ctx, &source), p, opts)
}

// UploadFS packs a project folder and deploys it as [DeploymentsService.Upload]
// does: os.DirFS("my-project"), say. The same tree makes the same archive.
//
// What does not belong to a project is left out: everything at its root but the
// folders and requirements.txt, hidden files and folders (so .env never leaves
// the machine), folders with __pycache__ in their names, *.pyc, and whatever is
// neither a file nor a folder. Whatever else breaks the rules is refused, all of
// it at once, with an [*ArchiveError]: symbolic links, and hard links where the
// system shows them, too. A link that is put in place of a file after that is not
// followed, where the file system is an [os.DirFS] or an [fs.ReadLinkFS].
//
// All files are read twice. Where one changes meanwhile, the upload starts over,
// up to three times, unless [WithMaxAttempts] allows one attempt only. What was
// sent until then was a part of a request, and cost one of the quota.
//
// It costs one request, or two as [DeploymentsService.Upload] does.
//
//	API:    POST /projects/{project}/deploy/upload
//	Access: deployments write
//	Status: observed
func (s *DeploymentsService) UploadFS(ctx context.Context, project fs.FS, p *UploadParams, opts ...RequestOption) (*Deployment, error) {
	return s.upload(ctx, func() (*pack.Archive, error) { return pack.Tree(ctx, project) }, p, opts)
}

func (s *DeploymentsService) upload(ctx context.Context, open func() (*pack.Archive, error), p *UploadParams, opts []RequestOption) (*Deployment, error) {
	var params UploadParams
	if p != nil {
		params = *p
	}
	const op = api.DeploymentsUpload
	open, err := checked(ctx, op, open)
	if err != nil {
		return nil, err
	}
	environment := cmp.Or(params.EnvironmentID, (*service)(s).of().environment)
	if environment == "" && !(*service)(s).of().readOnly {
		if environment, err = (*service)(s).of().Environments.target(ctx, op, opts); err != nil {
			return nil, err
		}
	}
	r := request{op: op}
	r.query.add("environment_id", environment)
	form := textForm(func(digest []byte) string {
		return `,"files_hash":"` + shortHash(digest) + `","skip_tests":` + strconv.FormatBool(params.SkipTests)
	})
	queued := false
	r.received = func(h http.Header) { queued, _ = strconv.ParseBool(strings.TrimSpace(h.Get("X-Deployment-Queued"))) }
	d, err := sendArchive(ctx, (*service)(s).of(), r, contentJSON[0], form, open, decodeDeployment, opts)
	if d != nil {
		d.Queued = queued
		d.EnvironmentID = cmp.Or(d.EnvironmentID, environment)
	}
	return d, err
}

// Activate makes a deployment the one that serves its environment: an older one
// is rolled back to. It costs one request.
//
//	API:    POST /projects/{project}/deployments/{deployment}/activate
//	Access: deployments write
//	Status: assumed
func (s *DeploymentsService) Activate(ctx context.Context, id string, opts ...RequestOption) error {
	_, err := do(ctx, (*service)(s).of(), request{op: api.DeploymentsActivate, id: id}, decodeNone, opts)
	return err
}

// Wait waits until a deployment has ended, and returns it. One that ended badly is
// returned together with a [*DeploymentError]; when the wait itself ends first,
// the deployment as it was last seen is returned together with a [*WaitError].
// [WithProgress] shows the phases: build, tests, deploy.
//
// It costs one request per poll: at once, after 2 s, and then less and less often
// down to every 15 s (see [WithPoll]).
//
//	API:    GET /projects/{project}/deployments/{deployment}
//	Access: deployments read
//	Status: assumed
func (s *DeploymentsService) Wait(ctx context.Context, id string, opts ...WaitOption) (*Deployment, error) {
	conf := newWaitConfig(opts)
	d, err := poll(ctx, conf, waiting[Deployment]{
		kind: "deployment", id: id,
		fetch: func(ctx context.Context) (*Deployment, error) { return s.poll(ctx, id, conf.request) },
		state: func(d *Deployment) waitState {
			return waitState{status: string(d.Status), phase: d.Phase, done: !d.atWork()}
		},
	})
	switch {
	case d == nil:
		return &Deployment{ID: id}, err
	case err == nil && !d.succeeded():
		err = &DeploymentError{Deployment: d}
	}
	return d, err
}
