package connictest

import (
	"slices"

	"github.com/connic-go/connic"
)

// An Environment is an environment of the project, with the words of
// [connic.Environment]. Its zero flags are the usual ones.
type Environment struct {
	ID, Name string
	// Type is [connic.EnvironmentTest] for an environment that the vendor's
	// client does not deploy to. Other types are not known; the fake uses
	// "production".
	Type      string
	IsDefault bool
	// TestEnvironmentID is the environment in which its tests run. Empty means
	// the environment itself.
	TestEnvironmentID string
	IsEphemeral       bool
	// CannotDeploy and CannotUseDevSession forbid the key to deploy to the
	// environment, or to have a dev session in it.
	CannotDeploy, CannotUseDevSession bool
	// DeployGateTestsDisabled skips the tests of its deployments.
	DeployGateTestsDisabled bool
}

type environment = Environment

// Environments sets the environments of the project. By default there are two:
// env-production, named production, which is the default environment, and
// env-test, named test, in which the tests of the former run.
func (s *Server) Environments(all ...Environment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.environments = slices.Clone(all)
}

// TrailingSlash makes the list of environments respond only under the path with
// a trailing slash, and redirects the other form to http, as some versions of
// the service did behind a proxy.
func (s *Server) TrailingSlash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slash = true
}

// GitProvider connects the project to a Git service, so that it refuses uploads
// of deployments. An empty name disconnects it.
func (s *Server) GitProvider(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gitProvider = name
}

func (s *Server) getProject(*exchange) answer {
	return ok(object{"id": ProjectID, "name": "connictest", "git_provider": text(s.gitProvider)})
}

func (e *Environment) object() object {
	return object{
		"id": e.ID, "name": e.Name, "env_type": e.Type, "is_default": e.IsDefault, "test_environment_id": text(e.TestEnvironmentID),
		"is_ephemeral": e.IsEphemeral, "can_deploy": !e.CannotDeploy, "can_use_dev_session": !e.CannotUseDevSession,
		"deploy_gate_tests_enabled": !e.DeployGateTestsDisabled,
	}
}

// listEnvironments responds with a bare array, the only list format that is
// known.
func (s *Server) listEnvironments(*exchange) answer {
	items := make([]object, len(s.environments))
	for i := range s.environments {
		items[i] = s.environments[i].object()
	}
	return ok(items)
}

// findEnvironment returns the environment with the given id, or nil.
func (s *Server) findEnvironment(id string) *environment {
	for i := range s.environments {
		if s.environments[i].ID == id {
			return &s.environments[i]
		}
	}
	return nil
}

// defaultEnvironment returns the first default environment that is not for
// tests, else the first one that is not for tests, else the first one, or nil.
func (s *Server) defaultEnvironment() *environment {
	var found *environment
	for i := range s.environments {
		e := &s.environments[i]
		switch {
		case e.Type != connic.EnvironmentTest && e.IsDefault:
			return e
		case found == nil, found.Type == connic.EnvironmentTest && e.Type != connic.EnvironmentTest:
			found = e
		}
	}
	return found
}
