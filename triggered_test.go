package connic_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

func TestFindTriggered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.Agent("a", lasting(0))
		client := srv.Client(connic.WithoutRateLimit())
		trigger(t, client, "a", "marker-of-an-older-one")
		time.Sleep(2 * time.Minute)
		since := time.Now()
		id := trigger(t, client, "a", "see marker-of-an-older-one")
		trigger(t, client, "a", "another")
		runs, err := client.Runs.FindTriggered(t.Context(), connic.RunSearch{Marker: "marker-of-an-older-one", Since: since})
		if err != nil || len(runs) != 1 || runs[0].ID != id {
			t.Errorf("%v, %v", runs, err)
		}
		// The payloads of these runs are not shown.
		if runs, err = client.Runs.FindTriggered(t.Context(), connic.RunSearch{Marker: "never-sent", Since: since}); !errors.Is(err, connic.ErrPartial) || len(runs) != 0 {
			t.Errorf("%v, %v", runs, err)
		}
		// Another agent's say nothing of it.
		if runs, err = client.Runs.FindTriggered(t.Context(), connic.RunSearch{Marker: "never-sent", AgentName: "b", Since: since}); err != nil || len(runs) != 0 {
			t.Errorf("%v, %v", runs, err)
		}
		_, marker := connic.TriggerRequest{Message: "never sent"}.Marked()
		if runs, err = client.Runs.FindTriggered(t.Context(), connic.RunSearch{Marker: marker, Since: since}); err != nil || len(runs) != 0 {
			t.Errorf("%v, %v", runs, err)
		}
		for _, bad := range []connic.RunSearch{{Since: since}, {Marker: "short", Since: since}, {Marker: `with "quotes"`, Since: since}, {Marker: "marker-1"}} {
			var argument *connic.ArgumentError
			if _, err = client.Runs.FindTriggered(t.Context(), bad); !errors.As(err, &argument) {
				t.Errorf("%+v: %v", bad, err)
			}
		}
	})
}

// TestMarked triggers with everything that a request may contain, and finds each
// run by its marker.
func TestMarked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.Agent("a", lasting(0))
		client := srv.Client(connic.WithoutRateLimit())
		file := []connic.File{{Name: "a.txt", MIMEType: "text/plain"}}
		since := time.Now()
		for name, req := range map[string]connic.TriggerRequest{
			"message":             {Message: "hi"},
			"message and payload": {Message: "hi", Payload: map[string]int{"a": 1}},
			"payload":             {Payload: map[string]int{"a": 1}},
			"empty payload":       {Payload: struct{}{}},
			"files":               {Files: file},
			"files and payload":   {Files: file, Payload: map[string]int{"a": 1}},
		} {
			before := fmt.Sprint(req)
			marked, marker := req.Marked()
			if fmt.Sprint(req) != before {
				t.Errorf("%s: the request became %v", name, req)
			}
			result, err := client.Agents.Trigger(t.Context(), "a", marked)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			runs, err := client.Runs.FindTriggered(t.Context(), connic.RunSearch{Marker: marker, AgentName: "a", Since: since})
			if err != nil || len(runs) != 1 || runs[0].ID != result.RunID {
				t.Errorf("%s: %v, %v", name, runs, err)
			}
		}
		bad, _ := connic.TriggerRequest{Payload: []int{1}}.Marked()
		var argument *connic.ArgumentError
		if _, err := client.Agents.Trigger(t.Context(), "a", bad); !errors.As(err, &argument) || argument.Arg != "payload" {
			t.Errorf("a list with a marker: %v", err)
		}
	})
}

// runsOf answers with runs of an agent, newest first, and ignores all filters.
type runsOf struct {
	runs     []connic.Run
	bare     bool // the list omits inputs and contexts
	requests []string
}

func (s *runsOf) RoundTrip(r *http.Request) (*http.Response, error) {
	s.requests = append(s.requests, r.URL.Path)
	if _, id, ok := strings.Cut(r.URL.Path, "/runs/"); ok {
		i := slices.IndexFunc(s.runs, func(run connic.Run) bool { return run.ID == id })
		body, err := json.Marshal(s.runs[i])
		return respondWith(r, http.StatusOK, string(body)), err
	}
	var offset int
	_, _ = fmt.Sscan(r.URL.Query().Get("offset"), &offset)
	page := slices.Clone(s.runs[min(offset, len(s.runs)):min(offset+100, len(s.runs))])
	for i := range page {
		if s.bare {
			page[i].Input, page[i].Context = "", nil
		}
	}
	body, err := json.Marshal(map[string]any{"items": page, "total": len(s.runs)})
	return respondWith(r, http.StatusOK, string(body)), err
}

func (s *runsOf) client(t *testing.T) *connic.Client {
	t.Helper()
	return must[*connic.Client](t)(connic.New("p", "cnc_find_test_key", connic.WithoutRateLimit(), connic.WithHTTPClient(&http.Client{Transport: s})))
}

func TestFindTriggeredMatchesWholeMarkers(t *testing.T) {
	t.Parallel()
	const marker = "order-1000001"
	for input, want := range map[string]bool{
		`order-1000001`:                                   true,
		`see order-1000001, please`:                       true,
		`"order-1000001"`:                                 true,
		`{"id":"order-1000001"}`:                          true,
		`{"order-1000001":1}`:                             true,
		`["a\norder-1000001\tb"]`:                         true,
		`{"text":"{\"id\":\"a\\norder\\u002d1000001\"}"}`: true,
		`{"id":"order\u002d1000001"}`:                     true,
		`{"id":"order-10000012"}`:                         false,
		`{"id":"reorder-1000001"}`:                        false,
		`{"id":"order-1000001-b"}`:                        false,
		`{"id":"order-1000001_b"}`:                        false,
		`{"id":"order-","to":1000001}`:                    false,
		`{"id":"ORDER-1000001"}`:                          false,
	} {
		for _, run := range []connic.Run{
			{ID: "r1", AgentName: "a", CreatedAt: time.Now(), Input: input},
			{ID: "r1", AgentName: "a", CreatedAt: time.Now(), Input: "{}", Context: json.RawMessage(must[[]byte](t)(json.Marshal(input)))},
		} {
			s := &runsOf{runs: []connic.Run{run}}
			found, err := s.client(t).Runs.FindTriggered(t.Context(), connic.RunSearch{Marker: marker, AgentName: "a", Since: time.Now()})
			if err != nil && want || (len(found) == 1) != want {
				t.Errorf("%s: %v, %v; want %v", input, found, err, want)
			}
		}
	}
	number := &runsOf{runs: []connic.Run{{ID: "r1", Input: `{"order":12345678}`}}}
	if found, err := number.client(t).Runs.FindTriggered(t.Context(), connic.RunSearch{Marker: "12345678", Since: time.Now()}); err != nil || len(found) != 1 {
		t.Errorf("a number: %v, %v", found, err)
	}
}

// A service that ignores the filters has a long history.
func TestFindTriggeredEndsInTheHistory(t *testing.T) {
	t.Parallel()
	s := new(runsOf)
	now := time.Now()
	for i := range 10_000 {
		s.runs = append(s.runs, connic.Run{ID: fmt.Sprint("r", i), AgentName: "a", CreatedAt: now.Add(time.Duration(-i) * time.Second), Input: fmt.Sprint(`{"id":"order-`, 1e6+i, `"}`)})
	}
	found, err := s.client(t).Runs.FindTriggered(t.Context(), connic.RunSearch{Marker: "order-1000042", AgentName: "a", Since: now.Add(-time.Minute)})
	if err != nil || len(found) != 1 || found[0].ID != "r42" {
		t.Errorf("%v, %v", found, err)
	}
	if len(s.requests) > 3 {
		t.Errorf("%d requests", len(s.requests))
	}
}

// The list may omit what a run's own page is known to show.
func TestFindTriggeredReadsWhatTheListOmits(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := &runsOf{bare: true}
	for i := range 3 {
		s.runs = append(s.runs, connic.Run{ID: fmt.Sprint("r", i), AgentName: "a", CreatedAt: now, Input: fmt.Sprint("[connic-MARKER", i, "] hi")})
	}
	client := s.client(t)
	found, err := client.Runs.FindTriggered(t.Context(), connic.RunSearch{Marker: "connic-MARKER1", AgentName: "a", Since: now})
	if err != nil || len(found) != 1 || found[0].ID != "r1" || len(s.requests) != 4 {
		t.Errorf("%v, %v, after %v", found, err, s.requests)
	}
	if found, err = client.Runs.FindTriggered(t.Context(), connic.RunSearch{Marker: "connic-MARKER7", AgentName: "a", Since: now}); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
	for i := range s.runs {
		s.runs[i].Input = ""
	}
	if _, err = client.Runs.FindTriggered(t.Context(), connic.RunSearch{Marker: "connic-MARKER7", AgentName: "a", Since: now}); !errors.Is(err, connic.ErrPartial) {
		t.Errorf("no input at all: %v", err)
	}
}

// Ten triggers got no response. Six were executed, two of them late, and the
// service is away for a while.
func TestSettleTriggered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.Agent("a", lasting(0))
		client := srv.Client(connic.WithoutRateLimit(), connic.WithTimeout(30*time.Second))
		since := time.Now()
		var searches []connic.RunSearch
		var mu sync.Mutex
		want := make(map[string]string)
		start := func(req connic.TriggerRequest, marker string) {
			result, err := client.Agents.Trigger(context.WithoutCancel(t.Context()), "a", req)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			want[marker] = result.RunID
		}
		for i := range 10 {
			req, marker := connic.TriggerRequest{Message: fmt.Sprint("job ", i)}.Marked()
			searches = append(searches, connic.RunSearch{Marker: marker, AgentName: "a", Since: since})
			switch {
			case i < 4:
				start(req, marker)
			case i < 6:
				time.AfterFunc(time.Duration(20+i)*time.Second, func() { start(req, marker) })
			}
		}
		srv.Fault(connictest.Fault{Op: "runs.list", Status: http.StatusServiceUnavailable, Times: 3})
		found, err := client.Runs.SettleTriggered(t.Context(), searches)
		if err != nil || len(found) != 6 {
			t.Errorf("%d found, %v", len(found), err)
		}
		mu.Lock()
		defer mu.Unlock()
		for marker, id := range want {
			if runs := found[marker]; len(runs) != 1 || runs[0].ID != id {
				t.Errorf("%s: %v, want %s", marker, runs, id)
			}
		}
		if took := time.Since(since); took < 45*time.Second || took > time.Minute {
			t.Errorf("it took %v", took)
		}
		if n := len(srv.Requests()); n > 25 {
			t.Errorf("%d requests", n)
		}
		// It ends as soon as all are found, and when it is of no use.
		begin := time.Now()
		if found, err = client.Runs.SettleTriggered(t.Context(), searches[:6]); err != nil || len(found) != 6 || time.Since(begin) > time.Second {
			t.Errorf("%d found, %v, after %v", len(found), err, time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if found, err = client.Runs.SettleTriggered(ctx, searches); !errors.Is(err, context.DeadlineExceeded) || len(found) != 6 {
			t.Errorf("%d found, %v", len(found), err)
		}
		if found, err = client.Runs.SettleTriggered(t.Context(), nil); err != nil || len(found) != 0 {
			t.Errorf("%v, %v", found, err)
		}
		var argument *connic.ArgumentError
		if _, err = client.Runs.SettleTriggered(t.Context(), append(searches, searches[0])); !errors.As(err, &argument) {
			t.Errorf("one of them twice: %v", err)
		}
	})
}
