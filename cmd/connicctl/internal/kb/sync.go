package kb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/spf13/cobra"
)

type options struct {
	namespace, state        string
	dry, keep, prune, empty bool
}

func syncFolder(a *cli.App) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "sync FOLDER",
		Short: "Make a namespace mirror a folder",
		Long: `Upload the new and changed files of a folder as knowledge, delete the entries of
files that are gone, and wait until everything has been ingested. A changed file
costs one request, and the wait one per look and 100 files. The output lists the
changes.

The file .connic-sync.jsonl in the folder (--state moves it) records what was
uploaded: after Ctrl-C or a crash, the same command line resumes. A second process
with that file is refused. What others change in the namespace is not noticed:
remove the file to compare again. Without it, the entries in the service are asked,
at one request per 100 of them; those whose files are not in the folder then remain,
unless --prune is set.

The id of an entry is the path of its file, with =2F in place of each slash. Hidden
files and links are left out, and formats that the service does not take: it takes
.txt .md .markdown .log, and by a route that is assumed also .csv .json .jsonl .yaml
.yml .pdf .png .jpg .jpeg .gif .webp. A file that cannot be read, has become empty or
a link keeps its entry, and so do all if the folder is empty, unless --empty is set.`,
		Example: `  connicctl kb sync ./documents --dry-run
  connicctl kb sync ./documents --namespace docs --env staging`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, err := os.OpenRoot(args[0]) // nothing outside the folder is read, even if links are created meanwhile
			if err != nil {
				return cli.Usage("%w", err)
			}
			defer func() { _ = root.Close() }()
			o.state = cmp.Or(o.state, filepath.Join(args[0], ".connic-sync.jsonl"))
			if seen(args[0], o.state) {
				return cli.Usage("--state: the file would become knowledge itself: put it elsewhere, or begin its name with a dot")
			}
			return mirror(cmd.Context(), a, root.FS(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.namespace, "namespace", "docs", "the `namespace` for the files")
	flags.StringVar(&o.state, "state", "", "record in this `file` what was uploaded")
	flags.BoolVar(&o.dry, "dry-run", false, "only show what would be done")
	flags.BoolVar(&o.keep, "keep", false, "delete nothing")
	flags.BoolVar(&o.prune, "prune", false, "without a state file, delete entries of earlier calls in the namespace whose files are not in the folder")
	flags.BoolVar(&o.empty, "empty", false, "delete all entries if the folder is empty")
	return cmd
}

// seen reports whether a scan of the folder sees a file.
func seen(folder, name string) bool {
	dir, err := filepath.Abs(folder)
	if err != nil {
		return false
	}
	if name, err = filepath.Abs(name); err != nil {
		return false
	}
	rel, err := filepath.Rel(dir, name)
	// A path that leads outside also begins with a dot.
	return err == nil && !strings.HasPrefix(rel, ".") && !strings.Contains(rel, string(filepath.Separator)+".")
}

// mirror does the work and summarizes it.
func mirror(ctx context.Context, a *cli.App, fsys fs.FS, o options) (err error) {
	began := time.Now()
	client, environment, err := connect(ctx, a)
	if err != nil {
		return err
	}
	fsys = interruptible{fsys, ctx}
	j := &job{client: client, where: place{environment, o.namespace}, fsys: fsys, app: a, changes: make(map[string]*change)}
	switch j.state, err = openState(o.state, j.where, o.dry); {
	case errors.Is(err, connic.ErrJournalInUse):
		return err
	case err != nil:
		return cli.Usage("%w", err)
	}
	defer func() { _ = j.state.close() }() // what it has is on disk
	if j.found, err = scan(fsys); ctx.Err() != nil {
		return ctx.Err()
	} else if err != nil {
		return cli.Usage("%w", err)
	}
	if j.state.fresh {
		if err := j.adopt(ctx); err != nil {
			return err
		}
	}
	if err := j.plan(o); err != nil {
		return cli.Usage("%w", err)
	}
	j.tell()
	if o.dry {
		j.preview()
		a.Progress.Say("would upload %d and delete %d; %d unchanged, %d left out", len(j.upload), len(j.remove), j.same, len(j.found.skipped))
		return errors.Join(j.list(), j.failure())
	}
	if err := j.state.begin(); err != nil {
		return err
	}
	if err := j.run(ctx); err != nil {
		return errors.Join(err, j.list())
	}
	err = j.list()
	a.Progress.Say("%d uploaded, %d deleted, %d unchanged, %d left out, %d failed in %s",
		j.uploaded, j.deleted, j.same, len(j.found.skipped), len(j.failed), time.Since(began).Round(100*time.Millisecond))
	if j.unseen > 0 {
		a.Progress.Say("note: the service does not show the ingestion of %d files: that they are knowledge was not seen", j.unseen)
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		a.Progress.Say("stopped: the same command line resumes")
		return ctx.Err()
	case j.stop != nil:
		return fmt.Errorf("stopped: %w; the same command line resumes", j.stop)
	}
	return cmp.Or(j.failure(), err)
}

// A change is what was done about a file.
type change struct {
	Path   string `json:"path"`
	Action string `json:"action"` // in a dry run what would be done
	Entry  string `json:"entry_id"`
	Error  string `json:"error,omitzero"`
}

// list writes the changes. No change is no message for people.
func (j *job) list() error {
	if len(j.changes) == 0 && j.app.ForPeople() {
		return nil
	}
	return cli.List(j.app, func(yield func(*change, error) bool) {
		for _, path := range slices.Sorted(maps.Keys(j.changes)) {
			if !yield(j.changes[path], nil) {
				return
			}
		}
	},
		cli.Column[*change]{Name: "action", Value: func(c *change) string { return c.Action }, Style: func(c *change) string {
			if c.Error != "" {
				return cli.Bad
			}
			return ""
		}},
		cli.Column[*change]{Name: "path", Value: func(c *change) string { return c.Path }})
}

// failure returns the error of files that failed. Each has been said.
func (j *job) failure() error {
	if len(j.failed) == 0 {
		return nil
	}
	return cli.Several(j.failed, j.uploaded+j.deleted+len(j.failed), fmt.Errorf("%d files failed", len(j.failed)))
}

// tell lists what is left out and what cannot be read.
func (j *job) tell() {
	const most = 20
	for i, n := range j.found.skipped {
		if i == most {
			j.app.Progress.Say("... and %d more are left out", len(j.found.skipped)-most)
			break
		}
		j.app.Progress.Say("%s %s: left out", n.path, n.text)
	}
	for _, n := range j.found.broken {
		j.fail(n.path, errors.New(n.text))
	}
	if n := len(j.others); n > 0 {
		j.app.Progress.Say("note: there is no state file, and the namespace has %d entries of files that are not in the folder, such as %s: they remain, unless you use --prune", n, j.others[0])
	}
}

// preview lists what would be done.
func (j *job) preview() {
	for _, f := range j.upload {
		action := "new"
		if _, ok := j.state.known[f.path]; ok {
			action = "changed"
		}
		j.changed(f.path, action, nil)
	}
	for _, name := range j.remove {
		j.changed(name, "delete", nil)
	}
}
