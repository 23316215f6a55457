package chat

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/lenient"
)

const (
	maxName   = 200 // characters of an id, a type or the name of an agent
	maxAgents = 100 // of a session
)

// A frame is a message from the service.
type frame struct {
	kind  string
	id    string
	agent string // who sent it; empty if not said
	keys  map[string]json.RawMessage
	// inner holds the keys of a nested payload or data object. Keys are looked
	// up in both.
	inner map[string]json.RawMessage
	data  []byte
}

// parse parses a message; one that is not an object has no kind.
func (s *Session) parse(data []byte) frame {
	f := frame{data: data}
	if json.Unmarshal(data, &f.keys) != nil {
		return frame{data: data}
	}
	for _, name := range [...]string{"payload", "data"} {
		if f.inner == nil {
			_ = json.Unmarshal(f.keys[name], &f.inner) // any other value stays what it is
		}
	}
	f.kind, f.id = text(f.keys["type"]), text(f.keys["id"])
	for _, keys := range [...]map[string]json.RawMessage{f.keys, f.inner} {
		for _, name := range [...]string{"agent", "agent_name"} {
			if f.agent == "" {
				f.agent = s.name(keys[name])
			}
		}
	}
	return f
}

// name returns the name of an agent, which may be an object.
func (s *Session) name(raw json.RawMessage) string {
	var object struct {
		Name string `json:"name"`
	}
	if raw = bytes.TrimSpace(raw); len(raw) > 0 && raw[0] == '{' && json.Unmarshal(raw, &object) == nil {
		return s.mask.Line(object.Name, maxName)
	}
	return s.mask.Line(text(raw), maxName)
}

// names returns the agents that a message names.
func (s *Session) names(f *frame) (names []string) {
	for _, keys := range [...]map[string]json.RawMessage{f.keys, f.inner} {
		var list []json.RawMessage
		if json.Unmarshal(keys["agents"], &list) != nil {
			continue
		}
		for _, raw := range list[:min(len(list), maxAgents)] {
			if name := s.name(raw); name != "" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// isReply reports whether f is a message that replies consist of.
func (f *frame) isReply() bool {
	switch f.kind {
	case "stream_start", "stream_chunk", "stream_end", "response":
		return true
	}
	return false
}

// isProgress reports whether f is of a type that is not documented.
func (f *frame) isProgress() bool { return f.kind != "ack" && f.kind != "error" && !f.isReply() }

// text returns the first of the keys that is present and not null.
func (f *frame) text(names ...string) (string, bool) {
	for _, name := range names {
		for _, keys := range [...]map[string]json.RawMessage{f.keys, f.inner} {
			if raw := bytes.TrimSpace(keys[name]); len(raw) > 0 && string(raw) != "null" {
				return text(raw), true
			}
		}
	}
	return "", false
}

// text returns the content of a JSON string, or else the JSON text.
func text(raw json.RawMessage) string {
	raw = bytes.TrimSpace(raw)
	var s string
	if len(raw) == 0 || string(raw) == "null" {
		return ""
	}
	if raw[0] == '"' && json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// full returns the complete text of a final message.
func (f *frame) full() (string, bool) {
	return f.text("full_response", "response", "content", "text", "message", "output")
}

func (f *frame) tokens() (u connic.TokenUsage) {
	raw, ok := f.text("token_usage", "usage")
	if !ok || lenient.Unmarshal([]byte(raw), &u) != nil {
		return connic.TokenUsage{}
	}
	return u
}

// failure returns the error of an agent that has failed according to a final
// message, or nil.
func (s *Session) failure(f *frame, agent string) *connic.RunError {
	status, _ := f.text("status")
	state := connic.RunStatus(status)
	var why string
	if f.kind == "error" {
		why, _ = f.text("message", "error", "detail", "content", "text")
	} else {
		why, _ = f.text("error")
		failed := why != "" && why != "false" && state != connic.RunCompleted
		if !failed && state != connic.RunFailed && state != connic.RunCancelled {
			return nil
		}
	}
	if state != connic.RunCancelled {
		state = connic.RunFailed
	}
	id, _ := f.text("run_id")
	return &connic.RunError{Run: &connic.Run{ID: s.mask.Line(id, maxName), AgentName: agent, Status: state, Error: s.line(why)}}
}

// approval reports whether a progress event announces that a run waits for an
// approval. The types and keys of these events are not documented.
func (f *frame) approval() bool {
	if !f.isProgress() {
		return false
	}
	kinds := []string{f.kind}
	for _, name := range [...]string{"event", "event_type", "kind"} {
		kind, _ := f.text(name)
		kinds = append(kinds, kind)
	}
	status, _ := f.text("status")
	if status == string(connic.RunAwaitingApproval) {
		return true
	}
	announced := false
	for _, kind := range kinds {
		kind = strings.ToLower(kind)
		announced = announced || strings.Contains(kind, "approval")
		for _, decided := range [...]string{"approved", "rejected", "denied", "granted", "decided", "decision", "resolved", "expired", "completed", "response", "result"} {
			if strings.Contains(kind, decided) || status == decided {
				return false
			}
		}
	}
	return announced
}
