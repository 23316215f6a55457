package connic

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// JudgesService manages judges, which score the runs of an agent by criteria,
// and reads their evaluations. It needs a key with access to the judges
// section.
//
// The vendor describes judges in prose only. The names of all fields are
// assumed.
type JudgesService service

func (s *JudgesService) scope() *scope { return (*service)(s).scope() }

// A Judge is a model that scores the runs of one agent.
type Judge struct {
	ID        string `json:"id" api:"words"`
	Name      string `json:"name" api:"words"`
	AgentName string `json:"agent_name,omitzero" api:"words"` // the one agent whose runs it scores
	Model     string `json:"model,omitzero" api:"words"`      // "provider/model"
	// SystemPrompt is given to the judge in addition to its criteria.
	SystemPrompt string `json:"system_prompt,omitzero" api:"words"`
	// IncludeAgentSystemPrompt shows the agent's own system prompt to the
	// judge.
	IncludeAgentSystemPrompt bool         `json:"include_agent_system_prompt,omitzero" api:"words"`
	Criteria                 []Criterion  `json:"criteria,omitzero" api:"words"`
	TriggerMode              JudgeTrigger `json:"trigger_mode,omitzero" api:"words"`
	// SampleRate is the percentage of matching runs that an automatic judge
	// scores, or 0 if the service gives none.
	SampleRate       float64     `json:"sample_rate,omitzero" api:"words"`
	Filters          []RunFilter `json:"filters,omitzero" api:"words"`
	FilterExpression string      `json:"filter_expression,omitzero" api:"words"`
	Enabled          bool        `json:"enabled" api:"words,=true"`         // true if the service omits it
	ScoreAlert       *ScoreAlert `json:"score_alert,omitempty" api:"words"` // nil if there is none
	CreatedAt        time.Time   `json:"created_at,omitzero" api:"words"`
	UpdatedAt        time.Time   `json:"updated_at,omitzero" api:"words"`

	RawItem
}

// A Criterion is one of the aspects that a judge scores.
type Criterion struct {
	Name        string  `json:"name" api:"words"`
	Description string  `json:"description,omitzero" api:"words"`
	MaxScore    float64 `json:"max_score" api:"words"` // the best score; greater than 0
}

// JudgeTrigger specifies when a judge scores runs: "automatic" or "manual".
type JudgeTrigger string

// The known trigger modes.
const (
	JudgeAutomatic JudgeTrigger = "automatic" // when a run completes
	JudgeManual    JudgeTrigger = "manual"    // on request: see JudgesService.Evaluate
)

// Known reports whether this version of the package knows m.
func (m JudgeTrigger) Known() bool { return m == JudgeAutomatic || m == JudgeManual }

// A RunFilter is a condition that a run must meet to be scored by an automatic
// judge.
type RunFilter struct {
	// Field is the run's status, the name of its agent, or a property of its
	// context. The syntax for the latter is not known.
	Field    string         `json:"field" api:"words"`
	Operator FilterOperator `json:"operator" api:"words"`
	// Value is any JSON value. FilterExists does not need one. A number of the
	// service that is no float64, such as a long id, is an
	// [encoding/json.Number].
	Value any `json:"value,omitempty" api:"words"`
}

// A FilterOperator compares a field of a run with a value: "equals",
// "not_equals", "contains" or "exists".
type FilterOperator string

// The known operators.
const (
	FilterEquals    FilterOperator = "equals"
	FilterNotEquals FilterOperator = "not_equals"
	FilterContains  FilterOperator = "contains"
	FilterExists    FilterOperator = "exists"
)

// Known reports whether this version of the package knows o.
func (o FilterOperator) Known() bool {
	return o == FilterEquals || o == FilterNotEquals || o == FilterContains || o == FilterExists
}

// A ScoreAlert notifies the project if the score over a rolling window falls
// below a threshold.
type ScoreAlert struct {
	Threshold float64 `json:"threshold" api:"words"`
	// Window is the extent of the rolling window. It is not documented whether
	// it counts evaluations or measures time, so it may be any JSON value, as in
	// RunFilter.
	Window any `json:"window,omitempty" api:"words"`
}

// JudgeListParams selects judges. The zero value selects all of them.
type JudgeListParams struct {
	AgentName string
	// Limit is the number of judges per page, at most 100 (assumed). If it is 0,
	// List leaves it to the service, and All uses 100.
	Limit, Offset int
}

func judgeListing(s *JudgesService, p *JudgeListParams) listing[Judge] {
	if p == nil {
		p = new(JudgeListParams)
	}
	l := listing[Judge]{
		scope: s.scope(), request: request{op: api.JudgesList}, name: "judges", id: func(j *Judge) string { return j.ID },
		limit: p.Limit, offset: p.Offset,
	}
	l.request.query.add("agent_name", p.AgentName)
	return l
}

// List returns one page of judges. It costs one request.
//
//	API:    GET /projects/{project}/judges
//	Access: judges read
//	Status: assumed
func (s *JudgesService) List(ctx context.Context, p *JudgeListParams, opts ...RequestOption) (*Page[Judge], error) {
	return judgeListing(s, p).page(ctx, opts)
}

// All iterates over the judges, starting at the given offset. Judges may be
// added and deleted during the iteration: each of the others is yielded once,
// or the iteration ends with [ErrPageLoop]. It costs one request per Limit
// judges, and a few more if the list changes; the default Limit is 100.
//
//	API:    GET /projects/{project}/judges
//	Access: judges read
//	Status: assumed
func (s *JudgesService) All(ctx context.Context, p *JudgeListParams, opts ...RequestOption) iter.Seq2[*Judge, error] {
	return judgeListing(s, p).all(ctx, opts)
}

// Get returns a judge. It costs one request.
//
//	API:    GET /projects/{project}/judges/{judge}
//	Access: judges read
//	Status: assumed
func (s *JudgesService) Get(ctx context.Context, id string, opts ...RequestOption) (*Judge, error) {
	return do(ctx, s.scope(), request{op: api.JudgesGet, id: id}, decodeInto[Judge], opts)
}

// JudgeCreate describes a judge to create. Fields that are not set are not
// sent, and take the defaults of the service.
type JudgeCreate struct {
	Name                     string         `json:"name" api:"words"`
	AgentName                string         `json:"agent_name" api:"words"`     // the one agent whose runs it scores
	Model                    string         `json:"model,omitzero" api:"words"` // "provider/model", as in the agents' own configuration
	SystemPrompt             string         `json:"system_prompt,omitzero" api:"words"`
	IncludeAgentSystemPrompt Nullable[bool] `json:"include_agent_system_prompt,omitzero" api:"words"`
	Criteria                 []Criterion    `json:"criteria" api:"words"` // at least one
	TriggerMode              JudgeTrigger   `json:"trigger_mode,omitzero" api:"words"`
	SampleRate               float64        `json:"sample_rate,omitzero" api:"words"` // percent, 1 to 100; with JudgeAutomatic only
	Filters                  []RunFilter    `json:"filters,omitzero" api:"words"`
	FilterExpression         string         `json:"filter_expression,omitzero" api:"words"`
	Enabled                  Nullable[bool] `json:"enabled,omitzero" api:"words"`
	ScoreAlert               *ScoreAlert    `json:"score_alert,omitempty" api:"words"`
}

// JudgeUpdate describes changes to a judge. Absent fields remain unchanged, and
// null fields are cleared. Name, agent, model, criteria, trigger mode and
// Enabled cannot be cleared. Criteria and Filters replace the whole list.
type JudgeUpdate struct {
	Name                     Nullable[string]       `json:"name,omitzero" api:"words"`
	AgentName                Nullable[string]       `json:"agent_name,omitzero" api:"words"`
	Model                    Nullable[string]       `json:"model,omitzero" api:"words"`
	SystemPrompt             Nullable[string]       `json:"system_prompt,omitzero" api:"words"`
	IncludeAgentSystemPrompt Nullable[bool]         `json:"include_agent_system_prompt,omitzero" api:"words"`
	Criteria                 Nullable[[]Criterion]  `json:"criteria,omitzero" api:"words"`
	TriggerMode              Nullable[JudgeTrigger] `json:"trigger_mode,omitzero" api:"words"`
	SampleRate               Nullable[float64]      `json:"sample_rate,omitzero" api:"words"`
	Filters                  Nullable[[]RunFilter]  `json:"filters,omitzero" api:"words"`
	FilterExpression         Nullable[string]       `json:"filter_expression,omitzero" api:"words"`
	Enabled                  Nullable[bool]         `json:"enabled,omitzero" api:"words"`
	ScoreAlert               Nullable[ScoreAlert]   `json:"score_alert,omitzero" api:"words"`
}

// AsUpdate returns the update that makes an existing judge what c describes. It
// clears the system prompt, the filters, the filter expression and the score
// alert that c lacks, and the sample rate of a manual judge. Other fields that c
// does not set remain unchanged, since the service has defaults for them.
func (c JudgeCreate) AsUpdate() JudgeUpdate {
	u := JudgeUpdate{
		Name: Set(c.Name), AgentName: Set(c.AgentName), Model: given(c.Model), SystemPrompt: orNull(c.SystemPrompt),
		IncludeAgentSystemPrompt: c.IncludeAgentSystemPrompt, Criteria: Set(c.Criteria), TriggerMode: given(c.TriggerMode),
		SampleRate: given(c.SampleRate), Filters: Null[[]RunFilter](), FilterExpression: orNull(c.FilterExpression), Enabled: c.Enabled,
		ScoreAlert: Null[ScoreAlert](),
	}
	if c.TriggerMode == JudgeManual && c.SampleRate == 0 {
		u.SampleRate = Null[float64]()
	}
	if len(c.Filters) > 0 {
		u.Filters = Set(c.Filters)
	}
	if c.ScoreAlert != nil {
		u.ScoreAlert = Set(*c.ScoreAlert)
	}
	return u
}

// AsCreate returns a description of a judge like j, for example to create it in
// another project. It leaves out the sample rate of a judge that is not automatic.
// It shares no memory with j but the lists and maps that are values of filters or
// the window of the alert.
func (j *Judge) AsCreate() JudgeCreate {
	c := JudgeCreate{
		Name: j.Name, AgentName: j.AgentName, Model: j.Model, SystemPrompt: j.SystemPrompt,
		IncludeAgentSystemPrompt: given(j.IncludeAgentSystemPrompt), Criteria: slices.Clone(j.Criteria), TriggerMode: j.TriggerMode,
		SampleRate: j.SampleRate, Filters: slices.Clone(j.Filters), FilterExpression: j.FilterExpression, Enabled: Set(j.Enabled),
	}
	if j.TriggerMode == JudgeManual || j.TriggerMode == "" {
		c.SampleRate = 0 // Create refuses it
	}
	if j.ScoreAlert != nil {
		alert := *j.ScoreAlert
		c.ScoreAlert = &alert
	}
	return c
}

func (u *JudgeUpdate) check(op string) error {
	p := &patch{op: op}
	change(p, "name", u.Name, false, checkFilled)
	change(p, "agent name", u.AgentName, false, checkFilled)
	change(p, "model", u.Model, false, checkModel)
	change(p, "system prompt", u.SystemPrompt, true, nil)
	change(p, "include agent system prompt", u.IncludeAgentSystemPrompt, true, nil)
	change(p, "criteria", u.Criteria, false, checkCriteria)
	// Values unknown to this version may be valid.
	change(p, "trigger mode", u.TriggerMode, false, func(m JudgeTrigger) string { return checkFilled(string(m)) })
	change(p, "sample rate", u.SampleRate, true, func(rate float64) string {
		if !(rate >= 1 && rate <= 100) { // also refuses NaN
			return "is not between 1 and 100 percent"
		}
		if mode, ok := u.TriggerMode.Get(); ok && mode == JudgeManual {
			return "belongs to the trigger mode automatic, and the mode is manual"
		}
		return ""
	})
	change(p, "filters", u.Filters, true, checkFilters)
	change(p, "filter expression", u.FilterExpression, true, nil)
	change(p, "enabled", u.Enabled, false, nil)
	change(p, "score alert", u.ScoreAlert, true, func(a ScoreAlert) string {
		if !(a.Threshold >= 0) {
			return "has a threshold below 0"
		}
		return ""
	})
	return p.err()
}

func checkFilled(s string) string {
	if strings.TrimSpace(s) == "" {
		return "is empty"
	}
	return ""
}

func checkModel(s string) string {
	provider, model, ok := strings.Cut(s, "/")
	if !ok || provider == "" || model == "" || strings.ContainsAny(s, " \t\r\n") {
		return "is not of the form provider/model"
	}
	return ""
}

func checkCriteria(criteria []Criterion) string {
	if len(criteria) == 0 {
		return "are empty; a judge needs at least 1"
	}
	for _, c := range criteria {
		if checkFilled(c.Name) != "" {
			return "contain one without a name"
		}
		if !(c.MaxScore > 0) {
			return "contain one whose max_score is not more than 0"
		}
	}
	return ""
}

func checkFilters(filters []RunFilter) string {
	for _, f := range filters {
		switch {
		case checkFilled(f.Field) != "":
			return "contain one without a field"
		case checkFilled(string(f.Operator)) != "":
			return "contain one without an operator"
		case f.Value == nil && f.Operator != FilterExists:
			return "contain one without a value; only exists needs none"
		}
	}
	return ""
}

func (c *JudgeCreate) check() error {
	op := api.Table[api.JudgesCreate].Name
	if c.SampleRate != 0 && c.TriggerMode == "" {
		return &ArgumentError{Op: op, Arg: "sample rate", Reason: "belongs to the trigger mode automatic, and no mode is set"}
	}
	u := c.AsUpdate()
	return u.check(op)
}

// Create creates a judge. It refuses the following before anything is sent: an
// empty name, agent or list of criteria; a criterion without a name or with a
// max_score of 0 or less; a model that is not of the form provider/model; a
// sample rate outside 1 to 100 or without the automatic trigger mode; and
// filters without a field or an operator.
//
// As with [AgentsService.Trigger], the request is not repeated blindly: see
// [ErrOutcomeUnknown]. It costs one request.
//
//	API:    POST /projects/{project}/judges
//	Access: judges write
//	Status: assumed
func (s *JudgesService) Create(ctx context.Context, req JudgeCreate, opts ...RequestOption) (*Judge, error) {
	if err := req.check(); err != nil {
		return nil, err
	}
	return do(ctx, s.scope(), request{op: api.JudgesCreate, body: req}, decodeInto[Judge], opts)
}

// Update changes a judge and returns the result. It refuses what
// [JudgesService.Create] refuses, and an update without changes. It costs one
// request.
//
//	API:    PATCH /projects/{project}/judges/{judge}
//	Access: judges write
//	Status: assumed
func (s *JudgesService) Update(ctx context.Context, id string, req JudgeUpdate, opts ...RequestOption) (*Judge, error) {
	if err := req.check(api.Table[api.JudgesUpdate].Name); err != nil {
		return nil, err
	}
	return do(ctx, s.scope(), request{op: api.JudgesUpdate, id: id, body: req}, decodeInto[Judge], opts)
}

// Delete deletes a judge. Deleting a judge that does not exist fails with
// [ErrNotFound], unless it is a retry after a lost response. It costs one
// request.
//
//	API:    DELETE /projects/{project}/judges/{judge}
//	Access: judges write
//	Status: assumed
func (s *JudgesService) Delete(ctx context.Context, id string, opts ...RequestOption) error {
	_, err := do(ctx, s.scope(), request{op: api.JudgesDelete, id: id}, decodeNone, opts)
	return err
}

// Ensure returns the judge of the given name and agent. It creates the judge if
// there is none, and updates it if it differs from what req describes (see
// [JudgeCreate.AsUpdate]). It refuses what [JudgesService.Create] refuses. For
// concurrent calls and errors, see [Ensured].
//
// It costs one request per 100 judges of the agent, one more to update the
// judge, and two more to create it; the key needs judges write too. For many
// judges, list them once with [JudgesService.All], and use [Judge.Diff].
//
//	API:    GET /projects/{project}/judges
//	Access: judges read
//	Status: assumed
func (s *JudgesService) Ensure(ctx context.Context, req JudgeCreate, opts ...RequestOption) (*Ensured[Judge], error) {
	if err := req.check(); err != nil {
		return nil, err
	}
	update := req.AsUpdate()
	e := ensuring[Judge]{
		scope: s.scope(), list: api.JudgesList, kind: "judge", identity: req.AgentName + "\x00" + req.Name,
		items:  s.All(ctx, &JudgeListParams{AgentName: req.AgentName}, alongside(opts)...),
		is:     func(j *Judge) bool { return j.Name == req.Name && (j.AgentName == req.AgentName || j.AgentName == "") },
		made:   func(j *Judge) (string, time.Time) { return j.ID, j.CreatedAt },
		diff:   func(j *Judge) []Change { return j.Diff(update) },
		create: func() (*Judge, error) { return s.Create(ctx, req, opts...) },
		update: func(id string) (*Judge, error) { return s.Update(ctx, id, update, opts...) },
		remove: func(id string) error { return s.Delete(ctx, id, alongside(opts)...) },
	}
	return e.ensure(ctx)
}

// Diff returns the changes that an update would make to j, in the order of the
// fields of [JudgeUpdate]. It sends no request. Use it to send an update only
// if something differs. A field that the service may omit is unset if it is
// zero, and clearing it is no change.
func (j *Judge) Diff(u JudgeUpdate) []Change { return diff(j, u) }
