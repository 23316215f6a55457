package connic_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/connic-go/connic"
)

// TestZeroValuesRefuse calls every method of a Client that was not created by
// New, and of one with hand-made services.
func TestZeroValuesRefuse(t *testing.T) {
	t.Parallel()
	var zero connic.Client
	byHand := connic.Client{
		Agents: new(connic.AgentsService), Runs: new(connic.RunsService), Knowledge: new(connic.KnowledgeService), Judges: new(connic.JudgesService),
		Budgets: new(connic.BudgetsService), AuditLogs: new(connic.AuditLogsService), Deployments: new(connic.DeploymentsService), Project: new(connic.ProjectService),
		Environments: new(connic.EnvironmentsService), TestRuns: new(connic.TestRunsService), DevSessions: new(connic.DevSessionsService), Bridges: new(connic.BridgesService),
	}
	synctest.Test(t, func(t *testing.T) { // some wait for more ids
		for _, m := range methods(t) {
			for _, c := range []*connic.Client{&zero, &byHand} {
				var bad *connic.ArgumentError
				if err := callOf(t, m)(t.Context(), c); !errors.As(err, &bad) {
					t.Errorf("%s: %v, want an ArgumentError", m, err)
				}
			}
		}
	})
	var bad *connic.ArgumentError
	if err := zero.Do(t.Context(), http.MethodGet, "/x", nil, nil, nil); !errors.As(err, &bad) {
		t.Error(err)
	}
	if err := zero.Close(); err != nil {
		t.Error(err)
	}
	if zero.RateLimit() != (connic.RateLimitStatus{}) || !strings.Contains(fmt.Sprint(&zero, zero.ForEnvironment("e")), "not made by New") {
		t.Errorf("%v, %v", zero.RateLimit(), &zero)
	}
}

// TestDoLooksBeforeItSends verifies that a value that cannot hold the response
// is refused before anything is sent.
func TestDoLooksBeforeItSends(t *testing.T) {
	t.Parallel()
	sent := 0
	client := must[*connic.Client](t)(connic.New("p", "cnc_0123456789", connic.WithHTTPClient(&http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		sent++
		return respondWith(r, http.StatusOK, `{"id":"r1","duration_ms":"12"}`), nil
	})})))
	for name, out := range map[string]any{
		"a struct": connic.Run{}, "a map": map[string]any{}, "nil pointer": (*connic.Run)(nil), "nil raw": (*json.RawMessage)(nil), "a text": "x",
	} {
		var bad *connic.ArgumentError
		if err := client.Do(t.Context(), http.MethodPost, "/x", nil, nil, out); !errors.As(err, &bad) || bad.Arg != "out" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if sent != 0 {
		t.Fatalf("%d requests were sent", sent)
	}
	var run connic.Run
	if err := client.Do(t.Context(), http.MethodGet, "/x", nil, nil, &run); err != nil || run.ID != "r1" || run.DurationMS != 12 {
		t.Errorf("%+v, %v", run, err)
	}
}

// TestRoutesOfEventsAreFew verifies that ids in paths of Do do not become part
// of metric names.
func TestRoutesOfEventsAreFew(t *testing.T) {
	t.Parallel()
	var routes []string
	client := must[*connic.Client](t)(connic.New("p", "cnc_0123456789",
		connic.WithObserver(func(_ context.Context, e connic.Event) { routes = append(routes, e.Route) }),
		connic.WithHTTPClient(&http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if o, ok := connic.OperationFromContext(r.Context()); ok {
				routes = append(routes, o.Route)
			}
			return respondWith(r, http.StatusOK, `{}`), nil
		})})))
	if err := client.Do(t.Context(), http.MethodGet, "/runs/r1/notes", nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := client.Do(t.Context(), http.MethodGet, "/test-sessions/s1", nil, nil, nil, connic.WithoutProject()); err != nil {
		t.Fatal(err)
	}
	if len(routes) == 0 {
		t.Fatal("nothing was reported")
	}
	for _, route := range routes {
		if route != "{path}" {
			t.Errorf("a route is %s", route)
		}
	}
}
