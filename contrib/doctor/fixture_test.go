package doctor

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/internal/api"
)

var update = flag.Bool("update", false, "write testdata/fixtures anew, from the fake")

// TestFixtures looks for what a user wrote in the answers that are kept, and
// replays them.
func TestFixtures(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	private := []string{canary, "77.31", "12.5", "cnc_", connictest.ProjectID, "run-0000", "judge-0000", "connictest"}
	kept := make(map[string]bool)
	look(t, LiveOptions{Keep: func(f Fixture) error {
		path, err := f.Write(dir)
		check(t, err)
		text, err := os.ReadFile(path)
		check(t, err)
		for _, part := range private {
			if bytes.Contains(text, []byte(part)) {
				t.Errorf("%s has %s in it: %s", f.Operation, part, text)
			}
		}
		kept[path] = true
		return nil
	}}, nil)
	if len(kept) != len(calls) {
		t.Errorf("%d fixtures, want %d", len(kept), len(calls))
	}
	for path := range kept {
		f, err := ReadFixture(path)
		check(t, err)
		made, err := Case(t.Context(), *f)
		if err != nil || len(made.Want) < 3 {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if *update {
			_, err := made.Write(filepath.Join("testdata", "fixtures"))
			check(t, err)
		}
	}
}

// TestCases replays the conformance cases: answers of services, and what the
// client makes of them.
func TestCases(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob(filepath.Join("testdata", "fixtures", "*.json"))
	check(t, err)
	if len(paths) < len(calls) {
		t.Errorf("there are %d cases", len(paths))
	}
	for _, path := range paths {
		f, err := ReadFixture(path)
		check(t, err)
		got, err := Replay(t.Context(), f)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		text, err := json.Marshal(got)
		check(t, err)
		var have, want any
		check(t, json.Unmarshal(text, &have))
		check(t, json.Unmarshal(f.Want, &want))
		if !holds(have, want) {
			t.Errorf("%s: the client makes %s of it, want %s", path, text, f.Want)
		}
	}
}

// holds reports whether a value is what was wanted. An object may have more
// members: those of fields that the client has learned since.
func holds(have, want any) bool {
	switch w := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		for name := range w {
			ok = ok && holds(h[name], w[name])
		}
		return ok
	case []any:
		h, ok := have.([]any)
		return ok && slices.EqualFunc(h, w, holds)
	}
	return reflect.DeepEqual(have, want)
}

func TestRedaction(t *testing.T) {
	t.Parallel()
	op := &api.Table[api.RunsGet]
	doc := mustOwn(t)
	l := &live{comparison: comparison{ours: doc}}
	body := `{"id": "8c1f2a34-0000-4abc-8def-0123456789ab", "parent_run_id": "8c1f2a34-0000-4abc-8def-0123456789ab", "status": "completed",
		"agent_name": "Zephyrine", "output": "{\"Zephyrine\": \"x@example.com\"}", "run_context": {"x@example.com": {"Zephyrine": 5}},
		"cost": "1234.5600", "duration_ms": 0, "created_at": "2025-07-08 09:10:11.123456+02:00", "started_at": "2025-07-08T09:10:11Z",
		"x@example.com": true, "traces": [{"span_id": "s1", "parent_span_id": null, "metadata_json": "{\"tool_name\": \"Zephyrine\"}"}],
		"token_usage": {"input": 123456, "output": 0}, "currency": "EUR", "shoe_size": -7.25, "notes": ["Zephyrine", ""]}`
	f := redact(op, nil, &connic.Response{StatusCode: 200, Body: []byte(body), Header: http.Header{
		"Content-Type": {"application/json; charset=utf-8"}, "X-Request-Id": {"Zephyrine"},
	}}, l.schema(op))
	want := `{"agent_name":"text","cost":"1.5555","created_at":"2026-01-02 03:04:05.000000+02:00","currency":"EUR","duration_ms":0,` +
		`"id":"00000000-0000-4000-8000-000000000001","key16":true,"notes":["text",""],"output":"{\"key1\":\"text\"}",` +
		`"parent_run_id":"00000000-0000-4000-8000-000000000001","run_context":{"key1":{"key1":1}},"shoe_size":-1.55,` +
		`"started_at":"2026-01-02T03:04:05Z","status":"completed","token_usage":{"input":1,"output":0},` +
		`"traces":[{"metadata_json":"{\"key1\":\"text\"}","parent_span_id":null,"span_id":"00000000-0000-4000-8000-000000000002"}]}`
	var have, expected any
	check(t, json.Unmarshal(f.Body, &have))
	check(t, json.Unmarshal([]byte(want), &expected))
	if !reflect.DeepEqual(have, expected) {
		t.Errorf("%s\nwant\n%s", f.Body, want)
	}
	if f.ContentType != "application/json" || !slices.Equal(f.Headers, []string{"X-Request-Id"}) {
		t.Errorf("%+v", f)
	}
}

// Names below a field that the client does not know may be a user's.
func TestRedactionOfUnknownMaps(t *testing.T) {
	t.Parallel()
	l := &live{comparison: comparison{ours: mustOwn(t)}}
	for name, test := range map[string]struct {
		op         api.Op
		body, want string
	}{
		"a map":       {api.RunsGet, `{"spend_by_customer": {"acmecorp": 5}}`, `{"spend_by_customer": {"key1": 1}}`},
		"a deep map":  {api.RunsGet, `{"extra": {"data": [{"acmecorp": {"cost": "5"}}]}}`, `{"extra": {"data": [{"key1": {"cost": "1"}}]}}`},
		"within":      {api.RunsGet, `{"token_usage": {"by_customer": {"acmecorp": 5}}}`, `{"token_usage": {"by_customer": {"key1": 1}}}`},
		"of a list":   {api.RunsList, `{"items": [{"id": "x", "tags": {"acmecorp": true}}], "facets": {"acmecorp": 3}}`, `{"items": [{"id": "00000000-0000-4000-8000-000000000001", "tags": {"key1": true}}], "facets": {"key1": 1}}`},
		"an envelope": {api.RunsList, `{"page": {"rows": [{"agent_name": "acme", "acmecorp": 5}]}}`, `{"page": {"rows": [{"agent_name": "text", "key1": 1}]}}`},
		"wrapped":     {api.RunsGet, `{"run_info": {"id": "x", "status": "completed"}}`, `{"run_info": {"id": "00000000-0000-4000-8000-000000000001", "status": "text"}}`},
		"a key":       {api.RunsGet, `{"cnc_abcdefghijklmnop": 1, "status": "cnc_abcdefghijklmnop"}`, `{"key1": 1, "status": "text"}`},
	} {
		op := &api.Table[test.op]
		f := redact(op, nil, &connic.Response{StatusCode: http.StatusOK, Body: []byte(test.body)}, l.schema(op))
		var have, want any
		check(t, json.Unmarshal(f.Body, &have))
		check(t, json.Unmarshal([]byte(test.want), &want))
		if !reflect.DeepEqual(have, want) {
			t.Errorf("%s: %s, want %s", name, f.Body, test.want)
		}
	}
}
