package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// MaxInput is the maximum size of an argument that is read from a file or from
// standard input, in bytes.
const MaxInput = 32 << 20

// Input returns the text of an argument: of the file if it is @file, and of
// standard input if it is -.
func (a *App) Input(ctx context.Context, arg string) ([]byte, error) {
	var data []byte
	var err error
	switch name, isFile := strings.CutPrefix(arg, "@"); {
	case isFile:
		data, err = a.ReadFile(name)
	case arg == "-":
		data, err = Await(ctx, func() ([]byte, error) { return io.ReadAll(io.LimitReader(a.Stdin, MaxInput+1)) }, nil)
	default:
		return []byte(arg), nil
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, Usage("the input cannot be read: %w", err)
	case len(data) > MaxInput:
		return nil, Usage("the input has more than %d bytes", MaxInput)
	}
	return data, nil
}

// Confirm asks a question on a terminal. Elsewhere, yes must be set, which is the
// flag --yes of the command.
func (a *App) Confirm(ctx context.Context, yes bool, question string) error {
	switch {
	case yes:
		return nil
	case !a.StdinTTY || !a.StderrTTY:
		return Usage("%s Use --yes: there is no terminal to ask on", question)
	}
	a.Progress.Done()
	_, _ = fmt.Fprintf(a.Stderr, "%s [y/N] ", a.Line(question))
	answer, err := Await(ctx, func() (string, error) { return readLine(a.Stdin) }, nil)
	switch {
	case err != nil:
		return err
	case !strings.EqualFold(answer, "y") && !strings.EqualFold(answer, "yes"):
		return &ExitError{ExitInterrupted, errors.New("nothing was done")}
	}
	return nil
}

// readLine reads a line, and nothing of the next one.
func readLine(r io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); ; {
		n, err := r.Read(b)
		switch {
		case n == 1 && b[0] != '\n':
			line = append(line, b[0])
			continue
		case n == 0 && err == nil:
			continue
		case err != nil && err != io.EOF:
			return "", err
		}
		return strings.TrimSpace(string(line)), nil
	}
}
