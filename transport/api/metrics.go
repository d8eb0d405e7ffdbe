package api

import (
	"context"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lockstep-dev/lockstep/fsm"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Metrics are what Prometheus scrapes of a node, by its conventions.
type Metrics struct {
	registry  *prometheus.Registry
	calls     *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	refusals  *prometheus.CounterVec
	events    *prometheus.CounterVec
	entries   prometheus.Counter
	commands  prometheus.Counter
	perEntry  prometheus.Histogram
	granted   prometheus.Counter
	lapsed    prometheus.Counter
	fenced    prometheus.Counter
	completed prometheus.Counter
	settled   prometheus.Counter
	renewals  prometheus.Counter
}

// NewMetrics makes metrics in a registry of their own.
func NewMetrics() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		m.registry.MustRegister(c)
		return c
	}
	vector := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.registry.MustRegister(c)
		return c
	}
	m.calls = vector("lockstep_calls_total", "API calls answered, by procedure and code.", "procedure", "code")
	m.refusals = vector("lockstep_refusals_total", "Refusals answered, by code.", "code")
	m.events = vector("lockstep_events_total", "Events applied on this node, by type.", "type")
	m.entries = counter("lockstep_entries_applied_total", "Log entries applied on this node.")
	m.commands = counter("lockstep_commands_applied_total", "Commands applied on this node.")
	m.granted = counter("lockstep_leases_granted_total", "Run leases granted.")
	m.lapsed = counter("lockstep_leases_lapsed_total", "Run leases that lapsed.")
	m.completed = counter("lockstep_completions_total", "Completions accepted.")
	m.fenced = counter("lockstep_completions_fenced_total", "Completions refused as fenced, and kept as late results.")
	m.settled = counter("lockstep_waits_settled_total", "Waits answered.")
	m.renewals = counter("lockstep_renewals_total", "Session renewals applied.")
	m.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "lockstep_call_seconds", Help: "How long unary API calls took.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
	}, []string{"procedure"})
	m.perEntry = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "lockstep_commands_per_entry", Help: "Commands packed into one log entry.", Buckets: prometheus.ExponentialBuckets(1, 2, 10),
	})
	m.registry.MustRegister(m.seconds, m.perEntry)
	return m
}

// Observe counts what an entry did. It does not block.
func (m *Metrics) Observe(r fsm.Result) {
	m.entries.Inc()
	m.commands.Add(float64(len(r.Outcomes)))
	m.perEntry.Observe(float64(len(r.Outcomes)))
	m.settled.Add(float64(len(r.Settled)))
	m.renewals.Add(float64(len(r.Renewals)))
	for _, e := range r.Events {
		m.events.WithLabelValues(e.Type).Inc()
		switch e.Type {
		case "lockstep.step.leased.v1":
			m.granted.Inc()
		case "lockstep.step.lapsed.v1":
			m.lapsed.Inc()
		case "lockstep.step.completed.v1":
			m.completed.Inc()
		case "lockstep.step.late.v1":
			m.fenced.Inc()
		}
	}
}

// interceptor counts calls.
func (m *Metrics) interceptor() connect.Interceptor {
	return connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
			began := time.Now()
			response, err := next(ctx, r)
			code := "ok"
			if err != nil {
				code = connect.CodeOf(err).String()
				if refusal := refusalOf(err); refusal != nil {
					m.refusals.WithLabelValues(fsm.CodeName(refusal.Code)).Inc()
				}
			}
			m.calls.WithLabelValues(r.Spec().Procedure, code).Inc()
			m.seconds.WithLabelValues(r.Spec().Procedure).Observe(time.Since(began).Seconds())
			return response, err
		}
	})
}

// gauges are read when Prometheus asks.
type gauges struct {
	cluster Cluster
	leader, applied, flushLag, logEntries,
	ready, leased, waiting, oldest *prometheus.Desc
}

func newGauges(c Cluster) *gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &gauges{
		cluster:    c,
		leader:     desc("lockstep_leader", "1 on the node that leads the group.", "group"),
		applied:    desc("lockstep_applied_index", "Newest applied entry.", "group"),
		flushLag:   desc("lockstep_flush_lag_entries", "Applied entries that a restart would read from the log again.", "group"),
		logEntries: desc("lockstep_log_entries", "Entries in the log.", "group"),
		ready:      desc("lockstep_queue_ready", "Runs in a queue of the default namespace.", "queue"),
		leased:     desc("lockstep_queue_leased", "Runs of a queue that are leased.", "queue"),
		waiting:    desc("lockstep_queue_waiting", "Runs that workers of a queue wait for.", "queue"),
		oldest:     desc("lockstep_queue_oldest_seconds", "Age of the oldest run in a queue.", "queue"),
	}
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(out chan<- *prometheus.Desc) {
	for _, d := range [...]*prometheus.Desc{g.leader, g.applied, g.flushLag, g.logEntries, g.ready, g.leased, g.waiting, g.oldest} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, label string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, label)
	}
	for _, s := range g.cluster.Status(0).Groups {
		leader := 0.0
		if s.State == "Leader" {
			leader = 1
		}
		gauge(g.leader, leader, s.Group)
		gauge(g.applied, float64(s.AppliedIndex), s.Group)
		gauge(g.flushLag, float64(s.AppliedIndex-s.FlushedIndex), s.Group)
		gauge(g.logEntries, float64(s.LastLogIndex-s.FirstLogIndex), s.Group)
	}
	_, err := g.cluster.Read(context.Background(), "", v1.Consistency_CONSISTENCY_STALE, func(m *fsm.Machine) error {
		list, err := m.ListQueues(&v1.ListQueuesRequest{})
		for _, q := range list.GetQueues() {
			gauge(g.ready, float64(q.Ready), q.Queue)
			gauge(g.leased, float64(q.Leased), q.Queue)
			gauge(g.waiting, float64(q.Waiting), q.Queue)
			gauge(g.oldest, q.Oldest.AsDuration().Seconds(), q.Queue)
		}
		return err
	})
	if err != nil {
		out <- prometheus.NewInvalidMetric(g.ready, err)
	}
}

func (m *Metrics) handler(c Cluster) http.Handler {
	all := prometheus.NewRegistry()
	all.MustRegister(newGauges(c))
	return promhttp.HandlerFor(prometheus.Gatherers{m.registry, all}, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}
