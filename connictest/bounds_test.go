package connictest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"
	"weak"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/api"
)

func echo(_ context.Context, in Input) (any, error) { return in.Message, nil }

// call calls the handler of an operation.
func (s *Server) call(t *testing.T, op api.Op, id, body string) answer {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	x := &exchange{ctx: t.Context(), op: &api.Table[op], id: id, body: []byte(body), key: fullKey, contentType: "application/json"}
	if strings.HasPrefix(x.op.Name, "knowledge.") {
		x.query = map[string][]string{"environment_id": {"env-test"}}
	}
	return s.answer(x)
}

// unbounded returns a fake without a quota and an agent called echo.
func unbounded(t *testing.T) *Server {
	t.Helper()
	s := New(t)
	s.RateLimit(0, 0, FixedWindow)
	s.Agent("echo", echo)
	return s
}

// TestDeletedRunsAreForgotten: nothing holds them, not even an evaluation, and
// what they cost remains.
func TestDeletedRunsAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := unbounded(t)
		s.Agent("slow", func(ctx context.Context, in Input) (any, error) {
			<-ctx.Done()
			time.Sleep(time.Minute)
			in.Tokens(connic.TokenUsage{Input: 5})
			return nil, nil
		})
		s.Agent("echo", func(ctx context.Context, in Input) (any, error) {
			in.Tokens(connic.TokenUsage{Input: 7})
			in.Cost("0.5", "eur")
			return echo(ctx, in)
		})
		s.Judge("", func(context.Context, JudgeInput) (map[string]Score, error) { return nil, nil })
		c := s.Client()
		judge, err := c.Judges.Create(t.Context(), connic.JudgeCreate{
			Name: "j", AgentName: "echo", Model: "p/m", Criteria: []connic.Criterion{{Name: "good", MaxScore: 5}},
		})
		if err != nil {
			t.Fatal(err)
		}
		run, err := c.Agents.TriggerAndWait(t.Context(), "echo", connic.TriggerRequest{Message: "x"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Judges.Evaluate(t.Context(), judge.ID, run.ID); err != nil {
			t.Fatal(err)
		}
		slow, err := c.Agents.Trigger(t.Context(), "slow", connic.TriggerRequest{Message: "x"})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := c.Runs.Cancel(t.Context(), slow.RunID); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		first, second := weak.Make(s.runs[0]), weak.Make(s.runs[1])
		s.mu.Unlock()
		for _, id := range []string{run.ID, slow.RunID} {
			if err := c.Runs.Delete(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		check := func(tokens int64) {
			t.Helper()
			usage, err := c.Budgets.Usage(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			var runs, counted int64
			for _, row := range usage.Rows {
				runs, counted = runs+row.RunCount, counted+row.TokenUsage.Total
			}
			if runs != 2 || counted != tokens || usage.Cost().String() != "0.5 EUR" {
				t.Errorf("%d runs, %d tokens, %v; want 2, %d, 0.5 EUR", runs, counted, usage.Cost(), tokens)
			}
		}
		check(7)
		time.Sleep(2 * time.Minute) // the agent ends
		synctest.Wait()
		check(12)
		runtime.GC()
		if first.Value() != nil || second.Value() != nil {
			t.Error("a deleted run is still held")
		}
		if s.ended != 0 || s.endedBytes != 0 || s.openBytes != 0 {
			t.Errorf("%d runs of %d bytes are counted, %d bytes open", s.ended, s.endedBytes, s.openBytes)
		}
	})
}

func TestEndedRunsAreBounded(t *testing.T) {
	t.Parallel()
	s := New()
	defer s.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	open := &run{id: "open", agent: "a", created: s.now()}
	s.runs = append(s.runs, open)
	add := func(output string) {
		r := &run{id: s.newID("run"), agent: "a", created: s.now(), ended: s.now(), output: output}
		s.runs = append(s.runs, r)
		s.retire(r)
	}
	for range maxRuns + 10 {
		add("")
	}
	if len(s.runs) != maxRuns+1 || s.findRun("open") != open || s.findRun("run-00000010") != nil || s.findRun("run-00000011") == nil {
		t.Errorf("%d runs are kept", len(s.runs))
	}
	large := strings.Repeat("x", maxRunBytes/2)
	for range 3 {
		add(large)
	}
	if len(s.runs) != 3 || s.endedBytes > maxRunBytes {
		t.Errorf("%d runs of %d bytes are kept", len(s.runs), s.endedBytes)
	}
	var counted int64
	for _, row := range s.olderUsage {
		counted += row.runs
	}
	if counted != maxRuns+11 {
		t.Errorf("the usage has %d forgotten runs", counted)
	}
}

// TestWhatIsAcceptedIsBounded fills a fake up to its last places.
func TestWhatIsAcceptedIsBounded(t *testing.T) {
	t.Parallel()
	s := unbounded(t)
	s.Agent("stuck", func(ctx context.Context, _ Input) (any, error) { <-ctx.Done(); return nil, nil })
	s.mu.Lock()
	s.runs = make([]*run, maxOpenRuns-1, maxOpenRuns)
	for i := range s.runs {
		s.runs[i] = &run{agent: "stuck", status: connic.RunQueued, ended: s.now()}
	}
	s.judges, s.budgets = make([]*judge, maxResources-1), make([]*budget, maxResources-1)
	for i := range s.judges {
		s.judges[i], s.budgets[i] = new(judge), new(budget)
	}
	s.entries = make([]*entry, maxResources-1)
	for i := range s.entries {
		s.entries[i] = new(entry)
	}
	s.environments = append(s.environments, make([]environment, maxEnvironments-1-len(s.environments))...)
	s.mu.Unlock()
	for _, test := range []struct {
		op       api.Op
		id, body string
	}{
		{api.AgentsTrigger, "stuck", `{"message": "x"}`},
		{api.JudgesCreate, "", `{"name": "j", "agent_name": "echo", "criteria": [{"name": "c", "max_score": 1}]}`},
		{api.BudgetsCreate, "", `{"name": "b", "kind": "alert", "scope": "global", "period": "daily", "amount": "1", "currency": "EUR"}`},
		{api.KnowledgeUploadText, "", `{"content": "x"}`},
		{api.DevSessionsCreate, "", `{"name": "one"}`},
	} {
		if a := s.call(t, test.op, test.id, test.body); a.status >= 300 {
			t.Errorf("%s at the last place: %d %s", api.Table[test.op].Name, a.status, a.body)
		}
		body := strings.ReplaceAll(test.body, "one", "two")
		if a := s.call(t, test.op, test.id, body); a.status != http.StatusInsufficientStorage {
			t.Errorf("%s beyond: %d %s", api.Table[test.op].Name, a.status, a.body)
		}
	}
	large := strings.Repeat("x", maxSmallBody)
	if a := s.call(t, api.BudgetsCreate, "", `{"name": "`+large+`"}`); a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a large budget: %d", a.status)
	}
	s.mu.Lock()
	s.runs, s.entries = nil, []*entry{{size: maxEntryBytes - 1}}
	s.openBytes = maxOpenBytes - 1
	s.mu.Unlock()
	if a := s.call(t, api.KnowledgeUploadText, "", `{"content": "x", "metadata": {"a": 1}}`); a.status != http.StatusInsufficientStorage {
		t.Errorf("an entry beyond all bytes: %d", a.status)
	}
	for _, want := range []int{http.StatusOK, http.StatusInsufficientStorage} {
		if a := s.call(t, api.AgentsTrigger, "stuck", `{"message": "x"}`); a.status != want {
			t.Errorf("a run: %d, want %d", a.status, want)
		}
	}
}

// TestSequencesAreBounded: what each request adds to, the oldest of it goes.
func TestSequencesAreBounded(t *testing.T) {
	t.Parallel()
	s := unbounded(t)
	s.PhaseTime(0)
	s.IngestionTime(0)
	s.ApproveLogins(0)
	logins := make(map[string]bool)
	for range maxLogins + 5 {
		var started struct {
			Device string `json:"device_code"`
		}
		decode(t, s.call(t, api.LoginStart, "", `{"hostname": "h"}`), &started)
		if logins[started.Device] = true; len(logins)%2 == 0 {
			s.call(t, api.LoginToken, "", `{"device_code": "`+started.Device+`"}`)
		}
		s.call(t, api.KnowledgeUploadText, "", `{"content": "x", "entry_id": "same"}`)
	}
	s.mu.Lock()
	s.jobs = make([]*job, maxJobs)
	for i := range s.jobs {
		s.jobs[i] = &job{status: connic.JobFailed}
	}
	s.deployments, s.testRuns = make([]*deployment, maxDeployments), make([]*testRun, maxTestRuns)
	for i := range s.deployments {
		s.deployments[i], s.testRuns[i] = &deployment{ended: true, phases: make([]phase, 1)}, new(testRun)
	}
	s.deployments[0].active = true
	serving := s.deployments[0]
	s.mu.Unlock()
	c := s.Client()
	project := fstest.MapFS{"agents/a.yaml": {Data: []byte("name: a")}}
	if _, err := c.Deployments.UploadFS(t.Context(), project, nil); err != nil {
		t.Error(err)
	}
	if _, err := c.TestRuns.Create(t.Context(), connic.TestRunCreate{Project: project}); err != nil {
		t.Error(err)
	}
	s.call(t, api.KnowledgeUploadText, "", `{"content": "x", "entry_id": "same"}`)
	s.mu.Lock()
	if len(s.jobs) != maxJobs || len(s.deployments) != maxDeployments || s.deployments[0] != serving || len(s.testRuns) != maxTestRuns {
		t.Errorf("%d jobs, %d deployments, %d test runs", len(s.jobs), len(s.deployments), len(s.testRuns))
	}
	if n := len(s.logins); n != (maxLogins+6)/2 {
		t.Errorf("%d logins are kept", n)
	}
	for range maxLogins {
		s.loginKeys = append(s.loginKeys, s.newKey(nil))
	}
	s.mu.Unlock()
	var started struct {
		Device string `json:"device_code"`
		Key    string `json:"api_key"`
	}
	for range 2 {
		decode(t, s.call(t, api.LoginStart, "", `{"hostname": "h"}`), &started)
		decode(t, s.call(t, api.LoginToken, "", `{"device_code": "`+started.Device+`"}`), &started)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.keys[connic.APIKey(started.Key)]; !known || len(s.loginKeys) < maxLogins {
		t.Errorf("the newest of %d keys is known: %v", len(s.loginKeys), known)
	}
	if len(s.entries) != 1 || s.jobs[maxJobs-1].entry != nil {
		t.Errorf("%d entries, and an ended job with %v", len(s.entries), s.jobs[maxJobs-1].entry)
	}
	s.SetTime(s.now().Add(loginExpiry))
	s.mu.Unlock()
	s.call(t, api.LoginStart, "", `{"hostname": "h"}`)
	s.mu.Lock()
	if len(s.logins) != 1 {
		t.Errorf("%d logins, of which one has not expired", len(s.logins))
	}
}

func decode(t *testing.T, a answer, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil || a.status != http.StatusOK {
		t.Fatalf("%d %s, %v", a.status, a.body, err)
	}
}

func TestHistoriesAreBounded(t *testing.T) {
	t.Parallel()
	s := unbounded(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	x := &exchange{op: &api.Table[api.BudgetsCreate], key: fullKey}
	for range maxAudit + 5 {
		s.changed(x, "budget", "b", nil, object{"name": "n"})
	}
	if n := len(s.audit.items); n != maxAudit || s.audit.items[0].ID != "audit-00000006" {
		t.Errorf("the audit log has %d entries, the first %s", n, s.audit.items[0].ID)
	}
	for range 20 {
		s.changed(x, "budget", "b", nil, object{"name": strings.Repeat("x", 1<<20)})
	}
	if n := len(s.audit.items); n != 15 || s.audit.size > maxAuditBytes {
		t.Errorf("the audit log has %d entries of %d bytes", n, s.audit.size)
	}
	one := connic.MustDecimal("1")
	for range maxCharges + 5 {
		s.charge("echo", "env-test", one, "eur", true)
	}
	if len(s.charges) != maxCharges || len(s.olderUsage) != 1 {
		t.Errorf("%d charges and %d older rows", len(s.charges), len(s.olderUsage))
	}
	b := &budget{Budget: connic.Budget{Currency: "EUR", Period: connic.BudgetMonthly}}
	if got := s.spent(b).String(); got != fmt.Sprint(maxCharges+5) {
		t.Errorf("a budget has spent %s", got)
	}
	for i := range maxUsageRows + 5 {
		s.older(time.Unix(0, 0).AddDate(0, 0, i), "a", "e", "EUR")
	}
	if _, kept := s.olderUsage[usageKey{"1970-01-01", "a", "e", "EUR"}]; kept || len(s.olderUsage) != maxUsageRows {
		t.Errorf("%d rows of older usage, the oldest of them %v", len(s.olderUsage), kept)
	}
	for range maxNotices + 5 {
		s.notice("budget", "b", "n", "t")
	}
	for range 3 * 5 {
		s.quota = quota{n: 3, per: time.Hour, window: SlidingWindowRejects, log: s.quota.log}
		s.quota.take(time.Now())
	}
	for i := range maxRequests + 5 {
		s.note("", &http.Request{URL: &url.URL{Path: "/"}, Header: http.Header{"X": {fmt.Sprint(i)}}}, nil)
	}
	if len(s.notices) != maxNotices || len(s.quota.log) != 3 || len(s.record.requests) != maxRequests {
		t.Errorf("%d notices, %d times of requests, %d requests", len(s.notices), len(s.quota.log), len(s.record.requests))
	}
	for range 40 {
		s.note("", &http.Request{URL: &url.URL{Path: "/"}, Header: http.Header{"X": {strings.Repeat("x", 1<<20)}}}, []byte("x"))
	}
	if n := len(s.record.requests); n != 31 || s.record.bare != 0 || s.record.bodies != n {
		t.Errorf("%d requests with large headers, of them %d without a body", n, s.record.bare)
	}
}
