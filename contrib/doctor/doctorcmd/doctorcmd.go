// Package doctorcmd has the commands of the doctor, for the programs connic-doctor
// and connicctl. It is not for others, and may change with any release.
package doctorcmd

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/contrib/doctor"
	"github.com/connic-go/connic/internal/mask"
)

// askAbove is the number of requests above which the user is asked first.
const askAbove = 20

// A Program is what the commands need of the program that they belong to.
type Program struct {
	In       io.Reader
	Out, Err io.Writer
	// Client returns a client, and its base URL unless it is the default.
	Client func(context.Context, ...connic.Option) (client *connic.Client, baseURL string, err error)
	// Agree asks the user, and returns an error unless the answer is yes.
	Agree func(ctx context.Context, question string) error
}

// ErrUnwell is the error of a check or a comparison that has found something. What
// it has found was written.
var ErrUnwell = errors.New("the doctor has found something: see the report")

// A UsageError is an invalid command line, or a file that cannot be used. Nothing
// was sent.
type UsageError struct{ error }

// Unwrap returns the error.
func (e UsageError) Unwrap() error { return e.error }

// Main runs the program connic-doctor with the arguments of the process, and
// returns its exit status.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	p := &Program{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	p.Agree = p.agree
	p.Client = func(_ context.Context, opts ...connic.Option) (*connic.Client, string, error) {
		client, err := connic.NewFromEnv(opts...)
		return client, os.Getenv("CONNIC_API_URL"), err
	}
	return p.run(ctx, os.Args[1:])
}

func (p *Program) run(ctx context.Context, args []string) int {
	name, command := "connic-doctor", p.Check
	if len(args) > 0 {
		switch args[0] {
		case "drift":
			name, command, args = "connic-doctor drift", p.Drift, args[1:]
		case "case":
			name, command, args = "connic-doctor case", p.Case, args[1:]
		case "check":
			args = args[1:]
		}
	}
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(p.Err)
	run := command(flags)
	err := flags.Parse(args)
	if err == nil {
		err = run(ctx, flags.Args())
	}
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, ErrUnwell):
		return 1
	}
	_, _ = fmt.Fprintln(p.Err, "connic-doctor:", mask.Line(err.Error(), 2000))
	return 2
}

// Check defines the flags of the command that checks the access, and returns what
// runs it with the arguments after the flags.
func (p *Program) Check(flags *flag.FlagSet) func(context.Context, []string) error {
	asJSON := flags.Bool("json", false, "print JSON")
	timeout := flags.Duration("timeout", time.Minute, "time limit for all requests together")
	return func(ctx context.Context, args []string) error {
		switch {
		case len(args) > 0:
			return UsageError{fmt.Errorf("unknown command %q", args[0])}
		case *timeout <= 0:
			return UsageError{fmt.Errorf("--timeout must be above 0: %v", *timeout)}
		}
		ctx, cancel := context.WithTimeout(ctx, *timeout)
		defer cancel()
		client, baseURL, err := p.connect(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = client.Close() }()
		checkup, err := doctor.Check(ctx, client, cmp.Or(baseURL, connic.DefaultBaseURL))
		if checkup == nil {
			return err
		}
		write := checkup.WriteTable
		if *asJSON {
			write = checkup.WriteJSON
		}
		if err := errors.Join(err, write(p.Out)); err != nil {
			return err
		}
		if !checkup.OK() {
			return ErrUnwell
		}
		return nil
	}
}

// connect creates the client. It does not retry, so that the number of requests
// is the announced one.
func (p *Program) connect(ctx context.Context) (*connic.Client, string, error) {
	return p.Client(ctx, connic.WithApplication("connic-doctor", connic.Version), connic.WithTimeout(15*time.Second),
		connic.WithRetry(connic.RetryPolicy{MaxAttempts: 1}), connic.WithReadOnly())
}

var severities = map[string]doctor.Severity{"info": doctor.Info, "warning": doctor.Warning, "error": doctor.Error}

// Drift defines the flags of the command that compares the service with package
// connic, and returns what runs it with the arguments after the flags.
func (p *Program) Drift(flags *flag.FlagSet) func(context.Context, []string) error {
	live := flags.Bool("live", false, "compare with the service: 20 requests with one item per list, all of them reads")
	recorded := flags.Bool("recorded", false, "compare with recordings of package connictest, without a request")
	items := flags.Int("items", 1, "with --live, the number of items of each list to request; more items show more fields")
	format := flags.String("format", "markdown", "`format` of the report: markdown or json")
	fail := flags.String("fail", "warning", "the `severity` that makes the exit status 1: info, warning or error")
	fixtures := flags.String("fixtures", "", "with --live, a `folder` for the responses, without private data")
	yes := flags.Bool("yes", false, "do not ask")
	return func(ctx context.Context, args []string) error {
		level, ok := severities[*fail]
		switch {
		case !ok:
			return UsageError{fmt.Errorf("--fail must be info, warning or error: %q", *fail)}
		case *format != "markdown" && *format != "json":
			return UsageError{fmt.Errorf("--format must be markdown or json: %q", *format)}
		case *live && (*recorded || len(args) > 0), !*live && len(args) == 0, !*recorded && len(args) > 1:
			return UsageError{errors.New("drift takes one document, or --live, or --recorded and recordings")}
		case !*live && *fixtures != "":
			return UsageError{errors.New("--fixtures needs --live")}
		case *items < 1:
			return UsageError{fmt.Errorf("--items must be above 0: %d", *items)}
		}
		var report *doctor.Report
		var err error
		switch {
		case *live:
			report, err = p.live(ctx, doctor.LiveOptions{Items: *items}, *fixtures, *yes)
		case *recorded:
			report, err = p.recorded(ctx, args)
		default:
			report, err = p.document(ctx, args[0])
		}
		switch {
		case err != nil && !*live && ctx.Err() == nil:
			return UsageError{err} // in the files
		case err != nil:
			return err
		}
		write := report.WriteMarkdown
		if *format == "json" {
			write = report.WriteJSON
		}
		if err := write(p.Out); err != nil {
			return err
		}
		if worst, found := report.Worst(); found && worst >= level {
			return ErrUnwell
		}
		return nil
	}
}

// document compares a file, or standard input for "-".
func (p *Program) document(ctx context.Context, name string) (*doctor.Report, error) {
	if u, err := url.Parse(name); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
		return nil, errors.New("drift takes a file: download the document from the API reference first")
	}
	text, err := p.read(ctx, name)
	if err != nil {
		return nil, err
	}
	return doctor.Drift(text)
}

func (p *Program) recorded(ctx context.Context, names []string) (*doctor.Report, error) {
	var recordings [][]byte
	for _, name := range names {
		text, err := p.read(ctx, name)
		if err != nil {
			return nil, err
		}
		recordings = append(recordings, text)
	}
	return doctor.Recorded(recordings...)
}

// read reads a file, or standard input for "-".
func (p *Program) read(ctx context.Context, name string) ([]byte, error) {
	in := p.In
	if name != "-" {
		file, err := os.Open(name) //nolint:gosec // the user names it
		if err != nil {
			return nil, err
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	return await(ctx, func() ([]byte, error) { return io.ReadAll(io.LimitReader(in, doctor.MaxDocument+1)) })
}

func (p *Program) live(ctx context.Context, o doctor.LiveOptions, fixtures string, yes bool) (*doctor.Report, error) {
	client, _, err := p.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = client.Close() }()
	_, _ = fmt.Fprintf(p.Err, "At most %d requests, all of them reads.\n", o.Requests())
	if o.Requests() > askAbove && !yes {
		if err := p.Agree(ctx, "Continue?"); err != nil {
			return nil, err
		}
	}
	if fixtures != "" {
		o.Keep = func(f doctor.Fixture) error { _, err := f.Write(fixtures); return err }
	}
	return doctor.Live(ctx, client, o)
}

// await calls f, and returns earlier if ctx ends: a read from a terminal or a
// pipe may not.
func await[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	results := make(chan result, 1)
	go func() {
		value, err := f()
		results <- result{value, err}
	}()
	select {
	case r := <-results:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// agree asks the user. No answer means no.
func (p *Program) agree(ctx context.Context, question string) error {
	_, _ = fmt.Fprintf(p.Err, "%s [y/N] ", question)
	line, _ := await(ctx, func() (string, error) { return bufio.NewReader(p.In).ReadString('\n') })
	if !strings.EqualFold(strings.TrimSpace(line), "y") {
		return errors.New("nothing was sent")
	}
	return nil
}

// Case returns what turns a fixture into a conformance case. It has no flags.
func (p *Program) Case(*flag.FlagSet) func(context.Context, []string) error {
	return func(ctx context.Context, args []string) error {
		if len(args) != 1 {
			return UsageError{errors.New("case takes one fixture")}
		}
		f, err := doctor.ReadFixture(args[0])
		if err != nil {
			return UsageError{err}
		}
		made, err := doctor.Case(ctx, *f)
		if err != nil {
			return err
		}
		encoder := json.NewEncoder(p.Out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(made)
	}
}
