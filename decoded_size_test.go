package connic_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/connic-go/connic"
)

// keys holds the names under which a response may have what an operation
// requested.
const keys = `run runs agent agents items data results entries jobs job judges judge evaluations evaluation budgets budget deployments
	deployment environments environment test_run test_runs cases traces criteria logs namespaces bridges routes events usage rows
	project session children spans detail`

// TestResponsesThatDecodeToMore answers every method with a document that decodes to more
// than it is, or that leads a decoder from one level to the next. It allocates a
// bounded multiple of what was read, in bounded time.
func TestResponsesThatDecodeToMore(t *testing.T) { //nolint:paralleltest // it measures the heap
	size := 1 << 18
	if raceDetector { // it is about the goroutines that send, not about the heap
		size >>= 5
	}
	repeated := func(item string) string {
		return strings.TrimSuffix(strings.Repeat(item+",", size/(len(item)+1)), ",")
	}
	bodies := map[string]string{
		"a list of nothing":     "[" + repeated("{}") + "]",
		"a list of lists":       "[" + repeated("[]") + "]",
		"a list of nulls":       "[" + repeated("null") + "]",
		"a list of one letter":  "[" + repeated(`{"id":"a","status":"b"}`) + "]",
		"deep lists":            strings.Repeat("[", size),
		"deep objects, cut off": strings.Repeat(`{"a":`, size/5),
	}
	for key := range strings.FieldsSeq(keys) {
		bodies["lists of nothing in "+key] = `{"` + key + `":[` + repeated("{}") + "]}"
		bodies["levels of "+key] = strings.Repeat(`{"`+key+`":`, 30) + "{}" + strings.Repeat("}", 30)
		bodies["levels of lists of "+key] = strings.Repeat(`{"`+key+`":[`, 200) + "{}" + strings.Repeat("]}", 200)
	}
	every := methods(t)
	for name, body := range bodies {
		start := time.Now()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var sent atomic.Int64 // bulk calls send from goroutines of their own
		c := must[*connic.Client](t)(connic.New("p", "cnc_0123456789", connic.WithEnvironment("e"), connic.WithoutRateLimit(),
			connic.WithRetry(connic.RetryPolicy{MaxAttempts: 1}),
			connic.WithHTTPClient(&http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				if sent.Add(1); r.Body != nil {
					_, _ = io.Copy(io.Discard, r.Body)
				}
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}, nil
			})})))
		for i, m := range every {
			if len(body) > size/2 && i%7 != len(name)%7 && !strings.Contains(m.String(), "List") {
				continue // a sample
			}
			limit := 10 * time.Millisecond
			if len(body) < size/16 { // decoded in a fraction of that; waits take all of it
				limit = time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			_ = callOf(t, m)(ctx, c)
			cancel()
		}
		runtime.ReadMemStats(&after)
		// Its buffer, its decoded form, and the part that an error retains.
		if total, most := after.TotalAlloc-before.TotalAlloc, uint64(sent.Load()+1)*uint64(12*len(body)+4<<20); total > most {
			t.Errorf("%s: %d answers of %d bytes became %d MiB, more than %d", name, sent.Load(), len(body), total>>20, most>>20)
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%s took %v", name, took)
		}
	}
}

// TestEveryTypeDecodesWhatItMay decodes documents of all kinds into every
// leniently decoded type, with encoding/json and into values that were used
// before.
func TestEveryTypeDecodesWhatItMay(t *testing.T) { //nolint:paralleltest // it measures the heap
	documents := []string{
		``, `null`, `{}`, `[]`, `""`, `0`, `true`, `"x"`, `{"id":1,"ID":2,"Id":null}`, `{"id":{"id":{"id":[]}}}`, `[{}]`, "\ufeff{}",
		strings.Repeat("[", 600) + strings.Repeat("]", 600), strings.Repeat(`{"run":`, 600) + "1" + strings.Repeat("}", 600),
		`{"id":"\ud800","status":"\u0000","created_at":"0x1p4","cost":"1e999999999","duration_ms":1e400,"traces":[null,[],{},1]}`,
		`{"traces":[` + strings.TrimSuffix(strings.Repeat("{},", 1<<18), ",") + `]}`, `{"token_usage":[],"run_context":nul`, `{"id":"a"}{"id":"b"}`,
		`{"created_at":-9223372036854775808,"started_at":1e308,"ended_at":"9999999-99-99"}`, `{"input":1,"output":[1,2],"error":{"message":"m"}}`,
	}
	unmarshaler := reflect.TypeFor[json.Unmarshaler]()
	types := 0
	for _, of := range []reflect.Type{
		reflect.TypeFor[connic.Agent](), reflect.TypeFor[connic.TriggerResult](), reflect.TypeFor[connic.Run](), reflect.TypeFor[connic.Span](),
		reflect.TypeFor[connic.TokenUsage](), reflect.TypeFor[connic.Entry](), reflect.TypeFor[connic.Match](), reflect.TypeFor[connic.Namespace](),
		reflect.TypeFor[connic.Job](), reflect.TypeFor[connic.Ingestion](), reflect.TypeFor[connic.Judge](), reflect.TypeFor[connic.Evaluation](),
		reflect.TypeFor[connic.Budget](), reflect.TypeFor[connic.UsageRow](), reflect.TypeFor[connic.AuditEntry](), reflect.TypeFor[connic.Actor](),
		reflect.TypeFor[connic.Deployment](), reflect.TypeFor[connic.Project](), reflect.TypeFor[connic.Environment](), reflect.TypeFor[connic.TestRun](),
		reflect.TypeFor[connic.TestCase](), reflect.TypeFor[connic.Decimal](), reflect.TypeFor[connic.Time](), reflect.TypeFor[connic.JournalRecord](),
		reflect.TypeFor[connic.Nullable[int]](), reflect.TypeFor[connic.DevSession](), reflect.TypeFor[connic.BridgeRoute](),
	} {
		if reflect.PointerTo(of).Implements(unmarshaler) {
			types++
		}
		v := reflect.New(of)
		for _, document := range documents {
			var before, after runtime.MemStats
			if len(document) > 1<<18 {
				runtime.ReadMemStats(&before)
			}
			err := json.Unmarshal([]byte(document), v.Interface())
			if len(document) > 1<<18 {
				runtime.ReadMemStats(&after)
				if of != reflect.TypeFor[connic.Decimal]() && after.TotalAlloc-before.TotalAlloc > 64<<20 {
					t.Errorf("%v: %d bytes became %d MiB", of, len(document), (after.TotalAlloc-before.TotalAlloc)>>20)
				}
			}
			if err == nil && !json.Valid([]byte(document)) {
				t.Errorf("%v takes %.60q", of, document)
			}
			// A decoded value can be encoded and decoded again.
			if err != nil {
				continue
			}
			encoded, err := json.Marshal(v.Interface())
			if err != nil || !json.Valid(encoded) {
				t.Errorf("%v: of %.60q becomes %.60s, %v", of, document, encoded, err)
			} else if err := json.Unmarshal(encoded, reflect.New(of).Interface()); err != nil && !bytes.Equal(encoded, []byte("{}")) {
				t.Errorf("%v: %.60s is not decoded again: %v", of, encoded, err)
			}
		}
	}
	if types < 24 {
		t.Errorf("%d types are decoded leniently", types)
	}
}
