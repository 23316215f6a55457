package connictest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/pack"
)

// An UploadedProject is a project that was uploaded as an archive.
type UploadedProject struct {
	ID            string // of the deployment or the test run
	EnvironmentID string
	Files         map[string]string // their contents, by path
	Filter        string            // of a test run
	Agents        []string          // the names of its agents
	// Cases are the cases of its test suites whose names contain the filter,
	// all of them passed. It is empty if a suite cannot be read.
	Cases []connic.TestCase
}

// PhaseTime sets how long each phase takes of deployments and test runs started
// from now on. The default is 1 s. With 0 they finish at once.
func (s *Server) PhaseTime(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phaseTime = d
}

// FailDeployment makes deployments fail in the build phase if f returns an
// error. f is called when a project arrives. A nil f makes all deployments
// succeed again.
func (s *Server) FailDeployment(f func(UploadedProject) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failDeployment = f
}

// Tests sets the function that determines the results of a project's tests, for
// test runs and for the tests phase of deployments, which fail with them. f is
// called when a project arrives, and may modify and return the Cases that it
// receives. Without it, the suites of the project are read and all cases pass,
// since the fake runs no tests. A test run has the status "error" if its suites
// cannot be read, do not name an agent of the project, or contain no case that
// matches the filter.
func (s *Server) Tests(f func(UploadedProject) []connic.TestCase) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tests = f
}

// examine returns the agents and cases of a project, and what is wrong with its
// suites. The caller holds the mutex.
func (s *Server) examine(x *exchange, p *UploadedProject) (cases []connic.TestCase, problem string) {
	p.Agents = agentNames(p.Files)
	all, problem := readSuites(p.Files, p.Agents)
	p.Cases = slices.DeleteFunc(all, func(c connic.TestCase) bool { return !strings.Contains(c.TestName, p.Filter) })
	if problem == "" && p.Filter != "" && len(p.Cases) == 0 {
		problem = fmt.Sprintf("No test has %q in its name", p.Filter)
	}
	if f := s.tests; f != nil {
		given := *p
		given.Cases = slices.Clone(p.Cases)
		cases, err := ask(x.ctx, s, "the function of Tests", func() []connic.TestCase { return slices.Clone(f(given)) })
		return cases, errorText(err)
	}
	return p.Cases, problem
}

// accepted are the folders that the fake accepts: those of the vendor's own
// client, and one that only the documentation names.
var accepted = pack.Selection{Folders: []string{"apps"}}

// unpack decodes files_data. The hash is verified unless it is nil.
func unpack(data, hash *string) (files map[string]string, complaint *answer) {
	bad := func(format string, args ...any) (map[string]string, *answer) {
		a := problem(http.StatusBadRequest, fmt.Sprintf(format, args...))
		return nil, &a
	}
	if data == nil {
		return nil, invalid("Field required", "missing", "body", "files_data")
	}
	archive, err := base64.StdEncoding.DecodeString(*data)
	if err != nil {
		return bad("files_data is not base64: %v", err)
	}
	if sum := sha256.Sum256(archive); hash != nil && *hash != hex.EncodeToString(sum[:])[:12] {
		return bad("files_hash is not the beginning of the archive's SHA-256")
	}
	if files, err = accepted.Read(archive); err != nil {
		return bad("The project is refused: %v", err)
	}
	return files, nil
}

// target returns the environment of an upload: the given one, or the one that
// fallback names.
func (s *Server) target(id string, fallback func() string) (*environment, *answer) {
	if id == "" {
		id = fallback()
	}
	if e := s.findEnvironment(id); e != nil {
		return e, nil
	}
	known := make([]string, len(s.environments))
	for i, e := range s.environments {
		known[i] = e.ID
	}
	a := problem(http.StatusNotFound, "Environment not found; expected the id of one: "+strings.Join(known, ", "))
	return nil, &a
}

// deployTarget returns the environment for a deployment that does not specify
// one: the default.
func (s *Server) deployTarget() string {
	if e := s.defaultEnvironment(); e != nil {
		return e.ID
	}
	return ""
}

// testTarget returns the environment for tests that do not specify one: the
// test environment of the default one, so never production unless there is
// nothing else.
func (s *Server) testTarget() string {
	e := s.defaultEnvironment()
	switch {
	case e == nil:
		return ""
	case e.TestEnvironmentID != "":
		return e.TestEnvironmentID
	}
	return e.ID
}
