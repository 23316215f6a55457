package connector_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic/connector"
)

// noted returns a handler that notes its name and what it was given.
func noted(calls *[]string, name string) func(context.Context, connector.Delivery) error {
	return func(_ context.Context, d connector.Delivery) error {
		*calls = append(*calls, name+" "+string(d.Body))
		return nil
	}
}

func parsed(t testing.TB, body string) connector.Delivery {
	t.Helper()
	return must(connector.ParseDelivery([]byte(body)))(t)
}

// ofAgent is the envelope of a run of an agent, without a blank.
func ofAgent(name string) string {
	return `{"run_id":"1","agent_name":"` + name + `","status":"completed","token_usage":{}}`
}

func TestMuxRoutes(t *testing.T) {
	t.Parallel()
	var calls []string
	m := connector.NewMux()
	m.Handle(connector.KindRun, noted(&calls, "run"))
	m.HandleAgent(connector.KindRun, "clerk", noted(&calls, "clerk"))
	m.HandleAgent(connector.KindRun, "clerk-test-b", noted(&calls, "variant"))
	m.Handle(connector.KindApproval, noted(&calls, "approval"))
	m.HandleAgent(connector.KindRun, "clerk-test-desk", noted(&calls, "desk"))
	m.HandleAgent(connector.KindApproval, "clerk", noted(&calls, "approval of clerk"))
	m.HandlePayload("type", "refund", noted(&calls, "refund"))
	m.HandlePayload("n", "7", noted(&calls, "seven"))
	m.HandlePayload("type", "", noted(&calls, "typed"))
	m.HandlePayload("on", "true", noted(&calls, "on"))
	m.Fallback(noted(&calls, "fallback"))
	for _, test := range []struct{ body, want string }{
		{ofAgent("other"), "run"},
		{ofAgent("clerk"), "clerk"},
		{ofAgent("clerk-test-a"), "clerk"},
		{ofAgent("clerk-test-b"), "variant"},
		{ofAgent("clerk-test-desk-test-a"), "desk"}, // not one of the clerk
		{ofAgent("clerk-test-a-test-a"), "clerk"},
		{ofAgent("-test-a"), "run"},
		{`{"approval_id":"1"}`, "approval"},
		{`{"approval_id":"1","agent_name":"clerk"}`, "approval of clerk"},
		{`{"type":"refund"}`, "refund"},
		{`{"type":"charge"}`, "typed"},
		{`{"type":""}`, "typed"},
		{`{"type":null}`, "fallback"},
		{`{"n":7}`, "seven"},
		{`{"n":"7"}`, "seven"},
		{`{"n":8}`, "fallback"},
		{`{"n":7,"type":"refund"}`, "refund"}, // registered first
		{`{"type":"refund","approval":"of a manager","status":"awaiting_approval"}`, "refund"},
		{`{"type":"charge","n":7}`, "seven"},
		{`{"on":true}`, "on"},
		{`{"a":{"type":"refund"}}`, "fallback"},
		{`{}`, "fallback"},
		{`"done"`, "fallback"},
		{`[]`, "fallback"},
	} {
		calls = nil
		if err := m.Deliver(t.Context(), parsed(t, test.body)); err != nil || !slices.Equal(calls, []string{test.want + " " + test.body}) {
			t.Errorf("%s: %q, %v", test.body, calls, err)
		}
	}
}

// TestMuxItems: the items of a batch go to the handlers of their kinds, one by one
// or as a slice, or to that of batches.
func TestMuxItems(t *testing.T) {
	t.Parallel()
	const failed = `{"id":"7","agent_name":"clerk","status":"failed","input":"m"}`
	const line = `{"message":"m","level":"info","run_id":"7","agent_name":"clerk"}`
	const entry = `{"id":"1","action":"judges.update","actor":"ada"}`
	batch := "[" + strings.Join([]string{failed, line, `{"span_id":"1"}`, entry, `[1]`, line, `{"approval_id":"1"}`, `null`}, ", ") + "]"
	var calls []string
	m := connector.NewMux()
	m.Fallback(noted(&calls, "fallback"))
	m.HandlePayload("span_id", "", noted(&calls, "span"))
	m.HandleAgent(connector.KindRun, "clerk", noted(&calls, "run"))
	m.Handle(connector.KindAudit, noted(&calls, "audit"))
	m.Handle(connector.KindApproval, noted(&calls, "approval"))
	m.HandleItems(connector.KindLog, func(_ context.Context, items []connector.Delivery) error {
		calls = append(calls, fmt.Sprintf("%d lines %s", len(items), items[len(items)-1].LogLine().Message))
		return nil
	})
	want := []string{"run " + failed, `span {"span_id":"1"}`, "audit " + entry, "fallback [1]", `approval {"approval_id":"1"}`, "fallback null", "2 lines m"}
	if err := m.Deliver(t.Context(), parsed(t, batch)); err != nil || !slices.Equal(calls, want) {
		t.Errorf("%q, %v", calls, err)
	}
	calls = nil
	m.Handle(connector.KindBatch, noted(&calls, "whole"))
	if err := m.Deliver(t.Context(), parsed(t, batch)); err != nil || !slices.Equal(calls, []string{"whole " + batch}) {
		t.Errorf("%q, %v", calls, err)
	}
}

// TestMuxSlicesAreBounded: however many items a batch has, a slice has at most
// 1,000, and each item is in one, in order.
func TestMuxSlicesAreBounded(t *testing.T) {
	t.Parallel()
	var kept [][]connector.Delivery
	m := connector.NewMux()
	m.Fallback(func(context.Context, connector.Delivery) error { return errors.New("called") })
	m.HandleItems(connector.KindUnknown, func(_ context.Context, items []connector.Delivery) error {
		kept = append(kept, items)
		return nil
	})
	var body strings.Builder
	for i := range 2500 {
		fmt.Fprintf(&body, ",%d", i)
	}
	if err := m.Deliver(t.Context(), parsed(t, "["+body.String()[1:]+"]")); err != nil {
		t.Fatal(err)
	}
	if len(kept) != 3 || len(kept[0]) != 1000 || len(kept[1]) != 1000 || len(kept[2]) != 500 {
		t.Fatalf("%d slices", len(kept))
	}
	for i, item := range slices.Concat(kept...) {
		if string(item.Body) != fmt.Sprint(i) {
			t.Fatalf("item %d is %s", i, item.Body)
		}
	}
	// A delivery of its own is a slice of one.
	if err := m.Deliver(t.Context(), parsed(t, "7")); err != nil || len(kept) != 4 || string(kept[3][0].Body) != "7" {
		t.Errorf("%v, %v", kept[3:], err)
	}
}

// TestItemsAreHandledApart: what becomes of an item does not concern the others,
// and the batch is acknowledged only if all were handled.
func TestItemsAreHandledApart(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk full")
	for name, test := range map[string]struct {
		batch  string
		status int
		told   []string // parts of the error
	}{
		"all":       {`["a", "b", "c"]`, 204, nil},
		"error":     {`["a", "error", "c"]`, 500, []string{"1 items", "[1]: disk full"}},
		"panic":     {`["panic", "b", "error"]`, 500, []string{"2 items", "[0]: ", "panicked: a bug", "mux_test.go", "[2]: disk full"}},
		"permanent": {`["a", "permanent", "permanent"]`, 422, []string{"2 items", "[1]: unknown", "[2]: unknown"}},
		"mixed":     {`["permanent", "error", "permanent"]`, 500, []string{"3 items"}},
		"many":      {"[" + strings.Repeat(`"error", `, 999) + `"error"]`, 500, []string{"1000 items", "[9]: disk full"}},
		"slice":     {`[{"message": "m", "level": "i"}, "b", {"message": "m", "level": "i"}]`, 500, []string{"2 items", "[0]: a bad slice"}},
	} {
		var tried int
		m := connector.NewMux()
		m.Fallback(func(_ context.Context, d connector.Delivery) error {
			tried++
			switch string(d.Body) {
			case `"error"`:
				return broken
			case `"permanent"`:
				return fmt.Errorf("rejected: %w", connector.Permanent(errors.New("unknown")))
			case `"panic"`:
				panic("a bug")
			}
			return nil
		})
		m.HandleItems(connector.KindLog, func(_ context.Context, items []connector.Delivery) error {
			tried += len(items)
			return errors.New("a bad slice")
		})
		var told error
		v := &connector.Receiver{Handle: m.Deliver, Secrets: []connector.Secret{signing}, OnError: func(_ *http.Request, err error) { told = err }}
		w := post(v, []byte(test.batch), nil)
		if n := strings.Count(test.batch, ", ") + 1 - strings.Count(test.batch, "level"); w.Code != test.status || tried != n || (told == nil) != (test.status == 204) {
			t.Errorf("%s: %d, %d of %d tried, %v", name, w.Code, tried, n, told)
		}
		for _, part := range test.told {
			if !strings.Contains(told.Error(), strings.ReplaceAll(part, ": unknown", ": rejected: unknown")) {
				t.Errorf("%s: %q is missing in %v", name, part, told)
			}
		}
		if told != nil && (len(told.Error()) > 20_000 || strings.Contains(test.batch, `"error"`) != errors.Is(told, broken)) {
			t.Errorf("%s: %d bytes: %v", name, len(told.Error()), told)
		}
	}
}

// TestAbortedItems: what ends the handling of a request ends that of its batch,
// which can come again.
func TestAbortedItems(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(){
		"abort": func() { panic(http.ErrAbortHandler) }, "exit": runtime.Goexit,
	} {
		calls := 0
		m := connector.NewMux()
		m.Fallback(func(context.Context, connector.Delivery) error {
			if calls++; calls == 2 {
				end()
			}
			return nil
		})
		h := connector.Handler(m.Deliver, signing)
		aborted := make(chan any)
		go func() {
			defer func() { aborted <- recover() }()
			post(h, []byte("[1, 2, 3]"), nil)
			t.Error(name + ": it went on")
		}()
		if p := <-aborted; (p != nil) != (name == "abort") || calls != 2 {
			t.Errorf("%s: %v, %d calls", name, p, calls)
		}
		if w := post(h, []byte("[1, 2, 3]"), nil); w.Code != 204 || calls != 5 {
			t.Errorf("%s: %d, %d calls", name, w.Code, calls)
		}
	}
}

// TestASlowKind: while the handler of one kind hangs, for the five minutes that its
// context lasts, all others are handled. Of a batch, the items before it are.
func TestASlowKind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls, told journal
		m := connector.NewMux()
		m.Handle(connector.KindRun, func(ctx context.Context, _ connector.Delivery) error {
			return sleepFor(ctx, time.Hour)
		})
		m.Fallback(func(_ context.Context, d connector.Delivery) error { return calls.add("%s", d.Body) })
		v := &connector.Receiver{Handle: m.Deliver, Secrets: []connector.Secret{signing}, OnError: func(_ *http.Request, err error) { _ = told.add("%v", err) }}
		start := time.Now()
		var senders sync.WaitGroup
		for _, body := range []string{ofAgent("a"), "[1, " + ofAgent("b") + ", 2, 3]"} {
			senders.Go(func() {
				if w := post(v, []byte(body), nil); w.Code != 500 || time.Since(start) != 5*time.Minute {
					t.Errorf("%d after %v", w.Code, time.Since(start))
				}
			})
			synctest.Wait()
		}
		for i := range 100 {
			if w := post(v, fmt.Appendf(nil, `{"n": %d}`, i), nil); w.Code != 204 || !time.Now().Equal(start) {
				t.Errorf("%d after %v", w.Code, time.Since(start))
			}
		}
		m.HandleAgent(connector.KindRun, "late", func(context.Context, connector.Delivery) error { return nil }) // no lock is held
		senders.Wait()
		if lines := calls.take(); len(lines) != 101 || lines[0] != "1" {
			t.Errorf("%d calls: %q", len(lines), lines)
		}
		lines := told.take()
		slices.Sort(lines)
		if len(lines) != 2 || !strings.Contains(lines[0], "3 items of a batch were not handled: [1]: context deadline exceeded") {
			t.Errorf("%q", lines)
		}
	})
}

// TestAMuxWithoutFallback handles nothing, so that the first delivery shows it.
func TestAMuxWithoutFallback(t *testing.T) {
	t.Parallel()
	m := connector.NewMux()
	m.Handle(connector.KindRun, func(context.Context, connector.Delivery) error { t.Error("called"); return nil })
	for _, body := range []string{ofAgent("a"), "[" + ofAgent("a") + "]", "{}"} {
		if err := m.Deliver(t.Context(), parsed(t, body)); !errors.Is(err, connector.ErrNoFallback) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// TestMistakesAreRefusedAtOnce, as http.ServeMux refuses them.
func TestMistakesAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	handle := func(context.Context, connector.Delivery) error { return nil }
	for name, register := range map[string]func(*connector.Mux){
		"nil":           func(m *connector.Mux) { m.Handle(connector.KindLog, nil) },
		"nil slice":     func(m *connector.Mux) { m.HandleItems(connector.KindLog, nil) },
		"nil agent":     func(m *connector.Mux) { m.HandleAgent(connector.KindLog, "a", nil) },
		"nil payload":   func(m *connector.Mux) { m.HandlePayload("a", "b", nil) },
		"nil fallback":  func(m *connector.Mux) { m.Fallback(nil) },
		"no such kind":  func(m *connector.Mux) { m.Handle("runs", handle) },
		"no agent":      func(m *connector.Mux) { m.HandleAgent(connector.KindLog, "", handle) },
		"two of a kind": func(m *connector.Mux) { m.Handle(connector.KindRun, handle) },
		"also as a slice": func(m *connector.Mux) {
			m.HandleItems(connector.KindRun, func(context.Context, []connector.Delivery) error { return nil })
		},
		"two of an agent":  func(m *connector.Mux) { m.HandleAgent(connector.KindRun, "a", handle) },
		"two of a payload": func(m *connector.Mux) { m.HandlePayload("type", "refund", handle) },
		"two fallbacks":    func(m *connector.Mux) { m.Fallback(handle) },
	} {
		m := connector.NewMux()
		m.Handle(connector.KindRun, handle)
		m.HandleAgent(connector.KindRun, "a", handle)
		m.HandlePayload("type", "refund", handle)
		m.Fallback(handle)
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.HasPrefix(text, "connic: connector: ") {
					t.Errorf("%s: %q", name, text)
				}
			}()
			register(m)
		}()
		// The Mux is not locked.
		if err := m.Deliver(t.Context(), parsed(t, "{}")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
