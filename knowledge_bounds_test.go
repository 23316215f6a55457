package connic_test

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

func TestKnowledgeBounds(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	text := func(u connic.TextUpload) func(*connic.KnowledgeService) error {
		return func(k *connic.KnowledgeService) error {
			_, err := k.UploadText(ctx, u)
			return err
		}
	}
	namespace := func(name string) func(*connic.KnowledgeService) error {
		return text(connic.TextUpload{Content: "x", Namespace: name})
	}
	file := func(f connic.FileSource) func(*connic.KnowledgeService) error {
		return func(k *connic.KnowledgeService) error {
			_, err := k.UploadFile(ctx, connic.FileUpload{File: f})
			return err
		}
	}
	named := func(name string) func(*connic.KnowledgeService) error {
		return file(connic.ReaderAtFile(name, strings.NewReader("x"), 1))
	}
	query := func(q connic.KnowledgeQuery) func(*connic.KnowledgeService) error {
		if q.Query == "" {
			q.Query = "x"
		}
		return func(k *connic.KnowledgeService) error {
			_, err := k.Query(ctx, q)
			return err
		}
	}
	get := func(id string, p *connic.EntryParams) func(*connic.KnowledgeService) error {
		return func(k *connic.KnowledgeService) error {
			_, err := k.Get(ctx, id, p)
			return err
		}
	}
	for name, test := range map[string]struct {
		call        func(*connic.KnowledgeService) error
		arg, reason string
	}{
		"no content":            {text(connic.TextUpload{}), "content", "is empty or blank"},
		"blank content":         {text(connic.TextUpload{Content: " \n\t "}), "content", "is empty or blank"},
		"content not UTF-8":     {text(connic.TextUpload{Content: "a\xffb"}), "content", "UTF-8"},
		"metadata":              {text(connic.TextUpload{Content: "x", Metadata: map[string]any{"c": make(chan int)}}), "metadata", "cannot be encoded"},
		"11 levels":             {namespace("a.b.c.d.e.f.g.h.i.j.k"), "namespace", "more than 10 levels"},
		"slash":                 {namespace("docs/api"), "namespace", "slash"},
		"backslash":             {namespace(`docs\api`), "namespace", "slash"},
		"empty level":           {namespace("docs..api"), "namespace", "empty level"},
		"dot before":            {namespace(".docs"), "namespace", "empty level"},
		"dot behind":            {namespace("docs."), "namespace", "empty level"},
		"control character":     {namespace("docs\x00"), "namespace", "control character"},
		"C1 control character":  {namespace("docs\u0085"), "namespace", "control character"},
		"id with a slash":       {text(connic.TextUpload{Content: "x", EntryID: "secret/1"}), "entry id", "slash"},
		"id with a coded slash": {text(connic.TextUpload{Content: "x", EntryID: "secret%252F1"}), "entry id", "slash"},
		"id of dots":            {text(connic.TextUpload{Content: "x", EntryID: ".."}), "entry id", "dot segment"},
		"two ids":               {text(connic.TextUpload{Content: "x", EntryID: "e", StableID: true}), "entry id", "StableID"},
		"file type":             {named("a.exe"), "file", ".pdf .png .txt"},
		"no ending":             {named("README"), "file", "ending"},
		"ending in a directory": {named("a.txt/b"), "file", "slash"},
		"name with line break":  {named("a\r\nb.txt"), "file", "control character"},
		"name not UTF-8":        {named("\xff.txt"), "file", "UTF-8"},
		"no name":               {file(connic.FileSource{Open: func() (io.Reader, error) { return strings.NewReader("x"), nil }}), "file", "is empty"},
		"no file":               {file(connic.FileSource{Name: "a.txt"}), "file", "no Open function"},
		"empty file":            {file(connic.ReaderAtFile("a.txt", strings.NewReader("x"), 0)), "file", "is empty"},
		"file with a bad id": {func(k *connic.KnowledgeService) error {
			_, err := k.UploadFile(ctx, connic.FileUpload{EntryID: "a/b"})
			return err
		}, "entry id", "slash"},
		"empty query":            {query(connic.KnowledgeQuery{Query: " "}), "query", "is empty or blank"},
		"negative score":         {query(connic.KnowledgeQuery{MinScore: -0.1}), "min score", "between 0 and 1"},
		"score above 1":          {query(connic.KnowledgeQuery{MinScore: math.Nextafter(1, 2)}), "min score", "between 0 and 1"},
		"score NaN":              {query(connic.KnowledgeQuery{MinScore: math.NaN()}), "min score", "between 0 and 1"},
		"two scores":             {query(connic.KnowledgeQuery{MinScore: 0.5, AnyScore: true}), "min score", "AnyScore"},
		"21 results":             {query(connic.KnowledgeQuery{MaxResults: 21}), "max results", "between 1 and 20"},
		"-1 results":             {query(connic.KnowledgeQuery{MaxResults: -1}), "max results", "between 1 and 20"},
		"query in a namespace":   {query(connic.KnowledgeQuery{Namespace: "a/b"}), "namespace", "slash"},
		"get nothing":            {get("", nil), "entry id", "is empty"},
		"get with a slash":       {get("secret/1", nil), "entry id", "slash"},
		"get in a bad namespace": {get("e", &connic.EntryParams{Namespace: "a/b"}), "namespace", "slash"},
		"get the jobs":           {get("jobs", nil), "entry id", "another endpoint"},
		"delete the namespaces":  {func(k *connic.KnowledgeService) error { return k.Delete(ctx, "namespaces", nil) }, "entry id", "another endpoint"},
		"delete nothing":         {func(k *connic.KnowledgeService) error { return k.Delete(ctx, "", nil) }, "entry id", "is empty"},
		"delete everything":      {func(k *connic.KnowledgeService) error { return k.DeleteNamespace(ctx, "", nil) }, "namespace", "is empty"},
		"depth": {func(k *connic.KnowledgeService) error {
			_, err := k.Namespaces(ctx, &connic.NamespaceListParams{Depth: 11})
			return err
		}, "depth", "between 1 and 10"},
		"negative depth": {func(k *connic.KnowledgeService) error {
			_, err := k.Namespaces(ctx, &connic.NamespaceListParams{Depth: -2})
			return err
		}, "depth", "between 1 and 10"},
		"parent": {func(k *connic.KnowledgeService) error {
			_, err := k.Namespaces(ctx, &connic.NamespaceListParams{Parent: "a."})
			return err
		}, "namespace", "empty level"},
		"list": {func(k *connic.KnowledgeService) error {
			_, err := k.List(ctx, &connic.EntryListParams{Namespace: "a."})
			return err
		}, "namespace", "empty level"},
		"job": {func(k *connic.KnowledgeService) error { _, err := k.GetJob(ctx, "", nil); return err }, "job id", "is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := connictest.New()
			err := test.call(srv.Client(connic.WithEnvironment("env-test")).Knowledge)
			var argument *connic.ArgumentError
			if !errors.As(err, &argument) || argument.Arg != test.arg || !strings.Contains(argument.Reason, test.reason) {
				t.Errorf("it ended with %v, want %s refused because of %q", err, test.arg, test.reason)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("%v repeats the value", err)
			}
			if n := len(srv.Requests()); n != 0 {
				t.Errorf("%d requests were sent", n)
			}
		})
	}
	// The limits themselves are accepted.
	client := connictest.New().Client(connic.WithEnvironment("env-test"))
	for _, call := range []func(*connic.KnowledgeService) error{
		namespace("a.b.c.d.e.f.g.h.i.j"), query(connic.KnowledgeQuery{MinScore: 1, MaxResults: 20}), query(connic.KnowledgeQuery{MaxResults: 1}),
		named("A.JPEG"), named("a b (1).Md"), text(connic.TextUpload{Content: "x", EntryID: "jobs"}),
	} {
		if err := call(client.Knowledge); err != nil {
			t.Error(err)
		}
	}
}

// TestMovedEntriesMayHaveAnyName verifies that an id is refused only if it
// would address another endpoint.
func TestMovedEntriesMayHaveAnyName(t *testing.T) {
	t.Parallel()
	var asked string
	client, err := connic.New("p", "cnc_0123456789", connic.WithEnvironment("e"), connic.WithRoute("knowledge.get", "/projects/{project}/entries/{entry}"),
		connic.WithHTTPClient(&http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			asked = r.URL.Path
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"id": "jobs"}`)), Request: r}, nil
		})}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Knowledge.Get(t.Context(), "jobs", nil); err != nil || asked != "/v1/projects/p/entries/jobs" {
		t.Errorf("asked for %s: %v", asked, err)
	}
}

// TestKnowledgeNeedsAnEnvironment calls every method of the service without one.
func TestKnowledgeNeedsAnEnvironment(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	calls := map[string]func(k *connic.KnowledgeService, environment string) error{
		"UploadText": func(k *connic.KnowledgeService, e string) error {
			_, err := k.UploadText(ctx, connic.TextUpload{EnvironmentID: e, Content: "x"})
			return err
		},
		"UploadFile": func(k *connic.KnowledgeService, e string) error {
			_, err := k.UploadFile(ctx, connic.FileUpload{EnvironmentID: e, File: connic.ReaderAtFile("a.txt", strings.NewReader("x"), 1)})
			return err
		},
		"UploadAll": func(k *connic.KnowledgeService, e string) error {
			var err error
			for _, err = range k.UploadAll(ctx, keyed(connic.TextUpload{EnvironmentID: e, Content: "x"}), nil) {
			}
			return err
		},
		"List": func(k *connic.KnowledgeService, e string) error {
			_, err := k.List(ctx, &connic.EntryListParams{EnvironmentID: e})
			return err
		},
		"All": func(k *connic.KnowledgeService, e string) error {
			_, err := connic.Collect(k.All(ctx, &connic.EntryListParams{EnvironmentID: e}), 0)
			return err
		},
		"Get": func(k *connic.KnowledgeService, e string) error {
			_, err := k.Get(ctx, "e", &connic.EntryParams{EnvironmentID: e})
			return err
		},
		"Delete": func(k *connic.KnowledgeService, e string) error {
			return k.Delete(ctx, "e", &connic.EntryParams{EnvironmentID: e})
		},
		"DeleteNamespace": func(k *connic.KnowledgeService, e string) error {
			return k.DeleteNamespace(ctx, "n", &connic.KnowledgeParams{EnvironmentID: e})
		},
		"Query": func(k *connic.KnowledgeService, e string) error {
			_, err := k.Query(ctx, connic.KnowledgeQuery{EnvironmentID: e, Query: "x"})
			return err
		},
		"Namespaces": func(k *connic.KnowledgeService, e string) error {
			_, err := k.Namespaces(ctx, &connic.NamespaceListParams{EnvironmentID: e})
			return err
		},
		"Jobs": func(k *connic.KnowledgeService, e string) error {
			_, err := k.Jobs(ctx, &connic.JobListParams{EnvironmentID: e})
			return err
		},
		"AllJobs": func(k *connic.KnowledgeService, e string) error {
			_, err := connic.Collect(k.AllJobs(ctx, &connic.JobListParams{EnvironmentID: e}), 0)
			return err
		},
		"GetJob": func(k *connic.KnowledgeService, e string) error {
			_, err := k.GetJob(ctx, "j", &connic.KnowledgeParams{EnvironmentID: e})
			return err
		},
		"WaitJobs": func(k *connic.KnowledgeService, e string) error {
			_, err := connic.Collect(k.WaitJobs(ctx, []string{"j"}, &connic.KnowledgeParams{EnvironmentID: e}), 0)
			return err
		},
		"WaitJob": func(k *connic.KnowledgeService, e string) error {
			_, err := k.WaitJob(ctx, "j", &connic.KnowledgeParams{EnvironmentID: e})
			return err
		},
	}
	synctest.Test(t, func(t *testing.T) {
		service := reflect.TypeFor[*connic.KnowledgeService]()
		for i := range service.NumMethod() {
			name := service.Method(i).Name
			call := calls[name]
			if call == nil {
				t.Errorf("%s is not tested", name)
				continue
			}
			srv := connictest.New()
			srv.RateLimit(0, time.Minute, connictest.FixedWindow)
			var argument *connic.ArgumentError
			if err := call(srv.Client().Knowledge, ""); !errors.As(err, &argument) || argument.Arg != "environment id" {
				t.Errorf("%s without an environment ends with %v", name, err)
			}
			if n := len(srv.Requests()); n != 0 {
				t.Errorf("%s without an environment sends %d requests", name, n)
			}
			for _, test := range []struct {
				client, call, want string
			}{{"env-a", "", "env-a"}, {"env-a", "env-b", "env-b"}} {
				err := call(srv.Client(connic.WithEnvironment(test.client)).Knowledge, test.call)
				sent := srv.Requests()
				if err == nil || len(sent) == 0 || sent[len(sent)-1].Query != "environment_id="+test.want && !strings.HasPrefix(sent[len(sent)-1].Query, "environment_id="+test.want+"&") {
					t.Errorf("%s in %q of %q asks for %+v, %v", name, test.call, test.client, sent, err)
				}
			}
		}
	})
}
