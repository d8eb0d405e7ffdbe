package fsm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// The digest of events cannot tell of a row that changed without one, and a replica that restarts or pages in reads
// rows, not events. So every checkpointEvery entries a slice of the state itself goes into the digest: the group's
// record, and of each table the rows that follow those of the slice before, from the beginning again behind the last.
// Where it begins is state like all else, so the log alone determines it; n rows of a table are covered within
// n/sliceRows+1 checkpoints, or more where rows are large.
//
// A checkpoint stalls apply for the flush of at most what 1,024 entries made dirty, which the next second would have
// flushed anyway, and for a slice of at most sliceRows rows and sliceBytes of each table (one row more than that where
// it is large), at most 0.6 MiB in all. By BenchmarkSlice that is 1 ms of processor time for the slice on a memory engine
// and 2 ms on Pebble, and 5 ms with the flush of 1,024 instances that were started since the last.
const (
	checkpointEvery   = 1024
	recentCheckpoints = 32
	sliceRows         = 32
	sliceBytes        = 64 << 10
)

// sliceLevel is the cluster level from which on slices are in the digest.
const sliceLevel = 3

// sliced are the tables, and the level from which on their rows are in slices, in the order in which Group.slice_from has them; new ones go
// to the end, at a new level.
var sliced = [...]struct {
	since uint32
	table byte
}{
	{sliceLevel, tableNamespace}, {sliceLevel, tableSession}, {sliceLevel, tableWorkflow}, {sliceLevel, tableInstance}, {sliceLevel, tablePage},
	{sliceLevel, tablePending}, {sliceLevel, tableLock}, {sliceLevel, tableBlock}, {sliceLevel, tableHistory}, {sliceLevel, tableLate}, {sliceLevel, tablePayload},
	{sliceLevel, tableNumbered}, // nothing of it is there below aheadLevel
	{scheduleLevel, tableSchedule},
	{keysLevel, tableKey}, {keysLevel, tableKept}, {keysLevel, tableTold}, {keysLevel, tableOver},
	{useLevel, tableUse},
	{fairLevel, tableFair},
	{limitLevel, tableLimit},
	{awaitsLevel, tableHad}, {awaitsLevel, tableCensus},
	{searchLevel, tableIndex}, // once all is in it
	{retentionLevel, tableEnded}, {retentionLevel, tableArchive},
	{bulkLevel, tableBulk},
	{reconcileLevel, tableObserved}, {reconcileLevel, tableDrift}, {reconcileLevel, tableOrphan},
	{sweepLevel, tableReporter},
}

// slicedAt is how many of them there are at a cluster level.
func slicedAt(level uint32) int {
	n := 0
	for n < len(sliced) && sliced[n].since <= level {
		n++
	}
	return n
}

// Checkpoint is the digest of all up to an entry.
type Checkpoint struct {
	Index  uint64
	Digest []byte
}

// Checkpoints returns the newest checkpoints, oldest first. Replicas that have one at the same index have the same.
func (m *Machine) Checkpoints() []Checkpoint {
	m.mu.RLock()
	defer m.mu.RUnlock()
	g := m.group
	out := make([]Checkpoint, len(g.CheckpointIndex))
	for i, index := range g.CheckpointIndex {
		out[i] = Checkpoint{index, slices.Clone(g.CheckpointDigest[i])}
	}
	return out
}

// checkpoints says whether an entry makes one: the first at or behind each multiple, for not every index is an entry.
func (m *Machine) checkpoints(index uint64) bool {
	return index/checkpointEvery != m.group.Index/checkpointEvery
}

// slice returns the hash of the next slice of the state, as the coming entry finds it. It flushes first: rows are then
// in the engine, at an index at which they can be found again, and a crash behind that repeats the slice.
func (m *Machine) slice() []byte {
	if m.group.Level < sliceLevel {
		return nil
	}
	if err := m.flush(); err != nil {
		panic(fmt.Errorf("fsm: %w", err))
	}
	g := m.group
	tables := sliced[:slicedAt(g.Level)]
	for len(g.SliceFrom) < len(tables) {
		g.SliceFrom = append(g.SliceFrom, nil)
	}
	h := sha256.New()
	h.Write(appendGroup(nil, g))
	var rows []byte
	for i, row := range tables {
		if row.table == tableIndex && m.toIndex > 0 {
			continue // its rows follow from the records once all are there, and not from when those were written
		}
		cut := &cut{m: m, tbl: row.table, rows: rows[:0]}
		must(cut.take(g.SliceFrom[i]))
		g.SliceFrom[i], rows = cut.next, cut.rows
		h.Write(rows)
	}
	return h.Sum(nil)
}

// appendGroup adds the group's record but for digests, which are the chain itself.
func appendGroup(b []byte, g *logv1.Group) []byte {
	for _, v := range [...]uint64{g.Index, g.Term, g.ClockTerm, uint64(g.LastWait), uint64(g.LastSession), uint64(g.Level)} {
		b = binary.AppendUvarint(b, v)
	}
	for _, v := range [...]int64{g.ClockElapsed, g.Uptime, g.Wall} {
		b = binary.AppendVarint(b, v)
	}
	return b
}

// cut takes the rows of one table that belong to a slice.
type cut struct {
	m     *Machine
	tbl   byte
	rows  []byte
	count int
	next  []byte // where the next slice begins; empty is the beginning
}

func (c *cut) take(from []byte) error {
	if len(from) == 0 {
		from = []byte{c.tbl}
	}
	switch c.tbl {
	case tableBlock:
		return c.takeParts(from, c.eventParts)
	case tableHistory:
		return c.takeParts(from, historyParts)
	}
	var failed error
	err := c.m.engine.Scan(from, table.End([]byte{c.tbl}), func(k, value []byte) bool {
		if !c.open(k) {
			return false
		}
		c.add(k)
		c.rows, failed = c.m.appendRowAt(c.rows, k, value)
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	return err
}

// open says whether the slice takes one more row. The first that it does not take begins the next slice.
func (c *cut) open(k []byte) bool {
	if c.count < sliceRows && len(c.rows) < sliceBytes {
		return true
	}
	c.next = slices.Clone(k)
	return false
}

func (c *cut) add(k []byte) {
	c.count++
	c.rows = appendBytes(c.rows, k)
}

// takeParts takes the parts of rows one by one, for where these rows begin is each replica's own: events of blocks, and
// positions of histories. Each part has the key that a row of its own would have.
func (c *cut) takeParts(from []byte, parts func(k, value []byte, take func(position int64, part []byte) bool) error) error {
	begin := from
	err := c.m.engine.ScanBack([]byte{c.tbl}, append(slices.Clone(from), 0), func(k, _ []byte) bool {
		begin = slices.Clone(k)
		return false
	})
	if err != nil {
		return err
	}
	var failed error
	err = c.m.engine.Scan(begin, table.End([]byte{c.tbl}), func(k, value []byte) bool {
		open, at := true, slices.Clone(k)
		failed = parts(k, value, func(position int64, part []byte) bool {
			binary.BigEndian.PutUint64(at[len(at)-8:], uint64(position))
			if bytes.Compare(at, from) < 0 {
				return true
			}
			if open = c.open(at); open {
				c.add(at)
				c.rows = append(c.rows, part...)
			}
			return open
		})
		return open && failed == nil
	})
	return errors.Join(err, failed)
}

// eventParts are the events of a block that are kept: those before are each replica's own to have, until their block goes.
func (c *cut) eventParts(k, value []byte, take func(int64, []byte) bool) error {
	name, _, _ := table.CutString(k[1:])
	kept := int64(0)
	if ns := c.m.namespaces[name]; ns != nil {
		kept = ns.rec.Compacted
	}
	for len(value) > 0 {
		event, position, rest, err := cutEvent(value)
		if err != nil || position > kept && !take(position, event) {
			return err
		}
		value = rest
	}
	return nil
}

func historyParts(k, value []byte, take func(int64, []byte) bool) error {
	return eachPosition(k, value, func(position int64) bool { return take(position, nil) })
}
