package fsm

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A signal by key goes to the one live instance that has the key. With none it is kept under the key, and the first instance
// that is started with it has it from its first step on. Whatever became of it is remembered by its id until its TTL is over,
// which counts from its sending, so that an instance which ends and is followed by another does not make a retry a second
// signal. All of that is loose rows (loose.go): what is kept, what was told, and both in the order in which they are over.

const (
	broadcastLimit = 100
	// What is kept under a key: an instance may take that of 16 keys in the command that starts it.
	keptLimit = 100
	keptBytes = 1 << 20
)

func (t *turn) toldKey(k *v1.Key, id string) []byte {
	return key(tableTold, t.ns.rec.Namespace, k.Name, k.Value, id)
}

func (t *turn) keptKey(k *v1.Key, place int64) []byte {
	return table.AppendUint64(key(tableKept, t.ns.rec.Namespace, k.Name, k.Value), uint64(place))
}

func (t *turn) overKey(k *v1.Key, id string, at int64) []byte {
	row := table.AppendUint64(key(tableOver, t.ns.rec.Namespace), uint64(at))
	return table.AppendString(table.AppendString(table.AppendString(row, k.Name), k.Value), id)
}

// told is what is remembered of a signal by key; nil when that is nothing.
func (t *turn) told(k *v1.Key, id string) *logv1.SignalTold {
	value, found := t.m.get(t.toldKey(k, id))
	if !found {
		return nil
	}
	told := &logv1.SignalTold{}
	must(proto.Unmarshal(value, told))
	return told
}

// byKey says that a signal does not go to an instance's id.
func byKey(r *v1.SendSignalRequest) bool { return r.Key != nil || r.Broadcast || r.Start != nil }

// correlate sends a signal by key.
func (t *turn) correlate(r *v1.SendSignalRequest) (proto.Message, *Refusal) {
	switch {
	case r.InstanceId != "" || r.Key.GetName() == "":
		return nil, Refuse(v1.Code_CODE_INVALID, "a signal goes to an instanceId, or by a key, which has a name; a broadcast goes by a key")
	case r.Broadcast && r.Start != nil:
		return nil, Refuse(v1.Code_CODE_INVALID, "a broadcast starts nothing")
	case r.Name == "" || r.SignalId == "":
		return nil, Refuse(v1.Code_CODE_INVALID, "a signal needs a name and a signalId that the sender chooses")
	}
	if told := t.told(r.Key, r.SignalId); told != nil && (told.Kept > 0 || !plant.Is(plant.ToldForgets)) {
		return &v1.SendSignalResponse{Delivered: told.Delivered, Duplicate: true, InstanceId: told.InstanceId, Reached: told.Reached, Started: told.Started}, nil
	}
	ids := t.m.keyedBy(t.ns, r.Key, broadcastLimit+1)
	if r.Start != nil && plant.Is(plant.StartsTwice) {
		ids = nil
	}
	switch {
	case r.Broadcast:
		return t.broadcast(r, ids)
	case len(ids) == 0 && r.Start != nil:
		return t.startBySignal(r)
	case len(ids) == 0:
		return t.keepSignal(r)
	case len(ids) > 1:
		return nil, Refuse(v1.Code_CODE_KEY_AMBIGUOUS, "the key %s=%s is that of %s", r.Key.Name, r.Key.Value, sayMany(ids))
	}
	i, seen, refusal := t.receiver(ids[0], r)
	if refusal != nil {
		return nil, refusal
	}
	signal, told := t.signalOf(r), &logv1.SignalTold{InstanceId: i.rec.InstanceId}
	if seen != nil { // it was sent otherwise before, and is remembered by this key too from now on
		told.Delivered = seen.Delivered
	} else {
		told.Delivered = t.receive(i, &signalReceived{i: i, signal: signal})
	}
	t.emit(&signalTold{kindOf: "correlated", key: r.Key, signal: signal, told: told})
	return &v1.SendSignalResponse{Delivered: told.Delivered, Duplicate: seen != nil, InstanceId: told.InstanceId}, nil
}

func sayMany(ids []string) string {
	many := fmt.Sprint(len(ids))
	if len(ids) > broadcastLimit {
		many = fmt.Sprintf("more than %d", broadcastLimit)
	}
	return fmt.Sprintf("%s live instances: %s", many, strings.Join(ids[:min(len(ids), 3)], ", "))
}

// broadcast sends a signal to all that have a key, but for those that have one of its id.
func (t *turn) broadcast(r *v1.SendSignalRequest, ids []string) (proto.Message, *Refusal) {
	if len(ids) > broadcastLimit {
		return nil, Refuse(v1.Code_CODE_KEY_AMBIGUOUS, "the key %s=%s is that of %s; a broadcast reaches %d", r.Key.Name, r.Key.Value, sayMany(ids), broadcastLimit)
	}
	var to []*instance
	for _, id := range ids {
		i, seen, refusal := t.receiver(id, r)
		if refusal != nil {
			return nil, refusal
		}
		if seen == nil {
			to = append(to, i)
		}
	}
	signal, told := t.signalOf(r), &logv1.SignalTold{}
	for _, i := range to {
		if i.live() { // else what another one did with it has ended this one
			told.Delivered = t.receive(i, &signalReceived{i: i, signal: signal}) || told.Delivered
			told.Reached++
		}
	}
	t.emit(&signalTold{kindOf: "broadcast", key: r.Key, signal: signal, told: told})
	return &v1.SendSignalResponse{Delivered: told.Delivered, Reached: told.Reached}, nil
}

// keepSignal keeps a signal for an instance that is started with its key.
func (t *turn) keepSignal(r *v1.SendSignalRequest) (proto.Message, *Refusal) {
	count, size := 0, len(r.PayloadBytes.GetBytes())
	for _, kept := range t.kept(r.Key) {
		count, size = count+1, size+len(kept.Payload.GetBytes())
	}
	if count >= keptLimit || size > keptBytes {
		return nil, Refuse(v1.Code_CODE_OVERLOADED, "%d signals are kept for the key %s=%s, and no more than %d or %d bytes are", count, r.Key.Name, r.Key.Value, keptLimit, keptBytes)
	}
	t.emit(&signalTold{kindOf: "kept", key: r.Key, signal: t.signalOf(r), told: &logv1.SignalTold{}})
	return &v1.SendSignalResponse{}, nil
}

// kept are the signals that are kept under a key, oldest first, with their places.
func (t *turn) kept(k *v1.Key) (out []keptSignal) {
	prefix := key(tableKept, t.ns.rec.Namespace, k.Name, k.Value)
	t.m.scan(prefix, table.End(prefix), func(row, value []byte) bool {
		place, _, _ := table.CutUint64(row[len(prefix):])
		signal := &logv1.Signal{}
		must(proto.Unmarshal(value, signal))
		if signal.ExpireAt > t.uptime() {
			out = append(out, keptSignal{signal, int64(place)})
		}
		return true
	})
	return out
}

type keptSignal struct {
	*logv1.Signal
	place int64
}

// takeKept gives an instance, before its first step, what is kept under its keys: as much as an instance keeps, less the signal
// that it may be started for, and of one id the first.
func (t *turn) takeKept(i *instance) {
	if t.ns.over == 0 { // then nothing is kept
		return
	}
	for _, p := range i.rec.Keys {
		k := &v1.Key{Name: p.Key, Value: p.Value}
		for _, kept := range t.kept(k) {
			if len(i.rec.Seen) < maxSignals-1 && i.saw(kept.SignalId) == nil {
				t.emit(&signalReceived{i: i, signal: kept.Signal, key: k, place: kept.place})
			}
		}
	}
}

// signalTold is what became of a signal by key: it was correlated, kept, or broadcast.
type signalTold struct {
	kindOf string
	key    *v1.Key
	signal *logv1.Signal
	told   *logv1.SignalTold
}

func (e *signalTold) kind() string { return "lockstep.signal." + e.kindOf + ".v1" }
func (e *signalTold) fill(d *v1.EventData) string {
	d.InstanceId, d.PayloadSize = e.told.InstanceId, int64(len(e.signal.Payload.GetBytes()))
	return fillKey(d, e.key, e.signal.Name, e.signal.SignalId)
}
func (e *signalTold) evolve(t *turn) {
	e.told.ExpireAt = e.signal.ExpireAt
	if e.kindOf == "kept" {
		e.told.Kept = t.ns.rec.Position + 1 // this event's
		t.m.put(t.keptKey(e.key, e.told.Kept), encode(e.signal))
	}
	t.m.put(t.toldKey(e.key, e.signal.SignalId), encode(e.told))
	t.m.put(t.overKey(e.key, e.signal.SignalId, e.told.ExpireAt), nil)
	t.m.overAt(t.ns, soonest(t.ns.over, e.told.ExpireAt))
}

func fillKey(d *v1.EventData, k *v1.Key, name, id string) (subject string) {
	d.Name, d.Code, d.KeyName, d.KeyValue = name, id, k.Name, k.Value
	return "key/" + k.Name + "/" + k.Value
}

// took is what a kept signal becomes when an instance takes it.
func (t *turn) took(k *v1.Key, id string, by *instance, place int64) {
	if plant.Is(plant.KeptTwice) {
		return
	}
	told := t.told(k, id)
	told.InstanceId, told.Kept = by.rec.InstanceId, 0
	t.m.put(t.toldKey(k, id), encode(told))
	t.m.drop(t.keptKey(k, place))
}

// overAt sets when the next that is remembered of signals by key in a namespace is over; zero is never.
func (m *Machine) overAt(ns *namespace, at int64) {
	if ns.over == at {
		return
	}
	if ns.over > 0 {
		m.deadlines.drop(ns.overDeadline())
	}
	if ns.over = at; at > 0 {
		m.deadlines.add(ns.overDeadline())
	}
}

func (ns *namespace) overDeadline() deadline {
	return deadline{at: ns.over, kind: deadlineSignals, run: &runKey{namespace: ns.rec.Namespace}}
}

// nextOver finds when the next is over.
func (m *Machine) nextOver(ns *namespace) (at int64) {
	prefix := key(tableOver, ns.rec.Namespace)
	m.scan(prefix, table.End(prefix), func(row, _ []byte) bool {
		first, _, _ := table.CutUint64(row[len(prefix):])
		at = int64(first)
		return false
	})
	return at
}

// expireSignals forgets signals by key whose TTL passed, up to a hundred; of those that nobody took an event tells.
func (t *turn) expireSignals(ns *namespace) {
	t.ns = ns
	prefix := key(tableOver, ns.rec.Namespace)
	var due [][]byte
	t.m.scan(prefix, table.End(prefix), func(row, _ []byte) bool {
		at, _, _ := table.CutUint64(row[len(prefix):])
		if int64(at) <= t.until && len(due) < 100 {
			due = append(due, append([]byte(nil), row...))
			return true
		}
		return false
	})
	for _, row := range due {
		at, rest, _ := table.CutUint64(row[len(prefix):])
		k := &v1.Key{}
		k.Name, rest, _ = table.CutString(rest)
		k.Value, rest, _ = table.CutString(rest)
		id, _, _ := table.CutString(rest)
		t.m.drop(row)
		if told := t.told(k, id); told != nil && told.ExpireAt == int64(at) {
			t.forgetSignal(k, id, told)
		}
	}
	t.m.overAt(ns, t.m.nextOver(ns))
}

func (t *turn) forgetSignal(k *v1.Key, id string, told *logv1.SignalTold) {
	if told.Kept == 0 {
		t.m.drop(t.toldKey(k, id))
		return
	}
	value, _ := t.m.get(t.keptKey(k, told.Kept))
	signal := &logv1.Signal{}
	must(proto.Unmarshal(value, signal))
	t.emit(&signalExpired{key: k, signal: signal, place: told.Kept})
}

// signalExpired: nobody took a signal that was kept under a key.
type signalExpired struct {
	key    *v1.Key
	signal *logv1.Signal
	place  int64
}

func (e *signalExpired) kind() string { return "lockstep.signal.expired.v1" }
func (e *signalExpired) fill(d *v1.EventData) string {
	return fillKey(d, e.key, e.signal.Name, e.signal.SignalId)
}
func (e *signalExpired) evolve(t *turn) {
	t.m.drop(t.toldKey(e.key, e.signal.SignalId))
	t.m.drop(t.keptKey(e.key, e.place))
}
