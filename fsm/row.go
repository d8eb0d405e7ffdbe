package fsm

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// rowAt is the row of a key, as the machine has it: the record that is resident and answers are made from, else the
// one that is stored. A row that is only a key is nil.
func (m *Machine) rowAt(k, stored []byte) (proto.Message, error) {
	rest := k[1:]
	if k[0] == tableSession {
		id, _, ok := table.CutUint64(rest)
		if s := m.sessions[int64(id)]; ok && s != nil {
			return s.rec, nil
		}
		return decoded(k, stored, &logv1.Session{})
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
		return ns.rec, nil
	}
	id, rest, ok := table.CutString(rest)
	if !ok {
		return nil, fmt.Errorf("a row has the damaged key %x", k)
	}
	return m.rowOf(ns, id, rest, k, stored)
}

// rowOf is rowAt of the tables whose keys have a name behind the namespace's.
func (m *Machine) rowOf(ns *namespace, id string, rest, k, stored []byte) (proto.Message, error) {
	number, _, _ := table.CutUint64(rest)
	i := ns.instances[id]
	switch k[0] {
	case tableWorkflow:
		if v, refusal := ns.version(id, int32(number)); refusal == nil && number > 0 {
			return v.rec, nil
		}
		return decoded(k, stored, &logv1.Workflow{})
	case tableInstance:
		if i != nil {
			return i.rec, nil
		}
		return decoded(k, stored, &logv1.Instance{})
	case tablePage:
		if first := int(number) * pageRuns; i != nil && first < len(i.runs) {
			return &logv1.RunPage{Runs: i.runs[first:min(first+pageRuns, len(i.runs))]}, nil
		}
		return decoded(k, stored, &logv1.RunPage{})
	case tablePending:
		if node := int(number); i != nil && node < len(i.runs) && pending(i.runs[node]) {
			return i.place(int32(node)).pending(), nil
		}
		return decoded(k, stored, &logv1.Pending{})
	case tableLock:
		if l := ns.locks[id]; l != nil {
			return l.rec, nil
		}
		return decoded(k, stored, &logv1.Lock{})
	case tableLate:
		return decoded(k, stored, &logv1.LateResult{})
	}
	return nil, nil
}

func decoded(k, stored []byte, m proto.Message) (proto.Message, error) {
	if err := proto.Unmarshal(stored, m); err != nil {
		return nil, fmt.Errorf("row %x: %w", k, err)
	}
	return m, nil
}
