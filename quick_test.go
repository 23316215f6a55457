package connic

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unsafe"
)

// slowRun decodes a run without the quick way.
func slowRun(body []byte) (*Run, error) {
	w := new(runWire)
	if err := unmarshal(body, w); err != nil {
		return nil, err
	}
	return w.run(), nil
}

const usualRun = `{"id":"r1","agent_name":"support","status":"completed","input":"hi","output":"hello","error":null,` +
	`"run_context":{"user":[1,2]},"environment_id":"e1","deployment_id":null,"created_at":"2026-11-23T10:00:00.123456",` +
	`"started_at":"2026-11-23T10:00:00Z","ended_at":null,"duration_ms":12.5,"token_usage":{"input":1,"output":2,"total":3},` +
	`"cost":"0.0123","currency":"EUR","brand_new":{"a":[{"b":null}]},"traces":[{"span_id":"s1","parent_span_id":null,` +
	`"span_order":1,"name":"n","type":"tool","status":"ok","start_time":"2026-11-23T10:00:00","duration_ms":1,` +
	`"metadata_json":"{\"a\": \"b\\n\"}","more":1},{}]}`

func TestQuickRunTakesTheUsualForm(t *testing.T) {
	t.Parallel()
	for _, body := range []string{usualRun, `{"run_id":"r1"}`, `{}`, ` { "id" : "r1" , "status":"odd" } `, `{"id":"r1","cost":-1.50,"token_usage":null,"traces":[]}`} {
		var got Run
		if !quickRun([]byte(body), &got, &got) {
			t.Errorf("%s is left to the other decoder", body)
		}
		want, err := slowRun([]byte(body))
		if err != nil || !reflect.DeepEqual(&got, want) {
			t.Errorf("%s: %+v, want %+v (%v)", body, got, want, err)
		}
	}
	page := "[" + usualRun + "," + usualRun + "]"
	if runs, ok := quickRuns([]byte(page)); !ok || len(runs) != 2 || runs[1].Traces[0].Metadata != `{"a": "b\n"}` {
		t.Errorf("a page of usual runs: %v, %v", runs, ok)
	}
}

// TestQuickRunsShareOnlyEqualTexts decodes runs that have some texts in common
// with the run before.
func TestQuickRunsShareOnlyEqualTexts(t *testing.T) {
	t.Parallel()
	bodies := []string{
		`{"id":"r1","agent_name":"support","currency":"EUR","environment_id":"e1","deployment_id":"d1","parent_run_id":"p1","connector_id":"c1"}`,
		`{"id":"r2","agent_name":"support","currency":"EUR","environment_id":"e1","deployment_id":"d1","parent_run_id":"p1","connector_id":"c1"}`,
		`{"id":"r3","agent_name":"support2","currency":"","environment_id":null,"deployment_id":"D1","parent_run_id":"p"}`,
		`{"id":"r4","agent_name":"support","currency":"EUR","agent_name":"other","environment_id":"e1","environment_id":null}`,
	}
	runs, ok := quickRuns([]byte("[" + strings.Join(bodies, ",") + "]"))
	if !ok || len(runs) != len(bodies) {
		t.Fatalf("%d runs, %v", len(runs), ok)
	}
	for i, body := range bodies {
		want, err := slowRun([]byte(body))
		if err != nil || !reflect.DeepEqual(runs[i], want) {
			t.Errorf("%s: %+v, want %+v (%v)", body, runs[i], want, err)
		}
	}
	first := unsafe.StringData(runs[0].EnvironmentID)
	if unsafe.StringData(runs[1].EnvironmentID) != first {
		t.Error("equal texts are not shared")
	}
}

func TestQuickRunLeavesTheRestAlone(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		``, `[]`, `null`, `{"id":"r1"`, `{"id":"r1",}`, `{"id":"r1"}x`, `{"id" "r1"}`, `{id:"r1"}`, `{"id":"r1""status":"x"}`,
		`{"id":"ü"}`, `{"id":"a\"b"}`, "{\"id\":\"a\tb\"}", `{"id":5}`, `{"\u0069d":"r1"}`, `{"ID":"r1"}`, `{"output":{"a":1}}`,
		`{"duration_ms":"1"}`, `{"duration_ms":01}`, `{"duration_ms":1.}`, `{"duration_ms":+1}`, `{"duration_ms":0x1p4}`, `{"duration_ms":NaN}`, `{"duration_ms":1_0}`,
		`{"token_usage":{"input_tokens":5}}`, `{"token_usage":[]}`, `{"token_usage":{"input":1.0}}`, `{"cost":true}`, `{"cost":"abc"}`, `{"cost":1e400}`,
		`{"created_at":"soon"}`, `{"created_at":1795392000}`, `{"traces":{}}`, `{"traces":[1]}`, `{"traces":[{"span_order":"1"}]}`, `{"traces":[],"traces":[]}`,
		`{"run_context":{"a":}}`, `{"x":nul}`, `{"x":"\u12"}`, `{"traces":[{"metadata_json":"\u00fc"}]}`,
	} {
		var got Run
		if quickRun([]byte(body), &got, &got) {
			t.Errorf("%s is taken for %+v", body, got)
		}
	}
}

// FuzzQuickRun compares the quick way with the other: what it takes, the other
// takes too, for the same.
func FuzzQuickRun(f *testing.F) {
	for _, seed := range []string{
		usualRun, `{"id":null,"run_id":"x","id":"y"}`, `{"cost":0.10,"duration_ms":-0}`, `{"token_usage":{"input":1,"other":[]},"token_usage":{"output":2}}`,
		`{"traces":[{"span_id":"a"},{"metadata_json":"\\\/"}]}`, `{"created_at":"2026-11-23","status":null}`, `{"cost":null,"cost":"1"}`, `{"output":"a","output":null}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got Run
		if quickRun(body, &got, &got) {
			want, err := slowRun(body)
			if err != nil {
				t.Fatalf("%q is taken for %+v, and is none: %v", body, got, err)
			}
			if !reflect.DeepEqual(&got, want) {
				t.Fatalf("%q is taken for\n%+v, not for\n%+v", body, got, *want)
			}
		}
		var trigger TriggerResult
		if quickTrigger(body, &trigger) {
			var w triggerWire
			if err := unmarshal(body, &w); err != nil || w.RunID != trigger.RunID || w.Status != trigger.Status || w.AgentName != trigger.AgentName {
				t.Fatalf("%q is taken for %+v, not for %+v: %v", body, trigger, w, err)
			}
		}
		if quickObject(body, quickUnknown) && !json.Valid(body) {
			t.Fatalf("%q passes for JSON", body)
		}
	})
}

func TestQuickRunCutAtEveryByte(t *testing.T) {
	t.Parallel()
	for cut := range len(usualRun) {
		var got Run
		if quickRun([]byte(usualRun[:cut]), &got, &got) {
			t.Errorf("cut after %d bytes it passes", cut)
		}
		if quickRun([]byte(usualRun[:cut]+strings.Repeat(" ", 3)), &got, &got) {
			t.Errorf("cut after %d bytes and followed by blanks it passes", cut)
		}
	}
}
