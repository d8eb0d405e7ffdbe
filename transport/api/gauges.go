package api

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lockstep-dev/lockstep/fsm"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// gauges are read when Prometheus asks.
type gauges struct {
	cluster Cluster

	leader, applied, committed, flushLag, logEntries, snapshot *prometheus.Desc
	ready, leased, waiting, oldest                             *prometheus.Desc
	sessions, instances                                        *prometheus.Desc
}

func newGauges(c Cluster) *gauges {
	of := func(labels ...string) func(name, help string) *prometheus.Desc {
		return func(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, labels, nil) }
	}
	group, queue, namespace := of("group"), of("namespace", "queue"), of("namespace")
	return &gauges{
		cluster:    c,
		leader:     group("lockstep_leader", "1 on the node that leads the group."),
		applied:    group("lockstep_applied_index", "Newest applied entry."),
		committed:  group("lockstep_commit_index", "Newest entry known to be committed."),
		flushLag:   group("lockstep_flush_lag_entries", "Applied entries that a restart would read from the log again."),
		logEntries: group("lockstep_log_entries", "Entries in the log."),
		snapshot:   group("lockstep_snapshot_index", "Entry of the newest snapshot."),
		ready:      queue("lockstep_queue_ready", "Runs in a queue."),
		leased:     queue("lockstep_queue_leased", "Runs of a queue that are leased."),
		waiting:    queue("lockstep_queue_waiting", "Runs that workers of a queue wait for."),
		oldest:     queue("lockstep_queue_oldest_seconds", "Age of the oldest run in a queue."),
		sessions:   of()("lockstep_sessions", "Live sessions."),
		instances:  namespace("lockstep_instances_live", "Instances that have not ended."),
	}
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(out chan<- *prometheus.Desc) {
	for _, d := range [...]*prometheus.Desc{
		g.leader, g.applied, g.committed, g.flushLag, g.logEntries, g.snapshot, g.ready, g.leased, g.waiting, g.oldest, g.sessions, g.instances,
	} {
		out <- d
	}
}

const (
	scrapeLimit   = 5 * time.Second
	maxNamespaces = 100 // whose queues are shown
)

// Collect implements prometheus.Collector.
func (g *gauges) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, s := range g.cluster.Status(0).Groups {
		leader := 0.0
		if s.State == "Leader" {
			leader = 1
		}
		gauge(g.leader, leader, s.Group)
		gauge(g.applied, float64(s.AppliedIndex), s.Group)
		gauge(g.committed, float64(s.CommitIndex), s.Group)
		gauge(g.flushLag, float64(s.AppliedIndex-s.FlushedIndex), s.Group)
		gauge(g.logEntries, entries(s), s.Group)
		gauge(g.snapshot, float64(s.SnapshotIndex), s.Group)
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeLimit)
	defer cancel()
	// A node that has heard of no leader yet shows no queues.
	_, _ = g.cluster.Read(ctx, "", v1.Consistency_CONSISTENCY_STALE, func(m *fsm.Machine) error {
		gauge(g.sessions, float64(m.Clock().Sessions))
		list, err := m.ListNamespaces(&v1.ListNamespacesRequest{Limit: maxNamespaces})
		for _, ns := range list.GetNamespaces() {
			gauge(g.instances, float64(ns.LiveInstances), ns.Namespace)
			queues, err := m.ListQueues(&v1.ListQueuesRequest{Namespace: ns.Namespace})
			if err != nil {
				continue // it is being deleted
			}
			for _, q := range queues.Queues {
				gauge(g.ready, float64(q.Ready), ns.Namespace, q.Queue)
				gauge(g.leased, float64(q.Leased), ns.Namespace, q.Queue)
				gauge(g.waiting, float64(q.Waiting), ns.Namespace, q.Queue)
				gauge(g.oldest, q.Oldest.AsDuration().Seconds(), ns.Namespace, q.Queue)
			}
		}
		return err
	})
}

// entries counts the log's; an empty log has none.
func entries(s *v1.GroupStatus) float64 {
	if s.FirstLogIndex == 0 {
		return 0
	}
	return float64(s.LastLogIndex - s.FirstLogIndex + 1)
}
