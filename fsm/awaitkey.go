package fsm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A run can wait by a correlation key: until so many instances that have it have completed, or a step of them has, or all have. Those
// count that are there already, ended or not, those that are started later, and those that are given the key by a step. The instance of
// the run itself never counts, nor does one that waits for its id. What was skipped counts for nothing, and of those without the step
// nothing is waited for.
//
// `atLeast k` (`any` is one) ends with k that have completed; what fails is not counted, for others may come. `all` ends when of those
// that have the key then each has completed, or was skipped, and there is one; the first failure of one ends it, as with a wait by id.
// So what a wait comes to follows from who has the key and how they stand, and not from when it began. How they stand a census
// knows (census.go).

// keyWait is the key by which a run waits, and how many must have completed; zero is all.
type keyWait struct {
	name, value string
	count       int32
}

// lessByKey orders waits by key: those for the same, those of them first that wait for all, then by how many they wait for.
func (d *dependency) lessByKey(o *dependency) bool {
	c := cmp.Or(strings.Compare(d.by.name, o.by.name), strings.Compare(d.by.value, o.by.value), strings.Compare(d.step, o.step), cmp.Compare(d.by.count, o.by.count))
	return cmp.Or(c, d.run.compare(o.run)) < 0
}

// dependency is a run's wait, of which this is the place.
func (p *place) dependency(k *runKey) *dependency {
	if p.key != "" {
		return &dependency{step: p.step, run: k, by: &keyWait{p.key, p.other, p.count}}
	}
	return &dependency{on: p.other, step: p.step, run: k}
}

func (i *instance) awaitsKey(at at) bool { return i.step(at).AwaitsKey != "" }

// has says whether an instance has a key.
func (i *instance) has(name, value string) bool {
	return slices.ContainsFunc(i.rec.Keys, func(p *logv1.Pair) bool { return p.Key == name && p.Value == value })
}

// satisfied is what ended a wait by a key: how many completed, and the first of them, by id.
type satisfied struct {
	ids   []string
	count int64
}

// maxTold is how many of these an event tells.
const maxTold = 16

// mustered is what a census knows without the instance that waits.
type mustered struct {
	open, completed, skipped, failed int64
	first, failures                  []string
}

func (c *census) without(i *instance) mustered {
	r := c.rec
	k := mustered{r.Open, r.Completed, r.Skipped, r.Failed, r.First, r.Failures}
	if id := i.rec.InstanceId; i.has(r.Key, r.Value) && c.counts(id) {
		switch i.stance(r.Step) {
		case standsOpen:
			k.open--
		case standsCompleted:
			k.completed--
		case standsSkipped:
			k.skipped--
		case standsFailed:
			k.failed--
		}
		not := func(o string) bool { return o == id }
		k.first, k.failures = slices.DeleteFunc(slices.Clone(k.first), not), slices.DeleteFunc(slices.Clone(k.failures), not)
	}
	return k
}

// musterOf says how a wait by a key has ended, if it has.
func (t *turn) musterOf(i *instance, at at) (o outcome, over bool) {
	n := i.step(at)
	c, ok := t.ns.censuses.Get(censusNamed(n.AwaitsKey, i.run(at).Other, n.Awaits))
	if !ok {
		return o, false
	}
	k := c.without(i)
	switch count := int64(n.AwaitsCount); {
	case count > 0 && k.completed >= count:
		return completedBy(k.first[:count], count), true
	case count > 0:
		return o, false
	case k.failed > 0:
		o, _ = t.outcomeOf(t.known(k.failures[0]), n.Awaits)
		return o, true
	case !c.rec.Counted || k.open > 0 || k.completed+k.skipped == 0:
		return o, false
	case k.completed == 0:
		return outcome{state: v1.RunState_RUN_STATE_SKIPPED, code: "SKIPPED", reason: fmt.Sprintf("step %q of each instance with the key %s=%s was skipped", n.Awaits, c.rec.Key, c.rec.Value)}, true
	}
	return completedBy(k.first[:min(len(k.first), graph.MaxAwaited)], k.completed), true
}

func completedBy(ids []string, count int64) outcome {
	ids = slices.Sorted(slices.Values(ids))
	return outcome{
		state: v1.RunState_RUN_STATE_COMPLETED, output: &v1.Payload{Bytes: graph.Satisfied(ids, count)}, by: &satisfied{ids, count},
	}
}

// aheadByKey are the waits for which one by a key certainly waits: those in the instances that have the key, where it is for all.
// A number of them may come at any time, so such a wait waits for nobody that is known, like one at a barrier.
func (t *turn) aheadByKey(of *dependency, fn func(*dependency) bool) {
	if of.by.count > 0 {
		return
	}
	more := true
	take := func(d *dependency) bool {
		more = !t.holdsUp(d, of) || fn(d)
		return more
	}
	most := max(0, t.lookMost-t.looked)/memberWork + 1 // with one more than may be looked at the search gives up
	members := t.m.keyedBy(t.ns, &v1.Key{Name: of.by.name, Value: of.by.value}, most)
	for n := 0; n < len(members) && more && t.looked <= t.lookMost; n++ {
		switch t.looked += memberWork; {
		case members[n] == of.run.instance:
		case t.ns.holds.Len() > 0:
			t.looked += t.known(members[n]).inFrame(whole, take)
		default:
			t.ns.waits.in(of.run.namespace, members[n], take)
		}
	}
}

// memberWork is what it costs to look at an instance that has a key, in runs that are looked at.
const memberWork = 256

// behindByKey are the waits by keys of an instance that wait for all that have them, in which one is.
func (t *turn) behindByKey(of *dependency, fn func(*dependency) bool) {
	if t.ns.waits.keyed.Len() == 0 {
		return
	}
	i, more := t.known(of.run.instance), true
	if i == nil || i.rec.State == v1.InstanceState_INSTANCE_STATE_QUEUED {
		return
	}
	for _, p := range i.rec.Keys {
		t.ns.censusesBy(p.Key, p.Value, func(c *census) bool {
			for d := c.firstWaits(0); d != nil && d.by.count == 0 && more; d = c.nextWaits(0, &runKey{d.run.namespace, d.run.instance, d.run.at.next()}) {
				if d.run.instance != i.rec.InstanceId && t.holdsUp(of, d) {
					more = fn(d)
				}
			}
			return more
		})
	}
}
