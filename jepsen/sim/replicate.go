package sim

import "time"

// message is an AppendEntries.
type message struct {
	term           uint64
	lead           int
	prev, prevTerm uint64
	entries        []*entry
	commit         uint64
}

// replicate sends a follower what it lacks; with always, also nothing.
func (r *raft) replicate(to int, always bool) {
	p := &r.peers[to]
	waiting := p.sent >= 0 && r.w.now-p.sent < rpcLimit
	if waiting && !always || !waiting && !always && p.next > r.peers[r.n.id].match {
		return
	}
	if p.next <= r.log.base {
		r.install(to)
		if !always {
			return
		}
	}
	m := message{term: r.term, lead: r.n.id, prev: max(p.next-1, r.log.base), commit: r.ahead.pending.Tells(r.commit)}
	m.prevTerm, _ = r.log.term(m.prev)
	counted := !waiting && p.next > r.log.base
	if counted {
		m.entries = r.log.between(m.prev, r.peers[r.n.id].match, maxAppend)
		p.sent = r.w.now
	}
	follower := r.w.nodes[to]
	r.w.net.send(r.n.process, follower.process, func() { follower.raft.appended(m, counted) })
}

// appended is a follower's side of it.
func (r *raft) appended(m message, counted bool) {
	reply := func(ok bool, match uint64) {
		term, lead := r.term, r.w.nodes[m.lead]
		r.w.net.send(r.n.process, lead.process, func() { lead.raft.answered(r.n.id, m.term, term, ok, match, counted) })
	}
	if m.term < r.term {
		reply(false, 0)
		return
	}
	if m.term > r.term || r.role != follower || r.lead != m.lead {
		r.follow(m.term, m.lead)
	}
	r.heard = r.w.now
	// raft tells the next leader that it has an entry when it finds it in its log.
	r.whenSettled(func() { r.matched(m, reply) })
}

// matched takes a leader's entries in where they fit.
func (r *raft) matched(m message, reply func(ok bool, match uint64)) {
	if m.term < r.term {
		reply(false, 0)
		return
	}
	if m.prev > r.log.last() {
		reply(false, r.log.last())
		return
	}
	if term, here := r.log.term(m.prev); here && term != m.prevTerm {
		reply(false, max(r.log.base, m.prev-1))
		return
	}
	match := m.prev
	changed := false
	for _, e := range m.entries {
		match = e.index
		if e.index <= r.log.base {
			continue
		}
		if term, here := r.log.term(e.index); here && term == e.term {
			continue
		} else if here {
			r.log = r.log.upTo(e.index - 1)
			r.w.report.Truncations++
		}
		r.log = r.log.append(e)
		changed = true
	}
	settle := func() {
		if r.term != m.term {
			return
		}
		reply(true, match)
		if commit := min(m.commit, match); commit > r.commit {
			r.commit = commit
			r.n.apply()
		}
	}
	mine, here := r.log.term(match)
	synced, known := r.n.disk.kept.log.term(match)
	if !changed && r.n.disk.kept.term == r.term && (!here || known && synced == mine) {
		settle()
		return
	}
	state, term, vote := r.log, r.term, r.vote
	r.n.disk.write(r.n.process, func(k *kept) { k.log, k.term, k.vote = state, term, vote }, settle)
}

// answered is the leader's side of the answer.
func (r *raft) answered(from int, asked, term uint64, ok bool, match uint64, counted bool) {
	if term > r.term {
		r.follow(term, -1)
		return
	}
	if r.role != leader || r.term != asked {
		return
	}
	p := &r.peers[from]
	p.answered = r.w.now
	if counted {
		p.sent = -1
	}
	switch {
	case ok:
		p.match = max(p.match, match)
		p.next = max(p.next, p.match+1)
		r.settle()
	case counted:
		p.next = max(p.match+1, min(p.next-1, match+1))
	default:
		return
	}
	if r.role == leader {
		r.replicate(from, false)
	}
}

// install sends a snapshot to a follower that lacks what was cut away.
func (r *raft) install(to int) {
	p := &r.peers[to]
	s := r.n.disk.kept.snapshot
	if s == nil || p.installing {
		return
	}
	p.installing = true
	term, follower := r.term, r.w.nodes[to]
	over := func() {
		if r.role == leader && r.term == term {
			r.peers[to].installing = false
		}
	}
	r.w.by(r.n.process, 2*time.Second, over)
	r.w.by(r.n.process, r.w.raft.between(5*time.Millisecond, 200*time.Millisecond), func() {
		r.w.net.send(r.n.process, follower.process, func() {
			f := follower.raft
			if term < f.term {
				return
			}
			f.follow(term, r.n.id)
			f.heard = r.w.now
			f.whenSettled(func() {
				follower.installed(s, func() {
					r.w.net.send(follower.process, r.n.process, func() {
						over()
						r.answered(to, term, term, true, s.index, false)
					})
				})
			})
		})
	})
}
