package gate

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/connic-go/connic/cmd/connicctl/internal/clitest"
	"github.com/connic-go/connic/connictest"
	"github.com/spf13/cobra"
)

func TestExpectations(t *testing.T) {
	t.Parallel()
	run := &connic.Run{ID: "run-1", Status: connic.RunCompleted, Output: ` {"total": 72300.50, "big": 9007199254740993, "day": "2026-10-01",
		"regions": [{"name": "west"}, {"name": "east"}], "none": null} `}
	for expect, want := range map[string]string{
		`{}`:                                          "",
		`{contains: west}`:                            "",
		`{contains: [west, north]}`:                   `does not contain "north"`,
		`{not_contains: [east]}`:                      `contains "east"`,
		`{matches: '"total": \d+'}`:                   "",
		`{matches: ['^\s*\{', north]}`:                "does not match north",
		`{equals: x}`:                                 `not "x"`,
		`{status: failed}`:                            "it ended completed, not failed",
		`{json: {$.total: 72300.5}}`:                  "",
		`{json: {$.total: '72300.5'}}`:                `$.total is 72300.50, not "72300.5"`,
		`{json: {$.big: 9007199254740993}}`:           "",
		`{json: {$.big: 9007199254740992}}`:           "is 9007199254740993, not 9007199254740992",
		`{json: {$.day: 2026-10-01}}`:                 "", // a text, although YAML has dates
		`{json: {'$.regions[*].name': [west, east]}}`: "",
		`{json: {'$..name': [east, west]}}`:           `is ["west","east"], not ["east","west"]`,
		`{json: {'$.regions[0]': {name: west}}}`:      "",
		`{json: {$.none: null}}`:                      "",
		`{json: {$.nowhere: null}}`:                   "selects nothing",
		`{json: {$.nowhere: []}}`:                     "",
	} {
		suite, err := parseSuite([]byte("agent: a\ncases: [{name: n, message: m, expect: "+expect+"}]"), false, "")
		if err != nil {
			t.Errorf("%s: %v", expect, err)
			continue
		}
		if got := suite.Cases[0].Expect.check(run); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%s: got %q, want %q", expect, got, want)
		}
	}
	text := &connic.Run{Status: connic.RunCompleted, Output: "no JSON"}
	suite, err := parseSuite([]byte(`{"agent": "a", "cases": [{"name": "n", "message": "\ud83d\ude00", "expect": {"json": {"$": 1}}}]}`), true, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := suite.Cases[0].Expect.check(text); !strings.Contains(got, "is not JSON") {
		t.Errorf("got %q", got)
	}
	if suite.Cases[0].Message != "😀" {
		t.Errorf("the message is %q", suite.Cases[0].Message)
	}
}

// What is wrong with a suite is said before anything is asked.
func TestBadSuites(t *testing.T) {
	t.Parallel()
	for suite, want := range map[string]string{
		"":                                "no agent",
		"agent: a":                        "no cases",
		"agent: a\ncases: []":             "no cases",
		"cases: [{name: n, message: m}]":  "no agent",
		"agent: a\ncases: [{message: m}]": "case 1 (): it has no name",
		"agent: a\ncases: [{name: n}]":    "neither message nor payload",
		"agent: a\ncases: [{name: n, message: m}, {name: n, message: m}]":             "same name",
		"agent: a\ncases: [{name: n, message: m, expect: {contain: x}}]":              `unknown field "contain"`,
		"agent: a\ncases: [{name: n, message: m, expect: {matches: '('}}]":            "missing closing",
		"agent: a\ncases: [{name: n, message: m, expect: {json: {total: 1}}}]":        "the path total",
		"agent: a\ncases: [{name: n, message: m, expect: {contains: ''}}]":            "empty",
		"agent: a\ncases: [{name: n, message: m, expect: {status: running}}]":         "cannot end",
		"agent: a\ncases: [{name: n, message: m, files: [absent.pdf]}]":               "absent.pdf",
		"agent: a\ncases: [{name: n, message: m, files: [.]}]":                        "not a regular file",
		"agent: a\ncases: [{name: n, message: m, judge: {name: j, min: 7}}]":          "at most 1",
		"agent: a\njudge: {min: 0.5}\ncases: [{name: n, message: m}]":                 "has no name",
		"agent: a\nmax_cost: 0.5\ncases: [{name: n, message: m}]":                     "0.5 is not an amount such as 0.50 EUR",
		"agent: a\nmax_cost: 1e999999999 EUR\ncases: [{name: n, message: m}]":         "not an amount",
		"agent: a\nmax_cost: -1 EUR\ncases: [{name: n, message: m}]":                  "not an amount",
		"agent: a\ncase_cost: 1 EUR\ncases: [{name: n, message: m}]":                  "without max_cost",
		"agent: a\nmax_cost: 1 USD\ncase_cost: 1 EUR\ncases: [{name: n, message: m}]": "different currencies",
		"agent: a\nagent: b\ncases: [{name: n, message: m}]":                          "already defined",
		"agent: a\nmarker: x\ncases: [{name: n, payload: {x: 1}}]":                    "the marker",
		"agent: [a": "yaml",
		"agent: a\ncases: [{name: n, message: m, expect: {contains: []}}]":              "neither a text nor",
		"agent: a\ncases: [{name: n, message: m, expect: {contains: 30}}]":              "case 1 (n): what is expected is neither a text nor a list of texts: put numbers in quotes",
		"agent: a\ncases: [{name: n, message: m, expect: {equals: }}]":                  "equals is not a text",
		"agent: a\ncases: [{name: n, message: m, expect: {json: {}}}]":                  "no path",
		"agent: a\ncases: [{name: n, message: m}]\n---\ncases: [{name: o, message: m}]": "second document",
		"agent: a\ncases: [{name: n, message: m}]\n--- [":                               "yaml",
	} {
		if _, err := parseSuite([]byte(suite), false, t.TempDir()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", suite, err, want)
		}
	}
}

// A key that is there twice would hide what was expected first.
func TestTwiceInJSON(t *testing.T) {
	t.Parallel()
	for _, suite := range []string{
		`{"agent": "a", "cases": [{"name": "n", "message": "m", "expect": {"contains": "x", "contains": "y"}}]}`,
		`{"agent": "a", "cases": [{"name": "n", "message": "m"}], "cases": [{"name": "o", "message": "m"}]}`,
		`{"agent": "a", "cases": [{"name": "n", "message": "m"}], "Cases": [{"name": "o", "message": "m"}]}`,
		`{"agent": "a", "cases": [{"name": "n", "payload": {"x": 1, "x": 2}}]}`,
	} {
		if _, err := parseSuite([]byte(suite), true, ""); err == nil || !strings.Contains(err.Error(), "twice") {
			t.Errorf("%s: got %v", suite, err)
		}
	}
	if _, err := parseSuite([]byte(`{"agent": "a", "cases": [{"name": "n", "payload": {"x": 1, "X": 2}}]}`), true, ""); err != nil {
		t.Error(err)
	}
	if _, err := parseSuite([]byte("{\"agent\": \"a\", \"cases\": [{\"name\": \"n\", \"message\": \"\xff\"}]}"), true, ""); err == nil {
		t.Error("a message that is not UTF-8 is sent")
	}
}

func TestFilesOfACase(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "note.txt"), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "cases.json")
	if err := os.WriteFile(path, []byte(`{"agent": "a", "max_cost": "1.50 eur", "cases": [{"name": "n", "files": ["note.txt"]}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	suite, err := loadSuite(path, os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	f := suite.Cases[0].request.Files[0]
	if f.Name != "note.txt" || !strings.HasPrefix(f.MIMEType, "text/plain") || string(f.Data) != "hello" || suite.MaxCost.String() != "1.50 EUR" {
		t.Errorf("got %+v, %v", f, suite.MaxCost)
	}
}

// hostile calls f with a report of an agent that says what others would obey.
func hostile(t *testing.T, f func(*report), args ...string) clitest.Result {
	t.Helper()
	output := "fine ##[add-mask]fine ###vso[task.setvariable variable=PATH]x\n::set-output name=x::y\x1b[2J\x00]]>\ufffe\u202e<img src=x onerror=alert(1)> | `x` ![i](https://evil.example/p.png) www.evil.example @everyone"
	run := &connic.Run{ID: "run-1", Status: connic.RunCompleted, Output: output, DurationMS: 1200, Currency: connic.EUR}
	fake := connictest.New(t)
	p := clitest.New(t, fake, func(a *cli.App) *cobra.Command {
		return &cobra.Command{Use: "test", RunE: func(*cobra.Command, []string) error {
			f(&report{app: a, suite: "cases.yaml", results: []*Result{
				{Name: "n\n::error::x", Verdict: Failed, Why: "the output is " + output, Run: run, RunID: run.ID},
				{Name: "quiet", Verdict: Passed, Run: run, RunID: run.ID},
				{Name: "::later", Verdict: Skipped, Why: "not started"},
				{Name: "::lost", Verdict: Errored, Why: output},
			}, err: errors.New("::stop::" + output)})
			return nil
		}}
	})
	return p.Run(append([]string{"test"}, args...)...)
}

func write(t *testing.T, f func(io.Writer) error) string {
	t.Helper()
	var b strings.Builder
	if err := f(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// No form of the output commands a terminal or the log of a build.
func TestHostileTable(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"table", "json", "jsonl", "yaml"} {
		r := hostile(t, func(r *report) {
			if err := (&options{}).write(r.app, []*report{r}); err != nil {
				t.Error(err)
			}
		}, "-o", format)
		got := r.Out + r.Err
		if regexp.MustCompile(`(?m)^\s*::|##\w*\[`).MatchString(got) || strings.ContainsAny(got, "\x1b\x00\u202e\r") {
			t.Errorf("%s commands its reader:\n%q", format, got)
		}
	}
}

func TestHostileSummary(t *testing.T) {
	t.Parallel()
	var got string
	hostile(t, func(r *report) { got = write(t, r.summary) })
	if !strings.Contains(got, "&lt;img src=x") || strings.Contains(got, "&&#35;") {
		t.Errorf("the summary is not what was said:\n%s", got)
	}
	for _, bad := range []string{"<img", "![", "](", "`x", "| `", "https://", "www.", "@everyone", "\x1b"} {
		if strings.Contains(got, bad) {
			t.Errorf("the summary contains %q:\n%s", bad, got)
		}
	}
	for row := range strings.Lines(got) {
		if strings.HasPrefix(row, "|") && strings.Count(row, "|") != 7 {
			t.Errorf("a row with other cells: %s", row)
		}
	}
}

func TestJUnit(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "junit.xml")
	hostile(t, func(r *report) {
		if err := (&options{junit: path}).write(r.app, []*report{r}); err != nil {
			t.Error(err)
		}
	})
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o644 {
		t.Errorf("others cannot read it: %v, %v", info, err)
	}
	type outcome struct {
		Message string `xml:"message,attr"`
	}
	var got struct {
		Suite struct {
			Tests    int `xml:"tests,attr"`
			Failures int `xml:"failures,attr"`
			Errors   int `xml:"errors,attr"`
			Skipped  int `xml:"skipped,attr"`
			Cases    []struct {
				Name    string   `xml:"name,attr"`
				Failure *outcome `xml:"failure"`
				Error   *outcome `xml:"error"`
				Skipped *outcome `xml:"skipped"`
				Out     string   `xml:"system-out"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(raw, &got); err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	s := got.Suite
	if s.Tests != 4 || s.Failures != 1 || s.Errors != 2 || s.Skipped != 0 || len(s.Cases) != 4 {
		t.Fatalf("got %+v", s)
	}
	if s.Cases[0].Failure == nil || s.Cases[1].Failure != nil || s.Cases[2].Error == nil || s.Cases[3].Error == nil {
		t.Errorf("got %+v", s.Cases)
	}
	if !strings.Contains(s.Cases[1].Out, "]]>") || !strings.HasPrefix(s.Cases[1].Out, "fine ##[add-mask]fine ###vso[task.setvariable variable=PATH]x\n::set") {
		t.Errorf("got the output %q", s.Cases[1].Out)
	}
}
