package fsm

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A call starts an instance of another workflow, and waits for its end like any wait for an instance. The child is called like its
// parent with the step behind it, so that a run has one child, whoever asks how often. A parent that stops, or a step whose time is
// up, has its child cancelled, and waits until that has ended: so what the child did is undone before what came before it. One that
// is abandoned lives on, and so does one that was started detached.

const (
	// maxDepth is how many calls are above an instance, at most.
	maxDepth = 32
	// maxID is the length of an instance's id, in bytes.
	maxID = 256
)

func (i *instance) isCall(at at) bool { return i.step(at).Kind == graph.KindCall }

// childID is what the instance is called that a run starts: what is too long ends with a digest of the whole.
func (i *instance) childID(at at) string {
	id := i.rec.InstanceId + ":" + i.step(at).ID
	if at.index > 0 {
		id += "#" + strconv.Itoa(int(at.index))
	}
	if len(id) <= maxID {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	end := "~" + hex.EncodeToString(sum[:16])
	return strings.ToValidUTF8(id[:maxID-len(end)], "") + end
}

// waitsFor says that a run waits for another instance: a call does when it has started that.
func (i *instance) waitsFor(at at) bool {
	r := i.run(at)
	begun := r.Todo == 0 || r.Stage == stageUndoes
	return r.State == v1.RunState_RUN_STATE_WAITING && r.Other != "" && (begun || !i.isCall(at)) && !i.isBarrier(at)
}

// calls says that an instance is there which a run called, and is cancelled with it.
func (i *instance) calls(at at) bool {
	return i.isCall(at) && i.waitsFor(at) && !i.step(at).Call.Abandon && !plant.Is(plant.ChildLeft)
}

// awaitCall has a run wait for the instance that it calls, which is started later.
func (t *turn) awaitCall(i *instance, at at) (over bool) {
	input, err := t.inputOf(i, at)
	if err != nil {
		return t.incident(i, at, "INPUT_INVALID", err)
	}
	t.emit(&runWaiting{i: i, at: at, other: i.childID(at), input: input})
	return false
}

// call starts the instance that a run calls, or fails the run.
func (t *turn) call(i *instance, at at) {
	n, r := i.step(at), i.run(at)
	v, refusal := t.ns.toStart(n.Call.Workflow, n.Call.Version)
	of := whole
	if n.HasInput {
		of = at
	}
	input := t.payload(i, of, roleInput)
	switch other := t.known(r.Other); {
	case i.rec.Depth >= maxDepth:
		t.failWait(i, at, "CALL_TOO_DEEP", fmt.Sprintf("%d calls are above instance %q already", maxDepth, i.rec.InstanceId))
		return
	case refusal != nil:
		t.failWait(i, at, CodeName(refusal.Detail.Code), refusal.Detail.Reason)
		return
	case other != nil:
		t.failWait(i, at, "INSTANCE_EXISTS", fmt.Sprintf("there is an instance %q already, which this step did not start", r.Other))
		return
	}
	t.work.Decoded += len(jsonOf(input))
	if err := v.compiled().CheckInput(jsonOf(input)); err != nil {
		t.failWait(i, at, "INPUT_INVALID", fmt.Sprintf("the input does not fit workflow %s version %d: %v", n.Call.Workflow, v.rec.Version, err))
		return
	}
	t.begins(&instanceStarted{
		request: &v1.StartInstanceRequest{InstanceId: r.Other, Workflow: n.Call.Workflow, InputPayload: input},
		version: v, parent: i, at: at,
	})
	if n.Call.Detach {
		t.emit(&runCompleted{i: i, at: at, output: &v1.Payload{Bytes: graph.Started(r.Other)}})
		t.moveOn(i, at)
	}
}

// stopCall has an instance that a run called be cancelled later.
func (t *turn) stopCall(i *instance, at at) {
	t.m.change(i, at, t.m.calledOff)
}

func (m *Machine) calledOff(r *run) {
	r.Stage, r.TotalDeadline, r.Todo = stageUndoes, 0, m.nextTodo()
}

// callOff cancels the instance that a run called, unless it ends already.
func (t *turn) callOff(i *instance, at at) {
	id := i.run(at).Other
	if t.resolve(i, at) {
		return
	}
	if child := t.known(id); child.rec.State == v1.InstanceState_INSTANCE_STATE_RUNNING {
		t.cancel(child, "", fmt.Sprintf("step %q of instance %q, which called it, has stopped", i.step(at).ID, i.rec.InstanceId))
	}
}
