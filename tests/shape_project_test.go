package tests

import (
	"context"

	"github.com/connic-go/connic"
)

var projectShapes = []shape{
	{
		name: "get", op: "project.get", method: "GET", path: "",
		call:   call1(func(ctx context.Context, c *connic.Client) (*connic.Project, error) { return c.Project.Get(ctx) }),
		answer: `{"id": "p-1", "name": "Shop", "git_provider": null}`,
		want:   &connic.Project{ID: "p-1", Name: "Shop"},
	},
	{
		name: "environments", op: "environments.list", method: "GET", path: "/environments",
		call: items(func(ctx context.Context, c *connic.Client) (*connic.Page[connic.Environment], error) {
			return c.Environments.List(ctx)
		}),
		answer: `[{"id": "e1", "name": "production", "env_type": "production", "is_default": true, "test_environment_id": "e2"},
			{"id": "e2", "name": "test", "env_type": "test", "is_ephemeral": true, "can_deploy": false, "can_use_dev_session": false, "deploy_gate_tests_enabled": false}]`,
		want: []*connic.Environment{
			{ID: "e1", Name: "production", Type: "production", IsDefault: true, TestEnvironmentID: "e2", CanDeploy: true, CanUseDevSession: true, DeployGateTestsEnabled: true},
			{ID: "e2", Name: "test", Type: "test", IsEphemeral: true},
		},
	},
}
