package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

func date(s string) time.Time {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return t
}

var november = period{date("2026-11-01"), date("2026-12-01")}

func row(day, agent, environment, cost, currency string) connic.UsageRow {
	return connic.UsageRow{
		Date: date(day), AgentName: agent, EnvironmentID: environment, TotalCost: connic.MustDecimal(cost), Currency: currency,
		RunCount: 2, TokenUsage: connic.TokenUsage{Input: 10, Output: 5},
	}
}

// report makes a report of rows.
func report(t *testing.T, p period, rows ...connic.UsageRow) *Report {
	t.Helper()
	fake := connictest.New()
	t.Cleanup(fake.Close)
	fake.Usage(rows...)
	r, err := collect(t.Context(), fake.Client(), p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func text(t *testing.T, write func(io.Writer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Every digit arrives, currencies stay apart, and other days are left out.
func TestTable(t *testing.T) {
	t.Parallel()
	r := report(t, november,
		row("2026-11-02", "support", "env-production", "0.1", "EUR"),
		row("2026-11-02", "support", "env-test", "0.2000000000000000000001", "EUR"),
		row("2026-11-30", "research", "env-production", "7", "USD"),
		row("2026-10-31", "support", "env-production", "999", "EUR"),
		row("2026-12-01", "support", "env-production", "999", "EUR"))
	got := text(t, r.writeTable)
	for _, want := range []string{
		"2026-11-01 to 2026-11-30: 0.3000000000000000000001 EUR\n",
		"2026-11-01 to 2026-11-30: 7 USD\n",
		"  support  0.3000000000000000000001  100.0%     4      30\n",
		"  production   0.1000000000000000000000  33.3%",
		"  2026-11-30         7  100.0%",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if strings.Contains(got, "999") {
		t.Errorf("a day outside is in\n%s", got)
	}
}

// A spreadsheet takes no name for a formula, and gets every digit and no key.
func TestCSV(t *testing.T) {
	t.Parallel()
	r := report(t, november, row("2026-11-02", "=HYPERLINK(\"x\")", "env-production", "0.10", "EUR"), row("2026-11-03", "a,b\ncnc_0123456789abcdef", "env-test", "3", "USD"))
	got, err := csv.NewReader(strings.NewReader(text(t, r.writeCSV))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"date", "agent", "environment", "environment_id", "currency", "total_cost", "judge_cost", "runs", "tokens"},
		{"2026-11-02", "'=HYPERLINK(\"x\")", "production", "env-production", "EUR", "0.10", "0", "2", "15"},
		{"2026-11-03", "a,b cnc_…", "test", "env-test", "USD", "3", "0", "2", "15"},
	}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

const hostile = `</script><img src="https://evil.example/x" onerror=alert(1)><!--`

// The page loads nothing, and runs no script but its own, whatever agents are
// called.
func TestPage(t *testing.T) {
	t.Parallel()
	fake := connictest.New()
	defer fake.Close()
	fake.Agent("support", nil)
	fake.Usage(row("2026-11-02", hostile, "env-production", "0.125", "EUR"), row("2026-11-03", "support", "env-test", "3", "USD"))
	client := fake.Client()
	for _, amount := range []string{"0.2", "5000"} {
		if _, err := client.Budgets.Create(t.Context(), connic.BudgetCreate{
			Name: "B " + amount + hostile, Kind: connic.BudgetAlert, Scope: connic.BudgetGlobal, Period: connic.BudgetDaily,
			Amount: connic.MustDecimal(amount), Currency: connic.EUR,
		}); err != nil {
			t.Fatal(err)
		}
	}
	r, err := collect(t.Context(), client, november)
	if err != nil {
		t.Fatal(err)
	}
	page := text(t, r.writeHTML)
	page, found := cutOut(page, library)
	if !found {
		t.Fatal("the library is not in the page")
	}
	if strings.Contains(page, "evil.example/x\"") || strings.Contains(page, "<img") {
		t.Error("a name became markup")
	}
	for _, tag := range regexp.MustCompile(`<[A-Za-z][^>]*>`).FindAllString(page, -1) {
		if regexp.MustCompile(`(?i)\s(src|href|action|srcset|data|on\w+)\s*=|<(iframe|object|embed|base|form)`).MatchString(tag) {
			t.Errorf("the page refers to something else: %s", tag)
		}
	}
	if got := regexp.MustCompile(`@import|url\(`).FindString(style); got != "" {
		t.Errorf("the style refers to something else: %q", got)
	}
	for _, want := range []string{
		`content="default-src &#39;none&#39;; style-src &#39;unsafe-inline&#39;; script-src &#39;sha256-`,
		"0.125 EUR", "3 USD", "Not drawn, since it is far above: B 5000",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is missing", want)
		}
	}
	options := regexp.MustCompile(`(?s)<script type="application/json">(.*?)</script>`).FindAllStringSubmatch(page, -1)
	if len(options) != 4 {
		t.Fatalf("%d charts, want 2 for each currency", len(options))
	}
	var day struct {
		Series []struct {
			Name string
			Data []struct{ Value json.Number }
			Mark struct {
				Data []struct{ YAxis json.Number }
			} `json:"markLine"`
		}
	}
	if err := json.Unmarshal([]byte(options[0][1]), &day); err != nil {
		t.Fatal(err)
	}
	s := day.Series[0]
	if len(s.Data) != 30 || s.Data[1].Value != "0.125" || !strings.HasPrefix(s.Name, "</script>") {
		t.Errorf("the chart has %+v", s)
	}
	if len(s.Mark.Data) != 1 || s.Mark.Data[0].YAxis != "0.2" {
		t.Errorf("the budgets are %+v, want the one of 0.2", s.Mark.Data)
	}
}

func cutOut(s, part string) (string, bool) {
	before, after, found := strings.Cut(s, part)
	return before + after, found
}

// The policy names the scripts by their hash: each must stand in the page byte by
// byte.
func TestPolicy(t *testing.T) {
	t.Parallel()
	page := text(t, report(t, november).writeHTML)
	policy := regexp.MustCompile(`Policy" content="([^"]*)"`).FindStringSubmatch(page)
	scripts := regexp.MustCompile(`(?s)<script>(.*?)</script>`).FindAllStringSubmatch(page, -1)
	if len(policy) != 2 || len(scripts) != 2 {
		t.Fatalf("%d policies and %d scripts, want 1 and 2", len(policy)-1, len(scripts))
	}
	allowed := strings.NewReplacer("&#39;", "'", "&#43;", "+").Replace(policy[1])
	for _, s := range scripts {
		if want := source(s[1]); !strings.Contains(allowed, want) {
			t.Errorf("%s is not allowed by %s", want, allowed)
		}
	}
}

// answers answers budgets.usage with texts, by group_by.
type answers struct {
	http.RoundTripper
	by map[string]string
}

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	body, ok := a.by[r.URL.Query().Get("group_by")]
	if !ok || !strings.HasSuffix(r.URL.Path, "/budgets/usage") {
		return a.RoundTripper.RoundTrip(r)
	}
	return &http.Response{
		StatusCode: 200, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)), Request: r,
	}, nil
}

func answering(t *testing.T, by map[string]string) *connic.Client {
	fake := connictest.New()
	t.Cleanup(fake.Close)
	return fake.Client(connic.WithTransport(func(rt http.RoundTripper) http.RoundTripper { return answers{rt, by} }))
}

// A service that adds up before it answers is asked for each part, and differences
// are told.
func TestGroupings(t *testing.T) {
	t.Parallel()
	r, err := collect(t.Context(), answering(t, map[string]string{
		"":            `[{"total_cost": "6", "currency": "EUR"}]`,
		"day":         `[{"date": "2026-11-02", "total_cost": "2", "currency": "EUR"}, {"date": "2026-11-03", "total_cost": "4", "currency": "eur"}]`,
		"agent":       `[{"agent_name": "a", "total_cost": "6", "currency": "EUR"}]`,
		"environment": `[{"environment_id": "env-test", "total_cost": "5.5", "currency": "EUR"}]`,
	}), november)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%s, %d rows, %s, %s", r.ByDay.Cost(), len(r.ByDay.Rows), r.Agents.ByAgent()[0].Key, r.Places.ByEnvironment()[0].Key); got != "6 EUR, 2 rows, a, env-test" {
		t.Errorf("got %s", got)
	}
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "by environment the costs add up to 5.5 EUR, and together to 6 EUR") {
		t.Errorf("the notes are %q", r.Notes)
	}
	if got := len(r.Rows); got != 2 {
		t.Errorf("the CSV has %d rows, want those by day", got)
	}
	_ = text(t, r.writeHTML)
}

// One page of several is no report: it is asked for in halves, or refused.
func TestPartial(t *testing.T) {
	t.Parallel()
	_, err := collect(t.Context(), answering(t, map[string]string{"": `{"usage": [{"total_cost": "6", "currency": "EUR"}], "has_more": true, "total": 9}`}), november)
	if err == nil || !strings.Contains(err.Error(), "part") {
		t.Errorf("an answer in part without days: %v", err)
	}
	fake := connictest.New()
	defer fake.Close()
	fake.Usage(row("2026-11-01", "a", "env-test", "1", "EUR"), row("2026-11-16", "a", "env-test", "2", "EUR"), row("2026-11-30", "a", "env-test", "4", "EUR"))
	client := fake.Client(connic.WithTransport(func(rt http.RoundTripper) http.RoundTripper { return narrow{rt} }))
	r, err := collect(t.Context(), client, november)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.ByDay.Cost().String(); got != "7 EUR" {
		t.Errorf("the halves add up to %s, want 7 EUR", got)
	}
}

// narrow says of every answer about more than 10 days that there is more.
type narrow struct{ http.RoundTripper }

func (n narrow) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := n.RoundTripper.RoundTrip(r)
	q := r.URL.Query()
	from, _ := time.Parse(time.RFC3339, q.Get("from"))
	to, _ := time.Parse(time.RFC3339, q.Get("to"))
	if err == nil && to.Sub(from) > 10*day {
		_ = res.Body.Close()
		res.Body = io.NopCloser(strings.NewReader(`{"usage": [{"date": "2026-11-01", "total_cost": "1", "currency": "EUR"}], "has_more": true, "total": 9}`))
		res.ContentLength = -1
		res.Header.Del("Content-Length")
	}
	return res, err
}

// A key that may not list environments still gets its report.
func TestNamesOfEnvironments(t *testing.T) {
	t.Parallel()
	r := &Report{names: map[string]string{"1": "test", "2": "test", "3": "production"}}
	got := map[string]string{}
	for _, id := range []string{"1", "3", "4", ""} {
		got[id] = r.environment(id)
	}
	if want := map[string]string{"1": "test (1)", "3": "production", "4": "4", "": unnamed}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The program writes its files as a whole, and says what is wrong with its flags.
func TestRun(t *testing.T) {
	for _, name := range []string{"CONNIC_API_KEY", "CONNIC_PROJECT_ID", "CONNIC_TOKEN", "CONNIC_API_URL"} {
		t.Setenv(name, "")
	}
	dir := t.TempDir()
	t.Chdir(dir)
	var out, problems bytes.Buffer
	if code := run(t.Context(), []string{"-csv", "costs.csv", "-html", "costs.html"}, &out, &problems); code != exitDone {
		t.Fatalf("exit code %d: %s", code, &problems)
	}
	if !strings.Contains(out.String(), "invoice-reader") {
		t.Errorf("the table is\n%s", &out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 2 {
		t.Errorf("the files are %q, %v", files, err)
	}
	if page, err := os.ReadFile("costs.html"); err != nil || !bytes.HasSuffix(bytes.TrimSpace(page), []byte("</html>")) {
		t.Errorf("the page does not end: %v", err)
	}
	for _, args := range [][]string{{"-days", "0"}, {"-days", "367"}, {"-until", "yesterday"}, {"x"}} {
		if code := run(t.Context(), args, io.Discard, io.Discard); code != exitUsage {
			t.Errorf("%q: exit code %d, want %d", args, code, exitUsage)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if code := run(ended, nil, io.Discard, io.Discard); code != exitFailed {
		t.Errorf("interrupted: exit code %d, want %d", code, exitFailed)
	}
}

// Outages and refusals are waited out, in virtual time.
func TestOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := connictest.New()
		defer fake.Close()
		fake.Usage(row("2026-11-02", "a", "env-test", "1", "EUR"))
		fake.Spend(60)
		fake.Fault(connictest.Fault{Op: "budgets.usage", Status: 503})
		client := fake.Client()
		defer client.Close()
		r, err := collect(t.Context(), client, november)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.ByDay.Cost().String(); got != "1 EUR" {
			t.Errorf("got %s", got)
		}
	})
}

// Series of the same name would be one in a chart.
func TestLabels(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 40)
	got := labels([]string{"support", long + "1" + long, long + "2" + long, "an agent that is called something long: 1", "an agent that is called something long: 2"}, 32)
	if len(slices.Compact(slices.Sorted(slices.Values(got)))) != 5 {
		t.Errorf("got %q", got)
	}
	for _, label := range got {
		if n := len([]rune(label)); n > 32 {
			t.Errorf("%q has %d characters", label, n)
		}
	}
}
