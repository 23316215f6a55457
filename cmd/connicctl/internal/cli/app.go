// Package cli is what all commands of connicctl share: the client, the output,
// the progress, the exit statuses, and the completion of names.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/environ"
	"github.com/connic-go/connic/internal/mask"
	"github.com/spf13/cobra"
)

// An App is one run of the program, with the values of the flags that all
// commands have.
type App struct {
	*Process
	// Progress is the progress on standard error. It never contains data.
	Progress *Progress

	format  string // of the output
	project string
	env     string
	keyFile string
	timeout time.Duration
	debug   bool

	envID    string // of --env, once it is known
	settings *environ.Settings
	mask     *mask.Mask // knows the key; nil before there is one
	clients  []*connic.Client
	out      *output
	started  bool // a command, which then is what fails
}

// Run runs a command line with the given commands and returns the exit status.
func Run(ctx context.Context, p *Process, args []string, commands ...func(*App) *cobra.Command) int {
	a := newApp(p)
	root := a.root(commands)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	for _, client := range a.clients {
		_ = client.Close()
	}
	a.Progress.Done()
	return a.finish(cmd, err)
}

// Root returns the tree of commands, for their pages.
func Root(p *Process, commands ...func(*App) *cobra.Command) *cobra.Command {
	return newApp(p).root(commands)
}

func newApp(p *Process) *App {
	a := &App{Process: p, out: &output{to: p.Stdout}}
	a.Progress = &Progress{out: p.Stderr, line: a.Line, last: time.Now()}
	if p.StderrTTY {
		a.Progress.width = max(p.Width, 20)
	}
	return a
}

func (a *App) root(commands []func(*App) *cobra.Command) *cobra.Command {
	root := Group("connicctl", "Work with the agents and runs of a Connic project")
	root.Long = `Connicctl works with the agents and runs of a Connic project.

The API key is taken from CONNIC_API_KEY, from a file .connic in the working
folder, from CONNIC_TOKEN, from --key-file, or from a prompt. It is never a flag.
Data goes to standard output, and everything else to standard error.`
	root.SilenceErrors, root.SilenceUsage, root.DisableAutoGenTag = true, true, true
	root.Version = connic.Version
	root.SetIn(a.Stdin)
	root.SetOut(a.out)
	root.SetErr(a.Stderr)
	flags := root.PersistentFlags()
	flags.StringVarP(&a.format, "output", "o", "table", "`format` of the output: table, json, jsonl or yaml")
	flags.StringVar(&a.project, "project", "", "`id` of the project (default: CONNIC_PROJECT_ID or .connic)")
	flags.StringVar(&a.env, "env", "", "`name` or id of the environment (default: CONNIC_ENVIRONMENT)")
	flags.StringVar(&a.keyFile, "key-file", "", "read the API key from this `file`")
	flags.DurationVar(&a.timeout, "timeout", 0, "end after this `time`, such as 30s (default: no limit)")
	flags.BoolVar(&a.debug, "debug", false, "log requests to standard error, without keys and bodies")
	flags.BoolP("quiet", "q", false, "show no progress")
	a.CompleteFlag(root, "env", Environments)
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	for _, command := range commands {
		root.AddCommand(command(a))
	}
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			cmd.AddCommand(a.refresh())
			asGroup(cmd)
		}
	}
	a.prepare(root)
	return root
}

// prepare wraps the commands below cmd, so that what all of them do is not
// repeated in each.
func (a *App) prepare(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		a.prepare(sub)
	}
	run := cmd.RunE
	if _, group := cmd.Annotations[isGroup]; run == nil || group {
		return
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !isFormat(a.format) {
			return fmt.Errorf("the output is none of %s: %q", strings.Join(formats, ", "), a.format)
		}
		if a.timeout < 0 {
			return errors.New("--timeout is negative")
		}
		a.started = true
		a.Progress.quiet, _ = cmd.Flags().GetBool("quiet")
		if a.timeout > 0 {
			ctx, cancel := context.WithTimeout(cmd.Context(), a.timeout)
			defer cancel()
			cmd.SetContext(ctx)
		}
		return run(cmd, args)
	}
}

// finish reports an error and returns the exit status.
func (a *App) finish(cmd *cobra.Command, err error) int {
	switch {
	case errors.Is(a.out.err, syscall.EPIPE):
		return ExitClosed
	case a.out.err != nil:
		a.Progress.Say("connicctl: the output cannot be written: %v", a.out.err)
		return ExitOther
	case err == nil:
		return ExitDone
	}
	if errors.Is(err, errHelped) {
		return ExitUsage
	}
	var wait *connic.WaitError
	if !errors.Is(err, context.Canceled) || errors.As(err, &wait) || errors.Is(err, connic.ErrOutcomeUnknown) {
		a.Progress.Say("connicctl: %s", Message(err))
	}
	if status := ExitStatus(err); a.started {
		return status
	}
	a.Progress.Say("usage: %s; see %s --help", cmd.UseLine(), cmd.CommandPath())
	return ExitUsage
}

// errHelped is the error of a group without a command, which has shown them.
var errHelped = errors.New("no command was given")

// isGroup is the annotation of commands that only have commands below them.
const isGroup = "group"

// Group returns a command that only has commands below it.
func Group(use, short string, commands ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{Use: use, Short: short}
	asGroup(group)
	group.AddCommand(commands...)
	return group
}

// asGroup makes a command one that only has commands below it.
func asGroup(group *cobra.Command) {
	group.SuggestionsMinimumDistance, group.Annotations = 2, map[string]string{isGroup: ""}
	group.Args = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return nil
		case len(cmd.SuggestionsFor(args[0])) > 0:
			return Usage("%s has no command %q; did you mean %s?", cmd.CommandPath(), args[0], strings.Join(cmd.SuggestionsFor(args[0]), " or "))
		}
		return Usage("%s has no command %q", cmd.CommandPath(), args[0])
	}
	group.RunE = func(cmd *cobra.Command, _ []string) error {
		_, _ = io.WriteString(cmd.ErrOrStderr(), cmd.UsageString()+"\n")
		return errHelped
	}
}

// Settings returns the settings that were found in the environment, the file
// .connic and the flags, which come first.
func (a *App) Settings() (*environ.Settings, error) {
	if a.settings != nil {
		return a.settings, nil
	}
	flags := map[string]string{environ.Project: a.project}
	if a.keyFile != "" {
		key, err := a.ReadFile(a.keyFile)
		if err != nil {
			return nil, Usage("the key file cannot be read: %w", err)
		}
		if flags[environ.Key] = strings.TrimSpace(string(key)); flags[environ.Key] == "" {
			return nil, Usage("the key file is empty")
		}
	}
	found := environ.Read(func(name string) string {
		if value := flags[name]; value != "" {
			return value
		}
		return a.Getenv(name)
	}, a.ReadFile)
	if a.keyFile != "" {
		found.Key.Name = "--key-file"
	}
	a.settings, a.mask = &found, mask.New(found.Key.Key)
	return a.settings, nil
}

// Client returns a client with the settings. It asks for a key on a terminal if
// there is none. The client is closed at the end of the command. With --env it costs a request,
// unless the value is the id of an environment that was listed within a day.
func (a *App) Client(ctx context.Context, opts ...connic.Option) (*connic.Client, error) {
	found, err := a.Settings()
	if err != nil {
		return nil, err
	}
	switch {
	case found.Project.Project == "":
		return nil, Usage("no project is known: use --project, or set %s (see Project Settings → General)%s", environ.Project, broken(found))
	case found.Apart:
		return nil, Usage("the API key is from %s, and the project is not, and they may not belong together; set both %s and %s", found.Key.Name, environ.Key, environ.Project)
	case found.Key.Key == "" && a.StdinTTY && a.StderrTTY:
		_, _ = io.WriteString(a.Stderr, "API key: ")
		key, err := a.ReadSecret(ctx)
		_, _ = io.WriteString(a.Stderr, "\n")
		if err != nil {
			return nil, err
		}
		found.Key = environ.Source{Name: "the prompt", Key: key}
		a.mask = mask.New(key)
	case found.Key.Key == "":
		return nil, Usage("no API key is known: set %s, or use --key-file (see Project Settings → API Keys & MCP Auth)%s", environ.Key, broken(found))
	}
	own := []connic.Option{connic.WithApplication("connicctl", connic.Version), connic.WithObserver(a.Progress.Observe)}
	if found.URL != "" {
		own = append(own, connic.WithBaseURL(found.URL))
	}
	if found.Environment != "" {
		own = append(own, connic.WithEnvironment(found.Environment))
	}
	if a.Transport != nil {
		own = append(own, connic.WithHTTPClient(&http.Client{Transport: a.Transport}))
	}
	if a.debug {
		own = append(own, connic.WithLogger(slog.New(slog.NewTextHandler(a.Progress, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	}
	client, err := connic.New(found.Project.Project, connic.APIKey(found.Key.Key), append(own, opts...)...)
	if err != nil {
		return nil, err
	}
	a.clients = append(a.clients, client)
	if a.env == "" {
		return client, nil
	}
	if a.envID, err = a.environment(ctx, client); err != nil {
		return nil, err
	}
	return client.ForEnvironment(a.envID), nil
}

// EnvironmentID returns the id of the environment that --env names, or the one of
// CONNIC_ENVIRONMENT, or "". It is known once [App.Client] was called. Lists that
// are of all environments without one need it.
func (a *App) EnvironmentID() string { return cmp.Or(a.envID, a.settings.Environment) }

// broken says which sources could not be used.
func broken(found *environ.Settings) string {
	if len(found.Broken) == 0 {
		return ""
	}
	return "; " + strings.Join(found.Broken, "; ")
}

// environment returns the id of the environment that --env names.
func (a *App) environment(ctx context.Context, client *connic.Client) (string, error) {
	if a.remembers(Environments, a.env) {
		return a.env, nil
	}
	page, err := client.Environments.List(ctx)
	switch {
	case errors.Is(err, connic.ErrForbidden):
		return a.env, nil // an id
	case err != nil:
		return "", err
	}
	RememberEnvironments(a, page.Items)
	rules := []func(e *connic.Environment) bool{
		func(e *connic.Environment) bool { return e.ID == a.env },
		func(e *connic.Environment) bool { return e.Name == a.env },
		func(e *connic.Environment) bool { return strings.EqualFold(e.Name, a.env) },
	}
	for _, is := range rules {
		id := ""
		for _, e := range page.Items {
			switch {
			case !is(e):
			case id != "":
				return "", Usage("several environments have the name %q; use an id", a.env)
			default:
				id = e.ID
			}
		}
		if id != "" {
			return id, nil
		}
	}
	return "", &ExitError{ExitNotFound, fmt.Errorf("no environment has the name or id %q", a.env)}
}
