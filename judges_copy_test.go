package connic_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// TestAsCreateOfAManualJudge creates a judge again that has a sample rate in the
// service although it is manual, and leaves the first as it was.
func TestAsCreateOfAManualJudge(t *testing.T) {
	t.Parallel()
	var judge connic.Judge
	if err := json.Unmarshal([]byte(`{"id": "j", "name": "fair", "agent_name": "support", "criteria": [{"name": "c", "max_score": 5}],
		"trigger_mode": "manual", "sample_rate": 100, "filters": [{"field": "status", "operator": "equals", "value": ["a", {"b": "c"}]}],
		"score_alert": {"threshold": 1, "window": 5}}`), &judge); err != nil {
		t.Fatal(err)
	}
	before, err := json.Marshal(judge)
	if err != nil {
		t.Fatal(err)
	}
	create := judge.AsCreate()
	srv := connictest.New()
	t.Cleanup(srv.Close)
	srv.Agent("support", nil)
	copied, err := srv.Client().Judges.Create(t.Context(), create)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(copied.Filters, judge.Filters) || !reflect.DeepEqual(copied.ScoreAlert, judge.ScoreAlert) {
		t.Errorf("%+v, want %+v", copied, judge)
	}
	create.Filters[0].Value, create.ScoreAlert.Window, create.Criteria[0].Name = "changed", "changed", "changed"
	if after, err := json.Marshal(judge); err != nil || string(after) != string(before) {
		t.Errorf("%s, was %s, %v", after, before, err)
	}
}
