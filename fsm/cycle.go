package fsm

import (
	"fmt"
	"strings"
)

// A wait for a whole instance waits for all waits in it; one for a step waits for those at that step, and upstream of it; and one for locks
// for those inside of what holds these (deadlock.go). What is queued waits as a whole for the one before it. Where that
// comes back to a wait, none of them ends by itself. Such a cycle is closed by the newest of its waits, so it is looked for when one
// begins, and that one fails. Waits of which any one would be enough count as all others: a cycle that a race or a join could break is
// one too. Who waits at a barrier waits for nobody that is known: anybody may come, so no cycle goes through one. It is looked for from both sides, a little further each time, for one side can be a crowd where the other is empty.

// maxSearched bounds how many waits are looked at on each side.
const maxSearched = 10_000

// runsPerWait bounds how many runs are looked at for each of these: waits for locks are found among the runs of what holds them.
const runsPerWait = 1000

// cycle returns the waits of a cycle that a run closes, from itself on; none when it closes none. It is not ok where there are too many
// waits to say.
func (t *turn) cycle(i *instance, at at) (chain []*dependency, ok bool) {
	k, p := i.key(at), i.place(at)
	return t.cycleFrom(p.dependency(&k))
}

// cycleFrom is cycle of a wait.
func (t *turn) cycleFrom(begin *dependency) (chain []*dependency, ok bool) {
	for most := 16; most <= maxSearched; most *= 5 {
		ahead := &search{t: t, begin: begin, most: most, next: t.ahead}
		if chain, over := ahead.run(); over {
			return chain, true
		}
		behind := &search{t: t, begin: begin, most: most, next: t.behind}
		if chain, over := behind.run(); over {
			for n := 1; n < len(chain)-n; n++ { // it was followed backwards
				chain[n], chain[len(chain)-n] = chain[len(chain)-n], chain[n]
			}
			return chain, true
		}
	}
	return nil, false
}

// search follows waits from one on, in one direction, until it is back or there are no more.
type search struct {
	t     *turn
	begin *dependency
	most  int
	next  func(of *dependency, fn func(*dependency) bool)
	seen  map[runKey]bool
	found []found
}

// found is a wait that was found, and from which: its place among those that were found, and -1 from the first.
type found struct {
	wait *dependency
	from int
}

func (s *search) run() (chain []*dependency, over bool) {
	s.seen = map[runKey]bool{}
	begun := s.t.looked
	s.t.lookMost = begun + s.most*runsPerWait
	defer func() { s.t.spent += len(s.found)/16 + (s.t.looked-begun)/1024 }()
	for at := -1; at < len(s.found); at++ {
		of := s.begin
		if at >= 0 {
			of = s.found[at].wait
		}
		closed := false
		s.next(of, func(d *dependency) bool {
			closed = d.run.compare(s.begin.run) == 0
			if !closed && !s.seen[*d.run] {
				s.seen[*d.run] = true
				s.found = append(s.found, found{d, at})
			}
			return !closed && len(s.found) < s.most
		})
		switch {
		case closed:
			return s.chain(at), true
		case len(s.found) >= s.most, s.t.looked > s.t.lookMost:
			return nil, false
		}
	}
	return nil, true
}

// chain is the way to what closed a cycle, from the first on.
func (s *search) chain(at int) []*dependency {
	var back []*dependency
	for ; at >= 0; at = s.found[at].from {
		back = append(back, s.found[at].wait)
	}
	chain := []*dependency{s.begin}
	for n := len(back) - 1; n >= 0; n-- {
		chain = append(chain, back[n])
	}
	return chain
}

// ahead are the waits that one waits for.
func (t *turn) ahead(of *dependency, fn func(*dependency) bool) {
	switch {
	case of.isLock():
		t.aheadOfLock(of, fn)
		return
	case of.by != nil:
		t.aheadByKey(of, fn)
		return
	}
	more := true
	take := func(d *dependency) bool {
		more = !t.holdsUp(d, of) || fn(d)
		return more
	}
	if i := t.known(of.on); i != nil && t.ns.holds.Len() > 0 {
		t.looked += i.inFrame(whole, take)
	} else {
		t.ns.waits.in(of.run.namespace, of.on, take)
	}
	if d := t.inLine(of.on, -1); more && d != nil {
		fn(d)
	}
}

// behind are the waits that wait for one.
func (t *turn) behind(of *dependency, fn func(*dependency) bool) {
	more := true
	t.ns.waits.from(of.run.instance, "", func(d *dependency) bool {
		more = !t.holdsUp(of, d) || fn(d)
		return more
	})
	if d := t.inLine(of.run.instance, +1); more && d != nil {
		more = fn(d)
	}
	fn = func(fn func(*dependency) bool) func(*dependency) bool {
		return func(d *dependency) bool {
			more = fn(d)
			return more
		}
	}(fn)
	if more {
		t.behindByKey(of, fn)
	}
	if more {
		t.behindLocks(of, fn)
	}
}

// holdsUp: a wait in an instance for which another waits is at the step that this waits for, or upstream of it.
func (t *turn) holdsUp(inner, waits *dependency) bool {
	if waits.step == "" || inner.run.at == whole {
		return true
	}
	i := t.known(inner.run.instance)
	return i != nil && i.holdsUp(inner.run.at, waits.step)
}

// holdsUp: a run is at a step, or upstream of it; of no step, it is in the instance.
func (i *instance) holdsUp(run at, step string) bool {
	return step == "" || i.awaitable(step) && i.graph.Before(int(i.outermost(run).node), int(i.node(step)))
}

// outermost is the run in no body that a run is in, or itself.
func (i *instance) outermost(run at) at {
	for f := i.frame(run); !f.outermost(); f = i.frame(run) {
		run = f.owner
	}
	return run
}

// maxSaid is how many waits of a cycle are said.
const maxSaid = 32

// sayChain says who waits for whom.
func (t *turn) sayChain(chain []*dependency) string {
	var b strings.Builder
	for n, d := range chain {
		if n > 0 {
			b.WriteString(", ")
		}
		if n == maxSaid {
			fmt.Fprintf(&b, "and %d more, ", len(chain)-n)
			break
		}
		on := d.sayOn()
		if d.isLock() {
			on = t.sayLock(d, chain[(n+1)%len(chain)])
		}
		fmt.Fprintf(&b, "%s waits for %s", t.sayRun(d.run), on)
	}
	return "the waits are a cycle: " + strings.TrimSuffix(b.String(), ", ")
}

func (d *dependency) sayOn() string {
	switch {
	case d.by != nil && d.step == "":
		return fmt.Sprintf("all instances with the key %s=%s", d.by.name, d.by.value)
	case d.by != nil:
		return fmt.Sprintf("step %q of all instances with the key %s=%s", d.step, d.by.name, d.by.value)
	case d.step == "":
		return fmt.Sprintf("instance %q", d.on)
	}
	return fmt.Sprintf("step %q of instance %q", d.step, d.on)
}

func (t *turn) sayRun(k *runKey) string {
	if k.at == whole {
		return fmt.Sprintf("instance %q, which is queued,", k.instance)
	}
	return fmt.Sprintf("step %q of instance %q", t.known(k.instance).step(k.at).ID, k.instance)
}
