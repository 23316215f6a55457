// Package progress is about what programs write to terminals.
package progress

import (
	"io"
	"os"

	"github.com/connic-go/connic/internal/mask"
)

// Terminal reports whether out is a terminal that can move its cursor.
func Terminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// maxClean limits the characters of a line.
const maxClean = 4000

// Clean returns foreign text as one line without keys. Control characters, and
// characters that change the direction of text, are written as escapes.
func Clean(s string) string { return mask.Line(s, maxClean) }
