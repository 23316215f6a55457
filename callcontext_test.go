package connic_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

type callKey struct{}

func TestACallHasAContextOfItsOwn(t *testing.T) {
	t.Parallel()
	srv := connictest.New()
	var seen []string
	note := func(ctx context.Context, where string) {
		v, _ := ctx.Value(callKey{}).(string)
		seen = append(seen, where+v)
	}
	calls := 0
	client := srv.Client(
		connic.WithCallContext(func(ctx context.Context, op connic.Operation) context.Context {
			calls++
			return context.WithValue(ctx, callKey{}, op.Name)
		}),
		connic.WithCallContext(func(ctx context.Context, _ connic.Operation) context.Context {
			v, _ := ctx.Value(callKey{}).(string)
			return context.WithValue(ctx, callKey{}, v+"!")
		}),
		connic.WithObserver(func(ctx context.Context, e connic.Event) { note(ctx, string(e.Kind)+" ") }),
		connic.WithTransport(func(next http.RoundTripper) http.RoundTripper {
			return roundTrip(func(r *http.Request) (*http.Response, error) {
				note(r.Context(), "request ")
				return next.RoundTrip(r)
			})
		}),
	)
	srv.Fault(connictest.Fault{Op: "project.get", Nth: 1, Status: http.StatusServiceUnavailable})
	if _, err := client.Project.Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"request project.get!", "attempt project.get!", "retry project.get!",
		"request project.get!", "attempt project.get!", "done project.get!",
	}
	if !slices.Equal(seen, want) || calls != 1 {
		t.Errorf("%d calls, seen %q", calls, seen)
	}
	if _, err := client.Runs.Get(t.Context(), ".."); err == nil || calls != 1 {
		t.Errorf("a refused call: %v, %d calls", err, calls)
	}
	if _, err := connic.New("p", "cnc_0123456789", connic.WithCallContext(nil)); err == nil {
		t.Error("nil was taken")
	}
	// A function that returns nil changes nothing.
	client = srv.Client(connic.WithCallContext(func(context.Context, connic.Operation) context.Context { return nil }))
	if _, err := client.Project.Get(t.Context()); err != nil {
		t.Error(err)
	}
}

// A layer on top reports its own calls with the options of a client.
func TestTelemetryOfALayer(t *testing.T) {
	t.Parallel()
	var seen []string
	telemetry, err := connic.NewTelemetry(
		connic.WithCallContext(func(ctx context.Context, op connic.Operation) context.Context {
			return context.WithValue(ctx, callKey{}, op.Name)
		}),
		connic.WithObserver(func(ctx context.Context, e connic.Event) {
			v, _ := ctx.Value(callKey{}).(string)
			seen = append(seen, v+" "+string(e.Kind))
		}),
	)
	if err != nil || !telemetry.Enabled() {
		t.Fatal(err)
	}
	ctx := telemetry.Begin(t.Context(), connic.Operation{Name: "x"})
	telemetry.Observe(ctx, connic.Event{Kind: connic.EventDone})
	if !slices.Equal(seen, []string{"x done"}) {
		t.Errorf("%q", seen)
	}
	telemetry, err = connic.NewTelemetry()
	for _, none := range []*connic.Telemetry{nil, telemetry} {
		if err != nil || none.Enabled() || none.Begin(ctx, connic.Operation{}) != ctx {
			t.Errorf("%v, %v", none, err)
		}
		none.Observe(ctx, connic.Event{})
	}
	var bad *connic.ArgumentError
	if _, err := connic.NewTelemetry(connic.WithEnvironment("e")); !errors.As(err, &bad) {
		t.Error(err)
	}
}
