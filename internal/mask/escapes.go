package mask

import (
	"html"
	"strconv"
	"strings"
	"unicode/utf8"
)

// layers limits how many layers of escapes are decoded.
const layers = 5

// A text is a string whose escapes are being decoded.
type text struct {
	b  []byte
	at []int // the position of each byte of b, and of its end, in the original; nil if nothing was decoded
}

// unescape decodes one layer of escapes: those of JSON and Go, of URLs, and of
// HTML. It reports whether there were any.
func (t *text) unescape() bool {
	if !strings.ContainsAny(string(t.b), `\%&`) {
		return false
	}
	place := func(i int) int {
		if t.at == nil {
			return i
		}
		return t.at[i]
	}
	plain, at := make([]byte, 0, len(t.b)), make([]int, 0, len(t.b)+1)
	found := false
	for i := 0; i < len(t.b); {
		decoded, n := unescape(t.b[i:])
		found = found || n > 0
		if n == 0 {
			decoded, n = t.b[i:i+1], 1
		}
		for range decoded {
			at = append(at, place(i))
		}
		plain = append(plain, decoded...)
		i += n
	}
	at = append(at, place(len(t.b)))
	t.b, t.at = plain, at
	return found
}

// unescape decodes the escape at the start of b and returns its length, or 0 if
// there is none.
func unescape(b []byte) (decoded []byte, n int) {
	switch b[0] {
	case '%':
		return codePoint(b, 1, 3, 8)
	case '\\':
		if len(b) < 2 {
			return nil, 0
		}
		switch b[1] {
		case 'u':
			return codePoint(b, 2, 6, 32)
		case 'x':
			return codePoint(b, 2, 4, 8)
		case '/', '\\', '"', '\'':
			return b[1:2], 2
		}
	case '&':
		end := strings.IndexByte(string(b[:min(len(b), 12)]), ';')
		if end < 0 {
			return nil, 0
		}
		if entity := string(b[:end+1]); html.UnescapeString(entity) != entity {
			return []byte(html.UnescapeString(entity)), end + 1
		}
	}
	return nil, 0
}

// codePoint decodes the hexadecimal digits b[from:to].
func codePoint(b []byte, from, to, bits int) ([]byte, int) {
	if len(b) < to {
		return nil, 0
	}
	r, err := strconv.ParseUint(string(b[from:to]), 16, bits)
	if err != nil {
		return nil, 0
	}
	if bits == 8 {
		return []byte{byte(r)}, to
	}
	return utf8.AppendRune(nil, rune(r)), to
}
