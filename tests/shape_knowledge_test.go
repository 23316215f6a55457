package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/connic-go/connic"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var knowledgeShapes = []shape{
	{
		name: "upload text", op: "knowledge.upload_text", method: "POST", path: "/knowledge/text",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Ingestion, error) {
			return c.Knowledge.UploadText(ctx, connic.TextUpload{
				EnvironmentID: "e1", Content: "Your document text here...", Namespace: "docs.api", EntryID: "my-custom-id",
				Metadata: map[string]any{"team": "a", "year": 2026, "tags": []string{"x", "<y>"}, "deep": map[string]any{"k": nil}},
			})
		}),
		query: url.Values{"environment_id": {"e1"}},
		body: `{"content": "Your document text here...", "namespace": "docs.api", "entry_id": "my-custom-id",
			"metadata": {"team": "a", "year": 2026, "tags": ["x", "<y>"], "deep": {"k": null}}}`,
		answer: `{"entry_id": "my-custom-id", "job_id": "j1", "status": "pending", "queued": true}`,
		want:   &connic.Ingestion{EntryID: "my-custom-id", JobID: "j1", Status: connic.JobPending},
	},
	{
		name: "upload text with nothing but the text", op: "knowledge.upload_text", method: "POST", path: "/knowledge/text",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Ingestion, error) {
			return c.Knowledge.UploadText(ctx, connic.TextUpload{EnvironmentID: "e & 1", Content: "x"})
		}),
		query: url.Values{"environment_id": {"e & 1"}}, body: `{"content": "x"}`,
		status: 202, answer: `{"entry": {"id": "e7"}, "job": {"job_id": 8, "status": "processing"}}`,
		want: &connic.Ingestion{EntryID: "e7", JobID: "8", Status: connic.JobProcessing},
	},
	{
		name: "upload text, answered with a job", op: "knowledge.upload_text", method: "POST", path: "/knowledge/text",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Ingestion, error) {
			return c.Knowledge.UploadText(ctx, connic.TextUpload{EnvironmentID: "e1", Content: "x", EntryID: "mine", Metadata: map[string]any{}})
		}),
		query: url.Values{"environment_id": {"e1"}}, body: `{"content": "x", "entry_id": "mine", "metadata": {}}`,
		answer: `{"id": "j9", "entry_id": null, "queued": "true"}`,
		want:   &connic.Ingestion{EntryID: "mine", JobID: "j9", Status: connic.JobQueued},
	},
	{
		name: "upload text, answered with an id only", op: "knowledge.upload_text", method: "POST", path: "/knowledge/text",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Ingestion, error) {
			return c.Knowledge.UploadText(ctx, connic.TextUpload{EnvironmentID: "e1", Content: "x"})
		}),
		query: url.Values{"environment_id": {"e1"}}, body: `{"content": "x"}`,
		status: 201, answer: `{"id": "e9", "status": "brooding"}`,
		want: &connic.Ingestion{EntryID: "e9", Status: "brooding"},
	},
	{
		name: "upload text with a stable id", op: "knowledge.upload_text", method: "POST", path: "/knowledge/text",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Ingestion, error) {
			return c.Knowledge.UploadText(ctx, connic.TextUpload{EnvironmentID: "e1", Content: "hello", Namespace: "docs", StableID: true})
		}),
		query: url.Values{"environment_id": {"e1"}},
		body:  `{"content": "hello", "namespace": "docs", "entry_id": "` + stableText + `"}`, answer: `{"job_id": "j9"}`,
		want: &connic.Ingestion{EntryID: stableText, JobID: "j9"},
	},
	{
		name: "upload file", op: "knowledge.upload_file", method: "POST", path: "/knowledge/files",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Ingestion, error) {
			return c.Knowledge.UploadFile(ctx, connic.FileUpload{
				EnvironmentID: "e1", File: connic.FSFile(files, "docs/Übersicht \"7\".MD"), Namespace: "docs.api", EntryID: "f1",
				Metadata: map[string]any{"team": "a"},
			})
		}),
		query: url.Values{"environment_id": {"e1"}},
		form: form([]part{
			{name: "namespace", content: "docs.api"},
			{name: "entry_id", content: "f1"},
			{name: "metadata", content: `{"team":"a"}`},
			{name: "file", file: "Übersicht \"7\".MD", mime: "text/markdown", content: "# Title\n"},
		}),
		answer: `{"entry_id": "f1", "job_id": "j1", "status": "queued"}`,
		want:   &connic.Ingestion{EntryID: "f1", JobID: "j1", Status: connic.JobQueued},
	},
	{
		name: "upload file with nothing but the file", op: "knowledge.upload_file", method: "POST", path: "/knowledge/files",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Ingestion, error) {
			return c.Knowledge.UploadFile(ctx, connic.FileUpload{
				EnvironmentID: "e1", File: connic.ReaderAtFile("a.PDF", strings.NewReader("%PDF-1.7 and more"), 8),
			})
		}),
		query:  url.Values{"environment_id": {"e1"}},
		form:   form([]part{{name: "file", file: "a.PDF", mime: "application/pdf", content: "%PDF-1.7"}}),
		answer: `{"entry_id": "e2", "job_id": "j2"}`,
		want:   &connic.Ingestion{EntryID: "e2", JobID: "j2"},
	},
	{
		name: "upload file with a stable id", op: "knowledge.upload_file", method: "POST", path: "/knowledge/files",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Ingestion, error) {
			return c.Knowledge.UploadFile(ctx, connic.FileUpload{
				EnvironmentID: "e1", Namespace: "docs", StableID: true,
				// A reader without a size.
				File: connic.FileSource{Name: "a.txt", Open: func() (io.Reader, error) { return io.MultiReader(strings.NewReader("hello")), nil }},
			})
		}),
		query: url.Values{"environment_id": {"e1"}},
		form: form([]part{
			{name: "namespace", content: "docs"},
			{name: "entry_id", content: stableFile},
			{name: "file", file: "a.txt", mime: "text/plain", content: "hello"},
		}),
		answer: `{"status": "queued"}`,
		want:   &connic.Ingestion{EntryID: stableFile, Status: connic.JobQueued},
	},
	{
		name: "list", op: "knowledge.list", method: "GET", path: "/knowledge",
		call: items(func(ctx context.Context, c *connic.Client) (*connic.Page[connic.Entry], error) {
			return c.Knowledge.List(ctx, &connic.EntryListParams{EnvironmentID: "e1", Namespace: "docs.api", Limit: 10, Offset: 20})
		}),
		query: url.Values{"environment_id": {"e1"}, "namespace": {"docs.api"}, "limit": {"10"}, "offset": {"20"}},
		answer: `{"entries": [{"entry_id": "a", "namespace": "docs.api", "source": "a.pdf", "chunk_count": 7, "metadata": {"k": [1, 2]},
			"created_at": "2026-11-23T00:00:00Z", "updated_at": "2026-11-23 00:00:00", "size": 12}, {"id": "b", "metadata": null}], "total": "2"}`,
		want: []*connic.Entry{
			{EntryID: "a", Namespace: "docs.api", Source: "a.pdf", ChunkCount: 7, Metadata: json.RawMessage(`{"k": [1, 2]}`), CreatedAt: day, UpdatedAt: day},
			{EntryID: "b"},
		},
	},
	{
		name: "list as a bare array", op: "knowledge.list", method: "GET", path: "/knowledge",
		call: items(func(ctx context.Context, c *connic.Client) (*connic.Page[connic.Entry], error) {
			return c.Knowledge.List(ctx, &connic.EntryListParams{EnvironmentID: "e1"})
		}),
		query: url.Values{"environment_id": {"e1"}}, answer: `[{"entry_id": 5, "chunk_count": "3"}]`,
		want: []*connic.Entry{{EntryID: "5", ChunkCount: 3}},
	},
	{
		name: "list under another name", op: "knowledge.list", method: "GET", path: "/knowledge",
		call: items(func(ctx context.Context, c *connic.Client) (*connic.Page[connic.Entry], error) {
			return c.Knowledge.List(ctx, &connic.EntryListParams{EnvironmentID: "e1"})
		}),
		query: url.Values{"environment_id": {"e1"}}, answer: `{"data": [{"entry_id": "a"}], "next_cursor": null}`,
		want: []*connic.Entry{{EntryID: "a"}},
	},
	{
		name: "get", op: "knowledge.get", method: "GET", path: "/knowledge/a%20%C3%BC%3F",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Entry, error) {
			return c.Knowledge.Get(ctx, "a ü?", &connic.EntryParams{EnvironmentID: "e1", Namespace: "docs"})
		}),
		query:  url.Values{"environment_id": {"e1"}, "namespace": {"docs"}},
		answer: `{"id": "a ü?", "namespace": "docs", "content": "the text", "source": {"type": "api"}, "chunk_count": 2.0, "created_at": 1795392000}`,
		want: &connic.Entry{
			EntryID: "a ü?", Namespace: "docs", Content: "the text", Source: `{"type": "api"}`, ChunkCount: 2, CreatedAt: day,
		},
	},
	{
		name: "delete", op: "knowledge.delete", method: "DELETE", path: "/knowledge/a",
		call: call0(func(ctx context.Context, c *connic.Client) error {
			return c.Knowledge.Delete(ctx, "a", &connic.EntryParams{EnvironmentID: "e1", Namespace: "docs"})
		}),
		query: url.Values{"environment_id": {"e1"}, "namespace": {"docs"}}, status: 204,
	},
	{
		name: "delete namespace", op: "knowledge.delete_namespace", method: "DELETE", path: "/knowledge",
		call: call0(func(ctx context.Context, c *connic.Client) error {
			return c.Knowledge.DeleteNamespace(ctx, "docs.api", &connic.KnowledgeParams{EnvironmentID: "e1"})
		}),
		query: url.Values{"environment_id": {"e1"}, "namespace": {"docs.api"}}, answer: `{"deleted": 7}`,
	},
	{
		name: "query", op: "knowledge.query", method: "POST", path: "/knowledge/query",
		call: items(func(ctx context.Context, c *connic.Client) (*connic.Page[connic.Match], error) {
			return c.Knowledge.Query(ctx, connic.KnowledgeQuery{
				EnvironmentID: "e1", Query: "how to log in", Namespace: "docs", MinScore: 0.25, MaxResults: 20,
				Filter: connic.Where("team").Equals("a").And(connic.Where("year").AtLeast(2024)),
			})
		}),
		query: url.Values{"environment_id": {"e1"}},
		body: `{"query": "how to log in", "namespace": "docs", "min_score": 0.25, "max_results": 20,
			"metadata_filter": {"$and": [{"team": {"$eq": "a"}}, {"year": {"$gte": 2024}}]}}`,
		answer: `{"results": [{"content": "text", "score": 0.87, "entry_id": "a", "namespace": "docs", "metadata": {"team": "a"}},
			{"content": "more", "score": "0.5", "entry_id": 7}]}`,
		want: []*connic.Match{
			{Content: "text", Score: 0.87, EntryID: "a", Namespace: "docs", Metadata: json.RawMessage(`{"team": "a"}`)},
			{Content: "more", Score: 0.5, EntryID: "7"},
		},
	},
	{
		name: "query with nothing but the query", op: "knowledge.query", method: "POST", path: "/knowledge/query",
		call: items(func(ctx context.Context, c *connic.Client) (*connic.Page[connic.Match], error) {
			return c.Knowledge.Query(ctx, connic.KnowledgeQuery{EnvironmentID: "e1", Query: "x"})
		}),
		query: url.Values{"environment_id": {"e1"}}, body: `{"query": "x"}`, answer: `[]`, want: []*connic.Match{},
	},
	{
		name: "query for every score", op: "knowledge.query", method: "POST", path: "/knowledge/query",
		call: items(func(ctx context.Context, c *connic.Client) (*connic.Page[connic.Match], error) {
			return c.Knowledge.Query(ctx, connic.KnowledgeQuery{
				EnvironmentID: "e1", Query: "x", AnyScore: true, Filter: connic.RawFilter(` {"$text": {"$search": "y"}} `),
			})
		}),
		query: url.Values{"environment_id": {"e1"}},
		body:  `{"query": "x", "min_score": 0, "metadata_filter": {"$text": {"$search": "y"}}}`, answer: `{"items": null}`, want: []*connic.Match{},
	},
	{
		name: "namespaces", op: "knowledge.namespaces", method: "GET", path: "/knowledge/namespaces",
		call: items(func(ctx context.Context, c *connic.Client) (*connic.Page[connic.Namespace], error) {
			return c.Knowledge.Namespaces(ctx, &connic.NamespaceListParams{EnvironmentID: "e1", Parent: "docs", Depth: connic.AllLevels})
		}),
		query:  url.Values{"environment_id": {"e1"}, "parent": {"docs"}, "depth": {"0"}},
		answer: `{"namespaces": [{"name": "docs.api", "entry_count": 1, "total_entry_count": 3, "has_children": true}, {"namespace": "docs.ui", "has_children": "false"}]}`,
		want:   []*connic.Namespace{{Name: "docs.api", EntryCount: 1, TotalEntryCount: 3, HasChildren: true}, {Name: "docs.ui"}},
	},
	{
		name: "namespaces two levels deep", op: "knowledge.namespaces", method: "GET", path: "/knowledge/namespaces",
		call: items(func(ctx context.Context, c *connic.Client) (*connic.Page[connic.Namespace], error) {
			return c.Knowledge.Namespaces(ctx, &connic.NamespaceListParams{EnvironmentID: "e1", Depth: 2})
		}),
		query: url.Values{"environment_id": {"e1"}, "depth": {"2"}}, answer: `[]`, want: []*connic.Namespace{},
	},
	{
		name: "jobs", op: "knowledge.jobs_list", method: "GET", path: "/knowledge/jobs",
		call: items(func(ctx context.Context, c *connic.Client) (*connic.Page[connic.Job], error) {
			return c.Knowledge.Jobs(ctx, &connic.JobListParams{EnvironmentID: "e1", Status: connic.JobRetrying, Limit: 5, Offset: 10})
		}),
		query:  url.Values{"environment_id": {"e1"}, "status": {"retrying"}, "limit": {"5"}, "offset": {"10"}},
		answer: `{"jobs": [{"job_id": "j1", "status": "retrying", "entry_id": "a", "namespace": null, "error": "busy", "chunk_count": null}]}`,
		want:   []*connic.Job{{ID: "j1", Status: connic.JobRetrying, EntryID: "a", Error: "busy"}},
	},
	{
		name: "get job", op: "knowledge.jobs_get", method: "GET", path: "/knowledge/jobs/j1",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Job, error) {
			return c.Knowledge.GetJob(ctx, "j1", &connic.KnowledgeParams{EnvironmentID: "e1"})
		}),
		query: url.Values{"environment_id": {"e1"}},
		answer: `{"id": "j1", "status": "completed", "entry_id": "a", "namespace": "docs", "chunk_count": "4",
			"created_at": "2026-11-23T00:00:00", "updated_at": "2026-11-23T01:00:00+01:00"}`,
		want: &connic.Job{
			ID: "j1", Status: connic.JobCompleted, EntryID: "a", Namespace: "docs", ChunkCount: 4, CreatedAt: day, UpdatedAt: day,
		},
	},
}

// The ids of the text "hello" and of the file a.txt with that content, both in
// the namespace docs. They must be the same in every version and process.
const (
	stableText = "a0be08f2fbc4df4f5d78cac994eb1dcb29f8e75d85c844d9dcd8e86e2f2b6908"
	stableFile = "486cd28a65c779962b48116d9526574d6d76a379b2f0bae6f356e40f947f1001"
)

var files = fstest.MapFS{"docs/Übersicht \"7\".MD": {Data: []byte("# Title\n")}}

// part is a part of a multipart form.
type part struct{ name, file, mime, content string }

// form checks that a body is a multipart form with just these parts.
func form(want []part) func(*testing.T, string, []byte) {
	return func(t *testing.T, contentType string, body []byte) {
		t.Helper()
		media, params, err := mime.ParseMediaType(contentType)
		require.NoError(t, err)
		assert.Equal(t, "multipart/form-data", media)
		var got []part
		for reader := multipart.NewReader(bytes.NewReader(body), params["boundary"]); ; {
			p, err := reader.NextPart()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			content, err := io.ReadAll(p)
			require.NoError(t, err)
			got = append(got, part{p.FormName(), p.FileName(), p.Header.Get("Content-Type"), string(content)})
		}
		assert.Equal(t, want, got)
	}
}
