// Package audit has the commands that export and follow the audit log.
package audit

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/spf13/cobra"
)

// Command returns the command audit.
func Command(a *cli.App) *cobra.Command {
	return cli.Group("audit", "Export and follow the audit log", export(a), follow(a))
}

// options are those of an export.
type options struct {
	params      connic.AuditLogListParams
	service     string // its URL and the project
	file, state string
	follow      bool
	quiet       bool
}

const aboutFiles = `

With --file the entries are added to a file as JSON lines, just as the service
sent them, with members that this version does not know. FILE.state, or --state,
records what the file has, so that the next export adds what is new. Each entry
is in the file once: an export that was interrupted goes on where it stopped, and
what a process wrote that was killed is written again. An entry is missed if the
service shows it more than two minutes after the time it is dated, and newer ones
were exported. Two exports to one file do not run at the same time.

With --state and -o jsonl, standard output has what is new since the last time.
An entry may be there again after a crash.`

func export(a *cli.App) *cobra.Command {
	conf := new(options)
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Export the audit log, oldest entry first",
		Long: `Export the audit log, oldest entry first. It costs one request per 100 entries.
The key must be allowed to read audit logs.` + aboutFiles,
		Example: `  connicctl audit export --since 7d
  connicctl audit export --file audit.jsonl -q      # every night: what is new`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return conf.run(cmd, a) },
	}
	conf.flags(a, cmd)
	cmd.Flags().Var(a.TimeFlag(&conf.params.To), "before", "end before this `time` or this long ago")
	return cmd
}

func follow(a *cli.App) *cobra.Command {
	conf := &options{follow: true}
	cmd := &cobra.Command{
		Use:   "follow",
		Short: "Export new entries of the audit log as they appear",
		Long: `Export new entries of the audit log as they appear: from now on, or from --since.
With --file or --state it exports what there is first, as audit export does. It
looks 5 s after an entry and then less and less often, up to every 30 s, at one
request a look. A failed look is repeated. Ctrl-C and SIGTERM end it, with exit
status 130.` + aboutFiles,
		Example: `  connicctl audit follow --action budgets.update
  connicctl audit follow --state audit.state -o jsonl | logger`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return conf.run(cmd, a) },
	}
	conf.flags(a, cmd)
	return cmd
}

func (o *options) flags(a *cli.App, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.file, "file", "", "add the entries to this `file`")
	flags.StringVar(&o.state, "state", "", "record in this `file` what was exported")
	flags.Var(a.TimeFlag(&o.params.From), "since", "start at this `time`, such as 2026-10-01T12:00:00Z, or this long ago, such as 2h or 7d")
	flags.StringVar(&o.params.Action, "action", "", "only entries of this `action`")
	flags.StringVar(&o.params.Actor, "actor", "", "only entries by this `actor`")
	flags.StringVar(&o.params.ResourceType, "resource-type", "", "only entries about this `kind` of resource")
	flags.StringVar(&o.params.ResourceID, "resource", "", "only entries about the resource with this `id`")
}

func (o *options) run(cmd *cobra.Command, a *cli.App) error {
	format, _ := cmd.Flags().GetString("output")
	switch {
	case o.file != "" && cmd.Flags().Changed("output") && format != "jsonl":
		return cli.Usage("a --file has JSON lines, and not %s", format)
	case o.file == "" && o.state != "" && a.ForPeople():
		return cli.Usage("--state is for --file, or for an output such as -o jsonl")
	case o.file != "" && filepath.Clean(o.file) == filepath.Clean(o.state):
		return cli.Usage("--file and --state are the same file")
	case o.file != "" && o.state == "":
		o.state = o.file + ".state"
	}
	client, err := a.Client(cmd.Context(), connic.WithReadOnly())
	if err != nil {
		return err
	}
	found, err := a.Settings()
	if err != nil {
		return err
	}
	o.service = found.URL + " " + found.Project.Project
	o.quiet, _ = cmd.Flags().GetBool("quiet")
	x := &exporter{app: a, client: client, conf: *o}
	if o.file != "" {
		return x.run(cmd.Context())
	}
	write := cli.List[entry]
	if o.follow {
		write = cli.Stream[entry]
	}
	return write(a, func(yield func(entry, error) bool) {
		x.emit = func(line []byte) error {
			e, err := read(line)
			if err == nil && !yield(e, nil) {
				err = errStopped
			}
			return err
		}
		if err := x.run(cmd.Context()); err != nil && !errors.Is(err, errStopped) {
			yield(entry{}, err)
		}
	}, columns(a)...)
}

// errStopped ends an export whose output cannot be written.
var errStopped = errors.New("stopped")

// An entry is an entry of the log that is encoded as the service sent it.
type entry struct {
	line []byte
	*connic.AuditEntry
}

func read(line []byte) (entry, error) {
	e := entry{line, new(connic.AuditEntry)}
	return e, json.Unmarshal(line, e.AuditEntry)
}

// MarshalJSON implements [json.Marshaler].
func (e entry) MarshalJSON() ([]byte, error) { return e.line, nil }

func columns(a *cli.App) []cli.Column[entry] {
	return []cli.Column[entry]{
		{Name: "time", Value: func(e entry) string { return a.Time(e.Timestamp) }, Width: 19, Whole: true},
		{Name: "actor", Value: func(e entry) string { return e.Actor.String() }, Width: 16},
		{Name: "action", Value: func(e entry) string { return e.Action }, Width: 18},
		{Name: "resource", Value: func(e entry) string { return strings.TrimSpace(e.ResourceType + " " + e.ResourceID) }, Width: 21},
	}
}
