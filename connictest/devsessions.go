package connictest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/connic-go/connic"
)

// devSession is an active dev session.
type devSession struct {
	id, name, environment string
	runs                  time.Time // when its container starts running
	fails                 bool
	files                 map[string]string // as last sent
}

func (d *devSession) object(now time.Time) object {
	status := connic.ContainerStarting
	switch {
	case now.Before(d.runs):
	case d.fails:
		status = connic.ContainerFailed
	default:
		status = connic.ContainerRunning
	}
	return object{"id": d.id, "environment_id": d.environment, "environment_name": d.name, "container_status": string(status)}
}

// FailDevSessions determines whether the containers of dev sessions created
// from now on fail.
func (s *Server) FailDevSessions(fail bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failSessions = fail
}

// EndDevSession ends a dev session, as the service does with an idle one. It
// reports whether the session existed.
func (s *Server) EndDevSession(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.findSession(id)
	if d != nil {
		s.endSession(d)
	}
	return d != nil
}

// DevSessionFiles returns the files that were last sent to a dev session, or
// nil.
func (s *Server) DevSessionFiles(id string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.findSession(id); d != nil {
		return d.files
	}
	return nil
}

func (s *Server) findSession(id string) *devSession {
	for _, d := range s.sessions {
		if d.id == id {
			return d
		}
	}
	return nil
}

// endSession ends a session and reports whether the environment was deleted
// too. A named environment is kept for the next session.
func (s *Server) endSession(d *devSession) bool {
	s.sessions = slices.DeleteFunc(s.sessions, func(other *devSession) bool { return other == d })
	before := len(s.environments)
	s.environments = slices.DeleteFunc(s.environments, func(e environment) bool { return e.ID == d.environment && e.IsEphemeral })
	return len(s.environments) < before
}

func (s *Server) createSession(x *exchange) answer {
	var body struct {
		Name string `json:"name"`
	}
	if complaint := x.decode(&body); complaint != nil {
		return *complaint
	}
	d := &devSession{id: s.newID("session"), name: body.Name, runs: s.now().Add(s.phaseTime), fails: s.failSessions}
	for _, other := range s.sessions {
		if other.name == body.Name || body.Name == "" && strings.HasPrefix(other.name, "dev-") {
			return problem(http.StatusConflict, "A session is active already")
		}
	}
	if i := slices.IndexFunc(s.environments, func(e environment) bool { return body.Name != "" && e.Name == body.Name && e.Type == "test" }); i >= 0 {
		if s.environments[i].CannotUseDevSession {
			return problem(http.StatusForbidden, "The key may not use a dev session in this environment")
		}
		d.environment = s.environments[i].ID
	} else {
		if complaint := full(len(s.environments), maxEnvironments, "environments"); complaint != nil {
			return *complaint
		}
		d.environment = s.newID("env-dev")
		if d.name == "" {
			d.name = "dev-" + d.id
		}
		s.environments = append(s.environments, environment{ID: d.environment, Name: d.name, Type: "test", IsEphemeral: body.Name == ""})
	}
	s.sessions = append(s.sessions, d)
	s.changed(x, "dev_session", d.id, nil, d.object(s.now()))
	return ok(d.object(s.now()))
}

func (s *Server) getSession(x *exchange) answer {
	if d := s.findSession(x.id); d != nil {
		return ok(d.object(s.now()))
	}
	return notFound("Session")
}

func (s *Server) sessionStatus(x *exchange) answer {
	if s.findSession(x.id) != nil {
		return ok(object{"status": string(connic.DevSessionActive)})
	}
	return notFound("Session")
}

func (s *Server) deleteSession(x *exchange) answer {
	d := s.findSession(x.id)
	if d == nil {
		return notFound("Session")
	}
	s.changed(x, "dev_session", d.id, d.object(s.now()), nil)
	return ok(object{"environment_deleted": s.endSession(d)})
}

func (s *Server) uploadSession(x *exchange) answer {
	d := s.findSession(x.id)
	switch {
	case d == nil:
		return notFound("Session")
	case d.fails, s.now().Before(d.runs):
		return problem(http.StatusBadRequest, "The session's container does not run")
	}
	raw, complaint := x.sessionFiles()
	if complaint != nil {
		return *complaint
	}
	encoded := base64.StdEncoding.EncodeToString(raw)
	files, complaint := unpack(&encoded, nil)
	if complaint != nil {
		return *complaint
	}
	if d.files != nil && d.files["requirements.txt"] != files["requirements.txt"] {
		return problem(http.StatusConflict, "requirements.txt changed. Start a new session.")
	}
	d.files = files
	s.changed(x, "dev_session", d.id, nil, object{"files": len(files)})
	sum := sha256.Sum256(raw)
	return ok(object{"files_hash": hex.EncodeToString(sum[:])[:12], "size_bytes": len(raw)})
}

// sessionFiles reads the form, which has one part with the unmodified tar.gz.
func (x *exchange) sessionFiles() ([]byte, *answer) {
	kind, params, err := mime.ParseMediaType(x.contentType)
	if err != nil || kind != "multipart/form-data" {
		return nil, invalid("The body is not multipart/form-data", "type_error", "body")
	}
	form := multipart.NewReader(bytes.NewReader(x.body), params["boundary"])
	part, err := form.NextPart()
	if err != nil {
		return nil, invalid("Field required", "missing", "body", "file")
	}
	if part.FormName() != "file" || part.FileName() != "files.tar.gz" || part.Header.Get("Content-Type") != "application/gzip" {
		return nil, invalid("The part is not file, files.tar.gz, application/gzip", "type_error", "body", part.FormName())
	}
	raw, err := io.ReadAll(part)
	if err != nil {
		return nil, invalid("The form breaks off", "type_error", "body", "file")
	}
	if _, err := form.NextPart(); err != io.EOF {
		return nil, invalid("There is more than one part", "extra_forbidden", "body")
	}
	return raw, nil
}
