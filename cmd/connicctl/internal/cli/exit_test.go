package cli_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
)

func TestExitStatus(t *testing.T) {
	t.Parallel()
	status := func(code int) error { return &connic.Error{Op: "runs.get", StatusCode: code} }
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{&connic.RunError{Run: &connic.Run{Status: connic.RunFailed}}, 1},
		{&connic.TestRunError{}, 1},
		{cli.Failed("2 of 3 checks did not pass"), 1},
		{cli.Usage("two agents"), 2},
		{&connic.ArgumentError{Op: "runs.get", Arg: "id", Reason: "is empty"}, 2},
		{status(404), 3},
		{&connic.WaitError{Err: status(404)}, 3},
		{status(401), 4},
		{status(403), 4},
		{fmt.Errorf("no: %w", connic.ErrReadOnly), 4},
		{status(429), 5},
		{status(503), 5},
		{&connic.LimitError{Deadline: true}, 5},
		{&connic.TransportError{Err: io.ErrUnexpectedEOF}, 5},
		{&connic.WaitError{Err: context.DeadlineExceeded}, 5},
		{&connic.WaitError{Err: &connic.TransportError{Err: context.DeadlineExceeded}}, 5},
		{fmt.Errorf("a.jsonl: %w", connic.ErrJournalInUse), 5},
		{&connic.WaitError{Err: status(429)}, 6},
		{&connic.WaitError{Err: &connic.LimitError{Deadline: true}}, 6},
		{&connic.WaitError{Err: status(503)}, 6},
		{&connic.WaitError{Err: &connic.TransportError{Err: io.ErrUnexpectedEOF}}, 6},
		{fmt.Errorf("%w: %w", connic.ErrOutcomeUnknown, context.Canceled), 6},
		{status(409), 7},
		{status(422), 7},
		{&connic.DecodeError{Err: io.EOF}, 7},
		{errors.New("x"), 7},
		{&connic.WaitError{Err: context.Canceled}, 130},
		{&connic.TransportError{Err: context.Canceled, Last: &connic.Error{StatusCode: 503}}, 130},
	} {
		if got := cli.ExitStatus(c.err); got != c.want {
			t.Errorf("%T %v: %d, want %d", c.err, c.err, got, c.want)
		}
		if c.err != nil && cli.ExitStatus(fmt.Errorf("more: %w", c.err)) != c.want {
			t.Errorf("%T %v, wrapped: not %d", c.err, c.err, c.want)
		}
	}
}

// Several failures have the most careful status.
func TestSeveral(t *testing.T) {
	t.Parallel()
	failed, usage := cli.Failed("1 of 2"), &connic.ArgumentError{Op: "runs.get", Arg: "id", Reason: "is empty"}
	for _, c := range []struct {
		errs []error
		want int
	}{
		{[]error{failed, usage}, 1},
		{[]error{failed, connic.ErrOutcomeUnknown}, 6},
		{[]error{usage, usage}, 7}, // another one was sent
		{[]error{usage, usage, usage}, 2},
	} {
		if got := cli.ExitStatus(cli.Several(c.errs, 3, io.EOF)); got != c.want {
			t.Errorf("%v: %d, want %d", c.errs, got, c.want)
		}
	}
}
