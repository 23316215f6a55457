package mask

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// oneLine returns s as one line that is safe to print.
func oneLine(s string) string {
	if printable(s) {
		return s
	}
	var b strings.Builder
	blank := true // empty, or a space that stands for line breaks
	for _, r := range s {
		switch {
		case r == utf8.RuneError:
			// Each invalid byte becomes the replacement character.
			b.WriteRune(r)
		case breaks(r):
			// Runs of line breaks and tabs, and the spaces between them, become
			// one space.
			if !blank {
				b.WriteByte(' ')
			}
			blank = true
			continue
		case r == ' ':
			if !blank {
				b.WriteByte(' ')
			}
			continue
		case steers(r):
			escaped := strconv.QuoteRuneToASCII(r)
			b.WriteString(escaped[1 : len(escaped)-1])
		default:
			b.WriteRune(r)
		}
		blank = false
	}
	return strings.TrimSpace(b.String())
}

// printable reports whether s is printable ASCII.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func breaks(r rune) bool {
	return r == '\n' || r == '\r' || r == '\t' || r == '\v' || r == '\f' || r == 0x85 || r == 0x2028 || r == 0x2029
}

// steers reports whether r is a control character or a format character, except
// for those that join letters and emoji.
func steers(r rune) bool {
	const nonJoiner, joiner = 0x200c, 0x200d
	return r != nonJoiner && r != joiner && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp)
}

// shorten truncates s to most characters.
func shorten(s string, most int) string {
	if most <= 0 || len(s) <= most || utf8.RuneCountInString(s) <= most {
		return s
	}
	end := 0
	for range most - 1 {
		_, size := utf8.DecodeRuneInString(s[end:])
		end += size
	}
	return s[:end] + "…"
}

// clip truncates s to about size bytes. The result does not end within a word,
// because that could be the start of a secret.
func clip(s string, size int) string {
	if len(s) <= size {
		return s
	}
	s = s[:size]
	for len(s) > 0 && size-len(s) < 1<<10 && s[len(s)-1] > ' ' {
		s = s[:len(s)-1]
	}
	return s + "…"
}
