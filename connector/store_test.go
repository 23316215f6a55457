package connector_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic/connector"
)

const envelope = `{"run_id": "%", "agent_name": "a", "status": "completed", "ended_at": "2026-01-02T03:04:05Z"}`

// TestRepetitions: a run is handled once, however often it is delivered. What
// is no run is handled each time, unless it is a copy, with the same timestamp.
func TestRepetitions(t *testing.T) {
	t.Parallel()
	run := func(id string) string { return strings.ReplaceAll(envelope, "%", id) }
	for name, test := range map[string]struct {
		body string
		kind connector.Kind
		once bool   // even with another timestamp
		key  string // its beginning
	}{
		"run":              {run("1"), connector.KindRun, true, "run:1"},
		"token usage":      {`{"run_id": "1", "agent_name": "a", "status": "failed", "token_usage": {}}`, connector.KindRun, true, "run:1"},
		"long id":          {run(strings.Repeat("x", 201)), connector.KindRun, false, "body:"},
		"no agent":         {strings.Replace(run("1"), "agent_name", "agent", 1), connector.KindPayload, false, "body:"},
		"no end":           {`{"run_id": "1", "agent_name": "a", "status": "completed", "ended_at": null}`, connector.KindPayload, false, "body:"},
		"not ended":        {strings.Replace(run("1"), "completed", "running", 1), connector.KindPayload, false, "body:"},
		"tool":             {`{"text": "disk full", "status": "completed"}`, connector.KindPayload, false, "body:"},
		"tool with a run":  {`{"run_id": "1", "status": "completed"}`, connector.KindPayload, false, "body:"},
		"waiting run":      {`{"run_id": "1", "agent_name": "a", "status": "awaiting_approval"}`, connector.KindApproval, false, "body:"},
		"approval":         {`{"id": "1", "run_id": "1", "tool_name": "pay", "status": "pending", "requested_at": "2026-01-02T03:04:05Z"}`, connector.KindApproval, false, "body:"},
		"nested approval":  {`{"approval": {"id": "1"}}`, connector.KindApproval, false, "body:"},
		"drain":            {"[" + run("1") + "]", connector.KindBatch, false, "body:"},
		"text":             {`"done"`, connector.KindUnknown, false, "body:"},
		"null":             {`null`, connector.KindUnknown, false, "body:"},
		"an envelope's id": {`{"run_id": {"a": 1}, "agent_name": "a", "status": "completed", "token_usage": 1}`, connector.KindRun, true, `run:{"a": 1}`},
	} {
		var kinds []connector.Kind
		store := &keyed{Store: connector.NewMemory(10, time.Hour)}
		h := &connector.Receiver{Secrets: []connector.Secret{signing}, Store: store, Handle: func(_ context.Context, d connector.Delivery) error {
			kinds = append(kinds, d.Kind)
			return nil
		}}
		now := time.Now()
		for i, at := range []time.Time{now, now, now.Add(-time.Second), now} {
			w := post(h, []byte(test.body), func(r *http.Request) { r.Header = connector.Sign([]byte(test.body), at, signing) })
			if w.Code != 204 {
				t.Errorf("%s %d: %d", name, i, w.Code)
			}
		}
		want := []connector.Kind{test.kind, test.kind}
		if test.once {
			want = want[:1]
		}
		if !slices.Equal(kinds, want) {
			t.Errorf("%s: handled as %v, not %v", name, kinds, want)
		}
		if !strings.HasPrefix(store.keys[0], test.key) || len(store.keys[0]) > 204 || store.keys[0] != store.keys[1] || (store.keys[2] == store.keys[0]) != test.once {
			t.Errorf("%s: the keys are %q", name, store.keys)
		}
	}
}

// keyed is a store that remembers the keys it was asked for.
type keyed struct {
	connector.Store
	keys []string
}

func (k *keyed) Claim(ctx context.Context, key string, lease time.Duration) (connector.State, error) {
	k.keys = append(k.keys, key)
	return k.Store.Claim(ctx, key, lease)
}

// TestAHandlerThatOutlivesItsLease loses its claim, and does not release that
// of the next delivery.
func TestAHandlerThatOutlivesItsLease(t *testing.T) {
	t.Parallel()
	for _, first := range []error{errors.New("too late"), nil} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			var calls atomic.Int32
			h := connector.Handler(func(context.Context, connector.Delivery) error {
				switch calls.Add(1) {
				case 1:
					sleepUntil(t, start.Add(7*time.Minute))
					return first
				case 2:
					sleepUntil(t, start.Add(9*time.Minute))
				}
				return nil
			}, signing)
			got := make([]int, 4)
			for i, at := range []time.Duration{0, 6 * time.Minute, 8 * time.Minute, 10 * time.Minute} {
				time.AfterFunc(at, func() { got[i] = post(h, delivery, nil).Code })
			}
			sleepUntil(t, start.Add(11*time.Minute))
			synctest.Wait()
			// Without an error, the first has handled it, and the third knows.
			want := map[bool][]int{true: {500, 204, 503, 204}, false: {204, 204, 204, 204}}[first != nil]
			if !slices.Equal(got, want) || calls.Load() != 2 {
				t.Errorf("%v, not %v; %d calls", got, want, calls.Load())
			}
		})
	}
}

// failing is a store that fails where it is told to.
type failing struct {
	connector.Store
	claim, finish, release error
}

func (f failing) Claim(ctx context.Context, key string, lease time.Duration) (connector.State, error) {
	if f.claim != nil {
		return 0, f.claim
	}
	return f.Store.Claim(ctx, key, lease)
}

func (f failing) Finish(ctx context.Context, key string) error {
	return errors.Join(ctx.Err(), f.finish, f.Store.Finish(ctx, key))
}

func (f failing) Release(ctx context.Context, key string) error {
	return errors.Join(ctx.Err(), f.release, f.Store.Release(ctx, key))
}

func TestAStoreThatFails(t *testing.T) {
	t.Parallel()
	down := errors.New("store down")
	for name, test := range map[string]struct {
		store  failing
		handle error
		want   int
		calls  int
	}{
		"claim":   {failing{claim: down}, nil, 503, 0},
		"finish":  {failing{finish: down}, nil, 204, 1},
		"release": {failing{release: down}, errors.New("no"), 500, 1},
	} {
		calls := 0
		var told error
		test.store.Store = connector.NewMemory(10, time.Hour)
		v := &connector.Receiver{
			Store: test.store, Secrets: []connector.Secret{signing}, OnError: func(_ *http.Request, err error) { told = err },
			Handle: func(context.Context, connector.Delivery) error { calls++; return test.handle },
		}
		if w := post(v, delivery, nil); w.Code != test.want || calls != test.calls || !errors.Is(told, down) {
			t.Errorf("%s: %d, %d calls, %v", name, w.Code, calls, told)
		}
	}
}

// TestTheSenderLeaves: what was handled meanwhile is remembered all the same.
func TestTheSenderLeaves(t *testing.T) {
	t.Parallel()
	calls := 0
	var told error
	v := &connector.Receiver{
		Store: failing{Store: connector.NewMemory(10, time.Hour)}, Secrets: []connector.Secret{signing},
		OnError: func(_ *http.Request, err error) { told = err },
	}
	ctx, cancel := context.WithCancel(t.Context())
	v.Handle = func(ctx context.Context, _ connector.Delivery) error {
		calls++
		cancel()
		<-ctx.Done()
		return nil
	}
	for range 2 {
		post(v, delivery, func(r *http.Request) { *r = *r.WithContext(ctx) })
	}
	if calls != 1 || told != nil {
		t.Errorf("%d calls, %v", calls, told)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m := connector.NewMemory(3, time.Hour)
		claim := func(key string) connector.State {
			t.Helper()
			return must(m.Claim(ctx, key, time.Minute))(t)
		}
		for _, key := range []string{"a", "b", "c", "d"} {
			if claim(key) != connector.Claimed || m.Finish(ctx, key) != nil {
				t.Error(key)
			}
		}
		if claim("b") != connector.Done || claim("d") != connector.Done || claim("a") != connector.Claimed {
			t.Error("not the oldest was forgotten")
		}
		if claim("a") != connector.Running {
			t.Error("it was given away twice")
		}
		// A process that hangs loses its claim with the lease.
		sleepUntil(t, time.Now().Add(time.Minute))
		if claim("a") != connector.Claimed || m.Release(ctx, "a") != nil || claim("a") != connector.Claimed {
			t.Error("a claim has not ended")
		}
		claim("e")
		claim("f")
		if _, err := m.Claim(ctx, "g", time.Minute); err == nil {
			t.Error("more are in the works than the bound allows")
		}
		if claim("c") != connector.Done || m.Release(ctx, "c") != nil || claim("c") != connector.Done {
			t.Error("what is done was released")
		}
		sleepUntil(t, time.Now().Add(time.Minute))
		if claim("g") != connector.Claimed {
			t.Error("leases that have run out still count")
		}
		sleepUntil(t, time.Now().Add(time.Hour))
		if claim("d") != connector.Claimed {
			t.Error("nothing is forgotten")
		}
	})
}
