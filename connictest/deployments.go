package connictest

import (
	"net/http"
	"slices"
	"time"

	"github.com/connic-go/connic"
)

// deployment is a project being deployed. Its outcome is determined on arrival;
// its state follows from the time.
type deployment struct {
	id, environment string
	agents          []string
	created, begins time.Time
	phases          []phase
	problem         string
	ended, active   bool
}

// phase is a step of a deployment or a test run, with the time when it ends.
type phase struct {
	name   string
	status connic.DeploymentStatus
	ends   time.Time
}

func (d *deployment) ends() time.Time { return d.phases[len(d.phases)-1].ends }

func (d *deployment) object(now time.Time) object {
	o := object{
		"id": d.id, "environment_id": d.environment, "status": string(connic.DeploymentQueued), "phase": nil, "is_active": d.active,
		"source": "upload", "commit_sha": nil, "branch": nil, "agents": d.agents, "error": nil,
		"created_at": timestamp(d.created), "finished_at": nil,
	}
	last := d.phases[len(d.phases)-1]
	switch {
	case now.Before(d.begins):
	case !now.Before(last.ends) && d.problem != "":
		o["status"], o["phase"], o["error"], o["finished_at"] = string(connic.DeploymentFailed), last.name, d.problem, timestamp(last.ends)
	case !now.Before(last.ends):
		o["status"], o["phase"], o["finished_at"] = string(connic.DeploymentDeployed), last.name, timestamp(last.ends)
	default:
		i := slices.IndexFunc(d.phases, func(p phase) bool { return now.Before(p.ends) })
		o["status"], o["phase"] = string(d.phases[i].status), d.phases[i].name
	}
	return o
}

// roll updates the deployments: one that has succeeded becomes active in its
// environment. The caller holds the mutex.
func (s *Server) roll(now time.Time) {
	for _, d := range s.deployments {
		if !d.ended && !now.Before(d.ends()) {
			d.ended = true
			if d.problem == "" {
				s.serve(d)
			}
		}
	}
}

// serve makes a deployment the active one of its environment.
func (s *Server) serve(d *deployment) {
	for _, other := range s.deployments {
		if other.environment == d.environment {
			other.active = false
		}
	}
	d.active = true
}

func (s *Server) uploadDeployment(x *exchange) answer {
	var body struct {
		Data      *string `json:"files_data"`
		Hash      *string `json:"files_hash"`
		SkipTests bool    `json:"skip_tests"`
	}
	if s.gitProvider != "" {
		return problem(http.StatusBadRequest, "The project is connected with "+s.gitProvider+": push to it instead of uploading")
	}
	if complaint := x.decode(&body); complaint != nil {
		return *complaint
	}
	environment, complaint := s.target(x.param("environment_id"), s.deployTarget)
	if complaint != nil {
		return *complaint
	}
	if environment.CannotDeploy {
		return problem(http.StatusForbidden, "The key may not deploy to this environment")
	}
	if body.Hash == nil {
		return *invalid("Field required", "missing", "body", "files_hash")
	}
	files, complaint := unpack(body.Data, body.Hash)
	if complaint != nil {
		return *complaint
	}
	d := &deployment{id: s.newID("deployment"), environment: environment.ID}
	p := UploadedProject{ID: d.id, EnvironmentID: d.environment, Files: files}
	skip := body.SkipTests || environment.DeployGateTestsDisabled
	var cases []connic.TestCase
	problem := ""
	if !skip {
		cases, problem = s.examine(x, &p)
	}
	d.agents = agentNames(files)
	broken := ""
	if fail := s.failDeployment; fail != nil {
		text, err := ask(x.ctx, s, "the function of FailDeployment", func() string { return errorText(fail(p)) })
		broken = text + errorText(err)
	}
	if x.ctx.Err() != nil || s.ctx.Err() != nil {
		return answer{drop: true, truncate: -1}
	}

	// From here on the mutex is held throughout.
	now := s.now()
	s.roll(now)
	d.created, d.begins = now, now
	for _, other := range s.deployments {
		if other.environment == d.environment && other.ends().After(d.begins) {
			d.begins = other.ends() // queued behind the others
		}
	}
	s.plan(d, broken, skip, cases, problem)
	if s.deployments = append(s.deployments, d); len(s.deployments) > maxDeployments {
		if i := slices.IndexFunc(s.deployments, func(d *deployment) bool { return !d.active }); i >= 0 {
			s.deployments = slices.Delete(s.deployments, i, i+1)
		}
	}
	s.roll(now)
	s.changed(x, "deployment", d.id, nil, d.object(now))
	a := ok(d.object(now))
	if d.begins.After(now) {
		a.header["X-Deployment-Queued"] = "true"
	}
	return a
}

// plan determines the outcome of a deployment.
func (s *Server) plan(d *deployment, broken string, skipTests bool, cases []connic.TestCase, problem string) {
	at := d.begins
	step := func(name string, status connic.DeploymentStatus) {
		at = at.Add(s.phaseTime)
		d.phases = append(d.phases, phase{name, status, at})
	}
	step("build", connic.DeploymentBuilding)
	if d.problem = broken; broken != "" {
		return
	}
	if !skipTests {
		step("tests", connic.DeploymentTesting)
		d.problem = problem
		for _, c := range cases {
			if !c.Passed {
				d.problem = "The test " + c.TestName + " failed"
			}
		}
		if d.problem != "" {
			return
		}
	}
	step("deploy", connic.DeploymentDeploying)
}

func (s *Server) findDeployment(id string) *deployment {
	s.roll(s.now())
	for _, d := range s.deployments {
		if d.id == id {
			return d
		}
	}
	return nil
}

func (s *Server) getDeployment(x *exchange) answer {
	if d := s.findDeployment(x.id); d != nil {
		return ok(d.object(s.now()))
	}
	return notFound("Deployment")
}

func (s *Server) listDeployments(x *exchange) answer {
	now := s.now()
	s.roll(now)
	var items []object
	for _, d := range slices.Backward(s.deployments) {
		o := d.object(now)
		if !x.differs("environment_id", d.environment) && !x.differs("status", o["status"].(string)) {
			items = append(items, o)
		}
	}
	return x.page(items)
}

func (s *Server) activateDeployment(x *exchange) answer {
	d := s.findDeployment(x.id)
	switch {
	case d == nil:
		return notFound("Deployment")
	case !d.ended || d.problem != "":
		return problem(http.StatusConflict, "The deployment is not deployed")
	}
	now := s.now()
	before := d.object(now)
	s.serve(d)
	s.changed(x, "deployment", d.id, before, d.object(now))
	return ok(d.object(now))
}
