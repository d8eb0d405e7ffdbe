package api

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"net/http"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Headers that say who asks, and why. Until there is authentication a principal is taken by its word, and marked so.
const (
	principalHeader = "Lockstep-Principal"
	reasonHeader    = "Lockstep-Reason"
)

type callerKey struct{}

// caller is what a request's headers say.
type caller struct {
	author      *v1.Author
	reason      string
	traceparent string
}

func withCaller(ctx context.Context, h http.Header) context.Context {
	c := caller{reason: h.Get(reasonHeader), traceparent: h.Get("Traceparent")}
	if principal := h.Get(principalHeader); principal != "" && len(principal) <= maxName {
		c.author = &v1.Author{Principal: principal, Kind: "client"}
	}
	if len(c.reason) > maxText {
		c.reason = c.reason[:maxText]
	}
	if len(c.traceparent) > 64 {
		c.traceparent = ""
	}
	return context.WithValue(ctx, callerKey{}, c)
}

// envelope is what every command of a call carries.
func envelope(ctx context.Context, namespace string) *logv1.Envelope {
	c, _ := ctx.Value(callerKey{}).(caller)
	e := &logv1.Envelope{Namespace: namespace, Author: c.author, Reason: c.reason, Traceparent: c.traceparent}
	e.Salt = make([]byte, 8)
	rand.Read(e.Salt)
	return e
}

// request adds what makes a retry safe.
func request(e *logv1.Envelope, session, id, lowest int64) (*logv1.Envelope, error) {
	if id < 0 || lowest < 0 {
		return nil, invalid("requestId is %d and lowestUnanswered %d; both count from 1", id, lowest)
	}
	if id > 0 {
		e.Session, e.RequestId, e.LowestUnanswered = session, id, lowest
	}
	return e, nil
}

// commandLimit bounds a command whose caller set no deadline.
const commandLimit = 15 * time.Second

// propose has a command applied and returns its reply.
func propose[Res proto.Message](s *service, ctx context.Context, command *logv1.Command) (Res, error) {
	var none Res
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	out, err := s.cluster.Propose(ctx, command)
	if err != nil {
		return none, unknownIfLeft(err)
	}
	return replyOf[Res](out.Reply, out.Refusal)
}

// unknownIfLeft: who stops waiting for a command does not know its outcome.
func unknownIfLeft(err error) error {
	if err == context.DeadlineExceeded {
		return fsm.Refuse(v1.Code_CODE_UNKNOWN_OUTCOME, "the command was not answered in time; ask again with the same identity")
	}
	return err
}

func replyOf[Res proto.Message](reply proto.Message, refusal *v1.Refusal) (Res, error) {
	var none Res
	if refusal != nil {
		return none, &fsm.Refusal{Detail: refusal}
	}
	return reply.(Res), nil
}

// proposeWait has a command applied that may be answered by a later entry.
func proposeWait[Res proto.Message](s *service, ctx context.Context, command *logv1.Command, wait time.Duration) (Res, error) {
	var none Res
	ctx, cancel := context.WithTimeout(ctx, wait+commandLimit)
	defer cancel()
	id := newWaitID()
	command.Envelope.WaitId = id
	settled, unsubscribe := s.cluster.Await(id)
	defer unsubscribe()
	namespace := command.Envelope.Namespace
	changed := s.cluster.LeaderChanged()
	out, err := s.cluster.Propose(ctx, command)
	if err != nil {
		return none, unknownIfLeft(err)
	}
	if !out.Parked {
		return replyOf[Res](out.Reply, out.Refusal)
	}
	for {
		select {
		case settlement := <-settled:
			return replyOf[Res](settlement.Reply, settlement.Refusal)
		case <-changed:
			changed = s.cluster.LeaderChanged()
			if _, self := s.cluster.Leader(namespace); !self {
				return none, fsm.Refuse(v1.Code_CODE_UNKNOWN_OUTCOME, "leadership was lost while the call waited; ask again with the same requestId")
			}
		case <-ctx.Done():
			s.endWait(namespace, id)
			return none, ctx.Err()
		}
	}
}

// endWait drops the wait of a caller that is gone, in the background: the caller is not there to wait for it.
func (s *service) endWait(namespace string, id uint64) {
	if s.ctx.Err() != nil {
		return
	}
	s.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, commandLimit)
		defer cancel()
		_, err := s.cluster.Propose(ctx, &logv1.Command{
			Envelope: &logv1.Envelope{Namespace: namespace},
			Body:     &logv1.Command_EndWait{EndWait: &logv1.EndWait{WaitId: id}},
		})
		if err != nil {
			s.config.Logger.Debug("drop the wait of a caller that left", "error", err) // it ends by its deadline
		}
	})
}

func newWaitID() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:]) | 1
}

// readOf reads from the state: what consistency asks for.
func readOf[Req any, Res any](s *service, ctx context.Context, namespace string, c v1.Consistency, r Req, fn func(*fsm.Machine, Req) (Res, error)) (res Res, age time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	age, err = s.cluster.Read(ctx, namespace, c, func(m *fsm.Machine) error {
		res, err = fn(m, r)
		return err
	})
	return res, age, err
}
