package mask

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// notInKey lists the printable characters that end a key in a text around it.
const notInKey = "\"'`<>()[]{},;\\"

// pattern finds whatever begins with a prefix: in any letter case, with any
// of its characters escaped as JSON, URLs and HTML do it, once or several times, and in
// hexadecimal and base64.
type pattern struct {
	prefix string
	signs  []string // what a text with such a secret contains
	expr   func() *regexp.Regexp
}

// The digits of a prefix in base64 can be the letters of a name ("Niclas"), so a
// bridge token, which is long, must have more of them.
var patterns = [...]*pattern{newPattern(KeyPrefix, 4), newPattern(BridgePrefix, 16)}

// newPattern returns the pattern of a prefix, with at least so many digits of
// base64 behind it.
func newPattern(prefix string, least int) *pattern {
	p := &pattern{prefix: prefix, signs: []string{`\`, "%", "&#"}}
	for _, form := range letterCases(prefix) {
		p.signs = append(p.signs, form)
		if sign := hex.EncodeToString([]byte(form))[:3]; !slices.Contains(p.signs, sign) {
			p.signs = append(p.signs, sign)
		}
	}
	var b64 []string
	for _, form := range []string{prefix, upper(prefix)} {
		for offset := range 3 {
			b64 = append(b64, base64Core(form, offset))
		}
	}
	p.signs = append(p.signs, b64...)
	p.expr = sync.OnceValue(func() *regexp.Regexp {
		var plain, digits strings.Builder
		for _, c := range []byte(prefix) {
			capital := upper(string(c))[0]
			either := fmt.Sprintf("(?:%02x|%02x)", c, capital)
			either = strings.NewReplacer("e", "[eE]", "f", "[fF]").Replace(either)
			digits.WriteString(either)
			fmt.Fprintf(&plain, `(?:[%c%c]|\\+(?:u00|x)%s|%%(?:25)*%s|&#0*(?:%d|%d);|&#[xX]0*%s;)`, c, capital, either, either, c, capital, either)
		}
		const escaped = `\\+(?:/|(?:u00|x)[2-7][0-9a-fA-F])|&(?:amp|#[xX]?[0-9a-fA-F]+);`
		return regexp.MustCompile(plain.String() + `(?:` + escaped + `|[^\s` + regexp.QuoteMeta(notInKey) + `])+|` +
			digits.String() + `[0-9a-fA-F]{4,}|(?:` + strings.Join(b64, "|") + fmt.Sprintf(`)[A-Za-z0-9+/_=-]{%d,}`, least))
	})
	return p
}

// letterCases returns s with each of its letters in lower and in upper case.
func letterCases(s string) []string {
	forms := []string{""}
	for _, c := range s {
		l, u := lower(string(c)), upper(string(c))
		for i, form := range forms {
			forms[i] = form + l
			if u != l {
				forms = append(forms, form+u)
			}
		}
	}
	return forms
}

// base64Core is what any base64 of s contains where s stands at such an offset
// among threes: the digits that depend on s alone.
func base64Core(s string, offset int) string {
	encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x00", offset) + s))
	from := (8*offset + 5) / 6
	to := 8 * (offset + len(s)) / 6
	return encoded[from:to]
}

// replace returns s with whatever the pattern finds replaced.
func (p *pattern) replace(s string) string {
	for _, sign := range p.signs {
		if strings.Contains(s, sign) {
			return p.expr().ReplaceAllString(s, p.prefix+"…")
		}
	}
	return s
}

// firsts has a bit for the first two bytes of each sign of each pattern. A sign of
// one byte has all that begin with it.
var firsts = func() (bits [1 << 16 / 64]uint64) {
	for _, p := range patterns {
		for _, sign := range p.signs {
			for second := range 256 {
				if len(sign) == 1 || sign[1] == byte(second) {
					pair := uint(sign[0])<<8 | uint(second)
					bits[pair/64] |= 1 << (pair % 64)
				}
			}
		}
	}
	return bits
}()

// suspicious reports whether s has a sign of a secret. Most texts have none, and
// are read once.
func suspicious[T string | []byte](s T) bool {
	for i := range len(s) {
		pair := uint(s[i]) << 8
		if i+1 < len(s) {
			pair |= uint(s[i+1])
		}
		if firsts[pair/64]&(1<<(pair%64)) != 0 && signAt(s[i:]) {
			return true
		}
	}
	return false
}

func signAt[T string | []byte](s T) bool {
	for _, p := range patterns {
		for _, sign := range p.signs {
			if len(s) >= len(sign) && string(s[:len(sign)]) == sign {
				return true
			}
		}
	}
	return false
}
