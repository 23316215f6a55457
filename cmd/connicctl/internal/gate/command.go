// Package gate has the command that tests agents with files of cases.
package gate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/jstemmer/go-junit-report/v2/junit"
	"github.com/spf13/cobra"
)

type options struct {
	junit, summary, outputs, journal string
	keep, resend                     bool
}

// Command returns the command gate.
func Command(a *cli.App) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "gate FILE...",
		Short: "Run cases against agents, and fail if the answers are not good enough",
		Long: `Run the cases of files (YAML or JSON) against agents, one file after the other.
The exit status is 1 if the answers are not good enough. Such a file is

  agent: support
  max_cost: 0.50 EUR        # all runs of this file together
  case_cost: 0.01 EUR       # maximum for one run, if known
  judge: {name: quality, min: 0.8}
  cases:
    - name: returns
      message: How many days do I have to return my order?
      expect:
        contains: 30 days   # or a list; also not_contains, matches (regexp), equals
    - name: an order
      payload: {order: 1207}
      files: [order.pdf]    # relative to the file of cases
      expect:
        json: {$.total: 49.90} # JSONPath, RFC 9535
    - name: no such order
      payload: {order: 9999}
      expect: {status: failed}

Each case is triggered once, and all runs of a file are waited for together.
Expectations are checked first; only answers that meet them are scored by the
judge, if there is one. It costs one request per case and evaluation, and those of
the waits.

If the response to a trigger is lost, the run is searched for among the recent
runs of the agent, by its input: the agent sees no marker. A case whose run is not
certain has no result (exit status 6). With "marker: request_id" in the file, each
trigger has a unique text under that key of its payload, which identifies its run.

With --journal, each request is recorded before it is sent, and the same command
line resumes what was interrupted or killed: nothing is triggered or judged twice.
The journal of a gate that is complete is removed, unless --keep is set: then the
next one reports the same runs, and triggers only cases whose input has changed.
A gate is not complete if it was interrupted, or could not start, await or judge a
run.
Without --journal, Ctrl-C and --timeout cancel the runs in progress.

max_cost counts what completed runs have cost, plus case_cost for each run in
progress. Without case_cost all cases start at once, and those that have not ended
are canceled when it is exceeded. Evaluations are not included.`,
		Example: `  connicctl gate cases.yaml --journal .gate --junit junit.xml
  connicctl gate agents/*.yaml --timeout 30m -o jsonl | jq -r 'select(.result != "passed") | .case'`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error { return run(cmd.Context(), a, files, o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.junit, "junit", "", "write JUnit XML to this `file`")
	flags.StringVar(&o.summary, "summary", "", "append a summary in Markdown to this `file` (default: GITHUB_STEP_SUMMARY)")
	flags.StringVar(&o.outputs, "outputs", "", "append the lines passed, failed, cost and junit to this `file`, such as $GITHUB_OUTPUT")
	flags.StringVar(&o.journal, "journal", "", "record requests in this `folder`, to resume from there")
	flags.BoolVar(&o.keep, "keep", false, "keep the journal of a complete gate")
	flags.BoolVar(&o.resend, "resend-unknown", false, "repeat triggers and evaluations that got no response and of which nothing is found; they may be billed twice")
	return cmd
}

// run runs the gates of the files, and writes their reports in any case, with
// whatever is known.
func run(ctx context.Context, a *cli.App, files []string, o options) (err error) {
	if o.summary == "" {
		o.summary = a.Getenv("GITHUB_STEP_SUMMARY")
	}
	switch {
	case o.journal == "" && (o.keep || o.resend):
		return cli.Usage("--keep and --resend-unknown need --journal")
	case strings.ContainsAny(o.junit, "\r\n"):
		return cli.Usage("the name of the JUnit file has a line break")
	}
	suites := make([]*Suite, len(files))
	named := make(map[string]bool)
	for i, file := range files {
		if suites[i], err = loadSuite(file, a.ReadFile); err != nil {
			return cli.Usage("%w", err)
		}
		path, err := filepath.Abs(file)
		if err != nil {
			return cli.Usage("%w", err)
		}
		if named[path] {
			return cli.Usage("the file %s is named twice, and would be paid for twice", file)
		}
		named[path] = true
	}
	client, early := a.Client(ctx, connic.WithTransport(tellBegin))
	if cli.ExitStatus(early) == cli.ExitUsage {
		return early
	}
	complete := false
	gates := make([]*gate, len(suites))
	for i, suite := range suites {
		name := ""
		if early == nil {
			name = journalFile(a, o.journal, files[i], suite.Agent)
		}
		j, err := openJournal(name)
		switch {
		case errors.Is(err, connic.ErrJournalInUse):
			return err
		case err != nil:
			return cli.Usage("%w", err)
		}
		defer func() {
			if failed := j.finish(complete && !o.keep); failed != nil {
				a.Progress.Say("connicctl: %s", cli.Message(failed))
			}
		}()
		gates[i] = newGate(a, client, suite, j)
		gates[i].before = gates[:i]
		if early == nil {
			gates[i].judges, early = newBench(ctx, gates[i])
		}
		if cli.ExitStatus(early) == cli.ExitUsage {
			return early
		}
	}
	reports := make([]*report, len(gates))
	for i, g := range gates {
		reports[i] = &report{app: a, suite: g.suite.name, results: g.results, err: errors.New("the gate has not ended")}
	}
	if err := o.begin(reports); err != nil {
		return cli.Usage("%w", err)
	}
	for i, g := range gates {
		a.Progress.Show("gate %s: %d cases for agent %s", g.suite.name, len(g.results), g.suite.Agent)
		begin := time.Now()
		ended := early
		if early == nil {
			ended = g.run(ctx, o.resend)
		} else {
			g.close(early)
		}
		switch {
		case errors.Is(ended, context.DeadlineExceeded):
			ended = fmt.Errorf("the time of --timeout is over: %w", ended)
		case errors.Is(ended, context.Canceled):
			ended = fmt.Errorf("interrupted: %w", ended)
		}
		reports[i] = &report{app: a, suite: g.suite.name, results: g.results, cost: g.runs.Cost, took: time.Since(begin), err: ended}
	}
	err = o.write(a, reports)
	complete = err == nil && ctx.Err() == nil // who interrupts a gate repeats it
	unknown := false
	for _, g := range gates {
		complete = complete && g.settled()
		unknown = unknown || slices.ContainsFunc(g.results, func(r *Result) bool { return errors.Is(r.err, connic.ErrOutcomeUnknown) })
	}
	if o.journal != "" && !complete {
		a.Progress.Say("the same command line resumes from %s", o.journal)
		if unknown {
			a.Progress.Say("with --resend-unknown, it repeats the requests of which no run or evaluation was found")
		}
	}
	var failed []error
	for _, r := range reports {
		switch bad := r.failure(); {
		case bad != nil:
			failed = append(failed, bad)
		default:
			a.Progress.Say("gate %s: %s", r.suite, r.verdict())
		}
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		for _, bad := range failed {
			a.Progress.Say("connicctl: %s", cli.Message(bad))
		}
		return ctx.Err()
	case len(failed) == 0:
		return err
	case err != nil:
		a.Progress.Say("connicctl: %s", cli.Message(err))
	}
	err = a.Failures(failed, len(reports))
	var causes []error
	cases := 0
	for _, r := range reports {
		causes, cases = append(causes, r.causes()...), cases+len(r.results)
	}
	if len(causes) > 0 {
		return cli.Several(causes, cases, err)
	}
	return err
}

// journalFile returns the file for the journal of a file of cases: another one for
// another agent, project or environment. It is "" without a folder.
func journalFile(a *cli.App, folder, file, agent string) string {
	if folder == "" {
		return ""
	}
	var project, url string
	if found, err := a.Settings(); err == nil { // there is a client
		project, url = found.Project.Project, found.URL
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{url, project, a.EnvironmentID(), agent, filepath.ToSlash(filepath.Clean(file))}, "\n")))
	return filepath.Join(folder, filepath.Base(file)+"-"+hex.EncodeToString(sum[:8])+".jsonl")
}

// begin checks that the reports can be written, before anything is paid for. If the
// process dies, the JUnit file is not that of an earlier gate.
func (o *options) begin(reports []*report) error {
	for _, name := range []string{o.summary, o.outputs} {
		if name != "" {
			if err := appendFile(name, func(io.Writer) error { return nil }); err != nil {
				return err
			}
		}
	}
	info, err := os.Stat(o.junit)
	if o.junit == "" || err == nil && !info.Mode().IsRegular() && !info.IsDir() { // a pipe takes one report
		return nil
	}
	return o.saveJUnit(reports)
}

func (o *options) saveJUnit(reports []*report) error {
	suites := junit.Testsuites{Name: "connicctl gate"}
	for _, r := range reports {
		suites.AddSuite(r.testsuite())
	}
	return cli.Save(o.junit, 0o644, suites.WriteXML) // others read it
}

// write writes the reports.
func (o *options) write(a *cli.App, reports []*report) error {
	var all []*Result
	var total connic.Sums
	for _, r := range reports {
		all = append(all, r.results...)
		for _, sum := range r.cost {
			total = total.Add(sum)
		}
	}
	err := cli.List(a, func(yield func(*Result, error) bool) {
		for _, x := range all {
			if !yield(x, nil) {
				return
			}
		}
	}, columns()...)
	for _, r := range reports {
		r.explain(err != nil)
	}
	file := func(what, name string, content func(io.Writer) error) {
		if name == "" {
			return
		}
		if failed := appendFile(name, content); failed != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", what, failed))
		}
	}
	if o.junit != "" {
		if failed := o.saveJUnit(reports); failed != nil {
			err = errors.Join(err, fmt.Errorf("the JUnit file: %w", failed))
		}
	}
	file("the summary", o.summary, func(w io.Writer) (err error) {
		for _, r := range reports {
			err = errors.Join(err, r.summary(w))
		}
		return err
	})
	file("the outputs", o.outputs, func(w io.Writer) error {
		passed := count(all, Passed)
		_, err := fmt.Fprintf(w, "passed=%d\nfailed=%d\ncost=%s\njunit=%s\n", passed, len(all)-passed, a.Line(total.String()), o.junit)
		return err
	})
	return err
}
