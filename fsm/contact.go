package fsm

import (
	"errors"
	"fmt"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A run is out of contact with a reporter that knows its step when somebody could be doing it, and nothing was heard of it for so long as the reporter
// says: it did not come to be otherwise, and the reporter has said nothing of it. Live instances are looked at in the order of their ids, through
// the rows of what is pending, which none that has ended has: what waits for a signal or a date is passed over by its row alone, and only where
// somebody could be doing something is the instance read. So much in a page, and nothing on the apply path.

const (
	contactLooked = 200   // instances that one page reads
	contactPassed = 5_000 // and passes over
	contactOf     = 64    // runs of one instance: no more observations are kept of it
)

// ListOutOfContact lists the runs that a reporter would be asked about now, by instance. What is behind its first page is as of that, or newer: what came
// to be since then is in contact.
func (m *Machine) ListOutOfContact(r *v1.ListOutOfContactRequest) (*v1.ListOutOfContactResponse, error) {
	snapshot, err := m.contactView(r.Page == "")
	if err != nil {
		return nil, err
	}
	defer snapshot.Close()
	name, err := m.asked(r)
	if err != nil {
		return nil, err
	}
	ids, last, err := busy(snapshot, name, r.Page)
	if err != nil {
		return nil, err
	}
	out := &v1.ListOutOfContactResponse{NextPage: last}
	for _, id := range ids {
		if out.Runs, err = m.outOfContact(out.Runs, r, id); err != nil {
			return nil, err
		}
		if len(out.Runs) >= pageLimit(r.Limit) {
			out.NextPage = id
			break
		}
	}
	return out, nil
}

// asked is the namespace of a request whose reporter there is.
func (m *Machine) asked(r *v1.ListOutOfContactRequest) (name string, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	ns, refusal := m.namespace(r.Namespace)
	if refusal != nil {
		return "", refusal
	}
	if _, refusal = ns.reporter(r.Reporter); refusal != nil {
		return "", refusal
	}
	return ns.rec.Namespace, nil
}

// contactView pins the rows. Only the first page has what changed be written before: a round of many pages would else write all the time.
func (m *Machine) contactView(first bool) (table.Snapshot, error) {
	if first {
		return m.view()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.engine.Snapshot(), nil
}

// busy are the instances behind an id of which somebody could be doing a run; last is the one behind which there may be more, and empty when there is none.
func busy(in table.Reader, namespace, after string) (ids []string, last string, err error) {
	all := key(tablePending, namespace)
	from := all
	if after != "" {
		from = table.End(key(tablePending, namespace, after))
	}
	var failed error
	passed, at, more := 0, "", false
	err = in.Scan(from, table.End(all), func(k, value []byte) bool {
		id, _, sound := table.CutString(k[len(all):])
		if !sound {
			failed = fmt.Errorf("pending row has the damaged key %x", k)
			return false
		}
		if id != at {
			if more = len(ids) == contactLooked || passed == contactPassed; more {
				return false
			}
			at = id
			passed++
		}
		if len(ids) > 0 && ids[len(ids)-1] == id {
			return true
		}
		for len(value) > 0 {
			var x place
			if x, _, value, failed = cutPlace(value); failed != nil {
				return false
			}
			if couldBeDone(x.state) {
				ids = append(ids, id)
				break
			}
		}
		return true
	})
	if more {
		last = at
	}
	return ids, last, errors.Join(err, failed)
}

// outOfContact adds the runs of an instance that are out of contact with a reporter. An entry that is to be applied waits for one instance at most.
func (m *Machine) outOfContact(out []*v1.OutOfContact, r *v1.ListOutOfContactRequest, id string) ([]*v1.OutOfContact, error) {
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
	i := ns.instances[id]
	if i == nil {
		var err error
		if i, err = m.readInstance(ns, id); err != nil {
			return nil, err
		}
	}
	if i == nil || !i.live() {
		return out, nil // it ended, and perhaps went, since the page began
	}
	found := 0
	for at, run := range i.all() {
		step := i.step(at).ID
		if !askedAbout(run) || !p.knows(i.rec.Workflow, step) {
			continue
		}
		since := run.ChangedWall
		rec := m.observation(observedKey(ns.rec.Namespace, &logv1.Observation{InstanceId: id, Step: step, Index: at.index, Reporter: p.rec.Reporter}))
		if since = max(since, rec.GetReceivedWall()); m.group.Wall-since < p.rec.OutOfContact {
			continue
		}
		out = append(out, &v1.OutOfContact{
			InstanceId: id, Workflow: i.rec.Workflow, Version: i.rec.Version, Step: step, Index: at.index,
			State: run.State, Attempt: run.Attempt, Token: run.Token, Since: stamp(since), Keys: keyList(i.rec.Keys),
		})
		if found++; found == contactOf {
			break
		}
	}
	return out, nil
}

// askedAbout: somebody could be doing the run. What is leased with a heartbeat is in contact: silence ends that lease.
func askedAbout(r *run) bool {
	return couldBeDone(r.State) && (r.State != v1.RunState_RUN_STATE_LEASED || r.HeartbeatDeadline == 0)
}

func couldBeDone(s v1.RunState) bool {
	switch s {
	case v1.RunState_RUN_STATE_READY, v1.RunState_RUN_STATE_LEASED, v1.RunState_RUN_STATE_BACKOFF, v1.RunState_RUN_STATE_INCIDENT:
		return true
	}
	return false
}

func keyList(pairs []*logv1.Pair) (out []*v1.Key) {
	for _, p := range pairs {
		out = append(out, &v1.Key{Name: p.Key, Value: p.Value})
	}
	return out
}
