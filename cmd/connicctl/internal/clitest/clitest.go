// Package clitest runs commands in tests, against the fake of package connictest.
package clitest

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/connic-go/connic/connictest"
	"github.com/spf13/cobra"
)

// A Program is connicctl with some of its commands. Nothing of it is shared, and
// it reaches the fake without a network, also in virtual time.
type Program struct {
	cli.Process
	// Env holds the environment variables: those of a client of the fake.
	Env map[string]string
	// Files holds files by name. Names that it lacks are read from the disk, but
	// for .connic.
	Files map[string]string
	// Commands are the commands of the program.
	Commands []func(*cli.App) *cobra.Command

	t   testing.TB
	key connic.APIKey
}

// A Result is what a command line led to.
type Result struct {
	Status   int
	Out, Err string
}

// New returns a program whose output goes to pipes.
func New(t testing.TB, fake *connictest.Server, commands ...func(*cli.App) *cobra.Command) *Program {
	p := &Program{
		Commands: commands, t: t, key: fake.Key(), Files: make(map[string]string),
		Env: map[string]string{"CONNIC_PROJECT_ID": connictest.ProjectID},
	}
	p.Env["CONNIC_API_KEY"] = string(p.key)
	cache := t.TempDir()
	p.Process = cli.Process{
		Stdin: strings.NewReader(""), Location: time.UTC, Transport: fake.Transport(),
		Getenv:   func(name string) string { return p.Env[name] },
		CacheDir: func() (string, error) { return cache, nil },
		ReadFile: func(name string) ([]byte, error) {
			if text, ok := p.Files[name]; ok {
				return []byte(text), nil
			}
			if name == ".connic" {
				return nil, fs.ErrNotExist
			}
			return os.ReadFile(name) //nolint:gosec // a test names the file
		},
		ReadSecret: func(context.Context) (string, error) { return "", errors.New("no terminal") },
	}
	return p
}

// Terminal puts the program on a terminal of a width.
func (p *Program) Terminal(width int) *Program {
	p.StdinTTY, p.StdoutTTY, p.StderrTTY, p.Width = true, true, true, width
	return p
}

// Run runs a command line. The test fails if the key is in the output.
func (p *Program) Run(args ...string) Result { return p.RunContext(p.t.Context(), args...) }

// RunContext is like Run with a context, which Ctrl-C would cancel.
func (p *Program) RunContext(ctx context.Context, args ...string) Result {
	p.t.Helper()
	var out, err bytes.Buffer
	process := p.Process
	if process.Stdout == nil {
		process.Stdout = &out
	}
	process.Stderr = &err
	r := Result{Status: cli.Run(ctx, &process, args, p.Commands...)}
	r.Out, r.Err = out.String(), err.String()
	if secret := strings.TrimPrefix(string(p.key), "cnc_"); strings.Contains(r.Out+r.Err, secret) {
		p.t.Errorf("%q shows the key", args)
	}
	return r
}
