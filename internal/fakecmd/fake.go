// Package fakecmd is the program connic-fake, and the command fake of connicctl,
// without the connectors for protocols that need another module.
package fakecmd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/docs"
)

// A Connector is a connector for a protocol other than webhooks.
type Connector struct {
	Name    string                                   // of its variables: NAME_URL and NAME_SECRET
	Scheme  string                                   // of its URL
	Handler func(*connictest.Connector) http.Handler // returns what serves it
}

// WebSocket returns a WebSocket connector, whose variables begin with CHAT. Serve
// is the function New of package chattest.
func WebSocket[H http.Handler](serve func(*connictest.Connector, ...*connictest.Connector) H) Connector {
	return Connector{Name: "CHAT", Scheme: "ws", Handler: func(c *connictest.Connector) http.Handler { return serve(c) }}
}

// A ReportError says that a recording or a replay has reported something, which was
// written to standard error.
type ReportError struct{ error }

// Main runs the program with the arguments of the process, and returns its exit
// status.
func Main(more ...Connector) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := Serve(ctx, os.Args[1:], os.Stdout, os.Stderr, more...)
	stop()
	switch {
	case err == nil:
		return 0
	case !errors.Is(err, flag.ErrHelp):
		_, _ = fmt.Fprintln(os.Stderr, "connic-fake:", err)
	}
	return 1
}

var models = map[string]connictest.Window{
	"fixed": connictest.FixedWindow, "sliding": connictest.SlidingWindow, "bucket": connictest.TokenBucket,
	"sliding-rejects": connictest.SlidingWindowRejects,
}

// options holds the flags. Flags that are given take precedence over the
// configuration.
type options struct {
	addr, config string
	quiet        bool
	rate         int
	per, phase   time.Duration
	window, git  string
	failDeploy   string
	failTests    []string
	recordings   recordings
	given        map[string]bool
}

func (o *options) define(flags *flag.FlagSet) {
	flags.StringVar(&o.addr, "addr", "127.0.0.1:8080", "address to listen on; port 0 means any free port")
	flags.StringVar(&o.config, "config", "", "`file` with a configuration in JSON")
	flags.BoolVar(&o.quiet, "quiet", false, "do not log requests")
	flags.IntVar(&o.rate, "rate", 60, "requests per window; 0 for no quota")
	flags.DurationVar(&o.per, "per", time.Minute, "the window of the quota")
	flags.StringVar(&o.window, "window", "fixed", "how requests are counted: fixed, sliding, sliding-rejects or bucket")
	flags.StringVar(&o.git, "git", "", "Git `provider` that the project is connected to")
	flags.DurationVar(&o.phase, "phase", time.Second, "how long each phase of deployments and test runs takes")
	flags.StringVar(&o.failDeploy, "fail-deployments", "", "make deployments fail with this `text`")
	flags.Func("fail-test", "`agent/test` that fails; may be repeated", func(name string) error {
		if agent, test, ok := strings.Cut(name, "/"); !ok || agent == "" || test == "" {
			return errors.New("expected an agent, a slash and the name of a test")
		}
		o.failTests = append(o.failTests, name)
		return nil
	})
	o.recordings.define(flags)
}

// merge applies the flags that were given to a configuration.
func (o *options) merge(c *Config) {
	if c.Quota == nil {
		c.Quota = &Quota{Limit: 60, Per: Duration(time.Minute), Window: "fixed"}
	}
	if o.given["rate"] {
		c.Quota.Limit = o.rate
	}
	if o.given["per"] {
		c.Quota.Per = Duration(o.per)
	}
	if o.given["window"] {
		c.Quota.Window = o.window
	}
	if o.given["git"] {
		c.GitProvider = o.git
	}
	if o.given["phase"] {
		phase := Duration(o.phase)
		c.PhaseTime = &phase
	}
	if o.given["fail-deployments"] {
		c.FailDeployments = append(c.FailDeployments, FailDeployment{Error: o.failDeploy})
	}
	for _, name := range o.failTests {
		agent, test, _ := strings.Cut(name, "/")
		c.Tests = append(c.Tests, TestResult{Agent: agent, Test: test, Reason: "it was configured to fail"})
	}
}

// Serve parses the arguments, and serves the fake until the context ends.
func Serve(ctx context.Context, args []string, stdout, stderr io.Writer, more ...Connector) error {
	flags := flag.NewFlagSet("connic-fake", flag.ContinueOnError)
	flags.SetOutput(stderr)
	serve := New(flags, more...)
	if err := flags.Parse(args); err != nil {
		return err
	}
	return serve(ctx, flags.Args(), stdout, stderr)
}

// New defines the flags, and returns what serves the fake with the arguments after
// them until the context ends.
func New(flags *flag.FlagSet, more ...Connector) func(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o := &options{given: make(map[string]bool)}
	o.define(flags)
	return func(ctx context.Context, args []string, stdout, stderr io.Writer) error {
		flags.Visit(func(f *flag.Flag) { o.given[f.Name] = true })
		if len(args) > 0 {
			return fmt.Errorf("unknown argument %q", args[0])
		}
		return o.serve(ctx, stdout, stderr, more)
	}
}

func (o *options) serve(ctx context.Context, stdout, stderr io.Writer, more []Connector) (err error) {
	if o.recordings.file() != "" {
		return o.recordings.run(ctx, o.addr, stdout, stderr)
	}
	config := new(Config)
	if o.config != "" {
		if config, err = load(o.config); err != nil {
			return err
		}
	}
	o.merge(config)
	srv := connictest.New()
	defer srv.Close()
	key, err := config.apply(ctx, srv)
	if err != nil {
		return err
	}

	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.addr)
	if err != nil {
		return err
	}
	others := make(map[string]http.Handler) // by path
	var exports strings.Builder
	var secrets []string
	host := reachable(listener)
	connect := func(name, scheme string, c *connictest.Connector) {
		secrets = append(secrets, string(c.Secret()))
		_, _ = fmt.Fprintf(&exports, "export %s_URL=%s://%s%s\nexport %s_SECRET=%s\n", name, scheme, host, c.Path(), name, string(c.Secret()))
	}
	connect("SYNC", "http", srv.Connector(config.Agents[0].Name))
	connect("INBOUND", "http", srv.Connector(config.Agents[0].Name).Inbound())
	for _, m := range more {
		c := srv.Connector(config.Agents[0].Name)
		others[c.Path()] = m.Handler(c)
		connect(m.Name, m.Scheme, c)
	}
	handler := withDocument(srv, others)
	if !o.quiet {
		handler = logged(handler, stderr, secrets...)
	}
	// Connections that are not HTTP any more end with the context.
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute, BaseContext: func(net.Listener) context.Context { return ctx }}
	_, _ = fmt.Fprintf(stdout, "export CONNIC_API_URL=http://%s/v1\nexport CONNIC_PROJECT_ID=%s\nexport CONNIC_API_KEY=%s\n",
		host, connictest.ProjectID, string(key))
	_, _ = io.WriteString(stdout, exports.String())
	return serveUntilDone(ctx, server, listener)
}

// reachable returns the address at which clients of this machine reach a listener:
// one of all addresses is at none of them.
func reachable(l net.Listener) string {
	if at, ok := l.Addr().(*net.TCPAddr); ok && at.IP.IsUnspecified() {
		return fmt.Sprintf("127.0.0.1:%d", at.Port)
	}
	return l.Addr().String()
}

// serveUntilDone serves until the context ends.
func serveUntilDone(ctx context.Context, server *http.Server, listener net.Listener) error {
	stopped := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stopped()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// withDocument also serves the OpenAPI document, and other connectors.
func withDocument(fake http.Handler, others map[string]http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if other := others[r.URL.Path]; other != nil {
			other.ServeHTTP(w, r)
			return
		}
		if r.Method != http.MethodGet || r.URL.Path != "/openapi.json" {
			fake.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(docs.OpenAPI())
	})
}
