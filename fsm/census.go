package fsm

import (
	"cmp"
	"slices"
	"strings"

	"github.com/google/btree"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/fsm/table"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A census is what is known of the instances that have a correlation key, while somebody waits by it: how many have completed, are open,
// were skipped and failed; of them, or of a step of them. All that wait by one key for one step share it, so a crowd that waits for a crowd
// costs an entry next to nothing. It begins with the first that waits and is gone with the last. Those that have the key already, ended or not,
// are counted in the order of their ids, a few in each entry; who comes to have the key, or ends, among those that are counted changes
// the numbers, and who does among the others is found as it is then. So each is counted once.
//
// For that all that ever had a key are in an index, with how they ended, from awaitsLevel on: what ended before the cluster came to the
// level is not known.

// awaitsLevel is the cluster level from which on there are waits by key, and keys that steps give.
const awaitsLevel = 18

const (
	// maxCensuses is for how many different steps a key is waited by.
	maxCensuses = 100
	// countRows is how many instances are counted at once by how they ended, and countSteps how many of which a step is looked at.
	countRows  = 256
	countSteps = 32
	// lookMost is how many of those who wait are looked at at once.
	lookMost = 16
)

// census is one of a namespace.
type census struct {
	ns    *namespace
	rec   *logv1.Census
	dirty bool
}

func newCensuses() *btree.BTreeG[*census] {
	return btree.NewG(32, func(a, b *census) bool {
		return cmp.Or(strings.Compare(a.rec.Key, b.rec.Key), strings.Compare(a.rec.Value, b.rec.Value), strings.Compare(a.rec.Step, b.rec.Step)) < 0
	})
}

func censusNamed(name, value, step string) *census {
	return &census{rec: &logv1.Census{Key: name, Value: value, Step: step}}
}

// census is what is known to a run that waits by a key; it begins with the first. There is none where the key has as many as may be.
func (t *turn) census(i *instance, at at) *census {
	n := i.step(at)
	c := censusNamed(n.AwaitsKey, i.run(at).Other, n.Awaits)
	if known, ok := t.ns.censuses.Get(c); ok {
		return known
	}
	others := 0
	t.ns.censusesBy(c.rec.Key, c.rec.Value, func(*census) bool { others++; return true })
	if others >= maxCensuses {
		return nil
	}
	c.ns = t.ns
	t.ns.censuses.ReplaceOrInsert(c)
	t.m.again(c)
	return c
}

// censusesBy calls fn with those of a key, until it returns false.
func (ns *namespace) censusesBy(name, value string, fn func(*census) bool) {
	ns.censuses.AscendGreaterOrEqual(censusNamed(name, value, ""), func(c *census) bool {
		return c.rec.Key == name && c.rec.Value == value && fn(c)
	})
}

// leaveCensus is part of the end of a run that waited by a key: what nobody waits by is not counted any more.
func (t *turn) leaveCensus(i *instance, at at) {
	n := i.step(at)
	c, ok := t.ns.censuses.Get(censusNamed(n.AwaitsKey, i.run(at).Other, n.Awaits))
	if ok && c.firstWaits(0) == nil {
		t.ns.censuses.Delete(c)
		t.m.unlist(c)
		t.m.dirtyCensus(c)
	}
}

// firstWaits is the first of those who wait for so many, or more; zero is all. nil when nobody does.
func (c *census) firstWaits(count int32) (first *dependency) {
	return c.nextWaits(count, &runKey{at: at{-1, -1}})
}

// nextWaits is the next of those who wait, from a place on.
func (c *census) nextWaits(count int32, run *runKey) (next *dependency) {
	from := &dependency{step: c.rec.Step, run: run, by: &keyWait{c.rec.Key, c.rec.Value, count}}
	c.ns.waits.keyed.AscendGreaterOrEqual(from, func(d *dependency) bool {
		if d.by.name == c.rec.Key && d.by.value == c.rec.Value && d.step == c.rec.Step {
			next = d
		}
		return false
	})
	return next
}

// counts says whether an instance is among those that are counted.
func (c *census) counts(id string) bool { return c.rec.Counted || id < c.rec.From }

// stance is what an instance is to a census.
type stance uint8

const (
	standsOut stance = iota // it is none of those that are waited for
	standsOpen
	standsCompleted
	standsSkipped
	standsFailed
)

// stance says how an instance stands that has the key, or its step.
func (i *instance) stance(step string) stance {
	if step == "" {
		return stanceOf(i.rec.State)
	}
	if !i.awaitable(step) {
		return standsOut
	}
	switch i.run(i.now(i.node(step))).State {
	case v1.RunState_RUN_STATE_COMPLETED:
		return standsCompleted
	case v1.RunState_RUN_STATE_SKIPPED:
		return standsSkipped
	case v1.RunState_RUN_STATE_FAILED, v1.RunState_RUN_STATE_CANCELLED:
		return standsFailed
	}
	return standsOpen
}

func stanceOf(s v1.InstanceState) stance {
	switch {
	case Live(s):
		return standsOpen
	case s == v1.InstanceState_INSTANCE_STATE_COMPLETED:
		return standsCompleted
	}
	return standsFailed
}

// number is that of those which stand so.
func (c *census) number(s stance) *int64 {
	return [...]*int64{new(int64), &c.rec.Open, &c.rec.Completed, &c.rec.Skipped, &c.rec.Failed}[s]
}

// count adds one that has come.
func (m *Machine) count(c *census, id string, s stance) {
	*c.number(s)++
	switch {
	case s == standsCompleted && len(c.rec.First) <= graph.MaxAwaited: // one more than is told, for who waits does not count
		c.rec.First = append(c.rec.First, id)
	case s == standsFailed && len(c.rec.Failures) < 2:
		c.rec.Failures = append(c.rec.Failures, id)
	}
	m.dirtyCensus(c)
}

// joins counts an instance that has a key from now on, or leaves it to be found.
func (t *turn) joins(i *instance, name, value string) {
	t.ns.censusesBy(name, value, func(c *census) bool {
		if c.counts(i.rec.InstanceId) && !(plant.Is(plant.LateNotSeen) && i.stance(c.rec.Step) == standsOpen) {
			t.m.count(c, i.rec.InstanceId, i.stance(c.rec.Step))
			t.counted(c)
		}
		return true
	})
}

// settles has the censuses of an instance's keys know that it has ended, or a step of it. One that waited for its id until then was never
// counted.
func (t *turn) settles(i *instance, step string) {
	if t.ns.censuses.Len() == 0 || !i.wasKeyed(t.m) {
		return
	}
	for _, p := range i.rec.Keys {
		c, ok := t.ns.censuses.Get(censusNamed(p.Key, p.Value, step))
		if ok && c.counts(i.rec.InstanceId) {
			if *c.number(standsOpen) > 0 || !plant.Is(plant.LateNotSeen) {
				*c.number(standsOpen)--
			}
			t.m.count(c, i.rec.InstanceId, i.stance(step))
			if plant.Is(plant.CountedTwice) {
				*c.number(i.stance(step))++
			}
			t.counted(c)
		}
	}
}

// counted has those who wait be looked at, from the first on, if what has changed may be what one of them waits for.
func (t *turn) counted(c *census) {
	c.rec.Behind = nil
	t.m.dirtyCensus(c)
	if c.rec.Todo == 0 && t.mayGo(c, c.firstWaits(0)) != nil {
		t.m.again(c)
	}
}

// mayGo is the first from one on of those who wait that what is known may be enough for.
func (t *turn) mayGo(c *census, d *dependency) *dependency {
	if d != nil && d.by.count == 0 && c.rec.Failed == 0 && (c.rec.Open > 1 || !c.rec.Counted) {
		d = c.firstWaits(1)
	}
	if d == nil || int64(d.by.count) > c.rec.Completed {
		return nil
	}
	return d
}

// goThrough does what is to be done about a census: it counts a few more, and looks at a few of those who wait, of whom one goes on
// if what is known is enough for it.
func (t *turn) goThrough(c *census) {
	if !c.rec.Counted {
		t.countSome(c)
	}
	t.m.again(c)
	for range lookMost {
		d := c.firstWaits(0)
		if at := c.rec.Behind; at != nil {
			d = c.nextWaits(at.Count, &runKey{c.ns.rec.Namespace, at.InstanceId, atOf(at).next()})
		}
		if d = t.mayGo(c, d); d == nil {
			c.rec.Behind = nil
			if c.rec.Counted {
				t.m.unlist(c)
			}
			return
		}
		c.rec.Behind = &logv1.CensusPlace{Count: d.by.count, InstanceId: d.run.instance, Node: d.run.node, Index: d.run.index}
		run := *d.run
		if t.resolve(t.runOf(run), run.at) {
			return
		}
	}
}

// next is the name of the run behind one.
func (a at) next() at { return at{a.node, a.index + 1} }

// countSome counts the next of those that have the key.
func (t *turn) countSome(c *census) {
	prefix, most := key(tableHad, c.ns.rec.Namespace, c.rec.Key, c.rec.Value), countRows
	if c.rec.Step != "" {
		most = countSteps
	}
	type had struct {
		id    string
		state v1.InstanceState
	}
	var next []had
	t.m.scan(table.AppendString(slices.Clone(prefix), c.rec.From), table.End(prefix), func(row, value []byte) bool {
		id, _, _ := table.CutString(row[len(prefix):])
		if len(next) == most {
			c.rec.From = id
			return false
		}
		h := had{id: id, state: v1.InstanceState_INSTANCE_STATE_RUNNING}
		if len(value) > 0 {
			h.state = v1.InstanceState(value[0])
		}
		next = append(next, h)
		return true
	})
	if len(next) < most || next[len(next)-1].id >= c.rec.From {
		c.rec.From, c.rec.Counted = "", true
	}
	c.rec.Behind = nil
	for _, h := range next {
		if c.rec.Step == "" {
			t.m.count(c, h.id, stanceOf(h.state))
		} else {
			t.m.count(c, h.id, t.known(h.id).stance(c.rec.Step))
		}
	}
	t.spent += len(next) * 16 / most
	t.m.dirtyCensus(c)
}
