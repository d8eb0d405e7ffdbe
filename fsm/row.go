package fsm

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// appendRowAt adds the canonical encoding of a key's row, as the machine has it: of the record that is resident and answers
// are made from, else of the one that is stored.
func (m *Machine) appendRowAt(b, k, stored []byte) ([]byte, error) {
	rest := k[1:]
	if k[0] == tableSession {
		id, _, ok := table.CutUint64(rest)
		if s := m.sessions[int64(id)]; ok && s != nil {
			return appendRow(b, s.rec), nil
		}
		return appendStored(b, k, stored, &logv1.Session{})
	}
	switch k[0] {
	case tableKey, tableOver, tableIndex, tableDrift, tableOrphan:
		return b, nil // the key is all of it
	case tableEnded, tableArchive:
		return appendBytes(b, stored), nil // our own encoding
	case tableKept:
		return appendStored(b, k, stored, &logv1.Signal{})
	case tableObserved:
		return appendStored(b, k, stored, &logv1.Observation{})
	case tableTold:
		return appendStored(b, k, stored, &logv1.SignalTold{})
	}
	name, rest, ok := table.CutString(rest)
	if !ok {
		return nil, fmt.Errorf("a row has the damaged key %x", k)
	}
	ns := m.namespaces[name]
	if ns == nil {
		return nil, fmt.Errorf("row %x is of the unknown namespace %q", k, name)
	}
	if k[0] == tableNamespace {
		return appendRow(b, ns.rec), nil
	}
	if k[0] == tableNumbered {
		return appendStored(b, k, stored, &v1.Payload{})
	}
	id, rest, ok := table.CutString(rest)
	if !ok {
		return nil, fmt.Errorf("a row has the damaged key %x", k)
	}
	return m.appendRowOf(b, ns, id, rest, k, stored)
}

// appendRowOf is appendRowAt of the tables whose keys have a name behind the namespace's.
func (m *Machine) appendRowOf(b []byte, ns *namespace, id string, rest, k, stored []byte) ([]byte, error) {
	number, _, _ := table.CutUint64(rest)
	i := ns.instances[id]
	switch k[0] {
	case tableWorkflow:
		if v, refusal := ns.version(id, int32(number)); refusal == nil && number > 0 {
			return appendRow(b, v.rec), nil
		}
		return appendStored(b, k, stored, &logv1.Workflow{})
	case tableUse:
		if v, refusal := ns.version(id, int32(number)); refusal == nil && number > 0 {
			return appendRow(b, v.use), nil
		}
		return appendStored(b, k, stored, &logv1.VersionUse{})
	case tableInstance:
		if i != nil {
			return appendRow(b, i.rec), nil
		}
		return appendStored(b, k, stored, &logv1.Instance{})
	case tablePage:
		if f, page := i.pageAt(rest); f != nil {
			return f.appendPage(b, page), nil
		}
		return append(b, stored...), nil
	case tablePending:
		if f, page := i.pageAt(rest); f != nil {
			return i.appendPending(b, f, page), nil
		}
		return append(b, stored...), nil
	case tablePayload:
		return appendStored(b, k, stored, &v1.Payload{})
	case tableLock:
		if l := ns.locks[id]; l != nil {
			return appendRow(b, l.rec), nil
		}
		return appendStored(b, k, stored, &logv1.Lock{})
	case tableLimit:
		return ns.appendLimitRow(b, id), nil
	case tableHad:
		return append(b, stored...), nil
	case tableCensus:
		return ns.appendCensusRow(b, id, rest, k, stored)
	case tableFair:
		return ns.appendFairRow(b, id, rest), nil
	case tableSchedule:
		if s := ns.schedules[id]; s != nil {
			return appendRow(b, s.rec), nil
		}
		return appendStored(b, k, stored, &logv1.Schedule{})
	case tableBulk:
		if o := ns.bulks[id]; o != nil {
			return appendRow(b, o.rec), nil
		}
		return appendStored(b, k, stored, &logv1.Bulk{})
	case tableReporter:
		if p := ns.reporters[id]; p != nil {
			return appendRow(b, p.rec), nil
		}
		return appendStored(b, k, stored, &logv1.Reporter{})
	}
	return appendStored(b, k, stored, &logv1.LateResult{})
}

func appendStored(b, k, stored []byte, m proto.Message) ([]byte, error) {
	if err := proto.Unmarshal(stored, m); err != nil {
		return nil, fmt.Errorf("row %x: %w", k, err)
	}
	return appendRow(b, m), nil
}
