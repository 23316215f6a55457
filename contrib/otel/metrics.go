package connicotel

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Buckets, in seconds: for a request those of the conventions, and for calls,
// which may be queued for minutes, our own.
var (
	requestBounds = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
	callBounds    = []float64{0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}
)

// metrics are the instruments of a client.
type metrics struct {
	requests metric.Float64Histogram // http.client.request.duration
	calls    metric.Float64Histogram
	queue    metric.Float64Histogram
	retries  metric.Int64Counter
	refusals metric.Int64Counter
	sets     *cache[set, *labels]
}

func newMetrics(m metric.Meter) metrics {
	histogram := func(name, description string, bounds []float64) metric.Float64Histogram {
		h, err := m.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description),
			metric.WithExplicitBucketBoundaries(bounds...))
		must(err)
		return h
	}
	counter := func(name, unit, description string) metric.Int64Counter {
		c, err := m.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
		must(err)
		return c
	}
	return metrics{
		requests: histogram("http.client.request.duration", "Duration of HTTP client requests.", requestBounds),
		calls:    histogram("connic.client.call.duration", "Duration of calls, with their waits and all attempts.", callBounds),
		queue:    histogram("connic.client.queue.duration", "Time that a call waited for the rate limit.", callBounds),
		retries:  counter("connic.client.retries", "{request}", "Requests that were sent again."),
		refusals: counter("connic.client.refusals", "{request}", "Requests refused for the rate limit, by the service or by the client itself."),
		sets:     new(cache[set, *labels]),
	}
}

// enabled reports whether anything is recorded.
func (m *metrics) enabled(ctx context.Context) bool {
	return m.calls.Enabled(ctx) || m.requests.Enabled(ctx) || m.queue.Enabled(ctx) || m.retries.Enabled(ctx) || m.refusals.Enabled(ctx)
}

func must(err error) {
	if err != nil {
		panic("connicotel: " + err.Error()) //nolint:forbidigo // documented; fails only for an invalid name or unit in this file
	}
}

// set identifies the attributes of a measurement.
type set struct {
	kind         byte
	op, method   string
	route, word  string
	host         string
	port, status int
	lane         connic.Lane
	byService    bool
}

// labels holds attributes in the forms that can be recorded without an
// allocation.
type labels struct {
	record []metric.RecordOption
	add    []metric.AddOption
}

func newLabels(attrs ...attribute.KeyValue) *labels {
	o := metric.WithAttributeSet(attribute.NewSet(attrs...))
	return &labels{[]metric.RecordOption{o}, []metric.AddOption{o}}
}

// A cache holds values that are expensive to create. It is read without a lock.
// Its size is limited; values beyond that are created each time.
type cache[K comparable, V any] struct {
	mu sync.Mutex
	m  atomic.Pointer[map[K]V]
}

const maxCached = 2000

func (c *cache[K, V]) get(key K) (v V, ok bool) {
	if m := c.m.Load(); m != nil {
		v, ok = (*m)[key]
	}
	return v, ok
}

func (c *cache[K, V]) put(key K, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	grown := make(map[K]V)
	if m := c.m.Load(); m != nil {
		if len(*m) >= maxCached {
			return
		}
		maps.Copy(grown, *m)
	}
	grown[key] = v
	c.m.Store(&grown)
}

// labelled returns the labels for a key. attrs creates them if they are new.
func (m *metrics) labelled(key set, attrs func() []attribute.KeyValue) *labels {
	l, ok := m.sets.get(key)
	if !ok {
		l = newLabels(attrs()...)
		m.sets.put(key, l)
	}
	return l
}

// attempted records an HTTP request.
func (m *metrics) attempted(ctx context.Context, k *call, e connic.Event) {
	if e.StatusCode == http.StatusTooManyRequests {
		m.refused(ctx, e, true)
	}
	if e.Method == "" || !m.requests.Enabled(ctx) { // no request, but a message
		return
	}
	key := set{kind: 'h', method: e.Method, route: e.Route, word: errorType(e), host: k.host, port: k.port, status: e.StatusCode}
	l, ok := m.sets.get(key)
	if !ok {
		l = newLabels(appendOutcome([]attribute.KeyValue{
			attribute.String("http.request.method", e.Method), attribute.String("url.template", e.Route),
			attribute.String("server.address", k.host), attribute.Int("server.port", k.port),
		}, e)...)
		m.sets.put(key, l)
	}
	m.requests.Record(ctx, e.Duration.Seconds(), l.record...)
}

// retried counts retries, refusals separately.
func (m *metrics) retried(ctx context.Context, e connic.Event) {
	if e.StatusCode == http.StatusTooManyRequests || !m.retries.Enabled(ctx) {
		return
	}
	l := m.labelled(set{kind: 'r', op: e.Op, status: e.StatusCode}, func() []attribute.KeyValue {
		attrs := []attribute.KeyValue{attribute.String("connic.operation", e.Op)}
		if e.StatusCode != 0 {
			attrs = append(attrs, attribute.Int("http.response.status_code", e.StatusCode))
		}
		return attrs
	})
	m.retries.Add(ctx, 1, l.add...)
}

func (m *metrics) refused(ctx context.Context, e connic.Event, byService bool) {
	if !m.refusals.Enabled(ctx) {
		return
	}
	l := m.labelled(set{kind: 'n', op: e.Op, byService: byService}, func() []attribute.KeyValue {
		by := "client"
		if byService {
			by = "service"
		}
		return []attribute.KeyValue{attribute.String("connic.operation", e.Op), attribute.String("connic.refused_by", by)}
	})
	m.refusals.Add(ctx, 1, l.add...)
}

// done records a call.
func (m *metrics) done(ctx context.Context, e connic.Event) {
	word := errorType(e)
	if word == localRefusal {
		m.refused(ctx, e, false)
	}
	if m.calls.Enabled(ctx) {
		key := set{kind: 'c', op: e.Op, lane: e.Lane, word: word}
		l, ok := m.sets.get(key)
		if !ok {
			attrs := []attribute.KeyValue{attribute.String("connic.operation", e.Op), attribute.String("connic.lane", laneName(e.Lane))}
			if word != "" {
				attrs = append(attrs, attribute.String("error.type", word))
			}
			l = newLabels(attrs...)
			m.sets.put(key, l)
		}
		m.calls.Record(ctx, e.Duration.Seconds(), l.record...)
	}
	if e.Queued >= time.Millisecond && m.queue.Enabled(ctx) {
		l := m.labelled(set{kind: 'q', lane: e.Lane}, func() []attribute.KeyValue {
			return []attribute.KeyValue{attribute.String("connic.lane", laneName(e.Lane))}
		})
		m.queue.Record(ctx, e.Queued.Seconds(), l.record...)
	}
}

const localRefusal = "rate_limit"

// errorType returns the kind of a failure: a status code, or one of a short
// list. It returns "" for a success, or if the caller canceled the call.
func errorType(e connic.Event) string {
	err := e.Err
	if err == nil {
		return ""
	}
	var (
		answer   *connic.Error
		limit    *connic.LimitError
		decode   *connic.DecodeError
		argument *connic.ArgumentError
		run      *connic.RunError
		mode     *connector.ModeError
		hook     *connector.Error
		dns      *net.DNSError
		op       *net.OpError
	)
	switch {
	case errors.As(err, &limit):
		return localRefusal
	case errors.Is(err, context.Canceled):
		return ""
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.As(err, &run):
		return "run"
	case errors.As(err, &mode):
		return "mode"
	case errors.As(err, &decode), e.StatusCode/100 == 2 && errors.As(err, &hook):
		return "decode"
	case e.StatusCode >= 400 && errors.As(err, &answer):
		return strconv.Itoa(e.StatusCode)
	case errors.As(err, &argument):
		return "argument"
	case e.Method == "" && e.Attempt == 0:
		return "not_sent"
	case errors.As(err, &dns):
		return "dns"
	case errors.As(err, &op) && op.Op == "dial":
		return "dial"
	default:
		return "transport"
	}
}

// ObserveQuota records the rate limit of a client, as returned by
// [connic.Client.RateLimit]: gauges of the quota, of how much of it is used, of
// attempts that wait for it, and of slots reserved for polls. It costs no
// request. name distinguishes the clients of a process, and must have low
// cardinality. Unregister the result when the client is no longer used.
func ObserveQuota(c *connic.Client, name string, opts ...Option) (metric.Registration, error) {
	m := newConfig(opts).meters.Meter(scope, metric.WithInstrumentationVersion(connic.Version))
	var failed error
	gauge := func(name, unit, description string) metric.Int64ObservableGauge {
		g, err := m.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
		failed = errors.Join(failed, err)
		return g
	}
	limit := gauge("connic.client.quota.limit", "{request}", "Requests per window that the client keeps to.")
	used := gauge("connic.client.quota.used", "{request}", "Requests that count against the window now.")
	waiting := gauge("connic.client.quota.waiting", "{request}", "Queued requests.")
	reserved := gauge("connic.client.quota.reserved", "{request}", "Slots reserved for the polls of waits.")
	paused := gauge("connic.client.quota.paused", "1", "1 while a 429 stops the client.")
	if failed != nil {
		return nil, failed
	}
	client := metric.WithAttributeSet(attribute.NewSet(attribute.String("connic.client", name)))
	lane := func(lane connic.Lane) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(
			attribute.String("connic.client", name), attribute.String("connic.lane", laneName(lane)),
		))
	}
	calls, polls := lane(connic.LaneCall), lane(connic.LanePoll)
	return m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := c.RateLimit()
		o.ObserveInt64(limit, int64(s.Limit), client)
		o.ObserveInt64(used, int64(s.Used), client)
		o.ObserveInt64(reserved, int64(s.Reserved), client)
		o.ObserveInt64(waiting, int64(s.Waiting), calls)
		o.ObserveInt64(waiting, int64(s.Polling), polls)
		pausedNow := int64(0)
		if !s.PausedUntil.IsZero() {
			pausedNow = 1
		}
		o.ObserveInt64(paused, pausedNow, client)
		return nil
	}, limit, used, reserved, waiting, paused)
}
