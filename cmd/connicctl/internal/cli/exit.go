package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/connic-go/connic"
)

// The exit statuses of all commands. They are documented in README.md and do not
// change.
const (
	ExitDone        = 0
	ExitFailed      = 1   // what was asked about failed: a run, a check
	ExitUsage       = 2   // the command line, the settings or an argument is invalid; nothing was sent
	ExitNotFound    = 3   // there is no such run, agent, …
	ExitRefused     = 4   // the key is unknown, or may not do this
	ExitLater       = 5   // the quota is spent, the service is unreachable, the time limit passed, or another process has the journal
	ExitUnknown     = 6   // the request may have been executed
	ExitOther       = 7   // any other error
	ExitInterrupted = 130 // by Ctrl-C or SIGTERM
	ExitClosed      = 141 // the reader of standard output has gone
)

// An ExitError is an error with an exit status of its own.
type ExitError struct {
	Status int
	Err    error
}

func (e *ExitError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *ExitError) Unwrap() error { return e.Err }

// Message returns the text of an error for people: without the name of package
// connic, which errors of several layers repeat.
func Message(err error) string {
	text := strings.ReplaceAll(err.Error(), "connic: ", "")
	if text == context.DeadlineExceeded.Error() {
		return "--timeout has passed"
	}
	return text
}

// Usage returns the error of an invalid command line.
func Usage(format string, args ...any) error {
	return &ExitError{ExitUsage, fmt.Errorf(format, args...)}
}

// Failed returns the error of a check that did not pass.
func Failed(format string, args ...any) error {
	return &ExitError{ExitFailed, fmt.Errorf(format, args...)}
}

// ExitStatus returns the exit status of a command that ended with err.
func ExitStatus(err error) int {
	if err == nil {
		return ExitDone
	}
	is := func(targets ...error) bool {
		for _, target := range targets {
			if errors.Is(err, target) {
				return true
			}
		}
		return false
	}
	var own *ExitError
	var argument *connic.ArgumentError
	var transport *connic.TransportError
	switch {
	case errors.As(err, &own):
		return own.Status
	case is(connic.ErrOutcomeUnknown):
		return ExitUnknown
	case is(context.Canceled):
		return ExitInterrupted
	case ended(err):
		return ExitFailed
	case is(connic.ErrUnauthorized, connic.ErrForbidden, connic.ErrReadOnly):
		return ExitRefused
	case is(connic.ErrNotFound):
		return ExitNotFound
	case is(context.DeadlineExceeded) && !is(connic.ErrRateLimited), is(connic.ErrJournalInUse):
		return ExitLater
	case is(connic.ErrRateLimited, connic.ErrServer), errors.As(err, &transport):
		if _, waited := errors.AsType[*connic.WaitError](err); waited { // for what was started
			return ExitUnknown
		}
		return ExitLater
	case errors.As(err, &argument):
		return ExitUsage
	}
	return ExitOther
}

// ended reports whether err says that work of the service ended badly.
func ended(err error) bool {
	var (
		run        *connic.RunError
		approval   *connic.ApprovalError
		job        *connic.JobError
		evaluation *connic.EvaluationError
		deployment *connic.DeploymentError
		test       *connic.TestRunError
	)
	return errors.As(err, &run) || errors.As(err, &approval) || errors.As(err, &job) || errors.As(err, &evaluation) ||
		errors.As(err, &deployment) || errors.As(err, &test)
}
