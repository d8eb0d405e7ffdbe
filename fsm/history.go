package fsm

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// GetHistory returns the events of an instance after a position, oldest first.
func (m *Machine) GetHistory(r *v1.GetHistoryRequest) (*v1.GetHistoryResponse, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	i, err := m.lookup(r.Namespace, r.InstanceId)
	if err != nil {
		return nil, err
	}
	ns, limit := i.ns, pageLimit(r.Limit)
	var positions []int64
	prefix := key(tableHistory, ns.rec.Namespace, r.InstanceId)
	err = m.engine.Scan(table.AppendUint64(slices.Clone(prefix), uint64(r.After)+1), table.End(prefix), func(k, _ []byte) bool {
		position, _, _ := table.CutUint64(k[len(prefix):])
		positions = append(positions, int64(position))
		return len(positions) <= limit
	})
	if err != nil {
		return nil, err
	}
	for _, h := range m.dirty.history {
		if h.namespace == ns.rec.Namespace && h.instance == r.InstanceId && h.position > r.After && len(positions) <= limit {
			positions = append(positions, h.position)
		}
	}
	return m.historyPage(ns, positions, limit)
}

// historyPage reads the events at positions, each block once.
func (m *Machine) historyPage(ns *namespace, positions []int64, limit int) (*v1.GetHistoryResponse, error) {
	out := &v1.GetHistoryResponse{}
	var block []*v1.Event
	size := 0
	for _, position := range positions {
		if len(out.Events) == limit || size > pageBytes {
			out.NextAfter = out.Events[len(out.Events)-1].Position
			break
		}
		if len(block) == 0 || position > block[len(block)-1].Position {
			var err error
			if block, err = m.blockOf(ns, position); err != nil {
				return nil, err
			}
		}
		if at := searchFeed(block, position); at < len(block) && block[at].Position == position {
			out.Events = append(out.Events, block[at])
			size += proto.Size(block[at])
		}
	}
	return out, nil
}

// blockOf returns the consecutive events among which one is.
func (m *Machine) blockOf(ns *namespace, position int64) ([]*v1.Event, error) {
	if len(ns.feed) > 0 && position >= ns.feed[0].Position {
		return ns.feed, nil
	}
	var events []*v1.Event
	err := m.scanBlocks(ns.rec.Namespace, position, func(block *logv1.EventBlock) bool {
		events = block.Events
		return false
	})
	return events, err
}
