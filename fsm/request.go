package fsm

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A request id makes a command's retry safe: the session remembers the outcome until the client says that
// nothing below some id will be asked for again. The retry gets the first answer; an answered and forgotten
// one is refused, never run again.

// recall answers a request that was made before.
func (t *turn) recall() (*Outcome, *Refusal) {
	if t.env.Session == 0 || t.env.RequestId == 0 {
		return nil, nil
	}
	s, refusal := t.session(t.env.Session)
	if refusal != nil {
		return nil, refusal
	}
	if t.env.LowestUnanswered > s.rec.LowestUnanswered {
		s.rec.LowestUnanswered = t.env.LowestUnanswered
		s.rec.Outcomes = slices.DeleteFunc(s.rec.Outcomes, func(o *logv1.Outcome) bool { return o.RequestId < s.rec.LowestUnanswered })
		t.m.dirtySession(s)
	}
	if t.env.RequestId < s.rec.LowestUnanswered && !plant.Is(plant.RequestRerun) {
		return nil, Refuse(v1.Code_CODE_REQUEST_TOO_OLD, "request %d of session %s was answered and is forgotten: the lowest unanswered is %d", t.env.RequestId, sessionName(t.env.Session), s.rec.LowestUnanswered)
	}
	at, found := s.find(t.env.RequestId)
	if !found {
		return nil, nil
	}
	o := s.rec.Outcomes[at]
	if o.Type == "" && o.Refusal == nil {
		t.adopt(s)
		return &Outcome{Parked: true}, nil
	}
	return &Outcome{Reply: decodeReply(o), Refusal: o.Refusal}, nil
}

// adopt has the answer of a request that still waits go to the call that asks again.
func (t *turn) adopt(s *session) {
	for _, w := range s.waits {
		if w.rec.RequestId != t.env.RequestId || w.rec.Credit {
			continue
		}
		t.m.unlineWait(w)
		delete(t.m.waits, w.rec.WaitId)
		w.rec.WaitId = t.waitID()
		t.m.lineWait(w)
		t.m.dirtySession(s)
		return
	}
}

// remember keeps the outcome of a request.
func (t *turn) remember(out Outcome) {
	if t.env.Session == 0 || t.env.RequestId == 0 {
		return
	}
	if s := t.m.sessions[t.env.Session]; s != nil && s.ns == t.ns {
		if at, found := s.find(t.env.RequestId); found && out.Parked && s.rec.Outcomes[at].Type != "" {
			return
		}
		s.answered(t.env.RequestId, out.Reply, out.Refusal)
		t.m.dirtySession(s)
	}
}

func (s *session) find(request int64) (int, bool) {
	return slices.BinarySearchFunc(s.rec.Outcomes, request, func(o *logv1.Outcome, id int64) int { return cmp.Compare(o.RequestId, id) })
}

// answered keeps the answer of a request, or that it waits.
func (s *session) answered(request int64, reply proto.Message, refusal *v1.Refusal) {
	if request == 0 || request < s.rec.LowestUnanswered {
		return
	}
	o := &logv1.Outcome{RequestId: request, Refusal: refusal}
	if reply != nil {
		o.Type, o.Reply = string(reply.ProtoReflect().Descriptor().FullName()), encode(reply)
	}
	at, found := s.find(request)
	if found {
		s.rec.Outcomes[at] = o
	} else {
		s.rec.Outcomes = slices.Insert(s.rec.Outcomes, at, o)
	}
}

// forget lets a request that its caller gave up be made anew.
func (s *session) forget(request int64) {
	if at, found := s.find(request); found {
		s.rec.Outcomes = slices.Delete(s.rec.Outcomes, at, at+1)
	}
}

func decodeReply(o *logv1.Outcome) proto.Message {
	if o.Type == "" {
		return nil
	}
	kind, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(o.Type))
	must(err)
	m := kind.New().Interface()
	must(proto.Unmarshal(o.Reply, m))
	return m
}
