package connicotel

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// A run of about 1 KB, from memory: what is measured is the client's own cost.
var answer = `{"id":"run-1","agent_name":"support","status":"completed","output":"` + strings.Repeat("a word ", 120) + `"}`

func memory(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, Request: r, ContentLength: int64(len(answer)), Header: http.Header{},
		Body: io.NopCloser(strings.NewReader(answer)),
	}, nil
}

func newMemoryClient(tb testing.TB, opts ...connic.Option) *connic.Client {
	tb.Helper()
	client, err := connic.New("p", "cnc_0123456789abcdef", append(opts, connic.WithBaseURL("http://127.0.0.1/v1"),
		connic.WithHTTPClient(&http.Client{Transport: roundTrip(memory)}), connic.WithoutRateLimit())...)
	if err != nil {
		tb.Fatal(err)
	}
	return client
}

// costs are the ways to have telemetry of which nothing is exported, and how many
// allocations each may add to a call.
var costs = []struct {
	name  string
	opts  func() []connic.Option
	limit float64
}{
	{"no provider", func() []connic.Option { return Options() }, 1},
	{"not sampled", func() []connic.Option { return unsampled() }, 6},
	{"not sampled, with metrics", func() []connic.Option { return unsampled(sdkmetric.WithReader(sdkmetric.NewManualReader())) }, 6},
}

func unsampled(opts ...sdkmetric.Option) []connic.Option {
	return Options(
		WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))),
		WithMeterProvider(sdkmetric.NewMeterProvider(opts...)),
	)
}

// BenchmarkGet is a GET with and without telemetry.
func BenchmarkGet(b *testing.B) {
	run := func(name string, opts []connic.Option) {
		b.Run(name, func(b *testing.B) {
			client := newMemoryClient(b, opts...)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.Runs.Get(context.Background(), "run-1"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("without", nil)
	for _, cost := range costs {
		run(cost.name, cost.opts())
	}
}

// TestWhatTelemetryCosts prints the ratio, short rounds in turn and minimum against
// minimum, and asserts the allocations, which do not depend on the machine.
func TestWhatTelemetryCosts(t *testing.T) { //nolint:paralleltest // it takes times
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }))
	defer srv.Close()
	ways := map[string]func(...connic.Option) *connic.Client{
		"in memory": func(opts ...connic.Option) *connic.Client { return newMemoryClient(t, opts...) },
		"on loopback": func(opts ...connic.Option) *connic.Client {
			client, err := connic.New("p", "cnc_0123456789abcdef", append(opts, connic.WithBaseURL(srv.URL+"/v1"), connic.WithoutRateLimit())...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { client.Close() })
			return client
		},
	}
	get := func(c *connic.Client) func() {
		return func() {
			if _, err := c.Runs.Get(context.Background(), "run-1"); err != nil {
				t.Error(err)
			}
		}
	}
	rounds := 40
	if raceDetector {
		rounds = 1 // no figure of it means anything
	}
	for way, client := range ways {
		floor := get(client())
		for _, cost := range costs {
			with := get(client(cost.opts()...))
			best := [2]time.Duration{time.Hour, time.Hour}
			for range rounds {
				for i, f := range []func(){floor, with} {
					start := time.Now()
					for range 100 {
						f()
					}
					best[i] = min(best[i], time.Since(start))
				}
			}
			before, after := testing.AllocsPerRun(200, floor), testing.AllocsPerRun(200, with)
			t.Logf("%s, %s: %.2f times the time (%v beside %v), %.0f allocations beside %.0f", way, cost.name,
				float64(best[1])/float64(best[0]), best[1]/100, best[0]/100, after, before)
			// On a socket, net/http makes one more or less.
			if !raceDetector && after-before > cost.limit+2 {
				t.Errorf("%s, %s: %.0f allocations more", way, cost.name, after-before)
			}
		}
	}
}
