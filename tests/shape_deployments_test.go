package tests

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"testing"
	"testing/fstest"
	"time"

	"github.com/connic-go/connic"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var projectTree = fstest.MapFS{"agents/support.yaml": {Data: []byte("name: support")}}

// archived checks a body with an archive: the keys besides it, in JSON. A hash is
// only checked for its form; the fake checks it by the archive.
func archived(want string) func(t *testing.T, contentType string, body []byte) {
	return func(t *testing.T, contentType string, body []byte) {
		t.Helper()
		assert.Equal(t, "application/json", contentType)
		var keys map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(body, &keys))
		var archive []byte
		require.NoError(t, json.Unmarshal(keys["files_data"], &archive))
		unzipped, err := gzip.NewReader(bytes.NewReader(archive))
		require.NoError(t, err)
		content, err := io.ReadAll(unzipped)
		require.NoError(t, err)
		assert.Contains(t, string(content), "name: support")
		if hash, ok := keys["files_hash"]; ok {
			assert.Regexp(t, `^"[0-9a-f]{12}"$`, string(hash))
			keys["files_hash"] = json.RawMessage(`"hash"`)
		}
		delete(keys, "files_data")
		rest, err := json.Marshal(keys)
		require.NoError(t, err)
		assert.JSONEq(t, want, string(rest))
	}
}

var deploymentShapes = []shape{
	{
		name: "list", op: "deployments.list", method: "GET", path: "/deployments",
		call: items(func(ctx context.Context, c *connic.Client) (*connic.Page[connic.Deployment], error) {
			return c.Deployments.List(ctx, &connic.DeploymentListParams{EnvironmentID: "e1", Status: connic.DeploymentFailed, Limit: 10, Offset: 20})
		}),
		query:  url.Values{"environment_id": {"e1"}, "status": {"failed"}, "limit": {"10"}, "offset": {"20"}},
		answer: `{"deployments": [{"id": "d1", "status": "failed"}, {"id": 2, "is_active": true}], "total": "22"}`,
		want:   []*connic.Deployment{{ID: "d1", Status: connic.DeploymentFailed}, {ID: "2", Active: true}},
	},
	{
		name: "get", op: "deployments.get", method: "GET", path: "/deployments/d1",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Deployment, error) {
			return c.Deployments.Get(ctx, "d1")
		}),
		answer: `{"id": "d1", "environment_id": "e1", "status": "deployed", "phase": "deploy", "is_active": true, "source": "git",
			"commit_sha": "0a1b", "branch": "main", "agents": ["a", {"name": "b", "type": "llm"}], "error": null,
			"created_at": "2026-11-23T00:00:00Z", "finished_at": "2026-11-23 12:00:00", "owner": "somebody"}`,
		want: &connic.Deployment{
			ID: "d1", EnvironmentID: "e1", Status: connic.DeploymentDeployed, Phase: "deploy", Active: true, Source: "git",
			CommitSHA: "0a1b", Branch: "main", Agents: []string{"a", "b"}, CreatedAt: day, FinishedAt: day.Add(12 * time.Hour),
		},
	},
	{
		name: "upload", op: "deployments.upload", method: "POST", path: "/deploy/upload",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Deployment, error) {
			return c.Deployments.UploadFS(ctx, projectTree, &connic.UploadParams{EnvironmentID: "e1", SkipTests: true})
		}),
		query: url.Values{"environment_id": {"e1"}}, form: archived(`{"files_hash": "hash", "skip_tests": true}`),
		header: http.Header{"X-Deployment-Queued": {"true"}}, answer: `{"id": "d1"}`,
		want: &connic.Deployment{ID: "d1", EnvironmentID: "e1", Queued: true},
	},
	{
		name: "upload of the least", op: "deployments.upload", method: "POST", path: "/deploy/upload",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Deployment, error) {
			return c.Deployments.UploadFS(ctx, projectTree, nil)
		}),
		opts: []connic.Option{connic.WithEnvironment("e2")}, query: url.Values{"environment_id": {"e2"}},
		form: archived(`{"files_hash": "hash", "skip_tests": false}`), answer: `{"deployment_id": 7, "status": "queued"}`,
		want: &connic.Deployment{ID: "7", EnvironmentID: "e2", Status: connic.DeploymentQueued},
	},
	{
		name: "activate", op: "deployments.activate", method: "POST", path: "/deployments/d1/activate",
		call: call0(func(ctx context.Context, c *connic.Client) error { return c.Deployments.Activate(ctx, "d1") }), status: 204,
	},
}

var testRunShapes = []shape{
	{
		name: "create", op: "test_runs.create", method: "POST", path: "/test-runs",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.TestRun, error) {
			return c.TestRuns.Create(ctx, connic.TestRunCreate{EnvironmentID: "e1", Project: projectTree, Filter: `a"b`})
		}),
		form: archived(`{"environment_id": "e1", "test_filter": "a\"b"}`), status: 202, answer: `{"id": "t1", "status": "queued"}`,
		want: &connic.TestRun{ID: "t1", Status: connic.TestRunQueued},
	},
	{
		name: "create of the least", op: "test_runs.create", method: "POST", path: "/test-runs",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.TestRun, error) {
			return c.TestRuns.Create(ctx, connic.TestRunCreate{EnvironmentID: "e2", Project: projectTree})
		}),
		form: archived(`{"environment_id": "e2"}`), answer: `{"test_run_id": "t1"}`, want: &connic.TestRun{ID: "t1"},
	},
	{
		name: "get", op: "test_runs.get", method: "GET", path: "/test-runs/t1",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.TestRun, error) { return c.TestRuns.Get(ctx, "t1") }),
		answer: `{"id": "t1", "status": "failed", "phase": "done", "total_cases": 2, "error": null, "deployment_id": "d1", "cases": [
			{"agent_name": "a", "test_name": "n", "passed": false, "successes": 1, "runs": "4", "success_threshold": 75,
			"failure_reason": "why", "agent_run_ids": ["r1"], "agent_run_passed": [true]}, {"test_name": "m", "passed": true}]}`,
		want: &connic.TestRun{
			ID: "t1", Status: connic.TestRunFailed, Phase: connic.PhaseDone, TotalCases: 2, DeploymentID: "d1", Cases: []connic.TestCase{
				{
					AgentName: "a", TestName: "n", Successes: 1, Runs: 4, SuccessThreshold: 75, FailureReason: "why",
					AgentRunIDs: []string{"r1"}, AgentRunPassed: []bool{true},
				},
				{TestName: "m", Passed: true, SuccessThreshold: 100},
			},
		},
	},
}
