// Audit-export writes a project's audit log as JSON lines, oldest first, each
// entry as the service sent it.
//
//	audit-export -out audit.jsonl -state audit.state            new entries since the last time
//	audit-export -out audit.jsonl -state audit.state -follow    and future ones as they appear
//
// Without credentials it exports the log of an embedded fake. It only reads, and
// needs a key with access to the audit-logs section.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/examples/apps/internal/progress"
	"github.com/connic-go/connic/examples/apps/internal/service"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "audit-export:", progress.Clean(err.Error()))
		os.Exit(1)
	}
}

type options struct {
	params     connic.AuditLogListParams
	out, state string
	follow     bool
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var conf options
	flags := flag.NewFlagSet("audit-export", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&conf.out, "out", "", "write to this `file` (default: standard output)")
	flags.StringVar(&conf.state, "state", "", "record the progress of the export in this `file`, and resume from there the next time; use one file per project and -out")
	flags.BoolVar(&conf.follow, "follow", false, "continue with new entries until interrupted")
	flags.Func("from", "start at this `time`, such as 2026-10-01 or 2026-10-01T12:00:00Z (default: as far back as the log goes)", timeFlag(&conf.params.From))
	flags.Func("to", "end before this `time`", timeFlag(&conf.params.To))
	flags.StringVar(&conf.params.Action, "action", "", "only entries of this action")
	flags.StringVar(&conf.params.ResourceType, "resource-type", "", "only entries about this kind of resource")
	flags.StringVar(&conf.params.ResourceID, "resource", "", "only entries about the resource with this id")
	flags.StringVar(&conf.params.Actor, "actor", "", "only entries by this actor")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q; see -h", flags.Arg(0))
	case conf.follow && !conf.params.To.IsZero():
		return errors.New("-follow and -to contradict each other")
	}
	where, err := service.Connect("connic-audit-export", furnish, connic.WithReadOnly())
	if err != nil {
		return err
	}
	defer where.Close()
	line := progress.New(stderr)
	line.Say("exporting the audit log of %s", where)
	if where.Fake != nil && conf.follow {
		go keepChanging(ctx, where.Fake)
	}
	return export(ctx, where.Client, conf, line, stdout)
}

func timeFlag(at *time.Time) func(string) error {
	return func(s string) (err error) {
		for _, layout := range []string{time.RFC3339, time.DateOnly} {
			if *at, err = time.Parse(layout, s); err == nil {
				return nil
			}
		}
		return errors.New("not a time such as 2026-10-01 or 2026-10-01T12:00:00Z")
	}
}

// export opens the files and exports. It returns nil if it was interrupted
// while following, which always ends that way.
func export(ctx context.Context, client *connic.Client, conf options, line *progress.Line, stdout io.Writer) (err error) {
	s, err := openState(conf)
	if err != nil {
		return err
	}
	out, err := openOutput(conf, s, stdout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	x := &exporter{client: client, conf: conf, state: s, out: out, line: line}
	defer line.Done()
	if err := x.catchUp(ctx); err != nil {
		if conf.state != "" {
			line.Say("start again with the same -state to resume")
		}
		return err
	}
	line.Say("%d entries exported, the newest of %s", x.exported, stamp(s.Through))
	if conf.follow {
		return x.follow(ctx)
	}
	return nil
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "no time at all"
	}
	return t.UTC().Format(time.RFC3339)
}
