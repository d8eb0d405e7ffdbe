package fsm

import (
	"cmp"
	"iter"
	"slices"

	"github.com/google/btree"
)

// deadline is something that happens by itself at a time of uptime.
type deadline struct {
	at      int64
	kind    deadlineKind
	run     *runKey
	session int64
	wait    uint64
	limit   *limit
}

type deadlineKind uint8

const (
	deadlineWait deadlineKind = iota + 1
	deadlineRun
	deadlineSession
	deadlineSignals
	deadlineLimit
)

func (d deadline) less(o deadline) bool {
	if d.at != o.at {
		return d.at < o.at
	}
	if d.kind != o.kind {
		return d.kind < o.kind
	}
	if d.kind == deadlineRun || d.kind == deadlineSignals {
		return d.run.compare(o.run) < 0
	}
	if d.kind == deadlineLimit {
		return d.limit.compare(o.limit) < 0
	}
	return cmp.Or(cmp.Compare(d.session, o.session), cmp.Compare(d.wait, o.wait)) < 0
}

// same is equality, by the names of runs.
func (d deadline) same(o deadline) bool { return !d.less(o) && !o.less(d) }

// timetable is the order of what happens by itself. Most of what is put into it is taken out again long before it is due, and
// what one entry puts there is due at a few moments, for the time stands still within it. So what is due at a moment is kept
// together, found by that moment, and is brought into its order only when the moment has come. The exception is a moment at which very
// much is due: that is in its order all the time, so that taking something out stays cheap.
type timetable struct {
	moments map[int64]*moment
	order   *btree.BTreeG[*moment]
	free    []*moment // empty, for the next
}

// moment has what is due at one time of uptime: a few in any order, or many in theirs.
type moment struct {
	at   int64
	few  []deadline
	gone int // of few, at its beginning: what came first is mostly taken out first
	many *btree.BTreeG[deadline]
}

const (
	fewDeadlines = 256
	freeMoments  = 64
)

func newTimetable() *timetable {
	return &timetable{
		moments: map[int64]*moment{},
		order:   btree.NewG(32, func(a, b *moment) bool { return a.at < b.at }),
	}
}

func (t *timetable) add(d deadline) {
	o := t.moments[d.at]
	if o == nil {
		o = t.moment(d.at)
		t.moments[d.at] = o
		t.order.ReplaceOrInsert(o)
	}
	o.add(d)
}

func (t *timetable) moment(at int64) *moment {
	last := len(t.free) - 1
	if last < 0 {
		return &moment{at: at}
	}
	o := t.free[last]
	t.free = t.free[:last]
	o.at = at
	return o
}

func (o *moment) add(d deadline) {
	if o.many == nil && len(o.few) == fewDeadlines {
		o.many = btree.NewG(32, deadline.less)
		for _, d := range o.few[o.gone:] {
			o.many.ReplaceOrInsert(d)
		}
		o.few, o.gone = nil, 0
	}
	if o.many != nil {
		o.many.ReplaceOrInsert(d)
		return
	}
	o.few = append(o.few, d)
}

// drop takes out what is there.
func (t *timetable) drop(d deadline) {
	o := t.moments[d.at]
	if o == nil {
		return
	}
	if o.drop(d); o.len() > 0 {
		return
	}
	delete(t.moments, d.at)
	t.order.Delete(o)
	if len(t.free) < freeMoments && o.many == nil {
		t.free = append(t.free, o)
	}
}

func (o *moment) drop(d deadline) {
	if o.many != nil {
		o.many.Delete(d)
		return
	}
	few := o.few[o.gone:]
	at := slices.Index(few, d)
	if at < 0 { // its run has another piece of memory as its name since
		at = slices.IndexFunc(few, d.same)
	}
	switch {
	case at < 0:
		return
	case at == 0:
		few[0] = deadline{}
		o.gone++
	default:
		o.few = slices.Delete(o.few, o.gone+at, o.gone+at+1)
	}
	if o.gone == len(o.few) {
		o.few, o.gone = o.few[:0], 0
	}
}

func (o *moment) len() int {
	if o.many != nil {
		return o.many.Len()
	}
	return len(o.few) - o.gone
}

// next is when something is due; zero is never.
func (t *timetable) next() int64 {
	if o, ok := t.order.Min(); ok {
		return o.at
	}
	return 0
}

// first is what is due first.
func (t *timetable) first() (first deadline, ok bool) {
	o, ok := t.order.Min()
	if !ok {
		return deadline{}, false
	}
	if o.many != nil {
		return o.many.Min()
	}
	first = o.few[o.gone]
	for _, d := range o.few[o.gone+1:] {
		if d.less(first) {
			first = d
		}
	}
	return first, true
}

// all are the deadlines, by their moments, and at each in no order.
func (t *timetable) all() iter.Seq[deadline] {
	return func(yield func(deadline) bool) {
		t.order.Ascend(func(o *moment) bool { return o.each(yield) })
	}
}

func (o *moment) each(yield func(deadline) bool) (goesOn bool) {
	goesOn = true
	if o.many != nil {
		o.many.Ascend(func(d deadline) bool {
			goesOn = yield(d)
			return goesOn
		})
	}
	for n := o.gone; n < len(o.few) && goesOn; n++ {
		goesOn = yield(o.few[n])
	}
	return goesOn
}
