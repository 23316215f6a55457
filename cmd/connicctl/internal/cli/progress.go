package cli

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/connic-go/connic"
)

// plain is the least time between plain lines of progress, as in the log of a
// build.
const plain = 5 * time.Second

// Progress is the progress of a command on standard error: on a terminal a line
// that is updated in place, elsewhere plain lines at a limited rate. It is safe
// for concurrent use.
type Progress struct {
	mu    sync.Mutex
	out   io.Writer
	line  func(string) string // makes text safe
	width int                 // of the terminal; 0 if it is none
	quiet bool
	shown string
	last  time.Time
}

// Show shows the progress. Elsewhere than on a terminal it writes a line if the
// text is new, and the last line or the start of the command is 5 s ago.
func (p *Progress) Show(format string, args ...any) {
	text := p.line(fmt.Sprintf(format, args...))
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.quiet || text == p.shown:
	case p.width > 0:
		_, _ = fmt.Fprintf(p.out, "\r\x1b[K%s", cut(text, p.width-1))
		p.shown = text
	case time.Since(p.last) >= plain:
		_, _ = fmt.Fprintln(p.out, text)
		p.shown, p.last = text, time.Now()
	}
}

// Say writes a permanent line, also if --quiet is set.
func (p *Progress) Say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	_, _ = fmt.Fprintln(p.out, p.line(fmt.Sprintf(format, args...)))
}

// Write writes permanent lines, for a log.
func (p *Progress) Write(lines []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	return p.out.Write(lines)
}

// Done removes the line of progress.
func (p *Progress) Done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

func (p *Progress) clear() {
	if p.width > 0 && p.shown != "" {
		_, _ = io.WriteString(p.out, "\r\x1b[K")
		p.shown = ""
	}
}

// Observe is a [connic.Observer] that shows waits of a second or more, so that a
// command that waits for the quota does not seem to hang.
func (p *Progress) Observe(_ context.Context, e connic.Event) {
	wait := e.Wait.Round(time.Second)
	switch {
	case wait < time.Second:
	case e.Kind == connic.EventQueued:
		p.Show("%s waits %s for its turn (%s)", e.Op, wait, e.Reason)
	case e.Kind == connic.EventRetry:
		p.Show("%s is tried again in %s (%s)", e.Op, wait, e.Reason)
	}
}
