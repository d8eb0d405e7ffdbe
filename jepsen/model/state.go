package model

import "slices"

// State is what the log has come to.
type State struct {
	Index, Term uint64
	// Uptime is the time that leases are counted in, and Wall, in unix nanoseconds, that of dates.
	Uptime, Wall int64
	clockTerm    uint64
	clockElapsed int64
	// What fell due until then expires in the entry at hand: by uptime, and by date.
	horizon, days int64

	Position, Token int64
	lastSession     int64

	workflows map[string]*Workflow
	versions  map[string][]*version // that are registered, oldest first
	sessions  map[int64]*session
	living    []*session // oldest first
	instances map[string]*instance
	locks     map[string]*lock
	leases    map[int64]*lease
	waits     []*wait
	dropped   []*wait  // in this entry
	replaced  []uint64 // streams, in this entry
	backoff   []*run
	ready     map[string][]*run  // that are ready and need no lock and no slot, by queue
	turns     map[string]*turns  // by queue
	taken     map[string][]int64 // when slots of limits were taken, by key
	idling    []*run             // that are ready, wait, or stand still
	letters   []*letter          // signals by key that are remembered
	limited   []*instance        // that fail by themselves when they take too long
	schedules map[string]*schedule

	meeting map[string][]*run // by barrier, those that wait at it, and some that did

	dependents []*run // that wait for other instances, or did
	changed    bool   // one more has begun to in this entry

	ended, causes int // runs that did, and causes, so far

	// Completions accepted, late ones among them, and sessions that expired.
	Completed, Late, Expired int
	Seen                     map[Class]int

	retention retention

	bulks     map[string]*bulk
	matched   map[*bulk]map[string]bool // instances, as the entry began
	reporters map[string]*registered
	sightings map[Sighting]*observation
	plans     []string // that were applied, the newest few
	observing *observation
	applies   *applying

	Limit   Limit
	left    map[*run]uint64 // runs that are to be begun, by the entry in which they are begun at the latest
	started int             // in this entry
	yielded int             // so often, of cycles, in this entry

	// Of the entry, and of the cause that is being looked at.
	e       *Entry
	cause   cause
	fellDue bool           // something that is no command's did
	told    map[int64]bool // tokens of leases that were granted: whether somebody was told
	touched touched
	claim   *claim
	slots   *slots
	keeps   *claim // what of a claim is to be held for longer
	firing  *firing
	newborn *instance // that a schedule has started, until it says so
	fresh   *instance // that was started by the cause
	given   *instance // that was given a key by the cause
}

// cause is what facts follow from: a command, a renewal, or the tick.
type cause struct {
	command *Command
	bulk    string // the operation that it is part of
	renewal bool
	tick    bool
	ended   []*session  // that ended by it
	born    []*instance // that were started behind others
	ahead   int32       // runs that credit was granted which the command itself gives
	lists   []*run      // whose items began by it
}

type touched struct {
	instances []*instance
	locks     []*lock
	schedules []*schedule
	lines     []*line
}

// claim is a lease whose locks are being granted.
type claim struct {
	token int64
	run   *run
	left  []Want
}

// New is the state before the first entry.
func New() *State {
	return &State{
		workflows: map[string]*Workflow{}, sessions: map[int64]*session{}, instances: map[string]*instance{},
		locks: map[string]*lock{}, leases: map[int64]*lease{}, ready: map[string][]*run{}, Seen: map[Class]int{}, told: map[int64]bool{},
		schedules: map[string]*schedule{}, versions: map[string][]*version{}, meeting: map[string][]*run{}, turns: map[string]*turns{}, taken: map[string][]int64{}, left: map[*run]uint64{},
		bulks: map[string]*bulk{},
	}
}

// Know has the model know definitions; that they are registered it learns from the log.
func (s *State) Know(list []Workflow) {
	for i := range list {
		s.workflows[list[i].Name] = &list[i]
	}
}

// Apply takes an entry in, or says which rule it breaks. After a Fault the state is of no more use.
func (s *State) Apply(e *Entry) (broken *Fault) {
	defer func() {
		switch x := recover().(type) {
		case nil:
		case faulty:
			broken = x.Fault
		default:
			panic(x)
		}
	}()
	if e.Index <= s.Index {
		fault("S7", "entry %d is applied behind entry %d", e.Index, s.Index)
	}
	s.Index, s.Term, s.e = e.Index, e.Term, e
	clear(s.told)
	s.started, s.yielded = 0, 0
	events := len(e.Facts)
	s.fellDue = slices.ContainsFunc(e.Facts, func(f Fact) bool { return f.Ordinal == 0 })
	s.advance(e)
	s.positions(e)
	s.bulksBegin(e)
	for i := range e.Renewals {
		s.renew(&e.Renewals[i])
	}
	for i := range e.Commands {
		s.command(i+1, &e.Commands[i])
	}
	ticks := e.HeaderTerm == e.Term
	behind := max(0, s.clockElapsed-e.Due)
	s.horizon, s.days = s.Uptime-behind, s.Wall-behind
	s.begin(cause{tick: ticks})
	for s.pending() {
		s.fact(s.next())
	}
	s.over()
	s.dependentsWhole(events)
	s.barriersWhole(events)
	s.limitKept()
	s.settlements()
	s.cyclesBroken(events) // who was answered asks for nothing any more
	if ticks {
		s.overdue()
	}
	return nil
}

// advance is the rule by which time passes: only that of the leader whose term the entry is committed in, and only since
// it was last heard in that term.
func (s *State) advance(e *Entry) {
	if e.HeaderTerm != e.Term {
		return
	}
	passed := int64(0)
	switch {
	case e.Term != s.clockTerm:
		s.clockTerm, s.clockElapsed = e.Term, e.Elapsed
	case e.Elapsed > s.clockElapsed:
		passed = e.Elapsed - s.clockElapsed
		s.clockElapsed = e.Elapsed
	}
	s.Uptime += passed
	if e.Wall > 0 {
		s.Wall = max(s.Wall, e.Wall)
	} else {
		s.Wall += passed
	}
}

// positions are gapless.
func (s *State) positions(e *Entry) {
	for _, f := range e.Facts {
		if f.Position != s.Position+1 {
			fault("L7", "entry %d publishes position %d behind %d", e.Index, f.Position, s.Position)
		}
		s.Position = f.Position
	}
}

func (s *State) pending() bool { return len(s.e.Facts) > 0 }

func (s *State) next() *Fact {
	f := &s.e.Facts[0]
	s.e.Facts = s.e.Facts[1:]
	return f
}

// begin has a new cause.
func (s *State) begin(c cause) {
	s.over()
	s.causes++
	s.cause, s.fresh, s.given = c, nil, nil
}

// over checks that a cause left nothing half done.
func (s *State) over() {
	if c := s.slots; c != nil {
		fault("limits", "token %d is granted step %s of %s without a slot of limit %s", c.token, c.run.name, c.run.of.id, c.left[0].key(c.run))
	}
	if c := s.claim; c != nil {
		fault("S2", "token %d holds step %s of %s without lock %s", c.token, c.run.step.Name, c.run.of.id, c.left[0].Lock)
	}
	if c := s.keeps; c != nil {
		fault("S2", "token %d has lock %s, and what step %s of %s is inside of does not hold it", c.token, c.left[0].Lock, c.run.name, c.run.of.id)
	}
	for _, x := range s.cause.ended {
		s.sessionOver(x)
	}
	s.schedulesWhole()
	s.linesWhole()
	for _, i := range s.touched.instances {
		s.instanceWhole(i)
		s.heldWhole(i)
	}
	for _, l := range s.touched.locks {
		s.lockWhole(l)
	}
	s.touched.instances, s.touched.locks = s.touched.instances[:0], s.touched.locks[:0]
	s.cause = cause{}
}

func (s *State) touch(i *instance) {
	if !slices.Contains(s.touched.instances, i) {
		s.touched.instances = append(s.touched.instances, i)
	}
}

func (s *State) touchLock(l *lock) {
	if !slices.Contains(s.touched.locks, l) {
		s.touched.locks = append(s.touched.locks, l)
	}
}

// overdue: what is due by a tick has happened in it.
func (s *State) overdue() {
	for _, x := range s.living {
		if x.expireAt <= s.horizon {
			fault("L2", "session %d was due at uptime %d and lives on behind a tick of %d", x.id, x.expireAt, s.horizon)
		}
		for _, l := range x.leases {
			if r := l.run; r != nil && (due(r.runDeadline, s.horizon) || due(r.heartbeatDeadline, s.horizon)) {
				fault("L3", "step %s of %s is leased beyond its timeout", r.step.Name, r.of.id)
			}
			if l.run != nil {
				s.beyond(l.run)
			}
		}
	}
	for _, r := range s.backoff {
		if r.retryAt <= s.horizon {
			fault("liveness", "step %s of %s backs off beyond its time", r.step.Name, r.of.id)
		}
		s.beyond(r)
	}
	for _, r := range s.idling {
		s.beyond(r)
		s.kept(r)
		s.limitedLong(r)
		if s.fires(r) {
			fault("liveness", "step %s of %s waits beyond its time", r.step.Name, r.of.id)
		}
	}
	s.lettersOver()
	s.limited = slices.DeleteFunc(s.limited, func(i *instance) bool { return i.state != Running })
	for _, i := range s.limited {
		if due(i.deadline, s.horizon) {
			fault("liveness", "%s runs beyond its timeout", i.id)
		}
	}
	for _, w := range s.waits {
		if due(w.deadline, s.horizon) {
			fault("liveness", "call %d waits beyond its deadline", w.call)
		}
		s.idle(w)
	}
}

// beyond: what a step may take as a whole, or wait for a worker, has not passed.
func (s *State) beyond(r *run) {
	if r.stops() {
		return
	}
	if due(r.totalDeadline, s.horizon) || r.inLine() && due(r.queueDeadline, s.horizon) {
		fault("liveness", "step %s of %s is %s beyond its timeout", r.step.Name, r.of.id, r.state)
	}
}

func due(at, now int64) bool { return at > 0 && at <= now }
