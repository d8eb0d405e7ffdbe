package fsm

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/google/btree"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A barrier is a name of the namespace at which runs wait, of any instances, until so many are there; then all of them complete, in the
// entry in which the last one came. Nothing is known of a barrier but who waits at it: so one that nobody waits at is as new, the parties
// that come behind a generation are the next one, and who ends while it waits is none any more. All that wait at one name the same number
// of parties; who comes and names another fails.
//
// Who begins to wait comes behind the commands and the tick of the entry, in order (later.go): so parties come one after the other, also
// when one command begins many. The runs of a namespace that wait at barriers are in two orders, made of what is pending when a
// state is opened.

// party is a run that waits at a barrier.
type party struct {
	barrier string
	came    int64 // its place in the order in which parties came
	parties int64 // how many it waits for, itself counted
	run     *runKey
}

// parties are those of a namespace: by where they wait, and by who they are.
type parties struct{ at, of *btree.BTreeG[*party] }

func newParties() parties {
	return parties{
		at: btree.NewG(32, func(a, b *party) bool {
			return cmp.Or(strings.Compare(a.barrier, b.barrier), cmp.Compare(a.came, b.came)) < 0
		}),
		of: btree.NewG(32, func(a, b *party) bool { return a.run.compare(b.run) < 0 }),
	}
}

func (p *parties) add(x *party) {
	p.at.ReplaceOrInsert(x)
	p.of.ReplaceOrInsert(x)
}

func (p *parties) drop(x *party) {
	p.at.Delete(x)
	p.of.Delete(x)
}

// in calls fn with the runs of an instance that wait at barriers, until it returns false.
func (p *parties) in(namespace, id string, fn func(*party) bool) {
	p.of.AscendGreaterOrEqual(&party{run: &runKey{namespace, id, at{-1, -1}}}, func(x *party) bool { return x.run.instance == id && fn(x) })
}

// there are those that wait at a barrier, in the order in which they came, but no more than most.
func (p *parties) there(barrier string, most int) (there []*party) {
	p.at.AscendGreaterOrEqual(&party{barrier: barrier}, func(x *party) bool {
		if x.barrier != barrier || len(there) == most {
			return false
		}
		there = append(there, x)
		return true
	})
	return there
}

// comes has a run be on its way to a barrier. It keeps how many parties that has, and when it came, where others have their places in queues.
func (r *run) comes(barrier string, parties, came int64) {
	r.Other, r.Order, r.OrderSeq, r.Todo = barrier, parties, came, came
}

func (i *instance) isBarrier(at at) bool { return i.step(at).Kind == graph.KindBarrier }

// arrived: a run waits at a barrier, and counts there.
func (i *instance) arrived(at at) bool {
	r := i.run(at)
	return r.State == v1.RunState_RUN_STATE_WAITING && r.Todo == 0 && i.isBarrier(at)
}

// atBarrier: the place is that of a run that waits at a barrier. No other that waits has an order.
func (p *place) atBarrier() bool {
	return p.state == v1.RunState_RUN_STATE_WAITING && p.other != "" && p.order > 0 && p.todo == 0
}

func (p *place) party(k *runKey) *party { return &party{p.other, p.seq, p.order, k} }

// awaitBarrier has a run wait at a barrier. It counts there when its turn comes.
func (t *turn) awaitBarrier(i *instance, at at) (over bool) {
	name, parties, err := i.graph.Barrier(int(at.node), t.view(i, i.frame(at)))
	if err != nil {
		return t.incident(i, at, "BARRIER_INVALID", err)
	}
	t.emit(&runWaiting{i: i, at: at, other: name, parties: int64(parties)})
	return false
}

// arrive counts a run at its barrier, where it waits now, and has all go on if it was the last that was missing.
func (t *turn) arrive(i *instance, at at) {
	r := i.run(at)
	there := t.ns.parties.there(r.Other, graph.MaxParties)
	t.spent += len(there) / 16
	want := int(r.Order)
	if plant.Is(plant.BarrierEarly) && want > 2 {
		want--
	}
	switch first := there[0]; {
	case first.parties != r.Order:
		t.failWait(i, at, "PARTIES_DIFFER", fmt.Sprintf("barrier %q is for %d parties, as step %q of instance %q says, which waits there; this step says %d",
			r.Other, first.parties, t.known(first.run.instance).step(first.run.at).ID, first.run.instance, r.Order))
	case len(there) >= want:
		t.pass(there)
	}
}

// pass has the parties of a barrier complete, all of them before anything goes on behind one.
func (t *turn) pass(parties []*party) {
	generation := t.ns.rec.Position + 1
	t.emit(&barrierPassed{parties[0].barrier, int32(len(parties))})
	for n, p := range parties {
		run := *p.run
		if plant.Is(plant.BarrierLeavesOne) && n > 0 && n == len(parties)-1 {
			return
		}
		t.emit(&runCompleted{i: t.runOf(run), at: run.at, output: &v1.Payload{Bytes: graph.Passed(generation, n+1, len(parties))}})
	}
	for _, p := range parties {
		t.moveOn(t.runOf(*p.run), p.run.at)
		t.spent++
	}
}

// barrierPassed: so many parties go on. Its position is the generation that each of them is told.
type barrierPassed struct {
	barrier string
	parties int32
}

func (e *barrierPassed) kind() string { return "lockstep.barrier.passed.v1" }
func (e *barrierPassed) fill(d *v1.EventData) string {
	d.Name, d.Count = e.barrier, e.parties
	return "barrier/" + e.barrier
}
func (e *barrierPassed) evolve(*turn) {}
