package api

import (
	"context"
	"net/http"
	"reflect"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// Metrics are what Prometheus scrapes of a node, by its conventions. It is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	body     protoreflect.OneofDescriptor // of a command: its type

	calls    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	streams  *prometheus.GaugeVec
	refusals *prometheus.CounterVec
	commands *prometheus.CounterVec
	endings  sync.Map // the counters of commands, by ending
	commit   prometheus.Histogram
	sent     prometheus.Counter
	received prometheus.Counter

	events    *prometheus.CounterVec
	entries   prometheus.Counter
	applied   prometheus.Counter
	apply     prometheus.Histogram
	perEntry  prometheus.Histogram
	settled   prometheus.Counter
	renewals  prometheus.Counter
	granted   prometheus.Counter
	lapsed    prometheus.Counter
	completed prometheus.Counter
	late      prometheus.Counter
	expired   prometheus.Counter
	lag       prometheus.Histogram
	firings   prometheus.Histogram
}

// NewMetrics makes metrics in a registry of their own.
func NewMetrics() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), body: (&logv1.Command{}).ProtoReflect().Descriptor().Oneofs().ByName("body")}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.calls = m.vector("lockstep_calls_total", "API calls answered, by procedure and code.", "procedure", "code")
	m.seconds = add(m, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "lockstep_call_seconds", Help: "How long unary API calls took, waits included.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 18),
	}, []string{"procedure"}))
	m.streams = add(m, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "lockstep_streams", Help: "Open streams."}, []string{"procedure"}))
	m.refusals = m.vector("lockstep_refusals_total", "Calls refused here, by code.", "code")
	m.commands = m.vector("lockstep_commands_total", "Commands proposed here, by type and outcome: done, waits, unknown, or the code of the refusal.", "type", "outcome")
	m.commit = add(m, prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "lockstep_commit_seconds", Help: "From proposing commands until they were applied.", Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16),
	}))
	m.sent = m.counter("lockstep_api_sent_bytes_total", "Bytes sent on the API's port.")
	m.received = m.counter("lockstep_api_received_bytes_total", "Bytes received on the API's port.")
	m.events = m.vector("lockstep_events_total", "Events applied on this node, by type.", "type")
	m.entries = m.counter("lockstep_entries_applied_total", "Log entries applied on this node.")
	m.applied = m.counter("lockstep_commands_applied_total", "Commands applied on this node.")
	m.perEntry = add(m, prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "lockstep_commands_per_entry", Help: "Commands packed into one log entry.", Buckets: prometheus.ExponentialBuckets(1, 2, 10),
	}))
	m.apply = add(m, prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "lockstep_apply_seconds", Help: "Applying one log entry on this node.", Buckets: prometheus.ExponentialBuckets(0.00001, 2, 20),
	}))
	m.settled = m.counter("lockstep_waits_settled_total", "Waits answered.")
	m.renewals = m.counter("lockstep_renewals_total", "Session renewals applied.")
	m.granted = m.counter("lockstep_leases_granted_total", "Run leases granted.")
	m.lapsed = m.counter("lockstep_leases_lapsed_total", "Run leases that lapsed.")
	m.completed = m.counter("lockstep_completions_total", "Completions accepted.")
	m.late = m.counter("lockstep_completions_fenced_total", "Completions refused as fenced, and kept as late results.")
	m.expired = m.counter("lockstep_sessions_expired_total", "Sessions that were not renewed in time.")
	m.lag = add(m, prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "lockstep_timer_lag_seconds", Help: "How much later timers fired than they were due.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 20),
	}))
	m.firings = add(m, prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "lockstep_schedule_lag_seconds", Help: "How long after their time the times of schedules were decided.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 24),
	}))
	return m
}

func add[C prometheus.Collector](m *Metrics, c C) C {
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) counter(name, help string) prometheus.Counter {
	return add(m, prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help}))
}

func (m *Metrics) vector(name, help string, labels ...string) *prometheus.CounterVec {
	return add(m, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels))
}

// Observe counts what an entry did, and how long applying it took. It does not block.
func (m *Metrics) Observe(r fsm.Result, took time.Duration) {
	m.entries.Inc()
	m.apply.Observe(took.Seconds())
	m.applied.Add(float64(len(r.Outcomes)))
	m.perEntry.Observe(float64(len(r.Outcomes)))
	m.settled.Add(float64(len(r.Settled)))
	m.renewals.Add(float64(len(r.Renewals)))
	for _, lag := range r.Lags {
		m.lag.Observe(time.Duration(lag).Seconds())
	}
	for _, lag := range r.FiringLags {
		m.firings.Observe(time.Duration(lag).Seconds())
	}
	for _, kind := range r.Kinds {
		m.events.WithLabelValues(kind).Inc()
		switch kind {
		case "lockstep.step.leased.v1":
			m.granted.Inc()
		case "lockstep.step.lapsed.v1":
			m.lapsed.Inc()
		case "lockstep.step.completed.v1":
			m.completed.Inc()
		case "lockstep.step.late.v1":
			m.late.Inc()
		case "lockstep.session.expired.v1":
			m.expired.Inc()
		}
	}
}

// proposed counts commands, and how they ended.
func (m *Metrics) proposed(commands []*logv1.Command, outcomes []fsm.Outcome, err error, took time.Duration) {
	if err == nil {
		m.commit.Observe(took.Seconds())
	}
	for i, c := range commands {
		outcome := "done"
		switch {
		case err != nil:
			outcome = "unknown"
			if r := refusalOf(err); r != nil {
				outcome = fsm.CodeName(r.Code)
			}
		case outcomes[i].Refusal != nil:
			outcome = fsm.CodeName(outcomes[i].Refusal.Code)
		case outcomes[i].Parked:
			outcome = "waits"
		}
		m.counterOf(c, outcome).Inc()
	}
}

// ending is how a command of a type ended.
type ending struct {
	body    reflect.Type
	outcome string
}

// counterOf finds the counter of a command's type and outcome without looking for names again.
func (m *Metrics) counterOf(c *logv1.Command, outcome string) prometheus.Counter {
	key := ending{reflect.TypeOf(c.Body), outcome}
	if known, ok := m.endings.Load(key); ok {
		return known.(prometheus.Counter)
	}
	kind := "none"
	if field := c.ProtoReflect().WhichOneof(m.body); field != nil {
		kind = string(field.Name())
	}
	counter := m.commands.WithLabelValues(kind, outcome)
	m.endings.Store(key, counter)
	return counter
}

// answered counts a call.
func (m *Metrics) answered(procedure string, err error) {
	code := "ok"
	if err != nil {
		code = connect.CodeOf(err).String()
		if r := refusalOf(err); r != nil {
			m.refusals.WithLabelValues(fsm.CodeName(r.Code)).Inc()
		}
	}
	m.calls.WithLabelValues(procedure, code).Inc()
}

// WrapUnary implements connect.Interceptor.
func (m *Metrics) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		began := time.Now()
		response, err := next(ctx, r)
		m.answered(r.Spec().Procedure, err)
		m.seconds.WithLabelValues(r.Spec().Procedure).Observe(time.Since(began).Seconds())
		return response, err
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (m *Metrics) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		open := m.streams.WithLabelValues(conn.Spec().Procedure)
		open.Inc()
		defer open.Dec()
		err := next(ctx, conn)
		m.answered(conn.Spec().Procedure, err)
		return err
	}
}

// WrapStreamingClient implements connect.Interceptor; servers have no use for it.
func (m *Metrics) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (m *Metrics) handler(c Cluster) http.Handler {
	now := prometheus.NewRegistry()
	now.MustRegister(newGauges(c))
	return promhttp.HandlerFor(prometheus.Gatherers{m.registry, now}, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}
