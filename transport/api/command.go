package api

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// commandLimit bounds a command, and a read, whose caller set no deadline.
const commandLimit = 15 * time.Second

// propose has a command applied and returns its reply.
func propose[Res proto.Message](s *service, ctx context.Context, command *logv1.Command) (Res, error) {
	out, err := s.proposeAll(ctx, []*logv1.Command{command})
	if err != nil {
		var none Res
		return none, err
	}
	return replyOf[Res](out[0].Reply, out[0].Refusal)
}

// proposeAll has commands of one namespace applied next to each other, in order.
func (s *service) proposeAll(ctx context.Context, commands []*logv1.Command) ([]fsm.Outcome, error) {
	if len(commands) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	began := time.Now()
	outcomes, err := s.cluster.ProposeAll(ctx, commands)
	s.config.Metrics.proposed(commands, outcomes, err, time.Since(began))
	if errors.Is(err, context.DeadlineExceeded) { // who stops waiting for a command does not know its outcome
		err = fsm.Refuse(v1.Code_CODE_UNKNOWN_OUTCOME, "the command was not answered in time; ask again with the same identity")
	}
	return outcomes, err
}

func replyOf[Res proto.Message](reply proto.Message, refusal *v1.Refusal) (Res, error) {
	if refusal != nil {
		var none Res
		return none, &fsm.Refusal{Detail: refusal}
	}
	return reply.(Res), nil
}

// readOf reads from this node's state: behind a barrier, or as it is, whichever consistency asks for.
func readOf[Req any, Res any](s *service, ctx context.Context, namespace string, c v1.Consistency, r Req, fn func(*fsm.Machine, Req) (Res, error)) (res Res, age time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	age, err = s.cluster.Read(ctx, namespace, c, func(m *fsm.Machine) error {
		res, err = fn(m, r)
		return err
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = fsm.Refuse(v1.Code_CODE_UNAVAILABLE, "the read was not answered in time; try again")
	}
	return res, age, err
}
