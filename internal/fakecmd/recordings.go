package fakecmd

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/connic-go/connic/connictest"
)

// recordings are the flags of recordings.
type recordings struct{ record, replay, upstream, texts, ignore string }

func (o *recordings) define(flags *flag.FlagSet) {
	flags.StringVar(&o.record, "record", "", "record to this `file` what passes through to the service")
	flags.StringVar(&o.replay, "replay", "", "replay this `file`")
	flags.StringVar(&o.upstream, "upstream", "https://api.connic.co/v1", "with --record, the base `URL` of the service")
	flags.StringVar(&o.texts, "texts", "replace", "with --record, what becomes of the texts of people: replace, shorten or keep")
	flags.StringVar(&o.ignore, "ignore", "", "with --replay, `names` of members and parameters that may differ, separated by commas")
}

func (o *recordings) file() string { return cmp.Or(o.record, o.replay) }

var textModes = map[string]connictest.TextMode{
	"replace": connictest.ReplaceTexts, "shorten": connictest.ShortenTexts, "keep": connictest.KeepTexts,
}

// variable is that of package connictest which turns a replay into a recording.
const variable = "CONNIC_RECORD"

func (o *recordings) run(ctx context.Context, addr string, stdout, stderr io.Writer) (err error) {
	mode, ok := textModes[o.texts]
	switch {
	case o.record != "" && o.replay != "":
		return errors.New("--record and --replay exclude each other")
	case !ok:
		return fmt.Errorf("--texts must be replace, shorten or keep: %q", o.texts)
	}
	if on, err := strconv.ParseBool(os.Getenv(variable)); o.replay != "" && os.Getenv(variable) != "" && (on || err != nil) {
		return fmt.Errorf("--replay would record, and send requests, because %s is set", variable)
	}
	p := &program{stderr: stderr}
	options := &connictest.RecordOptions{Texts: mode, Ignore: strings.FieldsFunc(o.ignore, func(r rune) bool { return r == ',' })}
	var recording *connictest.Recording
	if o.record != "" {
		recording = connictest.Record(p, o.record, options)
	} else {
		recording = connictest.Replay(p, o.replay, options)
	}
	if p.fatal != nil {
		return p.fatal
	}
	handler, err := recording.Handler(o.upstream)
	if err != nil {
		return err
	}
	if o.record != "" {
		if err := writable(o.record); err != nil {
			return err
		}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.end()) }()
	_, _ = fmt.Fprintf(stdout, "export CONNIC_API_URL=http://%s/v1\n", reachable(listener))
	if o.replay != "" {
		project, key := recording.Credentials()
		_, _ = fmt.Fprintf(stdout, "export CONNIC_PROJECT_ID=%s\nexport CONNIC_API_KEY=%s\n", project, string(key))
	}
	return serveUntilDone(ctx, &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}, listener)
}

// writable reports why a file cannot be written, before requests are sent that only
// the file shows.
func writable(name string) error {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a folder", name)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// program is what a recording reports to in place of a test.
type program struct {
	stderr io.Writer

	mu       sync.Mutex
	cleanups []func()
	reports  int
	fatal    error
}

func (*program) Helper() {}

func (p *program) Cleanup(f func()) { p.cleanups = append(p.cleanups, f) }

func (p *program) Errorf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reports++
	_, _ = fmt.Fprintf(p.stderr, format+"\n", args...)
}

// Fatalf is called before there is anything to end. What the text adds to an error
// is for tests.
func (p *program) Fatalf(format string, args ...any) {
	p.fatal = fmt.Errorf(format, args...)
	for _, arg := range args {
		if err, ok := arg.(error); ok {
			p.fatal = err
		}
	}
}

// end ends the recording.
func (p *program) end() error {
	for _, f := range p.cleanups {
		f()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reports > 0 {
		return ReportError{fmt.Errorf("problems reported: %d", p.reports)}
	}
	return nil
}
