package fsm

import (
	"errors"
	"fmt"
	"slices"

	"github.com/lockstep-dev/lockstep/fsm/table"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// feed has the events of a namespace that are not flushed yet, as they will be stored: in their canonical encoding, one
// after the other, without a gap.
type feed struct {
	first int64 // position of the first
	bytes []byte
	ends  []int // ends[n] is where the event at first+n ends
}

func (f *feed) add(position int64, event []byte) {
	if len(f.ends) == 0 {
		f.first = position
	}
	f.bytes = append(f.bytes, event...)
	f.ends = append(f.ends, len(f.bytes))
}

// from returns the events at and behind a position.
func (f *feed) from(position int64) []byte {
	switch n := position - f.first; {
	case n <= 0:
		return f.bytes
	case n >= int64(len(f.ends)):
		return nil
	default:
		return f.bytes[f.ends[n-1]:]
	}
}

// has says whether the event at a position is one of them.
func (f *feed) has(position int64) bool { return len(f.ends) > 0 && position >= f.first }

// flush moves the feed into blocks.
func (f *feed) flush(b *table.Batch, r *room, namespace string) {
	for begin, n := 0, 0; n < len(f.ends); {
		position := f.first + int64(n)
		for n++; n < len(f.ends) && f.ends[n-1]-begin < blockBytes; n++ {
		}
		k := table.AppendUint64(r.key(tableBlock, namespace), uint64(position))
		b.Put(k, r.copy(f.bytes[begin:f.ends[n-1]]))
		begin = f.ends[n-1]
	}
	f.bytes, f.ends = f.bytes[:0], f.ends[:0]
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

func (m *Machine) readEvents(ns *namespace, after int64, limit int) (out []*v1.Event, err error) {
	size := 0
	// take decodes events of a block while there is room for more.
	take := func(block []byte) (more bool, err error) {
		for len(block) > 0 {
			if len(out) >= limit || size >= pageBytes {
				return false, nil
			}
			event, position, rest, err := cutEvent(block)
			if err != nil {
				return false, err
			}
			if block = rest; position <= after {
				continue
			}
			e, err := decodeEvent(event)
			if err != nil {
				return false, err
			}
			out, size = append(out, e), size+len(event)
		}
		return true, nil
	}
	more := true
	if !ns.feed.has(after + 1) {
		var failed error
		err := m.scanFrom(ns, key(tableBlock, ns.rec.Namespace), after+1, func(_, block []byte) bool {
			more, failed = take(block)
			return more && failed == nil
		})
		if err != nil || failed != nil {
			return out, errors.Join(err, failed)
		}
	}
	if more {
		_, err = take(ns.feed.from(after + 1))
	}
	return out, err
}

// scanFrom walks the rows under a prefix whose keys go on with a number, from the last at or before a number: what it
// names is in that row, or in one behind it.
func (m *Machine) scanFrom(ns *namespace, prefix []byte, number int64, fn func(k, value []byte) bool) error {
	from := table.AppendUint64(slices.Clone(prefix), uint64(number))
	r := m.stored(ns.rec.Namespace)
	err := r.ScanBack(prefix, append(slices.Clone(from), 0), func(k, _ []byte) bool {
		from = slices.Clone(k)
		return false
	})
	if err != nil {
		return err
	}
	return r.Scan(from, table.End(prefix), fn)
}

func damagedEvent(b []byte) error { return fmt.Errorf("an event has the damaged encoding %x", b) }
