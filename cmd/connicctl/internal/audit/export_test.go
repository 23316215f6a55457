package audit

import (
	"bytes"
	"context"
	"encoding/json"
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
	"github.com/connic-go/connic/cmd/connicctl/internal/clitest"
	"github.com/connic-go/connic/connictest"
)

// records is a project whose audit log is exported.
type records struct {
	t      *testing.T
	fake   *connictest.Server
	p      *clitest.Program
	file   string
	flags  []string
	result clitest.Result // of the last command
}

// inVirtualTime runs a test with the file and its state in a folder of its own.
func inVirtualTime(t *testing.T, test func(t *testing.T, r *records), wrap ...func(http.RoundTripper) http.RoundTripper) {
	t.Helper()
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		fake := connictest.New(t)
		fake.RateLimit(0, 0, connictest.FixedWindow)
		r := &records{t: t, fake: fake, p: clitest.New(t, fake, Command), file: filepath.Join(folder, "out.jsonl")}
		for _, w := range wrap {
			r.p.Transport = w(r.p.Transport)
		}
		test(t, r)
	})
}

// change makes n changes, one a second.
func (r *records) change(n int) {
	client := r.fake.Client()
	defer client.Close()
	for i := range n {
		_, _ = client.Budgets.Create(r.t.Context(), connic.BudgetCreate{
			Name: fmt.Sprintf("budget %d", i), Kind: connic.BudgetAlert, Scope: connic.BudgetGlobal, Period: connic.BudgetMonthly,
			Amount: connic.MustDecimal("100"), Currency: connic.EUR,
		})
		<-time.After(time.Second)
	}
}

func (r *records) run(ctx context.Context, command string) int {
	r.result = r.p.RunContext(ctx, append([]string{"audit", command, "--file", r.file}, r.flags...)...)
	return r.result.Status
}

// export exports to the file, and expects an exit status.
func (r *records) export(want int) {
	r.t.Helper()
	if got := r.run(r.t.Context(), "export"); got != want {
		r.t.Fatalf("exit status %d, want %d: %s", got, want, r.result.Err)
	}
}

// follow follows, and returns a function that ends it.
func (r *records) follow() func() {
	ctx, interrupt := context.WithCancel(r.t.Context())
	ended := make(chan int, 1)
	go func() { ended <- r.run(ctx, "follow") }()
	return func() {
		r.t.Helper()
		interrupt()
		if got := <-ended; got != 130 {
			r.t.Fatalf("exit status %d: %s", got, r.result.Err)
		}
	}
}

func (r *records) lines() []string {
	r.t.Helper()
	raw, err := os.ReadFile(r.file)
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
		r.t.Errorf("got %d lines %v, want %d: %v\nsaid: %s", len(got), got, len(want), want, r.result.Err)
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(r.file), "*"))
	if len(left) != 3 { // with the state and its lock
		r.t.Errorf("files are left behind: %v", left)
	}
}

// Each export adds what is new, however it comes.
func TestExports(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, func(t *testing.T, r *records) {
		for _, n := range []int{350, 0, 1, 99, 200} {
			r.change(n)
			r.export(0)
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
		r.export(0)
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
			r.export(0)
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
			r.export(0)
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
		r.export(4)
		if raw, err := os.ReadFile(r.file); err != nil || len(raw) > 0 {
			t.Errorf("an export that is not complete has written %d bytes, %v", len(raw), err)
		}
		r.change(200)
		before := len(r.fake.Requests())
		r.export(0)
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
		r.flags = []string{"--resource-type", "budget"}
		r.export(4)
		r.flags = []string{"--resource-type", "judge"}
		r.export(0)
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
		r.export(0)
		r.change(5)
		s := &state{path: r.file + ".state"}
		if raw, err := os.ReadFile(s.path); err != nil || json.Unmarshal(raw, s) != nil {
			t.Fatal(err)
		}
		s.Open = true
		if err := s.save(); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(r.file, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(f, `{"id":"audit-00000099"}`+"\n"+`{"id":"half a li`)
		_ = f.Close()
		r.export(0)
		r.complete()
	})
}

func TestFollows(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, func(t *testing.T, r *records) {
		r.change(120)
		for round := range 3 {
			interrupt := r.follow()
			r.change(130)
			r.fake.Fault(connictest.Fault{Op: "audit_logs.list", Times: 3, Status: 502})
			r.change(20)
			<-time.After(2 * time.Minute)
			if round == 1 {
				r.change(3) // just before the end: they come next time
			}
			interrupt()
		}
		r.export(0)
		r.complete()
	})
}

func TestFollowsAnEmptyLog(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, func(t *testing.T, r *records) {
		interrupt := r.follow()
		r.change(5)
		<-time.After(2 * time.Minute)
		interrupt()
		r.complete()
	})
}

// Files that do not belong together are not mixed, and two exports to one file do
// not run at once.
func TestFilesThatDoNotMatch(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, func(t *testing.T, r *records) {
		r.change(3)
		r.export(0)
		before := r.lines()
		broken := r.file + ".broken"
		if err := os.WriteFile(broken, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		for name, flags := range map[string][]string{
			"a new state":     {"--state", r.file + ".state2"},
			"other flags":     {"--action", "judges.create"},
			"another project": {"--project", "p-2"},
			"a broken state":  {"--state", broken},
			"the same file":   {"--file", broken + "2", "--state", broken + "2"},
			"a table":         {"-o", "table"},
		} {
			r.flags = flags
			if got := r.run(t.Context(), "export"); got != 2 {
				t.Errorf("%s: exit status %d: %s", name, got, r.result.Err)
			}
		}
		r.flags = nil
		interrupt := r.follow()
		<-time.After(time.Second)
		if got := r.p.Run("audit", "export", "--file", r.file); got.Status != 5 {
			t.Errorf("a second export: %+v", got)
		}
		interrupt()
		if !slices.Equal(r.lines(), before) {
			t.Errorf("the file has changed")
		}
	})
}

// An output that was moved away begins anew, with what is new.
func TestRotated(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, func(t *testing.T, r *records) {
		r.change(10)
		r.export(0)
		if err := os.Rename(r.file, r.file+".1"); err != nil {
			t.Fatal(err)
		}
		r.change(4)
		r.export(0)
		if n := len(r.lines()); n != 4 {
			t.Errorf("%d lines, want 4", n)
		}
	})
}

// An export of a time before now is resumed by one that begins a while later,
// without the entries that are too old by then.
func TestResumesRelativeTimes(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, func(t *testing.T, r *records) {
		r.change(1500)
		r.flags = []string{"--since", "24m"}
		r.fake.Fault(connictest.Fault{Op: "audit_logs.list", Nth: 13, Status: 403, Times: 1})
		r.export(4)
		<-time.After(8 * time.Minute)
		before := len(r.fake.Requests())
		r.export(0)
		if n := len(r.lines()); n < 959 || n > 961 {
			t.Errorf("%d entries of 16 minutes", n)
		}
		if n := len(r.fake.Requests()) - before; n > 3 {
			t.Errorf("going on took %d requests", n)
		}
	})
}
