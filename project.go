package connic

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/list"
)

// ProjectService reads the project that the client belongs to. The required
// permission is not documented.
type ProjectService service

func (s *ProjectService) scope() *scope { return (*service)(s).scope() }

// A Project is a Connic project.
type Project struct {
	ID   string `json:"id" api:"observed"`
	Name string `json:"name" api:"observed"`
	// GitProvider is the connected Git service, or "". A project with a Git
	// connection refuses uploads of deployments.
	GitProvider string `json:"git_provider,omitzero" api:"observed"`

	RawItem
}

// Get returns the project. It costs one request.
//
//	API:    GET /projects/{project}
//	Access: undocumented
//	Status: observed
func (s *ProjectService) Get(ctx context.Context, opts ...RequestOption) (*Project, error) {
	return do(ctx, s.scope(), request{op: api.ProjectGet}, decodeInto[Project], opts)
}

// EnvironmentsService reads the environments of the project. Some keys may not
// list them ([ErrForbidden]).
type EnvironmentsService service

func (s *EnvironmentsService) scope() *scope { return (*service)(s).scope() }

// An Environment is an environment of a project.
type Environment struct {
	ID   string `json:"id" api:"observed"`
	Name string `json:"name" api:"observed"` // not necessarily unique within a project
	// Type is EnvironmentTest or another value.
	Type      string `json:"env_type,omitzero" api:"observed"`
	IsDefault bool   `json:"is_default,omitzero" api:"observed"`
	// TestEnvironmentID is the environment in which the tests of this
	// environment run.
	TestEnvironmentID string `json:"test_environment_id,omitzero" api:"observed"`
	IsEphemeral       bool   `json:"is_ephemeral,omitzero" api:"observed"` // deleted with the dev session that created it
	// The last three fields are true if the service omits them. If
	// DeployGateTestsEnabled is set, a deployment first runs the tests of the
	// project.
	CanDeploy              bool `json:"can_deploy" api:"observed,=true"`
	CanUseDevSession       bool `json:"can_use_dev_session" api:"observed,=true"`
	DeployGateTestsEnabled bool `json:"deploy_gate_tests_enabled" api:"observed,=true"`

	RawItem
}

// EnvironmentTest is the Type of environments for tests and dev sessions.
const EnvironmentTest = "test"

// takesDeployments reports whether code can be deployed to the environment.
func (e *Environment) takesDeployments() bool { return e.Type != EnvironmentTest && e.CanDeploy }

func environmentListing(s *EnvironmentsService) listing[Environment] {
	return listing[Environment]{
		scope: s.scope(), request: request{op: api.EnvironmentsList}, name: "environments",
		id: func(e *Environment) string { return e.ID },
	}
}

// List returns the environments, presumably all on one page. It costs one
// request.
//
//	API:    GET /projects/{project}/environments
//	Access: undocumented
//	Status: observed
func (s *EnvironmentsService) List(ctx context.Context, opts ...RequestOption) (*Page[Environment], error) {
	return environmentListing(s).page(ctx, opts)
}

// everything returns the environments of all pages, in the order of the
// service.
func (s *EnvironmentsService) everything(ctx context.Context, opts []RequestOption) ([]*Environment, error) {
	var all []*Environment
	l := environmentListing(s) // the only known form of the request has no parameters
	err := l.walk(ctx, list.NewWalk(l.id, list.Position{}), opts, func(e *Environment) bool {
		all = append(all, e)
		return true
	})
	return all, err
}

// Find returns the deployable environment with the given name or id: it looks
// for an exact match of the name, then for the name in any letter case, then
// for the id. Environments of type test and those that do not accept
// deployments are ignored; use [EnvironmentsService.List] to see them. If
// several environments share the name, the error is [ErrConflict]; if none
// matches, it is [ErrNotFound]. It costs one request.
//
//	API:    GET /projects/{project}/environments
//	Access: undocumented
//	Status: observed
func (s *EnvironmentsService) Find(ctx context.Context, nameOrID string, opts ...RequestOption) (*Environment, error) {
	all, err := s.everything(ctx, opts)
	if err != nil {
		return nil, err
	}
	rules := []func(e *Environment) bool{
		func(e *Environment) bool { return e.Name == nameOrID },
		func(e *Environment) bool { return strings.EqualFold(e.Name, nameOrID) },
		func(e *Environment) bool { return e.ID == nameOrID },
	}
	if nameOrID == "" {
		return nil, fmt.Errorf("connic: environments.find: %w: the name is empty", ErrNotFound)
	}
	passedOver := false
	for _, is := range rules {
		var found []*Environment
		for _, e := range all {
			switch {
			case !is(e):
			case e.takesDeployments():
				found = append(found, e)
			default:
				passedOver = true
			}
		}
		switch {
		case len(found) == 1:
			return found[0], nil
		case len(found) > 1:
			return nil, fmt.Errorf("connic: environments.find: %w: %d environments have this name; use an id", ErrConflict, len(found))
		}
	}
	if passedOver {
		return nil, fmt.Errorf("connic: environments.find: %w: the environment is for tests, or does not accept deployments", ErrNotFound)
	}
	return nil, fmt.Errorf("connic: environments.find: %w: no environment has this name or id", ErrNotFound)
}

// Default returns the environment that a deployment goes to if none is
// specified: the default environment, or else the first one. Environments of
// type test are ignored. If there is none, the error is [ErrNotFound]. It costs
// one request.
//
//	API:    GET /projects/{project}/environments
//	Access: undocumented
//	Status: observed
func (s *EnvironmentsService) Default(ctx context.Context, opts ...RequestOption) (*Environment, error) {
	all, err := s.everything(ctx, opts)
	if err != nil {
		return nil, err
	}
	return defaultOf(all)
}

func defaultOf(all []*Environment) (*Environment, error) {
	var first *Environment
	for _, e := range all {
		switch {
		case e.Type == EnvironmentTest:
		case e.IsDefault:
			return e, nil
		case first == nil:
			first = e
		}
	}
	if first == nil {
		return nil, fmt.Errorf("connic: environments.default: %w: all environments are for tests", ErrNotFound)
	}
	return first, nil
}

// target returns the id of the environment for a deployment that does not
// specify one.
func (s *EnvironmentsService) target(ctx context.Context, op api.Op, opts []RequestOption) (string, error) {
	all, err := s.everything(ctx, alongside(opts))
	if err != nil {
		return "", noTarget(op, err)
	}
	e, err := defaultOf(all)
	if err != nil {
		return "", noTarget(op, err)
	}
	return e.ID, nil
}

// testTarget returns the id of the environment for a test run that does not
// specify one: the test environment of the client's environment, or else of the
// default one.
func (s *EnvironmentsService) testTarget(ctx context.Context, op api.Op, opts []RequestOption) (string, error) {
	all, err := s.everything(ctx, alongside(opts))
	if err != nil {
		return "", noTarget(op, err)
	}
	var chosen *Environment
	if own := s.scope().environment; own == "" {
		if chosen, err = defaultOf(all); err != nil {
			return "", noTarget(op, err)
		}
	} else if i := slices.IndexFunc(all, func(e *Environment) bool { return e.ID == own }); i >= 0 {
		chosen = all[i]
	} else {
		return "", noTarget(op, fmt.Errorf("%w: the client's environment is not listed", ErrNotFound))
	}
	return cmp.Or(chosen.TestEnvironmentID, chosen.ID), nil
}

func noTarget(op api.Op, err error) error {
	return fmt.Errorf("connic: %s: no environment is specified, and none can be chosen; specify its id: %w", api.Table[op].Name, err)
}

// alongside returns the options of a call that also apply to an additional
// request it makes.
func alongside(opts []RequestOption) []RequestOption {
	return append(slices.Clone(opts), func(o *callOptions) { o.query, o.capture, o.fields = nil, nil, nil })
}
