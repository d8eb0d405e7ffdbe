package fsm

import (
	"cmp"

	"github.com/google/btree"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
)

// Ready runs of a queue take turns by key: start-time fair queueing, of keys instead of runs, so that within a key they keep the order
// of before. Each key that waits has a tag, in a time of the queue's own, and the lowest is next. A lease moves its key's tag on by one
// turn over the weight, and the queue's time to where the tag was. A key that comes begins at the queue's time, or where its own
// tag is if that is ahead: so its first run is behind at most one run of each other key, however many those have, and
// coming and going gains nothing. As long as no run with a key is in the line there is none of this.
//
// A turn is a lease that a poll, credit or a completion's next is given. One by the name of the run, and one that a
// lock's end gives to who waits already, take nobody's turn: nothing else of the queue could be leased. A run that is given
// back, lapses or is tried again stands in its key's line as it did, and its key has had its turn.
type fairness struct {
	now   int64                   // the tag of the key that was leased last
	runs  *btree.BTreeG[keyedRun] // ready and not parked, with a key; queue.ready has those of the empty key
	lanes map[string]*lane        // all that wait, and those that do not and are ahead of now
	line  *btree.BTreeG[*lane]    // those with runs
	idle  *btree.BTreeG[*lane]    // those without, by when they may be forgotten
	held  int                     // of them those that a claim is tried for
}

// A turn of weight 1. Weights are true to a tenth of a percent, and the time of a queue that is never without keys lasts
// for 2^43 turns.
const turnTag = 1 << 20

// maxIdle is how many keys are remembered in a queue though they have no run there. For one more, the queue's time goes on to where
// one of them can be forgotten: so keys that are used once cannot keep out others for ever. Behind that, what waits
// may have up to a turn by its weight before what comes.
const maxIdle = 1000

// fairLevel is the cluster level from which on there are keys of fairness, and their rows are in slices of the state.
const fairLevel = 15

type keyedRun struct {
	key string
	readyRun
}

func (a keyedRun) less(b keyedRun) bool {
	if a.key != b.key {
		return a.key < b.key
	}
	return b.run != nil && (a.run == nil || a.readyRun.less(b.readyRun)) // one without a run is before all of its key
}

// lane is the runs of one key.
type lane struct {
	key   string
	tag   int64
	head  readyRun // the first
	ready int
	where laneWhere
	waits bool // it has been given its tag for the runs that it has
	held  bool // a claim of its first run is tried: it is not forgotten
	dirt  rowDirt
}

type laneWhere uint8

const (
	laneOut laneWhere = iota
	laneLined
	laneIdle
)

// rowDirt is what is known of a row: it waits for the flush, and there is one in the engine.
type rowDirt struct{ dirty, stored bool }

func lanesInLine(a, b *lane) bool {
	if a.tag != b.tag {
		return a.tag < b.tag
	}
	return a.head.less(b.head)
}

func lanesIdle(a, b *lane) bool {
	return cmp.Or(cmp.Compare(a.tag, b.tag), cmp.Compare(a.key, b.key)) < 0
}

func newFairness() *fairness {
	return &fairness{
		runs: btree.NewG(32, keyedRun.less), lanes: map[string]*lane{}, line: btree.NewG(32, lanesInLine), idle: btree.NewG(32, lanesIdle),
	}
}

// begin has a queue's runs take turns.
func (q *queue) begin() *fairness {
	if q.fair == nil {
		if q.fair, q.spare = q.spare, nil; q.fair == nil {
			q.fair = newFairness()
		}
	}
	return q.fair
}

// joinLine puts a run into its queue's line.
func (m *Machine) joinLine(q *queue, key string, item readyRun) {
	if key == "" {
		if q.ready.ReplaceOrInsert(item); q.fair == nil {
			return
		}
	} else {
		q.begin().runs.ReplaceOrInsert(keyedRun{key, item})
	}
	m.stirred(q, key, 1)
}

// leaveLine takes it out.
func (m *Machine) leaveLine(q *queue, key string, item readyRun) {
	if key == "" {
		if q.ready.Delete(item); q.fair == nil {
			return
		}
	} else {
		q.fair.runs.Delete(keyedRun{key, item})
	}
	m.stirred(q, key, -1)
}

// stirred follows a change of a key's runs. What that means for its tag is settled when the change is whole.
func (m *Machine) stirred(q *queue, key string, by int) {
	l := q.fair.lane(key)
	q.fair.out(l)
	if l.ready += by; key == "" {
		l.ready = q.ready.Len()
	}
	q.link(l)
	m.unsettled.queue, m.unsettled.lane = q, l
}

func (f *fairness) lane(key string) *lane {
	l := f.lanes[key]
	if l == nil {
		l = &lane{key: key}
		f.lanes[key] = l
	}
	return l
}

func (f *fairness) out(l *lane) {
	switch l.where {
	case laneLined:
		f.line.Delete(l)
	case laneIdle:
		f.idle.Delete(l)
	}
	l.where = laneOut
}

// link puts a lane that has runs in line, by the first of them.
func (q *queue) link(l *lane) {
	if l.ready == 0 {
		return
	}
	if l.key == "" {
		l.head, _ = q.ready.Min()
	} else {
		q.fair.runs.AscendGreaterOrEqual(keyedRun{key: l.key}, func(r keyedRun) bool {
			l.head = r.readyRun
			return false
		})
	}
	q.fair.line.ReplaceOrInsert(l)
	l.where = laneLined
}

// moveTag gives a lane another tag.
func (m *Machine) moveTag(q *queue, l *lane, tag int64) {
	q.fair.out(l)
	l.tag = tag
	q.link(l)
	m.dirtyLane(q, l)
}

// settle gives a key that waits again its tag, and lets one go that does not.
func (m *Machine) settle(q *queue, l *lane) {
	f := q.fair
	if first := f.lanes[""]; first == nil && q.ready.Len() > 0 { // those without a key were alone up to now
		first = f.lane("")
		first.ready = q.ready.Len()
		first.waits = true
		m.moveTag(q, first, f.now)
	}
	switch {
	case l.ready > 0 && !l.waits:
		l.waits = true
		m.moveTag(q, l, max(l.tag, f.now))
	case l.ready == 0:
		l.waits = false
		m.letRest(q, l)
	}
	_, keyless := f.lanes[""]
	if f.held == 0 && (f.line.Len() == 0 || keyless && len(f.lanes) == 1) {
		m.endFairness(q)
	}
}

// letRest remembers the tag of a key without runs while it is ahead.
func (m *Machine) letRest(q *queue, l *lane) {
	f := q.fair
	if f.out(l); l.held {
		return
	}
	f.idle.ReplaceOrInsert(l)
	l.where = laneIdle
	if f.idle.Len() > maxIdle {
		first, _ := f.idle.Min()
		m.moveNow(q, first.tag)
	}
	m.forgetIdle(q)
}

func (m *Machine) moveNow(q *queue, to int64) {
	if to > q.fair.now {
		q.fair.now = to
		m.dirtyNow(q)
	}
}

func (m *Machine) forgetIdle(q *queue) {
	f := q.fair
	for l, any := f.idle.Min(); any && l.tag <= f.now; l, any = f.idle.Min() {
		m.forgetLane(q, l)
	}
}

func (m *Machine) forgetLane(q *queue, l *lane) {
	q.fair.out(l)
	delete(q.fair.lanes, l.key)
	if l.dirt.stored {
		m.dirtyLane(q, l)
	}
}

// endFairness forgets all tags: nothing waits that has a key, or remembers one.
func (m *Machine) endFairness(q *queue) {
	f := q.fair
	for l, any := f.idle.Min(); any; l, any = f.idle.Min() {
		m.forgetLane(q, l)
	}
	if l := f.lanes[""]; l != nil {
		m.forgetLane(q, l)
	}
	if q.clock.stored {
		m.dirtyNow(q)
	}
	f.now, q.fair, q.spare = 0, nil, f
}

// next is the run whose turn it is.
func (q *queue) next() (first readyRun, ok bool) {
	if q.fair == nil {
		return q.ready.Min()
	}
	l, ok := q.fair.line.Min()
	if !ok {
		return first, false
	}
	return l.head, true
}

// readyRuns is how many runs could be leased.
func (q *queue) readyRuns() int {
	if q.fair == nil {
		return q.ready.Len()
	}
	return q.ready.Len() + q.fair.runs.Len()
}

// hold begins a turn: a claim of the next run is tried. Nil is no turn.
func (q *queue) hold() *lane {
	if q.fair == nil {
		return nil
	}
	l, _ := q.fair.line.Min()
	l.held = true
	q.fair.held++
	return l
}

// turnOver ends a turn. One in which nothing was leased is none.
func (m *Machine) turnOver(q *queue, l *lane, leased bool, weight int) {
	if l == nil {
		return
	}
	f := q.fair
	l.held = false
	f.held--
	if l.key == "" {
		weight = 1
	}
	if leased && !plant.Is(plant.TurnNotTaken) {
		m.moveNow(q, l.tag)
		m.moveTag(q, l, l.tag+turnTag/int64(max(1, weight)))
		m.forgetIdle(q)
	}
	m.settle(q, l)
}
