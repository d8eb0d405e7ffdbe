package fsm

import (
	"github.com/google/btree"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// What one instance does to another is not done where it is decided, but behind the commands and the tick of the entry, one thing after
// the other, and what an entry does not come to is the next one's: so neither a tree of calls nor a crowd that waits for one end makes an
// entry that does not end. What is to be done stands at the run that it is about, or at the instance, and with what is pending of its
// page, so that opening a state finds it. It is done in the order in which it came up.

// todo is that something is to be done about a run, or an instance.
type todo struct {
	seq    int64
	run    *runKey
	census *census // it is about this
}

func newTodos() *btree.BTreeG[todo] {
	return btree.NewG(32, func(a, b todo) bool { return a.seq < b.seq })
}

const (
	// laterMost bounds what one entry does of this, and an entry with laterEvents events begins no more of it, but for the first: an entry
	// has one at least, so that they come to an end.
	laterMost   = 1000
	laterEvents = 10_000
)

// nextTodo is a place in the order of what is to be done.
func (m *Machine) nextTodo() int64 {
	m.group.LastWait++
	return m.group.LastWait
}

// later does what is to be done, as much of it as an entry may.
func (t *turn) later() {
	t.nextShare()
	for done := 0; done < laterMost && (done == 0 || len(t.result.Kinds) < laterEvents && !t.tired()); done += t.spent {
		next, ok := t.m.todos.Min()
		if !ok {
			return
		}
		t.spent = 1
		if next.census != nil {
			t.ns = next.census.ns
			t.goThrough(next.census)
		} else {
			t.do(*next.run)
		}
		t.settle()
	}
}

// do does one thing. Who has ended tells one of those who wait for that.
func (t *turn) do(k runKey) {
	i := t.runOf(k)
	if k.at == whole || ended(i.run(k.at).State) {
		t.tell(i, k.at)
		return
	}
	t.m.change(i, k.at, func(r *run) { r.Todo = 0 })
	switch {
	case i.run(k.at).State == v1.RunState_RUN_STATE_PENDING || i.step(k.at).Body > 0:
		t.takeUp(i, k.at)
	case i.run(k.at).Stage == stageUndoes:
		t.callOff(i, k.at)
	case i.isCall(k.at):
		t.call(i, k.at)
	case i.step(k.at).Kind == graph.KindTask:
		t.lookForDeadlock(i, k.at)
	case i.isBarrier(k.at):
		t.arrive(i, k.at)
	default:
		t.look(i, k.at)
	}
}

// tell has the first of those who wait for the end of an instance, or of a run, go on. Of an instance that has not ended it is the
// first that waits for a step that it does not have.
func (t *turn) tell(i *instance, at at) {
	first := func() (*dependency, bool) {
		if at == whole {
			return t.ns.waits.told(i)
		}
		return t.ns.waits.first(i.rec.InstanceId, i.step(at).ID)
	}
	if d, ok := first(); ok {
		run := *d.run
		t.resolve(t.runOf(run), run.at)
	}
	if _, more := first(); !more {
		t.m.todo(i, at, 0)
	}
}

// todo says whether, and in which order, something is to be done about an instance or an ended run.
func (m *Machine) todo(i *instance, at at, seq int64) {
	if at != whole {
		m.change(i, at, func(r *run) { r.Todo = seq })
		return
	}
	k := i.key(whole)
	if i.rec.Todo > 0 {
		m.todos.Delete(todo{seq: i.rec.Todo})
	}
	if i.rec.Todo = seq; seq > 0 {
		m.todos.ReplaceOrInsert(todo{seq: seq, run: &k})
	}
	i.root.pages[0] = true
	m.touch(i)
}

// overRun has those told who wait for the end of a run; it is part of that end.
func (t *turn) overRun(i *instance, at at) {
	t.endNamed(i, at)
	if i.step(at).Body > 0 {
		t.unholds(i)
	}
	if i.awaitsKey(at) {
		t.leaveCensus(i, at)
	}
	if i.step(at).Scope > 0 || isCompensation(i.step(at)) || at != i.now(at.node) {
		return // nobody waits for that
	}
	t.settles(i, i.step(at).ID)
	if t.ns.waits.on.Len() == 0 || plant.Is(plant.EndNotTold) {
		return
	}
	if _, ok := t.ns.waits.first(i.rec.InstanceId, i.step(at).ID); ok {
		t.m.todo(i, at, t.m.nextTodo())
	}
}

// tellOf has those told who wait for an instance, if there are some to tell.
func (t *turn) tellOf(i *instance) {
	if t.ns.waits.on.Len() == 0 {
		return
	}
	if _, ok := t.ns.waits.told(i); ok {
		t.m.todo(i, whole, t.m.nextTodo())
	}
}

// forgetTodos takes a namespace's away.
func (m *Machine) forgetTodos(ns *namespace) {
	var gone []todo
	m.todos.Ascend(func(t todo) bool {
		if t.run.namespace == ns.rec.Namespace {
			gone = append(gone, t)
		}
		return true
	})
	for _, t := range gone {
		m.todos.Delete(t)
	}
}
