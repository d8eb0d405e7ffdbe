package api

import (
	"context"
	"net/http"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
	lockstepv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1/lockstepv1connect"
)

// progressEvery is how often a watch tells of positions that its filter skipped, and so that it is alive.
const progressEvery = time.Second

// Bounds of a watch.
const (
	eventsPage  = 500
	maxLabelled = 10_000
)

// WatchEvents sends every event after a position, in order, without gap or duplicate, from this node's state: events
// are facts, and every node has the same. A node that is behind sends them later.
func (s *service) WatchEvents(ctx context.Context, r *connect.Request[v1.WatchEventsRequest], stream *connect.ServerStream[v1.WatchEventsResponse]) error {
	w := &watch{s: s, ask: r.Msg, stream: stream, after: r.Msg.After, labelled: map[string]bool{}}
	err := w.check()
	if err == nil {
		err = w.begin(ctx, r.Header())
	}
	if err == nil {
		err = w.run(ctx)
	}
	return asConnect(err)
}

// watch is one call.
type watch struct {
	s      *service
	ask    *v1.WatchEventsRequest
	stream *connect.ServerStream[v1.WatchEventsResponse]
	after  int64 // every event up to here was sent or filtered out
	known  bool  // this node has known the namespace

	labelled map[string]bool // instances whose labels were looked up
}

func (w *watch) check() error {
	if w.ask.After < -1 {
		return invalid("after is %d; give a position, or -1 for now", w.ask.After)
	}
	for _, kind := range w.ask.Types {
		if err := name("type", kind); err != nil {
			return err
		}
	}
	for field, s := range map[string]string{"namespace": w.ask.Namespace, "instanceId": w.ask.InstanceId, "workflow": w.ask.Workflow} {
		if err := optional(field, s); err != nil {
			return err
		}
	}
	return pairs("labels", w.ask.Labels, maxLabels)
}

// begin finds where to begin. Of a namespace or a position that this node does not know, it asks the leader.
func (w *watch) begin(ctx context.Context, h http.Header) error {
	var newest int64
	err := w.read(ctx, func(m *fsm.Machine) (err error) {
		newest, err = m.Position(w.ask.Namespace)
		return err
	})
	if err != nil && !behind(err) {
		return err
	}
	if err != nil || w.after > newest {
		get := &v1.GetNamespaceRequest{Namespace: w.ask.Namespace}
		ns, err := ask(w.s, ctx, h, lockstepv1.NamespaceServiceGetNamespaceProcedure, get.Namespace, get, (*fsm.Machine).GetNamespace)
		if err != nil {
			return err
		}
		newest = ns.Position
	}
	if w.after > newest {
		return invalid("position %d is in the future: the newest is %d", w.after, newest)
	}
	if w.after == -1 { // told at once: who watches from now must know from where to resume
		w.after = newest
		return w.stream.Send(&v1.WatchEventsResponse{Position: w.after})
	}
	if plant.Is(plant.WatchSkips) && w.after > 0 {
		w.after++
	}
	return nil
}

func (w *watch) run(ctx context.Context) error {
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	now := make(chan struct{})
	close(now)
	for {
		changed := w.s.cluster.Changed(w.ask.Namespace)
		before := w.after
		kept, err := w.next(ctx)
		if err != nil {
			return err
		}
		if len(kept) > 0 {
			if err := w.stream.Send(&v1.WatchEventsResponse{Events: kept, Position: w.after}); err != nil {
				return err
			}
		}
		if w.after > before {
			changed = now // there may be more
		}
		select {
		case <-changed:
		case <-ticker.C:
			if err := w.stream.Send(&v1.WatchEventsResponse{Position: w.after}); err != nil {
				return err
			}
		case <-w.s.ctx.Done():
			return stopping()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *watch) read(ctx context.Context, fn func(*fsm.Machine) error) error {
	_, err := w.s.cluster.Read(ctx, w.ask.Namespace, v1.Consistency_CONSISTENCY_STALE, fn)
	return err
}

// next reads the next events, and keeps those that are asked for.
func (w *watch) next(ctx context.Context) (kept []*v1.Event, err error) {
	err = w.read(ctx, func(m *fsm.Machine) error {
		newest, err := m.Position(w.ask.Namespace)
		if err != nil {
			return err
		}
		w.known = true
		if w.after >= newest {
			return nil // a node that is behind waits for what it is asked for
		}
		events, err := m.Events(w.ask.Namespace, w.after, eventsPage)
		for _, e := range events {
			w.after = e.Position
			if w.wants(m, e) {
				kept = append(kept, e)
			}
		}
		return err
	})
	if code := refusalOf(err).GetCode(); code == v1.Code_CODE_UNAVAILABLE || code == v1.Code_CODE_NAMESPACE_NOT_FOUND && !w.known {
		return nil, nil // later
	}
	return kept, err
}

// wants: everything that the request sets matches.
func (w *watch) wants(m *fsm.Machine, e *v1.Event) bool {
	ask, data := w.ask, e.Data
	if len(ask.Types) > 0 && !slices.Contains(ask.Types, e.Type) {
		return false
	}
	if ask.InstanceId != "" && ask.InstanceId != data.InstanceId || ask.Workflow != "" && ask.Workflow != data.Workflow {
		return false
	}
	return len(ask.Labels) == 0 || w.wantsLabels(m, data)
}

// wantsLabels: an instance has its labels for life, and few of its events say them.
func (w *watch) wantsLabels(m *fsm.Machine, data *v1.EventData) bool {
	if data.InstanceId == "" {
		return false
	}
	labels := data.Labels
	if len(labels) == 0 {
		if wanted, known := w.labelled[data.InstanceId]; known {
			return wanted
		}
		if i, err := m.GetInstance(&v1.GetInstanceRequest{Namespace: w.ask.Namespace, InstanceId: data.InstanceId}); err == nil {
			labels = i.Labels // of an instance that is gone nobody knows them
		}
	}
	wanted := true
	for key, value := range w.ask.Labels {
		has, ok := labels[key]
		wanted = wanted && ok && has == value
	}
	if len(w.labelled) >= maxLabelled {
		clear(w.labelled)
	}
	w.labelled[data.InstanceId] = wanted
	return wanted
}
