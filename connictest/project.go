package connictest

import "slices"

// An Environment is an environment of the project.
type Environment struct {
	ID, Name string
	// Type is "test" for an environment that the vendor's client does not
	// deploy to. Other types are not known; the fake uses "production".
	Type    string
	Default bool
	// Test is the id of the environment in which its tests run. Empty means the
	// environment itself.
	Test      string
	Ephemeral bool
	// NoDeploy and NoDevSession forbid the key to deploy to the environment, or
	// to have a dev session in it.
	NoDeploy, NoDevSession bool
	// NoGateTests skips the tests of its deployments.
	NoGateTests bool
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
		"id": e.ID, "name": e.Name, "env_type": e.Type, "is_default": e.Default, "test_environment_id": text(e.Test),
		"is_ephemeral": e.Ephemeral, "can_deploy": !e.NoDeploy, "can_use_dev_session": !e.NoDevSession,
		"deploy_gate_tests_enabled": !e.NoGateTests,
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
		case e.Type != "test" && e.Default:
			return e
		case found == nil, found.Type == "test" && e.Type != "test":
			found = e
		}
	}
	return found
}
