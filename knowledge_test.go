package connic_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// inBubble runs a test with its own fake in virtual time.
func inBubble(t *testing.T, f func(t *testing.T, srv *connictest.Server, client *connic.Client), opts ...connic.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		f(t, srv, srv.Client(append([]connic.Option{connic.WithEnvironment("env-test"), connic.WithRetry(connic.RetryPolicy{MaxRefusals: 10})}, opts...)...))
	})
}

// contents returns what a query finds, best match first.
func contents(t *testing.T, client *connic.Client, q connic.KnowledgeQuery) []string {
	t.Helper()
	page, err := client.Knowledge.Query(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range page.Items {
		found = append(found, m.Content)
	}
	return found
}

func TestKnowledgeEntriesComeAndGo(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, srv *connictest.Server, client *connic.Client) {
		ctx := t.Context()
		i := upload(t, client, connic.TextUpload{
			Content: "Keys begin with cnc.\n\nKeep them secret.", Namespace: "docs.api", EntryID: "keys", Metadata: map[string]any{"team": "a"},
		})
		if i.EntryID != "keys" || i.JobID == "" || i.Status != connic.JobQueued {
			t.Errorf("the answer is %+v", i)
		}
		if _, err := client.Knowledge.Get(ctx, "keys", nil); !errors.Is(err, connic.ErrNotFound) {
			t.Errorf("before its ingestion has ended, Get says %v", err)
		}
		start := time.Now()
		job, err := client.Knowledge.WaitJob(ctx, i.JobID, nil)
		if err != nil || job.Status != connic.JobCompleted || job.EntryID != "keys" || job.Namespace != "docs.api" || job.ChunkCount != 2 {
			t.Errorf("the job ended as %+v, %v", job, err)
		}
		if !job.CreatedAt.Equal(start) || !job.UpdatedAt.Equal(start.Add(time.Second)) {
			t.Errorf("the job was created %v and updated %v", job.CreatedAt, job.UpdatedAt)
		}
		e, err := client.Knowledge.Get(ctx, "keys", &connic.EntryParams{Namespace: "docs.api"})
		if err != nil {
			t.Fatal(err)
		}
		var metadata struct{ Team string }
		if err := e.DecodeMetadata(&metadata); err != nil || metadata.Team != "a" {
			t.Errorf("the metadata is %s, %v", e.Metadata, err)
		}
		if e.Content != "Keys begin with cnc.\n\nKeep them secret." || e.ChunkCount != 2 || !e.CreatedAt.Equal(start.Add(time.Second)) {
			t.Errorf("the entry is %+v", e)
		}
		if _, err := client.Knowledge.Get(ctx, "keys", &connic.EntryParams{Namespace: "docs"}); !errors.Is(err, connic.ErrNotFound) {
			t.Errorf("in another namespace, Get says %v", err)
		}
		if _, err := client.Knowledge.Get(ctx, "keys", &connic.EntryParams{EnvironmentID: "env-production"}); !errors.Is(err, connic.ErrNotFound) {
			t.Errorf("in another environment, Get says %v", err)
		}
		if err := client.Knowledge.Delete(ctx, "keys", nil); err != nil {
			t.Error(err)
		}
		if err := client.Knowledge.Delete(ctx, "keys", nil); !errors.Is(err, connic.ErrNotFound) {
			t.Errorf("the second Delete says %v", err)
		}
		var actions []string
		for _, a := range srv.AuditLog() {
			actions = append(actions, fmt.Sprintf("%s %s %s %t %t", a.Action, a.ResourceType, a.ResourceID, a.Before != nil, a.After != nil))
		}
		want := []string{"knowledge.upload_text knowledge_entry keys false true", "knowledge.delete knowledge_entry keys true false"}
		if !slices.Equal(actions, want) {
			t.Errorf("the audit log has %q", actions)
		}
	})
}

func TestKnowledgeIsReplacedAtomically(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, srv *connictest.Server, client *connic.Client) {
		find := func() string {
			return strings.Join(contents(t, client, connic.KnowledgeQuery{Query: "price"}), "|")
		}
		upload(t, client, connic.TextUpload{Content: "price 1", EntryID: "p"})
		time.Sleep(2 * time.Second)
		former, err := client.Knowledge.Get(t.Context(), "p", nil)
		if err != nil {
			t.Fatal(err)
		}
		srv.IngestionTime(time.Minute)
		slow := upload(t, client, connic.TextUpload{Content: "price 2", EntryID: "p"})
		time.Sleep(59 * time.Second)
		if got := find(); got != "price 1" {
			t.Errorf("before the new version is ready, %q is found", got)
		}
		if j, err := client.Knowledge.GetJob(t.Context(), slow.JobID, nil); err != nil || j.Status != connic.JobProcessing {
			t.Errorf("the job is %+v, %v", j, err)
		}
		time.Sleep(time.Second)
		if got := find(); got != "price 2" {
			t.Errorf("afterwards, %q is found", got)
		}
		e, err := client.Knowledge.Get(t.Context(), "p", nil)
		if err != nil || !e.CreatedAt.Equal(former.CreatedAt) || !e.UpdatedAt.Equal(time.Now()) {
			t.Errorf("afterwards, the entry is %+v, %v; it was %+v", e, err, former)
		}
		// A failed ingestion leaves the previous version, and one that is
		// overtaken does not take effect later.
		upload(t, client, connic.TextUpload{Content: "price 3", EntryID: "p"})
		srv.IngestionTime(time.Second)
		upload(t, client, connic.TextUpload{Content: "price 4", EntryID: "p"})
		time.Sleep(2 * time.Minute)
		if got := find(); got != "price 4" {
			t.Errorf("after two uploads, %q is found", got)
		}
		srv.FailIngestion(func(connictest.IngestedEntry) error { return errors.New("the embedder is down") })
		upload(t, client, connic.TextUpload{Content: "price 5", EntryID: "p"})
		time.Sleep(time.Minute)
		if got := find(); got != "price 4" {
			t.Errorf("after a failed ingestion, %q is found", got)
		}
		srv.FailIngestion(nil)
		// Another namespace or environment has its own entries.
		srv.IngestionTime(0)
		upload(t, client, connic.TextUpload{Content: "price 6", EntryID: "p", Namespace: "b"})
		upload(t, client, connic.TextUpload{Content: "price 7", EntryID: "p", EnvironmentID: "env-production"})
		if got := find(); got != "price 4|price 6" {
			t.Errorf("%q is found", got)
		}
		if _, err := client.Knowledge.Get(t.Context(), "p", nil); !errors.Is(err, connic.ErrConflict) {
			t.Errorf("an id in two namespaces: %v", err)
		}
		// Deleted entries do not come back either.
		srv.IngestionTime(time.Second)
		late := upload(t, client, connic.TextUpload{Content: "price 8", EntryID: "q"})
		if err := client.Knowledge.Delete(t.Context(), "q", nil); err != nil {
			t.Error(err)
		}
		var failed *connic.JobError
		if _, err := client.Knowledge.WaitJob(t.Context(), late.JobID, nil); !errors.As(err, &failed) || failed.Job.Error != "The entry was deleted" {
			t.Errorf("the abandoned job ends with %v", err)
		}
	})
}

func TestKnowledgeNamespaces(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, srv *connictest.Server, client *connic.Client) {
		srv.IngestionTime(0)
		for i, namespace := range []string{"", "docs", "docs.api", "docs.api", "docs.api.v1", "docs.ui.v1.old", "docsx", "shop"} {
			upload(t, client, connic.TextUpload{Content: fmt.Sprint("text ", i), Namespace: namespace})
		}
		list := func(p *connic.NamespaceListParams) string {
			t.Helper()
			page, err := client.Knowledge.Namespaces(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			for _, n := range page.Items {
				lines = append(lines, fmt.Sprintf("%s:%d/%d/%t", n.Name, n.EntryCount, n.TotalEntryCount, n.HasChildren))
			}
			return strings.Join(lines, " ")
		}
		if got, want := list(nil), "docs:1/5/true docsx:1/1/false shop:1/1/false"; got != want {
			t.Errorf("at the root: %s", got)
		}
		if got, want := list(&connic.NamespaceListParams{Parent: "docs"}), "docs.api:2/3/true docs.ui:0/1/true"; got != want {
			t.Errorf("below docs: %s", got)
		}
		if got, want := list(&connic.NamespaceListParams{Parent: "docs", Depth: 2}), "docs.api:2/3/true docs.api.v1:1/1/false docs.ui:0/1/true docs.ui.v1:0/1/true"; got != want {
			t.Errorf("two levels below docs: %s", got)
		}
		if got := list(&connic.NamespaceListParams{Depth: connic.AllLevels}); strings.Count(got, ":") != 8 || !strings.Contains(got, "docs.ui.v1.old:1/1/false") {
			t.Errorf("everywhere: %s", got)
		}
		if got := list(&connic.NamespaceListParams{EnvironmentID: "env-production"}); got != "" {
			t.Errorf("elsewhere: %s", got)
		}
		count := func(namespace string) int {
			t.Helper()
			entries, err := connic.Collect(client.Knowledge.All(t.Context(), &connic.EntryListParams{Namespace: namespace, Limit: 2}), 0)
			if err != nil {
				t.Fatal(err)
			}
			return len(entries)
		}
		for _, namespace := range []string{"same.a", "same.b", "same.c"} {
			upload(t, client, connic.TextUpload{Content: "text", Namespace: namespace, EntryID: "same"})
		}
		if n := count("same"); n != 3 {
			t.Errorf("of 3 entries with one id in 3 namespaces, %d are listed", n)
		}
		if err := client.Knowledge.DeleteNamespace(t.Context(), "same", nil); err != nil {
			t.Error(err)
		}
		if count("") != 8 || count("docs") != 5 || count("docs.api") != 3 {
			t.Errorf("there are %d, %d, %d entries", count(""), count("docs"), count("docs.api"))
		}
		if err := client.Knowledge.DeleteNamespace(t.Context(), "docs", nil); err != nil {
			t.Error(err)
		}
		if count("") != 3 || count("docs") != 0 {
			t.Errorf("after the deletion there are %d and %d", count(""), count("docs"))
		}
		if err := client.Knowledge.DeleteNamespace(t.Context(), "docs", nil); !errors.Is(err, connic.ErrNotFound) {
			t.Errorf("the second deletion says %v", err)
		}
		log := srv.AuditLog()
		if last := log[len(log)-1]; last.ResourceType != "knowledge_namespace" || last.Before["total_entry_count"] != 5.0 {
			t.Errorf("the audit log ends with %+v", last)
		}
	})
}

func TestKnowledgeQuery(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, srv *connictest.Server, client *connic.Client) {
		srv.IngestionTime(0)
		for _, u := range []connic.TextUpload{
			{Content: "red green blue yellow", EntryID: "four", Namespace: "c.warm", Metadata: map[string]any{"n": 4}},
			{Content: "red green blue\n\nRed!", EntryID: "three", Namespace: "c"},
			{Content: "red green", EntryID: "two"},
			{Content: "a red flag", EntryID: "one"},
			{Content: "nothing", EntryID: "none"},
		} {
			upload(t, client, u)
		}
		page, err := client.Knowledge.Query(t.Context(), connic.KnowledgeQuery{Query: "Red, green, BLUE, yellow?"})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range page.Items {
			got = append(got, fmt.Sprintf("%s %s %.2f", m.EntryID, m.Namespace, m.Score))
		}
		if want := []string{"four c.warm 1.00", "three c 0.75", "two  0.50"}; !slices.Equal(got, want) || page.HasNext() {
			t.Errorf("found %q, want %q", got, want)
		}
		var metadata map[string]int
		if err := page.Items[0].DecodeMetadata(&metadata); err != nil || metadata["n"] != 4 {
			t.Errorf("metadata %v, %v", metadata, err)
		}
		for _, test := range []struct {
			q    connic.KnowledgeQuery
			want int
		}{
			{connic.KnowledgeQuery{}, 3},
			{connic.KnowledgeQuery{MaxResults: 1}, 1},
			{connic.KnowledgeQuery{MaxResults: 20}, 3},
			{connic.KnowledgeQuery{MaxResults: 20, MinScore: 0.25}, 5},
			{connic.KnowledgeQuery{MaxResults: 20, AnyScore: true}, 6},
			{connic.KnowledgeQuery{MaxResults: 20, MinScore: 1}, 1},
			{connic.KnowledgeQuery{MaxResults: 20, AnyScore: true, Namespace: "c"}, 3},
			{connic.KnowledgeQuery{MaxResults: 20, AnyScore: true, Namespace: "c.warm"}, 1},
			{connic.KnowledgeQuery{MaxResults: 20, AnyScore: true, EnvironmentID: "env-production"}, 0},
			{connic.KnowledgeQuery{MaxResults: 20, AnyScore: true, Filter: connic.Where("n").Exists()}, 1},
		} {
			test.q.Query = "red green blue yellow"
			if got := contents(t, client, test.q); len(got) != test.want {
				t.Errorf("%+v finds %q, want %d", test.q, got, test.want)
			}
		}
		if n := srv.Executions("knowledge.query"); n != 11 {
			t.Errorf("%d queries executed", n)
		}
		// It is a read, so it is retried, and a read-only client may do it.
		for _, f := range faults {
			f.fault.Op = "knowledge.query"
			srv.ClearFaults()
			srv.Fault(f.fault)
			if got := contents(t, srv.Client(connic.WithReadOnly(), connic.WithEnvironment("env-test")), connic.KnowledgeQuery{Query: "red"}); len(got) != 3 {
				t.Errorf("%s: found %q", f.name, got)
			}
		}
		srv.ClearFaults()
		for _, permission := range []string{"knowledge:read", "knowledge:write"} {
			other := srv.ClientWithKey(srv.Key(permission), connic.WithEnvironment("env-test"))
			if got := contents(t, other, connic.KnowledgeQuery{Query: "red"}); len(got) != 3 {
				t.Errorf("with %s: found %q", permission, got)
			}
		}
		if _, err := srv.ClientWithKey(srv.Key("runs:read")).Knowledge.Query(t.Context(), connic.KnowledgeQuery{EnvironmentID: "env-test", Query: "red"}); !errors.Is(err, connic.ErrForbidden) {
			t.Errorf("without permission: %v", err)
		}
	})
}

// faults lists what can happen to a request. All of them are temporary.
var faults = []struct {
	name     string
	fault    connictest.Fault
	executed bool // by the service nevertheless
	refused  bool // the service says that it was not executed
}{
	{name: "dropped before", fault: connictest.Fault{Drop: true}},
	{name: "dropped after", fault: connictest.Fault{Drop: true, After: true}, executed: true},
	{name: "500 before", fault: connictest.Fault{Status: 500}},
	{name: "500 after", fault: connictest.Fault{Status: 500, After: true}, executed: true},
	{name: "503", fault: connictest.Fault{Status: 503, RetryAfter: "1"}},
	{name: "429", fault: connictest.Fault{Status: 429, RetryAfter: "2"}, refused: true},
	{name: "truncated", fault: connictest.Fault{Truncate: 5}, executed: true},
	{name: "truncated to nothing", fault: connictest.Fault{Truncate: -1}, executed: true},
	{name: "HTML before", fault: connictest.Fault{HTML: true}},
	{name: "HTML after", fault: connictest.Fault{HTML: true, After: true}, executed: true},
	{name: "HTML 502", fault: connictest.Fault{HTML: true, Status: 502}},
	{name: "too slow", fault: connictest.Fault{Latency: 2 * time.Minute}},
}

func TestKnowledgeReadsAndDeletionsSurviveFaults(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(context.Context, *connic.KnowledgeService) error{
		"knowledge.list": func(ctx context.Context, k *connic.KnowledgeService) error {
			entries, err := connic.Collect(k.All(ctx, nil), 0)
			if err == nil && len(entries) != 1 {
				err = fmt.Errorf("%d entries", len(entries))
			}
			return err
		},
		"knowledge.get": func(ctx context.Context, k *connic.KnowledgeService) error {
			_, err := k.Get(ctx, "e", nil)
			return err
		},
		"knowledge.namespaces": func(ctx context.Context, k *connic.KnowledgeService) error {
			_, err := k.Namespaces(ctx, nil)
			return err
		},
		"knowledge.jobs_list": func(ctx context.Context, k *connic.KnowledgeService) error {
			_, err := k.Jobs(ctx, nil)
			return err
		},
		"knowledge.jobs_get": func(ctx context.Context, k *connic.KnowledgeService) error {
			page, err := k.Jobs(ctx, nil)
			if err == nil {
				_, err = k.GetJob(ctx, page.Items[0].ID, nil)
			}
			return err
		},
		"knowledge.delete": func(ctx context.Context, k *connic.KnowledgeService) error {
			return k.Delete(ctx, "e", nil)
		},
		"knowledge.delete_namespace": func(ctx context.Context, k *connic.KnowledgeService) error {
			return k.DeleteNamespace(ctx, "n", nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, f := range faults {
				synctest.Test(t, func(t *testing.T) {
					srv := connictest.New()
					srv.IngestionTime(0)
					client := srv.Client(connic.WithEnvironment("env-test"))
					upload(t, client, connic.TextUpload{Content: "text", EntryID: "e", Namespace: "n"})
					f.fault.Op = name
					srv.Fault(f.fault)
					err := call(t.Context(), client.Knowledge)
					if strings.HasPrefix(name, "knowledge.delete") && f.executed && errors.Is(err, connic.ErrNotFound) {
						err = nil // the lost response reported the deletion
					}
					if err != nil || srv.Executions(name) == 0 {
						t.Errorf("%s: %v after %d executions", f.name, err, srv.Executions(name))
					}
				})
			}
		})
	}
}

// TestKnowledgeLists tests which envelopes are accepted, and how lists end.
func TestKnowledgeLists(t *testing.T) {
	t.Parallel()
	for _, envelope := range []string{
		`[%s]`, `{"items": [%s]}`, `{"data": [%s], "has_more": false}`, `{"results": [%s], "next": null}`,
		`{"entries": [%s], "total": 2}`, `{"other": [1], "entries": [%s], "page": 1, "pages": 1}`, `{"items": [], "entries": [%s], "next_cursor": ""}`,
	} {
		body := fmt.Sprintf(envelope, `{"entry_id": "a", "namespace": "x"}, {"entry_id": "a", "namespace": "y"}`)
		entries, err := connic.Collect(replies(t, body).Knowledge.All(t.Context(), nil), 0)
		if err != nil || len(entries) != 2 || entries[1].Namespace != "y" {
			t.Errorf("%s: %v, %v", envelope, entries, err)
		}
	}
	if _, err := connic.Collect(replies(t, `[{"entry_id": "a"}]`).Knowledge.All(t.Context(), &connic.EntryListParams{Limit: 1}), 0); !errors.Is(err, connic.ErrPageLoop) {
		t.Errorf("the same page without end: %v", err)
	}
	page, err := replies(t, `[{"entry_id": "a", "metadata": {"k": 1}}, {"entry_id": "b", "metadata": "{\"k\": 2}"}, {"entry_id": "c"}, {"metadata": [1]}]`).Knowledge.List(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var seen []int
	for _, e := range page.Items[:3] {
		var metadata struct{ K int }
		if err := e.DecodeMetadata(&metadata); err != nil {
			t.Error(err)
		}
		seen = append(seen, metadata.K)
	}
	if !slices.Equal(seen, []int{1, 2, 0}) || page.Items[3].DecodeMetadata(new(struct{})) == nil {
		t.Errorf("the metadata decode to %v", seen)
	}
	var decode *connic.DecodeError
	if _, err := replies(t, `{"entries": [{"chunk_count": "many"}]}`).Knowledge.List(t.Context(), nil); !errors.As(err, &decode) || decode.Field != "entries[0].chunk_count" {
		t.Errorf("a wrong number: %v", err)
	}
}
