package fsm

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

const (
	defaultSignalTTL = 7 * 24 * int64(time.Hour)
	maxSignals       = 1000
)

// sendSignal gives a message to the run that waits for it, or keeps it until one does or its TTL passes.
// The same id again is answered like the first.
func (t *turn) sendSignal(r *v1.SendSignalRequest) (proto.Message, *Refusal) {
	if t.m.keyed() && byKey(r) {
		return t.correlate(r)
	}
	i, refusal := t.instance(r.InstanceId)
	if refusal != nil {
		return nil, refusal
	}
	switch {
	case r.Name == "" || r.SignalId == "":
		return nil, Refuse(v1.Code_CODE_INVALID, "a signal needs a name and a signalId that the sender chooses")
	case !i.live():
		return nil, Refuse(v1.Code_CODE_ALREADY_ENDED, "instance %q has ended: it is %s", r.InstanceId, stateName(i.rec.State))
	}
	i, seen, refusal := t.receiver(r.InstanceId, r)
	switch {
	case refusal != nil:
		return nil, refusal
	case seen != nil:
		return &v1.SendSignalResponse{Delivered: seen.Delivered, Duplicate: true}, nil
	}
	return &v1.SendSignalResponse{Delivered: t.receive(i, &signalReceived{i: i, signal: t.signalOf(r)})}, nil
}

// receiver is a live instance that a signal is sent to, and what it has seen of that, or why it can take none.
func (t *turn) receiver(id string, r *v1.SendSignalRequest) (*instance, *logv1.SignalSeen, *Refusal) {
	i, refusal := t.instance(id)
	if refusal != nil {
		return nil, nil, refusal
	}
	t.trimSignals(i)
	if seen := i.saw(r.SignalId); seen != nil {
		return i, seen, nil
	}
	if len(i.rec.Seen) >= maxSignals {
		return nil, nil, Refuse(v1.Code_CODE_OVERLOADED, "instance %q keeps %d signals already", id, maxSignals)
	}
	return i, nil, nil
}

// saw is what an instance remembers of a signal; nil when that is nothing.
func (i *instance) saw(id string) *logv1.SignalSeen {
	for _, seen := range i.rec.Seen {
		if seen.SignalId == id {
			return seen
		}
	}
	return nil
}

func (t *turn) signalOf(r *v1.SendSignalRequest) *logv1.Signal {
	ttl := r.Ttl.AsDuration().Nanoseconds()
	if ttl <= 0 {
		ttl = defaultSignalTTL
	}
	return &logv1.Signal{Name: r.Name, SignalId: r.SignalId, Payload: r.PayloadBytes, ExpireAt: t.uptime() + ttl}
}

// receive gives an instance a signal; it says whether a run waited for it, which goes on with it.
func (t *turn) receive(i *instance, e *signalReceived) (delivered bool) {
	t.emit(e)
	for at, run := range i.all() {
		if run.State == v1.RunState_RUN_STATE_WAITING && i.step(at).Signal == e.signal.Name {
			t.takeSignal(i, at)
			t.advanceInstance(i, at)
			return true
		}
	}
	return false
}

// trimSignals forgets signals whose TTL passed.
func (t *turn) trimSignals(i *instance) {
	now := t.uptime()
	i.rec.Signals = slices.DeleteFunc(i.rec.Signals, func(s *logv1.Signal) bool { return s.ExpireAt <= now })
	i.rec.Seen = slices.DeleteFunc(i.rec.Seen, func(s *logv1.SignalSeen) bool { return s.ExpireAt <= now })
	t.m.touch(i)
}

// awaitSignal has a run take a signal that is kept, or wait for one.
func (t *turn) awaitSignal(i *instance, at at) (over bool) {
	t.trimSignals(i)
	t.emit(&runWaiting{i: i, at: at})
	return t.takeSignal(i, at)
}

// takeSignal completes a waiting run with the oldest signal of its name, if there is one.
func (t *turn) takeSignal(i *instance, at at) bool {
	name := i.step(at).Signal
	nth := slices.IndexFunc(i.rec.Signals, func(s *logv1.Signal) bool { return s.Name == name })
	if nth < 0 {
		return false
	}
	signal := i.rec.Signals[nth]
	t.emit(&signalDelivered{i: i, at: at, nth: nth, signal: signal})
	t.emit(&runCompleted{i: i, at: at, output: signal.Payload})
	return true
}

// signalReceived: an instance has a signal. One that was kept under a key was in a place there.
type signalReceived struct {
	i      *instance
	signal *logv1.Signal
	key    *v1.Key
	place  int64
}

func (e *signalReceived) kind() string { return "lockstep.signal.received.v1" }
func (e *signalReceived) fill(d *v1.EventData) string {
	d.InstanceId, d.Workflow, d.Version = e.i.rec.InstanceId, e.i.rec.Workflow, e.i.rec.Version
	d.Name, d.Code, d.PayloadSize = e.signal.Name, e.signal.SignalId, int64(len(e.signal.Payload.GetBytes()))
	d.KeyName, d.KeyValue = e.key.GetName(), e.key.GetValue()
	return e.i.subject()
}
func (e *signalReceived) evolve(t *turn) {
	e.i.rec.Signals = append(e.i.rec.Signals, e.signal)
	e.i.rec.Seen = append(e.i.rec.Seen, &logv1.SignalSeen{SignalId: e.signal.SignalId, ExpireAt: e.signal.ExpireAt})
	t.m.touch(e.i)
	t.m.dirtyBytes += len(e.signal.Payload.GetBytes())
	if e.key != nil {
		t.took(e.key, e.signal.SignalId, e.i, e.place)
	}
}

type signalDelivered struct {
	i      *instance
	at     at
	nth    int
	signal *logv1.Signal
}

func (e *signalDelivered) kind() string { return "lockstep.signal.delivered.v1" }
func (e *signalDelivered) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.at)
	d.Name, d.Code = e.signal.Name, e.signal.SignalId
	return e.i.subject()
}
func (e *signalDelivered) evolve(t *turn) {
	e.i.rec.Signals = slices.Delete(e.i.rec.Signals, e.nth, e.nth+1)
	for _, seen := range e.i.rec.Seen {
		if seen.SignalId == e.signal.SignalId {
			seen.Delivered = true
		}
	}
	t.m.touch(e.i)
}
