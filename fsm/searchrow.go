package fsm

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lockstep-dev/lockstep/fsm/table"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Instances are found by an index: rows without values, of which an instance has one for each thing by which it is looked for. What they
// are follows from the instance's record alone, so nothing decides about them: the flush that writes a record writes its rows, those that
// have changed since the record was last written. An instance that is born and ends between two flushes costs the rows of its end, and a
// step costs none. Behind its state a row has when the start was accepted, which never changes, so that an instance keeps its place
// in every order in which it is listed. The index is of cluster level 20 (searchbuild.go).

// searchLevel is the cluster level from which on there is an index of instances.
const searchLevel = 20

// By what a row of the index is looked for. Behind it stand values, the state (but for what is quiet), a time, and the instance's id.
const (
	findState    = 's'
	findWorkflow = 'w' // workflow
	findVersion  = 'v' // workflow, version
	findLabel    = 'l' // name, value
	findKey      = 'k' // name, value
	findEnd      = 'e' // the time is that of the end, and who lives has none
	findQuiet    = 'q' // the time is quiet_wall, and who has ended has none
)

// quietStep is how much later than its row says a live instance's history may have grown: its row changes once in such a time at most.
const quietStep = int64(60e9)

// standing is what the index has of an instance; the zero one is nothing.
type standing struct {
	state                  v1.InstanceState
	version                int32
	keys                   int // steps give more of them
	accepted, ended, quiet int64
}

func standingOf(rec *logv1.Instance) standing {
	return standing{rec.State, rec.Version, len(rec.Keys), accepted(rec), rec.EndedWall, rec.QuietWall}
}

// accepted is when the start of an instance was accepted. Of those that waited for their id before this was kept it is the beginning of time.
func accepted(rec *logv1.Instance) int64 {
	if rec.AcceptedWall != 0 {
		return max(0, rec.AcceptedWall)
	}
	return rec.StartedWall
}

// changedAt is when something was last added to the history of a live instance, as far as that is known.
func (ns *namespace) changedAt(rec *logv1.Instance) int64 {
	return max(rec.ChangedWall, ns.rec.IndexedWall)
}

func (i *instance) changed() *timestamppb.Timestamp {
	if i.live() && i.rec.ChangedWall > 0 {
		return stamp(i.rec.ChangedWall)
	}
	return nil
}

// grows keeps when an instance's history grew, in the record alone, and by the minute in its row of the index.
func (m *Machine) grows(i *instance) {
	switch wall := m.group.Wall; {
	case m.level() < searchLevel:
	case !i.live():
		i.rec.ChangedWall, i.rec.QuietWall = 0, 0
	default:
		if i.rec.ChangedWall = wall; wall-i.rec.QuietWall >= quietStep {
			i.rec.QuietWall = wall
		}
	}
}

// indexKey begins the key of a row of the index.
func indexKey(k []byte, namespace string, by byte, values ...string) []byte {
	k = append(table.AppendString(append(k, tableIndex), namespace), by)
	for _, value := range values {
		k = table.AppendString(k, value)
	}
	return k
}

// ofVersion is a version among the values of a row.
func ofVersion(number int32) string { return string(table.AppendUint64(nil, uint64(number))) }

// eachIndexRow calls fn with the keys of all rows that the index has of an instance which stands so: who removes an instance removes
// these. A key is good until fn returns.
func (m *Machine) eachIndexRow(ns *namespace, rec *logv1.Instance, s standing, fn func(k []byte)) {
	if s.state == 0 {
		return
	}
	name := ns.rec.Namespace
	of := func(by byte, values ...string) {
		m.indexRow(append(indexKey(m.scratch[:0], name, by, values...), byte(s.state)), s.accepted, rec, fn)
	}
	of(findState)
	of(findWorkflow, rec.Workflow)
	of(findVersion, rec.Workflow, ofVersion(s.version))
	for _, p := range rec.Labels {
		of(findLabel, p.Key, p.Value)
	}
	for _, p := range rec.Keys {
		of(findKey, p.Key, p.Value)
	}
	if Live(s.state) {
		m.quietRow(ns, rec, s, fn)
	} else {
		m.indexRow(append(indexKey(m.scratch[:0], name, findEnd), byte(s.state)), s.ended, rec, fn)
	}
}

// quietRow is the row of a live instance by when its history grew.
func (m *Machine) quietRow(ns *namespace, rec *logv1.Instance, s standing, fn func(k []byte)) {
	m.indexRow(indexKey(m.scratch[:0], ns.rec.Namespace, findQuiet), max(s.quiet, ns.rec.IndexedWall), rec, fn)
}

// indexRow ends the key of a row of the index.
func (m *Machine) indexRow(k []byte, at int64, rec *logv1.Instance, fn func(k []byte)) {
	m.scratch = table.AppendString(table.AppendUint64(k, uint64(at)), rec.InstanceId)
	fn(m.scratch)
}

// olderRow is a row of an instance that was there before the index.
type olderRow struct {
	namespace string
	key       []byte
}

// flushOlder writes the rows of instances that were there before the index. They come before all that the flush takes away, and before
// the other rows of the index: what has become of these instances since is among those.
func (m *Machine) flushOlder() {
	for _, r := range m.dirty.index {
		m.batch.Put(r.key, nil)
	}
}

// flushIndex writes the rows of the index that the flush changes.
func (m *Machine) flushIndex() {
	for _, i := range m.dirty.instances {
		was, is := i.stands, standingOf(i.rec)
		if i.stands = is; m.level() < searchLevel || was == is || plant.Is(plant.IndexNotMoved) && was.state != 0 {
			continue
		}
		m.reindex(i, was, is)
	}
}

func (m *Machine) reindex(i *instance, was, is standing) {
	drop := func(k []byte) { m.batch.Delete(m.room.copy(k)) }
	put := func(k []byte) { m.batch.Put(m.room.copy(k), nil) }
	if quiet := is; Live(is.state) {
		if quiet.quiet = was.quiet; quiet == was { // then nothing else has changed
			m.quietRow(i.ns, i.rec, was, drop)
			m.quietRow(i.ns, i.rec, is, put)
			return
		}
	}
	m.eachIndexRow(i.ns, i.rec, was, drop)
	m.eachIndexRow(i.ns, i.rec, is, put)
}
