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
	defer func() { _ = term.Restore(in, state) }()
	return Await(ctx, func() (string, error) {
		line, err := term.ReadPassword(in)
		return string(line), err
	}, nil)
}

// Await calls f, which cannot be interrupted, and returns earlier if ctx ends. A late
// result is passed to drop, unless that is nil.
func Await[T any](ctx context.Context, f func() (T, error), drop func(T)) (T, error) {
	type result struct {
		value T
		err   error
	}
	results := make(chan result)
	go func() {
		value, err := f()
		select {
		case results <- result{value, err}:
		case <-ctx.Done():
			if err == nil && drop != nil {
				drop(value)
			}
		}
	}()
	var none T
	select {
	case r := <-results:
		return r.value, r.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}
