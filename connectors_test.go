package connic_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/internal/leaktest"
)

const hookSecret = "hook-secret-0123456789"

func TestConnectors(t *testing.T) {
	t.Parallel()
	srv := connictest.New(t)
	srv.Agent("support", func(context.Context, connictest.Input) (any, error) { return "", nil })
	c, ctx := srv.Client(), t.Context()
	made := must[*connic.Connector](t)(c.Connectors.Create(ctx, connic.ConnectorCreate{
		Name: "tickets", Type: "http", Mode: connic.ConnectorSync, Agents: []connic.ConnectorAgent{{Name: "support", FilesRequired: true}},
		Config: connic.ConnectorConfig{"secret": hookSecret, "rate_limit_per_minute": 10},
	}))
	got := must[*connic.Connector](t)(c.Connectors.Get(ctx, made.ID))
	if got.Config.Text("secret") != hookSecret || got.URL == "" || len(got.Agents) != 1 || !got.Agents[0].FilesRequired || got.Mode != connic.ConnectorSync {
		t.Fatalf("%+v %q", got, got.Config.Text("secret"))
	}

	update := connic.ConnectorUpdate{
		Name: connic.Set("Tickets"), Agents: connic.Set([]connic.ConnectorAgent{{Name: "support"}}),
		Config: connic.Set(connic.ConnectorConfig{"secret": "hook-secret-9876543210", "rate_limit_per_minute": 10.0, "rate_limit_key": "body.customer"}),
	}
	changes := got.Diff(update)
	want := `[name: "tickets" → "Tickets" agents: [{"name":"support","files_required":true}] → ["support"] ` +
		`config_json.rate_limit_key: null → "body.customer" config_json.secret: "…6789" → "…3210"]`
	if fmt.Sprint(changes) != want {
		t.Errorf("%v\nwant\n%v", changes, want)
	}
	if got = must[*connic.Connector](t)(c.Connectors.Update(ctx, made.ID, update)); len(got.Diff(update)) != 0 {
		t.Errorf("it does not settle: %v", got.Diff(update))
	}
	if got.Config["rate_limit_per_minute"] != 10.0 && fmt.Sprint(got.Config["rate_limit_per_minute"]) != "10" {
		t.Errorf("%v", got.Config)
	}
	got.Config["secret"] = "••••••••" // as a service that masks it
	if changes := got.Diff(update); len(changes) != 0 {
		t.Errorf("a secret that is not shown is a change: %v", changes)
	}

	srv.Connector("support").Named("TICKETS")
	for name, want := range map[string]error{"Tickets": nil, "TICKETS": nil, "tickets": connic.ErrConflict, made.ID: nil, "none": connic.ErrNotFound, "": connic.ErrNotFound} {
		if _, err := c.Connectors.Find(ctx, name); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.Connectors.Delete(ctx, made.ID); err != nil {
		t.Error(err)
	}
	if all := must[[]*connic.Connector](t)(connic.Collect(c.Connectors.All(ctx, &connic.ConnectorListParams{Type: "http"}), 0)); len(all) != 1 {
		t.Errorf("%v", all)
	}
}

// Secrets are redacted wherever a configuration is printed, in any depth.
func TestConfigurationsArePrintedWithoutSecrets(t *testing.T) {
	t.Parallel()
	config := connic.ConnectorConfig{
		"secret": hookSecret, "webhook_secret": hookSecret, "headers": map[string]any{"Authorization": "Bearer " + hookSecret, "X": "shown"},
		"dsn": "postgres://u:" + hookSecret + "@db/x", "url": "https://u:" + hookSecret + "@host/x", "access_key": hookSecret,
		"accounts": []any{map[string]any{"password": hookSecret}}, "rate_limit_key": "body.customer", "typed": struct {
			Token string `json:"token"`
		}{hookSecret}, "pin_token": int64(12345678901),
	}
	connector := connic.Connector{ID: "c1", Config: config}
	create := connic.ConnectorCreate{Config: config}
	update := connic.ConnectorUpdate{Config: connic.Set(config)}
	var log strings.Builder
	for _, logger := range []*slog.Logger{slog.New(slog.NewJSONHandler(&log, nil)), slog.New(slog.NewTextHandler(&log, nil))} {
		logger.Info("shown", "config", config, "connector", connector, "create", create, "update", update, "changes", new(connic.Connector).Diff(update))
	}
	encoded := must[[]byte](t)(json.Marshal([]any{config, connector, &connector, create, update}))
	all := log.String() + string(encoded) + fmt.Sprintf("%v %+v %#v %s %q %x", config, connector, create, update, &connector, config) + config.String()
	for _, secret := range []string{hookSecret, "12345678901", fmt.Sprintf("%x", hookSecret)} {
		if strings.Contains(all, secret) {
			t.Errorf("%s is shown: %s", secret, all)
		}
	}
	if !strings.Contains(config.String(), "body.customer") || !strings.Contains(config.String(), "shown") {
		t.Error(config.String())
	}
	// What was printed is not sent.
	var printed connic.ConnectorConfig
	if err := json.Unmarshal(must[[]byte](t)(json.Marshal(connic.ConnectorConfig{"secret": hookSecret})), &printed); err != nil {
		t.Fatal(err)
	}
	srv := connictest.New(t)
	_, err := srv.Client().Connectors.Create(t.Context(), connic.ConnectorCreate{Name: "a", Type: "http", Config: printed})
	var refused *connic.ArgumentError
	if !errors.As(err, &refused) || len(srv.Requests()) != 0 {
		t.Errorf("a redacted secret is sent: %v", err)
	}
}

// A configuration may be an object, or a string that holds one.
func TestConfigurationsInStrings(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"id": "c1", "config_json": "{\"secret\": \"abc\"}", "agents": ["a", {"agent_name": "b", "files_required": true}]}`: "abc [ConnectorAgent name=a ConnectorAgent name=b files_required=true]",
		`{"id": "c1", "config": {"secret": "abc"}}`:         "abc []",
		`{"id": "c1", "config_json": null}`:                 " []",
		`{"id": "c1", "config_json": ""}`:                   " []",
		`{"id": "c1", "config_json": {"url": "https://x"}}`: " [] https://x",
	} {
		var c connic.Connector
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := strings.TrimRight(fmt.Sprint(c.Config.Text("secret"), " ", c.Agents, " ", c.URL), " "); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// What the service says of a request that it refuses, or answers with something
// else, may quote the secrets in it.
func TestErrorsHideWhatWasSent(t *testing.T) {
	t.Parallel()
	config := connic.ConnectorConfig{"headers": map[string]any{"token": hookSecret}}
	for name, call := range map[string]func(context.Context, *connic.Client) error{
		"decide": func(ctx context.Context, c *connic.Client) error {
			_, err := c.Approvals.Decide(ctx, "x1", connic.Decision{Approve: true, Response: hookSecret})
			return err
		},
		"create": func(ctx context.Context, c *connic.Client) error {
			_, err := c.Connectors.Create(ctx, connic.ConnectorCreate{Name: "a", Type: "http", Config: config})
			return err
		},
		"update": func(ctx context.Context, c *connic.Client) error {
			_, err := c.Connectors.Update(ctx, "x1", connic.ConnectorUpdate{Config: connic.Set(config)})
			return err
		},
	} {
		for status, body := range map[int]string{
			400: `{"detail": "not good: ` + hookSecret + `"}`,
			422: `{"detail": [{"loc": ["body"], "msg": "not good: ` + hookSecret + `", "type": "x", "input": "` + hookSecret + `"}]}`,
			200: `{"error": "` + hookSecret + `"}`,
		} {
			var told leaktest.Record
			c := must[*connic.Client](t)(connic.New("p", "cnc_of-this-client-only", connic.WithRetry(connic.RetryPolicy{MaxAttempts: 1}),
				connic.WithObserver(func(_ context.Context, e connic.Event) { told.Print(e, e.Err) }),
				connic.WithHTTPClient(&http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					if r.Method == http.MethodGet {
						return nil, errors.New("no")
					}
					return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
				})})))
			err := call(t.Context(), c)
			told.Print(err)
			if where := leaktest.For(hookSecret).In(told.String()); err == nil || where != "" {
				t.Errorf("%s, %d: %v: %s", name, status, err, where)
			}
		}
	}
}
