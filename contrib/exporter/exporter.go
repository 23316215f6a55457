// Package exporter exposes a Connic project to Prometheus: its runs, tokens, cost
// and budgets, the quota, and the requests of the exporter itself. The program
// connic-exporter serves an [Exporter]; a program that has metrics of its own
// registers one.
package exporter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/mask"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The defaults of [Options].
const (
	DefaultInterval = time.Minute
	DefaultLookback = 15 * time.Minute
	DefaultShare    = 0.1
	DefaultPages    = 10
)

// Options are the settings of an [Exporter]. A field that is 0 has its default.
type Options struct {
	// Interval is the minimum time between two polls of the service.
	Interval time.Duration
	// Lookback is the maximum age of the runs that are counted.
	Lookback time.Duration
	// Share is the maximum share of the quota that polls use, up to 1.
	Share float64
	// Pages is the maximum number of pages of 100 runs per poll, at one request
	// each.
	Pages int
}

// maxBudgets limits the series of budgets, and maxSeries those of runs.
const (
	maxBudgets = 200
	maxSeries  = 2000
)

// counts holds what the exporter's own client does, as its observer reports it.
type counts struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	sent     atomic.Int64
}

func newCounts() *counts {
	return &counts{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "connic_client_requests_total", Help: "Requests sent by the exporter, by operation and status code (0: no response).",
		}, []string{"operation", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "connic_client_request_duration_seconds", Help: "Duration of the exporter's requests.", Buckets: prometheus.DefBuckets,
		}, []string{"operation"}),
	}
}

func (c *counts) observe(_ context.Context, e connic.Event) {
	if e.Kind == connic.EventAttempt {
		c.sent.Add(1)
		c.requests.WithLabelValues(e.Op, strconv.Itoa(e.StatusCode)).Inc()
		c.duration.WithLabelValues(e.Op).Observe(e.Duration.Seconds())
	}
}

// runKey are the labels of runs.
type runKey struct{ agent, environment, status string }

// moneyKey are the labels of cost.
type moneyKey struct{ agent, environment, currency string }

// budgetKey are the labels of budgets.
type budgetKey struct{ id, name, currency string }

// A snapshot is the result of one poll.
type snapshot struct {
	at      time.Time
	runs    map[runKey]int
	tokens  map[[2]string]int64 // agent and kind
	cost    map[moneyKey]connic.Decimal
	budgets map[budgetKey]*connic.Budget // a list that changes may show one twice
	whole   bool                         // all runs in the period were seen
	fresh   time.Duration                // how long it is shown
}

// An Exporter is a [prometheus.Collector]. It polls the service on its own
// schedule, while Run runs; a scrape sends no request.
type Exporter struct {
	client *connic.Client
	counts *counts
	conf   Options
	last   atomic.Pointer[snapshot]
	up     atomic.Bool
}

// New returns an exporter with a client of its own, which newClient makes with the
// options that it gets, such as [connic.NewFromEnv]. Options may be nil. It sends
// no request.
func New(newClient func(...connic.Option) (*connic.Client, error), o *Options) (*Exporter, error) {
	var conf Options
	if o != nil {
		conf = *o
	}
	conf.Interval, conf.Lookback = cmp.Or(conf.Interval, DefaultInterval), cmp.Or(conf.Lookback, DefaultLookback)
	conf.Share, conf.Pages = cmp.Or(conf.Share, DefaultShare), cmp.Or(conf.Pages, DefaultPages)
	switch {
	case conf.Interval < 0 || conf.Lookback < 0 || conf.Pages < 0:
		return nil, errors.New("exporter: the interval, the lookback and the pages must be positive")
	case !(conf.Share > 0 && conf.Share <= 1): // NaN is not
		return nil, fmt.Errorf("exporter: the share of the quota must be above 0 and at most 1: %v", conf.Share)
	}
	c := newCounts()
	client, err := newClient(connic.WithObserver(c.observe), connic.WithReadOnly(), connic.WithApplication("connic-exporter", connic.Version))
	if err != nil {
		return nil, err
	}
	return &Exporter{client: client, counts: c, conf: conf}, nil
}

// Close closes the client. Call it when Run has returned.
func (e *Exporter) Close() error { return e.client.Close() }

// Handler returns a handler for scrapes of a registry that has only the exporter.
func (e *Exporter) Handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(e)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// Run polls until ctx ends. The first poll is at once. The cost of a poll
// determines the time of the next one, so that polls never use more than their
// share of the quota.
func (e *Exporter) Run(ctx context.Context) {
	for ctx.Err() == nil {
		before := e.counts.sent.Load()
		s, err := e.look(ctx)
		pause := e.pause(int(e.counts.sent.Load() - before))
		e.up.Store(err == nil)
		if err == nil {
			s.fresh = 5 * pause
			e.last.Store(s)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// pause returns how long that many requests must last.
func (e *Exporter) pause(requests int) time.Duration {
	limit := e.client.RateLimit()
	if limit.Limit == 0 {
		return e.conf.Interval
	}
	perRequest := float64(limit.Window) / (float64(limit.Limit) * e.conf.Share)
	return max(e.conf.Interval, time.Duration(float64(requests)*perRequest))
}

// look polls the service once, in the low lane, so that everyone else goes
// first.
func (e *Exporter) look(ctx context.Context) (*snapshot, error) {
	s := &snapshot{
		at: time.Now(), runs: map[runKey]int{}, tokens: map[[2]string]int64{}, cost: map[moneyKey]connic.Decimal{}, budgets: map[budgetKey]*connic.Budget{}, whole: true,
	}
	seen := 0
	for run, err := range e.client.Runs.All(ctx, &connic.RunListParams{CreatedAfter: s.at.Add(-e.conf.Lookback)}, connic.WithLane(connic.LaneLow)) {
		if err != nil {
			return nil, err
		}
		if seen++; seen > 100*e.conf.Pages {
			s.whole = false
			break
		}
		s.add(run)
	}
	for b, err := range e.client.Budgets.All(ctx, nil, connic.WithLane(connic.LaneLow)) {
		if err != nil {
			return nil, err
		}
		key := budgetKey{label(b.ID), label(b.Name), label(b.Currency)}
		if _, twice := s.budgets[key]; !twice && len(s.budgets) == maxBudgets {
			break
		}
		s.budgets[key] = b
	}
	return s, nil
}

// maxLabel limits the characters of a label.
const maxLabel = 200

// label makes text from the service suitable as a label: one line of valid UTF-8
// without keys.
func label(s string) string { return mask.Line(s, maxLabel) }

func (s *snapshot) add(run *connic.Run) {
	agent, environment := label(run.AgentName), label(run.EnvironmentID)
	if len(s.runs) >= maxSeries {
		agent, environment = "other", "other"
	}
	s.runs[runKey{agent, environment, cmp.Or(label(string(run.Status)), "unknown")}]++
	u := run.TokenUsage
	for kind, n := range map[string]int64{"input": u.Input, "output": u.Output, "thinking": u.Thinking, "cached": u.Cached} {
		if n != 0 {
			s.tokens[[2]string{agent, kind}] += n
		}
	}
	if !run.Cost.IsZero() {
		key := moneyKey{agent, environment, label(run.Currency)}
		s.cost[key] = s.cost[key].Add(run.Cost)
	}
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	up       = desc("connic_exporter_up", "1 if the last poll of the service succeeded.")
	looked   = desc("connic_exporter_last_success_timestamp_seconds", "Time of the last successful poll.")
	whole    = desc("connic_exporter_complete", "1 if the last poll saw all runs of its period.")
	runs     = desc("connic_runs_recent", "Runs created in the lookback period, by their current status.", "agent", "environment", "status")
	tokens   = desc("connic_tokens_recent", "Tokens of these runs.", "agent", "kind")
	cost     = desc("connic_cost_recent", "Cost of these runs.", "agent", "environment", "currency")
	amount   = desc("connic_budget_amount", "Amount of a budget.", "budget", "name", "currency")
	spent    = desc("connic_budget_spent", "What was spent of a budget in its period.", "budget", "name", "currency")
	limit    = desc("connic_client_quota_limit", "Requests per window that the exporter's client keeps to.")
	used     = desc("connic_client_quota_used", "Requests of the exporter that count against the window.")
	waiting  = desc("connic_client_quota_waiting", "Queued requests of the exporter.")
	refusals = desc("connic_client_refusals_total", "Requests of the exporter that the service refused with 429.")
)

// Describe implements [prometheus.Collector].
func (e *Exporter) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{up, looked, whole, runs, tokens, cost, amount, spent, limit, used, waiting, refusals} {
		ch <- d
	}
	e.counts.requests.Describe(ch)
	e.counts.duration.Describe(ch)
}

// Collect implements [prometheus.Collector]. It omits unknown values, so that
// their series end instead of becoming 0.
func (e *Exporter) Collect(ch chan<- prometheus.Metric) {
	e.counts.requests.Collect(ch)
	e.counts.duration.Collect(ch)
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	q := e.client.RateLimit()
	gauge(limit, float64(q.Limit))
	gauge(used, float64(q.Used))
	gauge(waiting, float64(q.Waiting+q.Polling))
	ch <- prometheus.MustNewConstMetric(refusals, prometheus.CounterValue, float64(q.Refusals))
	gauge(up, flagOf(e.up.Load()))
	s := e.last.Load()
	if s == nil {
		return
	}
	gauge(looked, float64(s.at.UnixMilli())/1000)
	if time.Since(s.at) > s.fresh {
		return // too old to be shown as current, also if a poll has not ended yet
	}
	gauge(whole, flagOf(s.whole))
	for k, n := range s.runs {
		gauge(runs, float64(n), k.agent, k.environment, k.status)
	}
	for k, n := range s.tokens {
		gauge(tokens, float64(n), k[0], k[1])
	}
	for k, c := range s.cost {
		gauge(cost, c.Float64(), k.agent, k.environment, k.currency)
	}
	for k, b := range s.budgets {
		gauge(amount, b.Amount.Float64(), k.id, k.name, k.currency)
		if !b.Spent.IsZero() {
			gauge(spent, b.Spent.Float64(), k.id, k.name, k.currency)
		}
	}
}

func flagOf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
