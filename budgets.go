package connic

import (
	"cmp"
	"context"
	"iter"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// BudgetsService manages budgets and reads the costs of the project's runs. It
// needs a key with access to the budgets section.
//
// The vendor describes budgets in prose, and says of the cost data only that
// the API provides it. The names of all fields are assumed.
type BudgetsService service

func (s *BudgetsService) scope() *scope { return (*service)(s).scope() }

// A Budget tracks what runs cost in a period.
type Budget struct {
	ID            string       `json:"id" api:"words"`
	Name          string       `json:"name" api:"words"`
	Kind          BudgetKind   `json:"kind,omitzero" api:"words"`
	Scope         BudgetScope  `json:"scope,omitzero" api:"words"`
	EnvironmentID string       `json:"environment_id,omitzero" api:"words"`
	AgentName     string       `json:"agent_name,omitzero" api:"words"`
	Period        BudgetPeriod `json:"period,omitzero" api:"words"`
	Amount        Decimal      `json:"amount,omitzero" api:"words"`
	Currency      string       `json:"currency,omitzero" api:"words"` // EUR or USD, of Amount and Spent
	// Spent is the amount spent in the current period, or the zero Decimal if
	// the service omits it. See Left.
	Spent Decimal `json:"spent,omitzero" api:"words"`
	// ResetsAt is when Spent is reset to 0, or the zero time if the service
	// omits it. See NextReset.
	ResetsAt  time.Time `json:"resets_at,omitzero" api:"words"`
	Enabled   bool      `json:"enabled" api:"words,=true"` // true if the service omits it
	CreatedAt time.Time `json:"created_at,omitzero" api:"words"`
	UpdatedAt time.Time `json:"updated_at,omitzero" api:"words"`

	RawItem
}

// BudgetKind specifies what happens when a budget is used up: "alert" notifies
// the project, and "limit" holds new runs.
type BudgetKind string

// The known kinds of budgets.
const (
	BudgetAlert BudgetKind = "alert" // the project is notified
	BudgetLimit BudgetKind = "limit" // new runs are held
)

// Known reports whether this version of the package knows k.
func (k BudgetKind) Known() bool { return k == BudgetAlert || k == BudgetLimit }

// BudgetScope specifies whose costs a budget tracks: "global" those of the
// project, "environment" those of one environment, "agent" those of one agent.
type BudgetScope string

// The known scopes of budgets.
const (
	BudgetGlobal      BudgetScope = "global" // the whole project
	BudgetEnvironment BudgetScope = "environment"
	BudgetAgent       BudgetScope = "agent"
)

// Known reports whether this version of the package knows s.
func (s BudgetScope) Known() bool {
	return s == BudgetGlobal || s == BudgetEnvironment || s == BudgetAgent
}

// BudgetPeriod is the period of a budget: "daily" or "monthly".
type BudgetPeriod string

// The known periods of budgets.
const (
	BudgetDaily   BudgetPeriod = "daily"   // from midnight UTC
	BudgetMonthly BudgetPeriod = "monthly" // from the first of the month, UTC
)

// Known reports whether this version of the package knows p.
func (p BudgetPeriod) Known() bool { return p == BudgetDaily || p == BudgetMonthly }

// Start returns the start of the period that contains t, in UTC. For an unknown
// period it returns the zero time.
func (p BudgetPeriod) Start(t time.Time) time.Time { return p.bound(t, 0) }

// End returns the start of the period after the one that contains t, in UTC.
// For an unknown period it returns the zero time.
func (p BudgetPeriod) End(t time.Time) time.Time { return p.bound(t, 1) }

func (p BudgetPeriod) bound(t time.Time, later int) time.Time {
	year, month, day := t.UTC().Date()
	switch p {
	case BudgetDaily:
		return time.Date(year, month, day+later, 0, 0, 0, 0, time.UTC)
	case BudgetMonthly:
		return time.Date(year, month+time.Month(later), 1, 0, 0, 0, 0, time.UTC)
	default:
		return time.Time{}
	}
}

// Left returns what remains of the budget in its period. It is negative if more
// was spent. It reports false if the service omits the amount or what was
// spent.
func (b *Budget) Left() (left Money, ok bool) {
	if b.Amount.IsZero() || b.Spent.IsZero() {
		return Money{}, false
	}
	return Money{b.Amount.Sub(b.Spent), b.Currency}, true
}

// NextReset returns the next reset of the budget after now. It returns the time
// given by the service if that is in the future. Otherwise it computes the end
// of the period in UTC by the local clock, and sets computed. It returns the
// zero time if the service omits the reset and the period is unknown.
func (b *Budget) NextReset(now time.Time) (at time.Time, computed bool) {
	if b.ResetsAt.After(now) {
		return b.ResetsAt, false
	}
	at = b.Period.End(now)
	return at, !at.IsZero()
}

// BudgetListParams selects a page of the list.
type BudgetListParams struct {
	// Limit is the number of budgets per page, at most 100 (assumed). If it is 0,
	// List leaves it to the service, and All uses 100.
	Limit, Offset int
}

func budgetListing(s *BudgetsService, p *BudgetListParams) listing[Budget] {
	if p == nil {
		p = new(BudgetListParams)
	}
	return listing[Budget]{
		scope: s.scope(), request: request{op: api.BudgetsList}, name: "budgets", id: func(b *Budget) string { return b.ID },
		limit: p.Limit, offset: p.Offset,
	}
}

// List returns one page of budgets. It costs one request.
//
//	API:    GET /projects/{project}/budgets
//	Access: budgets read
//	Status: assumed
func (s *BudgetsService) List(ctx context.Context, p *BudgetListParams, opts ...RequestOption) (*Page[Budget], error) {
	return budgetListing(s, p).page(ctx, opts)
}

// All iterates over the budgets, starting at the given offset. Budgets may be
// added and deleted during the iteration: each of the others is yielded once,
// or the iteration ends with [ErrPageLoop]. It costs one request per Limit
// budgets, and a few more if the list changes; the default Limit is 100.
//
//	API:    GET /projects/{project}/budgets
//	Access: budgets read
//	Status: assumed
func (s *BudgetsService) All(ctx context.Context, p *BudgetListParams, opts ...RequestOption) iter.Seq2[*Budget, error] {
	return budgetListing(s, p).all(ctx, opts)
}

// Get returns a budget. It costs one request.
//
//	API:    GET /projects/{project}/budgets/{budget}
//	Access: budgets read
//	Status: assumed
func (s *BudgetsService) Get(ctx context.Context, id string, opts ...RequestOption) (*Budget, error) {
	return do(ctx, s.scope(), request{op: api.BudgetsGet, id: id}, decodeInto[Budget], opts)
}

// BudgetCreate describes a budget to create. Fields that are not set are not
// sent, and take the defaults of the service.
type BudgetCreate struct {
	Name  string      `json:"name" api:"words"`
	Kind  BudgetKind  `json:"kind" api:"words"`
	Scope BudgetScope `json:"scope" api:"words"`
	// EnvironmentID is the environment of a BudgetEnvironment. It defaults to
	// the client's environment, if it has one. A BudgetAgent may have one too,
	// since the names of agents are unique only within an environment.
	EnvironmentID string         `json:"environment_id,omitzero" api:"words"`
	AgentName     string         `json:"agent_name,omitzero" api:"words"` // of a BudgetAgent
	Period        BudgetPeriod   `json:"period" api:"words"`
	Amount        Decimal        `json:"amount" api:"words"`   // 0 or more
	Currency      string         `json:"currency" api:"words"` // EUR or USD
	Enabled       Nullable[bool] `json:"enabled,omitzero" api:"words"`
}

// BudgetUpdate describes changes to a budget. Absent fields remain unchanged,
// and null fields are cleared. Only EnvironmentID and AgentName can be cleared.
type BudgetUpdate struct {
	Name          Nullable[string]       `json:"name,omitzero" api:"words"`
	Kind          Nullable[BudgetKind]   `json:"kind,omitzero" api:"words"`
	Scope         Nullable[BudgetScope]  `json:"scope,omitzero" api:"words"`
	EnvironmentID Nullable[string]       `json:"environment_id,omitzero" api:"words"`
	AgentName     Nullable[string]       `json:"agent_name,omitzero" api:"words"`
	Period        Nullable[BudgetPeriod] `json:"period,omitzero" api:"words"`
	Amount        Nullable[Decimal]      `json:"amount,omitzero" api:"words"`
	Currency      Nullable[string]       `json:"currency,omitzero" api:"words"`
	Enabled       Nullable[bool]         `json:"enabled,omitzero" api:"words"`
}

func (u *BudgetUpdate) check(op string) *patch {
	p := &patch{op: op}
	change(p, "name", u.Name, false, checkFilled)
	// Values unknown to this version may be valid.
	change(p, "kind", u.Kind, false, func(k BudgetKind) string { return checkFilled(string(k)) })
	change(p, "scope", u.Scope, false, func(s BudgetScope) string { return checkFilled(string(s)) })
	change(p, "environment id", u.EnvironmentID, true, checkFilled)
	change(p, "agent name", u.AgentName, true, checkFilled)
	change(p, "period", u.Period, false, func(period BudgetPeriod) string { return checkFilled(string(period)) })
	change(p, "amount", u.Amount, false, func(d Decimal) string {
		switch {
		case d.IsZero():
			return "is not set"
		case d.Sign() < 0:
			return "is less than 0"
		}
		return ""
	})
	change(p, "currency", u.Currency, false, func(s string) string {
		if len(s) != 3 || strings.ContainsFunc(s, func(r rune) bool { return r < 'A' || r > 'Z' }) {
			return "is not a code of three uppercase letters, such as EUR"
		}
		return ""
	})
	change(p, "enabled", u.Enabled, false, nil)
	return p
}

// AsUpdate returns the update that makes an existing budget what c describes. It
// clears the environment and the agent that c lacks. Enabled remains unchanged
// if c does not set it.
func (c BudgetCreate) AsUpdate() BudgetUpdate {
	return BudgetUpdate{
		Name: Set(c.Name), Kind: Set(c.Kind), Scope: Set(c.Scope), EnvironmentID: orNull(c.EnvironmentID), AgentName: orNull(c.AgentName),
		Period: Set(c.Period), Amount: Set(c.Amount), Currency: Set(c.Currency), Enabled: c.Enabled,
	}
}

// AsCreate returns a description of a budget like b.
func (b *Budget) AsCreate() BudgetCreate {
	return BudgetCreate{
		Name: b.Name, Kind: b.Kind, Scope: b.Scope, EnvironmentID: b.EnvironmentID, AgentName: b.AgentName,
		Period: b.Period, Amount: b.Amount, Currency: b.Currency, Enabled: Set(b.Enabled),
	}
}

func (c *BudgetCreate) check(op string) error {
	u := c.AsUpdate()
	p := u.check(op)
	switch {
	case c.Scope == BudgetEnvironment && c.EnvironmentID == "":
		p.refuse("environment id", "is empty, and the scope is environment")
	case c.Scope == BudgetAgent && c.AgentName == "":
		p.refuse("agent name", "is empty, and the scope is agent")
	case c.Scope == BudgetGlobal && c.EnvironmentID != "":
		p.refuse("environment id", "is set, and the scope is global")
	case c.Scope != BudgetAgent && c.Scope.Known() && c.AgentName != "":
		p.refuse("agent name", "is set, and the scope is not agent")
	}
	return p.err()
}

// complete adds the client's environment to a new budget, and checks it.
func (s *BudgetsService) complete(c *BudgetCreate) error {
	if c.Scope == BudgetEnvironment {
		c.EnvironmentID = cmp.Or(c.EnvironmentID, s.scope().environment)
	}
	return c.check(api.Table[api.BudgetsCreate].Name)
}

// Create creates a budget. It refuses the following before anything is sent: an
// empty name, kind, scope or period; an amount that is unset or negative; a
// currency that is not a three-letter code; and a scope without the id or name
// that it requires, or with one that it does not use.
//
// As with [AgentsService.Trigger], the request is not repeated blindly: see
// [ErrOutcomeUnknown]. It costs one request.
//
//	API:    POST /projects/{project}/budgets
//	Access: budgets write
//	Status: assumed
func (s *BudgetsService) Create(ctx context.Context, req BudgetCreate, opts ...RequestOption) (*Budget, error) {
	if err := s.complete(&req); err != nil {
		return nil, err
	}
	return do(ctx, s.scope(), request{op: api.BudgetsCreate, body: req}, decodeInto[Budget], opts)
}

// Update changes a budget and returns the result. Raising or disabling a limit
// releases the runs that it held. Update refuses values that
// [BudgetsService.Create] refuses, and an update without changes. It costs one
// request.
//
//	API:    PATCH /projects/{project}/budgets/{budget}
//	Access: budgets write
//	Status: assumed
func (s *BudgetsService) Update(ctx context.Context, id string, req BudgetUpdate, opts ...RequestOption) (*Budget, error) {
	if err := req.check(api.Table[api.BudgetsUpdate].Name).err(); err != nil {
		return nil, err
	}
	return do(ctx, s.scope(), request{op: api.BudgetsUpdate, id: id, body: req}, decodeInto[Budget], opts)
}

// Delete deletes a budget. Deleting a budget that does not exist fails with
// [ErrNotFound], unless it is a retry after a lost response. It costs one
// request.
//
//	API:    DELETE /projects/{project}/budgets/{budget}
//	Access: budgets write
//	Status: assumed
func (s *BudgetsService) Delete(ctx context.Context, id string, opts ...RequestOption) error {
	_, err := do(ctx, s.scope(), request{op: api.BudgetsDelete, id: id}, decodeNone, opts)
	return err
}

// Ensure returns the budget of the given name. It creates the budget if there is
// none, and updates it if it differs from what req describes (see
// [BudgetCreate.AsUpdate]). It refuses what [BudgetsService.Create] refuses. For
// concurrent calls and errors, see [Ensured].
//
// It costs one request per 100 budgets, one more to update the budget, and two
// more to create it; the key needs budgets write too.
//
//	API:    GET /projects/{project}/budgets
//	Access: budgets read
//	Status: assumed
func (s *BudgetsService) Ensure(ctx context.Context, req BudgetCreate, opts ...RequestOption) (*Ensured[Budget], error) {
	if err := s.complete(&req); err != nil {
		return nil, err
	}
	update := req.AsUpdate()
	e := ensuring[Budget]{
		scope: s.scope(), list: api.BudgetsList, kind: "budget", identity: req.Name,
		items:  s.All(ctx, nil, alongside(opts)...),
		is:     func(b *Budget) bool { return b.Name == req.Name },
		made:   func(b *Budget) (string, time.Time) { return b.ID, b.CreatedAt },
		diff:   func(b *Budget) []Change { return b.Diff(update) },
		create: func() (*Budget, error) { return s.Create(ctx, req, opts...) },
		update: func(id string) (*Budget, error) { return s.Update(ctx, id, update, opts...) },
		remove: func(id string) error { return s.Delete(ctx, id, alongside(opts)...) },
	}
	return e.ensure(ctx)
}

// Diff returns the changes that an update would make to b, in the order of the
// fields of [BudgetUpdate]. Amounts are compared as numbers. It sends no
// request. A field that the service may omit is unset if it is zero, and
// clearing it is no change.
func (b *Budget) Diff(u BudgetUpdate) []Change { return diff(b, u) }
