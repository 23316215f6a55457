package leaktest_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/connic-go/connic/internal/leaktest"
)

// short and long are secrets with characters that encodings change.
const (
	short = "Zk7/q+Xw"
	long  = "CANARY-9f8e7d6c<5b>4a"
)

// spellings are the ways in which a program may write a secret into a text.
var spellings = map[string]func(string) string{
	"raw": func(s string) string { return s }, "upper case": strings.ToUpper, "lower case": strings.ToLower,
	"quoted": strconv.Quote, "quoted twice": func(s string) string { return strconv.Quote(strconv.Quote(s)) },
	"escaped": func(s string) string { return each(s, `\u%04X`) }, "escaped twice": func(s string) string { return each(s, `\\u%04x`) },
	"escaped for Go": func(s string) string { return each(s, `\x%02x`) },
	"JSON":           func(s string) string { encoded, _ := json.Marshal(s); return string(encoded) },
	"query":          url.QueryEscape, "path": url.PathEscape,
	"query, all": func(s string) string { return each(s, "%%%02X") }, "query, twice": func(s string) string { return each(s, "%%25%02x") },
	"HTML": html.EscapeString, "HTML, numbers": func(s string) string { return each(s, "&#%d;") },
	"hexadecimal": func(s string) string { return fmt.Sprintf("%x", s) }, "HEXADECIMAL": func(s string) string { return fmt.Sprintf("%X", s) },
	"spaced": func(s string) string { return fmt.Sprintf("% x", s) }, "numbers": func(s string) string { return fmt.Sprintf("%d", []byte(s)) },
	"Go":                   func(s string) string { return fmt.Sprintf("%#v", []byte(s)) },
	"base64":               func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64 of a pair":     func(s string) string { return base64.RawStdEncoding.EncodeToString([]byte("me:" + s)) },
	"base64 of a header":   func(s string) string { return base64.URLEncoding.EncodeToString([]byte("Bearer " + s + " x")) },
	"base64 of upper case": func(s string) string { return base64.URLEncoding.EncodeToString([]byte("x" + strings.ToUpper(s))) },
	"base64 in a query":    func(s string) string { return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(s))) },
}

func each(s, format string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, format, c)
	}
	return b.String()
}

func TestEverySpellingIsFound(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{short, long, "cnc_" + long} {
		search := leaktest.For("another-secret", secret)
		for name, spell := range spellings {
			for where, text := range map[string]string{
				"alone": spell(secret), "in a text": "a\nthe secret " + spell(secret) + " is bad\nb", "cut": "the secret " + spell(secret[:len(secret)*3/4]) + "…",
			} {
				if where == "cut" && len(secret) < 16 && strings.HasPrefix(name, "base64") {
					continue // six bytes of a short one leave too little to be told from other text
				}
				if search.In(text) == "" {
					t.Errorf("%s, %s: nothing is found in %s", name, where, text)
				}
			}
		}
		if cut := secret[:(len(secret)+len("cnc_"))/2]; search.In("the secret "+cut) == "" {
			t.Errorf("nothing is found in %s", cut)
		}
	}
	for _, text := range []string{"", "cnc_…b>4a", "[secret]", "100% of \\ & more", "canary"} {
		if found := leaktest.For(short, long, "cnc_"+long).In(text); found != "" {
			t.Errorf("%q is found", found)
		}
	}
}

// A program that shows a secret in any one place is found.
func TestWhateverShowsASecretIsFound(t *testing.T) {
	t.Parallel()
	type hidden struct {
		text  string
		bytes []byte
		inner map[string]any
		self  *hidden
	}
	one := &hidden{text: "x"}
	one.self = one
	for name, v := range map[string]any{
		"a field": hidden{text: long}, "bytes": &hidden{bytes: []byte(long)}, "a map": []any{hidden{inner: map[string]any{"a": []string{long}}}},
		"a map's key": hidden{inner: map[string]any{long: one}}, "an error": fmt.Errorf("a %w", errors.New(long)),
	} {
		var reached leaktest.Record
		reached.Reach(v)
		if leaktest.For(long).In(reached.String()) == "" {
			t.Errorf("nothing is reached in %s", name)
		}
	}
	for name, v := range map[string]any{
		"a field": struct{ Text string }{long}, "an error": errors.New(long), "a wrapped error": &opaque{errors.New(long)},
		"one of several": &opaque{errors.Join(errors.New("x"), &opaque{errors.New(long)})}, "a log value": []byte(long),
	} {
		var printed leaktest.Record
		printed.Print("x", v)
		if leaktest.For(long).In(printed.String()) == "" {
			t.Errorf("nothing is printed of %s", name)
		}
	}
}

// opaque is an error that does not repeat the one it wraps.
type opaque struct{ err error }

func (*opaque) Error() string   { return "opaque" }
func (o *opaque) Unwrap() error { return o.err }
