package fsm

import (
	"google.golang.org/protobuf/proto"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A signal by key may say what to start when no live instance has the key. That is decided where the signal is, in one command:
// of senders that race the first starts, and the signals of the others go to what it started. So while one lives, a key starts no
// second; and an instance that is called after its key, as it is unless the sender says otherwise, is the only one ever.

// startBySignal starts an instance that has a signal before its first step.
func (t *turn) startBySignal(r *v1.SendSignalRequest) (proto.Message, *Refusal) {
	start, refusal := startedBy(r)
	if refusal != nil {
		return nil, refusal
	}
	if i := t.known(start.InstanceId); i != nil {
		return nil, Refuse(v1.Code_CODE_INSTANCE_EXISTS, "no live instance has the key %s=%s, and the one to start is there: %q is %s; name another instanceId to start one more",
			r.Key.Name, r.Key.Value, start.InstanceId, stateName(i.rec.State))
	}
	v, refusal := t.startable(start)
	if refusal != nil {
		return nil, refusal
	}
	i := t.begun(&instanceStarted{request: start, version: v})
	signal := t.signalOf(r)
	if i.saw(r.SignalId) == nil { // else it had it by another of its keys
		t.emit(&signalReceived{i: i, signal: signal})
	}
	seen := i.saw(r.SignalId)
	t.goes(i)
	t.emit(&signalTold{kindOf: "correlated", key: r.Key, signal: signal, told: &logv1.SignalTold{InstanceId: i.rec.InstanceId, Delivered: seen.Delivered, Started: true}})
	return &v1.SendSignalResponse{Delivered: seen.Delivered, InstanceId: i.rec.InstanceId, Started: true}, nil
}

// startedBy is what a signal starts: it has the key, and is called after it unless the sender says how.
func startedBy(r *v1.SendSignalRequest) (*v1.StartInstanceRequest, *Refusal) {
	start := proto.CloneOf(r.Start)
	if value, has := start.Keys[r.Key.Name]; has && value != r.Key.Value {
		return nil, Refuse(v1.Code_CODE_INVALID, "the signal goes by the key %s=%s, and what it starts has %s=%s", r.Key.Name, r.Key.Value, r.Key.Name, value)
	}
	if start.Keys == nil {
		start.Keys = map[string]string{}
	}
	start.Keys[r.Key.Name] = r.Key.Value
	if start.InstanceId == "" {
		start.InstanceId = r.Key.Name + "/" + r.Key.Value
	}
	return start, nil
}
