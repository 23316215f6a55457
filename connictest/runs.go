package connictest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/connic-go/connic"
)

func (s *Server) listAgents(x *exchange) answer {
	var items []object
	for _, a := range s.agents {
		if !x.differs("environment_id", a.environment) {
			items = append(items, a.object())
		}
	}
	return x.page(items)
}

func (s *Server) getAgent(x *exchange) answer {
	a := s.findAgent(x.id)
	if a == nil || x.differs("environment_id", a.environment) {
		return notFound("Agent")
	}
	return ok(a.object())
}

func (s *Server) triggerAgent(x *exchange) answer {
	a := s.findAgent(x.id)
	if a == nil {
		return notFound("Agent")
	}
	var body struct {
		Message json.RawMessage `json:"message"`
		Files   json.RawMessage `json:"files"`
	}
	if complaint := x.decode(&body); complaint != nil {
		return *complaint
	}
	if len(body.Message) > 0 && body.Message[0] != '"' {
		return *invalid("Input should be a valid string", "string_type", "body", "message")
	}
	if complaint := checkFiles(body.Files); complaint != nil {
		return *complaint
	}
	if complaint := s.fullOfRuns(); complaint != nil {
		return *complaint
	}
	r := s.start(a, x.body, "")
	s.changed(x, "run", r.id, nil, r.object(false))
	return started(r)
}

// checkFiles refuses anything but a list of files.
func checkFiles(raw json.RawMessage) *answer {
	if len(raw) == 0 {
		return nil
	}
	var files []struct {
		Name     string  `json:"name"`
		MIMEType string  `json:"mime_type"`
		Data     *string `json:"data"`
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&files); err != nil {
		return invalid(err.Error(), "type_error", "body", "files")
	}
	for _, f := range files {
		if f.Name == "" || f.MIMEType == "" || f.Data == nil {
			return invalid("Each file needs a name, a mime_type and data", "missing", "body", "files")
		}
		if _, err := base64.StdEncoding.DecodeString(*f.Data); err != nil {
			return invalid("The data of a file should be base64", "base64", "body", "files")
		}
	}
	return nil
}

// started is the response of the operations that start a run.
func started(r *run) answer {
	return ok(object{"run_id": r.id, "status": string(r.status), "agent_name": r.agent})
}

func (s *Server) getRun(x *exchange) answer {
	if r := s.findRun(x.id); r != nil {
		return ok(r.object(true))
	}
	return notFound("Run")
}

func (s *Server) cancelRun(x *exchange) answer {
	r := s.findRun(x.id)
	switch {
	case r == nil:
		return notFound("Run")
	case r.status == connic.RunCancelled: // again
	case r.status.Finished():
		return problem(http.StatusConflict, "The run has finished already")
	default:
		before := r.object(false)
		r.status = connic.RunCancelled
		s.withdraw(r)
		r.cancel()
		s.changed(x, "run", r.id, before, r.object(false))
	}
	return ok(r.object(false))
}

func (s *Server) rerunRun(x *exchange) answer {
	old := s.findRun(x.id)
	if old == nil {
		return notFound("Run")
	}
	a := s.findAgent(old.agent)
	if a == nil {
		return notFound("Agent")
	}
	if complaint := s.fullOfRuns(); complaint != nil {
		return *complaint
	}
	r := s.start(a, old.body, old.id)
	s.changed(x, "run", r.id, nil, r.object(false))
	return started(r)
}

func (s *Server) deleteRun(x *exchange) answer {
	r := s.findRun(x.id)
	switch {
	case r == nil:
		return notFound("Run")
	case !r.status.Finished():
		return problem(http.StatusConflict, "The run has not finished yet")
	}
	s.forget(func(other *run) bool { return other == r })
	s.changed(x, "run", r.id, r.object(false), nil)
	return noContent()
}

func (s *Server) listRuns(x *exchange) answer {
	after, complaint := x.time("created_after")
	if complaint != nil {
		return *complaint
	}
	before, complaint := x.time("created_before")
	if complaint != nil {
		return *complaint
	}
	for _, status := range x.query["status"] {
		if !connic.RunStatus(status).Known() {
			return *invalid("Input should be a run status", "enum", "query", "status")
		}
	}
	var items []object
	for _, r := range slices.Backward(s.runs) {
		switch {
		case x.differs("agent_name", r.agent), x.differs("environment_id", r.environment),
			x.differs("parent_run_id", r.parent), x.differs("deployment_id", ""):
		case len(x.query["status"]) > 0 && !slices.Contains(x.query["status"], string(r.status)):
		case !after.IsZero() && !r.created.After(after), !before.IsZero() && !r.created.Before(before):
		default:
			items = append(items, r.object(false))
		}
	}
	return x.page(items)
}

// differs reports whether a filter is set and excludes the value.
func (x *exchange) differs(name, value string) bool {
	want := x.param(name)
	return want != "" && !strings.EqualFold(want, value)
}
