package connic

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/connic-go/connic/internal/mask"
)

// thorny is a key with every kind of character that some encoding changes.
const thorny = "cnc_THORN/9f+8e=7d&6c%5b~4a.3D-2E_1F|0G"

// Decoding the body of an error must not reveal a key that is encoded in the
// body.
func TestS1KeysInErrorBodies(t *testing.T) {
	t.Parallel()
	for _, key := range []APIKey{thorny, testKey} {
		for name, spelled := range map[string]string{
			"plain": string(key), "URL": url.QueryEscape(string(key)), "hexadecimal": hex.EncodeToString([]byte(key)),
			"base64": base64.StdEncoding.EncodeToString([]byte("Bearer " + key)), "JSON escapes": escapeJSON(string(key)),
		} {
			for _, body := range []string{
				`{"detail": "bad %s"}`, `{"detail": {"message": "%s"}}`, `{"detail": [{"loc": ["%s"], "msg": "%s", "type": "%s"}]}`,
				`{"detail": {"a": {"%s": "%s"}}}`, `{"detail": {"detail": ["%s"]}}`, `{"error": "%s"}`,
			} {
				body = strings.ReplaceAll(body, "%s", spelled)
				c := newTestClient(t, func(*http.Request) (*http.Response, error) { return respond(401, body), nil })
				_, err := c.Runs.Get(t.Context(), "r1")
				for _, format := range []string{"%v", "%+v", "%#v", "%q"} {
					text := fmt.Sprintf(format, err)
					var e *Error
					errors.As(err, &e)
					text += fmt.Sprintf(format, *e) + string(e.Body)
					if strings.Contains(text, string(key[8:])) || strings.Contains(text, spelled) || strings.Contains(text, "9f+8") || strings.Contains(text, "test-key") {
						t.Errorf("%s in %s shows as %s", name, body, text)
					}
				}
			}
		}
	}
}

// Runs, jobs and similar items contain whatever the service or an agent puts
// into them.
func TestS1ErrorsThatCarryData(t *testing.T) {
	t.Parallel()
	const key = thorny
	for _, err := range []error{
		&RunError{Run: &Run{ID: key, AgentName: key, Status: key, Error: key, Output: key}},
		&JobError{Job: &Job{ID: key, EntryID: key, Status: key, Error: key}},
		&EvaluationError{Evaluation: &Evaluation{ID: key, RunID: key, Status: key, Error: key}},
		&DeploymentError{Deployment: &Deployment{ID: key, Status: key, Phase: key, Error: key}},
		&TestRunError{TestRun: &TestRun{ID: key, Status: key, Error: key}},
		&TestRunError{TestRun: &TestRun{ID: key, Cases: []TestCase{{AgentName: key, TestName: key, FailureReason: key}}}},
		&WaitError{Kind: "run", ID: key, LastStatus: key, Err: errors.New(key)},
	} {
		text := fmt.Sprintf("%v %+v %#v %q %s", err, err, err, err, err)
		if wait, ok := err.(*WaitError); ok { //nolint:errorlint // not wrapped
			text = wait.Error()
		} else if encoded, jsonErr := json.Marshal(struct{ Err any }{err}); jsonErr != nil || string(encoded) != `{"Err":`+strconv.Quote(err.Error())+`}` {
			t.Errorf("%T is encoded as %s, %v", err, encoded, jsonErr)
		}
		if strings.Contains(text, "THORN") || !strings.Contains(text, mask.KeyPrefix+"…") {
			t.Errorf("%T shows as %s", err, text)
		}
	}
}

// escapeJSON escapes every byte of s as JSON allows.
func escapeJSON(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, `\u%04x`, c)
	}
	return b.String()
}
