package mask

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const testKey = "cnc_unit-test-key-0123456789"

// spellings are the ways in which a service writes a text into another one.
var spellings = map[string]func(string) string{
	"plain": func(s string) string { return s },
	"JSON": func(s string) string {
		encoded, err := json.Marshal(s)
		if err != nil {
			return err.Error()
		}
		return strings.Trim(string(encoded), `"`)
	},
	"JSON with escaped slashes": func(s string) string { return strings.ReplaceAll(s, "/", `\/`) },
	"JSON in JSON":              func(s string) string { return strings.Trim(strconv.Quote(strconv.QuoteToASCII(s)), `"\`) },
	"JSON escapes":              func(s string) string { return each(s, `\u%04x`) },
	"JSON escapes in JSON":      func(s string) string { return each(s, `\\u%04X`) },
	"escapes of Go and Python":  func(s string) string { return each(s, `\x%02x`) },
	"URL":                       url.QueryEscape,
	"URL path":                  url.PathEscape,
	"URL, all":                  func(s string) string { return each(s, "%%%02x") },
	"URL, twice":                func(s string) string { return each(s, "%%25%02X") },
	"HTML":                      html.EscapeString,
	"HTML, decimal":             func(s string) string { return each(s, "&#%d;") },
	"HTML, hexadecimal":         func(s string) string { return each(s, "&#x%X;") },
	"hexadecimal":               func(s string) string { return hex.EncodeToString([]byte(s)) },
	"HEXADECIMAL":               func(s string) string { return fmt.Sprintf("%X", s) },
	"base64":                    func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64 of a header":        func(s string) string { return base64.URLEncoding.EncodeToString([]byte("Bearer " + s)) },
	"base64 of a pair":          func(s string) string { return base64.RawStdEncoding.EncodeToString([]byte("me:" + s)) },
	"base64 of another pair":    func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("m:" + s)) },
}

func each(s, format string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, format, c)
	}
	return b.String()
}

// thorny is a key with every kind of character that some spelling changes.
const thorny = "cnc_THORN/9f+8e=7d&6c%5b~4a.3D-2E_1F|0G"

func TestKeysAreMaskedInEverySpelling(t *testing.T) {
	t.Parallel()
	for name, spell := range spellings {
		for _, key := range []string{thorny, testKey, "cnc_0123456789abcdef"} {
			spelled := spell(key)
			if masked := Text("the key " + spelled + " is bad"); !strings.HasPrefix(masked, "the key ") ||
				!strings.HasSuffix(masked, KeyPrefix+"… is bad") || strings.Contains(masked, spelled[len(spelled)/2:]) {
				t.Errorf("%s: %q becomes %q", name, spelled, masked)
			}
			for _, around := range []string{`"%s"`, `'%s'`, `{"a":"%s","b":1}`, "<b>%s</b>", "(%s)", "[%s]", `\"%s\"`, "a=%s;b", "`%s`", "%s\n"} {
				text := fmt.Sprintf(around, spelled)
				if masked := Text(text); !strings.Contains(masked, KeyPrefix+"…") || strings.Contains(masked, spelled[len(spelled)/2:]) {
					t.Errorf("%s: %q becomes %q", name, text, masked)
				}
			}
		}
	}
	for _, key := range []string{"CnC_abcdefgh", "cNc_abcdefgh", "CNc_abcdefgh", "CbR_abcdefgh", "436e435f00112233", "634E635F00112233"} {
		// Nothing else in the text looks like a secret, so nothing else leads to it.
		if masked := Text("the key " + key + " is bad"); strings.Contains(masked, key) {
			t.Errorf("%q stays in %q", key, masked)
		}
	}
	// What is no key stays as it is.
	for _, text := range []string{"", "cnc_", "run abc-636 is 100% done", `a\b`, "x &#38; y", "Y25j", "cncx_abc", "636e635f", "\\u0063nothing"} {
		if masked := Text(text); masked != text {
			t.Errorf("%q becomes %q", text, masked)
		}
	}
}

func FuzzMask(f *testing.F) {
	f.Add("", "cnc_abcdefgh", "")
	f.Add(`{"detail": "`, "cnc_ab/cd+ef=&%~", `\n"}`)
	f.Add("cnc", "cnc_abcdefgh", "cnc_")
	f.Fuzz(func(t *testing.T, before, key, after string) {
		valid := strings.TrimSpace(key)
		if len(valid) < 12 || !strings.HasPrefix(valid, KeyPrefix) || strings.ContainsFunc(valid, func(r rune) bool { return r > '~' || !KeyByte(byte(r)) }) ||
			strings.Contains(before+after, valid[4:]) {
			return
		}
		for name, spell := range spellings {
			spelled := spell(valid)
			masked := Text(before + " " + spelled + " " + after)
			if strings.Contains(masked, spelled) {
				t.Errorf("%s: %q stays in %q", name, spelled, masked)
			}
			if again := Text(masked); again != masked && !strings.Contains(before+after, KeyPrefix) && !strings.ContainsAny(before+after, `\%&`) {
				t.Errorf("%q is masked once more as %q", masked, again)
			}
		}
	})
}

func TestErrorsOfOthersAreMasked(t *testing.T) {
	t.Parallel()
	plain := errors.New("nothing secret")
	if got := Error(plain); got != plain || Error(nil) != nil { //nolint:errorlint // the same one
		t.Errorf("it became %v", got)
	}
	inner := &url.Error{Op: "proxyconnect", URL: "http://user:" + testKey + "@proxy", Err: http.ErrHandlerTimeout}
	for name, err := range map[string]error{
		"itself": inner, "wrapped": fmt.Errorf("outer: %w", inner), "joined": errors.Join(plain, inner), "hidden": &hiding{inner}, "deep": errors.Join(plain, &hiding{errors.Join(nil, inner)}),
	} {
		masked := Error(err)
		var found *url.Error
		if !errors.Is(masked, http.ErrHandlerTimeout) || errors.Is(masked, plain) != errors.Is(err, plain) || !errors.As(masked, &found) || found != inner {
			t.Errorf("%s: the cause is lost", name)
		}
		if errors.Unwrap(masked) != nil {
			t.Errorf("%s: it leads to the original", name)
		}
		encoded, err := json.Marshal(struct{ Err any }{masked})
		if err != nil {
			t.Error(err)
		}
		for _, text := range []string{masked.Error(), fmt.Sprintf("%v %+v %#v %q %s", masked, masked, masked, masked, masked), string(encoded)} {
			if strings.Contains(text, "unit-test") {
				t.Errorf("%s: it shows as %s", name, text)
			}
		}
	}
}

// hiding is an error whose text does not have that of the one within.
type hiding struct{ error }

func (*hiding) Error() string   { return "hidden" }
func (h *hiding) Unwrap() error { return h.error }

func TestHeadersAreMasked(t *testing.T) {
	t.Parallel()
	h := http.Header{"A": {"x", "Bearer " + thorny}, "B": {"y"}, "Location": {"https://x/?k=" + url.QueryEscape(thorny)}, "C": {}}
	before := h.Clone()
	masked := Header(h)
	if got := fmt.Sprint(masked); got != "map[A:[x Bearer cnc_…] B:[y] C:[] Location:[https://x/?k=cnc_…]]" {
		t.Errorf("it became %s", got)
	}
	if fmt.Sprint(h) != fmt.Sprint(before) {
		t.Error("the original was changed")
	}
	if Header(nil) != nil || !slices.Equal(Header(http.Header{"B": {"y"}})["B"], []string{"y"}) {
		t.Error("what has no key is changed")
	}
}

// A Mask finds the secrets that it knows where no prefix tells.
func TestKnownSecretsAreMasked(t *testing.T) {
	t.Parallel()
	const bare = "THORN/9f+8e=7d&6c%5b~4a.3D-2E_1F|0G"
	for _, secret := range []string{KeyPrefix + bare, bare, BridgePrefix + bare, `with"quotes"<and>\slashes\&more`} {
		m := New("", "short", secret)
		part := strings.TrimPrefix(strings.TrimPrefix(secret, KeyPrefix), BridgePrefix)
		for name, spell := range spellings {
			for _, form := range []string{secret, part, strings.ToLower(part), upper(part), upper(secret)} {
				spelled := spell(form)
				masked := m.Text("the key " + spelled + " is bad")
				if !strings.HasPrefix(masked, "the key ") || !strings.HasSuffix(masked, " is bad") || len(masked) > 40 {
					t.Errorf("%s: %q becomes %q", name, spelled, masked)
				}
				if again := m.Text(masked); again != masked {
					t.Errorf("%s: %q is masked once more as %q", name, masked, again)
				}
			}
		}
		if printed := fmt.Sprintf("%v %+v %#v", m, m, *m); strings.Contains(printed, "9f+8") || strings.Contains(printed, "quotes") {
			t.Errorf("a Mask prints as %s", printed)
		}
	}
	// What is too short to be told from other text stays.
	if got := New("short", "cnc_short").Text("a short text"); got != "a short text" {
		t.Errorf("it became %q", got)
	}
}

func TestLinesAreSafeToPrint(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                              "",
		"plain":                         "plain",
		"a\nb\r\nc\td":                  "a b c d",
		" \n a\n \n b \n":               "a b",
		"\x1b[31mred\x1b[0m":            `\x1b[31mred\x1b[0m`,
		"a\u0085b\u2028c\u2029d":        "a b c d",
		"a\u202eb\u2066c\u200bd\ufeffe": `a\u202eb\u2066c\u200bd\ufeffe`,
		"a\x00b\x7fc\u009bd":            `a\x00b\x7fc\u009bd`,
		"\u00fcml\u00e4ut \u65e5\u672c \U0001f469\u200d\U0001f52c": "\u00fcml\u00e4ut \u65e5\u672c \U0001f469\u200d\U0001f52c",
		"bad \xff utf":                          "bad \ufffd utf",
		"\U000e0041tag":                         `\U000e0041tag`,
		"key cnc_abcdef\nlevel=INFO msg=forged": "key cnc_\u2026 level=INFO msg=forged",
	} {
		if got := Line(in, 0); got != want {
			t.Errorf("%q becomes %q, not %q", in, got, want)
		}
		if again := Line(Line(in, 0), 0); again != Line(in, 0) {
			t.Errorf("%q becomes %q the second time", in, again)
		}
	}
	long := strings.Repeat("\u00e4b ", 1<<20)
	if got := Line(long, 500); len([]rune(got)) != 500 || !strings.HasSuffix(got, "\u2026") {
		t.Errorf("%d characters", len([]rune(got)))
	}
	// A secret that the bound cuts must not show its beginning.
	secret := "verysecretvalue-0123456789"
	cut := strings.Repeat(secret+" ", maxLine/len(secret)) + secret
	if got := New(secret).Line(cut, 1<<20); strings.Contains(got, "very") {
		t.Errorf("it ends in %q", got[len(got)-40:])
	}
}

func TestErrorsBecomeOneLine(t *testing.T) {
	t.Parallel()
	joined := errors.Join(http.ErrHandlerTimeout, errors.New("x\x1b[2J"))
	if got := Error(joined); got.Error() != `http: Handler timeout x\x1b[2J` || !errors.Is(got, http.ErrHandlerTimeout) {
		t.Errorf("it became %q", got)
	}
	if got := Error(&loop{}); got.Error() != "loop" {
		t.Errorf("it became %q", got)
	}
}

// loop is an error that has itself as its cause.
type loop struct{}

func (*loop) Error() string   { return "loop" }
func (l *loop) Unwrap() error { return l }

// Masking takes time in proportion to the text, whatever the text is.
func FuzzLine(f *testing.F) {
	f.Add("a\x1b[0m", "cnc_abcdefgh", 5)
	f.Add(`%25%32%35`, "secret-value", 0)
	f.Fuzz(func(t *testing.T, s, secret string, most int) {
		got := New(secret).Line(s, most)
		if most > 0 && len([]rune(got)) > most {
			t.Errorf("%d characters, at most %d", len([]rune(got)), most)
		}
		for _, r := range got {
			if breaks(r) || steers(r) {
				t.Errorf("%q has %q", got, r)
			}
		}
		if secret = strings.TrimSpace(secret); len(secret) >= least && most == 0 && !strings.Contains("[secret]cnc_cbr_", secret) && strings.Contains(New(secret).Text(s), secret) {
			t.Errorf("%q shows in %q", secret, New(secret).Text(s))
		}
	})
}
