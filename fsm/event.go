package fsm

import (
	"encoding/binary"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
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

// append gives a fact its place in the feed of its namespace.
func (t *turn) append(e event) {
	ns := t.ns
	made := &fact{}
	stored, data := &made.event, &made.data
	subject := e.fill(data)
	ns.rec.Position++
	t.m.dirtyNamespace(ns)
	stored.Namespace, stored.Position, stored.Type = ns.rec.Namespace, ns.rec.Position, e.kind()
	stored.Time, stored.Subject, stored.Data = t.stamp(), subject, data
	stored.CausationId = t.causation()
	if t.env != nil {
		stored.Author, stored.Traceparent = t.env.Author, t.env.Traceparent
	}
	if data.InstanceId != "" {
		stored.CorrelationId = data.InstanceId
		t.m.dirty.history = append(t.m.dirty.history, historyRow{ns.rec.Namespace, data.InstanceId, stored.Position})
	}
	if !slices.Contains(t.result.Changed, ns.rec.Namespace) {
		t.result.Changed = append(t.result.Changed, ns.rec.Namespace)
	}
	ns.feed = append(ns.feed, stored)
	t.result.Events = append(t.result.Events, stored)
	t.events = appendEvent(t.events, stored)
	t.m.dirtyBytes += 64 + len(subject) + len(data.Reason)
}

// stamp is a wall time on the wire; none when no leader has trusted its clock yet.
func stamp(wall int64) *timestamppb.Timestamp {
	if wall == 0 {
		return nil
	}
	return &timestamppb.Timestamp{Seconds: wall / 1e9, Nanos: int32(wall % 1e9)}
}

const (
	blockBytes  = 16 << 10
	pageBytes   = 1 << 20
	eventsLimit = 1000
)

// Position returns the position of the namespace's newest event.
func (m *Machine) Position(name string) (int64, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	ns, refusal := m.namespace(name)
	if refusal != nil {
		return 0, refusal
	}
	return ns.rec.Position, nil
}

// Events returns up to limit events after a position, in order and without gap, at most 1 MiB of them.
func (m *Machine) Events(name string, after int64, limit int) ([]*v1.Event, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	ns, refusal := m.namespace(name)
	if refusal != nil {
		return nil, refusal
	}
	if limit <= 0 || limit > eventsLimit {
		limit = eventsLimit
	}
	if after > ns.rec.Position {
		r := Refuse(v1.Code_CODE_INVALID, "position %d of namespace %s is in the future: the newest is %d", after, name, ns.rec.Position)
		r.Detail.Position = ns.rec.Position
		return nil, r
	}
	if after < ns.rec.Compacted {
		r := Refuse(v1.Code_CODE_POSITION_COMPACTED, "events up to %d of namespace %s are no longer kept", ns.rec.Compacted, name)
		r.Detail.Position = ns.rec.Compacted + 1
		return nil, r
	}
	return m.readEvents(ns, after, limit)
}

func (m *Machine) readEvents(ns *namespace, after int64, limit int) ([]*v1.Event, error) {
	var out []*v1.Event
	size := 0
	take := func(e *v1.Event) bool {
		if e.Position > after {
			out = append(out, e)
			size += proto.Size(e)
		}
		return len(out) < limit && size < pageBytes
	}
	if len(ns.feed) == 0 || after+1 < ns.feed[0].Position {
		more := true
		err := m.scanBlocks(ns.rec.Namespace, after+1, func(block *logv1.EventBlock) bool {
			for _, e := range block.Events {
				if more = take(e); !more {
					return false
				}
			}
			return true
		})
		if err != nil || !more {
			return out, err
		}
	}
	for _, e := range ns.feed[searchFeed(ns.feed, after+1):] {
		if !take(e) {
			break
		}
	}
	return out, nil
}

// searchFeed finds the first event at or behind a position: the feed is gapless.
func searchFeed(feed []*v1.Event, position int64) int {
	if len(feed) == 0 || position <= feed[0].Position {
		return 0
	}
	return min(int(position-feed[0].Position), len(feed))
}

// scanBlocks walks stored blocks from the one that has position.
func (m *Machine) scanBlocks(ns string, position int64, fn func(*logv1.EventBlock) bool) error {
	prefix := table.AppendString([]byte{tableBlock}, ns)
	from := table.AppendUint64(slices.Clone(prefix), uint64(position))
	err := m.engine.ScanBack(prefix, table.AppendUint64(slices.Clone(prefix), uint64(position)+1), func(key, _ []byte) bool {
		from = slices.Clone(key)
		return false
	})
	if err != nil {
		return err
	}
	var failed error
	err = m.engine.Scan(from, table.End(prefix), func(_, value []byte) bool {
		block := &logv1.EventBlock{}
		if failed = proto.Unmarshal(value, block); failed != nil {
			return false
		}
		return fn(block)
	})
	if failed != nil {
		return failed
	}
	return err
}

// flushEvents moves the feed into blocks.
func (ns *namespace) flushEvents(b *table.Batch, r *room) {
	for len(ns.feed) > 0 {
		n, size := 0, 0
		for n < len(ns.feed) && size < blockBytes {
			size += proto.Size(ns.feed[n])
			n++
		}
		key := table.AppendUint64(table.AppendString([]byte{tableBlock}, ns.rec.Namespace), uint64(ns.feed[0].Position))
		b.Put(key, r.encode(&logv1.EventBlock{Events: ns.feed[:n]}))
		ns.feed = ns.feed[n:]
	}
	ns.feed = nil
}

// appendEvent adds the canonical encoding of an event: what the digest is made of. It is our own, so that
// no library's change of encoding can make replicas disagree: each field that is set, as tag and value, in order.
func appendEvent(b []byte, e *v1.Event) []byte {
	b = appendText(b, 1, e.Namespace)
	b = appendNumber(b, 2, e.Position)
	b = appendText(b, 3, e.Type)
	b = appendNumber(b, 4, e.Time.GetSeconds())
	b = appendNumber(b, 5, int64(e.Time.GetNanos()))
	b = appendText(b, 6, e.Subject)
	b = appendText(b, 7, e.CausationId)
	b = appendText(b, 8, e.Traceparent)
	b = appendText(b, 9, e.Author.GetPrincipal())
	b = appendText(b, 10, e.Author.GetKind())
	b = appendText(b, 11, e.Author.GetOnBehalfOf())
	b = appendFlag(b, 12, e.Author.GetVerified())
	return appendData(b, e.Data)
}

func appendData(b []byte, d *v1.EventData) []byte {
	b = appendText(b, 20, d.InstanceId)
	b = appendText(b, 21, d.Workflow)
	b = appendNumber(b, 22, int64(d.Version))
	b = appendText(b, 23, d.Step)
	b = appendNumber(b, 24, int64(d.Index))
	b = appendNumber(b, 25, int64(d.Attempt))
	b = appendNumber(b, 26, d.Token)
	b = appendText(b, 27, d.SessionId)
	b = appendText(b, 28, d.Queue)
	b = appendText(b, 29, d.Lock)
	b = appendText(b, 30, d.Code)
	b = appendText(b, 31, d.Reason)
	b = appendText(b, 32, d.Name)
	b = appendText(b, 33, string(d.PayloadDigest))
	b = appendNumber(b, 34, d.PayloadSize)
	for _, label := range sortedPairs(d.Labels) {
		b = appendText(b, 35, label.Key)
		b = appendText(b, 36, label.Value)
	}
	b = appendNumber(b, 37, d.Delay)
	b = appendNumber(b, 38, int64(d.Used))
	b = appendNumber(b, 39, int64(d.Take))
	b = appendNumber(b, 40, int64(d.Slot))
	b = appendFlag(b, 41, d.Shared)
	b = appendFlag(b, 42, d.Late)
	return append(b, 0)
}

func appendText(b []byte, tag byte, s string) []byte {
	if s == "" {
		return b
	}
	return append(binary.AppendUvarint(append(b, tag), uint64(len(s))), s...)
}

func appendNumber(b []byte, tag byte, v int64) []byte {
	if v == 0 {
		return b
	}
	return binary.AppendVarint(append(b, tag), v)
}

func appendFlag(b []byte, tag byte, v bool) []byte {
	if !v {
		return b
	}
	return append(b, tag)
}
