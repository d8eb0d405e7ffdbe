package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/lockstep-dev/lockstep/fsm/table"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// An instance's history is the positions of its events. Those of one flush are a row: its key has the first, its value how
// far each is behind the one before.

// record adds an event to the history of an instance.
func (m *Machine) record(i *instance, position int64) {
	i.history = append(i.history, position)
	m.grows(i)
	m.touch(i)
}

// flushHistory writes what is new of an instance's history.
func (m *Machine) flushHistory(b *table.Batch, i *instance) {
	if len(i.history) == 0 {
		return
	}
	first := i.history[0]
	k := table.AppendUint64(m.room.key(tableHistory, i.ns.rec.Namespace, i.rec.InstanceId), uint64(first))
	steps := m.room.take(binary.MaxVarintLen64 * (len(i.history) - 1))
	for n, position := range i.history[1:] {
		steps = binary.AppendUvarint(steps, uint64(position-i.history[n]))
	}
	b.Put(k, steps)
	i.history = i.history[:0]
}

// eachPosition calls fn with the positions of a history row, in order, until it returns false.
func eachPosition(k, value []byte, fn func(int64) bool) error {
	position := int64(binary.BigEndian.Uint64(k[len(k)-8:]))
	for fn(position) && len(value) > 0 {
		step, n := binary.Uvarint(value)
		if n <= 0 {
			return fmt.Errorf("the history row %x is damaged", k)
		}
		position, value = position+int64(step), value[n:]
	}
	return nil
}

// GetHistory returns the events of an instance after a position, oldest first.
func (m *Machine) GetHistory(r *v1.GetHistoryRequest) (*v1.GetHistoryResponse, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	i, err := m.lookup(r.Namespace, r.InstanceId)
	if err != nil {
		return nil, err
	}
	limit := pageLimit(r.Limit)
	var positions []int64
	take := func(position int64) bool {
		if position > r.After {
			positions = append(positions, position)
		}
		return len(positions) <= limit
	}
	if _, gone := i.ns.gone[r.InstanceId]; !gone { // else the engine has that of one that had its id
		var failed error
		err = m.scanFrom(i.ns, key(tableHistory, i.ns.rec.Namespace, r.InstanceId), r.After+1, func(k, value []byte) bool {
			failed = eachPosition(k, value, take)
			return failed == nil && len(positions) <= limit
		})
		if err := errors.Join(err, failed); err != nil {
			return nil, err
		}
	}
	for _, position := range i.history {
		if !take(position) {
			break
		}
	}
	return m.historyPage(i, positions, limit)
}

// historyPage reads the events at positions, each block once.
func (m *Machine) historyPage(i *instance, positions []int64, limit int) (*v1.GetHistoryResponse, error) {
	ns := i.ns
	out := &v1.GetHistoryResponse{}
	var block []byte
	size := 0
	for _, position := range positions {
		if len(out.Events) == limit || size > pageBytes {
			out.NextAfter = out.Events[len(out.Events)-1].Position
			break
		}
		event, rest, err := eventAt(block, position)
		if err == nil && event == nil {
			if block, err = m.blockOf(i, position); err != nil {
				return nil, err
			}
			event, rest, err = eventAt(block, position)
		}
		if err != nil {
			return nil, err
		}
		if event == nil {
			return nil, fmt.Errorf("namespace %s lacks the event at position %d", ns.rec.Namespace, position)
		}
		e, err := decodeEvent(event)
		if err != nil {
			return nil, err
		}
		out.Events = append(out.Events, e)
		block, size = rest, size+len(event)
	}
	return out, nil
}

// blockOf returns consecutive events among which one of an instance is, from that one on if it is not flushed, or is in its archive.
func (m *Machine) blockOf(i *instance, position int64) ([]byte, error) {
	ns := i.ns
	if position <= ns.rec.Compacted {
		event, _ := m.get(archiveKey(ns.rec.Namespace, i.rec.InstanceId, position))
		return event, nil
	}
	if ns.feed.has(position) {
		return ns.feed.from(position), nil
	}
	var events []byte
	err := m.scanFrom(ns, key(tableBlock, ns.rec.Namespace), position, func(_, block []byte) bool {
		events = slices.Clone(block)
		return false
	})
	return events, err
}

// eventAt finds the event at a position among consecutive ones, and what is behind it; nil when it is not there.
func eventAt(block []byte, position int64) (event, rest []byte, err error) {
	for len(block) > 0 {
		event, at, rest, err := cutEvent(block)
		if err != nil || at == position {
			return event, rest, err
		}
		block = rest
	}
	return nil, nil, nil
}
