package fsm

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A definition never changes, and instances keep the version that they were started with. What does change about a version is how many
// of its instances live, and whether it still starts any: one that is drained does not, whoever asks, and is done with when none lives.
// This is in a row of its own, for a definition is large, and is counted in memory: a start writes nothing for it.

// useLevel is the cluster level from which on versions are counted and drained; it came with that of lines.
const useLevel = lineLevel

// useRow is a version whose row is to be written.
type useRow struct {
	namespace string
	version   *version
}

func useKey(namespace string, rec *logv1.Workflow) []byte {
	return table.AppendUint64(key(tableUse, namespace, rec.Workflow), uint64(rec.Version))
}

// dirtyUse has the next flush write what became of a version.
func (m *Machine) dirtyUse(ns *namespace, v *version) {
	if !v.dirty {
		v.dirty = true
		m.dirty.uses = append(m.dirty.uses, useRow{ns.rec.Namespace, v})
	}
}

func (m *Machine) flushUses() {
	for _, u := range m.dirty.uses {
		u.version.dirty = false
		m.batch.Put(useKey(u.namespace, u.version.rec), m.room.encode(u.version.use))
	}
}

// loadUses reads what became of the versions of a namespace.
func (m *Machine) loadUses(ns *namespace) error {
	prefix := key(tableUse, ns.rec.Namespace)
	return scanRows(m.engine, prefix, func() *logv1.VersionUse { return &logv1.VersionUse{} }, func(k []byte, use *logv1.VersionUse) error {
		name, rest, ok := table.CutString(k[len(prefix):])
		number, _, sound := table.CutUint64(rest)
		v, refusal := ns.version(name, int32(number))
		if !ok || !sound || number == 0 || refusal != nil {
			return fmt.Errorf("row %x is of no version", k)
		}
		if plant.Is(plant.DrainForgotten) {
			use.Drained = false
		}
		v.use = use
		return nil
	})
}

// lives counts an instance that has come to be, or has ended, for its version.
func (m *Machine) lives(i *instance, by int64) {
	if m.level() >= useLevel {
		i.version.use.Live += by
		m.dirtyUse(i.ns, i.version)
	}
}

// countLive counts what lives of each version, when the cluster comes to the level that knows how many.
func (m *Machine) countLive(ns *namespace) {
	m.eachLive(ns, func(rec *logv1.Instance) {
		v, refusal := ns.version(rec.Workflow, rec.Version)
		must(refusalError(refusal))
		v.use.Live++
		m.dirtyUse(ns, v)
	})
}

// toStart finds the version that a start is of: the newest that is not drained, unless the start says which.
func (ns *namespace) toStart(name string, number int32) (*version, *Refusal) {
	v, refusal := ns.version(name, number)
	if refusal != nil || !v.use.Drained || plant.Is(plant.DrainIgnored) {
		return v, refusal
	}
	versions := ns.workflows[name].versions
	for n := len(versions) - 1; n >= 0; n-- {
		newest := versions[n]
		switch {
		case newest.use.Drained:
		case number == 0:
			return newest, nil
		default:
			return nil, Refuse(v1.Code_CODE_VERSION_DRAINED, "version %d of workflow %q is drained, and starts nothing; start version %d, or leave the version out", number, name, newest.rec.Version)
		}
	}
	return nil, Refuse(v1.Code_CODE_VERSION_DRAINED, "every version of workflow %q is drained, and starts nothing; register another, or undrain one", name)
}

// drainVersion has a version start nothing any more. Drained twice is answered as once, with the first reason.
func (t *turn) drainVersion(r *v1.DrainVersionRequest) (proto.Message, *Refusal) {
	v, refusal := t.ns.version(r.Workflow, r.Version)
	switch {
	case refusal != nil:
		return nil, refusal
	case r.Version <= 0:
		return nil, Refuse(v1.Code_CODE_INVALID, "say which version: the newest is another one soon")
	case !v.use.Drained:
		t.emit(&versionDrained{v, true, r.Reason})
	}
	return v.reply(t.ns), nil
}

func (t *turn) undrainVersion(r *v1.UndrainVersionRequest) (proto.Message, *Refusal) {
	v, refusal := t.ns.version(r.Workflow, r.Version)
	switch {
	case refusal != nil:
		return nil, refusal
	case r.Version <= 0:
		return nil, Refuse(v1.Code_CODE_INVALID, "say which version: the newest is another one soon")
	case v.use.Drained:
		t.emit(&versionDrained{v, false, r.Reason})
	}
	return v.reply(t.ns), nil
}

// versionDrained has a version start nothing any more, or start again.
type versionDrained struct {
	version *version
	drained bool
	reason  string
}

func (e *versionDrained) kind() string {
	if e.drained {
		return "lockstep.workflow.drained.v1"
	}
	return "lockstep.workflow.undrained.v1"
}
func (e *versionDrained) fill(d *v1.EventData) string {
	d.Workflow, d.Version, d.Reason, d.Count = e.version.rec.Workflow, e.version.rec.Version, e.reason, int32(e.version.use.Live)
	return "workflow/" + d.Workflow
}
func (e *versionDrained) evolve(t *turn) {
	use := e.version.use
	if use.Drained = e.drained; e.drained {
		use.DrainedWall, use.Reason = t.wall(), e.reason
	} else {
		use.DrainedWall, use.Reason = 0, ""
	}
	t.m.dirtyUse(t.ns, e.version)
}
