package cost

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/clitest"
	"github.com/connic-go/connic/connictest"
	"go.yaml.in/yaml/v3"
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

// november reports a month with the command.
func (f *fixture) november(args ...string) clitest.Result {
	return f.p.Run(append([]string{"cost", "--until", "2026-11-30", "--days", "30"}, args...)...)
}

// A fixture is a project with some costs.
type fixture struct {
	fake *connictest.Server
	p    *clitest.Program
}

func newFixture(t *testing.T, rows ...connic.UsageRow) *fixture {
	fake := connictest.New(t)
	fake.Usage(rows...)
	return &fixture{fake, clitest.New(t, fake, Command)}
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
func TestTables(t *testing.T) {
	t.Parallel()
	f := newFixture(t,
		row("2026-11-02", "support", "env-production", "0.1", "EUR"),
		row("2026-11-02", "support", "env-test", "0.2000000000000000000001", "EUR"),
		row("2026-11-30", "research", "env-production", "7", "USD"),
		row("2026-10-31", "support", "env-production", "999", "EUR"),
		row("2026-12-01", "support", "env-production", "999", "EUR"))
	got := f.november()
	for _, want := range []string{
		"2026-11-01 to 2026-11-30: 0.3000000000000000000001 EUR\n",
		"2026-11-01 to 2026-11-30: 7 USD\n",
		"By agent\nAGENT                    COST EUR   SHARE  RUNS  TOKENS\nsupport  0.3000000000000000000001  100.0%     4      30\n",
		"production   0.1000000000000000000000  33.3%",
		"2026-11-30         7  100.0%",
	} {
		if !strings.Contains(got.Out, want) {
			t.Errorf("%q is missing in\n%s", want, got.Out)
		}
	}
	if strings.Contains(got.Out, "999") || got.Status != 0 || got.Err != "" {
		t.Errorf("a day outside, or %+v", got)
	}
	f.p.Terminal(40)
	f.p.Env["NO_COLOR"] = "1"
	if got := f.november().Out; !strings.Contains(got, "prod…  0.1000000000000000000000  33.3%") || !strings.Contains(got, "\n11-02") {
		t.Errorf("a narrow terminal shows\n%s", got)
	}
}

// A spreadsheet takes no name for a formula, and gets every digit and no key.
func TestCSV(t *testing.T) {
	t.Parallel()
	f := newFixture(t, row("2026-11-02", "=HYPERLINK(\"x\")", "env-production", "0.10", "EUR"), row("2026-11-03", "a,b\ncnc_0123456789abcdef", "env-test", "3", "USD"))
	got, err := csv.NewReader(strings.NewReader(f.november("--csv", "-").Out)).ReadAll()
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

// Programs get the sums that tables have, and names as they are.
func TestData(t *testing.T) {
	t.Parallel()
	const name = "a\tname\n"
	f := newFixture(t, row("2026-11-02", name, "env-production", "0.10", "EUR"), row("2026-11-03", name, "env-test", "3", "USD"))
	for _, format := range []string{"json", "jsonl", "yaml"} {
		r := f.november("-o", format)
		var document any
		if err := yaml.Unmarshal([]byte(r.Out), &document); err != nil || r.Status != 0 {
			t.Fatalf("%v: %+v", err, r)
		}
		raw, err := json.Marshal(document)
		var got data
		if err := errors.Join(err, json.Unmarshal(raw, &got)); err != nil {
			t.Fatal(err)
		}
		if s := fmt.Sprintln(got.From, got.To, got.Cost, got.Agents[0].Key, got.Agents[0].Cost, got.Environments[1].Name, got.Days[1].Key, len(got.Rows), got.Notes); s !=
			"2026-11-01 2026-11-30 0.10 EUR, 3 USD "+name+" 0.10 EUR, 3 USD test 2026-11-03 2 []\n" {
			t.Errorf("%s: %s", format, s)
		}
	}
	empty := newFixture(t).november("-o", "jsonl").Out
	if !strings.HasSuffix(empty, `"cost":[],"agents":[],"environments":[],"days":[],"budgets":[],"rows":[],"notes":[]}`+"\n") {
		t.Errorf("got %s", empty)
	}
}

// An environment has its own costs and budgets, whether or not the service selects
// them.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	f := newFixture(t, row("2026-11-02", "support", "env-production", "0.10", "EUR"), row("2026-11-03", "support", "env-test", "3", "EUR"))
	client := f.fake.Client()
	defer client.Close()
	for _, b := range []connic.BudgetCreate{{Name: "All", Scope: connic.BudgetGlobal}, {Name: "Tests", Scope: connic.BudgetEnvironment, EnvironmentID: "env-test"}} {
		b.Kind, b.Period, b.Amount, b.Currency = connic.BudgetAlert, connic.BudgetMonthly, connic.MustDecimal("5"), connic.EUR
		if _, err := client.Budgets.Create(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	selects := f.p.Transport
	for _, transport := range []http.RoundTripper{selects, deaf{selects}} {
		f.p.Transport = transport
		got := f.november("--env", "test").Out
		if !strings.Contains(got, "2026-11-01 to 2026-11-30 in test: 3 EUR\n") || strings.Contains(got, "0.1") || strings.Contains(got, "All") || !strings.Contains(got, "Tests") {
			t.Errorf("got\n%s", got)
		}
	}
}

// deaf is a service that does not select environments.
type deaf struct{ http.RoundTripper }

func (d deaf) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	q := r.URL.Query()
	q.Del("environment_id")
	r.URL.RawQuery = q.Encode()
	return d.RoundTripper.RoundTrip(r)
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
	}), november, "")
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
	_, err := collect(t.Context(), answering(t, map[string]string{"": `{"usage": [{"total_cost": "6", "currency": "EUR"}], "has_more": true, "total": 9}`}), november, "")
	if err == nil || !strings.Contains(err.Error(), "part") {
		t.Errorf("an answer in part without days: %v", err)
	}
	fake := connictest.New()
	defer fake.Close()
	fake.Usage(row("2026-11-01", "a", "env-test", "1", "EUR"), row("2026-11-16", "a", "env-test", "2", "EUR"), row("2026-11-30", "a", "env-test", "4", "EUR"))
	client := fake.Client(connic.WithTransport(func(rt http.RoundTripper) http.RoundTripper { return narrow{rt} }))
	r, err := collect(t.Context(), client, november, "")
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
	r := &report{names: map[string]string{"1": "test", "2": "test", "3": "production"}}
	got := map[string]string{}
	for _, id := range []string{"1", "3", "4", ""} {
		got[id] = r.environment(id)
	}
	if want := map[string]string{"1": "test (1)", "3": "production", "4": "4", "": unnamed}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The command writes its files as a whole, and says what is wrong with its flags.
func TestFiles(t *testing.T) {
	t.Parallel()
	f := newFixture(t, row("2026-11-02", "invoice-reader", "env-production", "0.10", "EUR"))
	dir := t.TempDir()
	page, table := filepath.Join(dir, "costs.html"), filepath.Join(dir, "costs.csv")
	for range 2 {
		if r := f.november("--csv", table, "--html", page); r.Status != 0 || !strings.Contains(r.Out, "invoice-reader") || r.Err != "" {
			t.Fatalf("%+v", r)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 2 {
		t.Errorf("the files are %q, %v", files, err)
	}
	if text, err := os.ReadFile(page); err != nil || !bytes.HasSuffix(bytes.TrimSpace(text), []byte("</html>")) {
		t.Errorf("the page does not end: %v", err)
	}
	if r := f.november("--csv", os.DevNull, "--html", filepath.Join(dir, "none", "costs.html")); r.Status != 7 || !strings.Contains(r.Out, "invoice-reader") {
		t.Errorf("%+v", r)
	}
	before := len(f.fake.Requests())
	for _, args := range [][]string{{"--days", "0"}, {"--days", "367"}, {"--until", "yesterday"}, {"x"}, {"--csv", "-", "-o", "json"}} {
		if r := f.p.Run(append([]string{"cost"}, args...)...); r.Status != 2 || r.Out != "" {
			t.Errorf("%q: %+v", args, r)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if r := f.p.RunContext(ended, "cost"); r.Status != 130 || r.Out != "" {
		t.Errorf("interrupted: %+v", r)
	}
	if n := len(f.fake.Requests()) - before; n > 0 {
		t.Errorf("%d requests", n)
	}
	f.fake.Fault(connictest.Fault{Op: "budgets.usage", Status: 403})
	if r := f.november("--csv", table); r.Status != 4 || r.Out != "" {
		t.Errorf("%+v", r)
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
		r, err := collect(t.Context(), client, november, "")
		if err != nil {
			t.Fatal(err)
		}
		if got := r.ByDay.Cost().String(); got != "1 EUR" {
			t.Errorf("got %s", got)
		}
	})
}
