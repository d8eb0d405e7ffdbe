package fsm

import (
	"bytes"
	"slices"

	"github.com/lockstep-dev/lockstep/fsm/table"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
)

// An instance that is removed is gone at once to all who ask, and its rows go with the next flush. They are deleted one by one where they
// are few: a range for each of many instances would cost every read behind it. What the engine has of them until then is not looked at.

// eraseEach is how many rows under a prefix are deleted one by one.
const eraseEach = 64

// payloadRows is how many payloads the runs of an instance have.
func (i *instance) payloadRows() (rows int) {
	for f := range i.frames() {
		rows += f.payloads.count()
		for _, r := range f.runs {
			rows += r.payloads.count()
		}
	}
	return rows
}

func (p *payloads) count() (n int) {
	for has := p.has; has != 0; has &= has - 1 {
		n++
	}
	return n
}

// takeApart has some payloads of the runs of an instance go, so many as the slice may; it says how many. The instance stays as it is
// otherwise, and its answers say that payloads are left out.
func (t *turn) takeApart(i *instance, most int) (rows int) {
	if i.element == nil {
		t.m.keepInstance(i)
	}
	i.rec.Removing = true
	t.m.touch(i)
	for f := range i.frames() {
		if !f.outermost() && rows < most {
			rows += t.m.stripPayloads(i, f, f.self(), 0)
		}
		for n := range f.runs {
			if rows >= most {
				return rows
			}
			rows += t.m.stripPayloads(i, f, f.at(n), n/pageRuns)
		}
	}
	return rows
}

// stripPayloads has the payloads of a run, or of a frame, go; it says how many.
func (m *Machine) stripPayloads(i *instance, f *frame, at at, page int) (n int) {
	p := i.payloads(at)
	if n = p.count(); n == 0 {
		return 0
	}
	for as := role(0); as < roles; as++ {
		if p.has&(1<<as) != 0 {
			m.setPayload(i, at, as, nil)
		}
	}
	f.pages[page] = true
	return n
}

// remove has nothing be left of an instance. late says whether the namespace has results that came too late.
func (t *turn) remove(r removal, late bool) {
	m, ns, i := t.m, t.ns, r.i
	name, id := ns.rec.Namespace, i.rec.InstanceId
	if known := ns.instances[id]; known != nil { // perhaps only since one that it led went
		i = known
	}
	if l := i.rec.Line; l.GetFirst() != "" { // it was started last under the id
		if first := t.known(l.First); first != nil && first.rec.Line.GetHolder() == id {
			t.lineRecord(first).Holder = ""
		}
	}
	m.drop(endedKey(ns, r.e.position, id))
	if plant.Is(plant.RemovedShown) { // whoever does not start again still finds it
		return
	}
	m.erase(ns, key(tableHistory, name, id))
	if late {
		m.erase(ns, key(tableLate, name, id))
	}
	if ns.rec.Observations > 0 {
		m.forgetObservations(ns, id)
	}
	m.removeRuns(i)
	m.eachIndexRow(ns, i.rec, i.stands, func(k []byte) { m.dirty.replaced = append(m.dirty.replaced, slices.Clone(k)) })
	if ns.rec.Compacted >= i.rec.StartedPosition {
		m.eraseLoose(key(tableArchive, name, id))
	}
	if i.wasKeyed(m) {
		for _, p := range i.rec.Keys {
			m.drop(key(tableHad, name, p.Key, p.Value, id))
		}
	}
	m.dirty.replaced = append(m.dirty.replaced, key(tableInstance, name, id))
	if len(m.dirty.late) > 0 {
		m.dirty.late = keep(m.dirty.late, func(l lateRow) bool { return l.namespace != name || l.rec.InstanceId != id })
	}
	if i.element != nil {
		m.letGo(i)
	}
	if t.last == i {
		t.last = nil
	}
	if i.gone = true; ns.gone == nil {
		ns.gone = map[string]struct{}{}
	}
	ns.gone[id] = struct{}{}
	m.dirtyBytes += 256
}

// removeRuns has the rows of an instance's runs go, and of all payloads.
func (m *Machine) removeRuns(i *instance) {
	ns := i.ns
	pages, pending := key(tablePage, ns.rec.Namespace, i.rec.InstanceId), key(tablePending, ns.rec.Namespace, i.rec.InstanceId)
	for f := range i.frames() {
		m.removePayloads(i, f, f.self(), &f.payloads)
		for n, r := range f.runs {
			m.removePayloads(i, f, f.at(n), &r.payloads)
		}
		for p := range f.pages {
			if f.stored[p] {
				m.dirty.replaced = append(m.dirty.replaced, f.appendRowNumber(slices.Clone(pending), uint64(p)))
			}
			if len(i.bodies) == 0 {
				m.dirty.replaced = append(m.dirty.replaced, f.appendRowNumber(slices.Clone(pages), uint64(p)))
			}
		}
	}
	if len(i.bodies) > 0 {
		m.erase(ns, pages)
	}
}

// removePayloads has the rows go of payloads that are not to be asked for any more.
func (m *Machine) removePayloads(i *instance, f *frame, at at, p *payloads) {
	for as := role(0); as < roles; as++ {
		switch bit := uint8(1) << as; {
		case p.number[as] > 0:
			m.removePayload(i.ns, p, as)
		case (p.has|p.fresh)&bit != 0: // without a number
			m.dirty.replaced = append(m.dirty.replaced, f.appendPayloadKey(key(tablePayload, i.ns.rec.Namespace, i.rec.InstanceId), at.node, as))
		}
	}
}

// any says whether the engine has a row under a prefix.
func (m *Machine) any(ns *namespace, prefix []byte) (is bool) {
	must(m.stored(ns.rec.Namespace).Scan(prefix, table.End(prefix), func(_, _ []byte) bool {
		is = true
		return false
	}))
	return is
}

// erase has the engine's rows under a prefix go.
func (m *Machine) erase(ns *namespace, prefix []byte) {
	var keys [][]byte
	must(m.stored(ns.rec.Namespace).Scan(prefix, table.End(prefix), func(k, _ []byte) bool {
		keys = append(keys, slices.Clone(k))
		return len(keys) <= eraseEach
	}))
	if len(keys) > eraseEach {
		m.dirty.ranges = append(m.dirty.ranges, [2][]byte{prefix, table.End(prefix)})
		return
	}
	m.dirty.replaced = append(m.dirty.replaced, keys...)
}

// eraseLoose has the loose rows under a prefix go.
func (m *Machine) eraseLoose(prefix []byte) {
	var keys [][]byte
	m.scan(prefix, table.End(prefix), func(k, _ []byte) bool {
		keys = append(keys, slices.Clone(k))
		return len(keys) <= eraseEach
	})
	if len(keys) <= eraseEach {
		for _, k := range keys {
			m.drop(k)
		}
		return
	}
	m.forgetChanged(prefix)
	m.dirty.ranges = append(m.dirty.ranges, [2][]byte{prefix, table.End(prefix)})
}

// erased says that a row which the engine has goes with a range.
func (m *Machine) erased(k []byte) bool {
	return slices.ContainsFunc(m.dirty.ranges, func(r [2][]byte) bool { return bytes.Compare(r[0], k) <= 0 && bytes.Compare(k, r[1]) < 0 })
}
