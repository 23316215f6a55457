package tests

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"mime"
	"mime/multipart"
	"testing"

	"github.com/connic-go/connic"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// oneFile checks a form with the project's files as the vendor's client sends it.
func oneFile(t *testing.T, contentType string, body []byte) {
	t.Helper()
	kind, params, err := mime.ParseMediaType(contentType)
	require.NoError(t, err)
	assert.Equal(t, "multipart/form-data", kind)
	form := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	part, err := form.NextPart()
	require.NoError(t, err)
	assert.Equal(t, "file", part.FormName())
	assert.Equal(t, "files.tar.gz", part.FileName())
	assert.Equal(t, "application/gzip", part.Header.Get("Content-Type"))
	unzipped, err := gzip.NewReader(part)
	require.NoError(t, err)
	content, err := io.ReadAll(unzipped)
	require.NoError(t, err)
	assert.Contains(t, string(content), "name: support")
	_, err = form.NextPart()
	assert.ErrorIs(t, err, io.EOF)
}

var devSessionShapes = []shape{
	{
		name: "create", op: "dev_sessions.create", method: "POST", path: "/test-sessions",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.DevSession, error) {
			return c.DevSessions.Create(ctx, connic.DevSessionCreate{Name: "mine"})
		}),
		body: `{"name": "mine"}`, answer: `{"id": "s1", "environment_id": "e1", "environment_name": "mine"}`,
		want: &connic.DevSession{ID: "s1", EnvironmentID: "e1", EnvironmentName: "mine", Name: "mine"},
	},
	{
		name: "create a throwaway one", op: "dev_sessions.create", method: "POST", path: "/test-sessions",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.DevSession, error) {
			return c.DevSessions.Create(ctx, connic.DevSessionCreate{})
		}),
		body: `{}`, answer: `{"id": 7, "environment_id": "e1", "environment_name": "dev-7"}`,
		want: &connic.DevSession{ID: "7", EnvironmentID: "e1", EnvironmentName: "dev-7"},
	},
	{
		name: "get", op: "dev_sessions.get", method: "GET", path: "/test-sessions/s1", root: true,
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.DevSession, error) {
			return c.DevSessions.Get(ctx, "s1")
		}),
		answer: `{"container_status": "running"}`, want: &connic.DevSession{ID: "s1", Container: connic.ContainerRunning},
	},
	{
		name: "get one that starts", op: "dev_sessions.get", method: "GET", path: "/test-sessions/s1", root: true,
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.DevSession, error) {
			return c.DevSessions.Get(ctx, "s1")
		}),
		answer: `{"id": "s1"}`, want: &connic.DevSession{ID: "s1", Container: connic.ContainerStarting},
	},
	{
		name: "status", op: "dev_sessions.status", method: "GET", path: "/test-sessions/s1/status", root: true,
		call: call1(func(ctx context.Context, c *connic.Client) (connic.DevSessionStatus, error) {
			return c.DevSessions.Status(ctx, "s1")
		}),
		answer: `{"status": "active"}`, want: connic.DevSessionActive,
	},
	{
		name: "sync", op: "dev_sessions.upload", method: "POST", path: "/test-sessions/s1/files", root: true,
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.DevSession, error) {
			return c.DevSessions.Sync(ctx, connic.DevSession{ID: "s1"}, projectTree)
		}),
		form: oneFile, answer: `{"files_hash": "0123456789ab", "size_bytes": 100}`, want: &connic.DevSession{ID: "s1"},
	},
	{
		name: "delete", op: "dev_sessions.delete", method: "DELETE", path: "/test-sessions/s1", root: true,
		call:   call1(func(ctx context.Context, c *connic.Client) (bool, error) { return c.DevSessions.Delete(ctx, "s1") }),
		answer: `{"environment_deleted": true}`, want: true,
	},
}

var bridgeShapes = []shape{
	{
		name: "routes", op: "bridges.routes", method: "GET", path: "/bridges/b1/routes",
		call: call1(func(ctx context.Context, c *connic.Client) ([]connic.BridgeRoute, error) {
			return c.Bridges.Routes(ctx, "b1")
		}),
		answer: `{"routes": [{"match_type": "exact", "target": "db.internal", "port": "5432"}, {"match_type": "glob", "target": "*"}]}`,
		want:   []connic.BridgeRoute{{MatchType: connic.BridgeExact, Target: "db.internal", Port: 5432}, {MatchType: "glob", Target: "*"}},
	},
	{
		name: "set", op: "bridges.set_routes", method: "PUT", path: "/bridges/b1/routes",
		call: call0(func(ctx context.Context, c *connic.Client) error {
			return c.Bridges.SetRoutes(ctx, "b1", []connic.BridgeRoute{{MatchType: connic.BridgeRegex, Target: "db[0-9]", Port: 80}})
		}),
		body: `{"routes": [{"match_type": "regex", "target": "db[0-9]", "port": 80}]}`, status: 204,
	},
	{
		name: "take all away", op: "bridges.set_routes", method: "PUT", path: "/bridges/b1/routes",
		call: call0(func(ctx context.Context, c *connic.Client) error { return c.Bridges.SetRoutes(ctx, "b1", nil) }),
		body: `{"routes": []}`, answer: `{"routes": []}`,
	},
}
