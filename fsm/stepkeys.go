package fsm

import (
	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A step can give its instance correlation keys with its completion: signals by key find it from then on, those that are kept under one
// are its now, and who waits by one counts it. They are taken from the output before the completion is accepted; one from which they cannot
// be taken is refused as a whole, so there is no completion without its keys. A name has one value in an instance: the same again
// changes nothing, and another is refused.

// comesTo has an instance have a key from now on, which is in its record.
func (t *turn) comesTo(i *instance, p *logv1.Pair) {
	if t.m.keyed() {
		t.m.put(key(tableKey, t.ns.rec.Namespace, p.Key, p.Value, i.rec.InstanceId), nil)
	}
	if t.m.remembers() {
		t.m.had(i, p)
		t.joins(i, p.Key, p.Value)
	}
}

// newKeys are the keys that an instance does not have and a completed run gives it.
func (t *turn) newKeys(i *instance, at at, output *v1.Payload) ([]graph.Key, *Refusal) {
	if !i.graph.HasKeys(int(at.node)) {
		return nil, nil
	}
	view := t.view(i, i.frame(at))
	view.Own = graph.JSON(jsonOf(output))
	keys, err := i.graph.Keys(int(at.node), view)
	if err != nil {
		return nil, Refuse(v1.Code_CODE_KEY_REFUSED, "the output of step %q of instance %q does not give its keys: %v", i.step(at).ID, i.rec.InstanceId, err)
	}
	var fresh []graph.Key
	for _, k := range keys {
		value, has := i.keyNamed(k.Name)
		switch {
		case has && value != k.Value:
			return nil, Refuse(v1.Code_CODE_KEY_REFUSED, "step %q gives instance %q the key %s=%s, and it has %s=%s; a name has one value", i.step(at).ID, i.rec.InstanceId, k.Name, k.Value, k.Name, value)
		case !has:
			fresh = append(fresh, k)
		}
	}
	if n := len(i.rec.Keys) + len(fresh); n > graph.MaxKeys {
		return nil, Refuse(v1.Code_CODE_KEY_REFUSED, "with those that step %q gives it, instance %q would have %d keys, and it can have %d", i.step(at).ID, i.rec.InstanceId, n, graph.MaxKeys)
	}
	return fresh, nil
}

// keyNamed is the value of an instance's key.
func (i *instance) keyNamed(name string) (value string, has bool) {
	for _, p := range i.rec.Keys {
		if p.Key == name {
			return p.Value, true
		}
	}
	return "", false
}

// takeKeptUnder gives an instance what is kept under keys that it has from now on.
func (t *turn) takeKeptUnder(i *instance, keys []graph.Key) {
	for _, k := range keys {
		if t.ns.over == 0 { // then nothing is kept
			return
		}
		by := &v1.Key{Name: k.Name, Value: k.Value}
		for _, kept := range t.kept(by) {
			if !i.live() {
				return
			}
			if t.trimSignals(i); len(i.rec.Seen) < maxSignals && i.saw(kept.SignalId) == nil {
				t.receive(i, &signalReceived{i: i, signal: kept.Signal, key: by, place: kept.place})
			}
		}
	}
}

// keyGiven: an instance has a key from now on.
type keyGiven struct {
	i   *instance
	at  at
	key graph.Key
}

func (e *keyGiven) kind() string { return "lockstep.instance.keyed.v1" }
func (e *keyGiven) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.at)
	d.KeyName, d.KeyValue = e.key.Name, e.key.Value
	return e.i.subject()
}
func (e *keyGiven) evolve(t *turn) {
	p := &logv1.Pair{Key: e.key.Name, Value: e.key.Value}
	e.i.rec.Keys = append(e.i.rec.Keys, p)
	t.m.touch(e.i)
	if plant.Is(plant.KeyNotIndexed) {
		return
	}
	t.comesTo(e.i, p)
	t.closes(e.i, p)
}

// closes has the waits in an instance be looked at again, where others wait for all that have a key which it has from now on: they
// may be in a cycle, which no wait closed that began.
func (t *turn) closes(i *instance, p *logv1.Pair) {
	waited := false
	t.ns.censusesBy(p.Key, p.Value, func(c *census) bool {
		d := c.firstWaits(0)
		waited = d != nil && d.by.count == 0
		return !waited
	})
	if waited {
		t.lookInside(i)
	}
}

// lookInside has the waits in an instance be looked at again, and in what it called: a call itself waits for an instance that was new, and
// what that waits for may come to wait for the caller.
func (t *turn) lookInside(i *instance) {
	var runs []at
	i.inFrame(whole, func(d *dependency) bool {
		runs = append(runs, d.run.at)
		return true
	})
	for _, at := range runs {
		if !i.isCall(at) {
			t.lookAgain(i, at)
		} else if called := t.known(i.run(at).Other); called != nil && called.live() && t.m.level() >= resetLevel {
			t.lookInside(called)
		}
	}
}
