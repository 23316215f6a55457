package connic_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/internal/api"
)

// mutations executes each operation that changes something once, against the
// fake.
var mutations = map[string]func(t *testing.T, srv *connictest.Server, c *connic.Client) error{
	"agents.trigger": func(t *testing.T, _ *connictest.Server, c *connic.Client) error {
		t.Helper()
		_, err := c.Agents.Trigger(t.Context(), "support", connic.TriggerRequest{Message: "hi"})
		return err
	},
	"runs.cancel": func(t *testing.T, _ *connictest.Server, c *connic.Client) error {
		t.Helper()
		return c.Runs.Cancel(t.Context(), spend(t, c, "support", "hi"))
	},
	"runs.rerun": func(t *testing.T, _ *connictest.Server, c *connic.Client) error {
		t.Helper()
		_, err := c.Runs.Rerun(t.Context(), completed(t, c, "hi").ID)
		return err
	},
	"runs.delete": func(t *testing.T, _ *connictest.Server, c *connic.Client) error {
		t.Helper()
		return c.Runs.Delete(t.Context(), completed(t, c, "hi").ID)
	},
	"knowledge.upload_text": func(t *testing.T, _ *connictest.Server, c *connic.Client) error {
		t.Helper()
		_, err := c.Knowledge.UploadText(t.Context(), connic.TextUpload{Content: "a text"})
		return err
	},
	"knowledge.upload_file": func(t *testing.T, _ *connictest.Server, c *connic.Client) error {
		t.Helper()
		_, err := c.Knowledge.UploadFile(t.Context(), connic.FileUpload{File: connic.ReaderAtFile("a.txt", content, content.Size())})
		return err
	},
	"knowledge.delete": func(t *testing.T, _ *connictest.Server, c *connic.Client) error {
		t.Helper()
		known(t, c)
		return c.Knowledge.Delete(t.Context(), "a", &connic.EntryParams{Namespace: "docs"})
	},
	"knowledge.delete_namespace": func(t *testing.T, _ *connictest.Server, c *connic.Client) error {
		t.Helper()
		known(t, c)
		return c.Knowledge.DeleteNamespace(t.Context(), "docs", nil)
	},
	"deployments.upload": func(t *testing.T, _ *connictest.Server, c *connic.Client) error {
		t.Helper()
		_, err := c.Deployments.UploadFS(t.Context(), project, nil)
		return err
	},
	"deployments.activate": func(t *testing.T, _ *connictest.Server, c *connic.Client) error {
		t.Helper()
		d := must[*connic.Deployment](t)(c.Deployments.UploadFS(t.Context(), project, nil))
		must[*connic.Deployment](t)(c.Deployments.Wait(t.Context(), d.ID))
		return c.Deployments.Activate(t.Context(), d.ID)
	},
	"test_runs.create": func(t *testing.T, _ *connictest.Server, c *connic.Client) error {
		t.Helper()
		_, err := c.TestRuns.Create(t.Context(), connic.TestRunCreate{Project: project})
		return err
	},
	"dev_sessions.create": func(t *testing.T, _ *connictest.Server, c *connic.Client) error {
		t.Helper()
		_, err := c.DevSessions.Create(t.Context(), connic.DevSessionCreate{})
		return err
	},
	"dev_sessions.upload": func(t *testing.T, _ *connictest.Server, c *connic.Client) error {
		t.Helper()
		session := must[*connic.DevSession](t)(c.DevSessions.Create(t.Context(), connic.DevSessionCreate{}))
		must[*connic.DevSession](t)(c.DevSessions.Wait(t.Context(), session.ID))
		_, err := c.DevSessions.Sync(t.Context(), *session, project)
		return err
	},
	"dev_sessions.delete": func(t *testing.T, _ *connictest.Server, c *connic.Client) error {
		t.Helper()
		_, err := c.DevSessions.Delete(t.Context(), must[*connic.DevSession](t)(c.DevSessions.Create(t.Context(), connic.DevSessionCreate{})).ID)
		return err
	},
	"bridges.set_routes": func(t *testing.T, srv *connictest.Server, c *connic.Client) error {
		t.Helper()
		srv.Bridge("b1")
		return c.Bridges.SetRoutes(t.Context(), "b1", nil)
	},
	"judges.create": func(t *testing.T, _ *connictest.Server, c *connic.Client) error {
		t.Helper()
		_, err := c.Judges.Create(t.Context(), fair())
		return err
	},
	"judges.update": func(t *testing.T, _ *connictest.Server, c *connic.Client) error {
		t.Helper()
		judge := must[*connic.Judge](t)(c.Judges.Create(t.Context(), fair()))
		_, err := c.Judges.Update(t.Context(), judge.ID, connic.JudgeUpdate{Name: connic.Set("other")})
		return err
	},
	"judges.delete": func(t *testing.T, _ *connictest.Server, c *connic.Client) error {
		t.Helper()
		return c.Judges.Delete(t.Context(), must[*connic.Judge](t)(c.Judges.Create(t.Context(), fair())).ID)
	},
	"judges.evaluate": func(t *testing.T, _ *connictest.Server, c *connic.Client) error {
		t.Helper()
		judge := must[*connic.Judge](t)(c.Judges.Create(t.Context(), fair()))
		_, err := c.Judges.Evaluate(t.Context(), judge.ID, completed(t, c, "hi").ID)
		return err
	},
	"budgets.create": func(t *testing.T, _ *connictest.Server, c *connic.Client) error {
		t.Helper()
		_, err := c.Budgets.Create(t.Context(), daily("10"))
		return err
	},
	"budgets.update": func(t *testing.T, _ *connictest.Server, c *connic.Client) error {
		t.Helper()
		budget := must[*connic.Budget](t)(c.Budgets.Create(t.Context(), daily("10")))
		_, err := c.Budgets.Update(t.Context(), budget.ID, connic.BudgetUpdate{Amount: connic.Set(dec("20"))})
		return err
	},
	"budgets.delete": func(t *testing.T, _ *connictest.Server, c *connic.Client) error {
		t.Helper()
		return c.Budgets.Delete(t.Context(), must[*connic.Budget](t)(c.Budgets.Create(t.Context(), daily("10"))).ID)
	},
	"approvals.decide": func(t *testing.T, srv *connictest.Server, c *connic.Client) error {
		t.Helper()
		srv.Agent("asks", func(ctx context.Context, in connictest.Input) (any, error) { return nil, in.AwaitApproval(ctx) })
		run := must[*connic.Run](t)(c.Agents.TriggerAndWait(t.Context(), "asks", connic.TriggerRequest{Message: "m"}, connic.StopAtApproval()))
		_, err := c.Approvals.Approve(t.Context(), run.Approval.ID)
		return err
	},
	"connectors.create": func(t *testing.T, _ *connictest.Server, c *connic.Client) error {
		t.Helper()
		_, err := c.Connectors.Create(t.Context(), connic.ConnectorCreate{Name: "hook", Type: "http"})
		return err
	},
	"connectors.update": func(t *testing.T, srv *connictest.Server, c *connic.Client) error {
		t.Helper()
		srv.Connector("support").Named("hook")
		hook := must[*connic.Connector](t)(c.Connectors.Find(t.Context(), "hook"))
		_, err := c.Connectors.Update(t.Context(), hook.ID, connic.ConnectorUpdate{Name: connic.Set("other")})
		return err
	},
	"connectors.delete": func(t *testing.T, srv *connictest.Server, c *connic.Client) error {
		t.Helper()
		srv.Connector("support").Named("hook")
		return c.Connectors.Delete(t.Context(), must[*connic.Connector](t)(c.Connectors.Find(t.Context(), "hook")).ID)
	},
}

// known uploads the entry a to the namespace docs and waits for it.
func known(t *testing.T, c *connic.Client) {
	t.Helper()
	ingestion := must[*connic.Ingestion](t)(c.Knowledge.UploadText(t.Context(), connic.TextUpload{Content: "a text", Namespace: "docs", EntryID: "a"}))
	must[*connic.Job](t)(c.Knowledge.WaitJob(t.Context(), ingestion.JobID, nil))
}

func TestEveryMutationIsInTheAuditLog(t *testing.T) {
	t.Parallel()
	for i := range api.Table {
		op := &api.Table[i]
		mutate, ok := mutations[op.Name]
		switch {
		case op.Class == api.Safe || op.Keyless: // a login does not change a project
			continue
		case !ok:
			t.Errorf("%s has no entry in mutations", op.Name)
			continue
		}
		t.Run(op.Name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv, _ := judged(t)
				client := srv.Client(connic.WithEnvironment("env-production"))
				if err := mutate(t, srv, client); err != nil {
					t.Fatal(err)
				}
				page := must[*connic.Page[connic.AuditEntry]](t)(client.AuditLogs.List(t.Context(), &connic.AuditLogListParams{Action: op.Name}))
				if n := srv.Executions(op.Name); n != 1 || len(page.Items) != 1 {
					t.Fatalf("it was executed %d times and is in the log %d times, want once", n, len(page.Items))
				}
				e := page.Items[0]
				if e.ID == "" || e.Actor.Type != "api_key" || !strings.HasPrefix(e.Actor.String(), "cnc_…") || e.ResourceType == "" || e.ResourceID == "" ||
					e.Timestamp.IsZero() || (e.Before == nil && e.After == nil) {
					t.Errorf("the entry is %+v", e)
				}
				newest := must[*connic.Page[connic.AuditEntry]](t)(client.AuditLogs.List(t.Context(), &connic.AuditLogListParams{Limit: 1}))
				if len(newest.Items) != 1 || newest.Items[0].ID != e.ID {
					t.Errorf("the newest entry is %+v", newest.Items)
				}
			})
		})
	}
}

func TestAuditLogFilters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, client := judged(t)
		other := srv.ClientWithKey(srv.Key("budgets:write"))
		judge := must[*connic.Judge](t)(client.Judges.Create(t.Context(), fair())) // at 0 s
		time.Sleep(time.Minute)
		must[*connic.Judge](t)(client.Judges.Update(t.Context(), judge.ID, connic.JudgeUpdate{Model: connic.Set("fake/better")})) // at 60 s
		time.Sleep(time.Minute)
		budget := must[*connic.Budget](t)(other.Budgets.Create(t.Context(), daily("5"))) // at 120 s
		start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
		actor := must[*connic.Page[connic.AuditEntry]](t)(client.AuditLogs.List(t.Context(), nil)).Items[0].Actor.Name

		tests := map[string]struct {
			params connic.AuditLogListParams
			want   []string
		}{
			"all":           {connic.AuditLogListParams{}, []string{"budgets.create", "judges.update", "judges.create"}},
			"action":        {connic.AuditLogListParams{Action: "judges.update"}, []string{"judges.update"}},
			"resource type": {connic.AuditLogListParams{ResourceType: "judge"}, []string{"judges.update", "judges.create"}},
			"resource id":   {connic.AuditLogListParams{ResourceID: budget.ID}, []string{"budgets.create"}},
			"actor":         {connic.AuditLogListParams{Actor: actor}, []string{"budgets.create"}},
			"from":          {connic.AuditLogListParams{From: start.Add(time.Minute)}, []string{"budgets.create", "judges.update"}},
			"to":            {connic.AuditLogListParams{To: start.Add(time.Minute)}, []string{"judges.create"}},
			"from and to":   {connic.AuditLogListParams{From: start.Add(time.Second), To: start.Add(2 * time.Minute)}, []string{"judges.update"}},
			"none":          {connic.AuditLogListParams{ResourceType: "judge", Action: "budgets.create"}, nil},
			"page by page":  {connic.AuditLogListParams{Limit: 1}, []string{"budgets.create", "judges.update", "judges.create"}},
		}
		for name, test := range tests {
			entries := must[[]*connic.AuditEntry](t)(connic.Collect(client.AuditLogs.All(t.Context(), &test.params), 0))
			var got []string
			for _, e := range entries {
				got = append(got, e.Action)
			}
			if strings.Join(got, " ") != strings.Join(test.want, " ") {
				t.Errorf("%s: %v, want %v", name, got, test.want)
			}
		}
		_, err := client.AuditLogs.List(t.Context(), &connic.AuditLogListParams{From: start.Add(time.Second), To: start})
		refused(t, "to before from", err, "audit_logs.list", "to is before from")
	})
}

func TestAuditLogShowsBeforeAndAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, client := judged(t)
		judge := must[*connic.Judge](t)(client.Judges.Create(t.Context(), fair()))
		must[*connic.Judge](t)(client.Judges.Update(t.Context(), judge.ID, connic.JudgeUpdate{
			Name: connic.Set("strict"), SystemPrompt: connic.Set("The key is cnc_secret_1234567890."),
		}))
		if err := client.Judges.Delete(t.Context(), judge.ID); err != nil {
			t.Fatal(err)
		}
		entries := must[*connic.Page[connic.AuditEntry]](t)(client.AuditLogs.List(t.Context(), nil)).Items
		name := func(raw json.RawMessage) string {
			t.Helper()
			if raw == nil {
				return "nothing"
			}
			var state struct {
				Name string `json:"name"`
			}
			if err := json.Unmarshal(raw, &state); err != nil {
				t.Fatal(err)
			}
			return state.Name
		}
		var got []string
		for _, e := range entries {
			got = append(got, name(e.Before)+" to "+name(e.After))
		}
		if want := "strict to nothing, quality to strict, nothing to quality"; strings.Join(got, ", ") != want {
			t.Errorf("the changes are %v, want %s", got, want)
		}
		if text := string(entries[1].After); strings.Contains(text, "secret_1234567890") || !strings.Contains(text, "The key is cnc_***") {
			t.Errorf("the entry is %s", text)
		}
		// Entries of the log do not change with the resource.
		log := srv.AuditLog()
		if log[0].After["name"] != "quality" || log[1].Before["name"] != "quality" || log[1].After["name"] != "strict" {
			t.Errorf("the log is %+v", log)
		}
	})
}

func TestTheFakeMasksSecrets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, client := judged(t)
		srv.Agent("support", func(context.Context, connictest.Input) (any, error) { return "", nil })
		must[*connic.TriggerResult](t)(client.Agents.Trigger(t.Context(), "support", connic.TriggerRequest{
			Message: "use cnc_topsecret_0001, please",
		}))
		log := fmt.Sprintf("%+v", srv.AuditLog())
		if strings.Contains(log, "topsecret") || !strings.Contains(log, "use cnc_***, please") {
			t.Errorf("the log is %s", log)
		}
	})
}
