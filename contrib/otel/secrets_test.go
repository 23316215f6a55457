package connicotel

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/leaktest"
)

// Spans, their events and metrics have no key, however and wherever the service
// repeats it: in errors, headers, runs, and the steps of runs.
func TestSecretsAreNotExported(t *testing.T) {
	t.Parallel()
	const key = connic.APIKey("cnc_CANARY-9f8e7d6c5b4a")
	search := leaktest.For(string(key))
	for form, echo := range map[string]string{
		"raw": string(key), "bare": string(key[4:]), "hexadecimal": fmt.Sprintf("%x", string(key)), "base64": base64.StdEncoding.EncodeToString([]byte("x" + key[4:])),
		"query": url.QueryEscape(strings.ReplaceAll(string(key[4:]), "-", "%2D")), "upper case": strings.ToUpper(string(key[4:])), "cut": string(key[4:16]),
	} {
		step := fmt.Sprintf(`{"span_id": %[1]q, "name": %[1]q, "type": %[1]q, "status": %[1]q, "start_time": "2026-01-01T00:00:00Z", "duration_ms": 5, "metadata_json": %[1]q}`, echo)
		body := fmt.Sprintf(`{"id": "x-1", "run_id": "x-1", "status": "failed", "agent_name": %[1]q, "error": %[1]q, "model": %[1]q, "detail": %[1]q,
			"started_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T00:00:09Z", "traces": [%[2]s, %[2]s]}`, echo, step)
		for _, status := range []int{200, 422, 503} {
			r := newRig(t)
			transport := roundTrip(func(req *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: status, Request: req, Header: http.Header{"X-Request-Id": {echo}}, Body: io.NopCloser(strings.NewReader(body))}, nil
			})
			c, err := connic.New("p", key, append(Options(WithTracerProvider(r.tracer), WithMeterProvider(r.meter)),
				connic.WithHTTPClient(&http.Client{Transport: transport}), connic.WithoutRateLimit())...)
			if err != nil {
				t.Fatal(err)
			}
			run, _ := c.Runs.Get(t.Context(), "x-1", connic.WithMaxAttempts(1))
			_, _ = c.Agents.Trigger(t.Context(), "a", connic.TriggerRequest{Message: "m"}, connic.WithMaxAttempts(1))
			if prefixed := form == "raw" || form == "hexadecimal"; run != nil && prefixed { // a run does not tell the key of its client
				ExportRun(t.Context(), r.tracer.Tracer("test"), run)
				ExportRun(t.Context(), r.tracer.Tracer("test"), run, WithTexts(20))
			}
			var told leaktest.Record
			told.Print(r.everything(t))
			for _, s := range r.spans.Ended() {
				told.Print(s.Name(), values(s.Attributes()), s.Status())
				for _, e := range s.Events() {
					told.Print(e.Name, values(e.Attributes))
				}
			}
			if where := search.In(told.String()); where != "" || len(r.spans.Ended()) < 2 {
				t.Errorf("%s, %d: %d spans: %.400s", form, status, len(r.spans.Ended()), where)
			}
		}
	}
}
