package connector_test

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
)

// answering is a connector that answers every request with the same body.
func answering(t *testing.T, body string) *connector.Connector {
	t.Helper()
	return must(connector.New(hookURL, canary, connector.WithHTTPClient(&http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(body))}, nil
	})})))(t)
}

func TestResults(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]connector.Result{
		syncAnswer: {RunID: "run-1", AgentName: "support", Status: connic.RunCompleted, Output: "done"},
		`{"status":"ok","result":{"run_id":"r","status":"completed","output":{"a": 1}}}`: {RunID: "r", Status: connic.RunCompleted, Output: `{"a": 1}`},
		`{"status":"ok","result":{"run_id":"r","status":"completed","output":null}}`:     {RunID: "r", Status: connic.RunCompleted},
		`{"status":"ok","result":[{"run_id":"r","output":"x"}]}`:                         {RunID: "r", Status: connic.RunCompleted, Output: "x"},
		`{"run_id":"r","status":"ok","output":"x","new":[]}`:                             {RunID: "r", Status: connic.RunCompleted, Output: "x"},
		`{"status":"ok","result":{"run_id":17,"output":"x"}}`:                            {RunID: "17", Status: connic.RunCompleted, Output: "x"},
		`{"result":{"run_id":"r","output":"x","token_usage":{"input":2,"output":3,"total":5}}}`: {
			RunID: "r", Status: connic.RunCompleted, Output: "x", TokenUsage: connic.TokenUsage{Input: 2, Output: 3, Total: 5},
		},
		`{"result":{"run_id":"r","output":"x","token_usage":"many"}}`: {RunID: "r", Status: connic.RunCompleted, Output: "x"},
		"\ufeff" + syncAnswer: {RunID: "run-1", AgentName: "support", Status: connic.RunCompleted, Output: "done"},
	} {
		result, err := answering(t, body).Call(t.Context(), connector.Input{Message: "m"})
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		if result.Raw = nil; !reflect.DeepEqual(*result, want) {
			t.Errorf("%s: %+v", body, result)
		}
	}
	var out struct{ A int }
	result := must(answering(t, `{"result":{"run_id":"r","output":{"a": 1}}}`).Call(t.Context(), connector.Input{Message: "m"}))(t)
	if err := result.DecodeOutput(&out); err != nil || out.A != 1 {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestRunsThatFail(t *testing.T) {
	t.Parallel()
	for body, status := range map[string]connic.RunStatus{
		`{"status":"ok","result":{"run_id":"r","agent_name":"a","status":"failed","output":null,"error":"no"}}`: connic.RunFailed,
		`{"status":"ok","result":{"run_id":"r","status":"cancelled"}}`:                                          connic.RunCancelled,
		`{"status":"ok","result":{"run_id":"r","error":"no"}}`:                                                  connic.RunFailed,
		`{"status":"ok","result":{"run_id":"r","status":"dissolved"}}`:                                          "dissolved",
	} {
		result, err := answering(t, body).Call(t.Context(), connector.Input{Message: "m"})
		var failed *connic.RunError
		if !errors.As(err, &failed) || failed.Run.ID != "r" || failed.Run.Status != status || result == nil || result.Status != status {
			t.Errorf("%s: %+v, %v", body, result, err)
		}
	}
	result, err := answering(t, `{"result":{"run_id":"r","status":"running"}}`).Call(t.Context(), connector.Input{Message: "m"})
	var failure *connector.Error
	if !errors.Is(err, connic.ErrOutcomeUnknown) || !errors.As(err, &failure) || !reflect.DeepEqual(failure.RunIDs, []string{"r"}) || result == nil {
		t.Errorf("%+v, %v", result, err)
	}
	_, err = answering(t, `{"result":[{"run_id":"r1"},{"run_id":"r2"}]}`).Call(t.Context(), connector.Input{Message: "m"})
	if !errors.As(err, &failure) || !reflect.DeepEqual(failure.RunIDs, []string{"r1", "r2"}) || !errors.Is(err, connic.ErrOutcomeUnknown) {
		t.Errorf("%v", err)
	}
}

func TestModesCrossed(t *testing.T) {
	t.Parallel()
	const inbound = `{"status": "ok", "dispatched_to": 2, "run_ids": ["r1", "r2"]}`
	_, err := answering(t, inbound).Call(t.Context(), connector.Input{Message: "m"})
	var mode *connector.ModeError
	if !errors.As(err, &mode) || !reflect.DeepEqual(mode.RunIDs, []string{"r1", "r2"}) || !strings.Contains(err.Error(), "r2") {
		t.Errorf("%v", err)
	}
	d := must(answering(t, inbound).Send(t.Context(), connector.Input{Message: "m"}))(t)
	if d.DispatchedTo != 2 || !reflect.DeepEqual(d.RunIDs, []string{"r1", "r2"}) || d.Result != nil {
		t.Errorf("%+v", d)
	}
	d = must(answering(t, syncAnswer).Send(t.Context(), connector.Input{Message: "m"}))(t)
	if d.DispatchedTo != 1 || !reflect.DeepEqual(d.RunIDs, []string{"run-1"}) || d.Result == nil || d.Result.Output != "done" {
		t.Errorf("%+v", d)
	}
	d = must(answering(t, `{"status": "ok", "dispatched_to": 0, "run_ids": []}`).Send(t.Context(), connector.Input{Message: "m"}))(t)
	if d.DispatchedTo != 0 || len(d.RunIDs) != 0 {
		t.Errorf("%+v", d)
	}
}

// TestAnswersThatNameNothing are no acceptance, and no result: a result has the
// id of its run, and an acceptance those of the runs that were started.
func TestAnswersThatNameNothing(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"status":"ok"}`, `{"status":"ok","dispatched_to":null}`, `{"dispatched_to":"2"}`, `{"dispatched_to":2}`, `{"dispatched_to":2,"run_ids":[null,""]}`,
		`{"error":"overloaded","dispatched_to":0}`, `{"error":{"message":"overloaded"}}`, `{"detail":"overloaded"}`, `{"status":"ok","run_ids":[]}`, `{}`,
		`{"result":{"output":"x"}}`, `{"output":"x"}`, `{"result":{"status":"completed","run_id":null,"output":null}}`, `{"result":"done"}`, `{"result":[]}`,
		`{"result":[1]}`, `{"status":"error","message":"overloaded","output":null}`,
	} {
		c := answering(t, body)
		result, err := c.Call(t.Context(), connector.Input{Message: "m"})
		if result != nil || !errors.Is(err, connic.ErrOutcomeUnknown) {
			t.Errorf("%s: %+v, %v", body, result, err)
		}
		dispatch, err := c.Send(t.Context(), connector.Input{Message: "m"})
		if dispatch != nil || !errors.Is(err, connic.ErrOutcomeUnknown) {
			t.Errorf("%s: %+v, %v", body, dispatch, err)
		}
	}
	result, err := answering(t, `{"run_id":"r","result":{"output":"x"}}`).Call(t.Context(), connector.Input{Message: "m"})
	if err != nil || result.RunID != "r" || result.Output != "x" {
		t.Errorf("%+v, %v", result, err)
	}
}

// TestAnAnswerCutAtEveryByte is no success, and names the run as soon as it can be read.
func TestAnAnswerCutAtEveryByte(t *testing.T) {
	t.Parallel()
	for _, golden := range []string{syncAnswer, `{"status": "ok", "dispatched_to": 2, "run_ids": ["run-1", "run-2"]}`} {
		named := false
		for cut := range len(golden) {
			for _, whole := range []bool{true, false} {
				c := must(connector.New(hookURL, canary, connector.WithHTTPClient(&http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
					body := io.Reader(strings.NewReader(golden[:cut]))
					if !whole {
						body = io.MultiReader(body, broken{})
					}
					return &http.Response{StatusCode: 200, Body: io.NopCloser(body)}, nil
				})})))(t)
				_, err := c.Call(t.Context(), connector.Input{Message: "m"})
				var failure *connector.Error
				if !errors.Is(err, connic.ErrOutcomeUnknown) || !errors.As(err, &failure) {
					t.Fatalf("cut at %d: %v", cut, err)
				}
				if !whole {
					if named && len(failure.RunIDs) == 0 {
						t.Errorf("cut at %d: %v", cut, err)
					}
					named = named || len(failure.RunIDs) > 0
					if named && failure.RunIDs[0] != "run-1" {
						t.Errorf("cut at %d: %v", cut, failure.RunIDs)
					}
				}
			}
		}
		if !named {
			t.Error("no run was named")
		}
	}
}

func TestS5ConnectorAnswersAreBounded(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"chunks":  func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, endless{}) },
		"error":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); _, _ = io.Copy(w, endless{}) },
		"gzip":    bomb,
		"refused": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401); _, _ = io.Copy(w, endless{}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(handler)
			defer server.Close()
			c := must(connector.New(server.URL+"/x", canary, connector.WithMaxResponseBytes(1<<20)))(t)
			_, err := c.Call(t.Context(), connector.Input{Message: "m"})
			success := name == "chunks" || name == "gzip"
			if errors.Is(err, connic.ErrTooLarge) != success || errors.Is(err, connic.ErrOutcomeUnknown) != (name != "refused") {
				t.Errorf("%v", err)
			}
		})
	}
}

func bomb(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(w)
	_, _ = io.CopyN(z, endless{}, 1<<30)
	_ = z.Close()
}

// TestSendAndWait sends once, whatever happens while it waits.
func TestSendAndWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.Agent("good", func(context.Context, connictest.Input) (any, error) { return "fine", nil })
		srv.Agent("bad", func(context.Context, connictest.Input) (any, error) { return nil, errors.New("no") })
		srv.Agent("slow", func(ctx context.Context, _ connictest.Input) (any, error) {
			return "late", sleepFor(ctx, time.Hour)
		})
		client := srv.Client()

		hook := srv.Connector("bad", "good").Inbound()
		runs, err := hook.Client().SendAndWait(t.Context(), client, connector.Input{Message: "m"})
		var failed *connic.RunError
		if len(runs) != 2 || runs[0].AgentName != "bad" || runs[1].Output != "fine" || !errors.As(err, &failed) || failed.Run.AgentName != "bad" {
			t.Errorf("%+v, %v", runs, err)
		}
		if runs[0].ConnectorID == "" {
			t.Error("the run does not know its connector")
		}

		slow := srv.Connector("good", "slow").Inbound()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		runs, err = slow.Client().SendAndWait(ctx, client, connector.Input{Message: "m"})
		cancel()
		var wait *connic.WaitError
		if len(runs) != 1 || !errors.As(err, &wait) || len(wait.Pending) != 1 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%+v, %v", runs, err)
		}
		if n := srv.Executions("connectors.inbound"); n != 2 {
			t.Errorf("%d were sent", n)
		}

		// Ids that cannot be waited for are still told.
		odd := answering(t, `{"status": "ok", "dispatched_to": 2, "run_ids": ["a/b", "c"]}`)
		_, err = odd.SendAndWait(t.Context(), client, connector.Input{Message: "m"})
		var failure *connector.Error
		if !errors.As(err, &failure) && !errors.As(err, &wait) || (failure != nil && !reflect.DeepEqual(failure.RunIDs, []string{"a/b", "c"})) {
			t.Errorf("%v", err)
		}

		none := srv.Connector().Inbound()
		if _, err = none.Client().SendAndWait(t.Context(), client, connector.Input{Message: "m"}); err == nil || errors.Is(err, connic.ErrOutcomeUnknown) {
			t.Errorf("a wait for nothing: %v", err)
		}
		runs, err = srv.Connector("good").Client().SendAndWait(t.Context(), client, connector.Input{Message: "m"})
		if err != nil || len(runs) != 1 || runs[0].Output != "fine" {
			t.Errorf("sync: %+v, %v", runs, err)
		}
		if _, err = slow.Client().SendAndWait(t.Context(), nil, connector.Input{Message: "m"}); err == nil {
			t.Error("a nil client is accepted")
		}
	})
}
