// Ingest keeps a folder of documents as knowledge: it uploads new and changed
// files, and deletes the entries of files that are gone.
//
//	ingest [flags] folder
//
// Without credentials and without a folder it uses a sample folder and an embedded
// fake. With CONNIC_API_KEY and CONNIC_PROJECT_ID set it needs a key with write
// access to knowledge. It costs one request per changed file, plus one per poll and
// 100 files for the wait.
package main

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/examples/apps/internal/progress"
	"github.com/connic-go/connic/examples/apps/internal/service"
)

//go:embed sample
var sample embed.FS

// The exit codes.
const (
	exitDone        = 0
	exitFailed      = 1 // some files were not ingested
	exitUsage       = 2 // nothing was done: the flags, the folder or the configuration are invalid
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

type options struct {
	namespace, environment, state string
	dry, keep, prune, empty       bool
	timeout                       time.Duration
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var conf options
	flags := flag.NewFlagSet("ingest", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&conf.namespace, "namespace", "docs", "the `namespace` for the files")
	flags.StringVar(&conf.environment, "environment", os.Getenv("CONNIC_ENVIRONMENT"), "the `name` or id of the environment (default: CONNIC_ENVIRONMENT, or else the project's default)")
	flags.StringVar(&conf.state, "state", "", "record in this `file` what was uploaded (default: .connic-ingest.jsonl in the folder)")
	flags.BoolVar(&conf.dry, "n", false, "dry run: only show what would be done")
	flags.BoolVar(&conf.keep, "keep", false, "delete nothing")
	flags.BoolVar(&conf.prune, "prune", false, "if there is no state file, delete entries of earlier runs in the namespace whose files are not in the folder")
	flags.BoolVar(&conf.empty, "empty", false, "delete all entries if the folder is empty")
	flags.DurationVar(&conf.timeout, "timeout", 2*time.Hour, "time limit, including waits for the quota")
	flags.Usage = func() {
		_, _ = fmt.Fprintln(stderr, "usage: ingest [flags] folder")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return exitUsage
	}
	bad := func(err error) int {
		_, _ = fmt.Fprintln(stderr, "ingest:", progress.Clean(err.Error()))
		return exitUsage
	}
	line := progress.New(stderr)
	defer line.Done()
	where, err := service.Connect("connic-ingest", func(*connictest.Server) {}, connic.WithObserver(line.Observe))
	if err != nil {
		return bad(err)
	}
	defer where.Close()
	var fsys fs.FS
	switch {
	case flags.NArg() > 1:
		return bad(errors.New("name one folder; flags come first"))
	case flags.NArg() == 1:
		root, err := os.OpenRoot(flags.Arg(0)) // nothing outside the folder is read, even if links are created meanwhile
		if err != nil {
			return bad(err)
		}
		defer func() { _ = root.Close() }()
		fsys = root.FS()
		conf.state = cmp.Or(conf.state, filepath.Join(flags.Arg(0), ".connic-ingest.jsonl"))
		if seen(flags.Arg(0), conf.state) {
			return bad(errors.New("-state: the file would become knowledge itself: put it elsewhere, or begin its name with a dot"))
		}
	case where.Fake == nil:
		return bad(errors.New("name a folder; see -h"))
	default:
		if fsys, err = fs.Sub(sample, "sample"); err != nil {
			return bad(err)
		}
	}
	if where.Fake != nil {
		conf.state = "" // the fake forgets its entries, and a real service might be mistaken for it
	}
	ctx, cancel := context.WithTimeout(ctx, conf.timeout)
	defer cancel()
	line.Say("namespace %s on %s", conf.namespace, where)
	return ingest(ctx, where.Client, fsys, conf, line, stdout)
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

// ingest does the work and summarizes it.
func ingest(ctx context.Context, client *connic.Client, fsys fs.FS, conf options, line *progress.Line, stdout io.Writer) int {
	began := time.Now()
	bad := func(code int, err error) int {
		line.Say("ingest: %v", err)
		if errors.Is(ctx.Err(), context.Canceled) {
			return exitInterrupted
		}
		return code
	}
	fsys = interruptible{fsys, ctx}
	environment, err := find(ctx, client, conf.environment)
	if err != nil {
		return bad(exitUsage, err)
	}
	j := &job{client: client, where: place{environment, conf.namespace}, fsys: fsys, line: line}
	if j.state, err = openState(conf.state, j.where, conf.dry); err != nil {
		return bad(exitUsage, err)
	}
	defer func() { _ = j.state.close() }() // what it has is on disk
	if j.found, err = scan(fsys); cmp.Or(err, ctx.Err()) != nil {
		return bad(exitUsage, cmp.Or(err, ctx.Err()))
	}
	if j.state.fresh {
		if err := j.adopt(ctx); err != nil {
			return bad(exitUsage, err)
		}
	}
	if err := j.plan(conf); err != nil {
		return bad(exitUsage, err)
	}
	j.tell()
	if conf.dry {
		j.preview(stdout)
		return exitDone
	}
	if err := j.state.begin(); err != nil {
		return bad(exitUsage, err)
	}
	if err := j.run(ctx); err != nil {
		return bad(exitFailed, err)
	}
	line.Done()
	_, err = fmt.Fprintf(stdout, "%d uploaded, %d deleted, %d unchanged, %d left out, %d failed in %s\n",
		j.uploaded, j.deleted, j.same, len(j.found.skipped), j.failed, time.Since(began).Round(100*time.Millisecond))
	if j.unseen > 0 {
		line.Say("note: the service does not show the ingestion of %d files: that they are knowledge was not seen", j.unseen)
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		line.Say("stopped: run it again to resume")
		return exitInterrupted
	case j.stop != nil:
		line.Say("stopped: %v; run it again to resume", j.stop)
		return exitFailed
	case j.failed > 0, err != nil:
		return exitFailed
	}
	return exitDone
}

// tell lists what is left out and what cannot be read.
func (j *job) tell() {
	const most = 20
	for i, n := range j.found.skipped {
		if i == most {
			j.line.Say("... and %d more are left out", len(j.found.skipped)-most)
			break
		}
		j.line.Say("%s %s: left out", n.path, n.text)
	}
	for _, n := range j.found.broken {
		j.fail(n.path, errors.New(n.text))
	}
	if n := len(j.others); n > 0 {
		j.line.Say("note: there is no state file, and the namespace has %d entries of files that are not in the folder, such as %s: they remain, unless you use -prune", n, j.others[0])
	}
}

func (j *job) preview(stdout io.Writer) {
	for _, f := range j.upload {
		what := "new    "
		if _, ok := j.state.known[f.path]; ok {
			what = "changed"
		}
		_, _ = fmt.Fprintf(stdout, "%s  %s\n", what, progress.Clean(f.path))
	}
	for _, name := range j.remove {
		_, _ = fmt.Fprintf(stdout, "delete   %s\n", progress.Clean(name))
	}
	_, _ = fmt.Fprintf(stdout, "would upload %d and delete %d; %d unchanged, %d left out\n", len(j.upload), len(j.remove), j.same, len(j.found.skipped))
}

// find returns the id of an environment.
func find(ctx context.Context, client *connic.Client, name string) (string, error) {
	if name == "" {
		e, err := client.Environments.Default(ctx)
		if err != nil {
			return "", fmt.Errorf("the default environment cannot be found, name one with -environment: %w", err)
		}
		return e.ID, nil
	}
	all, err := client.Environments.List(ctx)
	switch {
	case errors.Is(err, connic.ErrForbidden): // the key may not list environments; it may still be an id
		return name, nil
	case err != nil:
		return "", err
	}
	// Environments.Find looks for one to deploy to, and knowledge needs no deployment.
	for _, is := range []func(*connic.Environment) bool{
		func(e *connic.Environment) bool { return e.Name == name },
		func(e *connic.Environment) bool { return strings.EqualFold(e.Name, name) },
		func(e *connic.Environment) bool { return e.ID == name },
	} {
		found := slices.DeleteFunc(slices.Clone(all.Items), func(e *connic.Environment) bool { return !is(e) })
		switch {
		case len(found) == 1:
			return found[0].ID, nil
		case len(found) > 1:
			return "", fmt.Errorf("%d environments have the name %s: name one by its id", len(found), name)
		}
	}
	return "", fmt.Errorf("no environment has the name or id %s", name)
}
