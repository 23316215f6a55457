package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/examples/apps/internal/progress"
)

// records is a project whose audit log is exported.
type records struct {
	t      *testing.T
	fake   *connictest.Server
	client *connic.Client
	conf   options
	said   strings.Builder
}

// inVirtualTime runs a test with the files out and state in a folder of its own.
func inVirtualTime(t *testing.T, test func(t *testing.T, r *records), wrap ...func(http.RoundTripper) http.RoundTripper) {
	t.Helper()
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := &records{t: t, fake: connictest.New()}
		r.fake.RateLimit(0, 0, connictest.FixedWindow)
		opts := []connic.Option{connic.WithReadOnly(), connic.WithoutRateLimit()}
		for _, w := range wrap {
			opts = append(opts, connic.WithTransport(w))
		}
		r.client = r.fake.Client(opts...)
		r.conf = options{out: filepath.Join(folder, "out.jsonl"), state: filepath.Join(folder, "state")}
		test(t, r)
		_ = r.client.Close()
		r.fake.Close()
	})
}

// change makes n changes, one a second.
func (r *records) change(n int) {
	for i := range n {
		change(r.t.Context(), r.fake, fmt.Sprintf("budget %d", i))
		<-time.After(time.Second)
	}
}

func (r *records) export(ctx context.Context) error {
	return export(ctx, r.client, r.conf, progress.New(&r.said), io.Discard)
}

func (r *records) lines() []string {
	r.t.Helper()
	raw, err := os.ReadFile(r.conf.out)
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
}

// complete checks that the output is the whole log, each entry once, oldest first.
func (r *records) complete() {
	r.t.Helper()
	var want, got []string
	for _, e := range r.fake.AuditLog() {
		want = append(want, e.ID)
	}
	for _, line := range r.lines() {
		var e struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			r.t.Fatalf("%v: %s", err, line)
		}
		got = append(got, e.ID)
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("got %d lines %v, want %d: %v\nsaid: %s", len(got), got, len(want), want, r.said.String())
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(r.conf.out), "*"))
	if len(left) != 2 {
		r.t.Errorf("files are left behind: %v", left)
	}
}

// Each export adds what is new, however it comes.
func TestExports(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, func(t *testing.T, r *records) {
		for _, n := range []int{350, 0, 1, 99, 200} {
			r.change(n)
			if err := r.export(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.complete()
		}
	})
}

// rewrite changes the answers of the service.
func rewrite(request func(*http.Request), body func([]byte) []byte) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(req *http.Request) (*http.Response, error) {
			if request != nil {
				req = req.Clone(req.Context())
				request(req)
			}
			resp, err := next.RoundTrip(req)
			if err != nil || body == nil {
				return resp, err
			}
			raw, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			raw = body(raw)
			resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
			resp.Header.Del("Content-Length")
			return resp, err
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// What this package does not know is kept as it was written.
func TestKeepsWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	extra := `"new": {"exact": 1.50, "big": 90071992547409931, "a":  "<&>",` + "\n" + `"a": 2}, "id":`
	inVirtualTime(t, func(t *testing.T, r *records) {
		r.change(3)
		if err := r.export(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, line := range r.lines() {
			if !strings.Contains(line, `"new":{"exact":1.50,"big":90071992547409931,"a":"<&>","a":2}`) {
				t.Errorf("got %s", line)
			}
		}
		r.complete()
	}, rewrite(nil, func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(`"id":"audit-`), []byte(extra+`"audit-`)) }))
}

// A service that does not filter by time costs more requests, and nothing else.
func TestTimesThatAreIgnored(t *testing.T) {
	t.Parallel()
	ignore := func(req *http.Request) {
		q := req.URL.Query()
		q.Del("from")
		q.Del("to")
		req.URL.RawQuery = q.Encode()
	}
	inVirtualTime(t, func(t *testing.T, r *records) {
		for range 3 {
			r.change(150)
			if err := r.export(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.complete()
		}
	}, rewrite(ignore, nil))
}

// Entries without an id are told apart by what they say.
func TestEntriesWithoutIDs(t *testing.T) {
	t.Parallel()
	ids := regexp.MustCompile(`"id":"audit-\d+",?`)
	inVirtualTime(t, func(t *testing.T, r *records) {
		r.change(20)
		for range 2 {
			if err := r.export(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := len(r.lines()); n != 20 {
				t.Errorf("%d entries were exported of 20", n)
			}
		}
	}, rewrite(nil, func(b []byte) []byte { return ids.ReplaceAll(b, nil) }))
}

// An export that broke off goes on where it stood, and misses nothing of what has
// come meanwhile.
func TestResumes(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, func(t *testing.T, r *records) {
		r.change(450)
		r.fake.Fault(connictest.Fault{Op: "audit_logs.list", Nth: 4, Status: 403, Times: 1})
		if err := r.export(t.Context()); !errors.Is(err, connic.ErrForbidden) {
			t.Fatalf("got %v", err)
		}
		if raw, err := os.ReadFile(r.conf.out); err != nil || len(raw) > 0 {
			t.Errorf("an export that is not complete has written %d bytes, %v", len(raw), err)
		}
		r.change(200)
		before := len(r.fake.Requests())
		if err := r.export(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.complete()
		lists := 0
		for _, request := range r.fake.Requests()[before:] {
			if request.Op == "audit_logs.list" {
				lists++
			}
		}
		if lists > 8 {
			t.Errorf("going on took %d requests", lists)
		}
	})
}

// The flags of an export that broke off are part of it.
func TestResumesOnlyTheSame(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, func(t *testing.T, r *records) {
		r.change(250)
		r.fake.Fault(connictest.Fault{Op: "audit_logs.list", Nth: 2, Status: 403})
		r.conf.params.ResourceType = "budget"
		if err := r.export(t.Context()); !errors.Is(err, connic.ErrForbidden) {
			t.Fatalf("got %v", err)
		}
		r.conf.params.ResourceType = "judge"
		if err := r.export(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := r.lines(); got[0] != "" {
			t.Errorf("got %d lines of another export", len(got))
		}
	})
}

// What a process wrote that died is written again.
func TestCrashedWhileWriting(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, func(t *testing.T, r *records) {
		r.change(30)
		if err := r.export(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.change(5)
		s, err := openState(r.conf)
		if err != nil {
			t.Fatal(err)
		}
		s.Open = true
		if err := s.save(); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(r.conf.out, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(f, `{"id":"audit-00000099"}`+"\n"+`{"id":"half a li`)
		_ = f.Close()
		if err := r.export(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.complete()
	})
}

func TestFollows(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, func(t *testing.T, r *records) {
		r.conf.follow = true
		r.change(120)
		for round := range 3 {
			ctx, interrupt := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- r.export(ctx) }()
			r.change(130)
			r.fake.Fault(connictest.Fault{Op: "audit_logs.list", Times: 3, Status: 502})
			r.change(20)
			<-time.After(2 * time.Minute)
			if round == 1 {
				r.change(3) // just before the end: they come next time
			}
			interrupt()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
		}
		r.conf.follow = false
		if err := r.export(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.complete()
	})
}

func TestFollowsAnEmptyLog(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, func(t *testing.T, r *records) {
		r.conf.follow = true
		ctx, interrupt := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.export(ctx) }()
		r.change(5)
		<-time.After(2 * time.Minute)
		interrupt()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		r.complete()
	})
}

// Files that do not belong together are not mixed.
func TestFilesThatDoNotMatch(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, func(t *testing.T, r *records) {
		r.change(3)
		if err := r.export(t.Context()); err != nil {
			t.Fatal(err)
		}
		for name, bad := range map[string]func(*options){
			"no state":    func(o *options) { o.state = "" },
			"a new state": func(o *options) { o.state += "2" },
			"other flags": func(o *options) { o.params.Action = "judges.create" },
			"a broken state": func(o *options) {
				o.state += "3"
				_ = os.WriteFile(o.state, []byte("{"), 0o600)
			},
		} {
			conf := r.conf
			bad(&conf)
			before := r.lines()
			if err := export(t.Context(), r.client, conf, nil, io.Discard); err == nil {
				t.Errorf("%s: no error", name)
			}
			if !slices.Equal(r.lines(), before) {
				t.Errorf("%s: the output has changed", name)
			}
		}
	})
}

// An output that was moved away begins anew, with what is new.
func TestRotated(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, func(t *testing.T, r *records) {
		r.change(10)
		if err := r.export(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(r.conf.out, r.conf.out+".1"); err != nil {
			t.Fatal(err)
		}
		r.change(4)
		if err := r.export(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(r.lines()); n != 4 {
			t.Errorf("%d lines, want 4", n)
		}
	})
}

func TestBounds(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, func(t *testing.T, r *records) {
		start := time.Now()
		r.change(100)
		r.conf.out, r.conf.state = "", ""
		r.conf.params.From, r.conf.params.To = start.Add(10*time.Second), start.Add(20*time.Second)
		var out strings.Builder
		if err := export(t.Context(), r.client, r.conf, nil, &out); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(out.String(), "\n"); n != 10 {
			t.Errorf("%d entries, want 10", n)
		}
	})
}
