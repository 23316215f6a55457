package connic

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

func TestS1KeysAreMaskedInEverySpelling(t *testing.T) {
	t.Parallel()
	for name, spell := range spellings {
		for _, key := range []APIKey{thorny, testKey, "cnc_0123456789abcdef"} {
			spelled := spell(string(key))
			if masked := maskKeys("the key " + spelled + " is bad"); !strings.HasPrefix(masked, "the key ") ||
				!strings.HasSuffix(masked, keyPrefix+"… is bad") || strings.Contains(masked, spelled[len(spelled)/2:]) {
				t.Errorf("%s: %q becomes %q", name, spelled, masked)
			}
			for _, around := range []string{`"%s"`, `'%s'`, `{"a":"%s","b":1}`, "<b>%s</b>", "(%s)", "[%s]", `\"%s\"`, "a=%s;b", "`%s`", "%s\n"} {
				text := fmt.Sprintf(around, spelled)
				if masked := maskKeys(text); !strings.Contains(masked, keyPrefix+"…") || strings.Contains(masked, spelled[len(spelled)/2:]) {
					t.Errorf("%s: %q becomes %q", name, text, masked)
				}
			}
		}
	}
	// What is no key stays as it is.
	for _, text := range []string{"", "cnc_", "run abc-636 is 100% done", `a\b`, "x &#38; y", "Y25j", "cncx_abc", "636e635f", "\\u0063nothing"} {
		if masked := maskKeys(text); masked != text {
			t.Errorf("%q becomes %q", text, masked)
		}
	}
}

func FuzzMask(f *testing.F) {
	f.Add("", "cnc_abcdefgh", "")
	f.Add(`{"detail": "`, "cnc_ab/cd+ef=&%~", `\n"}`)
	f.Add("cnc", "cnc_abcdefgh", "cnc_")
	f.Fuzz(func(t *testing.T, before, key, after string) {
		valid, err := parseKey(APIKey(key))
		if err != nil || len(valid) < 12 || strings.Contains(before+after, string(valid[4:])) {
			return
		}
		for name, spell := range spellings {
			spelled := spell(string(valid))
			masked := maskKeys(before + " " + spelled + " " + after)
			if strings.Contains(masked, spelled) {
				t.Errorf("%s: %q stays in %q", name, spelled, masked)
			}
			if again := maskKeys(masked); again != masked && !strings.Contains(before+after, keyPrefix) && !strings.ContainsAny(before+after, `\%&`) {
				t.Errorf("%q is masked once more as %q", masked, again)
			}
		}
	})
}

// What is decoded from the body of an error must not bring a key back that the
// body spells in another way.
func TestS1KeysInErrorBodies(t *testing.T) {
	t.Parallel()
	for _, key := range []APIKey{thorny, testKey} {
		for name, spell := range spellings {
			spelled := spell(string(key))
			if !json.Valid([]byte(`"` + spelled + `"`)) {
				continue
			}
			for _, body := range []string{
				`{"detail": "bad %s"}`, `{"detail": {"message": "%s"}}`, `{"detail": [{"loc": ["%s"], "msg": "%s", "type": "%s"}]}`,
				`{"detail": {"a": {"%s": "%s"}}}`, `{"detail": {"detail": ["%s"]}}`, `{"error": "%s"}`,
			} {
				body = strings.ReplaceAll(body, "%s", spelled)
				c := newTestClient(t, func(*http.Request) (*http.Response, error) { return respond(401, body), nil })
				_, err := c.Runs.Get(t.Context(), "r1")
				for _, format := range []string{"%v", "%+v", "%#v", "%q"} {
					text := fmt.Sprintf(format, err)
					var e *Error
					errors.As(err, &e)
					text += fmt.Sprintf(format, *e) + string(e.Body)
					if strings.Contains(text, string(key[8:])) || strings.Contains(text, spelled) || strings.Contains(text, "9f+8") || strings.Contains(text, "test-key") {
						t.Errorf("%s in %s shows as %s", name, body, text)
					}
				}
			}
		}
	}
}

func TestS1ErrorsOfOthersAreMasked(t *testing.T) {
	t.Parallel()
	plain := errors.New("nothing secret")
	if got := maskError(plain); got != plain || maskError(nil) != nil { //nolint:errorlint // the same one
		t.Errorf("it became %v", got)
	}
	inner := &url.Error{Op: "proxyconnect", URL: "http://user:" + string(testKey) + "@proxy", Err: http.ErrHandlerTimeout}
	for name, err := range map[string]error{
		"itself": inner, "wrapped": fmt.Errorf("outer: %w", inner), "joined": errors.Join(plain, inner), "hidden": &hiding{inner}, "deep": errors.Join(plain, &hiding{errors.Join(nil, inner)}),
	} {
		masked := maskError(err)
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

// Runs, jobs and the like have whatever the service, or an agent, puts into them.
func TestS1ErrorsThatCarryData(t *testing.T) {
	t.Parallel()
	const key = thorny
	for _, err := range []error{
		&RunError{&Run{ID: key, AgentName: key, Status: key, Error: key, Output: key}},
		&JobError{&Job{ID: key, EntryID: key, Status: key, Error: key}},
		&EvaluationError{&Evaluation{ID: key, RunID: key, Status: key, Error: key}},
		&DeploymentError{&Deployment{ID: key, Status: key, Phase: key, Error: key}},
		&TestRunError{&TestRun{ID: key, Status: key, Error: key}},
		&TestRunError{&TestRun{ID: key, Cases: []TestCase{{AgentName: key, TestName: key, FailureReason: key}}}},
		&WaitError{Kind: "run", ID: key, LastStatus: key, Err: errors.New(key)},
	} {
		text := fmt.Sprintf("%v %+v %#v %q %s", err, err, err, err, err)
		if wait, ok := err.(*WaitError); ok { //nolint:errorlint // not wrapped
			text = wait.Error()
		} else if encoded, jsonErr := json.Marshal(struct{ Err any }{err}); jsonErr != nil || string(encoded) != `{"Err":`+strconv.Quote(err.Error())+`}` {
			t.Errorf("%T is encoded as %s, %v", err, encoded, jsonErr)
		}
		if strings.Contains(text, "THORN") || !strings.Contains(text, keyPrefix+"…") {
			t.Errorf("%T shows as %s", err, text)
		}
	}
}

func TestS1HeadersAreMasked(t *testing.T) {
	t.Parallel()
	h := http.Header{"A": {"x", "Bearer " + thorny}, "B": {"y"}, "Location": {"https://x/?k=" + url.QueryEscape(thorny)}, "C": {}}
	before := h.Clone()
	masked := maskHeader(h)
	if got := fmt.Sprint(masked); got != "map[A:[x Bearer cnc_…] B:[y] C:[] Location:[https://x/?k=cnc_…]]" {
		t.Errorf("it became %s", got)
	}
	if fmt.Sprint(h) != fmt.Sprint(before) {
		t.Error("the original was changed")
	}
	if maskHeader(nil) != nil || !slices.Equal(maskHeader(http.Header{"B": {"y"}})["B"], []string{"y"}) {
		t.Error("what has no key is changed")
	}
}
