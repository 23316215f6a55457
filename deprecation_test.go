package connic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	deprecatedAt = "@1688169599"
	sunsetAt     = "Sun, 30 Jun 2030 23:59:59 GMT"
)

// An operation that goes away is reported once per operation and client: to the
// observer and in the log.
func TestDeprecationIsReportedOnce(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var events []Event
	var log bytes.Buffer
	c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
		resp := respond(200, `{"id": "r1", "name": "a", "status": "completed"}`)
		if strings.Contains(r.URL.Path, "/runs/") {
			resp.Header.Set("Deprecation", deprecatedAt)
			resp.Header.Set("Sunset", sunsetAt)
		}
		return resp, nil
	}, WithObserver(func(_ context.Context, e Event) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, e)
	}), WithLogger(slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))))
	var calls sync.WaitGroup
	for range 5 {
		calls.Go(func() {
			if _, err := c.ForEnvironment("e").Runs.Get(t.Context(), "r1"); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	if _, err := c.Agents.Get(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if err := c.Runs.Cancel(t.Context(), "r1"); err != nil {
		t.Error(err)
	}
	want := Deprecation{
		time.Date(2023, 6, 30, 23, 59, 59, 0, time.UTC), time.Date(2030, 6, 30, 23, 59, 59, 0, time.UTC),
		"Deprecation: @1688169599; Sunset: Sun, 30 Jun 2030 23:59:59 GMT",
	}
	var reported []string
	for i, e := range events {
		if (e.Kind == EventDeprecated) != (e.Deprecation != nil) {
			t.Errorf("%+v", e)
		}
		if e.Kind != EventDeprecated {
			continue
		}
		reported = append(reported, e.Op)
		if *e.Deprecation != want || e.StatusCode != 200 || e.Attempt != 1 || e.Route == "" {
			t.Errorf("%+v, %+v", e, *e.Deprecation)
		}
		if e.Op == "runs.cancel" && (events[i-1].Kind != EventAttempt || events[i+1].Kind != EventDone) {
			t.Errorf("between %s and %s", events[i-1].Kind, events[i+1].Kind)
		}
	}
	if strings.Join(reported, " ") != "runs.get runs.cancel" {
		t.Errorf("reported are %v", reported)
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	var line struct {
		Level, Msg, Op string
		Deprecation    struct {
			Since, Sunset time.Time
			Text          string
		}
	}
	if err := json.Unmarshal([]byte(lines[0]), &line); err != nil || len(lines) != 2 {
		t.Fatal(err, log.String())
	}
	if line.Level != "WARN" || line.Msg != "connic: deprecated" || line.Op != "runs.get" || Deprecation(line.Deprecation) != want {
		t.Errorf("logged %+v", line)
	}
}

// Describe returns what the last response said.
func TestDeprecationInErrors(t *testing.T) {
	t.Parallel()
	for name, respondTo := range map[string]func() (*http.Response, error){
		"gone":      func() (*http.Response, error) { return respond(410, `{"detail": "gone"}`), nil },
		"not JSON":  func() (*http.Response, error) { return respond(200, `{"id": [`+"\x00"+`]}`), nil },
		"other":     func() (*http.Response, error) { return respond(200, `{"id": "r2"}`), nil },
		"truncated": func() (*http.Response, error) { return respond(503, ""), errors.New("reset") },
	} {
		for value, since := range map[string]bool{deprecatedAt: true, "true": false, "": false} {
			c := newTestClient(t, func(*http.Request) (*http.Response, error) {
				resp, err := respondTo()
				resp.Header.Set("Deprecation", value)
				resp.Header.Set("Sunset", sunsetAt)
				return resp, err
			}, WithRetry(RetryPolicy{MaxAttempts: 1}))
			_, err := c.Runs.Get(t.Context(), "r1")
			info, ok := Describe(err)
			switch d := info.Deprecation; {
			case !ok || err == nil:
				t.Errorf("%s: %v", name, err)
			case name == "truncated": // there was no response
				if d != nil {
					t.Errorf("%s: %+v", name, d)
				}
			case d == nil || d.Since.IsZero() == since || d.Sunset.Year() != 2030:
				t.Errorf("%s: %q became %+v", name, value, d)
			case !strings.Contains(slogText(info), "sunset=2030-06-30"):
				t.Errorf("%s: logged as %s", name, slogText(info))
			}
		}
	}
}

func slogText(v any) string {
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Info("m", "info", v)
	return b.String()
}

// What a hostile service says of an operation is one bounded line without the key.
func TestHostileDeprecations(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		strings.Repeat("x", 1<<16), string(testKey), strings.Repeat("a", 190) + string(testKey), "\x1b[2J\r\nlevel=ERROR", "@9223372036854775807", "\xff\u202e",
	} {
		var events []Event
		var log bytes.Buffer
		c := newTestClient(t, func(*http.Request) (*http.Response, error) {
			resp := respond(404, `{"detail": "x"}`)
			resp.Header["Deprecation"], resp.Header["Sunset"] = []string{value, value}, []string{value}
			return resp, nil
		}, WithObserver(func(_ context.Context, e Event) {
			if e.Kind == EventDeprecated {
				events = append(events, e)
			}
		}), WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		_, err := c.Runs.Get(t.Context(), "r1")
		info, _ := Describe(err)
		if info.Deprecation == nil || len(events) != 1 || *events[0].Deprecation != *info.Deprecation {
			t.Fatalf("%.20q: %v, %+v, %v", value, err, info, events)
		}
		d := info.Deprecation
		if utf8.RuneCountInString(d.Text) > 200 || !utf8.ValidString(d.Text) || strings.ContainsFunc(d.Text, func(r rune) bool { return !unicode.IsPrint(r) }) ||
			strings.Contains(d.Text+log.String(), "unit-test-key") || !d.Since.IsZero() || !d.Sunset.IsZero() {
			t.Errorf("%.20q became %+q, %v, %v; logged %s", value, d.Text, d.Since, d.Sunset, log.String())
		}
		if strings.Count(log.String(), "\n") != 1 {
			t.Errorf("%.20q is logged as %q", value, log.String())
		}
	}
}
