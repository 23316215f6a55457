package doctor

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// TestRecorded reads recordings: one of the fake, and some of a service that has
// changed.
func TestRecorded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "recording.json")
	t.Run("record", func(t *testing.T) {
		srv := connictest.New(t)
		srv.Agent("echo", func(context.Context, connictest.Input) (any, error) { return "x", nil })
		client := connictest.Record(t, path, &connictest.RecordOptions{
			Client: func(opts ...connic.Option) (*connic.Client, error) { return srv.Client(opts...), nil },
		}).Client()
		_, err := client.Agents.Trigger(t.Context(), "echo", connic.TriggerRequest{Message: "hi"})
		check(t, err)
		_, err = client.Agents.List(t.Context(), nil)
		check(t, err)
		_, err = client.Environments.List(t.Context())
		check(t, err)
	})
	text, err := os.ReadFile(path)
	check(t, err)
	for name, test := range map[string]struct{ old, new, want string }{
		"as it is":      {"", "", ""},
		"another name":  {`"type": "llm"`, `"kind": "llm"`, "agents.list field-unknown kind"},
		"another type":  {`"is_default": true`, `"is_default": "yes"`, "environments.list field-type is_default"},
		"another list":  {`"items": [`, `"agents_of_project": [`, "agents.list envelope agents_of_project"},
		"another start": {`"status": "queued"`, `"status": "Queued"`, "agents.trigger enum-spelling status"},
	} {
		doctored := bytes.ReplaceAll(text, []byte(test.old), []byte(test.new))
		if test.old == "" {
			doctored = text
		} else if bytes.Equal(doctored, text) {
			t.Errorf("%s: nothing to replace in\n%s", name, text)
			continue
		}
		report, err := Recorded(doctored)
		check(t, err)
		var found []string
		for _, c := range report.Findings {
			if c.ID != "field-never-seen" {
				found = append(found, c.Operation+" "+c.ID+" "+c.Subject)
			}
		}
		if test.want == "" && len(found) > 0 || test.want != "" && !strings.Contains(strings.Join(found, "\n"), test.want) {
			t.Errorf("%s: %q, want %q", name, found, test.want)
		}
	}
	for _, wrong := range []string{"", "{}", `{"version": 9}`, "[]"} {
		if _, err := Recorded([]byte(wrong)); err == nil {
			t.Errorf("%q passes for a recording", wrong)
		}
	}
}
