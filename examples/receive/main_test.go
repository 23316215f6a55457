package main

import (
	"bytes"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
)

func TestReceive(t *testing.T) {
	t.Parallel()
	const secret = "whsec-0123456789"
	inbox, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer inbox.Close()
	srv := connictest.New(t)
	out := srv.OutboundHandler(receiver(inbox, secret)).WithSecret(secret)
	after := srv.OutboundHandler(receiver(inbox, secret)).WithSecret(secret) // the process after a restart
	run := func(id, output string) map[string]any {
		return map[string]any{"run_id": id, "agent_name": "support", "status": "completed", "output": output, "ended_at": "2026-10-01T12:00:00Z"}
	}
	for name, step := range map[string]struct {
		send   func() connictest.OutboundDelivery
		status int
	}{
		"a run":                {func() connictest.OutboundDelivery { return out.Send(run("run-1", "first")) }, http.StatusNoContent},
		"another run":          {func() connictest.OutboundDelivery { return after.Send(run("../run/2", "second")) }, http.StatusNoContent},
		"a payload":            {func() connictest.OutboundDelivery { return out.Send(map[string]any{"type": "greeting"}) }, http.StatusUnprocessableEntity},
		"a list":               {func() connictest.OutboundDelivery { return out.Send([]any{run("run-3", "third")}) }, http.StatusUnprocessableEntity},
		"a forgery":            {func() connictest.OutboundDelivery { return forged(srv, inbox).Send(run("run-4", "fourth")) }, http.StatusUnauthorized},
		"a run with a long id": {func() connictest.OutboundDelivery { return out.Send(run(strings.Repeat("x", 300), "sixth")) }, http.StatusInternalServerError},
	} {
		if d := step.send(); d.Status != step.status || d.Err != nil {
			t.Errorf("%s: %d, %v", name, d.Status, d.Err)
		}
	}
	if d := after.Send(run("run-1", "first")); d.Status != http.StatusNoContent {
		t.Errorf("a repetition after a restart: %d, %v", d.Status, d.Err)
	}
	files, err := os.ReadDir(inbox.Name())
	if err != nil || len(files) != 2 || files[0].Name() != "..%2Frun%2F2.json" || files[1].Name() != "run-1.json" {
		t.Fatal(files, err)
	}
	text, err := inbox.ReadFile("run-1.json")
	if want := `{"agent_name":"support","ended_at":"2026-10-01T12:00:00Z","output":"first","run_id":"run-1","status":"completed"}`; err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
}

// Two processes store the same run: the temporary file of one is not that of the
// other, and neither is left.
func TestStoreTogether(t *testing.T) {
	t.Parallel()
	inbox, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer inbox.Close()
	begun, err := inbox.OpenFile("run-1.json.new", os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer begun.Close()
	body := []byte(strings.Repeat("x", 1<<20))
	errs := make(chan error)
	for range 8 {
		go func() { errs <- store(inbox, connector.Delivery{RunID: "run-1", Body: body}) }()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	files, err := os.ReadDir(inbox.Name())
	if err != nil || len(files) != 2 || files[0].Name() != "run-1.json" {
		t.Error(files, err)
	}
	if stored, err := inbox.ReadFile("run-1.json"); err != nil || !bytes.Equal(stored, body) {
		t.Errorf("%d bytes, %v", len(stored), err)
	}
}

func forged(srv *connictest.Server, inbox *os.Root) *connictest.Outbound {
	return srv.OutboundHandler(receiver(inbox, "whsec-0123456789")).WithSecret("whsec-9876543210")
}
