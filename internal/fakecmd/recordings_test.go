package fakecmd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// TestRecordings records a session through the program, and replays it.
func TestRecordings(t *testing.T) {
	t.Parallel()
	srv := connictest.NewServer(t)
	srv.Agent("echo", func(_ context.Context, in connictest.Input) (any, error) { return in.Message, nil })
	file := filepath.Join(t.TempDir(), "session.json")
	key := srv.Key()
	start := func(flags ...string) (map[string]string, func() (string, error)) {
		var log lockedBuffer
		ctx, cancel := context.WithCancel(t.Context())
		r, w := io.Pipe()
		ended := make(chan error, 1)
		go func() {
			err := Serve(ctx, append([]string{"-addr", "127.0.0.1:0"}, flags...), w, &log)
			_ = w.Close()
			ended <- err
		}()
		variables := make(map[string]string)
		want := 1
		if flags[0] == "-replay" {
			want = 3
		}
		for lines := bufio.NewScanner(r); len(variables) < want && lines.Scan(); {
			name, value, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "export "), "=")
			variables[name] = value
		}
		go func() { _, _ = io.Copy(io.Discard, r) }()
		return variables, func() (string, error) {
			cancel()
			err := <-ended
			return log.String(), err
		}
	}
	ask := func(url, project, key, message string) (string, error) {
		c, err := connic.New(project, connic.APIKey(key), connic.WithBaseURL(url), connic.WithoutRateLimit())
		if err != nil {
			return "", err
		}
		result, err := c.Agents.Trigger(t.Context(), "echo", connic.TriggerRequest{Message: message})
		if err != nil {
			return "", err
		}
		run, err := c.Runs.Wait(t.Context(), result.RunID, connic.WithPoll(time.Millisecond, time.Millisecond))
		if err != nil {
			return "", err
		}
		return run.Input, nil
	}

	variables, stop := start("-record", file, "-upstream", srv.URL())
	if input, err := ask(variables["CONNIC_API_URL"], connictest.ProjectID, string(key), "hello"); err != nil || input != "hello" {
		t.Fatal(input, err)
	}
	if log, err := stop(); err != nil {
		t.Fatal(log, err)
	}
	text, err := os.ReadFile(file)
	if err != nil || bytes.Contains(text, []byte("hello")) || bytes.Contains(text, []byte(key)) {
		t.Fatalf("%v\n%s", err, text)
	}

	variables, stop = start("-replay", file)
	if input, err := ask(variables["CONNIC_API_URL"], variables["CONNIC_PROJECT_ID"], variables["CONNIC_API_KEY"], "hello"); err != nil || input != "hello" {
		t.Error(input, err)
	}
	if log, err := stop(); err != nil {
		t.Error(log, err)
	}
	variables, stop = start("-replay", file)
	if input, err := ask(variables["CONNIC_API_URL"], variables["CONNIC_PROJECT_ID"], variables["CONNIC_API_KEY"], "bye"); err == nil {
		t.Error(input)
	}
	if log, err := stop(); err == nil || !strings.Contains(log, "body.message") || !strings.Contains(log, "were not asked for") {
		t.Error(log, err)
	}
	folder := t.TempDir()
	for flags, want := range map[string]string{
		"-record " + folder: "is a folder", "-record " + file + "/x": "not a directory", // before anything is sent
		"-replay /nowhere.json": "no such file or directory", "-record a -replay b": "exclude each other", "-record a -texts none": "replace, shorten or keep",
		"-record a -upstream http://example.com": "is not https",
	} {
		err := Serve(t.Context(), strings.Fields(flags), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "CONNIC_RECORD") || errors.As(err, new(ReportError)) {
			t.Errorf("%s: %v", flags, err)
		}
	}
}
