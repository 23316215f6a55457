package connic

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// Runs are what clients read most, one by one and by the hundred, and the
// standard decoder spends most of its time on them looking at every byte twice.
// The functions of this file decode a run as services usually write one: texts
// without escapes and outside ASCII, plain numbers, times, null. Whatever is not
// like that they leave to the decoder of decode.go, which gets the whole body
// again; so they may give up at any time, and must only never accept what it
// would not, or take it for something else. FuzzQuickRun compares the two.

// quickRun decodes a run, or gives up. Like is a run whose texts it may share: the
// runs of a page have most names and ids in common.
func quickRun(body []byte, r, like *Run) bool {
	var other string // run_id
	ok := quickObject(body, func(key, value []byte) bool {
		switch string(key) {
		case "id":
			return quickText(value, &r.ID)
		case "run_id":
			return quickText(value, &other)
		case "agent_name":
			return quickShared(value, &r.AgentName, like.AgentName)
		case "status":
			return quickStatus(value, &r.Status)
		case "input":
			return quickText(value, &r.Input)
		case "output":
			return quickText(value, &r.Output)
		case "error":
			return quickText(value, &r.Error)
		case "run_context":
			r.Context = bytes.Clone(value)
			return json.Valid(value)
		case "traces":
			return quickSpans(value, &r.Traces)
		case "token_usage":
			return quickUsage(value, &r.TokenUsage)
		case "cost":
			return quickDecimal(value, &r.Cost)
		case "currency":
			return quickShared(value, &r.Currency, like.Currency)
		case "environment_id":
			return quickShared(value, &r.EnvironmentID, like.EnvironmentID)
		case "deployment_id":
			return quickShared(value, &r.DeploymentID, like.DeploymentID)
		case "parent_run_id":
			return quickShared(value, &r.ParentRunID, like.ParentRunID)
		case "connector_id":
			return quickShared(value, &r.ConnectorID, like.ConnectorID)
		case "created_at":
			return quickTime(value, &r.CreatedAt)
		case "started_at":
			return quickTime(value, &r.StartedAt)
		case "ended_at":
			return quickTime(value, &r.EndedAt)
		case "duration_ms":
			return quickFloat(value, &r.DurationMS)
		}
		return quickUnknown(key, value)
	})
	if r.ID == "" {
		r.ID = other
	}
	return ok
}

// quickTrigger decodes the usual answer to a trigger, or gives up.
func quickTrigger(body []byte, r *TriggerResult) bool {
	return quickObject(body, func(key, value []byte) bool {
		switch string(key) {
		case "run_id":
			return quickText(value, &r.RunID)
		case "status":
			return quickStatus(value, &r.Status)
		case "agent_name":
			return quickText(value, &r.AgentName)
		case "id", "run", "run_ids", "output", "response":
			return false
		}
		return quickUnknown(key, value)
	}) && r.RunID != ""
}

// quickRuns decodes an array of runs, or gives up.
func quickRuns(array []byte) ([]*Run, bool) {
	runs := make([]Run, 0, countHint(array))
	if !quickArray(array, func(value []byte) bool {
		runs = append(runs, Run{})
		last := len(runs) - 1
		return quickRun(value, &runs[last], &runs[max(last-1, 0)])
	}) {
		return nil, false
	}
	items := make([]*Run, len(runs))
	for i := range runs {
		items[i] = &runs[i]
	}
	return items, true
}

// quickSpans decodes an array of spans, or gives up.
func quickSpans(array []byte, spans *[]Span) bool {
	if string(array) == "null" {
		return true
	}
	if *spans != nil {
		return false // the key stands there twice
	}
	*spans = make([]Span, 0, spanHint(array))
	return quickArray(array, func(value []byte) bool {
		*spans = append(*spans, Span{})
		s := &(*spans)[len(*spans)-1]
		return quickObject(value, func(key, value []byte) bool {
			switch string(key) {
			case "span_id":
				return quickText(value, &s.ID)
			case "parent_span_id":
				return quickText(value, &s.ParentID)
			case "span_order":
				var order int64
				ok := quickInt(value, &order)
				s.Order = int(order)
				return ok
			case "name":
				return quickText(value, &s.Name)
			case "type":
				return quickText(value, &s.Type)
			case "status":
				if string(value) == `"ok"` {
					s.Status = "ok"
					return true
				}
				return quickText(value, &s.Status)
			case "start_time":
				return quickTime(value, &s.StartTime.Time)
			case "duration_ms":
				return quickFloat(value, &s.DurationMS)
			case "metadata_json":
				return quickEscaped(value, &s.Metadata)
			}
			return quickUnknown(key, value)
		})
	})
}

// spanHint guesses how many spans there are. Unlike a page, a run may have very
// many.
func spanHint(array []byte) int {
	return max(countHint(array), min(bytes.Count(array, []byte(`"span_id"`)), 1<<20))
}

// quickUsage decodes token counts, or gives up; also where they are spelt in the
// other way.
func quickUsage(object []byte, u *TokenUsage) bool {
	if string(object) == "null" {
		return true
	}
	return quickObject(object, func(key, value []byte) bool {
		switch string(key) {
		case "input":
			return quickInt(value, &u.Input)
		case "output":
			return quickInt(value, &u.Output)
		case "thinking":
			return quickInt(value, &u.Thinking)
		case "cached":
			return quickInt(value, &u.Cached)
		case "total":
			return quickInt(value, &u.Total)
		}
		return !bytes.HasSuffix(key, []byte("_tokens")) && quickUnknown(key, value)
	})
}

// quickObject visits the members of an object until visit gives up.
func quickObject(data []byte, visit func(key, value []byte) bool) bool {
	i := skipSpace(data, 0)
	if i >= len(data) || data[i] != '{' {
		return false
	}
	if i = skipSpace(data, i+1); i < len(data) && data[i] == '}' {
		return skipSpace(data, i+1) == len(data)
	}
	for i < len(data) && data[i] == '"' {
		end, ok := skipString(data, i)
		if !ok {
			return false
		}
		key := data[i+1 : end-1]
		if i = skipSpace(data, end); i >= len(data) || data[i] != ':' {
			return false
		}
		i = skipSpace(data, i+1)
		if end, ok = skipValue(data, i); !ok || !visit(key, data[i:end]) {
			return false
		}
		if i = skipSpace(data, end); i >= len(data) {
			return false
		}
		switch data[i] {
		case ',':
			i = skipSpace(data, i+1)
		case '}':
			return skipSpace(data, i+1) == len(data)
		default:
			return false
		}
	}
	return false
}

// quickArray visits the elements of an array until visit gives up.
func quickArray(data []byte, visit func(value []byte) bool) bool {
	i := skipSpace(data, 0)
	if i >= len(data) || data[i] != '[' {
		return false
	}
	if i = skipSpace(data, i+1); i < len(data) && data[i] == ']' {
		return skipSpace(data, i+1) == len(data)
	}
	for i < len(data) {
		end, ok := skipValue(data, i)
		if !ok || !visit(data[i:end]) {
			return false
		}
		if i = skipSpace(data, end); i >= len(data) {
			return false
		}
		switch data[i] {
		case ',':
			i = skipSpace(data, i+1)
		case ']':
			return skipSpace(data, i+1) == len(data)
		default:
			return false
		}
	}
	return false
}

// quickUnknown accepts a member that is not known. A key in other letters may be
// one that the standard decoder knows.
func quickUnknown(key, value []byte) bool {
	for _, c := range key {
		if c <= ' ' || c >= 0x7f || c == '\\' || (c >= 'A' && c <= 'Z') {
			return false
		}
	}
	return json.Valid(value)
}

// quickText reads a text of printable ASCII without escapes. null leaves s alone.
func quickText(value []byte, s *string) bool {
	text, ok := quickString(value)
	if ok && text != nil {
		*s = string(text)
	}
	return ok
}

// quickShared is quickText for a text that is often equal to another one.
func quickShared(value []byte, s *string, like string) bool {
	text, ok := quickString(value)
	if ok && text != nil {
		if string(text) != like {
			like = string(text)
		}
		*s = like
	}
	return ok
}

// quickString returns the content of such a text, nil for null.
func quickString(value []byte) ([]byte, bool) {
	n := len(value)
	if n < 2 || value[0] != '"' || value[n-1] != '"' {
		return nil, string(value) == "null"
	}
	text := value[1 : n-1]
	for _, c := range text {
		if c < ' ' || c >= 0x7f || c == '\\' || c == '"' {
			return nil, false
		}
	}
	return text, true
}

// quickEscaped reads a text that may have the short escapes, as JSON in a text
// has many.
func quickEscaped(value []byte, s *string) bool {
	n := len(value)
	if n < 2 || value[0] != '"' || value[n-1] != '"' {
		return string(value) == "null"
	}
	text := value[1 : n-1]
	var b strings.Builder
	b.Grow(len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c < ' ' || c >= 0x7f || c == '"' {
			return false
		}
		if c == '\\' {
			if i++; i == len(text) {
				return false
			}
			switch text[i] {
			case '"', '\\', '/':
				c = text[i]
			case 'n':
				c = '\n'
			case 't':
				c = '\t'
			case 'r':
				c = '\r'
			default:
				return false
			}
		}
		b.WriteByte(c)
	}
	*s = b.String()
	return true
}

func quickStatus(value []byte, s *RunStatus) bool {
	text, ok := quickString(value)
	if !ok || text == nil {
		return ok
	}
	switch string(text) { // these need not be allocated
	case string(RunCompleted):
		*s = RunCompleted
	case string(RunRunning):
		*s = RunRunning
	case string(RunQueued):
		*s = RunQueued
	case string(RunFailed):
		*s = RunFailed
	default:
		*s = RunStatus(text)
	}
	return true
}

func quickTime(value []byte, t *time.Time) bool {
	parsed, err := parseTime(value)
	*t = parsed
	return err == nil && (len(value) == 0 || value[0] == '"' || value[0] == 'n') && json.Valid(value)
}

func quickDecimal(value []byte, d *Decimal) bool {
	if text, ok := quickString(value); ok {
		if text == nil {
			*d = Decimal{}
			return true
		}
		return d.UnmarshalJSON(value) == nil
	}
	return quickNumber(value) && d.UnmarshalJSON(value) == nil
}

func quickInt(value []byte, n *int64) bool {
	if string(value) == "null" {
		return true
	}
	parsed, err := strconv.ParseInt(string(value), 10, 64)
	*n = parsed
	return err == nil && quickNumber(value)
}

func quickFloat(value []byte, f *float64) bool {
	if string(value) == "null" {
		return true
	}
	parsed, err := strconv.ParseFloat(string(value), 64)
	*f = parsed
	return err == nil && quickNumber(value)
}

// quickNumber reports whether value is a JSON number without an exponent.
func quickNumber(value []byte) bool {
	i := 0
	if i < len(value) && value[i] == '-' {
		i++
	}
	start := i
	for i < len(value) && isDigit(value[i]) {
		i++
	}
	if i == start || (value[start] == '0' && i-start > 1) {
		return false
	}
	if i < len(value) && value[i] == '.' {
		start = i + 1
		for i++; i < len(value) && isDigit(value[i]); i++ {
		}
		if i == start {
			return false
		}
	}
	return i == len(value)
}
