package fsm

import (
	"fmt"

	"github.com/lockstep-dev/lockstep/fsm/table"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A payload has a row of its own, which is written once: it is the most that is stored of a run, and what changes
// otherwise of the run must not carry it along. It has a number in its namespace, by which its row is keyed, so that payloads are
// appended as events are (spill.go), and whose it is tells the number. Behind that it is let go from memory, but for what the next lease needs.
//
// Those of a cluster below aheadLevel have no number. They are keyed by what they belong to, are written by the flush, and stay so.

// role is what a payload is to a run, or to the instance itself.
type role uint8

const (
	roleOutput role = iota
	roleInput
	roleProgress
	roles
)

// whole stands in the place of a run for the instance itself, whose payloads are the first of the root frame.
var whole = at{node: -1}

// payloads are those of a run, or of the instance itself.
type payloads struct {
	has    uint8              // by role: there is one
	fresh  uint8              // by role: the row of one without a number changed, and the engine does not have that yet
	number [roles]int64       // zero is none
	held   [roles]*v1.Payload // those in memory
}

func (p *payloads) letGo(as role) { p.held[as] = nil }

// added is a payload that is to be written, and whose it is.
type added struct {
	of      *payloads
	as      role
	payload *v1.Payload // nil when it was replaced meanwhile
}

// numbered are the payloads of a namespace that are not written yet, one after the other, without a gap.
type numbered struct {
	first int64 // number of the first
	list  []added
}

func (n *numbered) add(number int64, a added) {
	if len(n.list) == 0 {
		n.first = number
	}
	n.list = append(n.list, a)
}

// drop has a payload never be written; it says whether that is so.
func (n *numbered) drop(number int64) bool {
	waits := len(n.list) > 0 && number >= n.first
	if waits {
		n.list[number-n.first].payload = nil
	}
	return waits
}

func numberKey(k []byte, number int64) []byte { return table.AppendUint64(k, uint64(number)) }

// flush moves the payloads into rows, and lets go of what no lease will need.
func (n *numbered) flush(b *table.Batch, r *room, namespace string) {
	for at, a := range n.list {
		if a.payload == nil {
			continue
		}
		b.Put(numberKey(r.key(tableNumbered, namespace), n.first+int64(at)), r.encode(a.payload))
		if a.as != roleInput {
			a.of.letGo(a.as)
		}
	}
	clear(n.list)
	n.list = n.list[:0]
}

func (i *instance) payloads(at at) *payloads {
	if at.node < 0 {
		return &i.frame(at).payloads
	}
	return &i.run(at).payloads
}

// appendPayloadKey adds what the key of a payload without a number has behind the instance's id.
func (f *frame) appendPayloadKey(k []byte, node int32, as role) []byte {
	return f.appendRowNumber(k, uint64(max(0, node+1))<<2|uint64(as))
}

// payload returns a payload, out of the engine when it is not in memory; nil when there is none.
func (i *instance) payload(r table.Reader, at at, as role) (*v1.Payload, error) {
	p := i.payloads(at)
	if p.has&(1<<as) == 0 || p.held[as] != nil {
		return p.held[as], nil
	}
	var k []byte
	if name := i.ns.rec.Namespace; p.number[as] > 0 {
		k = numberKey(key(tableNumbered, name), p.number[as])
	} else {
		k = i.frame(at).appendPayloadKey(key(tablePayload, name, i.rec.InstanceId), at.node, as)
	}
	payload := &v1.Payload{}
	found, err := row(r, k, payload)
	if err == nil && !found {
		err = fmt.Errorf("instance %s lacks the payload of row %x", i.rec.InstanceId, k)
	}
	return payload, err
}

// payload is that of an instance which is decided about.
func (t *turn) payload(i *instance, at at, as role) *v1.Payload {
	payload, err := i.payload(t.m.engine, at, as)
	must(err)
	return payload
}

// setPayload is how payloads come to be.
func (m *Machine) setPayload(i *instance, at at, as role, payload *v1.Payload) {
	p, bit := i.payloads(at), uint8(1)<<as
	if p.has&bit != 0 {
		m.removePayload(i.ns, p, as)
	}
	p.held[as] = payload
	switch {
	case payload == nil:
		p.has &^= bit
		return
	case m.group.Level < aheadLevel:
		p.fresh |= bit
		m.dirtyBytes += len(payload.Bytes)
	default:
		i.ns.rec.Payload++
		p.number[as] = i.ns.rec.Payload
		i.ns.payloads.add(p.number[as], added{p, as, payload})
		m.dirtyNamespace(i.ns)
		m.added += len(payload.Bytes)
	}
	p.has |= bit
}

// removePayload has the row of a payload go that is replaced.
func (m *Machine) removePayload(ns *namespace, p *payloads, as role) {
	number := p.number[as]
	p.number[as] = 0
	switch {
	case number == 0:
		p.fresh |= 1 << as
	case !ns.payloads.drop(number):
		m.dirty.replaced = append(m.dirty.replaced, numberKey(key(tableNumbered, ns.rec.Namespace), number))
	}
}

// flushPayloads writes what is fresh of an instance's payloads without numbers, and lets go of what no lease will need.
func (m *Machine) flushPayloads(b *table.Batch, i *instance) {
	m.flushPayloadsOf(b, i, whole)
	if i.root.letGo(roleOutput); !i.live() {
		i.root.letGo(roleInput)
	}
	for f := range i.frames() {
		if f != &i.root && f.pages[0] {
			m.flushPayloadsOf(b, i, f.self())
			f.letGo(roleOutput)
		}
		for p, dirty := range f.pages {
			if dirty {
				m.flushPagePayloads(b, i, f, p)
			}
		}
	}
}

func (m *Machine) flushPagePayloads(b *table.Batch, i *instance, f *frame, p int) {
	for n, r := range f.page(p) {
		m.flushPayloadsOf(b, i, f.at(p*pageRuns+n))
		r.letGo(roleOutput)
		r.letGo(roleProgress)
		if ended(r.State) {
			r.letGo(roleInput)
		}
	}
}

func (m *Machine) flushPayloadsOf(b *table.Batch, i *instance, at at) {
	p := i.payloads(at)
	for as := role(0); p.fresh != 0; as++ {
		if p.fresh&(1<<as) == 0 {
			continue
		}
		p.fresh &^= 1 << as
		k := i.frame(at).appendPayloadKey(m.room.key(tablePayload, i.ns.rec.Namespace, i.rec.InstanceId), at.node, as)
		if p.held[as] == nil || p.number[as] > 0 {
			b.Delete(k)
			continue
		}
		b.Put(k, m.room.encode(p.held[as]))
	}
}

// outputs are those of a frame's runs.
func (i *instance) outputs(r table.Reader, f *frame) ([]*v1.Payload, error) {
	out := make([]*v1.Payload, len(f.runs))
	for n := range out {
		var err error
		if out[n], err = i.payload(r, f.at(n), roleOutput); err != nil {
			return nil, err
		}
	}
	return out, nil
}
