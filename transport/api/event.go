package api

import (
	"context"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// progressEvery is how often a watch tells of positions that its filter skipped, and so that it is alive.
const progressEvery = time.Second

// WatchEvents sends every event after a position, in order, without gap or duplicate, from this node's state: events
// are facts, and every node has the same. A node that is behind sends them later.
func (s *service) WatchEvents(ctx context.Context, r *connect.Request[v1.WatchEventsRequest], stream *connect.ServerStream[v1.WatchEventsResponse]) error {
	ask := r.Msg
	after := ask.After
	if after < -1 {
		return asConnect(invalid("after is %d; give a position, or -1 for now", after))
	}
	if after == -1 {
		var err error
		if after, err = s.position(ctx, ask.Namespace); err != nil {
			return asConnect(err)
		}
		// Told at once: who watches from now must know from where to resume.
		if err := stream.Send(&v1.WatchEventsResponse{Position: after}); err != nil {
			return err
		}
	}

	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for {
		changed := s.cluster.Changed(ask.Namespace)
		events, err := s.events(ctx, ask.Namespace, after)
		if err != nil {
			return asConnect(err)
		}
		if len(events) > 0 {
			after = events[len(events)-1].Position
			if kept := slices.DeleteFunc(events, func(e *v1.Event) bool { return !watched(ask, e) }); len(kept) > 0 {

				if err := stream.Send(&v1.WatchEventsResponse{Events: kept, Position: after}); err != nil {
					return err
				}
			}
			continue
		}
		select {
		case <-changed:
		case <-ticker.C:

			if err := stream.Send(&v1.WatchEventsResponse{Position: after}); err != nil {
				return err
			}
		case <-ctx.Done():
			return asConnect(ctx.Err())
		}
	}
}

func (s *service) position(ctx context.Context, namespace string) (position int64, err error) {
	_, err = s.cluster.Read(ctx, namespace, v1.Consistency_CONSISTENCY_STALE, func(m *fsm.Machine) (err error) {
		position, err = m.Position(namespace)
		return err
	})
	return position, err
}

func (s *service) events(ctx context.Context, namespace string, after int64) (events []*v1.Event, err error) {
	_, err = s.cluster.Read(ctx, namespace, v1.Consistency_CONSISTENCY_STALE, func(m *fsm.Machine) (err error) {
		if newest, err := m.Position(namespace); err != nil || after >= newest {
			return err // a node that is behind waits for what it is asked for
		}
		events, err = m.Events(namespace, after, 500)
		return err
	})
	return events, err
}

// watched: everything that the request sets matches.
func watched(r *v1.WatchEventsRequest, e *v1.Event) bool {
	if len(r.Types) > 0 && !slices.Contains(r.Types, e.Type) {
		return false
	}
	if r.InstanceId != "" && r.InstanceId != e.Data.InstanceId || r.Workflow != "" && r.Workflow != e.Data.Workflow {
		return false
	}
	for key, value := range r.Labels {
		if e.Data.Labels[key] != value {
			return false
		}
	}
	return true
}
