package connictest_test

import (
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// seen is what a caller sees of an answer.
type seen struct {
	status, body, failed string
	length               int64
	header               http.Header
}

func look(t *testing.T, transport http.RoundTripper, srv *connictest.Server, method, path, body string) seen {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, srv.URL()+"/projects/"+connictest.ProjectID+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+string(srv.Key()))
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return seen{failed: "no answer"}
	}
	defer resp.Body.Close()
	s := seen{status: resp.Status, length: resp.ContentLength, header: resp.Header}
	text, err := io.ReadAll(resp.Body)
	if s.body = string(text); err != nil {
		s.failed = "broke off"
	}
	s.header.Del("Date")
	return s
}

// TestFaultsAreTheSameBothWays compares each answer in process with that over the
// listener: status, headers, length, body, and how it breaks off.
func TestFaultsAreTheSameBothWays(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]connictest.Fault{
		"none": {}, "204": {Status: 204}, "204 after": {Status: 204, After: true}, "304": {Status: 304}, "500": {Status: 500},
		"302": {Status: 302}, "200": {Status: 200}, "599": {Status: 599, RetryAfter: "3"}, "204 with HTML": {Status: 204, HTML: true},
		"HTML": {HTML: true}, "drop": {Drop: true}, "cut": {Truncate: 7}, "cut at once": {Truncate: -1}, "cut 204": {Status: 204, Truncate: 5},
		"long": {Truncate: 1 << 20}, "set": {Set: map[string]any{"status": "pondering"}}, "array": {Envelope: "-"},
		"429": {Status: 429, RetryAfter: "1"},
	} {
		for _, request := range [][3]string{{"POST", "/agents/echo/trigger", `{"message": "x"}`}, {"GET", "/runs", ""}} {
			var both []seen
			for _, listens := range []bool{false, true} {
				srv := connictest.New(t)
				transport := srv.Transport()
				if listens {
					srv = connictest.NewServer(t)
					transport = &http.Transport{DisableKeepAlives: true}
				}
				srv.Seed(1)
				srv.Agent("echo", echo)
				srv.Fault(fault)
				both = append(both, look(t, transport, srv, request[0], request[1], request[2]))
			}
			if !reflect.DeepEqual(both[0], both[1]) {
				t.Errorf("%s, %s: in process %+v, over the listener %+v", name, request[1], both[0], both[1])
			}
			if both[0].failed != "no answer" && both[0].header.Get("X-Request-Id") == "" {
				t.Errorf("%s: the answer has no request id: %+v", name, both[0])
			}
		}
	}
}

func TestAlteredBodies(t *testing.T) {
	t.Parallel()
	body := func(f connictest.Fault, path string) string {
		srv := connictest.New(t)
		srv.Environments(connictest.Environment{ID: "e1", Name: "one", IsDefault: true}, connictest.Environment{ID: "e2", Name: "two"})
		srv.Fault(f)
		return look(t, srv.Transport(), srv, "GET", path, "").body
	}
	const project, environments = "", "/environments"
	for _, test := range []struct {
		fault      connictest.Fault
		path, want string
	}{
		{connictest.Fault{Set: map[string]any{"name": "n", "extra": []int{1}}}, project, `{"extra":[1],"git_provider":null,"id":"` + connictest.ProjectID + `","name":"n"}`},
		{connictest.Fault{Remove: []string{"id", "git_provider", "nothing"}}, project, `{"name":"connictest"}`},
		{connictest.Fault{Remove: []string{"id"}, Retype: []string{"name", "git_provider"}}, project, `{"git_provider":[null],"name":{"text":"connictest"}}`},
		{connictest.Fault{Remove: []string{"id", "git_provider"}, Envelope: "project"}, project, `{"project":{"name":"connictest"}}`},
		{connictest.Fault{Remove: []string{"1"}, Set: map[string]any{"*": 1}}, environments, `[1]`},
		{connictest.Fault{Set: map[string]any{"0": "x", "1.name.deep": 1}, Remove: []string{"1"}}, environments, `["x"]`},
		{connictest.Fault{Retype: []string{"items"}}, "/runs", `{"has_more":false,"items":"a list once","limit":50,"offset":0,"total":0}`},
		{connictest.Fault{Envelope: "runs", Status: 206}, "/runs", `{"has_more":false,"limit":50,"offset":0,"runs":[],"total":0}`},
		{connictest.Fault{Envelope: "-"}, "/runs", `[]`},
		{connictest.Fault{Envelope: "-"}, project, `{"git_provider":null,"id":"` + connictest.ProjectID + `","name":"connictest"}`},
		{connictest.Fault{Set: map[string]any{"detail": 5}}, "/runs/none", `{"detail":"Run not found"}`}, // good answers only
	} {
		if got := body(test.fault, test.path); got != test.want {
			t.Errorf("%+v: %s, want %s", test.fault, got, test.want)
		}
	}
}

func TestAnUnknownStatusReachesTheClient(t *testing.T) {
	t.Parallel()
	srv := connictest.New(t)
	srv.Agent("echo", echo)
	srv.Fault(connictest.Fault{Op: "runs.list", Set: map[string]any{"items.*.status": "pondering"}})
	c := srv.Client()
	if _, err := c.Agents.Trigger(t.Context(), "echo", connic.TriggerRequest{Message: "x"}); err != nil {
		t.Fatal(err)
	}
	page, err := c.Runs.List(t.Context(), nil)
	if err != nil || len(page.Items) != 1 || page.Items[0].Status != "pondering" {
		t.Errorf("%v, %+v", err, page)
	}
	if n := srv.Executions("runs.list"); n != 1 {
		t.Errorf("%d lists were executed", n)
	}
}

func TestFaultsThatCanNeverHit(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]connictest.Fault{"operation": {Op: "agent.trigger"}, "status": {Status: 103}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a fault with an impossible %s is set", name)
				}
			}()
			connictest.New(t).Fault(fault)
		}()
	}
}
