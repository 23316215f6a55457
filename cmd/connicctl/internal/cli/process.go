package cli

import (
	"context"
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/term"
)

// A Process is what commands see of the process that runs them. Tests set its
// fields; nothing else is global.
type Process struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// The streams that are terminals.
	StdinTTY, StdoutTTY, StderrTTY bool
	Width                          int // of the terminal, in columns
	Getenv                         func(string) string
	ReadFile                       func(name string) ([]byte, error)
	// CacheDir returns the folder for the files of all programs of the user.
	CacheDir func() (string, error)
	Location *time.Location // of the times in tables
	// ReadSecret reads a line from the terminal without echo.
	ReadSecret func(context.Context) (string, error)
	// Transport sends the requests; nil means the client's own.
	Transport http.RoundTripper
}

// OS returns the process of the program.
func OS() *Process {
	terminal := func(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
	p := &Process{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		StdinTTY: terminal(os.Stdin), StdoutTTY: terminal(os.Stdout), StderrTTY: terminal(os.Stderr) && os.Getenv("TERM") != "dumb",
		Getenv: os.Getenv, ReadFile: os.ReadFile, CacheDir: os.UserCacheDir, Location: time.Local, ReadSecret: readSecret,
	}
	for _, f := range []*os.File{os.Stdout, os.Stderr} {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && p.Width == 0 {
			p.Width = width
		}
	}
	return p
}

// readSecret reads a line from standard input. It restores the echo if the
// context ends first.
func readSecret(ctx context.Context) (string, error) {
	in := int(os.Stdin.Fd())
	state, err := term.GetState(in)
	if err != nil {
		return "", err
	}
	return await(ctx, func() (string, error) {
		line, err := term.ReadPassword(in)
		return string(line), err
	}, func() { _ = term.Restore(in, state) })
}

// await returns what read returns, which cannot be interrupted. If the context
// ends first, it calls undo and leaves read to the end of the process.
func await[T any](ctx context.Context, read func() (T, error), undo func()) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := read()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		undo()
		var none T
		return none, ctx.Err()
	}
}
