package connictest

// environment is an environment of the project.
type environment struct {
	ID, Name, Type string
	Default        bool
	Test           string
	Ephemeral      bool // goes with its dev session
}

// TrailingSlash makes the list of environments answer under the path with a slash
// at its end only, and redirect the other form to http, as some versions of the
// service do behind a proxy.
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

// listEnvironments answers a bare array, which is the one list that is known.
func (s *Server) listEnvironments(*exchange) answer {
	items := make([]object, len(s.environments))
	for i, e := range s.environments {
		items[i] = object{
			"id": e.ID, "name": e.Name, "env_type": e.Type, "is_default": e.Default,
			"test_environment_id": text(e.Test), "is_ephemeral": e.Ephemeral,
		}
	}
	return ok(items)
}
