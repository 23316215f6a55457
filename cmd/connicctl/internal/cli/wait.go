package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/connic-go/connic"
)

// WaitProgress returns an option for waits that shows their progress, and says
// once which approval a run awaits.
func (a *App) WaitProgress() connic.WaitOption {
	said := ""
	return connic.WithProgress(func(e connic.WaitEvent) {
		after := e.After.Round(time.Second)
		switch {
		case e.ID == "":
			a.Progress.Show("the request waits %v for its turn (%s)", e.Next.Round(time.Second), e.Phase)
		case e.Err != nil:
			a.Progress.Show("%s %s: the last look failed and is repeated: %s", e.Kind, e.ID, Message(e.Err))
		default:
			a.Progress.Show("%s, %v: %s %s", e.Status, after, e.Kind, e.ID)
		}
		if e.Run != nil && e.Run.Approval != nil && e.Run.Approval.ID != said {
			said = e.Run.Approval.ID
			a.Progress.Say("run %s awaits approval: %s", e.ID, a.Command("approvals", "show", said))
		}
	})
}

// Left says on standard error that runs go on, if err ended the wait for them
// without canceling them. Cancel is whether that was asked for. There may be no run
// that is not found.
func (a *App) Left(err error, cancel bool) {
	var wait *connic.WaitError
	if errors.As(err, &wait) && len(wait.Pending) > 0 && !cancel && !errors.Is(wait, connic.ErrNotFound) {
		what := "the run goes on"
		if len(wait.Pending) > 1 {
			what = "runs go on"
		}
		a.Progress.Say("%s: %s", what, a.Command(append([]string{"runs", "watch"}, wait.Pending...)...))
	}
}

// Unknown adds to an error after which a run may have been started how to find
// it. The request was sent after the given time.
func (a *App) Unknown(err error, agent string, since time.Time) error {
	if !errors.Is(err, connic.ErrOutcomeUnknown) {
		return err
	}
	args := []string{"runs", "list"}
	if agent != "" {
		args = append(args, "--agent="+agent)
	}
	args = append(args, "--since="+since.Add(-time.Minute).UTC().Format(time.RFC3339))
	return fmt.Errorf("%w; look before you repeat it: %s", err, a.Command(args...))
}

// Command returns a command line of connicctl for a shell, with the project, the
// key file and the environment of this one.
func (a *App) Command(args ...string) string {
	for _, f := range []struct{ name, value string }{{"project", a.project}, {"key-file", a.keyFile}, {"env", a.env}} {
		if f.value != "" {
			args = append(args, "--"+f.name+"="+f.value)
		}
	}
	for i, arg := range args {
		if strings.ContainsFunc(arg, func(r rune) bool {
			return !strings.ContainsRune("-_./:=@", r) && (r > 'z' || !unicode.IsLetter(r) && !unicode.IsDigit(r))
		}) {
			args[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
	}
	return "connicctl " + strings.Join(args, " ")
}

// Failures returns the error of a command that went on after the failures of some
// of several items. It says each, unless there is one item.
func (a *App) Failures(failed []error, items int) error {
	switch {
	case len(failed) == 0:
		return nil
	case items == 1:
		return failed[0]
	}
	for _, err := range failed {
		a.Progress.Say("connicctl: %s", Message(err))
	}
	return Several(failed, items, fmt.Errorf("%d of %d failed", len(failed), items))
}

// Several returns an error with the exit status of the failures of several items:
// that of all of them joined, but that of an unknown outcome if there is one. That of
// an invalid argument says that nothing was sent, so it is only that of all items.
func Several(failed []error, items int, err error) error {
	status := ExitStatus(errors.Join(failed...))
	for _, f := range failed {
		if ExitStatus(f) == ExitUnknown {
			status = ExitUnknown
		}
	}
	if status == ExitUsage && len(failed) < items {
		status = ExitOther
	}
	return &ExitError{status, err}
}
