package kb

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/connic-go/connic/cmd/connicctl/internal/clitest"
	"github.com/connic-go/connic/connictest"
)

// inBubble runs a test in virtual time, with a fake that has three entries.
func inBubble(t *testing.T, test func(t *testing.T, fake *connictest.Server, p *clitest.Program)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		fake := connictest.New(t)
		fake.SetTime(time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC))
		client := fake.Client()
		defer client.Close()
		for _, u := range []connic.TextUpload{
			{Namespace: "docs", EntryID: "returns.md", Content: "Goods may be\nreturned within 30 days."},
			{Namespace: "docs", EntryID: "shipping.md", Content: "Shipping takes \x1b[31m3 days.", Metadata: map[string]any{"team": "sales"}},
			{Namespace: "drafts", EntryID: "x", Content: "nothing"},
		} {
			u.EnvironmentID = "env-production"
			accepted, err := client.Knowledge.UploadText(t.Context(), u)
			if err == nil {
				_, err = client.Knowledge.WaitJob(t.Context(), accepted.JobID, &connic.KnowledgeParams{EnvironmentID: "env-production"})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		test(t, fake, clitest.New(t, fake, Command))
	})
}

func TestListAndGet(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, _ *connictest.Server, p *clitest.Program) {
		r := p.Run("kb", "list", "--namespace", "docs")
		if r.Status != 0 || r.Err != "" || !strings.HasPrefix(r.Out, "NAMESPACE  ID           SOURCE") || strings.Count(r.Out, "\n") != 3 || !strings.Contains(r.Out, "docs       returns.md") {
			t.Errorf("%+v", r)
		}
		if r := p.Run("kb", "list", "-n", "2", "-o", "jsonl"); r.Status != 0 || strings.Count(r.Out, "\n") != 2 {
			t.Errorf("%+v", r)
		}
		if r := p.Run("kb", "get", "shipping.md", "--namespace", "docs"); r.Status != 0 || !strings.HasSuffix(r.Out, "\nCONTENT\nShipping takes \\x1b[31m3 days.\n") || !strings.Contains(r.Out, `{"team":"sales"}`) {
			t.Errorf("%+v", r)
		}
		var e connic.Entry
		r = p.Run("kb", "get", "returns.md", "--namespace", "docs", "-o", "json")
		if err := json.Unmarshal([]byte(r.Out), &e); err != nil || e.Content != "Goods may be\nreturned within 30 days." {
			t.Errorf("%v: %+v", err, r)
		}
		for status, args := range map[int][]string{
			cli.ExitNotFound: {"get", "none"}, cli.ExitUsage: {"get", "a/b"},
		} {
			if r := p.Run(append([]string{"kb"}, args...)...); r.Status != status || r.Out != "" {
				t.Errorf("%q: %+v", args, r)
			}
		}
	})
}

func TestSearch(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, _ *connictest.Server, p *clitest.Program) {
		p.Stdin = strings.NewReader("returned within days")
		r := p.Run("kb", "search", "-", "--any-score", "--namespace", "docs", "-n", "1")
		if r.Status != 0 || !strings.Contains(r.Out, "docs       returns.md  Goods may be returned within 30 days.\n") || strings.Count(r.Out, "\n") != 2 {
			t.Errorf("%+v", r)
		}
		r = p.Run("kb", "search", "days", "--any-score", "--filter", `{"team": {"$eq": "sales"}}`, "-o", "jsonl")
		if r.Status != 0 || strings.Count(r.Out, "\n") != 1 || !strings.Contains(r.Out, `"entry_id":"shipping.md"`) {
			t.Errorf("%+v", r)
		}
		for _, args := range [][]string{{" "}, {"x", "--filter", "team"}, {"x", "--min-score", "7"}, {"x", "-n", "21"}, {}} {
			if r := p.Run(append([]string{"kb", "search"}, args...)...); r.Status != cli.ExitUsage || r.Out != "" {
				t.Errorf("%q: %+v", args, r)
			}
		}
	})
}

func TestRemove(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		for _, args := range [][]string{{}, {"--all"}, {"returns.md", "--all", "--namespace", "docs", "--yes"}, {"returns.md", "--namespace", "docs"}} {
			if r := p.Run(append([]string{"kb", "rm"}, args...)...); r.Status != cli.ExitUsage {
				t.Errorf("%q: %+v", args, r)
			}
		}
		p.Terminal(80)
		p.Stdin = strings.NewReader("n\n")
		if r := p.Run("kb", "rm", "returns.md", "--namespace", "docs"); r.Status != cli.ExitInterrupted || !strings.Contains(r.Err, "Delete entry returns.md? [y/N]") {
			t.Errorf("%+v", r)
		}
		if n := fake.Executions("knowledge.delete"); n != 0 {
			t.Errorf("%d entries were deleted", n)
		}
		if r := p.Run("kb", "rm", "none", "returns.md", "--namespace", "docs", "--yes"); r.Status != cli.ExitNotFound || !strings.Contains(r.Err, "returns.md is deleted") || !strings.Contains(r.Err, "1 of 2 failed") {
			t.Errorf("%+v", r)
		}
		if r := p.Run("kb", "rm", "--all", "--namespace", "drafts", "--yes"); r.Status != 0 {
			t.Errorf("%+v", r)
		}
		if r := p.Run("kb", "list", "-o", "jsonl"); strings.Count(r.Out, "\n") != 1 || !strings.Contains(r.Out, "shipping.md") {
			t.Errorf("%+v", r)
		}
	})
}
