package sim

import (
	"github.com/lockstep-dev/lockstep/cluster/pending"
)

// ahead drives cluster/pending for the modelled raft, as cluster/ahead.go does for the real one: a leader's commands go
// to its followers while its own disk writes them; all else waits until what is pending is on the disk.
type ahead struct {
	pending *pending.Log[*entry]
	writing bool
	settled []settled
	// A leader takes commands when the first entry of its term is on its disk; those before wait.
	opened bool
	early  []proposal
}

// settled is what waits until the disk has an entry and all before it.
type settled struct {
	index uint64
	then  func()
}

type proposal struct {
	e    *entry
	done func(committed bool)
}

func newAhead() ahead {
	return ahead{pending: pending.New(func(e *entry) int64 { return int64(len(e.data)) })}
}

// whenSettled goes on when all that is pending now is on the disk.
func (r *raft) whenSettled(then func()) {
	if _, last, found := r.ahead.pending.Bounds(); found {
		r.ahead.settled = append(r.ahead.settled, settled{last, then})
		return
	}
	then()
}

// open has the first entry of a term written, and then takes commands. It counts when it is on the leader's own disk.
func (r *raft) open() {
	term := r.term
	leads := func() bool { return r.role == leader && r.term == term }
	r.ahead.opened = false
	r.whenSettled(func() {
		if !leads() {
			return
		}
		e := &entry{proposed: r.w.now, asleep: r.n.asleep, pauses: r.n.pauses}
		r.append(e)
		state := r.log
		r.n.disk.write(r.n.process, func(k *kept) { k.log = state }, func() {
			if !leads() {
				return
			}
			r.ahead.opened = true
			r.has(e.index)
			early := r.ahead.early
			r.ahead.early = nil
			for _, p := range early {
				r.add(p)
			}
		})
	})
}

func (r *raft) append(e *entry) {
	e.index, e.term, e.by = r.log.last()+1, r.term, r.n.id
	r.log = r.log.append(e)
}

// add puts a command into the leader's log, and has it written and sent at the same time.
func (r *raft) add(p proposal) {
	r.append(p.e)
	r.futures = append(r.futures, future{p.e.index, p.done})
	r.ahead.pending.Add(p.e.index, p.e)
	r.store()
	r.has(p.e.index)
}

// has counts the leader's own copy of an entry, and sends it.
func (r *raft) has(index uint64) {
	r.peers[r.n.id].match = max(r.peers[r.n.id].match, index)
	r.settle()
	for i := range r.peers {
		if i != r.n.id {
			r.replicate(i, false)
		}
	}
}

// store has the disk write all that is pending, one write at a time.
func (r *raft) store() {
	a := &r.ahead
	if a.writing {
		return
	}
	list := a.pending.Next()
	if len(list) == 0 {
		return
	}
	a.writing = true
	state := r.log
	r.n.disk.write(r.n.process, func(k *kept) { k.log = state }, func() {
		a.writing = false
		a.pending.Synced(len(list))
		r.store()
		r.land()
		for len(a.settled) > 0 && a.settled[0].index <= a.pending.Durable() {
			then := a.settled[0].then
			a.settled = a.settled[1:]
			then()
		}
	})
}

// land applies what may be applied, and answers it.
func (r *raft) land() {
	r.n.apply()
	for len(r.futures) > 0 && r.futures[0].index <= r.n.applied {
		f := r.futures[0]
		r.futures = r.futures[1:]
		f.done(true)
	}
}
