package connictest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// listener is a test that notes what it is told.
type listener struct {
	mu       sync.Mutex
	told     []string
	cleanups []func()
}

func (l *listener) Helper() {}

func (l *listener) Cleanup(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cleanups = append(l.cleanups, f)
}

func (l *listener) Errorf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = append(l.told, fmt.Sprintf(format, args...))
}

// Fatalf panics with its text, for this is no test whose goroutine could end.
func (l *listener) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (l *listener) end() []string {
	for _, f := range slices.Backward(l.cleanups) {
		f()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.told)
}

func TestTheTestIsTold(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		method, path, body string
		status             int
		told               string // empty: nothing is
		lenient            int    // the status after Lenient
	}{
		{"GET", "/nothing", "", 403, "GET /v1/projects/" + connictest.ProjectID + "/nothing: no operation has this method and path", 403},
		{"GET", "/runs?colour=red", "", 422, "query colour: Unknown parameter; expected one of agent_name", 200},
		{"POST", "/judges", `{"label": "x"}`, 422, "body label: Unknown key; expected one of name", 422},
		{"POST", "/agents/echo/trigger", `{"message": 5}`, 422, "body message: Input should be a valid string", 422},
		{"POST", "/agents/echo/trigger", `{`, 422, "body: The body is not a JSON object", 422},
		{"POST", "/agents/echo/trigger", "", 422, "body: Field required", 422},
		{"POST", "/runs/none/cancel", `{"reason": "x"}`, 422, "body: The operation takes no body", 404},
		{"POST", "/knowledge/query", `{"query": "x"}`, 422, "query environment_id: Field required", 422},
		// What may happen to a program without a fault of its own is not told.
		{"GET", "/runs/none", "", 404, "", 404},
		{"GET", "/runs?limit=1000", "", 422, "", 422},
		{"GET", "/runs", "", 200, "", 200},
	} {
		for _, lenient := range []bool{false, true} {
			l := new(listener)
			srv := connictest.New(l)
			srv.Agent("echo", echo)
			want := test.status
			if lenient {
				srv.Lenient()
				want = test.lenient
			}
			status, _, header := send(t, srv, test.method, test.path, string(srv.Key()), test.body)
			told := l.end()
			if status != want || !strings.HasPrefix(header.Get("X-Request-Id"), "req-") {
				t.Errorf("%s %s: status %d, want %d; %v", test.method, test.path, status, want, header)
			}
			if silent := lenient || test.told == ""; silent != (len(told) == 0) {
				t.Errorf("%s %s, lenient %v: the test is told %q", test.method, test.path, lenient, told)
			} else if !silent && (!strings.Contains(told[0], test.told) || !slices.Equal(srv.Complaints(), []string{strings.TrimPrefix(told[0], "connictest: ")})) {
				t.Errorf("%s %s: the test is told %q, and not %q", test.method, test.path, told, test.told)
			}
		}
	}
}

func TestMissingAndForeignKeys(t *testing.T) {
	t.Parallel()
	l := new(listener)
	srv := connictest.New(l)
	for _, key := range []string{"", "cnc_unknown", string(srv.Key("agents:read"))} {
		send(t, srv, "GET", "/runs", key, "")
	}
	if told := l.end(); len(told) != 1 || !strings.Contains(told[0], "the header Authorization is missing") {
		t.Errorf("the test is told %q", told)
	}
}

// TestAnotherProject is not found, as the vendor's client expects.
func TestAnotherProject(t *testing.T) {
	t.Parallel()
	srv := connictest.New(t)
	c, err := connic.New("other", srv.Key(), connic.WithBaseURL(srv.URL()), connic.WithHTTPClient(&http.Client{Transport: srv.Transport()}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Project.Get(t.Context()); err == nil || !strings.Contains(err.Error(), "404 Not Found: Project not found") {
		t.Error(err)
	}
}

func TestListeningInsideABubbleFailsAtOnce(t *testing.T) {
	t.Parallel()
	outside := connictest.New(t)
	listening := connictest.NewServer(t)
	for name, f := range map[string]func(){
		"inside a synctest bubble; make it with connictest.New": func() { connictest.NewServer(new(listener)) },
		"does not work inside a synctest bubble":                func() { connictest.Start() },
		"a fake that listens does not":                          func() { listening.Client() },
		"made outside the synctest bubble that calls it":        func() { outside.Client() },
	} {
		synctest.Test(t, func(t *testing.T) {
			defer func() {
				if p := recover(); !strings.Contains(fmt.Sprint(p), name) {
					t.Errorf("%v, want %s", p, name)
				}
			}()
			f()
		})
	}
	var inside *connictest.Server
	synctest.Test(t, func(t *testing.T) { inside = connictest.New(t) })
	r, err := http.NewRequestWithContext(t.Context(), "GET", inside.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inside.Transport().RoundTrip(r); err == nil || !strings.Contains(err.Error(), "and is called from outside") {
		t.Error(err)
	}
}

func TestAClientOfAFakeWithoutAQuotaHasNone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		srv.RateLimit(0, 0, connictest.FixedWindow)
		c := srv.Client()
		for range 500 {
			if _, err := c.Project.Get(t.Context(), connic.FailFast()); err != nil {
				t.Fatal(err)
			}
		}
		if q := srv.State().Quota; q.Limit != 0 || q.Left != 0 {
			t.Errorf("%+v", q)
		}
	})
}
