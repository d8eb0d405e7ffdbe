package fsm

import (
	"slices"
	"strconv"

	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// fact is an event with what it carries, in one piece of memory.
type fact struct {
	event v1.Event
	data  v1.EventData
}

// causation names the command that is being decided, or the tick: the same for all that it causes.
func (t *turn) causation() string {
	if t.cause == "" {
		t.cause = strconv.FormatUint(t.index, 10) + "/" + strconv.Itoa(t.ordinal)
	}
	return t.cause
}

// stamp is the entry's wall time, which all its events share.
func (t *turn) stamp() *timestamppb.Timestamp {
	if t.time == nil {
		t.time = stamp(t.wall())
	}
	return t.time
}

// append gives a fact its place in the feed of its namespace, and in the history of its instance. It is encoded at once;
// nothing else is kept of it.
func (t *turn) append(e event) {
	ns, made := t.ns, &t.m.fact
	made.data.Reset()
	stored, data := &made.event, &made.data
	subject := e.fill(data)
	if t.bulk != "" {
		data.Bulk = t.bulk
	}
	ns.rec.Position++
	t.m.dirtyNamespace(ns)
	stored.Namespace, stored.Position, stored.Type = ns.rec.Namespace, ns.rec.Position, e.kind()
	stored.Time, stored.Subject, stored.Data = t.stamp(), subject, data
	stored.CausationId = t.causation()
	stored.Author, stored.Traceparent = nil, ""
	if t.env != nil {
		stored.Author, stored.Traceparent = t.env.Author, t.env.Traceparent
	}
	begin := len(t.events)
	t.events = appendEvent(t.events, stored)
	ns.feed.add(stored.Position, t.events[begin:])
	t.m.added += len(t.events) - begin
	if data.InstanceId != "" {
		t.m.record(t.known(data.InstanceId), stored.Position)
	}
	if !slices.Contains(t.result.Changed, ns.rec.Namespace) {
		t.result.Changed = append(t.result.Changed, ns.rec.Namespace)
	}
	t.result.Kinds = append(t.result.Kinds, stored.Type)
}

// stamp is a wall time on the wire; none when no leader has trusted its clock yet.
func stamp(wall int64) *timestamppb.Timestamp {
	if wall == 0 {
		return nil
	}
	return &timestamppb.Timestamp{Seconds: wall / 1e9, Nanos: int32(wall % 1e9)}
}
