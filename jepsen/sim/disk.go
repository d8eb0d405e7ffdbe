package sim

import (
	"time"

	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/fsm/table"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
)

// disk is a node's: what was synced is there after a crash, and of what was not, some beginning.
type disk struct {
	w    *world
	kept kept
	// Writes that are not synced yet, oldest first.
	pending []*write
	busy    bool // with the oldest
	slow    time.Duration
	store   *store
	lost    uint64 // writes that a crash lost
	delayed uint64
}

// kept is what raft keeps.
type kept struct {
	term     uint64
	vote     int
	log      log
	snapshot *snapshot
}

// snapshot is a pinned state; it is written out only when somebody reads it.
type snapshot struct {
	index, term uint64
	state       *fsm.Snapshot
}

type write struct {
	change func(*kept)
	done   func()
	due    time.Duration // for bugs: when it gets to the disk by itself
	told   bool          // done was called
}

// write keeps a change; done is called by the process when it is synced. Writes are synced in order.
func (d *disk) write(p *process, change func(*kept), done func()) {
	e := &write{change: change, done: done}
	d.pending = append(d.pending, e)
	tell := func() {
		if !e.told {
			e.told = true
			e.done()
		}
	}
	if plant.Is(plant.AckBeforeFsync) { // what was written and not synced is on the disk a while later
		e.due = d.w.now + d.w.disks.between(0, 3*time.Second)
		d.w.by(p, 0, tell)
	}
	if plant.Is(plant.SlowWriteCounts) {
		d.w.by(p, 300*time.Millisecond, tell)
	}
	if !d.busy {
		d.serve(p)
	}
}

// has says whether an entry, or a state behind it, would be there after a crash.
func (d *disk) has(e *entry) bool {
	k := &d.kept
	if k.snapshot != nil && k.snapshot.index >= e.index {
		return true
	}
	term, here := k.log.term(e.index)
	return here && term == e.term || k.log.base >= e.index
}

// serve syncs the oldest write. How slow that is shows when it is begun: a disk that is well again works off what waits.
func (d *disk) serve(p *process) {
	e := d.pending[0]
	lat := d.w.disks.between(200*time.Microsecond, 900*time.Microsecond)
	if d.slow > 0 {
		lat += d.w.disks.between(d.slow/2, d.slow)
		d.delayed++
	}
	if e.due > 0 {
		lat = max(0, e.due-d.w.now)
	}
	d.busy = true
	d.w.by(p, lat, func() {
		d.busy = false
		d.pending = d.pending[1:]
		e.change(&d.kept)
		if len(d.pending) > 0 {
			d.serve(p)
		}
		if !e.told {
			e.told = true
			e.done()
		}
	})
}

// crash loses what was not synced, but for some beginning of it.
func (d *disk) crash() {
	survive := d.w.disks.IntN(len(d.pending) + 1)
	for _, e := range d.pending[:survive] {
		e.change(&d.kept)
	}
	d.lost += uint64(len(d.pending) - survive)
	d.pending, d.busy = nil, false
	d.store.crash(d.w.disks)
}

// store is the state machine's engine: each batch is atomic, and durable with the next Sync.
type store struct {
	table.Engine
	versions []table.Snapshot // the durable one, and one behind each batch since
}

func newStore() *store {
	s := &store{Engine: table.NewMemory()}
	s.versions = []table.Snapshot{s.Engine.Snapshot()}
	return s
}

// Write implements table.Engine.
func (s *store) Write(b *table.Batch) error {
	err := s.Engine.Write(b)
	s.versions = append(s.versions, s.Engine.Snapshot())
	return err
}

// Sync implements table.Engine.
func (s *store) Sync() error {
	s.versions = s.versions[len(s.versions)-1:]
	return nil
}

// crash goes back to the durable batches and some of those behind.
func (s *store) crash(d draws) {
	at := d.IntN(len(s.versions))
	s.Engine = table.MemoryOf(s.versions[at])
	s.versions = []table.Snapshot{s.versions[at]}
}
