// Package progress shows the progress of a program: on a terminal as a line
// that is updated in place, elsewhere as plain lines at a limited rate.
package progress

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/connic-go/connic/internal/mask"
)

const (
	// columns is the width that every terminal has.
	columns = 79
	// quiet is the interval between plain lines if no one watches, as in the
	// log of a build.
	quiet = 5 * time.Second
)

// A Line is a progress line. It is safe for concurrent use. A nil Line shows
// nothing.
type Line struct {
	mu    sync.Mutex
	out   io.Writer
	live  bool
	shown string
	last  time.Time
}

// New returns a Line on out, which is updated in place if out is a terminal.
func New(out io.Writer) *Line { return &Line{out: out, live: Terminal(out)} }

// Terminal reports whether out is a terminal that can move its cursor.
func Terminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Show shows the progress. Elsewhere than on a terminal it writes a line if the
// text is new and the last line is 5 s old.
func (l *Line) Show(format string, args ...any) {
	if l == nil {
		return
	}
	text := cut(Clean(fmt.Sprintf(format, args...)), columns)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case text == l.shown:
	case l.live:
		_, _ = fmt.Fprintf(l.out, "\r\x1b[K%s", text)
		l.shown = text
	case time.Since(l.last) >= quiet:
		_, _ = fmt.Fprintln(l.out, text)
		l.shown, l.last = text, time.Now()
	}
}

// Say writes a permanent line.
func (l *Line) Say(format string, args ...any) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clear()
	_, _ = fmt.Fprintln(l.out, Clean(fmt.Sprintf(format, args...)))
}

// Done removes the progress line.
func (l *Line) Done() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clear()
}

func (l *Line) clear() {
	if l.live && l.shown != "" {
		_, _ = io.WriteString(l.out, "\r\x1b[K")
		l.shown = ""
	}
}

// maxClean limits the characters of a line.
const maxClean = 4000

// Clean returns foreign text as one line without keys. Control characters, and
// characters that change the direction of text, are written as escapes.
func Clean(s string) string { return mask.Line(s, maxClean) }

// cut truncates a text to n characters.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}
