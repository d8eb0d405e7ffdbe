package sim

import "time"

// Raft's timers, as cluster sets them.
const (
	heartbeat = 100 * time.Millisecond // hashicorp/raft sends them every tenth to fifth of its timeout
	election  = 400 * time.Millisecond
	maxAppend = 16
	rpcLimit  = 300 * time.Millisecond
)

type role int

const (
	follower role = iota
	candidate
	leader
)

// raft is a model of what hashicorp/raft does for a node: it elects, replicates, commits and truncates, over the modelled
// network and disk. It is not a subject of the simulation, so it takes short cuts where they change nothing that is seen
// from above: all nodes vote, and there are no configurations.
type raft struct {
	n *node
	w *world

	role    role
	term    uint64
	vote    int
	lead    int // -1: not known
	log     log
	ahead   ahead
	commit  uint64        // as raft has it, which counts a leader's copy before its disk has it
	heard   time.Duration // when the leader was last heard of
	patient time.Duration // how long to wait for it
	votes   map[int]bool
	asking  bool // only whether votes would be given

	peers []peer // the leader's view
	// What was proposed in this term, by index, oldest first.
	futures   []future
	announced bool // followers will soon be told of the commit
	// While leadership is handed over no entry is taken.
	handing time.Duration
}

type peer struct {
	next, match uint64
	sent        time.Duration // when an unanswered append was sent; negative when there is none
	answered    time.Duration
	installing  bool
}

type future struct {
	index uint64
	done  func(committed bool)
}

// begin starts raft in a life of the node, with what its disk has.
func (r *raft) begin() {
	k := &r.n.disk.kept
	r.role, r.term, r.vote, r.lead = follower, k.term, k.vote, -1
	r.log = k.log.upTo(k.log.last())
	r.futures, r.peers, r.handing, r.announced, r.ahead = nil, nil, 0, false, newAhead()
	if s := k.snapshot; s != nil && s.index > r.log.base {
		r.behind(s)
	}
	r.commit = r.log.base
	r.heard = r.w.now
	r.watch()
}

// behind has the log go on behind a snapshot.
func (r *raft) behind(s *snapshot) {
	if term, here := r.log.term(s.index); here && term == s.term {
		r.log = r.log.from(s.index)
	} else {
		r.log = log{base: s.index, baseTerm: s.term}
	}
}

func (r *raft) majority() int { return len(r.w.nodes)/2 + 1 }

// persist keeps term and vote, and then goes on.
func (r *raft) persist(done func()) {
	term, vote := r.term, r.vote
	r.n.disk.write(r.n.process, func(k *kept) { k.term, k.vote = term, vote }, done)
}

// watch begins an election when the leader is not heard of for long enough.
func (r *raft) watch() {
	r.patient = r.w.raft.between(election, 2*election)
	var look func()
	look = func() {
		if r.role != leader && r.w.now-r.heard >= r.patient {
			r.patient = r.w.raft.between(election, 2*election)
			r.heard = r.w.now
			r.canvass(true, false)
		}
		r.w.by(r.n.process, max(r.heard+r.patient-r.w.now, time.Millisecond), look)
	}
	r.w.by(r.n.process, r.patient, look)
}

// canvass asks for votes; first, whether they would be given.
func (r *raft) canvass(pre, transfer bool) {
	r.votes, r.asking = map[int]bool{r.n.id: true}, pre
	term := r.term + 1
	ask := func() {
		last, lastTerm := r.log.last(), r.log.lastTerm()
		for _, p := range r.w.nodes {
			if p == r.n {
				continue
			}
			r.w.net.send(r.n.process, p.process, func() { p.raft.voteFor(term, r.n.id, last, lastTerm, pre, transfer) })
		}
	}
	if pre {
		r.role = candidate
		ask()
		return
	}
	r.role, r.term, r.vote, r.lead = candidate, term, r.n.id, -1
	r.persist(func() {
		if r.term == term && r.role == candidate {
			ask()
		}
	})
}

func (r *raft) voteFor(term uint64, who int, last, lastTerm uint64, pre, transfer bool) {
	reply := func(given bool) {
		mine := r.term
		p := r.w.nodes[who]
		r.w.net.send(r.n.process, p.process, func() { p.raft.voted(term, mine, r.n.id, given, pre) })
	}
	current := r.log.lastTerm()
	upToDate := lastTerm > current || lastTerm == current && last >= r.log.last()
	following := r.lead >= 0 && r.w.now-r.heard < election || r.role == leader
	if following && !transfer || term < r.term || !upToDate && pre {
		reply(false)
		return
	}
	if pre {
		reply(term > r.term)
		return
	}
	if term > r.term {
		r.follow(term, -1)
	}
	if !upToDate || r.vote >= 0 && r.vote != who {
		r.persist(func() { reply(false) })
		return
	}
	r.vote = who
	r.heard = r.w.now
	r.persist(func() { reply(true) })
}

func (r *raft) voted(term, theirs uint64, who int, given, pre bool) {
	if theirs > r.term {
		r.follow(theirs, -1)
		return
	}
	asked := r.term
	if pre {
		asked++
	}
	if r.role != candidate || term != asked || pre != r.asking {
		return
	}
	if r.votes[who] = r.votes[who] || given; !given {
		return
	}
	n := 0
	for _, p := range r.w.nodes {
		if r.votes[p.id] {
			n++
		}
	}
	switch {
	case n < r.majority():
	case pre:
		r.canvass(false, false)
	default:
		r.win()
	}
}

// follow takes a term, and steps down.
func (r *raft) follow(term uint64, lead int) {
	was := r.role
	if term > r.term {
		r.term, r.vote = term, -1
	}
	r.role, r.lead = follower, lead
	if was == leader {
		r.lose()
	}
}

// lose answers what is in flight: nobody knows what becomes of it.
func (r *raft) lose() {
	futures, early := r.futures, r.ahead.early
	r.futures, r.peers, r.handing, r.ahead.early = nil, nil, 0, nil
	for _, f := range futures {
		f.done(false)
	}
	for _, p := range early {
		p.done(false)
	}
	r.n.notify(false)
}

func (r *raft) win() {
	r.role, r.lead = leader, r.n.id
	r.w.report.Leaders++
	r.peers = make([]peer, len(r.w.nodes))
	for i := range r.peers {
		r.peers[i] = peer{next: r.log.last() + 1, sent: -1, answered: r.w.now}
	}
	r.open()
	r.beat(r.term)
	r.n.notify(true)
}

// beat keeps followers following, and steps down without a majority of them.
func (r *raft) beat(term uint64) {
	if r.role != leader || r.term != term {
		return
	}
	near := 1
	for i := range r.peers {
		if i != r.n.id && r.w.now-r.peers[i].answered < election {
			near++
		}
	}
	if near < r.majority() {
		r.follow(r.term, -1)
		return
	}
	for i := range r.peers {
		if i != r.n.id {
			r.replicate(i, true)
		}
	}
	r.w.by(r.n.process, heartbeat, func() { r.beat(term) })
}

// propose is raft.Apply. taken is false when the log definitely does not get the entry.
func (r *raft) propose(e *entry, done func(committed bool)) (taken bool) {
	if r.role != leader || r.handing > r.w.now {
		return false
	}
	e.proposed, e.asleep, e.pauses = r.w.now, r.n.asleep, r.n.pauses
	p := proposal{e, done}
	if r.ahead.opened {
		r.add(p)
	} else {
		r.ahead.early = append(r.ahead.early, p)
	}
	return true
}

// settle commits what a majority has, if it is of this term.
func (r *raft) settle() {
	best := r.commit
	for i := range r.peers {
		at, have := r.peers[i].match, 0
		for j := range r.peers {
			if r.peers[j].match >= at {
				have++
			}
		}
		if term, ok := r.log.term(at); ok && have >= r.majority() && term == r.term {
			best = max(best, at)
		}
	}
	if best == r.commit {
		return
	}
	r.commit = best
	r.land()
	if !r.announced {
		r.announced = true
		r.w.by(r.n.process, 10*time.Millisecond, func() {
			r.announced = false
			for i := range r.peers {
				if i != r.n.id {
					r.replicate(i, true)
				}
			}
		})
	}
}

// handOver asks a follower that has everything to take over.
func (r *raft) handOver() {
	r.handing = r.w.now + election
	for i, p := range r.peers {
		if i == r.n.id || p.match != r.log.last() {
			continue
		}
		to := r.w.nodes[i]
		term := r.term
		r.w.net.send(r.n.process, to.process, func() {
			if to.raft.term == term && to.raft.role != leader {
				r.w.report.Transfers++
				to.raft.canvass(false, true)
			}
		})
		return
	}
}
