package fsm

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// check says which invariant of the state is broken. It reads everything, decoded.
func check(m *Machine) error {
	for _, name := range m.names {
		ns := m.namespaces[name]
		leased := map[string]int64{}
		held := map[int64]bool{}
		for _, i := range ns.instances {
			if err := checkInstance(m, ns, i, leased, held); err != nil {
				return fmt.Errorf("instance %s: %w", i.rec.InstanceId, err)
			}
		}
		for _, line := range ns.lines {
			q := ns.queues[line]
			if q.leased != leased[line] {
				return fmt.Errorf("queue %s counts %d leased, there are %d", line, q.leased, leased[line])
			}
			if q.waits.Len() > 0 && q.readyRuns() > 0 {
				return fmt.Errorf("queue %s has a run that is ready and a worker that waits", line)
			}
			if err := checkFairness(q); err != nil {
				return fmt.Errorf("queue %s: %w", line, err)
			}
		}
		for _, l := range ns.locks {
			if err := checkLock(m, ns, l, held); err != nil {
				return fmt.Errorf("lock %s: %w", l.rec.Lock, err)
			}
		}
		if err := checkLimits(m, ns); err != nil {
			return err
		}
		if err := checkStill(m, ns); err != nil {
			return err
		}
		if err := checkHolds(m, ns); err != nil {
			return err
		}
		if err := checkWaits(m, ns); err != nil {
			return err
		}
		if err := checkBarriers(ns); err != nil {
			return err
		}
		for _, s := range ns.schedules {
			if err := checkSchedule(ns, s); err != nil {
				return fmt.Errorf("schedule %s: %w", s.rec.Schedule, err)
			}
		}
		if err := checkKeys(m, ns); err != nil {
			return err
		}
		if err := checkCensuses(m, ns); err != nil {
			return err
		}
		if err := checkLines(m, ns); err != nil {
			return err
		}
		if err := checkUses(m, ns); err != nil {
			return err
		}
		if len(held) != len(ns.leases) {
			return fmt.Errorf("namespace %s counts %d leases, there are %d", name, len(ns.leases), len(held))
		}
	}
	return checkSessions(m)
}

// checkKeys: the index has the keys of the instances that are in memory as long as they live, and what it has is somebody's.
func checkKeys(m *Machine, ns *namespace) error {
	if !m.keyed() {
		return nil
	}
	for _, i := range ns.instances {
		for _, p := range i.rec.Keys {
			_, found := m.get(key(tableKey, ns.rec.Namespace, p.Key, p.Value, i.rec.InstanceId))
			if found != (i.live() && i.rec.State != v1.InstanceState_INSTANCE_STATE_QUEUED) {
				return fmt.Errorf("instance %s is %s, and its key %s=%s is in the index: %v", i.rec.InstanceId, i.rec.State, p.Key, p.Value, found)
			}
		}
	}
	return checkTold(m, ns)
}

// checkTold: what is kept under keys is what was told to be, and is over in time, as is all that is remembered.
func checkTold(m *Machine, ns *namespace) (broken error) {
	name, kept, over := ns.rec.Namespace, 0, 0
	each := func(tbl byte, fn func(rest, value []byte)) {
		prefix := key(tbl, name)
		m.scan(prefix, table.End(prefix), func(k, value []byte) bool { fn(slices.Clone(k[len(prefix):]), value); return true })
	}
	each(tableTold, func(rest, value []byte) {
		told, k := &logv1.SignalTold{}, &v1.Key{}
		must(proto.Unmarshal(value, told))
		k.Name, rest, _ = table.CutString(rest)
		k.Value, rest, _ = table.CutString(rest)
		id, _, _ := table.CutString(rest)
		t := &turn{m: m, ns: ns}
		if _, found := m.get(t.overKey(k, id, told.ExpireAt)); !found {
			broken = fmt.Errorf("signal %s by %v is never over", id, k)
		}
		if told.Kept > 0 {
			kept--
			if _, found := m.get(t.keptKey(k, told.Kept)); !found {
				broken = fmt.Errorf("signal %s is not kept under %v", id, k)
			}
		}
		over--
	})
	each(tableKept, func(_, _ []byte) { kept++ })
	each(tableOver, func(_, _ []byte) { over++ })
	if kept != 0 || over != 0 || ns.over != m.nextOver(ns) {
		return fmt.Errorf("namespace %s keeps %d signals that nobody was told of, and has %d times too many; the next is at %d, not %d", name, kept, over, m.nextOver(ns), ns.over)
	}
	return broken
}

func checkInstance(m *Machine, ns *namespace, i *instance, leasedIn map[string]int64, held map[int64]bool) error {
	within := 0
	for _, f := range i.bodies {
		within += len(f.runs)
	}
	if within != i.within {
		return fmt.Errorf("it counts %d runs inside its steps, and there are %d", i.within, within)
	}
	for f := range i.frames() {
		if err := checkFrame(m, ns, i, f, leasedIn, held); err != nil {
			return err
		}
	}
	for f := range i.frames() {
		if !i.live() && f.open > 0 {
			return fmt.Errorf("it is %s with %d open runs", i.rec.State, f.open)
		}
	}
	if i.stage(whole) == stageStops && !i.busy(whole) {
		return fmt.Errorf("it is %s and nothing is leased", i.rec.State)
	}
	for at, r := range i.all() {
		if err := checkBody(i, at, r); err != nil {
			return fmt.Errorf("step %s, %d: %w", i.step(at).ID, at.index, err)
		}
	}
	return checkCompensation(i)
}

// checkTally: a frame counts its runs, and all that are inside them.
func checkTally(i *instance, f *frame) error {
	var counted tally
	count := func(f *frame) bool {
		for _, r := range f.runs {
			counted.add(r.tally())
		}
		return true
	}
	if f == &i.root { // what was set back is inside it
		i.eachBelow(whole, count)
	} else {
		i.eachIn(f, count)
	}
	if counted != f.tally {
		return fmt.Errorf("frame %d of scope %d counts %v, and there are %v", f.index, f.scope, f.tally, counted)
	}
	return nil
}

// checkWaits: who waits for another instance is known to both orders, and is told when that has ended.
func checkWaits(m *Machine, ns *namespace) error {
	known := 0
	for _, i := range ns.instances {
		for at := range i.all() {
			k := i.key(at)
			_, has := ns.waits.of.Get(&dependency{run: &k})
			if has != i.waitsFor(at) {
				return fmt.Errorf("step %s of %s waits for another instance: %v, and is known for it: %v", i.step(at).ID, i.rec.InstanceId, !has, has)
			}
			if has {
				known++
			}
		}
	}
	if known > ns.waits.of.Len() || ns.waits.of.Len() != ns.waits.on.Len()+ns.waits.keyed.Len() {
		return fmt.Errorf("%d runs wait for other instances, and %d are known by who they are, %d by whom they wait for", known, ns.waits.of.Len(), ns.waits.on.Len())
	}
	var err error
	ns.waits.on.Ascend(func(d *dependency) bool {
		if i := ns.instances[d.on]; i != nil && !i.live() && m.todos.Len() == 0 {
			err = fmt.Errorf("%v waits for %s, which has ended", d.run, d.on)
		}
		return err == nil
	})
	return err
}

// checkBody: a run with a body waits for frames that are open, and for as many as it may.
func checkBody(i *instance, at at, r *run) error {
	n := i.step(at)
	if n.Body == 0 || r.State != v1.RunState_RUN_STATE_WAITING {
		return nil
	}
	going := 0
	for k, f := range r.frames() {
		if f.owner != at || int(f.place) != k || int(f.scope) != n.Body {
			return fmt.Errorf("its frame %d is %d of scope %d, of %v", k, f.place, f.scope, f.owner)
		}
		if !f.over {
			going++
		}
		if f.over && r.Stage == stageRuns && f.open > 0 {
			return fmt.Errorf("frame %d is counted, and has open runs", k)
		}
		if !f.over && i.wanted(f.at(0)) && f.open == 0 {
			return fmt.Errorf("frame %d has no open runs, and is not counted", k)
		}
	}
	switch {
	case r.Stage == stageStops && i.wanted(at) && !i.busy(at):
		return fmt.Errorf("it stops, and nothing inside it is leased")
	case !i.wanted(at) || r.Stage != stageRuns:
	case going == 0:
		return fmt.Errorf("it waits for none of %d frames", len(r.frames()))
	case n.Width > 0 && going > n.Width:
		return fmt.Errorf("it has %d items at a time, and may have %d", going, n.Width)
	case n.Turns > 0 && (going > 1 || len(r.frames()) > n.Turns):
		return fmt.Errorf("it has %d turns at a time, and %d of %d", going, len(r.frames()), n.Turns)
	}
	return nil
}

// checkCompensation: only what was completed is undone, what stands behind it first, and as soon as it can be.
func checkCompensation(i *instance) error {
	if i.compensating() && i.root.open == 0 {
		return fmt.Errorf("it compensates, and nothing is open")
	}
	for at, r := range i.all() {
		of, is := i.compensates(at)
		if !is {
			if i.compensating() && !ended(r.State) {
				return fmt.Errorf("it compensates, and step %s is %s", i.step(at).ID, r.State)
			}
			continue
		}
		if i.run(of).State != v1.RunState_RUN_STATE_COMPLETED || !ended(r.State) && i.stage(i.undoing(at)) != stageUndoes && !slices.Contains(i.leaving, at) {
			return fmt.Errorf("%s is %s, while the instance is %s and its step %s", i.step(at).ID, r.State, i.rec.State, i.run(of).State)
		}
		if blocked := i.blocked(of); !ended(r.State) && blocked != (r.State == v1.RunState_RUN_STATE_PENDING && r.Todo == 0) {
			return fmt.Errorf("%s is %s, and it is to wait for others: %v", i.step(at).ID, r.State, blocked)
		}
	}
	return nil
}

// blocked: something that came behind a step is not undone.
func (i *instance) blocked(of at) bool {
	for other, r := range i.all() {
		behind, is := i.compensates(other)
		if !is || behind == of || ended(r.State) || i.undoing(other) != i.undoing(of) {
			continue
		}
		if i.graph.Sequential && i.run(behind).CompletedAt > i.run(of).CompletedAt || !i.graph.Sequential && i.isBehind(behind, of) {
			return true
		}
	}
	return false
}

// isBehind: a run came behind another, where the two are beside each other or what they are in is.
func (i *instance) isBehind(a, b at) bool {
	x, y := i.outwards(a), i.outwards(b)
	for k := range min(len(x), len(y)) {
		switch {
		case x[k] == y[k]:
		case i.frame(x[k]) != i.frame(y[k]): // of one body, in different frames of it
			return i.frame(x[k]).index > i.frame(y[k]).index
		default:
			return slices.Contains(i.graph.After(int(y[k].node)), int(x[k].node))
		}
	}
	return false
}

// outwards are what a run is in, the outermost first, and the run itself.
func (i *instance) outwards(run at) (chain []at) {
	for ; run != whole; run = i.frame(run).owner {
		chain = append([]at{run}, chain...)
	}
	return chain
}

func checkFrame(m *Machine, ns *namespace, i *instance, f *frame, leasedIn map[string]int64, held map[int64]bool) error {
	for n, r := range f.runs {
		at := f.at(n)
		step := i.step(at).ID
		if r.State == v1.RunState_RUN_STATE_LEASED {
			leasedIn[i.step(at).Queue]++
			held[r.Token] = true
			if ref, ok := ns.leases[r.Token]; !ok || ref.session != r.Session || ref.instance != i.rec.InstanceId {
				return fmt.Errorf("step %s is leased under token %d, of which the session knows nothing", step, r.Token)
			}
			for _, want := range r.Locks {
				if ns.lock(m, want.Lock).holder(r.Token) == nil {
					return fmt.Errorf("step %s is leased without its lock %s", step, want.Lock)
				}
			}
		} else if _, ok := ns.leases[r.Token]; ok && r.Token != 0 {
			return fmt.Errorf("step %s is %s, and its token %d still holds", step, r.State, r.Token)
		}
		if r.State == v1.RunState_RUN_STATE_READY && r.Parked != "" {
			l := ns.lock(m, r.Parked)
			found := false
			l.claims.Ascend(func(c *claim) bool { found = found || c.run == i.key(at) && c.wait == nil; return !found })
			if !found {
				return fmt.Errorf("step %s waits for lock %s, which knows nothing of it", step, r.Parked)
			}
			if wanted := m.wanted(i.key(at), ns.queue(i.step(at).Queue)); wanted && r.RetryAt == 0 {
				for _, want := range r.Locks {
					if want.Lock == r.Parked && m.busy(l, &claim{order: r.Order, seq: r.OrderSeq, run: i.key(at), want: want}) == free {
						return fmt.Errorf("step %s waits for lock %s, which is free, and somebody would take it", step, r.Parked)
					}
				}
			}
		}
		if r.Used > int32(i.step(at).Retry.Attempts) {
			return fmt.Errorf("step %s has used %d of %d attempts", step, r.Used, i.step(at).Retry.Attempts)
		}
	}
	return checkTally(i, f)
}

func checkLock(m *Machine, ns *namespace, l *lock, held map[int64]bool) error {
	exclusive := false
	slots := map[int32]bool{}
	for _, h := range l.rec.Holders {
		if ref, ok := ns.leases[h.Token]; !ok || ref.session != h.Session {
			return fmt.Errorf("it is held under token %d, which holds nothing", h.Token)
		}
		if h.InstanceId == "" {
			held[h.Token] = true
		}
		exclusive = exclusive || !h.Shared && l.rec.Limit == 0
		for _, slot := range h.Slots {
			if slots[slot] {
				return fmt.Errorf("slot %d is held twice", slot)
			}
			slots[slot] = true
		}
	}
	if exclusive && len(l.rec.Holders) > 1 || l.rec.Limit > 0 && taken(l.rec.Holders) > l.rec.Limit {
		return fmt.Errorf("it is held by %v", l.rec.Holders)
	}
	for _, h := range l.rec.Lapsed {
		i := ns.instances[h.InstanceId]
		if i != nil && (!i.run(atOf(h)).Lapsed || i.run(atOf(h)).Token != h.Token) {
			return fmt.Errorf("it keeps a place for token %d, whose run went on", h.Token)
		}
	}
	var err error
	l.claims.Ascend(func(c *claim) bool {
		if c.wait != nil && c.wait.rec.RetryAt == 0 && m.busy(l, c) == free {
			err = fmt.Errorf("session %d waits for it, and it is free", c.wait.session.rec.Session)
		}
		return err == nil
	})
	return err
}

func checkSessions(m *Machine) error {
	waits := 0
	for id, s := range m.sessions {
		waits += len(s.waits)
		if len(s.waits) != len(s.rec.Waits) {
			return fmt.Errorf("session %d has %d waits, its record %d", id, len(s.waits), len(s.rec.Waits))
		}
		for _, lease := range s.rec.Leases {
			if ref, ok := s.ns.leases[lease.Token]; !ok || ref.session != id {
				return fmt.Errorf("session %d has token %d, which holds nothing", id, lease.Token)
			}
		}
	}
	if waits != len(m.waits) {
		return fmt.Errorf("there are %d waits, sessions have %d", len(m.waits), waits)
	}
	return nil
}

// checkSchedule: what a schedule says runs does run, and nothing waits for nothing.
func checkSchedule(ns *namespace, s *schedule) error {
	rec := s.rec
	if i := ns.instances[rec.Running]; i != nil && (!i.live() || i.rec.Schedule != rec.Schedule) {
		return fmt.Errorf("%s runs, which is %s of schedule %q", rec.Running, i.rec.State, i.rec.Schedule)
	}
	if rec.Running == "" && !rec.Paused && len(rec.QueuedWall) > 0 {
		return fmt.Errorf("%d times wait, and nothing runs", len(rec.QueuedWall))
	}
	if len(rec.QueuedWall) > maxQueued || len(rec.Recent) > recentFirings {
		return fmt.Errorf("%d times wait, and %d are remembered", len(rec.QueuedWall), len(rec.Recent))
	}
	return nil
}
