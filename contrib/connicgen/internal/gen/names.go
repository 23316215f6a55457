package gen

import (
	"strings"
	"unicode"
)

// initialisms are words that Go writes in capitals.
var initialisms = map[string]bool{
	"API": true, "ASCII": true, "CPU": true, "CSS": true, "CSV": true, "DNS": true, "EOF": true, "GUID": true, "HTML": true, "HTTP": true, "HTTPS": true,
	"IBAN": true, "ID": true, "IP": true, "JSON": true, "PDF": true, "QPS": true, "RAM": true, "RPC": true, "SLA": true, "SMTP": true, "SQL": true,
	"SSH": true, "TCP": true, "TLS": true, "TTL": true, "UDP": true, "UI": true, "UID": true, "URI": true, "URL": true, "UTF8": true, "UUID": true,
	"VAT": true, "VM": true, "XML": true,
}

// pascal returns the exported Go name for a name of a project: "customer_id" is
// CustomerID. Characters that no identifier has separate words. A name that cannot
// begin an exported identifier gets an X before it.
func pascal(name string) string {
	var b strings.Builder
	word := []rune{}
	flush := func() {
		if upper := strings.ToUpper(string(word)); initialisms[upper] {
			b.WriteString(upper)
		} else if len(word) > 0 {
			b.WriteRune(unicode.ToUpper(word[0]))
			b.WriteString(string(word[1:]))
		}
		word = word[:0]
	}
	var last rune
	for _, r := range name {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r) || r == unicode.ReplacementChar:
			flush()
		case unicode.IsUpper(r) && unicode.IsLower(last):
			flush()
			word = append(word, r)
		default:
			word = append(word, r)
		}
		last = r
	}
	flush()
	made := b.String()
	if first := []rune(made + "0")[0]; !unicode.IsUpper(first) {
		made = "X" + made
	}
	return made
}

// taggable reports whether encoding/json takes a name from a struct tag.
func taggable(name string) bool {
	for _, r := range name {
		if !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return false
		}
	}
	return name != ""
}

func joined(parts []string, separator string) string { return strings.Join(parts, separator) }

// escape returns a token of a JSON pointer.
func escape(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}

func unescape(token string) string {
	return strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
}

// comment returns the lines of a text that is safe in a line comment.
func comment(text string) (lines []string) {
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool {
		return r >= '\n' && r <= '\r' || r == 0x85 || r == 0x2028 || r == 0x2029
	}) {
		line = strings.Map(func(r rune) rune {
			switch {
			case r == '\t':
				return ' '
			case !unicode.IsGraphic(r), r == unicode.ReplacementChar:
				return -1
			}
			return r
		}, line)
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "+build") { // go/format makes a build constraint of it
			line = line[1:]
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
