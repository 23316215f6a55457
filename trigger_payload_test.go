package connic_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// TestFilesInAPayload sends files as a key of the payload: an empty one arrives,
// and one that would have to be streamed is refused instead of lost.
func TestFilesInAPayload(t *testing.T) {
	t.Parallel()
	srv := connictest.New()
	t.Cleanup(srv.Close)
	var in connictest.Input
	srv.Agent("support", func(_ context.Context, got connictest.Input) (any, error) {
		in = got
		return "read", nil
	})
	type payload struct {
		Files []connic.File `json:"files"`
	}
	client := srv.Client()
	request := connic.TriggerRequest{Payload: payload{[]connic.File{{Name: "a.txt", MIMEType: "text/plain"}, {Name: "b.txt", MIMEType: "text/plain", Data: []byte("b")}}}}
	if _, err := client.Agents.TriggerAndWait(t.Context(), "support", request); err != nil || len(in.Files) != 2 || string(in.Files[1].Data) != "b" {
		t.Errorf("%d files, %v", len(in.Files), err)
	}
	executed := srv.Executions("agents.trigger")
	request.Payload = payload{[]connic.File{connic.TriggerFile(connic.LocalFile("a.txt"))}}
	_, err := client.Agents.Trigger(t.Context(), "support", request)
	var argument *connic.ArgumentError
	if !errors.As(err, &argument) || argument.Arg != "payload" || !strings.Contains(argument.Reason, "TriggerRequest.Files") || srv.Executions("agents.trigger") != executed {
		t.Error(err)
	}
}

// TestTriggerFilesWithABodyField adds a field to a request with a file that is
// streamed.
func TestTriggerFilesWithABodyField(t *testing.T) {
	t.Parallel()
	srv := connictest.New()
	t.Cleanup(srv.Close)
	srv.Agent("support", nil)
	file := connic.TriggerFile(connic.FSFile(os.DirFS("testdata"), "api.golden"))
	file.MIMEType = "text/plain"
	request := connic.TriggerRequest{Message: "read", Files: []connic.File{file}}
	if _, err := srv.Client().Agents.Trigger(t.Context(), "support", request, connic.WithBodyField("priority", "high")); err != nil {
		t.Fatal(err)
	}
	requests := srv.Requests()
	var body struct {
		Message, Priority string
		Files             []connic.File
	}
	if err := json.Unmarshal(requests[len(requests)-1].Body, &body); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/api.golden")
	if err != nil || body.Priority != "high" || body.Message != "read" || len(body.Files) != 1 || !slices.Equal(body.Files[0].Data, want) {
		t.Errorf("%s, %s, %d files, %v", body.Message, body.Priority, len(body.Files), err)
	}
}
