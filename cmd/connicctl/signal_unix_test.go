//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/clitest"
	"github.com/connic-go/connic/connictest"
)

// TestMain runs the program itself in processes that tests start.
func TestMain(m *testing.M) {
	if os.Getenv("CONNICCTL_TEST_PROGRAM") != "" {
		main()
	}
	os.Exit(m.Run())
}

// A signal that arrives twice at once, as the program timeout sends it, interrupts
// once. A later one ends the program.
func TestRepeatedSignals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		signals := make(chan os.Signal)
		canceled, ended := false, false
		go interrupt(signals, func() { canceled = true }, func() { ended = true })
		for i, want := range []bool{false, false, true} {
			if i == 2 {
				time.Sleep(time.Second)
			}
			signals <- syscall.SIGTERM
			synctest.Wait()
			if !canceled || ended != want {
				t.Errorf("after %d signals: %v, %v", i+1, canceled, ended)
			}
		}
	})
}

// A signal interrupts the program in order: the run is canceled.
func TestSignals(t *testing.T) {
	t.Parallel()
	fake := connictest.NewServer(t)
	running, ended := make(chan string, 1), make(chan error, 1)
	fake.Agent("slow", func(ctx context.Context, in connictest.Input) (any, error) {
		running <- in.RunID
		<-ctx.Done()
		return nil, ctx.Err()
	})
	program := exec.CommandContext(t.Context(), os.Args[0], "agents", "trigger", "slow", "x", "--cancel")
	program.Env = append(os.Environ(), "CONNICCTL_TEST_PROGRAM=1", "CONNIC_API_URL="+fake.URL(),
		"CONNIC_PROJECT_ID="+connictest.ProjectID, "CONNIC_API_KEY="+string(fake.Key()), "XDG_CACHE_HOME="+t.TempDir())
	var stderr bytes.Buffer
	program.Stderr = &stderr
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { ended <- program.Wait() }()
	var id string
	select {
	case id = <-running:
	case err := <-ended:
		t.Fatal(err, stderr.String())
	}
	if err := program.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := <-ended; !errors.As(err, &exit) || exit.ExitCode() != 130 || !strings.Contains(stderr.String(), "canceled") {
		t.Errorf("%v: %s", err, stderr.String())
	}
	run, err := fake.Client().Runs.Wait(t.Context(), id)
	if run == nil || run.Status != connic.RunCancelled {
		t.Error(run, err)
	}
}

// A reader of standard error that goes does not end the program: the output of the
// run, which is paid for, is written.
func TestClosedStandardError(t *testing.T) {
	t.Parallel()
	fake := connictest.NewServer(t)
	fake.Agent("echo", func(_ context.Context, in connictest.Input) (any, error) { return in.Message, nil })
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	_ = reader.Close()
	program := exec.CommandContext(t.Context(), os.Args[0], "agents", "trigger", "echo", "x")
	program.Env = append(os.Environ(), "CONNICCTL_TEST_PROGRAM=1", "CONNIC_API_URL="+fake.URL(),
		"CONNIC_PROJECT_ID="+connictest.ProjectID, "CONNIC_API_KEY="+string(fake.Key()), "XDG_CACHE_HOME="+t.TempDir())
	program.Stderr = writer
	if out, err := program.Output(); err != nil || string(out) != "x\n" {
		t.Errorf("%q, %v", out, err)
	}
}

// A replay never becomes a recording, which sends requests to the service.
func TestReplayDoesNotRecord(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "session.json")
	if err := os.WriteFile(file, []byte(`{"version": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	program := exec.CommandContext(ctx, os.Args[0], "fake", "--replay", file, "--addr", "127.0.0.1:0")
	program.Env = append(os.Environ(), "CONNICCTL_TEST_PROGRAM=1", "CONNIC_RECORD=1")
	var stderr bytes.Buffer
	program.Stderr = &stderr
	if out, err := program.Output(); program.ProcessState.ExitCode() != 2 || len(out) > 0 || !strings.Contains(stderr.String(), "because CONNIC_RECORD is set") {
		t.Errorf("%s, %v: %s", out, err, &stderr)
	}
}

// The command gen ends when it is interrupted, also while it waits for the reader of
// a pipe.
func TestGenIsInterrupted(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := clitest.New(t, connictest.New(t), commands()...)
	if r := p.RunContext(ctx, "gen", "../../contrib/connicgen/testdata/invoices", "-o", pipe); r.Status != 130 || r.Err != "" {
		t.Errorf("%+v", r)
	}
	reader, err := os.Open(pipe)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if code, err := io.ReadAll(reader); err != nil || !bytes.HasPrefix(code, []byte("// Code generated")) {
		t.Errorf("%s, %v", code, err)
	}
}
