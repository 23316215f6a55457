package chat

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/connic-go/connic"
)

// A speaker is what one agent says in a reply. It is guarded by the mutex of
// the reply.
type speaker struct {
	agent   string // empty if the service did not say
	assumed bool   // agent is the only one of the session, and was not named
	wanted  bool
	ended   bool
	text    []byte
	full    *string // the complete text, if the service has sent it
	read    int     // bytes of text that were yielded
	shown   bool    // full was yielded instead
	usage   connic.TokenUsage
	raw     json.RawMessage // the last message
	err     *connic.RunError
}

// whole returns the text as far as it is known.
func (p *speaker) whole() string {
	if p.full != nil {
		return *p.full
	}
	return string(p.text)
}

// unread returns what was not yielded before.
func (p *speaker) unread() string {
	if p.ended && len(p.text) == 0 && p.full != nil && !p.shown {
		p.shown = true
		return *p.full
	}
	chunk := string(p.text[p.read:])
	p.read = len(p.text)
	return chunk
}

// nameOf returns the name under which an agent is expected. Variants of an A/B
// test have names of their own, which begin with that of the agent.
func (r *Reply) nameOf(agent string) string {
	for name := agent; name != ""; name = name[:max(0, strings.LastIndex(name, "-test-"))] {
		if slices.Contains(r.expected, name) {
			return name
		}
	}
	return agent
}

// speaker returns the speaker with the given name, or nil if it has ended.
func (r *Reply) speaker(agent string) *speaker {
	name := r.nameOf(agent)
	var open *speaker // that is the only one
	several := false
	for _, p := range r.speakers {
		if name != "" && p.agent == name && !p.assumed {
			if p.ended {
				return nil
			}
			return p
		}
		if !p.ended {
			open, several = p, open != nil
		}
	}
	switch {
	case len(r.expected) == 0 && r.complete():
		return nil
	case len(r.expected) == 0 && open != nil && !several && (name == "" || open.assumed):
		if name != "" {
			open.agent, open.assumed = name, false
		}
		return open
	case len(r.expected) == 0:
		p := &speaker{agent: name, wanted: true, assumed: name == ""}
		if name == "" && len(r.agents) == 1 {
			p.agent = r.agents[0]
		}
		r.speakers = append(r.speakers, p)
		return p
	case name == "":
		if missing := r.pending(r.expected); len(missing) == 1 {
			return r.speaker(missing[0])
		}
		for _, p := range r.speakers {
			if p.agent == "" && !p.ended {
				return p
			}
		}
	}
	// Nobody knows whose an unnamed text is, so it is that of no agent in
	// particular.
	p := &speaker{agent: name, wanted: slices.Contains(r.agents, name) || (name == "" && len(r.agents) == len(r.expected))}
	r.speakers = append(r.speakers, p)
	return p
}

// pending returns the names that have not ended.
func (r *Reply) pending(names []string) []string {
	unnamed := 0
	for _, p := range r.speakers {
		if p.agent == "" && p.ended {
			unnamed++
		}
	}
	var missing []string
	for _, name := range names {
		if !slices.ContainsFunc(r.speakers, func(p *speaker) bool { return p.agent == name && p.ended }) {
			missing = append(missing, name)
		}
	}
	if len(missing) <= unnamed {
		return nil
	}
	return missing
}

// complete reports whether all agents have ended.
func (r *Reply) complete() bool {
	if len(r.expected) > 0 {
		return len(r.pending(r.expected)) == 0
	}
	ended := false
	for _, p := range r.speakers {
		if !p.ended {
			return false
		}
		ended = true
	}
	return ended
}

// answered reports whether all agents have ended whose answers are awaited.
func (r *Reply) answered() bool {
	if len(r.expected) > 0 {
		return len(r.pending(r.agents)) == 0
	}
	return r.complete()
}

// awaits reports whether the agent with the given name has not ended.
func (r *Reply) awaits(agent string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.complete() {
		return false
	}
	name := r.nameOf(agent)
	return name == "" || !slices.ContainsFunc(r.speakers, func(p *speaker) bool { return p.agent == name && p.ended && !p.assumed })
}

// owes reports whether the service may still send messages that cannot be told
// from those of next.
func (r *Reply) owes(next *Reply) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.expected) == 0 || len(next.expected) == 0 {
		return !r.complete()
	}
	return len(r.pending(next.agents)) > 0
}

func (r *Reply) isComplete() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.complete()
}

// isAbandoned reports whether the reply is over although not all agents have
// ended whose answers were awaited.
func (r *Reply) isAbandoned() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended && !r.answered()
}

// text returns what the agents have said. The caller holds the mutex.
func (r *Reply) text() string {
	var texts []string
	for _, p := range r.speakers {
		if whole := p.whole(); p.wanted && whole != "" {
			texts = append(texts, whole)
		}
	}
	return strings.Join(texts, separator)
}
