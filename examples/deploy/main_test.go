package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

func TestDeploy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		var out bytes.Buffer
		err := deploy(t.Context(), srv.Client(), os.DirFS("project"), &out)
		for _, want := range []string{"accepted as deployment-00000001; not sent: README.md\n", "building build\n", "deployed: support\n"} {
			if err != nil || !strings.Contains(out.String(), want) {
				t.Errorf("%s%v", &out, err)
			}
		}
	})
}

func TestDeployThatFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		prepare func(*connictest.Server)
		folder  fstest.MapFS
		want    string
		is      func(error) bool
		sent    int
	}{
		"build": {
			func(s *connictest.Server) {
				s.FailDeployment(func(connictest.UploadedProject) error { return errors.New("no such model") })
			},
			nil, "no such model", as[*connic.DeploymentError], 1,
		},
		"folder": {nil, fstest.MapFS{"agents/a.exe": {}}, "the folder cannot be deployed", as[*connic.ArchiveError], 0},
		"lost response": {
			func(s *connictest.Server) {
				s.Fault(connictest.Fault{Op: "deployments.upload", After: true, Drop: true})
			},
			nil, "look at the deployments before you try again", func(err error) bool { return errors.Is(err, connic.ErrOutcomeUnknown) }, 1,
		},
		"too long": {
			func(s *connictest.Server) { s.PhaseTime(time.Hour) },
			nil, "waiting for deployment", func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv := connictest.New(t)
				folder := os.DirFS("project")
				if test.folder != nil {
					folder = test.folder
				}
				if test.prepare != nil {
					test.prepare(srv)
				}
				err := deploy(t.Context(), srv.Client(), folder, new(bytes.Buffer))
				if err == nil || !strings.Contains(err.Error(), test.want) || !test.is(err) || srv.Executions("deployments.upload") != test.sent {
					t.Errorf("%v, %d uploads", err, srv.Executions("deployments.upload"))
				}
			})
		})
	}
}

func as[E error](err error) bool {
	var target E
	return errors.As(err, &target)
}
