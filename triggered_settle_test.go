package connic

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Runs of two searches that are found in different scans are both returned.
func TestSettleKeepsWhatItFound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		since := start.Add(-5 * time.Minute)
		later := start.Add(-2 * time.Minute)
		_, ma := TriggerRequest{Message: "x"}.Marked()
		_, mb := TriggerRequest{Message: "x"}.Marked()
		c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
			id := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
			ta, tb := since.Format(time.RFC3339), later.Format(time.RFC3339)
			switch id {
			case "runs":
				rows := fmt.Sprintf(`{"id":"ra","agent_name":"a","status":"running","created_at":%q}`, ta)
				if time.Since(start) > time.Second {
					rows = fmt.Sprintf(`{"id":"rb","agent_name":"b","status":"running","created_at":%q},`, tb) + rows
				}
				return respond(200, `{"runs":[`+rows+`],"total":2}`), nil
			case "ra":
				return respond(200, fmt.Sprintf(`{"id":"ra","agent_name":"a","status":"running","created_at":%q,"input":"[%s] x"}`, ta, ma)), nil
			case "rb":
				return respond(200, fmt.Sprintf(`{"id":"rb","agent_name":"b","status":"running","created_at":%q,"input":"[%s] x"}`, tb, mb)), nil
			}
			return respond(404, `{}`), nil
		})
		found, err := c.Runs.SettleTriggered(t.Context(), []RunSearch{{Marker: ma, AgentName: "a", Since: since}, {Marker: mb, AgentName: "b", Since: later}})
		if err != nil || len(found) != 2 {
			t.Errorf("found are %v, %v", found, err)
		}
	})
}

// A request that is marked again has the new marker only, and its own text.
func TestMarkedAgain(t *testing.T) {
	t.Parallel()
	req, _ := TriggerRequest{Payload: map[string]int{"a": 1}}.Marked()
	again, marker := req.Marked()
	raw, _ := again.encode()
	var m map[string]any
	_ = json.Unmarshal(raw, &m)
	if m["connic_marker"] != marker {
		t.Errorf("%s: want %s", raw, marker)
	}
	r, _ := TriggerRequest{Message: "code:\n  x\n"}.Marked()
	if !strings.HasSuffix(r.Message, "x\n") {
		t.Errorf("message changed: %q", r.Message)
	}
}
