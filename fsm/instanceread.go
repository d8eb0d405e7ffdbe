package fsm

import (
	"errors"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
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
	if size > pageBytes {
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
		Line: i.lineReply(),
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
		Code: r.Code, Reason: r.Reason, Changed: stamp(r.ChangedWall),
	}
	if i.isBarrier(at) {
		out.Barrier = r.Other
	} else {
		out.OtherInstance, out.OtherStep = r.Other, r.OtherStep
	}
	if r.State == v1.RunState_RUN_STATE_LEASED {
		out.SessionId = sessionName(r.Session)
	}
	if f := i.frame(at); f != &i.root {
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

// scanned bounds how many instances one page of a filtered list looks at.
const scanned = 10_000

// ListInstances lists instances by id. All filters that are set must match; a page may be short, or empty
// with a next one, when few of many instances match.
func (m *Machine) ListInstances(r *v1.ListInstancesRequest) (*v1.ListInstancesResponse, error) {
	snapshot, err := m.view()
	if err != nil {
		return nil, err
	}
	defer snapshot.Close()
	m.mu.RLock()
	ns, refusal := m.namespace(r.Namespace)
	indexed := m.keyed()
	m.mu.RUnlock()
	if refusal != nil {
		return nil, refusal
	}
	from := &listing{in: snapshot, ns: ns.rec.Namespace, after: r.Page}
	if keys := sortedPairs(r.Keys); len(keys) > 0 && indexed && r.State != 0 && Live(r.State) && r.State != v1.InstanceState_INSTANCE_STATE_QUEUED {
		from.by = keys[0]
	}
	out, seen, size, last := &v1.ListInstancesResponse{}, 0, 0, ""
	var failed error
	err = from.each(func(value []byte) bool {
		if len(out.Instances) >= pageLimit(r.Limit) || seen >= scanned || size > pageBytes {
			out.NextPage = last
			return false
		}
		rec := &logv1.Instance{}
		if failed = proto.Unmarshal(value, rec); failed != nil {
			return false
		}
		seen++
		last = rec.InstanceId
		if matches(r, rec) {
			var head *v1.Instance
			head, failed = (&instance{ns: ns, rec: rec, root: frame{payloads: payloadsOf(rec), owner: whole}}).head(snapshot)
			size += len(value) + len(head.GetInputPayload().GetBytes()) + len(head.GetOutputPayload().GetBytes())
			out.Instances = append(out.Instances, head)
		}
		return true
	})
	return out, errors.Join(err, failed)
}

// listing is where a list takes instances from, by id: all that there are, or the live ones that have a key.
type listing struct {
	in        table.Reader
	ns, after string
	by        *logv1.Pair
}

func (l *listing) each(fn func(value []byte) bool) error {
	parts := []string{l.ns}
	tbl := byte(tableInstance)
	if l.by != nil {
		tbl, parts = tableKey, []string{l.ns, l.by.Key, l.by.Value}
	}
	from, to := key(tbl, parts...), table.End(key(tbl, parts...))
	if l.after != "" {
		from = append(key(tbl, append(parts, l.after)...), 0)
	}
	var failed error
	err := l.in.Scan(from, to, func(k, value []byte) bool {
		if l.by != nil {
			id, _, _ := table.CutString(k[len(key(tbl, parts...)):])
			if value, _, failed = l.in.Get(key(tableInstance, l.ns, id)); failed != nil {
				return false
			}
		}
		return fn(value)
	})
	return errors.Join(err, failed)
}

func matches(r *v1.ListInstancesRequest, rec *logv1.Instance) bool {
	if r.Workflow != "" && r.Workflow != rec.Workflow || r.State != 0 && r.State != rec.State {
		return false
	}
	return has(rec.Labels, r.Labels) && has(rec.Keys, r.Keys)
}

// has says whether all that are wanted are among pairs.
func has(pairs []*logv1.Pair, wanted map[string]string) bool {
	for _, want := range sortedPairs(wanted) {
		if !slices.ContainsFunc(pairs, func(p *logv1.Pair) bool { return p.Key == want.Key && p.Value == want.Value }) {
			return false
		}
	}
	return true
}
