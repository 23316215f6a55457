package connictest_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/internal/leaktest"
)

// reports is a TB that collects what is reported.
type reports struct {
	mu       sync.Mutex
	cleanups []func()
	errors   []string
}

func (*reports) Helper()            {}
func (r *reports) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *reports) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
}

func (r *reports) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func (r *reports) end() string {
	for _, f := range r.cleanups {
		f()
	}
	return strings.Join(r.errors, "\n")
}

// session records a session with the fake, and returns the file.
func session(t *testing.T, o connictest.RecordOptions, f func(ctx context.Context, c *connic.Client) error) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "recording.json")
	var told string
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		srv.Agent("support", func(_ context.Context, in connictest.Input) (any, error) {
			time.Sleep(20 * time.Second)
			return map[string]any{"answer": "to " + in.Message, "mail": "jane@corp.example", "n": 5}, nil
		})
		o.Client = func(opts ...connic.Option) (*connic.Client, error) { return srv.Client(opts...), nil }
		r := new(reports)
		if err := f(t.Context(), connictest.Record(r, path, &o).Client()); err != nil {
			t.Error(err)
		}
		told = r.end()
	})
	if told != "" {
		t.Fatal(told)
	}
	return path
}

func replay(t *testing.T, path string, o *connictest.RecordOptions, f func(ctx context.Context, c *connic.Client) error) string {
	t.Helper()
	var told string
	synctest.Test(t, func(t *testing.T) {
		r := new(reports)
		if err := f(t.Context(), connictest.Replay(r, path, o).Client()); err != nil {
			r.Errorf("%v", err)
		}
		told = r.end()
	})
	return told
}

func TestRecordAndReplay(t *testing.T) {
	t.Parallel()
	work := func(ctx context.Context, c *connic.Client) error {
		run, err := c.Agents.TriggerAndWait(ctx, "support", connic.TriggerRequest{Message: "Where is the order of jane@corp.example?"})
		if err != nil {
			return err
		}
		if run.Input != "Where is the order of jane@corp.example?" {
			return fmt.Errorf("input %q", run.Input)
		}
		again, err := c.Agents.TriggerAndWait(ctx, "support", connic.TriggerRequest{Message: "About " + run.ID + ": " + run.Output})
		if err != nil {
			return err
		}
		if again.ID == run.ID {
			return fmt.Errorf("equal runs")
		}
		var out struct{ N int }
		if err := again.DecodeOutput(&out); err != nil || out.N != 5 {
			return fmt.Errorf("%v: %w", out, err)
		}
		ingestion, err := c.Knowledge.UploadText(ctx, connic.TextUpload{EnvironmentID: "env-production", Content: "A document", EntryID: "doc-7", Namespace: "handbook"})
		if err != nil {
			return err
		}
		if _, err := c.Knowledge.WaitJob(ctx, ingestion.JobID, &connic.KnowledgeParams{EnvironmentID: "env-production"}); err != nil {
			return err
		}
		entry, err := c.Knowledge.Get(ctx, "doc-7", &connic.EntryParams{EnvironmentID: "env-production", Namespace: "handbook"})
		_ = entry
		return err
	}
	path := session(t, connictest.RecordOptions{}, work)
	if told := replay(t, path, nil, work); told != "" {
		t.Error(told)
	}
}

// TestReplayInAnyOrder replays what many goroutines do, in another order.
func TestReplayInAnyOrder(t *testing.T) {
	t.Parallel()
	work := func(order []int) func(ctx context.Context, c *connic.Client) error {
		return func(ctx context.Context, c *connic.Client) error {
			var wg sync.WaitGroup
			errs := make([]error, len(order))
			for place, i := range order {
				time.Sleep(time.Duration(place%3) * time.Second)
				wg.Go(func() {
					message := fmt.Sprint("question ", i)
					run, err := c.Agents.TriggerAndWait(ctx, "support", connic.TriggerRequest{Message: message, Payload: map[string]any{"n": i}})
					if err == nil && run.Input != message {
						err = fmt.Errorf("%s: the run has the input %q", message, run.Input)
					}
					errs[i] = err
				})
			}
			wg.Wait()
			return errors.Join(errs...)
		}
	}
	path := session(t, connictest.RecordOptions{}, work([]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}))
	for i := range 50 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			if told := replay(t, path, nil, work(rand.New(rand.NewPCG(1, uint64(i))).Perm(12))); told != "" {
				t.Error(told)
			}
		})
	}
}

// service is a transport with one response.
type service func(q *http.Request) (*http.Response, error)

func (s service) RoundTrip(q *http.Request) (*http.Response, error) { return s(q) }

func respondWith(status int, header http.Header, body string) service {
	return func(q *http.Request) (*http.Response, error) {
		if q.Body != nil {
			_, _ = io.Copy(io.Discard, q.Body)
			_ = q.Body.Close()
		}
		return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: q}, nil
	}
}

// TestRecordingsKeepNoSecret hides a secret in every place of an exchange. None
// is in the file, or there is no file.
func TestRecordingsKeepNoSecret(t *testing.T) {
	t.Parallel()
	const secret = "Zq7rT2mX9pLw4kVb8nYd"
	const id = "3f2b9c6e-1111-4a4a-8b8b-0123456789ab"
	spellings := map[string]func(string) string{
		"plain": func(s string) string { return s }, "upper case": strings.ToUpper, "query": url.QueryEscape,
		"escaped": func(s string) string { return escapeEach(s, `\u%04x`) }, "percent": func(s string) string { return escapeEach(s, "%%%02X") },
		"base64": func(s string) string { return base64.StdEncoding.EncodeToString([]byte("x:" + s)) },
		"hex":    func(s string) string { return hex.EncodeToString([]byte(s)) },
	}
	places := map[string]func(s string) (service, string){
		"detail":   func(s string) (service, string) { return respondWith(403, nil, `{"detail": "no `+s+`"}`), "" },
		"HTML":     func(s string) (service, string) { return respondWith(502, nil, `<title>`+s+`</title>`), "" },
		"a status": func(s string) (service, string) { return respondWith(200, nil, `{"id": "r", "status": "`+s+`"}`), "" },
		"an agent": func(s string) (service, string) {
			return respondWith(200, nil, `{"id": "r", "agent_name": "`+s+`"}`), ""
		},
		"a name": func(s string) (service, string) { return respondWith(200, nil, `{"id": "r", "x": {"`+s+`": 1}}`), "" },
		"an output": func(s string) (service, string) {
			return respondWith(200, nil, `{"id": "r", "output": "it is `+s+`."}`), ""
		},
		"JSON in text": func(s string) (service, string) {
			return respondWith(200, nil, `{"id": "r", "output": "{\"a\": [\"`+s+`\"]}"}`), ""
		},
		"a name in text": func(s string) (service, string) {
			return respondWith(200, nil, `{"id": "r", "output": "{\"`+s+`\": 1}"}`), ""
		},
		"a header": func(s string) (service, string) {
			return respondWith(404, http.Header{"Location": {"/x/" + s}, "X-Request-Id": {s}, "X-Other": {s}}, `{}`), ""
		},
		"a content type": func(s string) (service, string) {
			return respondWith(200, http.Header{"Content-Type": {"text/" + s}}, `{"id": "r"}`), ""
		},
		"a message": func(s string) (service, string) { return respondWith(200, nil, `{"run_id": "r"}`), "it is " + s },
		"a token": func(s string) (service, string) {
			return respondWith(200, nil, `{"run_id": "r", "token": "`+s+`"}`), ""
		},
	}
	search := leaktest.For(secret)
	written, refused := 0, 0
	for _, mode := range []connictest.TextMode{connictest.ReplaceTexts, connictest.ShortenTexts, connictest.KeepTexts} {
		for place, at := range places {
			for spelling, spell := range spellings {
				for value, found := range map[string]func(string) string{
					"cnc_" + secret: search.In,
					id: func(text string) string {
						for _, form := range []string{id, spell(id)} {
							if strings.Contains(strings.ToLower(text), strings.ToLower(form)) {
								return form
							}
						}
						return ""
					},
				} {
					path := filepath.Join(t.TempDir(), "recording.json")
					r := new(reports)
					next, message := at(spell(value))
					rec := connictest.Record(r, path, &connictest.RecordOptions{Texts: mode, Client: func(opts ...connic.Option) (*connic.Client, error) {
						return connic.New("the-project-id", connic.APIKey("cnc_"+secret), append([]connic.Option{
							connic.WithHTTPClient(&http.Client{Transport: next}), connic.WithRetry(connic.RetryPolicy{MaxAttempts: 1}),
						}, opts...)...)
					}})
					client := rec.Client()
					_, _ = client.Runs.Get(t.Context(), id)
					if message != "" {
						_, _ = client.Agents.Trigger(t.Context(), "support", connic.TriggerRequest{Message: message})
					}
					told := r.end()
					text, err := os.ReadFile(path)
					if leak := found(told + string(text)); leak != "" {
						t.Errorf("%v, %s, %s: found %q", mode, place, spelling, leak)
					}
					switch {
					case err == nil && told == "":
						written++
					case err != nil && strings.Contains(told, "is not written"):
						refused++
					default:
						t.Errorf("%s, %s: %v, %s", place, spelling, err, told)
					}
				}
			}
		}
	}
	t.Logf("%d written, %d refused", written, refused)
	if written < refused {
		t.Errorf("%d recordings were written, %d refused", written, refused)
	}
}

func escapeEach(s, format string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, format, c)
	}
	return b.String()
}
