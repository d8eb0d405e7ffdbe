package fsm

import (
	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A run is out of contact with a reporter that knows its step when somebody could be doing it, and nothing was heard of it for so long as the reporter
// says: it did not come to be otherwise, and the reporter has said nothing of it. Live instances are looked at in the order of their ids, through
// the rows of what is pending, which none that has ended has; so many in a page, and none on the apply path.

const (
	contactLooked = 200 // instances that one page looks at
	contactOf     = 64  // runs of one instance: no more observations are kept of it
)

// ListOutOfContact lists the runs that a reporter would be asked about now, by instance.
func (m *Machine) ListOutOfContact(r *v1.ListOutOfContactRequest) (*v1.ListOutOfContactResponse, error) {
	snapshot, err := m.view()
	if err != nil {
		return nil, err
	}
	defer snapshot.Close()
	m.mu.RLock()
	defer m.mu.RUnlock()
	ns, refusal := m.namespace(r.Namespace)
	if refusal != nil {
		return nil, refusal
	}
	p, refusal := ns.reporter(r.Reporter)
	if refusal != nil {
		return nil, refusal
	}
	out, last := &v1.ListOutOfContactResponse{}, r.Page
	for range contactLooked {
		id, err := nextPending(snapshot, ns.rec.Namespace, last)
		if err != nil || id == "" {
			return out, err
		}
		if last = id; ns.gonePending(id) {
			continue
		}
		i, err := m.lookup(ns.rec.Namespace, id)
		if err != nil {
			return nil, err
		}
		if out.Runs = m.outOfContact(out.Runs, p, i); len(out.Runs) >= pageLimit(r.Limit) {
			break
		}
	}
	out.NextPage = last
	return out, nil
}

// nextPending is the first instance behind an id that has something pending; empty when there is none.
func nextPending(in table.Reader, namespace, after string) (id string, err error) {
	all := key(tablePending, namespace)
	from := all
	if after != "" {
		from = table.End(key(tablePending, namespace, after))
	}
	err = in.Scan(from, table.End(all), func(k, _ []byte) bool {
		id, _, _ = table.CutString(k[len(all):])
		return false
	})
	return id, err
}

// gonePending: an instance was removed since the rows of what is pending were pinned.
func (ns *namespace) gonePending(id string) bool {
	_, gone := ns.gone[id]
	return gone
}

// outOfContact adds the runs of an instance that are out of contact with a reporter.
func (m *Machine) outOfContact(out []*v1.OutOfContact, p *reporter, i *instance) []*v1.OutOfContact {
	if !i.live() {
		return out
	}
	found := 0
	for at, r := range i.all() {
		step := i.step(at).ID
		if !askedAbout(r) || !p.knows(i.rec.Workflow, step) {
			continue
		}
		since := r.ChangedWall
		rec := m.observation(observedKey(i.ns.rec.Namespace, &logv1.Observation{InstanceId: i.rec.InstanceId, Step: step, Index: at.index, Reporter: p.rec.Reporter}))
		if since = max(since, rec.GetReceivedWall()); m.group.Wall-since < p.rec.OutOfContact {
			continue
		}
		out = append(out, &v1.OutOfContact{
			InstanceId: i.rec.InstanceId, Workflow: i.rec.Workflow, Version: i.rec.Version, Step: step, Index: at.index,
			State: r.State, Attempt: r.Attempt, Token: r.Token, Since: stamp(since), Keys: keyList(i.rec.Keys),
		})
		if found++; found == contactOf {
			break
		}
	}
	return out
}

// askedAbout: somebody could be doing the run. What is leased with a heartbeat is in contact: silence ends that lease.
func askedAbout(r *run) bool {
	switch r.State {
	case v1.RunState_RUN_STATE_READY, v1.RunState_RUN_STATE_BACKOFF, v1.RunState_RUN_STATE_INCIDENT:
		return true
	case v1.RunState_RUN_STATE_LEASED:
		return r.HeartbeatDeadline == 0
	}
	return false
}

func keyList(pairs []*logv1.Pair) (out []*v1.Key) {
	for _, p := range pairs {
		out = append(out, &v1.Key{Name: p.Key, Value: p.Value})
	}
	return out
}
