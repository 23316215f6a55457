package exporter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// project is a fake with three runs, one of which failed, and a budget.
func project(t *testing.T) (*connictest.Server, *Exporter) {
	t.Helper()
	srv := connictest.New()
	t.Cleanup(srv.Close)
	srv.Agent("support", func(_ context.Context, in connictest.Input) (any, error) {
		if in.Message == "fail" {
			return nil, fmt.Errorf("no")
		}
		return "done", nil
	})
	client := srv.Client()
	for _, message := range []string{"one", "two", "fail"} {
		_, _ = client.Agents.TriggerAndWait(t.Context(), "support", connic.TriggerRequest{Message: message}, connic.WithPoll(10*time.Millisecond, 10*time.Millisecond))
	}
	amount, err := connic.ParseDecimal("100")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Budgets.Create(t.Context(), connic.BudgetCreate{
		Name: "team", Kind: connic.BudgetAlert, Scope: connic.BudgetGlobal, Period: connic.BudgetMonthly, Amount: amount, Currency: "EUR",
	}); err != nil {
		t.Fatal(err)
	}
	return srv, exporterOf(t, srv)
}

// exporterOf returns an exporter of a fake that polls once an hour.
func exporterOf(t *testing.T, srv *connictest.Server, more ...connic.Option) *Exporter {
	t.Helper()
	e, err := New(func(opts ...connic.Option) (*connic.Client, error) { return srv.Client(append(opts, more...)...), nil }, &Options{Interval: time.Hour, Lookback: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, o := range []*Options{{Interval: -1}, {Lookback: -1}, {Pages: -1}, {Share: -0.1}, {Share: 1.1}, {Share: math.NaN()}} {
		if _, err := New(connic.NewFromEnv, o); err == nil || !strings.HasPrefix(err.Error(), "exporter: ") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	var sent []connic.Option
	e, err := New(func(opts ...connic.Option) (*connic.Client, error) {
		sent = opts
		return connic.New("p", "cnc_key", opts...)
	}, nil)
	if err != nil || len(sent) == 0 || e.conf != (Options{time.Minute, 15 * time.Minute, 0.1, 10}) {
		t.Fatalf("%+v, %v", e, err)
	}
	if _, err := e.client.Agents.Trigger(t.Context(), "a", connic.TriggerRequest{Message: "m"}); !errors.Is(err, connic.ErrReadOnly) {
		t.Errorf("the exporter may write: %v", err)
	}
	_ = e.Close()
}

func TestFigures(t *testing.T) {
	t.Parallel()
	_, e := project(t)
	if n := testutil.CollectAndCount(e, "connic_runs_recent"); n != 0 {
		t.Errorf("%d series before the first look: what is not known is left out", n)
	}
	s, err := e.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.fresh = time.Hour
	e.last.Store(s)
	e.up.Store(true)
	got := map[string]int{}
	for k, n := range s.runs {
		got[k.agent+" "+k.status] += n
	}
	if got["support completed"] != 2 || got["support failed"] != 1 {
		t.Errorf("runs %v", got)
	}
	if n := testutil.CollectAndCount(e, "connic_budget_amount"); n != 1 {
		t.Errorf("%d budgets", n)
	}
	if problems, err := testutil.CollectAndLint(e); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// A list that changes while it is read may show a budget twice, and names may be
// anything: a scrape succeeds nevertheless.
func TestOddBudgetsAndNames(t *testing.T) {
	t.Parallel()
	const key = "cnc_0123456789abcdef"
	srv, _ := project(t)
	wire := srv.Transport()
	e := exporterOf(t, srv, connic.WithHTTPClient(&http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := wire.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		body := `{"items": [{"id": "b", "name": "n", "amount": "1", "spent": "1"}, {"id": "b", "name": "n", "amount": "2", "spent": "1"}, {"name": "x\u001b ` + key + `"}, {"name": "x\u001b ` + key + `"}]}`
		if strings.HasSuffix(r.URL.Path, "/runs") {
			run := `"agent_name": "a\n` + key + strings.Repeat("x", 1000) + `", "status": "completed", "cost": "1", "currency": "\u001b", "token_usage": {"input": 5}}`
			body = `{"items": [{"id": "1", ` + run + `, {"id": "2", ` + run + `]}`
		}
		resp.Body, resp.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		return resp, nil
	})}))
	s, err := e.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.fresh = time.Hour
	e.last.Store(s)
	w := httptest.NewRecorder()
	e.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	got := w.Body.String()
	if w.Code != http.StatusOK || strings.Count(got, "\nconnic_budget_amount{") != 2 || strings.Count(got, "\nconnic_runs_recent{") != 1 || strings.Contains(got, "456789") {
		t.Errorf("got %d\n%s", w.Code, got)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestScrapesSendNothing(t *testing.T) {
	t.Parallel()
	srv, e := project(t)
	before := len(srv.Requests())
	h := e.Handler()
	for range 100 {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/metrics", nil))
	}
	if n := len(srv.Requests()) - before; n != 0 {
		t.Errorf("100 scrapes sent %d requests", n)
	}
}

func TestLooksKeepToTheirShare(t *testing.T) {
	t.Parallel()
	_, e := project(t)
	// A tenth of 60 a minute is a request in ten seconds.
	e.conf.Interval = time.Second
	for requests, want := range map[int]time.Duration{0: time.Second, 1: 10 * time.Second, 12: 2 * time.Minute} {
		if got := e.pause(requests); got != want {
			t.Errorf("after %d requests a pause of %v, want %v", requests, got, want)
		}
	}
}

func TestFiguresThatAreTooOldEnd(t *testing.T) {
	t.Parallel()
	srv, e := project(t)
	s, err := e.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.fresh = time.Hour
	e.last.Store(s)
	srv.Fault(connictest.Fault{Op: "runs.list", Status: http.StatusForbidden})
	if _, err := e.look(t.Context()); err == nil {
		t.Error("a refused look succeeded")
	}
	if n := testutil.CollectAndCount(e, "connic_runs_recent"); n == 0 {
		t.Error("one failure ends the series")
	}
	s.at = time.Now().Add(-6 * time.Hour)
	if n := testutil.CollectAndCount(e, "connic_runs_recent"); n != 0 {
		t.Error("figures of six hours ago are shown as if they were now")
	}
	if n := testutil.CollectAndCount(e, "connic_exporter_up", "connic_exporter_last_success_timestamp_seconds"); n != 2 {
		t.Error("nobody is told")
	}
}

// While others use the whole quota, a poll waits for its turn and neither succeeds
// nor fails: its figures end too.
func TestFiguresEndWhileAPollWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, e := project(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			e.Run(ctx)
		}()
		time.Sleep(time.Minute)
		srv.Fault(connictest.Fault{Op: "runs.list", Status: http.StatusTooManyRequests, For: 24 * time.Hour})
		for _, step := range []struct {
			after time.Duration
			shown bool
		}{{0, true}, {4 * time.Hour, true}, {2 * time.Hour, false}} {
			time.Sleep(step.after)
			if n := testutil.CollectAndCount(e, "connic_runs_recent"); n > 0 != step.shown {
				t.Errorf("%v later: %d series", step.after, n)
			}
		}
		cancel()
		<-ended
	})
}

func TestTheRules(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("left out: no promtool in PATH (Debian: apt-get install prometheus)")
	}
	for _, args := range [][]string{{"check", "config", "prometheus.yml"}, {"check", "rules", "rules.yml"}, {"test", "rules", "rules_test.yml"}} {
		if out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

func TestTheDashboardAsksForWhatThereIs(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	known := described(t)
	asked := 0
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			for _, word := range strings.FieldsFunc(target.Expr, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }) {
				if strings.HasPrefix(word, "connic_") {
					if asked++; !known[strings.TrimSuffix(word, "_bucket")] {
						t.Errorf("%s asks for %s, which is not exported", p.Title, word)
					}
				}
			}
		}
	}
	if asked < 8 {
		t.Errorf("the dashboard asks for %d series", asked)
	}
}

// The README lists every metric, with its labels.
func TestTheReadmeListsTheMetrics(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for d := range described(t) {
		short := "`…" + strings.TrimPrefix(d, "connic_client_quota") + "`"
		if !strings.Contains(string(readme), "`"+d+"`") && !strings.Contains(string(readme), short) {
			t.Errorf("the README lacks %s", d)
		}
	}
}

// described returns the names of the metrics.
func described(t *testing.T) map[string]bool {
	t.Helper()
	descs := make(chan *prometheus.Desc, 100)
	exporterOf(t, connictest.New(t)).Describe(descs)
	close(descs)
	names := make(map[string]bool)
	for d := range descs {
		names[strings.Split(d.String(), `"`)[1]] = true
	}
	return names
}

func TestPrometheusScrapes(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("prometheus"); err != nil {
		t.Skip("left out: no prometheus in PATH (Debian: apt-get install prometheus)")
	}
	_, e := project(t)
	s, err := e.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.fresh = time.Hour
	e.last.Store(s)
	e.up.Store(true)
	target := httptest.NewServer(e.Handler())
	defer target.Close()

	dir := t.TempDir()
	config := fmt.Sprintf("global: {scrape_interval: 1s}\nscrape_configs:\n  - job_name: connic\n    static_configs: [{targets: [%q]}]\n", target.Listener.Addr())
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "prometheus", "--config.file", filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", addr)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	value := ""
	for ctx.Err() == nil && value == "" {
		time.Sleep(200 * time.Millisecond)
		value = query(ctx, addr, `sum(connic_runs_recent{agent="support",status="completed"})`)
	}
	cancel()
	_ = cmd.Wait()
	if n, err := strconv.Atoi(value); err != nil || n != 2 {
		t.Errorf("Prometheus knows %q completed runs, want 2\n%s", value, log.String())
	}
}

// query returns the one value of an instant query, "" if there is none yet.
func query(ctx context.Context, addr, expr string) string {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/api/v1/query?query="+url.QueryEscape(expr), nil)
	if err != nil {
		return ""
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return ""
	}
	var answer struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	if json.Unmarshal(body, &answer) != nil || len(answer.Data.Result) != 1 {
		return ""
	}
	return fmt.Sprint(answer.Data.Result[0].Value[1])
}
