package connictest

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/connic-go/connic"
)

// A Notice is a notification to the project: a budget of the kind alert was
// used up, or the score of a judge fell below its threshold.
type Notice struct {
	At   time.Time
	Kind string // "budget" or "judge"
	ID   string // of the budget or the judge
	Name string
	Text string
}

// Notices returns the newest 1,000 notifications, oldest first.
func (s *Server) Notices() []Notice {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.notices)
}

func (s *Server) notice(kind, id, name, text string) {
	s.notices = push(s.notices, Notice{At: s.now(), Kind: kind, ID: id, Name: name, Text: text}, maxNotices)
}

// charge is an amount that was spent.
type charge struct {
	at                 time.Time
	agent, environment string
	amount             connic.Decimal
	currency           string
	judge              bool // for an evaluation
}

// charge records the cost of a run or of its evaluation. It remains when the
// run is deleted. The caller holds the mutex.
func (s *Server) charge(agent, environment string, amount connic.Decimal, currency string, judge bool) {
	if len(s.charges) == maxCharges {
		c := s.charges[0]
		s.older(c.at, c.agent, c.environment, c.currency).spend(&c)
	}
	s.charges = push(s.charges, charge{
		at: s.now(), agent: agent, environment: environment, amount: amount, currency: strings.ToUpper(currency), judge: judge,
	}, maxCharges)
	s.checkAlerts()
}

// budget is a budget of the project.
type budget struct {
	connic.Budget
	noticed time.Time // the period of the last notice
}

// covers reports whether the costs of an agent in an environment count against
// the budget.
func (b *budget) covers(agent, environment string) bool {
	switch b.Scope {
	case connic.BudgetEnvironment:
		return b.EnvironmentID == environment
	case connic.BudgetAgent:
		return b.AgentName == agent && (b.EnvironmentID == "" || b.EnvironmentID == environment)
	default:
		return true
	}
}

// spent returns what was spent of a budget in the current period.
func (s *Server) spent(b *budget) connic.Decimal {
	sum, _ := connic.ParseDecimal("0")
	start := b.Period.Start(s.now())
	for _, c := range s.charges {
		if c.currency == b.Currency && !c.at.Before(start) && b.covers(c.agent, c.environment) {
			sum = sum.Add(c.amount)
		}
	}
	return s.spentBefore(b, start, sum)
}

// usedUp reports whether nothing is left of a budget.
func (s *Server) usedUp(b *budget) bool { return b.Enabled && s.spent(b).Cmp(b.Amount) >= 0 }

// checkAlerts records which budgets of the kind alert are used up, once per
// period.
func (s *Server) checkAlerts() {
	for _, b := range s.budgets {
		start := b.Period.Start(s.now())
		if b.Kind == connic.BudgetAlert && !b.noticed.Equal(start) && s.usedUp(b) {
			b.noticed = start
			s.notice("budget", b.ID, b.Name, s.spent(b).String()+" of "+b.Amount.String()+" "+b.Currency+" are spent")
		}
	}
}

// hold keeps a new run queued while it is covered by a used-up budget of the
// kind limit: until the budget is changed or deleted, or its period ends. It
// returns an error if the run is cancelled or the server closed.
func (s *Server) hold(ctx context.Context, r *run) error {
	for {
		s.mu.Lock()
		until, changed := s.heldUntil(r), s.budgetsChanged
		if ctx.Err() != nil {
			r.ended = s.now()
		}
		s.mu.Unlock()
		if ctx.Err() != nil || until.IsZero() {
			return ctx.Err()
		}
		timer := time.NewTimer(until.Sub(s.now()))
		select {
		case <-timer.C:
		case <-changed:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// heldUntil returns the earliest reset of the budgets that hold a run, or the
// zero time if none does.
func (s *Server) heldUntil(r *run) time.Time {
	var until time.Time
	for _, b := range s.budgets {
		if b.Kind != connic.BudgetLimit || !b.covers(r.agent, r.environment) || !s.usedUp(b) {
			continue
		}
		if end := b.Period.End(s.now()); until.IsZero() || end.Before(until) {
			until = end
		}
	}
	return until
}

// budgetsMoved makes held runs check again. The caller holds the mutex.
func (s *Server) budgetsMoved() {
	close(s.budgetsChanged)
	s.budgetsChanged = make(chan struct{})
	s.checkAlerts()
}

func (s *Server) budgetObject(b *budget) object {
	return object{
		"id": b.ID, "name": b.Name, "kind": string(b.Kind), "scope": string(b.Scope), "environment_id": text(b.EnvironmentID),
		"agent_name": text(b.AgentName), "period": string(b.Period), "amount": b.Amount.String(), "currency": b.Currency,
		"spent": s.spent(b).String(), "resets_at": timestamp(b.Period.End(s.now())), "enabled": b.Enabled,
		"created_at": timestamp(b.CreatedAt), "updated_at": timestamp(b.UpdatedAt),
	}
}

// changeBudget applies the body to a new or existing budget and validates the
// result.
func (s *Server) changeBudget(x *exchange, b *budget) *answer {
	var u connic.BudgetUpdate
	if complaint := x.decode(&u); complaint != nil {
		return complaint
	}
	e := new(edit)
	put(e, "name", u.Name, false, &b.Name)
	put(e, "kind", u.Kind, false, &b.Kind)
	put(e, "scope", u.Scope, false, &b.Scope)
	put(e, "environment_id", u.EnvironmentID, true, &b.EnvironmentID)
	put(e, "agent_name", u.AgentName, true, &b.AgentName)
	put(e, "period", u.Period, false, &b.Period)
	put(e, "amount", u.Amount, false, &b.Amount)
	put(e, "currency", u.Currency, false, &b.Currency)
	put(e, "enabled", u.Enabled, false, &b.Enabled)
	if b.Name == "" {
		e.refuse("Field required", "missing", "name")
	}
	if !b.Kind.Known() {
		e.refuse("Input should be 'alert' or 'limit'", "enum", "kind")
	}
	if !b.Period.Known() {
		e.refuse("Input should be 'daily' or 'monthly'", "enum", "period")
	}
	if b.Amount.IsZero() || b.Amount.Sign() < 0 {
		e.refuse("Input should be greater than or equal to 0", "greater_than_equal", "amount")
	}
	if b.Currency != connic.EUR && b.Currency != connic.USD {
		e.refuse("Input should be 'EUR' or 'USD'", "enum", "currency")
	}
	s.checkScope(e, b)
	return e.complaint
}

func (s *Server) checkScope(e *edit, b *budget) {
	known := slices.ContainsFunc(s.environments, func(env environment) bool { return env.ID == b.EnvironmentID })
	switch {
	case !b.Scope.Known():
		e.refuse("Input should be 'global', 'environment' or 'agent'", "enum", "scope")
	case b.EnvironmentID != "" && !known:
		e.refuse("There is no environment with this id", "value_error", "environment_id")
	case b.Scope == connic.BudgetEnvironment && b.EnvironmentID == "":
		e.refuse("Field required with the scope environment", "missing", "environment_id")
	case b.Scope == connic.BudgetGlobal && b.EnvironmentID != "":
		e.refuse("Input should be null with the scope global", "value_error", "environment_id")
	case b.Scope == connic.BudgetAgent && s.findAgent(b.AgentName) == nil:
		e.refuse("There is no agent of this name", "value_error", "agent_name")
	case b.Scope != connic.BudgetAgent && b.AgentName != "":
		e.refuse("Input should be null with this scope", "value_error", "agent_name")
	}
}

func (s *Server) findBudget(id string) *budget {
	for _, b := range s.budgets {
		if b.ID == id {
			return b
		}
	}
	return nil
}

func (s *Server) listBudgets(x *exchange) answer {
	var items []object
	for _, b := range s.budgets {
		items = append(items, s.budgetObject(b))
	}
	return x.page(items)
}

func (s *Server) getBudget(x *exchange) answer {
	if b := s.findBudget(x.id); b != nil {
		return ok(s.budgetObject(b))
	}
	return notFound("Budget")
}

func (s *Server) createBudget(x *exchange) answer {
	b := &budget{Budget: connic.Budget{Enabled: true, CreatedAt: s.now(), UpdatedAt: s.now()}}
	if complaint := s.changeBudget(x, b); complaint != nil {
		return *complaint
	}
	if complaint := full(len(s.budgets), maxResources, "budgets"); complaint != nil {
		return *complaint
	}
	b.ID = s.newID("budget")
	s.budgets = append(s.budgets, b)
	s.changed(x, "budget", b.ID, nil, s.budgetObject(b))
	s.budgetsMoved()
	return reply(http.StatusCreated, s.budgetObject(b))
}

func (s *Server) updateBudget(x *exchange) answer {
	b := s.findBudget(x.id)
	if b == nil {
		return notFound("Budget")
	}
	after := *b
	if complaint := s.changeBudget(x, &after); complaint != nil {
		return *complaint
	}
	before := s.budgetObject(b)
	after.UpdatedAt = s.now()
	*b = after
	s.changed(x, "budget", b.ID, before, s.budgetObject(b))
	s.budgetsMoved()
	return ok(s.budgetObject(b))
}

func (s *Server) deleteBudget(x *exchange) answer {
	b := s.findBudget(x.id)
	if b == nil {
		return notFound("Budget")
	}
	s.budgets = slices.DeleteFunc(s.budgets, func(other *budget) bool { return other == b })
	s.changed(x, "budget", b.ID, s.budgetObject(b), nil)
	s.budgetsMoved()
	return noContent()
}
