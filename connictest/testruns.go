package connictest

import (
	"slices"
	"time"

	"github.com/connic-go/connic"
)

// testRun is a run of a project's tests. Its state follows from the time.
type testRun struct {
	id, deployment string
	environment    string
	cases          []connic.TestCase
	problem        string
	began          time.Time
	takes          time.Duration // each phase
}

var testPhases = []string{connic.PhaseValidating, connic.PhaseBuilding, connic.PhaseStartingContainer, connic.PhaseRunningTests}

func (r *testRun) object(now time.Time) object {
	o := object{
		"id": r.id, "status": string(connic.TestRunRunning), "phase": connic.PhaseDone, "total_cases": len(r.cases),
		"error": nil, "deployment_id": nil, "cases": []connic.TestCase{},
	}
	for i, phase := range testPhases {
		if now.Before(r.began.Add(time.Duration(i+1) * r.takes)) {
			o["phase"] = phase
			return o
		}
		if i == 0 && r.problem != "" {
			o["status"], o["phase"], o["error"] = string(connic.TestRunErrored), connic.PhaseError, r.problem
			return o
		}
	}
	o["deployment_id"], o["cases"] = r.deployment, r.cases
	o["status"] = string(connic.TestRunPassed)
	if slices.ContainsFunc(r.cases, func(c connic.TestCase) bool { return !c.Passed }) {
		o["status"] = string(connic.TestRunFailed)
	}
	return o
}

func (s *Server) createTestRun(x *exchange) answer {
	var body struct {
		Data          *string `json:"files_data"`
		EnvironmentID string  `json:"environment_id"`
		Filter        string  `json:"test_filter"`
	}
	if complaint := x.decode(&body); complaint != nil {
		return *complaint
	}
	environment, complaint := s.target(body.EnvironmentID, s.testTarget)
	if complaint != nil {
		return *complaint
	}
	files, complaint := unpack(body.Data, nil)
	if complaint != nil {
		return *complaint
	}
	r := &testRun{id: s.newID("testrun"), deployment: s.newID("deployment"), environment: environment.ID}
	p := UploadedProject{ID: r.id, EnvironmentID: environment.ID, Files: files, Filter: body.Filter}
	r.cases, r.problem = s.examine(x, &p)
	if x.ctx.Err() != nil || s.ctx.Err() != nil {
		return answer{drop: true, truncate: -1}
	}
	if r.cases == nil {
		r.cases = []connic.TestCase{}
	}
	r.began, r.takes = s.now(), s.phaseTime
	s.testRuns = push(s.testRuns, r, maxTestRuns)
	s.changed(x, "test_run", r.id, nil, r.object(r.began))
	return ok(r.object(r.began))
}

func (s *Server) getTestRun(x *exchange) answer {
	for _, r := range s.testRuns {
		if r.id == x.id {
			return ok(r.object(s.now()))
		}
	}
	return notFound("Test run")
}
