package mask

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
)

// least is the minimum length of a secret, or part of one, that is searched
// for.
const least = 8

// needles holds the spellings of secrets.
type needles struct {
	// folded are found in any letter case and with escapes. The longest come
	// first.
	folded []needle
	// digits are hexadecimal and base64. A match is extended to the whole run
	// of such digits, since its ends belong to the secret too.
	digits []needle
	// pairs has a bit for the first two bytes of each needle, in lower case.
	pairs [1 << 16 / 64]uint64
}

type needle struct {
	text    string
	instead string
	part    func(c byte) bool // for digits: which bytes belong to the run
}

func makeNeedles(secrets []string) *needles {
	n := new(needles)
	for _, secret := range secrets {
		secret = strings.TrimSpace(secret)
		instead := "[secret]"
		for _, p := range patterns {
			part, ok := strings.CutPrefix(secret, p.prefix)
			if !ok {
				continue
			}
			instead = p.prefix + "…"
			n.add(part, instead)
		}
		n.add(secret, instead)
	}
	slices.SortStableFunc(n.folded, func(a, b needle) int { return len(b.text) - len(a.text) })
	for _, all := range [...][]needle{n.folded, n.digits} {
		for _, one := range all {
			p := pair(one.text[0], one.text[1]) // none is shorter than a few bytes
			n.pairs[p/64] |= 1 << (p % 64)
		}
	}
	return n
}

func fold(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

func pair(a, b byte) uint { return uint(fold(a))<<8 | uint(fold(b)) }

// mayBeIn reports whether s may contain a needle: it has escapes, or the start
// of a needle. Most strings have neither and need no copy.
func mayBeIn[T string | []byte](n *needles, s T) bool {
	if len(n.folded) == 0 {
		return false
	}
	for i := 0; i+1 < len(s); i++ {
		switch s[i] {
		case '\\', '%', '&':
			return true
		}
		if p := pair(s[i], s[i+1]); n.pairs[p/64]&(1<<(p%64)) != 0 && begins(n, s[i:]) {
			return true
		}
	}
	return false
}

// begins reports whether s starts like a needle, in any letter case.
func begins[T string | []byte](n *needles, s T) bool {
	for _, all := range [...][]needle{n.folded, n.digits} {
		for _, one := range all {
			i, enough := 0, min(least, len(one.text))
			for i < enough && i < len(s) && fold(s[i]) == fold(one.text[i]) {
				i++
			}
			if i == enough || i == len(s) && i >= one.half() {
				return true
			}
		}
	}
	return false
}

func (n *needles) add(secret, instead string) {
	if len(secret) < least {
		return
	}
	// A string is searched unmodified, and again after each layer of escapes is
	// decoded. That also decodes parts of a secret that only look like escapes.
	for plain := (text{b: []byte(secret)}); ; {
		n.folded = append(n.folded, needle{text: lower(string(plain.b)), instead: instead})
		if !plain.unescape() || len(plain.b) < least {
			break
		}
	}
	// Base64 with line breaks, and base64 of base64, are not searched for.
	for _, form := range []string{secret, upper(secret), lower(secret)} {
		n.addDigits(hex.EncodeToString([]byte(form)), instead, isHex)
		for offset := range 3 {
			core := base64Core(form, offset)
			n.addDigits(core, instead, isBase64)
			n.addDigits(strings.NewReplacer("+", "-", "/", "_").Replace(core), instead, isBase64)
		}
	}
}

func (n *needles) addDigits(text, instead string, part func(byte) bool) {
	if !slices.ContainsFunc(n.digits, func(d needle) bool { return d.text == text }) {
		n.digits = append(n.digits, needle{text, instead, part})
	}
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f' }

func isBase64(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || strings.IndexByte("+/-_=", c) >= 0
}

// A span is a part of a string that is to be replaced.
type span struct {
	from, to int
	instead  string
}

// replace returns s with all matches of the needles replaced.
func (n *needles) replace(s string) string {
	if !mayBeIn(n, s) {
		return s
	}
	var found []span
	if len(n.digits) > 0 {
		lowered := lower(s)
		for _, d := range n.digits {
			found = append(found, d.runs(s, lowered)...)
		}
	}
	plain := text{b: []byte(s)}
	for round := 0; ; round++ {
		lowered := lowerBytes(plain.b)
		for _, f := range n.folded {
			found = append(found, f.in(lowered, plain.at)...)
		}
		// Each iteration decodes one layer of escapes.
		if round == layers || !plain.unescape() {
			break
		}
	}
	if len(found) == 0 {
		return s
	}
	slices.SortStableFunc(found, func(a, b span) int {
		if a.from != b.from {
			return a.from - b.from
		}
		return b.to - a.to
	})
	var b strings.Builder
	end := 0
	for _, f := range found {
		if f.from >= end {
			b.WriteString(s[end:f.from])
			b.WriteString(f.instead)
		}
		end = max(end, f.to)
	}
	b.WriteString(s[end:])
	return b.String()
}

// half returns the minimum number of bytes that are found of a needle which the
// end of a text cuts. Of base64 it takes less, since the first digits depend on
// what is before the secret.
func (n needle) half() int { return max(least/2, len(n.text)/2-2) }

// cut returns the length of the start of the needle that ends a text.
func (n needle) cut(text string) int {
	for length := min(len(n.text)-1, len(text)); length >= n.half(); length-- {
		if strings.HasSuffix(text, n.text[:length]) {
			return length
		}
	}
	return 0
}

// complete returns text without an escape that its end cuts.
func complete(text string) string {
	if i := strings.LastIndexAny(text, `\%&`); i >= 0 && len(text)-i < len(`\u0000`) {
		return text[:i]
	}
	return text
}

// in finds the needle in lower-case text. at maps positions to the original.
func (n needle) in(lowered []byte, at []int) (found []span) {
	for from := 0; ; {
		i := bytes.Index(lowered[from:], []byte(n.text))
		end := from + i + len(n.text)
		if i < 0 {
			whole := complete(string(lowered[from:]))
			length := n.cut(whole)
			if length == 0 {
				return found
			}
			i, end = len(whole)-length, len(lowered)
		}
		i += from
		from = end
		if at == nil {
			found = append(found, span{i, end, n.instead})
		} else {
			found = append(found, span{at[i], at[end], n.instead})
		}
	}
}

// runs finds the runs of digits that contain the needle.
func (n needle) runs(s, lowered string) (found []span) {
	in := s
	if !n.part('g') {
		in = lowered // hexadecimal
	}
	for from := 0; ; {
		i := strings.Index(in[from:], n.text)
		start, end := from+i, from+i+len(n.text)
		if i < 0 {
			length := n.cut(in[from:])
			if length == 0 {
				return found
			}
			start, end = len(s)-length, len(s)
		}
		for start > 0 && n.part(s[start-1]) {
			start--
		}
		for end < len(s) && n.part(s[end]) {
			end++
		}
		found = append(found, span{start, end, n.instead})
		from = end
	}
}

// lower converts only ASCII letters to lower case, so that lengths do not
// change.
func lower(s string) string { return string(lowerBytes([]byte(s))) }

func upper(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - ('a' - 'A')
		}
	}
	return string(b)
}

func lowerBytes(b []byte) []byte {
	lowered := make([]byte, len(b))
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		lowered[i] = c
	}
	return lowered
}
