package fsm

import v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"

// An instance with a total timeout fails when that passes and it runs on. Its deadline stands among those of the runs, under
// the name that the instance itself has in the place of a run, and is kept with what is pending of the first page.

// limit is when the instance fails by itself; zero is never.
func (i *instance) limit() int64 {
	if i.rec.State != v1.InstanceState_INSTANCE_STATE_RUNNING {
		return 0
	}
	return i.rec.DeadlineAt
}

// enter moves an instance to a state; its deadline follows.
func (m *Machine) enter(i *instance, to v1.InstanceState) {
	was := i.limit()
	i.rec.State = to
	is := i.limit()
	if was == is {
		return
	}
	k := i.key(whole)
	if was > 0 {
		m.deadlines.drop(deadline{at: was, kind: deadlineRun, run: &k})
	}
	if is > 0 {
		m.deadlines.add(deadline{at: is, kind: deadlineRun, run: &k})
	}
	i.root.pages[0] = true
}

// failInstance has an instance fail: nothing new becomes ready, and what is leased is asked to stop.
func (t *turn) failInstance(i *instance, code, reason string) {
	t.emit(&instanceChanged{i: i, to: v1.InstanceState_INSTANCE_STATE_FAILING, code: code, reason: reason})
	t.stopRuns(i, whole)
}
