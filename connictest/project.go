package connictest

import "slices"

// Environment is an environment of the project.
type Environment struct {
	ID, Name string
	// Type is "test" for an environment that is not deployed to by the vendor's
	// client. Other types are not known; the fake's own one is "production".
	Type    string
	Default bool
	// Test is the id of the environment that its tests run in; empty: itself.
	Test      string
	Ephemeral bool
	// The key may not deploy to it, or have a dev session in it.
	NoDeploy, NoDevSession bool
	// NoGateTests leaves out the tests of its deployments.
	NoGateTests bool
}

type environment = Environment

// Environments sets the environments of the project. Without it there are two:
// env-production, named production, the default, and env-test, named test, where
// its tests run.
func (s *Server) Environments(all ...Environment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.environments = slices.Clone(all)
}

// TrailingSlash makes the list of environments answer under the path with a slash
// at its end only, and redirect the other form to http, as some versions of the
// service did behind a proxy.
func (s *Server) TrailingSlash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slash = true
}

// GitProvider connects the project with a Git service, so that it refuses uploads
// of deployments; an empty name disconnects it.
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

// listEnvironments answers a bare array, which is the one list that is known.
func (s *Server) listEnvironments(*exchange) answer {
	items := make([]object, len(s.environments))
	for i := range s.environments {
		items[i] = s.environments[i].object()
	}
	return ok(items)
}

// findEnvironment returns the environment with an id, nil if there is none.
func (s *Server) findEnvironment(id string) *environment {
	for i := range s.environments {
		if s.environments[i].ID == id {
			return &s.environments[i]
		}
	}
	return nil
}

// defaultEnvironment is the first that is the default and not for tests, else the
// first that is not for tests, else the first; nil if there is none.
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
