package connictest

import (
	"net/http"
	"slices"
	"strings"

	"github.com/connic-go/connic"
)

// judge is a judge of the project.
type judge struct {
	connic.Judge
	eligible    int           // runs that an automatic judge could have scored
	evaluations []*evaluation // oldest first
}

func (j *judge) object() object {
	criteria := make([]object, len(j.Criteria))
	for i, c := range j.Criteria {
		criteria[i] = object{"name": c.Name, "description": c.Description, "max_score": c.MaxScore}
	}
	filters := make([]object, len(j.Filters))
	for i, f := range j.Filters {
		filters[i] = object{"field": f.Field, "operator": string(f.Operator), "value": f.Value}
	}
	o := object{
		"id": j.ID, "name": j.Name, "agent_name": j.AgentName, "model": j.Model, "system_prompt": text(j.SystemPrompt),
		"include_agent_system_prompt": j.IncludeAgentSystemPrompt, "criteria": criteria, "trigger_mode": string(j.TriggerMode),
		"sample_rate": nil, "filters": filters, "filter_expression": text(j.FilterExpression), "enabled": j.Enabled,
		"score_alert": nil, "created_at": timestamp(j.CreatedAt), "updated_at": timestamp(j.UpdatedAt),
	}
	if j.SampleRate > 0 {
		o["sample_rate"] = j.SampleRate
	}
	if a := j.ScoreAlert; a != nil {
		o["score_alert"] = object{"threshold": a.Threshold, "window": a.Window}
	}
	return o
}

func (s *Server) findJudge(id string) *judge {
	for _, j := range s.judges {
		if j.ID == id {
			return j
		}
	}
	return nil
}

func (s *Server) listJudges(x *exchange) answer {
	var items []object
	for _, j := range s.judges {
		if !x.differs("agent_name", j.AgentName) {
			items = append(items, j.object())
		}
	}
	return x.page(items)
}

func (s *Server) getJudge(x *exchange) answer {
	if j := s.findJudge(x.id); j != nil {
		return ok(j.object())
	}
	return notFound("Judge")
}

func (s *Server) deleteJudge(x *exchange) answer {
	j := s.findJudge(x.id)
	if j == nil {
		return notFound("Judge")
	}
	s.judges = slices.DeleteFunc(s.judges, func(other *judge) bool { return other == j })
	s.changed(x, "judge", j.ID, j.object(), nil)
	return noContent()
}

// edit applies the fields of an update to a resource.
type edit struct{ complaint *answer }

func (e *edit) refuse(msg, kind, key string) {
	if e.complaint == nil {
		e.complaint = invalid(msg, kind, "body", key)
	}
}

// put sets or clears a field that the update contains, and leaves others
// unchanged.
func put[T any](e *edit, key string, n connic.Nullable[T], clearable bool, target *T) {
	value, ok := n.Get()
	switch {
	case n.IsNull() && !clearable:
		e.refuse("Input should not be null", "null_forbidden", key)
	case ok || n.IsNull():
		*target = value
	}
}

// changeJudge applies the body to a new or existing judge and validates the
// result.
func (s *Server) changeJudge(x *exchange, j *judge) *answer {
	var u connic.JudgeUpdate
	if complaint := x.decode(&u); complaint != nil {
		return complaint
	}
	e := new(edit)
	put(e, "name", u.Name, false, &j.Name)
	put(e, "agent_name", u.AgentName, false, &j.AgentName)
	put(e, "model", u.Model, false, &j.Model)
	put(e, "system_prompt", u.SystemPrompt, true, &j.SystemPrompt)
	put(e, "include_agent_system_prompt", u.IncludeAgentSystemPrompt, true, &j.IncludeAgentSystemPrompt)
	put(e, "criteria", u.Criteria, false, &j.Criteria)
	put(e, "trigger_mode", u.TriggerMode, false, &j.TriggerMode)
	put(e, "sample_rate", u.SampleRate, j.ID != "", &j.SampleRate) // a new judge has none to clear
	if rate, sent := u.SampleRate.Get(); sent && !(rate >= 1 && rate <= 100) {
		e.refuse("Input should be between 1 and 100", "value_error", "sample_rate")
	}
	put(e, "filters", u.Filters, true, &j.Filters)
	put(e, "filter_expression", u.FilterExpression, true, &j.FilterExpression)
	put(e, "enabled", u.Enabled, false, &j.Enabled)
	if alert, ok := u.ScoreAlert.Get(); ok {
		j.ScoreAlert = &alert
	} else if u.ScoreAlert.IsNull() {
		j.ScoreAlert = nil
	}
	if _, sent := u.SampleRate.Get(); j.TriggerMode == connic.JudgeManual && !sent {
		j.SampleRate = 0
	} else if j.TriggerMode == connic.JudgeAutomatic && j.SampleRate == 0 && !sent {
		j.SampleRate = 100
	}
	s.checkJudge(e, j)
	return e.complaint
}

func (s *Server) checkJudge(e *edit, j *judge) {
	if j.Model == "" {
		j.Model = "connictest/default" // a judge can be made without one: the service's choice
	}
	for key, value := range map[string]string{"name": j.Name, "agent_name": j.AgentName} {
		if value == "" {
			e.refuse("Field required", "missing", key)
		}
	}
	if j.AgentName != "" && s.findAgent(j.AgentName) == nil {
		e.refuse("There is no agent of this name", "value_error", "agent_name")
	}
	if provider, model, ok := strings.Cut(j.Model, "/"); j.Model != "" && (!ok || provider == "" || model == "") {
		e.refuse("Input should be of the form provider/model", "value_error", "model")
	}
	if len(j.Criteria) == 0 {
		e.refuse("List should have at least 1 item", "too_short", "criteria")
	}
	named := make(map[string]bool)
	for _, c := range j.Criteria {
		switch {
		case c.Name == "" || named[c.Name]:
			e.refuse("Each criterion needs a name of its own", "value_error", "criteria")
		case !(c.MaxScore > 0):
			e.refuse("max_score should be greater than 0", "greater_than", "criteria")
		}
		named[c.Name] = true
	}
	if !j.TriggerMode.Known() {
		e.refuse("Input should be 'automatic' or 'manual'", "enum", "trigger_mode")
	}
	if j.SampleRate != 0 && (j.SampleRate < 1 || j.SampleRate > 100 || j.TriggerMode != connic.JudgeAutomatic) {
		e.refuse("Input should be between 1 and 100, with the trigger mode automatic only", "value_error", "sample_rate")
	}
	for _, f := range j.Filters {
		if f.Field == "" || !f.Operator.Known() || (f.Value == nil && f.Operator != connic.FilterExists) {
			e.refuse("Each filter needs a field, an operator (equals, not_equals, contains, exists) and a value", "value_error", "filters")
		}
	}
	if a := j.ScoreAlert; a != nil {
		count, ok := a.Window.(float64)
		if a.Threshold < 0 || (a.Window != nil && (!ok || count < 1 || count != float64(int(count)))) {
			e.refuse("The fake knows thresholds of 0 and more, and windows that are a number of evaluations", "value_error", "score_alert")
		}
	}
}

func (s *Server) createJudge(x *exchange) answer {
	j := &judge{Judge: connic.Judge{TriggerMode: connic.JudgeManual, Enabled: true, CreatedAt: s.now(), UpdatedAt: s.now()}}
	if complaint := s.changeJudge(x, j); complaint != nil {
		return *complaint
	}
	if complaint := full(len(s.judges), maxResources, "judges"); complaint != nil {
		return *complaint
	}
	j.ID = s.newID("judge")
	s.judges = append(s.judges, j)
	s.changed(x, "judge", j.ID, nil, j.object())
	return reply(http.StatusCreated, j.object())
}

func (s *Server) updateJudge(x *exchange) answer {
	j := s.findJudge(x.id)
	if j == nil {
		return notFound("Judge")
	}
	after := *j
	if complaint := s.changeJudge(x, &after); complaint != nil {
		return *complaint
	}
	before := j.object()
	after.UpdatedAt = s.now()
	*j = after
	s.changed(x, "judge", j.ID, before, j.object())
	return ok(j.object())
}
