package connic_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/connic-go/connic"
)

// environments returns a client of a service with these environments, and
// records which one an upload or a test run names.
func environments(t *testing.T, list string, target *string, opts ...connic.Option) *connic.Client {
	t.Helper()
	transport := transportFunc(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/environments") {
			if r.URL.RawQuery != "" {
				t.Errorf("the list is asked for with %s", r.URL.RawQuery)
			}
			return response(r, 200, list), nil
		}
		*target = r.URL.Query().Get("environment_id")
		var body struct {
			EnvironmentID string `json:"environment_id"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		if body.EnvironmentID != "" {
			*target = body.EnvironmentID
		}
		return response(r, 200, `{"id": "x-1", "status": "queued"}`), nil
	})
	opts = append(opts, connic.WithHTTPClient(&http.Client{Transport: transport}), connic.WithoutRateLimit())
	return must[*connic.Client](t)(connic.New("p", canary, opts...))
}

const fourEnvironments = `[{"id": "t", "name": "test", "env_type": "test", "is_default": true},
	{"id": "s", "name": "Staging", "env_type": "production", "test_environment_id": "st"},
	{"id": "p", "name": "production", "env_type": "production", "is_default": true, "test_environment_id": "t"},
	{"id": "l", "name": "locked", "env_type": "production", "can_deploy": false},
	{"id": "d1", "name": "Twice", "env_type": "production"}, {"id": "d2", "name": "Twice"},
	{"id": "c1", "name": "Case"}, {"id": "c2", "name": "CASE"},
	{"id": "locked", "name": "named as an id"}]`

func TestEnvironmentsAreFoundAsTheVendorsClientDoes(t *testing.T) {
	t.Parallel()
	var target string
	c := environments(t, fourEnvironments, &target)
	for name, want := range map[string]string{
		"Staging": "s", "staging": "s", "STAGING": "s", "s": "s", "production": "p", "p": "p", "Case": "c1", "CASE": "c2",
		"locked": "locked", // an id, since the environment of that name does not accept deployments
		"Twice":  "conflict", "twice": "conflict", "case": "conflict",
		"test": "not found", "t": "not found", "l": "not found", "nowhere": "not found", "S": "not found", "": "not found",
	} {
		e, err := c.Environments.Find(t.Context(), name)
		got := ""
		switch {
		case errors.Is(err, connic.ErrConflict):
			got = "conflict"
		case errors.Is(err, connic.ErrNotFound):
			got = "not found"
		case err == nil:
			got = e.ID
		}
		if got != want {
			t.Errorf("%q is %s (%v), want %s", name, got, err, want)
		}
	}
}

func TestTheDefaultEnvironment(t *testing.T) {
	t.Parallel()
	for list, want := range map[string]string{
		fourEnvironments: "p",
		`[{"id": "t", "env_type": "test", "is_default": true}, {"id": "a"}, {"id": "b"}]`: "a",
		`[{"id": "t", "env_type": "test"}]`:                                               "",
		`[]`:                                                                              "",
		// A page that claims there are more, but only repeats itself.
		`{"items": [{"id": "a"}], "has_more": true, "next": "/x"}`: "loop",
	} {
		var target string
		transport := transportFunc(func(r *http.Request) (*http.Response, error) { return response(r, 200, list), nil })
		c := must[*connic.Client](t)(connic.New("p", canary, connic.WithHTTPClient(&http.Client{Transport: transport}), connic.WithoutRateLimit()))
		e, err := c.Environments.Default(t.Context())
		switch {
		case want == "loop" && !errors.Is(err, connic.ErrPageLoop), want == "" && !errors.Is(err, connic.ErrNotFound):
			t.Errorf("%s: %v, %v", list, e, err)
		case want != "loop" && want != "" && (err != nil || e.ID != want):
			t.Errorf("%s: %v, %v", list, e, err)
		}
		_ = target
	}
	// The default one may be on a later page.
	pages := transportFunc(func(r *http.Request) (*http.Response, error) {
		if r.URL.Query().Get("offset") == "1" {
			return response(r, 200, `{"items": [{"id": "b", "is_default": true}], "has_more": false}`), nil
		}
		return response(r, 200, `{"items": [{"id": "a"}], "has_more": true}`), nil
	})
	c := must[*connic.Client](t)(connic.New("p", canary, connic.WithHTTPClient(&http.Client{Transport: pages}), connic.WithoutRateLimit()))
	if e, err := c.Environments.Default(t.Context()); err != nil || e.ID != "b" {
		t.Errorf("%v, %v", e, err)
	}
}

// TestTestsDoNotRunInProduction starts tests and deployments without an
// environment.
func TestTestsDoNotRunInProduction(t *testing.T) {
	t.Parallel()
	test := func(ctx context.Context, c *connic.Client) error {
		_, err := c.TestRuns.Create(ctx, connic.TestRunCreate{Project: project})
		return err
	}
	deploy := func(ctx context.Context, c *connic.Client) error {
		_, err := c.Deployments.UploadFS(ctx, project, nil)
		return err
	}
	for name, want := range map[string]struct {
		call func(context.Context, *connic.Client) error
		own  string // the client's environment
		list string
		goes string
	}{
		"tests of nobody":            {test, "", fourEnvironments, "t"},
		"tests of production":        {test, "p", fourEnvironments, "t"},
		"tests of staging":           {test, "s", fourEnvironments, "st"},
		"tests of a test":            {test, "t", fourEnvironments, "t"},
		"tests without a place":      {test, "d1", fourEnvironments, "d1"},
		"tests of what is not there": {test, "gone", fourEnvironments, ""},
		"tests, and only tests":      {test, "", `[{"id": "t", "env_type": "test"}]`, ""},
		"a deployment of nobody":     {deploy, "", fourEnvironments, "p"},
		"a deployment of staging":    {deploy, "s", fourEnvironments, "s"},
		"a deployment to nowhere":    {deploy, "", `[{"id": "t", "env_type": "test"}]`, ""},
	} {
		var target string
		var opts []connic.Option
		if want.own != "" {
			opts = append(opts, connic.WithEnvironment(want.own))
		}
		err := want.call(t.Context(), environments(t, want.list, &target, opts...))
		if target != want.goes || (err == nil) != (want.goes != "") || (err != nil && !errors.Is(err, connic.ErrNotFound)) {
			t.Errorf("%s: %q, %v", name, target, err)
		}
	}
	// A key that may not list environments is not taken as permission.
	c := must[*connic.Client](t)(connic.New("p", canary, connic.WithHTTPClient(&http.Client{Transport: forbidden}), connic.WithoutRateLimit()))
	for _, call := range []func(context.Context, *connic.Client) error{test, deploy} {
		if err := call(t.Context(), c); !errors.Is(err, connic.ErrForbidden) || !strings.Contains(err.Error(), "specify its id") {
			t.Error(err)
		}
	}
}
