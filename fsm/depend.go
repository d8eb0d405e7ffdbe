package fsm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/google/btree"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A run can wait for another instance: for one that it called (call.go), or for any, or for a step of one, by id, whether or not
// there is such an instance yet. The runs of a namespace that do are in two orders: by whom they wait for, so that its end finds
// them, and by who they are, so that who waits for whom can be followed. Both are made of what is pending when a state is opened.

// dependency is a run that waits for the end of an instance, or of a step of it.
type dependency struct {
	on, step string // the step is empty where it is for the whole instance
	run      *runKey
	by       *keyWait // for all that have a key, and not for one; nil is none
}

func (d *dependency) less(o *dependency) bool {
	if c := cmp.Or(strings.Compare(d.on, o.on), strings.Compare(d.step, o.step)); c != 0 {
		return c < 0
	}
	return d.run.compare(o.run) < 0
}

// dependencies are those of a namespace: by the instance, or by the key, that they are for, and all by who they are.
type dependencies struct{ on, keyed, of *btree.BTreeG[*dependency] }

func newDependencies() dependencies {
	return dependencies{
		on:    btree.NewG(32, (*dependency).less),
		keyed: btree.NewG(32, (*dependency).lessByKey),
		of:    btree.NewG(32, func(a, b *dependency) bool { return a.run.compare(b.run) < 0 }),
	}
}

func (d *dependencies) add(x *dependency) {
	if x.by != nil {
		d.keyed.ReplaceOrInsert(x)
	} else {
		d.on.ReplaceOrInsert(x)
	}
	d.of.ReplaceOrInsert(x)
}

func (d *dependencies) drop(x *dependency) {
	if x.by != nil {
		d.keyed.Delete(x)
	} else {
		d.on.Delete(x)
	}
	d.of.Delete(x)
}

// from calls fn with those who wait for an instance, from a step of it on, until it returns false.
func (d *dependencies) from(id, step string, fn func(*dependency) bool) {
	d.on.AscendGreaterOrEqual(&dependency{on: id, step: step, run: &runKey{}}, func(x *dependency) bool { return x.on == id && fn(x) })
}

// in calls fn with the runs of an instance that wait for others, until it returns false.
func (d *dependencies) in(namespace, id string, fn func(*dependency) bool) {
	d.of.AscendGreaterOrEqual(&dependency{run: &runKey{namespace, id, at{-1, -1}}}, func(x *dependency) bool { return x.run.instance == id && fn(x) })
}

// first is the first of those who wait for a step of an instance, or for all of it.
func (d *dependencies) first(id, step string) (first *dependency, ok bool) {
	d.from(id, step, func(x *dependency) bool {
		first, ok = x, x.step == step
		return false
	})
	return first, ok
}

// told is the first of those who wait for an instance that has ended; of one that has not, of those who wait for a step that it
// does not have.
func (d *dependencies) told(i *instance) (first *dependency, ok bool) {
	for step := ""; ; step += "\x00" { // behind the one before, of which there may be many
		found := false
		d.from(i.rec.InstanceId, step, func(x *dependency) bool {
			first, found = x, true
			return false
		})
		if !found {
			return nil, false
		}
		if step = first.step; !i.live() || step != "" && !i.awaitable(step) {
			return first, true
		}
	}
}

// awaitable: the workflow has a step of that name that is inside no other.
func (i *instance) awaitable(step string) bool {
	node := i.node(step)
	return node >= 0 && i.graph.Nodes[node].Scope == 0 && !isCompensation(&i.graph.Nodes[node])
}

// awaitInstance has a run wait for another instance. Whether that is over already, or waits for this one, is looked at later.
func (t *turn) awaitInstance(i *instance, at at) (over bool) {
	id, err := i.graph.Awaited(int(at.node), t.view(i, i.frame(at)))
	if err != nil {
		return t.incident(i, at, "AWAIT_INVALID", err)
	}
	t.emit(&runWaiting{i: i, at: at, other: id, step: i.step(at).Awaits})
	return false
}

// look ends a wait that is over as it begins, or that would never be.
func (t *turn) look(i *instance, at at) {
	if i.awaitsKey(at) && t.census(i, at) == nil {
		t.failWait(i, at, "AWAIT_TOO_WIDE", fmt.Sprintf("the key %s=%s is waited by for %d different steps already", i.step(at).AwaitsKey, i.run(at).Other, maxCensuses))
		return
	}
	if t.resolve(i, at) {
		return
	}
	switch chain, ok := t.cycle(i, at); {
	case !ok:
		t.failWait(i, at, "AWAIT_TOO_WIDE", fmt.Sprintf("more than %d waits hang together with this one, and whether they are a cycle is not looked for", maxSearched))
	case slices.ContainsFunc(chain, (*dependency).isLock):
		t.yield(chain)
		t.lookAgain(i, at)
	case len(chain) > 0:
		t.failWait(i, at, "AWAIT_CYCLE", t.sayChain(chain))
	}
}

// outcome is how what a run waits for has ended: as the run then does.
type outcome struct {
	state        v1.RunState
	code, reason string
	output       *v1.Payload
	by           *satisfied // of a wait by a key: who completed
}

// cancelled is the code with which a wait for what was cancelled fails.
const cancelled = "CANCELLED"

// outcomeOf says how what a run waits for has ended, if it has.
func (t *turn) outcomeOf(other *instance, step string) (o outcome, over bool) {
	id := other.rec.InstanceId
	if step == "" {
		switch other.rec.State {
		case v1.InstanceState_INSTANCE_STATE_COMPLETED:
			return outcome{state: v1.RunState_RUN_STATE_COMPLETED, output: t.payload(other, whole, roleOutput)}, true
		case v1.InstanceState_INSTANCE_STATE_FAILED:
			return failedAs(other.rec.Code, "instance %q failed: %s", id, other.rec.Reason), true
		case v1.InstanceState_INSTANCE_STATE_CANCELLED:
			return failedAs(cancelled, "instance %q was cancelled: %s", id, other.rec.Reason), true
		}
		return o, false
	}
	if !other.awaitable(step) {
		return failedAs("STEP_NOT_FOUND", "workflow %s version %d of instance %q has no step %q, or it is inside another", other.rec.Workflow, other.rec.Version, id, step), true
	}
	at := other.now(other.node(step))
	switch r := other.run(at); r.State {
	case v1.RunState_RUN_STATE_COMPLETED:
		return outcome{state: r.State, output: t.payload(other, at, roleOutput)}, true
	case v1.RunState_RUN_STATE_SKIPPED:
		return outcome{state: r.State, code: "SKIPPED", reason: fmt.Sprintf("step %q of instance %q was skipped", step, id)}, true
	case v1.RunState_RUN_STATE_FAILED:
		return failedAs(r.Code, "step %q of instance %q failed: %s", step, id, r.Reason), true
	case v1.RunState_RUN_STATE_CANCELLED:
		return failedAs(cancelled, "step %q of instance %q was cancelled with that", step, id), true
	}
	return o, false
}

// maxReason bounds the reason of a failure that is another's: a failure can be handed on for long.
const maxReason = 1024

func failedAs(code, format string, args ...any) outcome {
	reason := fmt.Sprintf(format, args...)
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") + "..."
	}
	return outcome{state: v1.RunState_RUN_STATE_FAILED, code: code, reason: reason}
}

// cameTo says how that has ended which a run waits for, if it has.
func (t *turn) cameTo(i *instance, at at) (o outcome, over bool) {
	if i.awaitsKey(at) {
		return t.musterOf(i, at)
	}
	r := i.run(at)
	if other := t.known(r.Other); other != nil {
		return t.outcomeOf(other, r.OtherStep)
	}
	return o, false
}

// resolve ends a run as that has ended which it waits for; it says whether that has. What was completed completes it, whatever is
// asked of the run meanwhile: it was done, and is undone with the run.
func (t *turn) resolve(i *instance, at at) bool {
	r := i.run(at)
	o, over := t.cameTo(i, at)
	if !over {
		return false
	}
	if plant.Is(plant.ChildFailureTaken) && i.isCall(at) {
		o.state = v1.RunState_RUN_STATE_COMPLETED
	}
	switch {
	case i.leaves(at) && i.wanted(at):
		t.left(i, at, o)
	case o.state == v1.RunState_RUN_STATE_COMPLETED:
		t.emit(&runCompleted{i: i, at: at, output: o.output, by: o.by})
		t.moveOn(i, at)
	case r.Stage == stageUndoes:
		t.failedBody(i, at)
	case o.state == v1.RunState_RUN_STATE_SKIPPED:
		t.emit(&runEnded{i: i, at: at, to: o.state, code: o.code, reason: o.reason})
		t.advanceInstance(i, at)
	default:
		t.failWait(i, at, o.code, o.reason)
	}
	return true
}

// failWait fails a run that waits for another instance.
func (t *turn) failWait(i *instance, at at, code, reason string) {
	t.emit(&runEnded{i: i, at: at, to: v1.RunState_RUN_STATE_FAILED, code: code, reason: reason})
	t.behindFailure(i, at, code, reason)
}

// dependent says that a run of a kind waits for another instance.
func dependent(k graph.Kind) bool { return k == graph.KindCall || k == graph.KindAwait }
