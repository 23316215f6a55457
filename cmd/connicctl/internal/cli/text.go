package cli

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/connic-go/connic/internal/mask"
	"golang.org/x/text/width"
)

// maxLine limits the characters of a line of foreign text.
const maxLine = 4000

// hide returns text without keys.
func (a *App) hide(s string) string {
	// At the end of a text, a mask takes the start of the key for one that was cut.
	return strings.TrimSuffix(a.mask.Text(s+"\n"), "\n")
}

// Line returns foreign text as one line that a terminal shows and does not obey:
// without keys, with control characters and characters that change the direction
// of text as escapes. A build does not find a command in it, unless the line begins
// with it.
func (a *App) Line(s string) string {
	return mask.Line(commands.ReplaceAllString(a.hide(s), `#\x23$1`), maxLine)
}

// commands matches what builds obey anywhere in a line of their log: ##[ (GitHub),
// ##vso[ (Azure), ##teamcity[.
var commands = regexp.MustCompile(`##(\w*\[)`)

// Text is like Line for text of several lines: line breaks and tabs stay.
func (a *App) Text(s string) string {
	var b strings.Builder
	for _, r := range strings.ReplaceAll(a.hide(s), "\r\n", "\n") {
		if r != '\n' && r != '\t' && steers(r) {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// steers reports whether a terminal may obey a character: control characters, and
// those that format text, except for those that join letters and emoji.
func steers(r rune) bool {
	const nonJoiner, joiner = 0x200c, 0x200d
	return r != nonJoiner && r != joiner && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp)
}

// columns returns the number of columns that a character takes on a terminal.
func columns(r rune) int {
	if r < 0x300 {
		return 1
	}
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	if kind := width.LookupRune(r).Kind(); kind == width.EastAsianWide || kind == width.EastAsianFullwidth {
		return 2
	}
	return 1
}

// columnsOf returns the number of columns of a line.
func columnsOf(s string) (n int) {
	for _, r := range s {
		n += columns(r)
	}
	return n
}

// cut shortens a line to at most n columns.
func cut(s string, n int) string {
	if columnsOf(s) <= n {
		return s
	}
	for i, r := range s {
		if n -= columns(r); n < 1 {
			return s[:i] + "…"
		}
	}
	return s
}
