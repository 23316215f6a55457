package connic

import (
	"context"
	"fmt"

	"github.com/connic-go/connic/internal/api"
)

// ProjectService reads the project that the client's key belongs to. Which
// permission that needs is not documented.
type ProjectService service

// Project is a Connic project.
type Project struct {
	ID   string `json:"id" api:"observed"`
	Name string `json:"name" api:"observed"`
	// GitProvider is the connected Git service, empty if there is none. A project
	// with a Git connection refuses uploads of deployments.
	GitProvider string `json:"git_provider,omitzero" api:"observed"`

	rawItem
}

// Get returns the project. It costs one request.
//
// API: GET /projects/{project}
// Access: undocumented
// Status: observed
func (s *ProjectService) Get(ctx context.Context, opts ...RequestOption) (*Project, error) {
	return do(ctx, s.client, request{op: api.ProjectGet}, decodeInto[Project], opts)
}

// EnvironmentsService reads the environments of the project. Some keys may not
// list them ([ErrForbidden]).
type EnvironmentsService service

// Environment is an environment of a project.
type Environment struct {
	ID   string `json:"id" api:"observed"`
	Name string `json:"name" api:"observed"` // may repeat within a project
	// Type is "test" or another word.
	Type              string `json:"env_type,omitzero" api:"observed"`
	IsDefault         bool   `json:"is_default,omitzero" api:"observed"`
	TestEnvironmentID string `json:"test_environment_id,omitzero" api:"observed"`
	IsEphemeral       bool   `json:"is_ephemeral,omitzero" api:"observed"`
	// CanDeploy and CanUseDevSession are true where the service does not say.
	CanDeploy        bool `json:"can_deploy" api:"observed,=true"`
	CanUseDevSession bool `json:"can_use_dev_session" api:"observed,=true"`

	rawItem
}

// List returns the environments, all on one page. It costs one request.
//
// API: GET /projects/{project}/environments
// Access: undocumented
// Status: observed
func (s *EnvironmentsService) List(ctx context.Context, opts ...RequestOption) (*Page[Environment], error) {
	l := listing[Environment]{
		name: "environments",
		id:   func(e *Environment) string { return e.ID },
	}
	return do(ctx, s.client, request{op: api.EnvironmentsList}, l.decode, opts)
}

// Find returns the environment with an id or, if there is none, with a name. A
// name that several environments have is an [ErrConflict]. It costs one request.
//
// API: GET /projects/{project}/environments
// Access: undocumented
// Status: observed
func (s *EnvironmentsService) Find(ctx context.Context, nameOrID string, opts ...RequestOption) (*Environment, error) {
	page, err := s.List(ctx, opts...)
	if err != nil {
		return nil, err
	}
	var found *Environment
	named := 0
	for _, e := range page.Items {
		if e.ID == nameOrID {
			return e, nil
		}
		if e.Name == nameOrID {
			found = e
			named++
		}
	}
	switch named {
	case 0:
		return nil, fmt.Errorf("connic: environments.find: %w: no environment has this name or id", ErrNotFound)
	case 1:
		return found, nil
	default:
		return nil, fmt.Errorf("connic: environments.find: %w: %d environments have this name; use an id", ErrConflict, named)
	}
}

// Default returns the project's default environment, or its only one. It costs
// one request.
//
// API: GET /projects/{project}/environments
// Access: undocumented
// Status: observed
func (s *EnvironmentsService) Default(ctx context.Context, opts ...RequestOption) (*Environment, error) {
	page, err := s.List(ctx, opts...)
	if err != nil {
		return nil, err
	}
	for _, e := range page.Items {
		if e.IsDefault || len(page.Items) == 1 {
			return e, nil
		}
	}
	return nil, fmt.Errorf("connic: environments.default: %w: no environment is the default", ErrNotFound)
}
