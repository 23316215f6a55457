package connictest

import (
	"encoding/json"
	"time"

	"github.com/connic-go/connic"
)

// State is the content of the fake, with each resource as the API shows it.
type State struct {
	Environments []Environment
	Agents       []*connic.Agent
	Runs         []*connic.Run // oldest first, traces included
	Entries      []*connic.Entry
	Jobs         []*connic.Job // oldest first
	Judges       []*connic.Judge
	Evaluations  []*connic.Evaluation
	Budgets      []*connic.Budget
	Deployments  []*connic.Deployment // oldest first
	TestRuns     []*connic.TestRun    // oldest first
	Approvals    []*connic.Approval   // oldest first
	Connectors   []*connic.Connector
	Quota        QuotaState
}

// QuotaState is the state of the project's quota.
type QuotaState struct {
	Limit int // requests per window; 0 if there is no quota
	Per   time.Duration
	Left  int // requests that would be accepted now
}

// State returns a copy of the content of the fake. It does not count against
// the quota.
func (s *Server) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle(s.ctx)
	now := s.now()
	s.roll(now)
	state := State{
		Environments: append([]Environment(nil), s.environments...),
		Quota:        QuotaState{Limit: max(s.quota.n, 0), Per: s.quota.per, Left: s.quota.left(time.Now())},
	}
	for _, a := range s.agents {
		state.Agents = append(state.Agents, shown[connic.Agent](a.object()))
	}
	for _, r := range s.runs {
		state.Runs = append(state.Runs, shown[connic.Run](r.object(true)))
	}
	for _, e := range s.entries {
		state.Entries = append(state.Entries, shown[connic.Entry](e.object(true)))
	}
	for _, j := range s.jobs {
		state.Jobs = append(state.Jobs, shown[connic.Job](j.object(now)))
	}
	for _, j := range s.judges {
		state.Judges = append(state.Judges, shown[connic.Judge](j.object()))
		for _, e := range j.evaluations {
			state.Evaluations = append(state.Evaluations, shown[connic.Evaluation](e.object(j)))
		}
	}
	for _, b := range s.budgets {
		state.Budgets = append(state.Budgets, shown[connic.Budget](s.budgetObject(b)))
	}
	for _, d := range s.deployments {
		state.Deployments = append(state.Deployments, shown[connic.Deployment](d.object(now)))
	}
	for _, r := range s.testRuns {
		state.TestRuns = append(state.TestRuns, shown[connic.TestRun](r.object(now)))
	}
	for _, a := range s.approvals {
		state.Approvals = append(state.Approvals, shown[connic.Approval](a.object()))
	}
	for _, r := range s.allResources() {
		state.Connectors = append(state.Connectors, shown[connic.Connector](s.resourceObject(r)))
	}
	return state
}

// shown returns a resource as a client sees it.
func shown[T any](o object) *T {
	v := new(T)
	raw, err := json.Marshal(o)
	if err == nil {
		err = json.Unmarshal(raw, v)
	}
	if err != nil {
		panic(err) // it is made of plain values
	}
	return v
}

// left returns how many requests the quota would accept.
func (q *quota) left(now time.Time) int {
	switch {
	case q.n <= 0:
		return 0
	case q.window == SlidingWindow, q.window == SlidingWindowRejects:
		live := 0
		for _, at := range q.log {
			if now.Sub(at) < q.per {
				live++
			}
		}
		return max(q.n-live, 0)
	case q.window == TokenBucket:
		gained := now.Sub(q.last).Seconds() * float64(q.n) / q.per.Seconds()
		return int(min(float64(q.n), q.tokens+gained))
	case now.Sub(q.start) >= q.per:
		return q.n
	}
	return q.n - q.count
}
