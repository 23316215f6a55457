package connic_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

func TestDevSessions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.PhaseTime(20 * time.Second)
		c := srv.Client()
		ctx := t.Context()
		session := must[*connic.DevSession](t)(c.DevSessions.Create(ctx, connic.DevSessionCreate{}))
		if _, err := c.DevSessions.Create(ctx, connic.DevSessionCreate{}); !errors.Is(err, connic.ErrConflict) {
			t.Errorf("a second one: %v", err)
		}
		if _, err := c.DevSessions.Sync(ctx, *session, project); !errors.Is(err, connic.ErrBadRequest) || errors.Is(err, connic.ErrSessionEnded) {
			t.Errorf("files for a container that starts: %v", err)
		}
		var seen []string
		session = must[*connic.DevSession](t)(c.DevSessions.Wait(ctx, session.ID, phases(&seen)))
		if got := strings.Join(seen, ", "); got != "starting, running" {
			t.Errorf("the wait saw %s", got)
		}
		tree := fstest.MapFS{"agents/a.yaml": {Data: []byte("name: a")}, "requirements.txt": {Data: []byte("x==1\n")}}
		if same, err := c.DevSessions.Sync(ctx, *session, tree); err != nil || same.ID != session.ID || srv.DevSessionFiles(session.ID)["agents/a.yaml"] != "name: a" {
			t.Errorf("%v, %v", same, err)
		}
		// An existing archive is sent unmodified.
		sent := tarball(map[string]string{"agents/b.yaml": "name: b", "requirements.txt": "x==1\n"})
		answer, err := c.DevSessions.Upload(ctx, session.ID, archiveOf(sent))
		if err != nil || answer.SizeBytes != int64(len(sent)) || len(answer.FilesHash) != 12 {
			t.Errorf("%+v, %v", answer, err)
		}
		// Tests run in the session's environment.
		run := must[*connic.TestRun](t)(c.TestRuns.Create(ctx, connic.TestRunCreate{EnvironmentID: session.EnvironmentID, Project: project}))
		if _, err := c.TestRuns.Wait(ctx, run.ID); err != nil {
			t.Error(err)
		}
		// Different requirements need another container.
		tree["requirements.txt"] = &fstest.MapFile{Data: []byte("x==2\n")}
		fresh, err := c.DevSessions.Sync(ctx, *session, tree, eachSecond)
		if err != nil || fresh.ID == session.ID || srv.DevSessionFiles(fresh.ID)["requirements.txt"] != "x==2\n" || srv.Executions("dev_sessions.delete") != 1 {
			t.Errorf("%+v, %v", fresh, err)
		}
		if status, err := c.DevSessions.Status(ctx, session.ID); err != nil || status != connic.DevSessionEnded {
			t.Errorf("the old one is %s, %v", status, err)
		}
		if status, err := c.DevSessions.Status(ctx, fresh.ID); err != nil || status != connic.DevSessionActive {
			t.Errorf("the new one is %s, %v", status, err)
		}
		if gone, err := c.DevSessions.Delete(ctx, fresh.ID); err != nil || !gone {
			t.Errorf("%v, %v", gone, err)
		}
		if gone, err := c.DevSessions.Delete(ctx, fresh.ID); err != nil || gone {
			t.Errorf("a second time: %v, %v", gone, err)
		}
		if _, err := c.DevSessions.Sync(ctx, *fresh, tree); !errors.Is(err, connic.ErrSessionEnded) || !errors.Is(err, connic.ErrNotFound) {
			t.Error(err)
		}
		// A named session keeps its environment.
		named := must[*connic.DevSession](t)(c.DevSessions.Create(ctx, connic.DevSessionCreate{Name: "mine"}))
		if gone, err := c.DevSessions.Delete(ctx, named.ID); err != nil || gone {
			t.Errorf("%v, %v", gone, err)
		}
		again := must[*connic.DevSession](t)(c.DevSessions.Create(ctx, connic.DevSessionCreate{Name: "mine"}))
		if again.EnvironmentID != named.EnvironmentID || again.Name != "mine" {
			t.Errorf("%+v after %+v", again, named)
		}
	})
}

func TestADevSessionThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.FailDevSessions(true)
		c := srv.Client()
		session := must[*connic.DevSession](t)(c.DevSessions.Create(t.Context(), connic.DevSessionCreate{}))
		got, err := c.DevSessions.Wait(t.Context(), session.ID)
		var failed *connic.DevSessionError
		if !errors.As(err, &failed) || failed.Session != got || got.Container != connic.ContainerFailed {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// TestWhatADevSessionSaysOfFiles interprets the messages as the vendor's client
// does.
func TestWhatADevSessionSaysOfFiles(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]error{
		`400 {"detail": "Session is not active"}`:                     connic.ErrSessionEnded,
		`404 {"detail": "Session not found"}`:                         connic.ErrSessionEnded,
		`409 {"detail": "requirements.txt changed. Start anew."}`:     connic.ErrSessionOutdated,
		`409 {"detail": "Another upload: requirements.txt changed."}`: connic.ErrConflict,
		`400 {"detail": "agents/a.yaml: bad YAML"}`:                   connic.ErrBadRequest,
	} {
		status, body, _ := strings.Cut(answer, " ")
		code := map[string]int{"400": 400, "404": 404, "409": 409}[status]
		transport := transportFunc(func(r *http.Request) (*http.Response, error) {
			_, _ = io.Copy(io.Discard, r.Body)
			return response(r, code, body), nil
		})
		c := must[*connic.Client](t)(connic.New("p", canary, connic.WithHTTPClient(&http.Client{Transport: transport}), connic.WithoutRateLimit()))
		_, err := c.DevSessions.Upload(t.Context(), "s", archiveOf(tarball(map[string]string{"agents/a.yaml": "x"})))
		ended, outdated := errors.Is(err, connic.ErrSessionEnded), errors.Is(err, connic.ErrSessionOutdated)
		if !errors.Is(err, want) || ended != errors.Is(want, connic.ErrSessionEnded) || outdated != errors.Is(want, connic.ErrSessionOutdated) {
			t.Errorf("%s: %v", answer, err)
		}
	}
}

func TestBridges(t *testing.T) {
	t.Parallel()
	srv := connictest.New()
	t.Cleanup(srv.Close)
	srv.Bridge("b1")
	c := srv.Client()
	want := []connic.BridgeRoute{{MatchType: connic.BridgeExact, Target: "db.internal", Port: 5432}, {MatchType: connic.BridgeRegex, Target: ".*", Port: 443}}
	if err := c.Bridges.SetRoutes(t.Context(), "b1", want); err != nil {
		t.Fatal(err)
	}
	got := must[[]connic.BridgeRoute](t)(c.Bridges.Routes(t.Context(), "b1"))
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%+v", got)
	}
	if err := c.Bridges.SetRoutes(t.Context(), "b1", nil); err != nil {
		t.Error(err)
	}
	if got := must[[]connic.BridgeRoute](t)(c.Bridges.Routes(t.Context(), "b1")); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if _, err := c.Bridges.Routes(t.Context(), "b2"); !errors.Is(err, connic.ErrNotFound) {
		t.Error(err)
	}
	reader := srv.ClientWithKey(srv.Key("bridges:read"))
	if _, err := reader.Bridges.Routes(t.Context(), "b1"); !errors.Is(err, connic.ErrForbidden) || !strings.Contains(err.Error(), "needs bridges update") {
		t.Error(err)
	}
	sent := len(srv.Requests())
	for _, bad := range [][]connic.BridgeRoute{make([]connic.BridgeRoute, 33), {{Target: "x", Port: 1}}, {{MatchType: "exact", Port: 1}}, {{MatchType: "exact", Target: "x", Port: 70000}}} {
		var argument *connic.ArgumentError
		if err := c.Bridges.SetRoutes(t.Context(), "b1", bad); !errors.As(err, &argument) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if len(srv.Requests()) != sent {
		t.Error("what is wrong was sent")
	}
}

func TestDoWithoutProject(t *testing.T) {
	t.Parallel()
	srv := connictest.New()
	t.Cleanup(srv.Close)
	srv.PhaseTime(0)
	c := srv.Client()
	session := must[*connic.DevSession](t)(c.DevSessions.Create(t.Context(), connic.DevSessionCreate{}))
	var out json.RawMessage
	if err := c.Do(t.Context(), "GET", "/test-sessions/"+session.ID, nil, nil, &out, connic.WithoutProject()); err != nil || !strings.Contains(string(out), `"running"`) {
		t.Errorf("%s, %v", out, err)
	}
	sent := len(srv.Requests())
	for _, path := range []string{"", "test-sessions", "/../x", "/a//b", "/a?b"} {
		var argument *connic.ArgumentError
		if err := c.Do(t.Context(), "GET", path, nil, nil, nil, connic.WithoutProject()); !errors.As(err, &argument) {
			t.Errorf("%q: %v", path, err)
		}
	}
	var argument *connic.ArgumentError
	if _, err := c.Project.Get(t.Context(), connic.WithoutProject()); !errors.As(err, &argument) {
		t.Error(err)
	}
	if len(srv.Requests()) != sent {
		t.Error("what is wrong was sent")
	}
}

// A session that was got rather than created does not know its name. Its
// environment is not replaced by a temporary one.
func TestSyncKeepsTheEnvironmentOfASession(t *testing.T) {
	t.Parallel()
	for answered, want := range map[string]string{
		`{"id": "s1", "container_status": "running"}`:                                      "",
		`{"id": "s1", "container_status": "running", "environment_name": "mine"}`:          `{"name":"mine"}`,
		`{"id": "s1", "container_status": "running", "environment_name": "temp-1", "t":1}`: `{}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			created := ""
			c := must[*connic.Client](t)(connic.New("p", "cnc_sessions_test", connic.WithHTTPClient(&http.Client{
				Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
					switch {
					case r.Method == http.MethodDelete:
						return response(r, 200, `{"environment_deleted": `+map[bool]string{true: "true", false: "false"}[want == "{}"]+`}`), nil
					case strings.HasSuffix(r.URL.Path, "/test-sessions"):
						b, err := io.ReadAll(r.Body)
						created = string(b)
						return response(r, 200, `{"id": "s2"}`), err
					case strings.HasSuffix(r.URL.Path, "/s1/files"):
						return response(r, 409, `{"detail": "requirements.txt changed. Create a new session."}`), nil
					case strings.HasSuffix(r.URL.Path, "/files"):
						return response(r, 200, `{"files_hash": "x"}`), nil
					case strings.HasSuffix(r.URL.Path, "/s2"):
						return response(r, 200, `{"container_status": "running"}`), nil
					}
					return response(r, 200, answered), nil
				}),
			})))
			session := must[*connic.DevSession](t)(c.DevSessions.Get(t.Context(), "s1"))
			fresh, err := c.DevSessions.Sync(t.Context(), *session, fstest.MapFS{"agents/a.yaml": {Data: []byte("name: a")}})
			if created != want || (err == nil) != (want != "") || want != "" && fresh.ID != "s2" {
				t.Errorf("%s: it creates %q, %v, %v", answered, created, fresh, err)
			}
		})
	}
}
