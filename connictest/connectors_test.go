package connictest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
)

func TestConnectorsServeAllBodies(t *testing.T) {
	t.Parallel()
	srv := connictest.NewServer(t)
	srv.Agent("show", func(_ context.Context, in connictest.Input) (any, error) {
		out := map[string]any{"message": in.Message, "payload": in.Payload}
		var files []string
		for _, f := range in.Files {
			files = append(files, f.Name+":"+f.MIMEType+":"+string(f.Data))
		}
		out["files"] = files
		return out, nil
	})
	hook := srv.Connector("show")
	var got struct {
		Message string
		Payload map[string]any
		Files   []string
	}
	ask := func(in connector.Input) {
		t.Helper()
		result, err := hook.Client().Call(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		got.Payload, got.Files = nil, nil
		if err := result.DecodeOutput(&got); err != nil {
			t.Fatal(err)
		}
	}
	ask(connector.Input{Message: "m", Payload: map[string]any{"k": "v"}})
	if got.Message != "m" || got.Payload["k"] != "v" {
		t.Errorf("%+v", got)
	}
	ask(connector.Input{Payload: []int{1}})
	if list, ok := got.Payload["payload"].([]any); !ok || len(list) != 1 {
		t.Errorf("%+v", got)
	}
	ask(connector.Input{Message: "m", Payload: map[string]any{"k": 1}, Files: []connector.File{{Name: "a.txt", MIMEType: "text/plain", Data: []byte("content")}}})
	if got.Message != "m" || got.Payload["k"] != "1" || len(got.Files) != 1 || got.Files[0] != "a.txt:text/plain:content" {
		t.Errorf("%+v", got)
	}
}

func TestConnectorsTakeForms(t *testing.T) {
	t.Parallel()
	srv := connictest.NewServer(t)
	srv.Agent("echo", func(_ context.Context, in connictest.Input) (any, error) {
		return in.Message + string(in.Payload["k"]), nil
	})
	hook := srv.Connector("echo").WithoutSecret()
	for kind, test := range map[string]struct {
		body   string
		status int
	}{
		"application/x-www-form-urlencoded": {"message=m&k=v", 200}, "application/json": {"{", 422},
		"text/plain": {"m", 422}, "multipart/form-data; boundary=x": {"--x\r\nno form", 422},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, hook.URL(), strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", kind)
		resp, err := new(http.Client).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != test.status || (test.status == 200 && !strings.Contains(string(body), `m\"v\"`)) {
			t.Errorf("%s: %d %s", kind, resp.StatusCode, body)
		}
	}
}

func TestConnectorsCheckTheirSecret(t *testing.T) {
	t.Parallel()
	srv := connictest.NewServer(t)
	srv.Agent("echo", func(_ context.Context, in connictest.Input) (any, error) { return in.Message, nil })
	hook := srv.Connector("echo")
	for _, c := range []struct {
		url    string
		secret connector.Secret
		want   error
	}{
		{hook.URL(), hook.Secret(), nil},
		{hook.URL() + "?secret=" + string(hook.Secret()), "", nil},
		{hook.URL(), "", connic.ErrUnauthorized},
		{hook.URL(), "another-secret", connic.ErrUnauthorized},
		{hook.URL() + "x", hook.Secret(), connic.ErrNotFound},
		{srv.Connector("echo").WithoutSecret().URL(), "", nil},
	} {
		client, err := connector.New(c.url, c.secret)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = client.Call(t.Context(), connector.Input{Message: "m"}); !errors.Is(err, c.want) {
			t.Errorf("%v", err)
		}
	}
	for _, r := range srv.Requests() {
		if r.Header.Get("X-Connic-Secret") != "" || strings.Contains(r.Query, "secret") {
			t.Errorf("the fake keeps the secret: %+v", r)
		}
	}
	if n := srv.Executions("connectors.sync"); n != 3 {
		t.Errorf("%d executions", n)
	}
	// The quota is not touched.
	if run, err := srv.Client().Runs.List(t.Context(), nil); err != nil || len(run.Items) != 3 || run.Items[0].ConnectorID == "" {
		t.Errorf("%+v, %v", run, err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, hook.URL(), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := new(http.Client).Do(r)
	if err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("%v, %v", resp, err)
	}
	_ = resp.Body.Close()
}

// TestConnectorsUnderFaults: executed at most once, and ErrOutcomeUnknown where it may
// have been.
func TestConnectorsUnderFaults(t *testing.T) {
	t.Parallel()
	for _, listens := range []bool{false, true} {
		for name, test := range map[string]struct {
			fault    connictest.Fault
			executed int
			want     error
		}{
			"refused":   {connictest.Fault{Status: 429, RetryAfter: "1"}, 1, nil},
			"dropped":   {connictest.Fault{Drop: true}, 0, connic.ErrOutcomeUnknown},
			"executed":  {connictest.Fault{Drop: true, After: true}, 1, connic.ErrOutcomeUnknown},
			"truncated": {connictest.Fault{Truncate: 30}, 1, connic.ErrOutcomeUnknown},
			"gateway":   {connictest.Fault{Status: 502, HTML: true}, 0, connic.ErrOutcomeUnknown},
			"late":      {connictest.Fault{Latency: time.Millisecond}, 1, nil},
		} {
			check := func(t *testing.T, srv *connictest.Server) {
				t.Helper()
				srv.Agent("echo", func(_ context.Context, in connictest.Input) (any, error) { return in.Message, nil })
				srv.Fault(test.fault)
				_, err := srv.Connector("echo").Client().Call(t.Context(), connector.Input{Message: "m"})
				if !errors.Is(err, test.want) || srv.Executions("connectors.sync") != test.executed {
					t.Errorf("%s: %v, %d executions", name, err, srv.Executions("connectors.sync"))
				}
			}
			if listens {
				check(t, connictest.NewServer(t))
				continue
			}
			synctest.Test(t, func(t *testing.T) {
				srv := connictest.New()
				defer srv.Close()
				check(t, srv)
			})
		}
	}
}

// TestRunsOfConnectorsGoOn when their caller leaves.
func TestRunsOfConnectorsGoOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.Agent("slow", func(ctx context.Context, _ connictest.Input) (any, error) {
			select {
			case <-time.After(time.Minute):
				return "done", nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := srv.Connector("slow").Client().Call(ctx, connector.Input{Message: "m"}); !errors.Is(err, connic.ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		page, err := srv.Client().Runs.List(t.Context(), nil)
		if err != nil || len(page.Items) != 1 {
			t.Fatalf("%+v, %v", page, err)
		}
		run, err := srv.Client().Runs.Wait(t.Context(), page.Items[0].ID)
		if err != nil || run.Output != "done" {
			t.Errorf("%+v, %v", run, err)
		}
	})
}

func TestPerform(t *testing.T) {
	t.Parallel()
	srv := connictest.NewServer(t)
	srv.Agent("echo", func(_ context.Context, in connictest.Input) (any, error) {
		in.Tokens(connic.TokenUsage{Input: 1, Output: 2})
		return in.Message, nil
	})
	run, err := srv.Connector("echo").Perform(t.Context(), []byte(`{"message": "m"}`))
	if err != nil || run.Output != "m" || run.TokenUsage.Total != 3 {
		t.Errorf("%+v, %v", run, err)
	}
	if _, err := srv.Connector().Perform(t.Context(), []byte(`{}`)); err == nil {
		t.Error("a connector of no agent performs")
	}
	defer func() {
		if recover() == nil {
			t.Error("an unknown agent is linked")
		}
	}()
	srv.Connector("nobody")
}
