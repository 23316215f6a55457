package connector_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
)

// A connector that is created over the API is found by its name, and called; one
// of the other direction delivers.
func TestFromProject(t *testing.T) {
	t.Parallel()
	srv := connictest.NewServer(t)
	srv.Agent("support", func(_ context.Context, in connictest.Input) (any, error) { return "hello " + in.Message, nil })
	srv.Agent("reader", func(_ context.Context, in connictest.Input) (any, error) {
		return fmt.Sprint(len(in.Files), " files"), nil
	})
	client, ctx := srv.Client(), t.Context()

	var delivered atomic.Int64
	receiver := httptest.NewUnstartedServer(nil)
	defer receiver.Close()
	hooks := "http://" + receiver.Listener.Addr().String()

	create := func(c connic.ConnectorCreate) *connic.Connector {
		t.Helper()
		made, err := client.Connectors.Create(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	made := create(connic.ConnectorCreate{
		Name: "tickets", Type: "http", Mode: connic.ConnectorSync, Agents: []connic.ConnectorAgent{{Name: "support"}},
		Config: connic.ConnectorConfig{"rate_limit_per_minute": 30},
	})
	create(connic.ConnectorCreate{Name: "open", Type: "http", Agents: []connic.ConnectorAgent{{Name: "support"}}, Config: connic.ConnectorConfig{"require_auth": false}})
	create(connic.ConnectorCreate{
		Name: "files", Type: "http", Mode: connic.ConnectorInbound, Agents: []connic.ConnectorAgent{{Name: "support"}, {Name: "reader", FilesRequired: true}},
	})
	out := create(connic.ConnectorCreate{Name: "results", Type: "http", Mode: connic.ConnectorOutbound, Config: connic.ConnectorConfig{"outbound_url": hooks}})
	create(connic.ConnectorCreate{Name: "every night", Type: "cron"})
	signing, err := connector.SigningSecret(ctx, client, "results")
	if err != nil || string(signing) != out.Config.Text("webhook_secret") || len(signing) < 16 {
		t.Fatalf("%v of %v", err, out)
	}
	receiver.Config.Handler = connector.Handler(func(context.Context, connector.Delivery) error {
		delivered.Add(1)
		return nil
	}, signing)
	receiver.Start()

	for _, name := range []string{"tickets", "TICKETS", "open", made.ID} {
		c, err := connector.FromProject(ctx, client, name)
		if err != nil {
			t.Fatal(name, err)
		}
		if result, err := c.Call(ctx, connector.Input{Message: "you"}); err != nil || result.Output != "hello you" {
			t.Errorf("%s: %+v, %v", name, result, err)
		}
	}
	inbound, err := connector.FromProject(ctx, client, "files")
	if err != nil {
		t.Fatal(err)
	}
	for files, want := range map[int]int{0: 1, 1: 2} {
		in := connector.Input{Message: "you", Files: make([]connector.File, files)}
		for i := range in.Files {
			in.Files[i] = connector.File{Name: "a.txt", MIMEType: "text/plain", Data: []byte("x")}
		}
		if d, err := inbound.Send(ctx, in); err != nil || len(d.RunIDs) != want {
			t.Errorf("%d files: %+v, %v", files, d, err)
		}
	}

	// It serves what the API says.
	c, err := connector.FromProject(ctx, client, "tickets")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Connectors.Update(ctx, made.ID, connic.ConnectorUpdate{Config: connic.Set(connic.ConnectorConfig{"secret": "another-secret-0123456789"})}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Call(ctx, connector.Input{Message: "you"}); !errors.Is(err, connic.ErrUnauthorized) {
		t.Errorf("with the former secret: %v", err)
	}
	if c, err = connector.FromProject(ctx, client, "tickets"); err != nil {
		t.Fatal(err)
	}
	if err := client.Connectors.Delete(ctx, made.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Call(ctx, connector.Input{Message: "you"}); !errors.Is(err, connic.ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
	for name, want := range map[string]string{"tickets": "not found", "results": "outbound", "every night": "cron", "": "not found"} {
		if c, err := connector.FromProject(ctx, client, name); err == nil || c != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := connector.SigningSecret(ctx, client, "open"); err == nil {
		t.Error("a connector that signs nothing has a secret")
	}
	srv.Close() // and with it, deliveries in progress end
	if delivered.Load() == 0 {
		t.Error("nothing was delivered")
	}
}

// A secret that the service masks is not used.
func TestFromProjectWithoutSecrets(t *testing.T) {
	t.Parallel()
	srv := connictest.New(t)
	srv.Agent("support", func(context.Context, connictest.Input) (any, error) { return "", nil })
	srv.Connector("support").Named("tickets")
	for secret, want := range map[string]string{"********": "masked", "…cdef": "masked", "": "without its secret"} {
		srv.Fault(connictest.Fault{Op: "connectors.list", Set: map[string]any{"items.*.config_json.secret": secret}})
		if _, err := connector.FromProject(t.Context(), srv.Client(), "tickets"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", secret, err)
		}
	}
	if _, err := connector.FromProject(t.Context(), nil, "tickets"); err == nil {
		t.Error("a nil client is no error")
	}
}
