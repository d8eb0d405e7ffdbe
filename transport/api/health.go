package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"

	"github.com/lockstep-dev/lockstep/fsm"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// leaderHealth is the health service's name for "this node leads and answers".
const leaderHealth = "lockstep.v1.Leader"

// Check implements grpchealth.Checker. A node that answers is healthy, whether or not it has a leader: see /readyz.
func (s *service) Check(ctx context.Context, r *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	status := grpchealth.StatusServing
	switch {
	case r.Service == leaderHealth:
		if _, self := s.cluster.Leader(""); !self || s.ready(ctx) != nil {
			status = grpchealth.StatusNotServing
		}
	case r.Service != "" && !slices.Contains(services(), r.Service):
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no service %q", r.Service))
	}
	return &grpchealth.CheckResponse{Status: status}, nil
}

// ready says why this node cannot have a call answered: it must know a leader, and have caught up with its term.
func (s *service) ready(ctx context.Context) error {
	if address, self := s.cluster.Leader(""); address == "" && !self {
		return errors.New("no leader is known")
	}
	var term uint64
	_, err := s.cluster.Read(ctx, "", v1.Consistency_CONSISTENCY_STALE, func(m *fsm.Machine) error {
		_, term = m.Applied()
		return nil
	})
	if err != nil {
		return err
	}
	for _, g := range s.cluster.Status(0).Groups {
		if term < g.Term {
			return fmt.Errorf("nothing of term %d is applied yet", g.Term)
		}
	}
	return nil
}

func (s *service) readyz(w http.ResponseWriter, r *http.Request) {
	if err := s.ready(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}
