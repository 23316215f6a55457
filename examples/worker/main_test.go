package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/examples/internal/service"
)

const answer = "You may return the goods within 30 days.\n"

// life is one life of the worker, of some length.
func life(t *testing.T, srv *connictest.Server, file string, length time.Duration) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var out bytes.Buffer
	err := work(ctx, srv.Client(), file, "How long?", &out)
	return out.String(), err
}

func TestWorker(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before  func(t *testing.T, srv *connictest.Server, file string) // the first life
		want    string
		failure string
		runs    int
	}{
		"the first life": {nil, answer, "", 1},
		"killed while it waits": {func(t *testing.T, srv *connictest.Server, file string) {
			if _, err := life(t, srv, file, 3*time.Second); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "start again") {
				t.Error(err)
			}
		}, answer, "", 1},
		"killed before it recorded the run": {func(t *testing.T, srv *connictest.Server, file string) {
			req, marker := connic.TriggerRequest{Message: "How long?"}.Marked()
			if err := record(file, os.O_CREATE|os.O_EXCL, job{Marker: marker, Sent: time.Now()}); err != nil {
				t.Fatal(err)
			}
			if _, err := srv.Client().Agents.Trigger(t.Context(), agent, req); err != nil {
				t.Fatal(err)
			}
		}, answer, "", 1},
		"killed while it recorded the run": {func(t *testing.T, srv *connictest.Server, file string) {
			if _, err := life(t, srv, file, 3*time.Second); err == nil {
				t.Error("it has not been killed")
			}
			text, _ := os.ReadFile(file)
			if err := os.WriteFile(file, text[:len(text)-4], 0o600); err != nil {
				t.Fatal(err)
			}
		}, answer, "", 1},
		"killed before it sent": {func(t *testing.T, _ *connictest.Server, file string) {
			_, marker := connic.TriggerRequest{Message: "How long?"}.Marked()
			if err := record(file, os.O_CREATE|os.O_EXCL, job{Marker: marker, Sent: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}, "", "no run has the question: delete the file to ask it again", 0},
		"killed while it recorded the question": {func(t *testing.T, _ *connictest.Server, file string) {
			if err := os.WriteFile(file, []byte(`{"marker":"connic-`), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "", "nothing was sent: delete", 0},
		"a lost response": {func(_ *testing.T, srv *connictest.Server, _ string) {
			srv.Fault(connictest.Fault{Op: "agents.trigger", After: true, Drop: true})
		}, answer, "", 1},
		"a refused key": {func(_ *testing.T, srv *connictest.Server, _ string) {
			srv.Fault(connictest.Fault{Op: "agents.trigger", Status: 401})
		}, "", "401", 0},
		"a run that fails": {func(_ *testing.T, srv *connictest.Server, _ string) {
			srv.Agent(agent, func(context.Context, connictest.Input) (any, error) { return nil, errors.New("no idea") })
		}, "", "no idea", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "worker.json")
			synctest.Test(t, func(t *testing.T) {
				srv := connictest.New(t)
				service.Furnish(srv)
				if test.before != nil {
					test.before(t, srv, file)
				}
				got, err := life(t, srv, file, 10*time.Minute)
				if got != test.want || (err != nil) != (test.failure != "") || err != nil && !strings.Contains(err.Error(), test.failure) {
					t.Errorf("%q, %v", got, err)
				}
				if n := srv.Executions("agents.trigger"); n != test.runs {
					t.Errorf("%d runs", n)
				}
				_, err = os.Stat(file)
				if kept := err == nil; kept != strings.Contains(test.failure, "delete") {
					t.Errorf("the file is kept: %v", kept)
				}
			})
		})
	}
}

func TestTwoWorkers(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "worker.json")
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		service.Furnish(srv)
		// Neither has seen the file of the other.
		for _, want := range []error{nil, fs.ErrExist} {
			if _, err := start(t.Context(), srv.Client(), file, "How long?"); !errors.Is(err, want) {
				t.Error(err)
			}
		}
		if got, err := life(t, srv, file, time.Minute); err != nil || got != answer {
			t.Errorf("%q, %v", got, err)
		}
		if n := srv.Executions("agents.trigger"); n != 1 {
			t.Errorf("%d runs", n)
		}
	})
}
