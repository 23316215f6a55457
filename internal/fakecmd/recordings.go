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

func (o *recordings) run(ctx context.Context, addr string, stdout, stderr io.Writer) (err error) {
	mode, ok := textModes[o.texts]
	switch {
	case o.record != "" && o.replay != "":
		return errors.New("--record and --replay exclude each other")
	case !ok:
		return fmt.Errorf("--texts must be replace, shorten or keep: %q", o.texts)
	}
	p := &program{stderr: stderr}
	defer func() { err = errors.Join(err, p.end()) }()
	options := &connictest.RecordOptions{Texts: mode, Ignore: strings.FieldsFunc(o.ignore, func(r rune) bool { return r == ',' })}
	var recording *connictest.Recording
	if o.record != "" {
		recording = connictest.Record(p, o.record, options)
	} else {
		recording = connictest.Replay(p, o.replay, options)
	}
	if p.fatal {
		return nil // it was reported
	}
	handler, err := recording.Handler(o.upstream)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(stdout, "export CONNIC_API_URL=http://%s/v1\n", listener.Addr())
	if o.replay != "" {
		project, key := recording.Credentials()
		_, _ = fmt.Fprintf(stdout, "export CONNIC_PROJECT_ID=%s\nexport CONNIC_API_KEY=%s\n", project, string(key))
	}
	return serveUntilDone(ctx, &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}, listener)
}

// program is what a recording reports to in place of a test.
type program struct {
	stderr io.Writer

	mu       sync.Mutex
	cleanups []func()
	reports  int
	fatal    bool
}

func (*program) Helper() {}

func (p *program) Cleanup(f func()) { p.cleanups = append(p.cleanups, f) }

func (p *program) Errorf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reports++
	_, _ = fmt.Fprintf(p.stderr, format+"\n", args...)
}

// Fatalf is called before there is anything to end.
func (p *program) Fatalf(format string, args ...any) {
	p.Errorf(format, args...)
	p.fatal = true
}

// end ends the recording.
func (p *program) end() error {
	for _, f := range p.cleanups {
		f()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reports > 0 {
		return ReportError{fmt.Errorf("%d reports", p.reports)}
	}
	return nil
}
