package tests

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
	"testing"

	"github.com/connic-go/connic"
	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	// The base URL has a path in front of the version, so that a path that was
	// built past it fails.
	baseURL   = "https://gateway.example/connic/v1"
	projectID = "p-1"
	testKey   = connic.APIKey("cnc_shape-test-key-0001")
)

// shape is what one call sends, and what it makes of the answer.
type shape struct {
	name string
	op   string // as in the operation table
	call func(ctx context.Context, c *connic.Client) (any, error)
	opts []connic.Option // for the client

	method string
	path   string // after the project, escaped
	root   bool   // the path has no project in front
	query  url.Values
	body   string // JSON; "" for no body
	// form, in place of body, checks a body that is not JSON.
	form func(t *testing.T, contentType string, body []byte)

	status int // 200 if it is 0
	header http.Header
	answer string
	want   any // what the call returns; nil if it returns an error only
}

// run makes the call against a transport that knows the one request.
func (s shape) run(t *testing.T) {
	t.Helper()
	mock := httpmock.NewMockTransport()
	var sent []*http.Request
	var body []byte
	status := s.status
	if status == 0 {
		status = http.StatusOK
	}
	base := baseURL + "/projects/" + projectID
	if s.root {
		base = baseURL
	}
	mock.RegisterResponder(s.method, base+s.path, func(r *http.Request) (*http.Response, error) {
		sent = append(sent, r)
		if r.Body != nil {
			var err error
			if body, err = io.ReadAll(r.Body); err != nil {
				return nil, err
			}
		}
		resp := httpmock.NewStringResponse(status, s.answer)
		resp.Header.Set("Content-Type", "application/json")
		maps.Copy(resp.Header, s.header)
		return resp, nil
	})
	mock.RegisterNoResponder(func(r *http.Request) (*http.Response, error) {
		t.Errorf("unexpected request: %s %s", r.Method, r.URL)
		return httpmock.NewStringResponse(http.StatusNotImplemented, `{"detail": "unexpected"}`), nil
	})
	client, err := connic.New(projectID, testKey, append([]connic.Option{
		connic.WithBaseURL(baseURL), connic.WithHTTPClient(&http.Client{Transport: mock}), connic.WithApplication("shapes", "1.0"),
	}, s.opts...)...)
	require.NoError(t, err)

	got, err := s.call(t.Context(), client)
	require.NoError(t, err)
	require.Len(t, sent, 1, "requests")
	r := sent[0]
	assert.Equal(t, []string{"Bearer " + string(testKey)}, r.Header.Values("Authorization"))
	assert.Equal(t, "application/json", r.Header.Get("Accept"))
	assert.Contains(t, r.Header.Get("User-Agent"), "shapes/1.0 connic-go/"+connic.Version)
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		assert.NotContains(t, r.Header, name, "net/http would repeat the request")
	}
	if s.query == nil {
		s.query = url.Values{}
	}
	assert.Equal(t, s.query, r.URL.Query())
	switch {
	case s.form != nil:
		s.form(t, r.Header.Get("Content-Type"), body)
	case s.body == "":
		assert.Empty(t, body)
		assert.Empty(t, r.Header.Get("Content-Type"))
	default:
		assert.Equal(t, "application/json", r.Header.Get("Content-Type"))
		assert.JSONEq(t, s.body, string(body))
	}
	if s.want != nil {
		assert.Equal(t, s.want, got)
	}
}

// shapes are the cases of all sections.
var shapes = map[string][]shape{
	"agents":    agentShapes,
	"runs":      runShapes,
	"knowledge": knowledgeShapes,
	"project":   projectShapes,
	"judges":    judgeShapes,
	"budgets":   budgetShapes,
	"audit":     auditShapes,

	"deployments": deploymentShapes,
	"test runs":   testRunShapes,

	"dev sessions": devSessionShapes,
	"bridges":      bridgeShapes,

	"approvals":  approvalShapes,
	"connectors": connectorShapes,
}

func TestShapes(t *testing.T) {
	t.Parallel()
	for section, cases := range shapes {
		for _, s := range cases {
			t.Run(section+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				s.run(t)
			})
		}
	}
}

// call0 adapts a method that returns an error only.
func call0(f func(ctx context.Context, c *connic.Client) error) func(context.Context, *connic.Client) (any, error) {
	return func(ctx context.Context, c *connic.Client) (any, error) { return nil, f(ctx, c) }
}

// call1 adapts a method that returns a value.
func call1[T any](f func(ctx context.Context, c *connic.Client) (T, error)) func(context.Context, *connic.Client) (any, error) {
	return func(ctx context.Context, c *connic.Client) (any, error) { return f(ctx, c) }
}

// items are the items of a page.
func items[T any](f func(ctx context.Context, c *connic.Client) (*connic.Page[T], error)) func(context.Context, *connic.Client) (any, error) {
	return func(ctx context.Context, c *connic.Client) (any, error) {
		page, err := f(ctx, c)
		if err != nil {
			return nil, err
		}
		return page.Items, nil
	}
}
