package fsm

import (
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/fsm/table"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// InstanceEnded says whether an instance has ended.
func (m *Machine) InstanceEnded(name, id string) (bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	i, err := m.lookup(name, id)
	if err != nil {
		return false, err
	}
	return !i.live(), nil
}

// lookup finds an instance for reading, without keeping it decoded.
func (m *Machine) lookup(name, id string) (*instance, error) {
	ns, refusal := m.namespace(name)
	if refusal != nil {
		return nil, refusal
	}
	if i := ns.instances[id]; i != nil {
		return i, nil
	}
	i, err := m.readInstance(ns, id)
	if err != nil {
		return nil, err
	}
	if i == nil {
		return nil, noInstance(ns, id)
	}
	return i, nil
}

// GetInstance returns an instance with its runs. An answer over 1 MiB leaves the runs' payloads out.
func (m *Machine) GetInstance(r *v1.GetInstanceRequest) (*v1.Instance, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	i, err := m.lookup(r.Namespace, r.InstanceId)
	if err != nil {
		return nil, err
	}
	out, err := i.head(m.engine)
	if err != nil {
		return nil, err
	}
	if err := m.whoHas(out.Line, i); err != nil {
		return nil, err
	}
	if at := i.limit(); at > 0 {
		out.Remaining = durationpb.New(elapsed(m.group.Uptime, at))
	}
	size := len(out.InputPayload.GetBytes()) + len(out.OutputPayload.GetBytes())
	out.RunsOmitted = i.manyInside()
	for f := range i.frames() {
		if out.RunsOmitted && f.over {
			continue
		}
		outputs, err := i.outputs(m.engine, f)
		if err != nil {
			return nil, err
		}
		for n, output := range outputs {
			if f.runs[n].State == unbegun {
				continue
			}
			run := i.runReply(f.at(n))
			run.OutputPayload = output
			size += len(output.GetBytes())
			out.Runs = append(out.Runs, run)
		}
	}
	if size > pageBytes || i.rec.Removing {
		out.PayloadsOmitted = true
		for _, run := range out.Runs {
			run.OutputPayload = nil
		}
	}
	return out, nil
}

// manyInside: more runs are inside steps than one answer has.
func (i *instance) manyInside() bool { return i.within > 2000 }

// head returns an instance without its runs. Payloads are shared with the state, which never changes them.
func (i *instance) head(r table.Reader) (*v1.Instance, error) {
	input, err := i.payload(r, whole, roleInput)
	if err != nil {
		return nil, err
	}
	output, err := i.payload(r, whole, roleOutput)
	return &v1.Instance{
		Namespace: i.ns.rec.Namespace, InstanceId: i.rec.InstanceId, Workflow: i.rec.Workflow, Version: i.rec.Version,
		State: i.rec.State, InputPayload: input, OutputPayload: output,
		Labels: pairMap(i.rec.Labels), Keys: pairMap(i.rec.Keys),
		Started: stamp(i.rec.StartedWall), Ended: stamp(i.rec.EndedWall), Code: i.rec.Code, Reason: i.rec.Reason,
		Parent: i.parent(), Depth: i.rec.Depth,
		Schedule: i.rec.Schedule, Scheduled: stamp(i.rec.ScheduledWall),
		Line: i.lineReply(), Pause: i.pauseReply(), Resolution: i.resolutionReply(), Accepted: stamp(max(0, i.rec.AcceptedWall)), Changed: i.changed(), ForkedFrom: i.forkedFrom(),
	}, err
}

// parent is the run that called the instance; nil when none did.
func (i *instance) parent() *v1.RunName {
	if i.rec.Parent == "" {
		return nil
	}
	return &v1.RunName{InstanceId: i.rec.Parent, Step: i.rec.ParentStep, Index: i.rec.ParentIndex}
}

func (i *instance) runReply(at at) *v1.Run {
	r, n := i.run(at), i.step(at)
	out := &v1.Run{
		Step: n.ID, Index: at.index, State: r.State, Attempt: r.Attempt, Used: r.Used, Token: r.Token, Queue: n.Queue, Role: n.Role,
		Code: r.Code, Reason: r.Reason, Changed: stamp(r.ChangedWall), Copied: r.Copied,
	}
	switch {
	case i.isBarrier(at):
		out.Barrier = r.Other
	case i.awaitsKey(at) && r.Other != "":
		out.AwaitedKey, out.OtherStep = n.AwaitsKey+"="+r.Other, n.Awaits
	default:
		out.OtherInstance, out.OtherStep = r.Other, r.OtherStep
	}
	if r.State == v1.RunState_RUN_STATE_LEASED {
		out.SessionId = sessionName(r.Session)
	}
	if f := i.frame(at); !f.outermost() {
		out.Inside, out.InsideIndex, out.Place = i.step(f.owner).ID, f.owner.index, f.place
	}
	if of, is := i.compensates(at); is {
		out.Compensates = i.step(of).ID
	}
	for _, need := range n.Needs {
		out.Needs = append(out.Needs, i.graph.Nodes[need].ID)
	}
	return out
}
