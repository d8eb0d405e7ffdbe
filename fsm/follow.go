package fsm

import (
	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// What follows the end of a run: those that need it are begun or skipped when their needs are settled.

// activate makes a run whose needs are met ready, or skips it, or says which expression fails. It tells
// whether the run has ended with that.
func (t *turn) activate(i *instance, at at) (over bool) {
	n := i.step(at)
	if i.lost(at) {
		t.skipLost(i, at)
		return true
	}
	if n.HasWhen {
		yes, err := i.graph.When(int(at.node), t.view(i, i.frame(at)))
		if err != nil {
			return t.incident(i, at, "CONDITION_INVALID", err)
		}
		if !yes {
			t.emit(&runEnded{i: i, at: at, to: v1.RunState_RUN_STATE_SKIPPED})
			return true
		}
	}
	if n.Kind.Waits() {
		return t.await(i, at)
	}
	input, err := t.inputOf(i, at)
	if err != nil {
		return t.incident(i, at, "INPUT_INVALID", err)
	}
	ready := &runReady{i: i, at: at, first: true, input: input}
	if n.Locks > 0 {
		locks, err := i.graph.LocksOf(int(at.node), t.view(i, i.frame(at)))
		if err != nil {
			return t.incident(i, at, "LOCKS_INVALID", err)
		}
		for _, l := range locks {
			ready.locks = append(ready.locks, &logv1.ClaimedLock{Lock: l.Name, Shared: l.Shared, Limit: l.Limit, Take: max(1, l.Take), Hold: int32(l.Hold)})
		}
	}
	if n.Weight > 0 {
		key, err := i.graph.FairnessKey(int(at.node), t.view(i, i.frame(at)))
		if err != nil {
			return t.incident(i, at, "FAIRNESS_INVALID", err)
		}
		if key != "" {
			ready.fair = &key
		}
	}
	if n.Limits > 0 {
		limits, err := i.graph.LimitsOf(int(at.node), t.view(i, i.frame(at)))
		if err != nil {
			return t.incident(i, at, "LIMITS_INVALID", err)
		}
		ready.rated = &rated{limits: limits}
	}
	t.emit(ready)
	t.offer(i, at)
	return false
}

// advanceInstance lets what follows the ended runs move on, and what they are in, and ends the instance when nothing is open.
// It is a worklist, for a chain of ten thousand skipped steps must not be a recursion.
func (t *turn) advanceInstance(i *instance, endedRuns ...at) {
	if t.over = append(t.over, endedRuns...); t.advancing {
		return // what calls this far below takes them up
	}
	t.advancing = true
	for len(t.over) > 0 {
		over := t.over[0]
		t.over = t.over[1:]
		if i.run(over).State == v1.RunState_RUN_STATE_COMPLETED {
			t.over = append(t.over, t.endRace(i, over)...)
		}
		successors := i.step(over).Successors
		for k := range successors {
			t.follow(i, over, &successors[k])
		}
		if f := i.frame(over); !f.outermost() && f.open == 0 && !f.over && i.wanted(over) && t.frameOver(i, f) {
			t.over = append(t.over, f.owner)
		}
	}
	t.advancing = false
	if i.root.open == 0 && i.rec.State == v1.InstanceState_INSTANCE_STATE_RUNNING {
		t.complete(i)
	}
}

// follow counts the end of a run for one that needs it, and begins or skips that if it is time.
func (t *turn) follow(i *instance, over at, need *graph.Edge) {
	follower := i.behind(over, need.To)
	met := meets(need, i.run(over))
	if t.m.level() >= workLevel && i.undone(follower) {
		return // what failed meanwhile, as it began, has all undone: it counts what is behind it now, and not what it needs
	}
	t.m.change(i, follower, func(r *run) {
		r.Pending--
		if met == needMet {
			r.Done++
		}
	})
	r := i.run(follower)
	if r.State != v1.RunState_RUN_STATE_PENDING || r.Todo > 0 || !i.wanted(follower) {
		return
	}
	if verdict := joined(i.step(follower), r, met); verdict != joinWait {
		t.reach(i, follower, verdict)
	}
}

// needVerdict is what a run's end is to a need of it.
type needVerdict uint8

const (
	needMet     needVerdict = iota
	needSkipped             // nobody waits for what is skipped, nor counts it
	needBarred              // it ended otherwise than is needed
)

// meets: what is skipped is as if it was not needed, but to a step that is there for a failure only.
func meets(need *graph.Edge, over *run) needVerdict {
	switch {
	case over.State == v1.RunState_RUN_STATE_SKIPPED && need.Ends&graph.EndsCompleted != 0:
		return needSkipped
	case over.State == v1.RunState_RUN_STATE_COMPLETED && need.Ends&graph.EndsCompleted != 0,
		plant.Is(plant.EndsIgnored), plant.Is(plant.CodesIgnored) && over.State == v1.RunState_RUN_STATE_FAILED && need.Ends&graph.EndsFailed != 0,
		over.State == v1.RunState_RUN_STATE_FAILED && need.Takes(over.Code):
		return needMet
	}
	return needBarred
}

type joinVerdict uint8

const (
	joinWait joinVerdict = iota
	joinGo
	joinSkip
)

// joined decides whether a run's needs are met, of which one has just ended: a skipped one counts as satisfied for `all`, and
// only those that are met count for `any` and `atLeast`; what cannot be reached any more is skipped.
func joined(n *graph.Node, r *run, newest needVerdict) joinVerdict {
	want := int32(1)
	switch n.Join {
	case graph.JoinAll:
		switch {
		case newest == needBarred:
			return joinSkip
		case r.Pending > 0:
			return joinWait
		case r.Done == 0:
			return joinSkip
		}
		return joinGo
	case graph.JoinAtLeast:
		want = int32(n.AtLeast)
	}
	switch {
	case r.Done >= want:
		return joinGo
	case r.Done+r.Pending < want:
		return joinSkip
	}
	return joinWait
}
