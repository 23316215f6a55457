package connic_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/api/coverage/source"
)

// These tests keep three sources consistent: the operation table, the comments
// of the methods, and what the methods do.

func TestCommentsAgreeWithTheTable(t *testing.T) {
	t.Parallel()
	all := methods(t)
	for _, m := range all {
		op := m.Operation()
		switch {
		case m.API == "" || m.Access == "" || m.Status == "":
			t.Errorf("%s: the comment does not end with the lines API, Access and Status", m)
		case op == nil:
			t.Errorf("%s: there is no operation %s", m, m.API)
		case m.Access != source.Access(op):
			t.Errorf("%s: Access is %q, and %q in the table", m, m.Access, source.Access(op))
		case m.Status != string(op.Mark):
			t.Errorf("%s: Status is %q, and %q in the table", m, m.Status, op.Mark)
		}
	}
	for i := range api.Table {
		op := &api.Table[i]
		if len(source.Of(all, op)) == 0 && !op.Keyless { // Login is no method
			t.Errorf("no method offers %s", op.Name)
		}
	}
}

// TestEveryServiceWasRead guards the other tests against methods that the
// parser does not see.
func TestEveryServiceWasRead(t *testing.T) {
	t.Parallel()
	read := make(map[string]bool)
	for _, m := range methods(t) {
		read[m.String()] = true
	}
	client := reflect.TypeFor[connic.Client]()
	for i := range client.NumField() {
		field := client.Field(i)
		if !field.IsExported() {
			continue
		}
		if field.Type.NumMethod() == 0 {
			t.Errorf("%s has no methods", field.Name)
		}
		for j := range field.Type.NumMethod() {
			if name := field.Name + "." + field.Type.Method(j).Name; !read[name] {
				t.Errorf("%s was not read", name)
			}
		}
	}
}

// firstRequest is a transport that records the first request and ends the call.
type firstRequest struct {
	mu     sync.Mutex
	seen   string
	cancel context.CancelFunc
}

func (f *firstRequest) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen == "" {
		f.seen = r.Method + " " + r.URL.Path
	}
	f.cancel()
	return nil, errors.New("noted")
}

// requestOf returns the method and path of the first request of a call.
func requestOf(t *testing.T, m source.Method, opts ...connic.Option) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := &firstRequest{cancel: cancel}
	opts = append(opts, connic.WithEnvironment("e-1"), connic.WithHTTPClient(&http.Client{Transport: first}), connic.WithBaseURL("https://api.example/v1"))
	c := must[*connic.Client](t)(connic.New("p-1", "cnc_coverage_test_key", opts...))
	err := callOf(t, m)(ctx, c)
	if first.seen == "" {
		t.Errorf("%s sent nothing: %v", m, err)
	}
	return first.seen
}

// filled returns a route with the placeholders filled in as in the tests'
// calls.
func filled(route string) string {
	segments := strings.Split(route, "/")
	for i, s := range segments {
		switch {
		case s == "{project}":
			segments[i] = "p-1"
		case strings.HasPrefix(s, "{"):
			segments[i] = "x-1"
		}
	}
	return "/v1" + strings.Join(segments, "/")
}

func TestMethodsSendWhatTheirCommentsSay(t *testing.T) {
	t.Parallel()
	for _, m := range methods(t) {
		t.Run(m.String(), func(t *testing.T) {
			t.Parallel()
			op := m.Operation()
			if op == nil {
				t.Fatal("there is no such operation")
			}
			if got, want := requestOf(t, m), op.Method+" "+filled(op.Route); got != want {
				t.Errorf("the first request is %s, and %s in the comment", got, want)
			}
		})
	}
}

func TestWithRouteMovesEveryOperation(t *testing.T) {
	t.Parallel()
	all := methods(t)
	for i := range api.Table {
		op := &api.Table[i]
		if op.Keyless {
			continue // see TestLoginGoesWhereARouteSays
		}
		t.Run(op.Name, func(t *testing.T) {
			t.Parallel()
			offering := source.Of(all, op)
			if len(offering) == 0 {
				t.Fatal("no method offers it")
			}
			moved := "/elsewhere/{project}/" + strings.ReplaceAll(op.Name, ".", "/")
			for segment := range strings.SplitSeq(op.Route, "/") {
				if strings.HasPrefix(segment, "{") && segment != "{project}" {
					moved += "/" + segment
				}
			}
			for _, m := range offering {
				if got, want := requestOf(t, m, connic.WithRoute(op.Name, moved)), op.Method+" "+filled(moved); got != want {
					t.Errorf("%s sends %s, want %s", m, got, want)
				}
			}
		})
	}
}

// forbidden answers every request with a 403.
var forbidden = transportFunc(func(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusForbidden, Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
		Body: io.NopCloser(strings.NewReader(`{"detail": "Key lacks permission for this endpoint"}`)),
	}, nil
})

func TestForbiddenNamesThePermission(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // some wait before they believe it
		c := must[*connic.Client](t)(connic.New("p-1", "cnc_coverage_test_key", connic.WithEnvironment("e-1"),
			connic.WithHTTPClient(&http.Client{Transport: forbidden}), connic.WithoutRateLimit()))
		named := make(map[string]bool)
		for _, m := range methods(t) {
			err := callOf(t, m)(t.Context(), c)
			var answer *connic.Error
			if !errors.As(err, &answer) || !errors.Is(err, connic.ErrForbidden) {
				t.Errorf("%s: the error is %v", m, err)
				continue
			}
			op, ok := api.Lookup(answer.Op)
			if !ok {
				t.Errorf("%s: the error names the operation %q", m, answer.Op)
				continue
			}
			want := " (needs " + op.Section + " " + op.Access + ")"
			if op.Section == "" {
				want = ""
			}
			if answer.Section != op.Section || answer.Access != op.Access || !strings.HasSuffix(strings.NewReplacer(" (x-1)", "", " (x-3)", "").Replace(answer.Error()), "for this endpoint"+want) {
				t.Errorf("%s: %v (%s %s), want it to end with %q", m, answer, answer.Section, answer.Access, want)
			}
			named[op.Name] = true
		}
		for i := range api.Table {
			if op := &api.Table[i]; !named[op.Name] && !op.Keyless {
				t.Errorf("%s was not tried", op.Name)
			}
		}
	})
}
