package fsm

import (
	"slices"

	"github.com/lockstep-dev/lockstep/fsm/table"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A payload has a row of its own, which is written once: it is the most that is stored of a run, and what changes
// otherwise of the run must not carry it along. Behind that it is let go from memory, but for what the next lease needs.

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
	has   uint8              // by role: there is one
	fresh uint8              // by role: it changed, and the engine does not have that yet
	held  [roles]*v1.Payload // those in memory
}

func (p *payloads) set(as role, payload *v1.Payload) {
	bit := uint8(1) << as
	p.held[as] = payload
	switch {
	case payload != nil:
		p.has |= bit
	case p.has&bit == 0:
		return
	default:
		p.has &^= bit
	}
	p.fresh |= bit
}

func (p *payloads) letGo(as role) { p.held[as] = nil }

func (i *instance) payloads(at at) *payloads {
	if at.node < 0 {
		return &i.frame(at).payloads
	}
	return &i.run(at).payloads
}

// appendPayloadKey adds what the key of a payload has behind the instance's id.
func (f *frame) appendPayloadKey(k []byte, node int32, as role) []byte {
	return f.appendRowNumber(k, uint64(max(0, node+1))<<2|uint64(as))
}

// payload returns a payload, out of the engine when it is not in memory; nil when there is none.
func (i *instance) payload(r table.Reader, at at, as role) (*v1.Payload, error) {
	p := i.payloads(at)
	if p.has&(1<<as) == 0 || p.held[as] != nil {
		return p.held[as], nil
	}
	payload := &v1.Payload{}
	_, err := row(r, i.frame(at).appendPayloadKey(key(tablePayload, i.ns.rec.Namespace, i.rec.InstanceId), at.node, as), payload)
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
	i.payloads(at).set(as, payload)
	m.dirtyBytes += len(payload.GetBytes())
}

// flushPayloads writes what is fresh of an instance's payloads, and lets go of what no lease will need.
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
		if p.held[as] == nil {
			b.Delete(k)
			continue
		}
		b.Put(k, m.room.encode(p.held[as]))
	}
}

// outputs reads the outputs of a frame's runs at once.
func (i *instance) outputs(r table.Reader, f *frame) ([]*v1.Payload, error) {
	out := make([]*v1.Payload, len(f.runs))
	of := slices.Clip(key(tablePayload, i.ns.rec.Namespace, i.rec.InstanceId))
	from, to := f.appendPayloadKey(of, f.first, 0), f.appendPayloadKey(of, f.first+int32(len(out)), 0)
	err := scanRange(r, from, to, func() *v1.Payload { return &v1.Payload{} }, func(k []byte, payload *v1.Payload) error {
		_, _, number, ok := cutRowNumber(k[len(of):])
		if node := int32(number>>2) - 1; ok && role(number&3) == roleOutput {
			out[node-f.first] = payload
		}
		return nil
	})
	for n, run := range f.runs {
		if p := &run.payloads; p.has&(1<<roleOutput) == 0 || p.held[roleOutput] != nil {
			out[n] = p.held[roleOutput]
		}
	}
	return out, err
}
