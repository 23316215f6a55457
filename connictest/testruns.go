package connictest

import (
	"slices"
	"time"

	"github.com/connic-go/connic"
)

// testRun is a run of a project's tests. Its state follows from the time.
type testRun struct {
	id     string
	cases  []connic.TestCase
	began  time.Time
	takes  time.Duration // each phase
	passed bool
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
	}
	o["cases"] = r.cases
	if o["status"] = string(connic.TestRunFailed); r.passed {
		o["status"] = string(connic.TestRunPassed)
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
	environment, complaint := s.target(body.EnvironmentID)
	if complaint != nil {
		return *complaint
	}
	files, complaint := unpack(body.Data, nil)
	if complaint != nil {
		return *complaint
	}
	r := &testRun{id: s.newID("testrun"), began: time.Now(), takes: s.phaseTime}
	r.cases = s.cases(UploadedProject{ID: r.id, EnvironmentID: environment, Files: files, Filter: body.Filter})
	r.passed = !slices.ContainsFunc(r.cases, func(c connic.TestCase) bool { return !c.Passed })
	s.testRuns = append(s.testRuns, r)
	s.changed(x, "test_run", r.id, nil, r.object(r.began))
	return ok(r.object(r.began))
}

func (s *Server) getTestRun(x *exchange) answer {
	for _, r := range s.testRuns {
		if r.id == x.id {
			return ok(r.object(time.Now()))
		}
	}
	return notFound("Test run")
}
