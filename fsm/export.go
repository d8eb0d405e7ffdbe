package fsm

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// An export reads finished instances in the order of their ends, from a point in time of the engine: none of what it reads changes any
// more, so one page goes on where the last ended, on whichever node. A page ends when it is full, also within an instance.

// exporting is one page of an export.
type exporting struct {
	m    *Machine
	in   table.Snapshot
	ns   *namespace
	out  *v1.ExportInstancesResponse
	size int
	skip int32 // pieces of the instance at hand that an earlier page had
}

// ExportInstances returns the next page of finished instances: of each itself, its runs, its late results and its history, in that order.
func (m *Machine) ExportInstances(r *v1.ExportInstancesRequest) (*v1.ExportInstancesResponse, error) {
	snapshot, err := m.view()
	if err != nil {
		return nil, err
	}
	defer snapshot.Close()
	m.mu.RLock()
	ns, refusal := m.namespace(r.Namespace)
	unordered := refusal == nil && ns.rec.Unordered
	m.mu.RUnlock()
	switch {
	case refusal != nil:
		return nil, refusal
	case unordered:
		return nil, notOrdered(ns)
	}
	x := &exporting{m: m, in: snapshot, ns: ns, out: &v1.ExportInstancesResponse{After: r.After}}
	before := int64(math.MaxInt64)
	if r.EndedBefore != nil {
		before = r.EndedBefore.AsTime().UnixNano()
	}
	prefix := key(tableEnded, ns.rec.Namespace)
	first := true
	var failed error
	err = snapshot.Scan(table.AppendUint64(key(tableEnded, ns.rec.Namespace), uint64(r.After)+1), table.End(prefix), func(k, value []byte) bool {
		var e ending
		if e, failed = cutEnding(k[len(prefix):], value); failed != nil {
			return false
		}
		if first = false; x.out.Within == 0 && r.Within > 0 && len(x.out.Pieces) == 0 {
			if e.position != r.Within {
				failed = goneMeanwhile(r)
				return false
			}
			x.skip = r.Pieces
		}
		switch {
		case e.wall >= before:
			return false
		case x.size >= pageBytes:
			x.out.More = true
			return false
		}
		var whole bool
		if whole, failed = x.instance(e); failed != nil {
			return false
		}
		if !whole {
			x.out.More, x.out.Within = true, e.position
			return false
		}
		x.out.After, x.out.Given, x.skip = e.position, 0, 0
		return true
	})
	if err == nil && failed == nil && first && r.Within > 0 {
		failed = goneMeanwhile(r)
	}
	if err := errors.Join(err, failed); err != nil {
		return nil, err
	}
	return x.out, nil
}

func goneMeanwhile(r *v1.ExportInstancesRequest) *Refusal {
	return Refuse(v1.Code_CODE_INSTANCE_NOT_FOUND, "the instance at position %d was removed while it was exported; go on behind it, and have the namespace export first", r.Within)
}

// instance adds the pieces of an instance; it says whether that was all of them.
func (x *exporting) instance(e ending) (whole bool, err error) {
	i, err := x.read(e.id)
	if err != nil {
		return false, err
	}
	x.out.Given = 0
	head, err := i.head(x.in)
	if err != nil || !x.add(e, &v1.ExportPiece{Instance: head}) {
		return false, err
	}
	head.PayloadsOmitted = i.rec.Removing
	for f := range i.frames() {
		for n, r := range f.runs {
			if r.State == unbegun {
				continue
			}
			run := i.runReply(f.at(n))
			if run.OutputPayload, err = i.payload(x.in, f.at(n), roleOutput); err != nil || !x.add(e, &v1.ExportPiece{Run: run}) {
				return false, err
			}
		}
	}
	if whole, err = x.late(e); err != nil || !whole {
		return false, err
	}
	if whole, err = x.history(e); err != nil || !whole {
		return false, err
	}
	return x.add(e, &v1.ExportPiece{Last: true}), nil
}

// read decodes an instance as it is in the snapshot.
func (x *exporting) read(id string) (*instance, error) {
	rec := &logv1.Instance{}
	found, err := row(x.in, key(tableInstance, x.ns.rec.Namespace, id), rec)
	if err != nil || !found {
		return nil, errors.Join(err, fmt.Errorf("instance %s has ended, and is not there", id))
	}
	x.m.mu.RLock()
	v, refusal := x.ns.version(rec.Workflow, rec.Version)
	x.m.mu.RUnlock()
	if refusal != nil {
		return nil, refusal
	}
	i := newInstance(x.ns, rec, v)
	return i, i.readFrames(x.in)
}

// add adds a piece, unless an earlier page had it; it says whether there was room.
func (x *exporting) add(e ending, piece *v1.ExportPiece) bool {
	if x.skip > 0 {
		x.skip, x.out.Given = x.skip-1, x.out.Given+1
		return true
	}
	if x.size >= pageBytes {
		return false
	}
	piece.Position, piece.InstanceId = e.position, e.id
	x.out.Pieces = append(x.out.Pieces, piece)
	x.out.Given++
	x.size += proto.Size(piece)
	return true
}

func (x *exporting) late(e ending) (whole bool, err error) {
	whole = true
	prefix := key(tableLate, x.ns.rec.Namespace, e.id)
	err = scanRange(x.in, prefix, table.End(prefix), func() *logv1.LateResult { return &logv1.LateResult{} }, func(_ []byte, rec *logv1.LateResult) error {
		whole = whole && x.add(e, &v1.ExportPiece{Late: lateReply(rec)})
		return nil
	})
	return whole, err
}

// history adds the events of an instance. The feed of the moment may have been cut since the snapshot was taken, and not the snapshot's.
func (x *exporting) history(e ending) (whole bool, err error) {
	whole = true
	prefix := key(tableHistory, x.ns.rec.Namespace, e.id)
	var failed error
	var block []byte
	err = x.in.Scan(prefix, table.End(prefix), func(k, value []byte) bool {
		failed = errors.Join(failed, eachPosition(k, value, func(position int64) bool {
			if x.skip > 0 {
				whole = x.add(e, nil)
				return whole
			}
			var event *v1.Event
			if event, block, failed = x.event(e.id, position, block); failed == nil {
				whole = x.add(e, &v1.ExportPiece{Event: event})
			}
			return whole && failed == nil
		}))
		return whole && failed == nil
	})
	return whole, errors.Join(err, failed)
}

// event reads the event of an instance at a position, out of consecutive ones that were read before, of a block, or of its archive; it
// returns what is behind it.
func (x *exporting) event(id string, position int64, block []byte) (*v1.Event, []byte, error) {
	event, rest, err := eventAt(block, position)
	name := x.ns.rec.Namespace
	if err == nil && event == nil {
		event, _, err = x.in.Get(archiveKey(name, id, position))
	}
	if err == nil && event == nil {
		prefix := key(tableBlock, name)
		err = x.in.ScanBack(prefix, append(table.AppendUint64(key(tableBlock, name), uint64(position)), 0), func(_, value []byte) bool {
			block = append([]byte(nil), value...)
			return false
		})
		if err == nil {
			event, rest, err = eventAt(block, position)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	if event == nil {
		return nil, nil, fmt.Errorf("namespace %s lacks the event at position %d", name, position)
	}
	e, err := decodeEvent(event)
	return e, rest, err
}
