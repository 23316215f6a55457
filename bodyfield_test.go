package connic_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// sentBody is a transport that notes the bodies of the requests that have one, and
// fails the first attempt of each.
type sentBody struct {
	next   http.RoundTripper
	bodies []string
	other  int // requests without a body
}

func (s *sentBody) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		s.other++
		return s.next.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	_ = r.Body.Close()
	if err != nil {
		return nil, err
	}
	s.bodies = append(s.bodies, string(body))
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	return s.next.RoundTrip(r)
}

func TestBodyFields(t *testing.T) {
	t.Parallel()
	srv := connictest.New(t)
	srv.Lenient()
	for _, name := range []string{"echo", "support"} {
		srv.Agent(name, func(_ context.Context, in connictest.Input) (any, error) { return in.Message, nil })
	}
	sent := &sentBody{next: srv.Transport()}
	c := srv.Client(connic.WithHTTPClient(&http.Client{Transport: sent}), connic.WithEnvironment("env-test"))
	high, list := connic.WithBodyField("priority", "high <&>"), connic.WithBodyField("tags", []string{"a"})
	for name, test := range map[string]struct {
		call func(ctx context.Context) error
		want string // members of the body, of which the first is the one that is added
	}{
		"trigger": {func(ctx context.Context) error {
			_, err := c.Agents.Trigger(ctx, "echo", connic.TriggerRequest{Message: "hi"}, high, list)
			return err
		}, `{"message":"hi","priority":"high \u003c\u0026\u003e","tags":["a"]}`},
		"payload": {func(ctx context.Context) error {
			_, err := c.Agents.Trigger(ctx, "echo", connic.TriggerRequest{Payload: struct{}{}}, list)
			return err
		}, `{"tags":["a"]}`},
		"judge": {func(ctx context.Context) error {
			_, err := c.Judges.Create(ctx, fair(), connic.WithBodyField("priority", 1), connic.WithBodyField("priority", nil))
			return err
		}, `}],"priority":null}`},
		"no body": {func(ctx context.Context) error {
			err := c.Runs.Cancel(ctx, "run-1", list)
			if errors.Is(err, connic.ErrNotFound) {
				return nil
			}
			return err
		}, `{"tags":["a"]}`},
		"archive": {func(ctx context.Context) error {
			_, err := c.Deployments.UploadFS(ctx, project, nil, list, connic.WithBodyField("note", "x"))
			return err
		}, `{"tags":["a"],"note":"x","files_data":"H4sI`},
		"tests, whose environment is found first": {func(ctx context.Context) error {
			_, err := srv.Client(connic.WithHTTPClient(&http.Client{Transport: sent})).TestRuns.Create(ctx, connic.TestRunCreate{Project: project}, list)
			return err
		}, `{"tags":["a"],"files_data":"H4sI`},
		"raw": {func(ctx context.Context) error {
			err := c.Do(ctx, "POST", "/agents/echo/trigger", nil, map[string]int{"a": 1}, nil, list)
			return err
		}, `{"a":1,"tags":["a"]}`},
	} {
		sent.bodies = nil
		if err := test.call(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(sent.bodies) != 1 || !strings.Contains(sent.bodies[0], test.want) || !json.Valid([]byte(sent.bodies[0])) {
			t.Errorf("%s: sent %.300q, want %s", name, sent.bodies, test.want)
		}
	}
}

func TestBodyFieldsThatAreRefused(t *testing.T) {
	t.Parallel()
	srv := connictest.New(t)
	sent := &sentBody{next: srv.Transport()}
	c := srv.Client(connic.WithHTTPClient(&http.Client{Transport: sent}), connic.WithEnvironment("env-test"))
	tags := connic.WithBodyField("tags", "a")
	trigger := func(req connic.TriggerRequest, opts ...connic.RequestOption) error {
		_, err := c.Agents.Trigger(t.Context(), "echo", req, opts...)
		return err
	}
	create := func(opts ...connic.RequestOption) error {
		_, err := c.Judges.Create(t.Context(), fair(), opts...)
		return err
	}
	_, get := c.Runs.Get(t.Context(), "run-1", tags)
	_, file := c.Knowledge.UploadFile(t.Context(), connic.FileUpload{File: connic.ReaderAtFile("a.txt", content, content.Size())}, tags)
	_, session := c.DevSessions.Upload(t.Context(), "s", archiveOf(tarball(map[string]string{"agents/support.yaml": "name: support\n"})), tags)
	_, archive := c.Deployments.UploadFS(t.Context(), project, nil, connic.WithBodyField("skip_tests", true))
	_, tests := c.TestRuns.Create(t.Context(), connic.TestRunCreate{Project: project}, connic.WithBodyField("Files_Data", ""))
	for name, err := range map[string]error{
		"a parameter of the operation":      create(connic.WithBodyField("name", "x")),
		"a parameter that is not set":       create(connic.WithBodyField("filter_expression", "x")),
		"a parameter in other letters":      create(connic.WithBodyField("Name", "x")),
		"the message":                       trigger(connic.TriggerRequest{Message: "hi"}, connic.WithBodyField("message", "x")),
		"a key of the payload":              trigger(connic.TriggerRequest{Payload: map[string]int{"\u00fcber": 1}}, connic.WithBodyField("\u00dcber", "x")),
		"a payload that is a list":          trigger(connic.TriggerRequest{Payload: []int{1}}, tags),
		"a payload that is text":            trigger(connic.TriggerRequest{Payload: "x"}, tags),
		"an empty name":                     create(connic.WithBodyField("", "x")),
		"a name that is not text":           create(connic.WithBodyField("\xff", "x")),
		"a value that cannot be encoded":    create(connic.WithBodyField("tags", func() {})),
		"a GET":                             get,
		"a DELETE":                          c.Runs.Delete(t.Context(), "run-1", tags),
		"a form":                            file,
		"the form of a session":             session,
		"a parameter beside an archive":     archive,
		"the archive itself":                tests,
		"one of several":                    create(tags, connic.WithBodyField("criteria", nil)),
		"the fields of a raw call to a GET": c.Do(t.Context(), "GET", "/runs", nil, nil, nil, tags),
	} {
		var bad *connic.ArgumentError
		if !errors.As(err, &bad) || !strings.HasPrefix(bad.Arg, "body field") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(sent.bodies) > 0 || sent.other > 0 {
		t.Errorf("sent %q, and %d requests without a body", sent.bodies, sent.other)
	}
}
