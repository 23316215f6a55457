package connictest_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// recordOf records what f does with a service that responds with bodies, by the
// last element of the path. It returns the file, its text and what was reported.
func recordOf(t *testing.T, o connictest.RecordOptions, bodies map[string]string, f func(ctx context.Context, c *connic.Client) error) (path, text, told string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "recording.json")
	next := service(func(q *http.Request) (*http.Response, error) {
		status, body := 200, bodies[q.URL.Path[strings.LastIndexByte(q.URL.Path, '/')+1:]]
		if body == "" {
			status, body = 404, `{"detail": "none"}`
		}
		return respondWith(status, http.Header{"Content-Type": {"application/json"}, "Location": {"/login?ticket=abc-LOCATION-xyz"}}, body)(q)
	})
	o.Client = func(opts ...connic.Option) (*connic.Client, error) {
		return connic.New("the-project-id", "cnc_Zq7rT2mX9pLw4kVb8nYd", append([]connic.Option{
			connic.WithHTTPClient(&http.Client{Transport: next}), connic.WithRetry(connic.RetryPolicy{MaxAttempts: 1}),
		}, opts...)...)
	}
	r := new(reports)
	if err := f(t.Context(), connictest.Record(r, path, &o).Client()); err != nil {
		t.Error(err)
	}
	told = r.end()
	data, _ := os.ReadFile(path)
	return path, string(data), told
}

// TestWhatRecordingsGiveAway records values of people and of the service in places
// that are not those of the API.
func TestWhatRecordingsGiveAway(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body string
		mode connictest.TextMode
		bad  []string
	}{
		"uuid as key":               {`{"id": "run-x", "by_run": {"0e3b9d6e-2222-4a4a-8b8b-0123456789ab": 1}}`, 0, []string{"0e3b9d6e"}},
		"uuid in text":              {`{"id": "run-x", "output": "see 0e3b9d6e-2222-4a4a-8b8b-0123456789ab"}`, connictest.KeepTexts, []string{"0e3b9d6e"}},
		"unicode email":             {`{"id": "run-x", "by_user": {"jörg.größe@müller.example": 1}}`, 0, []string{"jö", "größe", "müller"}},
		"unicode email text":        {`{"id": "run-x", "output": "to jörg@müller.example now"}`, connictest.KeepTexts, []string{"jörg", "jö", "müller"}},
		"odd email":                 {`{"id": "run-x", "output": "to a!b#c~d@x.example now"}`, connictest.KeepTexts, []string{"a!b", "@x.ex"}},
		"secret as a name":          {`{"id": "run-x", "password": "Correct-Horse-9", "name": "Correct-Horse-9"}`, 0, []string{"Correct-Horse"}},
		"secret as an agent":        {`{"id": "run-x", "agent_name": "Correct-Horse-9", "webhook_secret": "Correct-Horse-9"}`, 0, []string{"Correct-Horse"}},
		"id as a name":              {`{"id": "run_01HZXW5K3M9QF4B2N7T8V6C1D0", "name": "run_01HZXW5K3M9QF4B2N7T8V6C1D0", "parent": "x"}`, 0, []string{"01HZXW"}},
		"id as a parent":            {`{"id": "run-x", "trace_id": "spn_01HZXW5K3M9QF4B2N7T8V6C1D0", "parent": "spn_01HZXW5K3M9QF4B2N7T8V6C1D0"}`, 0, []string{"01HZXW"}},
		"names in an output":        {`{"id": "run-x", "output": "{\"name\": \"Jane Doe\", \"status\": \"divorced\", \"type\": \"diabetes\"}"}`, 0, []string{"Jane", "divorced", "diabetes"}},
		"names in an object output": {`{"id": "run-x", "output": {"name": "Jane Doe", "status": "divorced"}}`, 0, []string{"Jane", "divorced"}},
		"names in an input":         {`{"id": "run-x", "input": {"person": "x", "name": "Jane Doe", "status": "divorced"}}`, 0, []string{"Jane", "divorced"}},
		"ids as numbers":            {`{"id": "run-x", "run_ids": [7712345678901, 2]}`, 0, []string{"7712345678901"}},
		"camel secrets":             {`{"id": "run-x", "apiKey": "hunter2", "accessToken": "12345678", "output": "x"}`, connictest.KeepTexts, []string{"hunter2", "12345678"}},
		"number secrets":            {`{"id": "run-x", "apiKey": "87654321", "accessToken": 12345678, "output": "x"}`, 0, []string{"87654321", "12345678"}},
		"location":                  {`{"id": "run-x"}`, 0, []string{"abc-LOCATION-xyz"}},
		"user:password":             {`{"id": "run-x", "output": "see https://bob:swordfish@db.example/x"}`, connictest.KeepTexts, []string{"swordfish"}},
		"user:password 2":           {`{"id": "run-x", "dsn": "postgres://bob:swordfish@db.example/x", "output":"postgres://bob:swordfish@db.example/x"}`, connictest.KeepTexts, []string{"swordfish"}},
		"emails in markup":          {`{"id": "run-x", "output": "**bob@acme.example** and 'bob@acme.example', mail (bob@acme.example)"}`, connictest.KeepTexts, []string{"bob@", "person-2"}},
		"signed URL":                {`{"id": "run-x", "output": "see https://files.example/a?sig=abcdef now"}`, connictest.KeepTexts, []string{"abcdef"}},
		"text, then an id":          {`{"detail": "custom-id-x", "error": "custom-id-x", "id": "run-x", "run_id": "custom-id-x", "by_run": {"custom-id-x": 1}}`, 0, []string{"custom-id-x"}},
		"cookie":                    {`{"id": "run-x", "output": "Set-Cookie: session=abcdef0123456789; Path=/"}`, 0, []string{"abcdef01"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, text, told := recordOf(t, connictest.RecordOptions{Texts: test.mode}, map[string]string{"run-x": test.body}, func(ctx context.Context, c *connic.Client) error {
				_, _ = c.Runs.Get(ctx, "run-x")
				return nil
			})
			if told != "" && !strings.Contains(told, "is not written") {
				t.Error(told)
			}
			for _, bad := range test.bad {
				if strings.Contains(text, bad) {
					t.Errorf("%s leaks\n%s", bad, text)
				}
			}
		})
	}
}

// TestPayloadsAreOfPeople records a payload whose names are ones of the API, and
// keeps no fingerprint of a secret.
func TestPayloadsAreOfPeople(t *testing.T) {
	t.Parallel()
	_, text, told := recordOf(t, connictest.RecordOptions{}, map[string]string{"trigger": `{"run_id": "abcdefgh", "status": "queued"}`}, func(ctx context.Context, c *connic.Client) error {
		_, err := c.Agents.Trigger(ctx, "support", connic.TriggerRequest{Message: "x", Payload: map[string]any{"name": "Jane Doe", "status": "divorced", "password": "hunter2"}})
		return err
	})
	if told != "" || strings.Contains(text, "Jane") || strings.Contains(text, "divorced") || strings.Contains(text, "hunter2") {
		t.Errorf("%s\n%s", told, text)
	}
	if !strings.Contains(text, "support") || strings.Contains(text, `"[secret 1]": [`) {
		t.Error(text)
	}
}
