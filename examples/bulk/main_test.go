package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic/connictest"
)

// TestResumes interrupts the program when 30 of 100 inputs are executed, and starts it again:
// each input is executed once, and has one answer.
func TestResumes(t *testing.T) {
	t.Parallel()
	var lines strings.Builder
	for i := range 100 {
		fmt.Fprintf(&lines, "{\"id\": \"order-%d\", \"message\": \"Somebody has ordered %d cups.\"}\n", i, i)
	}
	journal := filepath.Join(t.TempDir(), "journal")
	synctest.Test(t, func(t *testing.T) {
		fake := connictest.New()
		defer fake.Close()
		client := fake.Client()
		defer client.Close()
		stop, cancel := context.WithCancel(t.Context())
		defer cancel()
		var begun atomic.Int32
		fake.Agent("thanks", func(ctx context.Context, in connictest.Input) (any, error) {
			if begun.Add(1) == 30 {
				cancel() // as Ctrl-C does
			}
			return thank(ctx, in)
		})
		var stdout, stderr bytes.Buffer
		err := run(client, "thanks", strings.NewReader(lines.String()), journal, stop.Done(), &stdout, &stderr)
		if err == nil || !strings.Contains(err.Error(), "stopped before input ") {
			t.Errorf("the first: got %v", err)
		}
		if n := fake.Executions("agents.trigger"); n < 30 || n == 100 || n != strings.Count(stdout.String(), "\n") {
			t.Errorf("%d runs, and the answers\n%s", n, &stdout)
		}
		if err := run(client, "thanks", strings.NewReader(lines.String()), journal, nil, &stdout, &stderr); err != nil {
			t.Errorf("the second: %v", err)
		}
		if n := fake.Executions("agents.trigger"); n != 100 {
			t.Errorf("%d runs, want 100", n)
		}
		answers := make(map[string]string)
		for line := range strings.Lines(stdout.String()) {
			var a struct{ ID, Output string }
			if err := json.Unmarshal([]byte(line), &a); err != nil || answers[a.ID] != "" {
				t.Errorf("%s: %v", line, err)
			}
			answers[a.ID] = a.Output
		}
		if len(answers) != 100 || answers["order-7"] != "Thank you for 7 cups." {
			t.Errorf("%d answers: %q", len(answers), answers)
		}
		if got := stderr.String(); !strings.Contains(got, "100 done, 0 open") || strings.Contains(got, "\x1b") {
			t.Errorf("the progress is\n%s", got)
		}
	})
}

// TestFailures has inputs that fail, and a line that is none.
func TestFailures(t *testing.T) {
	t.Parallel()
	journal := filepath.Join(t.TempDir(), "journal")
	synctest.Test(t, func(t *testing.T) {
		fake := connictest.New()
		defer fake.Close()
		client := fake.Client()
		defer client.Close()
		fake.Agent("thanks", func(context.Context, connictest.Input) (any, error) { return nil, fmt.Errorf("out of\ncups") })
		for inputs, want := range map[string]string{
			`{"id": "a", "message": "x"}`:                  "1 inputs have failed",
			`{"id": "b", "message": "x"} order`:            "the inputs cannot be read: ",
			`{"message": "y"} {"id": "e", "message": "x"}`: "2 inputs have failed",
			`{"id": "c", "message": "x"} {"id": ["d"]}`:    "the inputs cannot be read: ",
		} {
			var stdout, stderr bytes.Buffer
			err := run(client, "thanks", strings.NewReader(inputs), journal, nil, &stdout, &stderr)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q", inputs, err, want)
			}
			if got := stdout.String(); !strings.Contains(got, `out of`) || strings.Count(got, "\n") != strings.Count(inputs, `"message"`) {
				t.Errorf("%s: got %q", inputs, got)
			}
		}
	})
}

// TestLine shows a plain line every 5 s, where there is no terminal.
func TestLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		show := line(&out)
		for i := range 12 {
			show(fmt.Sprint(i, " done"))
			show("")
			<-time.After(time.Second)
		}
		if want := "0 done\n5 done\n10 done\n"; out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
	})
}

// TestOpen runs the program as somebody without credentials does, and asks those
// with some for an agent.
func TestOpen(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"CONNIC_API_KEY", "CONNIC_PROJECT_ID", "CONNIC_TOKEN", "CONNIC_API_URL"} {
		t.Setenv(name, "")
	}
	agent, journal := "", "bulk.journal"
	client, inputs, err := open(&agent, &journal, "")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var stdout, stderr bytes.Buffer
	if err := run(client, agent, inputs, journal, nil, &stdout, &stderr); err != nil || strings.Count(stdout.String(), "Thank you for ") != 12 {
		t.Errorf("%v\n%s", err, &stdout)
	}
	if _, err := os.Stat("bulk.journal.fake"); err != nil {
		t.Error(err)
	}
	t.Setenv("CONNIC_API_KEY", "cnc_abc")
	if _, _, err := open(new(string), &journal, "orders.jsonl"); err == nil || !strings.Contains(err.Error(), "-agent") {
		t.Errorf("got %v", err)
	}
}
