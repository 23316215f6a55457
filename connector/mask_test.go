package connector_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
)

// echo is a text of the service that repeats a secret, as JSON that forges a
// line of a log.
const echo = `r-%s\nlevel=ERROR msg=forged\u001b[2J`

// echoes are successes that repeat a secret where something is read.
var echoes = map[string]string{
	"several results": `{"status":"ok","result":[{"run_id":"%s","output":"a"},{"run_id":"%s","output":"b"}]}`,
	"several ids":     `{"status":"ok","dispatched_to":1,"run_ids":["%s","%s"]}`,
	"one id":          `{"status":"ok","dispatched_to":1,"run_ids":"%s"}`,
	"not finished":    `{"run_id":"%s","status":"running","output":"x"}`,
	"failed":          `{"result":{"run_id":"%s","agent_name":"%s","status":"failed","error":"%s"}}`,
	"output":          `{"result":{"run_id":"1","agent_name":"a","status":"failed","output":"%s"}}`,
	"status":          `{"result":{"run_id":"%s","agent_name":"%s","status":"%s"}}`,
	"object":          `{"result":{"run_id":{"a":"%s"},"status":"failed","error":{"a":"%s"}}}`,
	"no answer":       `{"status":"ok","detail":"%s"}`,
	"list":            `["%s"]`,
	"cut":             `{"status":"ok","run_ids":["%s","%s"],`,
	"named cut":       `{"result":{"run_id":"%s","status":"comp`,
	"not JSON":        `%s`,
	"unknown runs":    `{"dispatched_to":2,"message":"%s"}`,
}

// TestS12AnswersShowNoSecret: ids, names, statuses and errors in a success are
// texts from elsewhere.
func TestS12AnswersShowNoSecret(t *testing.T) {
	t.Parallel()
	srv := connictest.Start()
	t.Cleanup(srv.Close)
	for name, body := range echoes {
		text := strings.ReplaceAll(body, "%s", strings.ReplaceAll(echo, "%s", string(canary)+" "+hookURL))
		for _, whole := range []bool{true, false} {
			c := answering(t, text)
			if !whole {
				c = breaking(t, text)
			}
			result, err := c.Call(t.Context(), connector.Input{Message: "m"})
			if err == nil {
				t.Errorf("%s: no error", name)
			}
			if result != nil {
				result.Output, result.Raw = "", nil // as received
				search(t, printed(*result))
			}
			safe(t, err)
			dispatch, err := c.Send(t.Context(), connector.Input{Message: "m"})
			if dispatch != nil {
				if dispatch.Result != nil {
					dispatch.Result.Output, dispatch.Result.Raw = "", nil
				}
				dispatch.Raw = nil
				search(t, printed(*dispatch))
			}
			safe(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			_, err = c.SendAndWait(ctx, srv.Client(), connector.Input{Message: "m"})
			cancel()
			safe(t, err)
		}
	}
}

// breaking is a connector that answers with a body that breaks off.
func breaking(t *testing.T, body string) *connector.Connector {
	t.Helper()
	return must(connector.New(hookURL, canary, connector.WithHTTPClient(&http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(io.MultiReader(strings.NewReader(body), broken{}))}, nil
	})})))(t)
}

// safe searches everything that an error holds, and demands that it is one line.
func safe(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	show(t, err)
	var failure *connector.Error
	var mode *connector.ModeError
	var run *connic.RunError
	if errors.As(err, &failure) {
		search(t, fmt.Sprintf("%q", failure.RunIDs))
	}
	if errors.As(err, &mode) {
		search(t, fmt.Sprintf("%q", mode.RunIDs))
	}
	if errors.As(err, &run) {
		search(t, printed(*run.Run))
	}
	if strings.ContainsAny(err.Error(), "\x1b\n\r") {
		t.Errorf("%q is not one safe line", err)
	}
}

// TestS12OtherTextsShowNoSecret: what files say, and what runs say that are
// waited for.
func TestS12OtherTextsShowNoSecret(t *testing.T) {
	t.Parallel()
	c := answering(t, syncAnswer)
	_, err := c.Send(t.Context(), connector.Input{Files: []connector.File{{Name: "a.txt", MIMEType: "text/plain", Open: func() (io.Reader, error) {
		return nil, errors.New("GET " + hookURL + "&secret=" + string(canary) + ": no")
	}}}})
	if err == nil {
		t.Error("no error")
	}
	safe(t, err)
	srv := connictest.Start()
	defer srv.Close()
	srv.Agent("a", func(context.Context, connictest.Input) (any, error) {
		return nil, errors.New("tool http_call failed: " + string(canary))
	})
	run := must(srv.Client().Agents.Trigger(t.Context(), "a", connic.TriggerRequest{Message: "m"}))(t)
	_, err = answering(t, `{"dispatched_to":1,"run_ids":["`+run.RunID+`"]}`).SendAndWait(t.Context(), srv.Client(), connector.Input{Message: "m"},
		connic.WithPoll(time.Millisecond, time.Millisecond))
	var failed *connic.RunError
	if !errors.As(err, &failed) {
		t.Errorf("%v", err)
	}
	search(t, err.Error())
}

// TestS12SecretsOfAnyLength are found from 8 characters on, in each form, and at
// each bound.
func TestS12SecretsOfAnyLength(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"s3cr3t-8", "nine-c_as", "p4ss&w<rd", "sixteen.char-act"} {
		escaped := fmt.Sprintf(`\u%04x%s`, secret[0], secret[1:])
		forms := []string{secret, strings.ToUpper(secret), escaped, fmt.Sprintf("%%%02x%s", secret[0], secret[1:]), hex.EncodeToString([]byte(secret))}
		for offset := range 3 {
			forms = append(forms, base64.StdEncoding.EncodeToString([]byte(strings.Repeat("-", offset)+secret)))
		}
		for _, form := range forms {
			for _, before := range []int{0, 490, 64<<10 - 12} {
				text := strings.Repeat("x ", before/2) + form
				detail, _ := json.Marshal(map[string]string{"detail": text})
				c := must(connector.New("https://h.invalid/x", connector.Secret(secret), connector.WithHTTPClient(&http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
					return &http.Response{StatusCode: 400, Body: io.NopCloser(strings.NewReader(string(detail)))}, nil
				})})))(t)
				_, err := c.Call(t.Context(), connector.Input{Message: "m"})
				var failure *connector.Error
				if !errors.As(err, &failure) {
					t.Fatal(err)
				}
				for _, shown := range []string{err.Error(), string(failure.Body)} {
					if i := strings.Index(shown, form[1:min(len(form), 8)]); i >= 0 {
						t.Errorf("%q after %d characters shows in %q", form, before, shown[i:min(len(shown), i+40)])
					}
				}
			}
		}
	}
}

// TestTheRedactedFormIsNoSecret: a configuration that was saved redacted is
// refused when it is loaded, and the placeholder verifies nothing.
func TestTheRedactedFormIsNoSecret(t *testing.T) {
	t.Parallel()
	type config struct{ Signing connector.Secret }
	for _, secret := range []connector.Secret{"fifteen-letters", "a-secret-of-more-than-sixteen-characters"} {
		saved := must(json.Marshal(config{secret}))(t)
		var loaded config
		if err := json.Unmarshal(saved, &loaded); err == nil || loaded.Signing != "" || strings.Contains(err.Error(), string(secret[len(secret)-4:])) {
			t.Errorf("%s is loaded as %q: %v", saved, string(loaded.Signing), err)
		}
		text := must(secret.MarshalText())(t)
		if err := loaded.Signing.UnmarshalText(text); err == nil {
			t.Errorf("%s is a secret", text)
		}
		placeholder := connector.Secret(text)
		forged := connector.Sign(delivery, time.Now(), placeholder)
		if err := connector.Verify(forged, delivery, placeholder); !errors.Is(err, connector.ErrNoSecret) {
			t.Errorf("%s verifies: %v", text, err)
		}
		if err := connector.Verify(forged, delivery, placeholder, secret); !errors.Is(err, connector.ErrSignature) {
			t.Errorf("%s verifies beside the secret: %v", text, err)
		}
		if _, err := connector.New("https://h.invalid/x", placeholder); err == nil {
			t.Errorf("%s is a connector's secret", text)
		}
		if _, err := connector.New("https://h.invalid/x?secret="+string(text), ""); err == nil {
			t.Errorf("%s is a connector's secret in the URL", text)
		}
	}
	var plain config
	if err := json.Unmarshal([]byte(`{"Signing": "plain"}`), &plain); err != nil || plain.Signing != "plain" {
		t.Errorf("%q, %v", string(plain.Signing), err)
	}
}

// TestAnswersCostWhatTheyWeigh: many small elements allocate at most twenty times
// their size, most of it garbage.
func TestAnswersCostWhatTheyWeigh(t *testing.T) { //nolint:paralleltest // it measures the heap
	for name, body := range map[string]string{
		"results": `{"result":[` + strings.Repeat(`{},`, 1<<20) + `{}]}`,
		"ids":     `{"run_ids":[` + strings.Repeat(`1,`, 1<<20) + `1]}`,
		"nested":  strings.Repeat(`{"result":`, 1<<18),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := answering(t, body).Send(t.Context(), connector.Input{Message: "m"})
		runtime.ReadMemStats(&after)
		if err != nil && !errors.Is(err, connic.ErrOutcomeUnknown) {
			t.Errorf("%s: %v", name, err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > uint64(20*len(body)) {
			t.Errorf("%s: %d bytes for %d", name, used, len(body))
		}
	}
}
