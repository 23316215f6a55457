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
	"github.com/connic-go/connic/internal/watch"
)

// DeploymentsService uploads and activates the code of agent projects.
type DeploymentsService service

func (s *DeploymentsService) scope() *scope { return (*service)(s).scope() }

// A Deployment is one version of a project's code in an environment.
type Deployment struct {
	ID            string           `json:"id" api:"assumed,deployment_id"`
	EnvironmentID string           `json:"environment_id,omitzero" api:"assumed"`
	Status        DeploymentStatus `json:"status" api:"assumed"`
	// Phase is the current step: build, tests or deploy.
	Phase      string    `json:"phase,omitzero" api:"assumed"`
	Active     bool      `json:"is_active" api:"assumed"` // the deployment currently serves the environment
	Source     string    `json:"source,omitzero" api:"assumed"`
	CommitSHA  string    `json:"commit_sha,omitzero" api:"assumed"`
	Branch     string    `json:"branch,omitzero" api:"assumed"`
	Agents     []string  `json:"agents,omitzero" api:"assumed"` // their names
	Error      string    `json:"error,omitzero" api:"assumed"`
	CreatedAt  time.Time `json:"created_at,omitzero" api:"assumed"`
	FinishedAt time.Time `json:"finished_at,omitzero" api:"assumed"`

	// Queued is set by an upload if the deployment is queued behind another one
	// that is being built.
	Queued bool `json:"-"`
	// LeftOut lists what [DeploymentsService.UploadFS] found in the project and
	// did not send: at most 1,000 paths, in order; those of folders end in a
	// slash.
	LeftOut []string `json:"-"`

	RawItem
}

// DeploymentStatus is the status of a deployment: "queued", "building", "testing"
// or "deploying", and finally "deployed", "failed" or "cancelled". The vendor names
// none: these are assumed, and common synonyms are understood.
type DeploymentStatus string

// The usual deployment statuses.
const (
	DeploymentQueued    DeploymentStatus = "queued"
	DeploymentBuilding  DeploymentStatus = "building"
	DeploymentTesting   DeploymentStatus = "testing"
	DeploymentDeploying DeploymentStatus = "deploying"
	DeploymentDeployed  DeploymentStatus = "deployed"
	DeploymentFailed    DeploymentStatus = "failed"
	DeploymentCancelled DeploymentStatus = "cancelled"
)

// Synonyms that a service may use for these statuses.
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

// Finished reports whether s is one of the known final statuses.
func (s DeploymentStatus) Finished() bool {
	return slices.Contains(deploymentsDone, s) || slices.Contains(deploymentsFailed, s)
}

// Known reports whether this version of the package knows s.
func (s DeploymentStatus) Known() bool {
	return s != "" && (s.Finished() || slices.Contains(deploymentsAtWork, s))
}

// succeeded reports whether the deployment succeeded. If the status is not
// known, the other fields decide.
func (d *Deployment) succeeded() bool {
	return slices.Contains(deploymentsDone, d.Status) || !d.Status.Known() && d.Error == "" && (d.Active || !d.FinishedAt.IsZero())
}

// atWork reports whether the deployment is still in progress.
func (d *Deployment) atWork() bool {
	return slices.Contains(deploymentsAtWork, d.Status) && d.FinishedAt.IsZero() && (d.Status != "" || !d.Active && d.Error == "")
}

// A DeploymentError is returned with a deployment that ended badly: it failed,
// was cancelled, or has a status that this version of the package does not know
// and that its other fields do not explain. In the last case it matches
// [ErrUnknownStatus].
type DeploymentError struct {
	Deployment *Deployment
	hidden
}

func (e *DeploymentError) Error() string {
	d := e.Deployment
	if d == nil {
		return e.endedText("deployment", "", "", "", false, "")
	}
	status := string(d.Status)
	if d.Phase != "" && status != "" {
		status += " in the phase " + d.Phase
	}
	return e.endedText("deployment", d.ID, "", status, d.Status.Known(), d.Error)
}

// MarshalText implements [encoding.TextMarshaler]. It returns the same text as
// Error, so that a JSON log contains the text rather than the whole deployment.
func (e *DeploymentError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// Is reports whether target is [ErrUnknownStatus] and the status is not known.
func (e *DeploymentError) Is(target error) bool {
	return target == ErrUnknownStatus && e.Deployment != nil && !e.Deployment.Status.Known()
}

// decoded sets the names of agents that were sent as objects.
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
	},
	) *Deployment {
		if w.Inner != nil && w.ID == "" {
			return w.Inner
		}
		return &w.Deployment
	})
}

// DeploymentListParams selects deployments. The zero value selects all of them.
type DeploymentListParams struct {
	EnvironmentID string // default: the client's environment, or else all
	Status        DeploymentStatus
	// Limit is the number of deployments per page, at most 100 (assumed). If it is 0,
	// List leaves it to the service, and All uses 100.
	Limit, Offset int
}

func deploymentListing(s *DeploymentsService, p *DeploymentListParams) listing[Deployment] {
	if p == nil {
		p = new(DeploymentListParams)
	}
	l := listing[Deployment]{
		scope: s.scope(), request: request{op: api.DeploymentsList}, name: "deployments", id: func(d *Deployment) string { return d.ID },
		limit: p.Limit, offset: p.Offset,
	}
	l.request.query.add("environment_id", cmp.Or(p.EnvironmentID, l.scope.environment))
	l.request.query.add("status", string(p.Status))
	return l
}

// List returns one page of deployments, presumably newest first. It costs one
// request.
//
//	API:    GET /projects/{project}/deployments
//	Access: deployments read
//	Status: assumed
func (s *DeploymentsService) List(ctx context.Context, p *DeploymentListParams, opts ...RequestOption) (*Page[Deployment], error) {
	return deploymentListing(s, p).page(ctx, opts)
}

// All iterates over the deployments, starting at the given offset. Deployments
// may be added and deleted during the iteration: each of the others is yielded
// once, or the iteration ends with [ErrPageLoop]. It costs one request per
// Limit deployments, and a few more if the list changes; the default Limit is
// 100.
//
//	API:    GET /projects/{project}/deployments
//	Access: deployments read
//	Status: assumed
func (s *DeploymentsService) All(ctx context.Context, p *DeploymentListParams, opts ...RequestOption) iter.Seq2[*Deployment, error] {
	return deploymentListing(s, p).all(ctx, opts)
}

// Get returns a deployment. It costs one request.
//
//	API:    GET /projects/{project}/deployments/{deployment}
//	Access: deployments read
//	Status: assumed
func (s *DeploymentsService) Get(ctx context.Context, id string, opts ...RequestOption) (*Deployment, error) {
	return do(ctx, s.scope(), request{op: api.DeploymentsGet, id: id}, decodeDeployment, opts)
}

// UploadParams specifies the destination and the extent of an upload.
type UploadParams struct {
	EnvironmentID string // default: the client's environment, or else the default environment of the project
	SkipTests     bool   // deploy without running the tests of the project
	// Folders are further top-level folders of the project that are sent, and
	// Exclude those that are not. A project with a folder apps must name it in
	// either: the vendor documents the folder, and the vendor's own client does
	// not send it. Files of any extension are allowed in Folders, and count
	// towards the 5 MiB. Exclude takes precedence; an archive is never changed,
	// so it is refused if it has what Exclude names.
	Folders, Exclude []string
}

// Upload deploys a project from a tar.gz archive. It returns when the service
// has accepted the archive; to wait for the deployment, use
// [DeploymentsService.Wait].
//
// The archive is first read once to validate it against the rules of the
// vendor's own client. It may contain requirements.txt and the folders agents,
// tools, middleware, schemas, guardrails, hooks, tests and connectors, with
// files that have the extension .py, .yaml, .txt, .json, .csv, .md, .toml or
// .jsonl. Any extension is allowed below tests/files/, and only .py below
// tests/builders/. The archive and its contents are limited to 25 MiB each, and
// the files outside tests/files/ to 5 MiB. Links, hidden files and compiled
// Python are not allowed. An [*ArchiveError] lists every file that breaks a
// rule; nothing is sent in that case. The archive is streamed and never held in
// memory as a whole.
//
// A deployment that omits a connector declared by the previous one may remove
// it. A project with a Git connection refuses uploads with [ErrBadRequest].
// Uploads have no protection against replays: see [ErrOutcomeUnknown].
//
// It costs one request, plus one to find the default environment, as
// [EnvironmentsService.Default] does, if neither the parameters nor the client
// specify an environment.
//
//	API:    POST /projects/{project}/deploy/upload
//	Access: deployments write
//	Status: observed
func (s *DeploymentsService) Upload(ctx context.Context, source FileSource, p *UploadParams, opts ...RequestOption) (*Deployment, error) {
	return s.upload(ctx, p, opts, func(selection pack.Selection) (*pack.Archive, error) {
		return selection.File(ctx, source.Name, source.Open)
	})
}

// UploadFS packs a project folder, such as os.DirFS("my-project"), and deploys
// it as [DeploymentsService.Upload] does. The same tree always produces the
// same archive.
//
// Anything that is not part of a project is left out, and listed in the result
// ([Deployment.LeftOut]; [UploadParams] selects other folders): at the root,
// everything except requirements.txt and the known folders; hidden files and
// folders, so that .env never leaves the machine; folders whose name contains
// __pycache__; *.pyc; and anything that is neither a file nor a folder. All other violations
// are reported together in an [*ArchiveError], including symbolic links and,
// where the system reveals them, hard links. A link that replaces a file after
// that check is not followed if the file system is an [os.DirFS] or implements
// [fs.ReadLinkFS].
//
// All files are read twice. If one changes in the meantime, the upload starts
// over, up to three times, unless [WithMaxAttempts] allows only one attempt.
// Each aborted attempt sent part of a request and cost one request of the
// quota.
//
// It costs one request, or two as described at [DeploymentsService.Upload].
//
//	API:    POST /projects/{project}/deploy/upload
//	Access: deployments write
//	Status: observed
func (s *DeploymentsService) UploadFS(ctx context.Context, project fs.FS, p *UploadParams, opts ...RequestOption) (*Deployment, error) {
	return s.upload(ctx, p, opts, func(selection pack.Selection) (*pack.Archive, error) { return selection.Tree(ctx, project) })
}

func (s *DeploymentsService) upload(ctx context.Context, p *UploadParams, opts []RequestOption, open func(pack.Selection) (*pack.Archive, error)) (*Deployment, error) {
	var params UploadParams
	if p != nil {
		params = *p
	}
	const op = api.DeploymentsUpload
	head, err := textHead(op, opts)
	if err != nil {
		return nil, err
	}
	var leftOut []string
	selection := pack.Selection{Folders: params.Folders, Exclude: params.Exclude}
	next, err := checked(ctx, op, noting(&leftOut, func() (*pack.Archive, error) { return open(selection) }))
	if err != nil {
		return nil, err
	}
	environment := cmp.Or(params.EnvironmentID, s.scope().environment)
	if environment == "" && !s.scope().readOnly {
		if environment, err = (*EnvironmentsService)(s).target(ctx, op, opts); err != nil {
			return nil, err
		}
	}
	r := request{op: op}
	r.query.add("environment_id", environment)
	form := textForm(head, func(digest []byte) string {
		return `,"files_hash":"` + shortHash(digest) + `","skip_tests":` + strconv.FormatBool(params.SkipTests)
	})
	queued := false
	r.received = func(h http.Header) { queued, _ = strconv.ParseBool(strings.TrimSpace(h.Get("X-Deployment-Queued"))) }
	d, err := sendArchive(ctx, s.scope(), r, contentJSON[0], form, next, decodeDeployment, opts)
	if d != nil {
		d.Queued, d.LeftOut = queued, leftOut
		d.EnvironmentID = cmp.Or(d.EnvironmentID, environment)
	}
	return d, err
}

// Activate makes a deployment the active one of its environment. Activating an
// older deployment rolls back to it. It costs one request.
//
//	API:    POST /projects/{project}/deployments/{deployment}/activate
//	Access: deployments write
//	Status: assumed
func (s *DeploymentsService) Activate(ctx context.Context, id string, opts ...RequestOption) error {
	_, err := do(ctx, s.scope(), request{op: api.DeploymentsActivate, id: id}, decodeNone, opts)
	return err
}

// Wait waits until a deployment has ended and returns it. A deployment that
// ended badly is returned together with a [*DeploymentError]. If the wait
// itself ends first, the deployment as last seen is returned together with a
// [*WaitError]. [WithProgress] reports the phases build, tests and deploy.
//
// Wait polls immediately, after 2 s, and then at growing intervals of up to 15 s
// (see [WithPoll]). All waits of a Client for deployments share their polls: one
// list request per poll and 100 deployments, and a single request for each that
// has ended or that the list does not show. One or two waits cost one request
// per poll and deployment.
//
//	API:    GET /projects/{project}/deployments/{deployment}
//	Access: deployments read
//	Status: assumed
func (s *DeploymentsService) Wait(ctx context.Context, id string, opts ...WaitOption) (*Deployment, error) {
	conf := newWaitConfig(opts)
	return deploymentWaiter(s, &conf).one(ctx, api.Table[api.DeploymentsGet].Name, id, &Deployment{ID: id})
}

// waiter returns the waiter for deployments, those of all environments.
func deploymentWaiter(s *DeploymentsService, conf *waitConfig) *waiter[Deployment] {
	return newWaiter(s.scope(), conf, "", (*Deployment).failure, watch.Kind[Deployment]{
		Name: "deployment",
		ID:   func(d *Deployment) string { return d.ID },
		State: func(d *Deployment) watch.State {
			return watch.State{Status: string(d.Status), Phase: d.Phase, Done: !d.atWork()}
		},
		Get: func(ctx context.Context, id string, a watch.Ask) (*Deployment, error) {
			return do(ctx, s.scope(), request{op: api.DeploymentsGet, id: id, lane: LanePoll}, decodeDeployment, conf.asked(a))
		},
		List: func([]*Deployment) func(context.Context, watch.Position, watch.Ask) (watch.Page[Deployment], error) {
			l := deploymentListing(s, &DeploymentListParams{Limit: pageLimit})
			l.request.query = nil // all environments
			return pages(conf, l)
		},
		// A list may omit what tells how a deployment ended.
		Partial: func(d *Deployment) bool { return d.Status == "" || !d.atWork() },
		Copy:    (*Deployment).clone,
	})
}

func (d *Deployment) clone() *Deployment {
	own := *d
	own.Agents, own.LeftOut = slices.Clone(d.Agents), slices.Clone(d.LeftOut)
	return &own
}

// failure returns the error of a deployment that has ended, or nil if it
// succeeded.
func (d *Deployment) failure() error {
	if d.succeeded() {
		return nil
	}
	return &DeploymentError{Deployment: d}
}
