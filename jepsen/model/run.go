package model

import "slices"

// States of a run.
const (
	Pending   = "PENDING"
	Waiting   = "WAITING"
	Ready     = "READY"
	Leased    = "LEASED"
	Backoff   = "BACKOFF"
	Completed = "COMPLETED"
	Failed    = "FAILED"
	Cancelled = "CANCELLED"
	Skipped   = "SKIPPED"
	Incident  = "INCIDENT"
)

// States of an instance; it ends as Completed, Failed or Cancelled.
const (
	Running      = "RUNNING"
	Failing      = "FAILING"
	Cancelling   = "CANCELLING"
	Compensating = "COMPENSATING"
)

// instance is one execution of a workflow.
type instance struct {
	id        string
	flow      *Workflow
	state     string
	paused    bool
	resolved  bool // it failed, and was resolved
	wasPaused bool // now or before: frames may have been begun of which nothing was told
	// The version of the workflow; none where it is not known.
	version *version
	runs    []*run // of steps, and behind them of compensations that were begun
	input   int64
	code    string // of one that failed
	// The run that called it.
	parent *run
	plan   string // the schedule that started it
	// Which start of which id it is; which line it is in, and that of its own id.
	of, startID string
	line, heads *line
	// Of one that stops: the step from which on it is undone, and as what it ends behind that.
	from, ends string
	// When it fails unless it has ended; zero is never.
	deadline  int64
	startedAt int64 // by the wall time of the log
	changedAt int64 // likewise: of the last fact about it
	// Of the first: when, and its position.
	acceptedAt, acceptedPosition int64
	keys                         []Key   // by name, and behind them those that steps gave
	ran                          bool    // it had its id, if it waited for that
	fork                         *origin // what it was forked from
	resets                       int     // how often it was set back
	// Signals that are kept, oldest first, and those that were seen, by id.
	messages []message
	seen     map[string]*seen
	history  []int64 // positions of its events
}

// run is one activation of a step.
type run struct {
	of            *instance
	step          *Step
	name          string // the step's, and behind it which frame it is in, unless that is the first
	frame         *frame
	state         string
	stage         stage    // of one with a body
	frames        []*frame // its body's
	attempt, used int32
	token         int64
	session       int64
	// lapsed: the lease under token lapsed, and a late completion is still good. Of a completed run: it was late.
	lapsed bool
	// A step that waits has what it waited for, or was rejected; its timer's time, and whether its date had passed before.
	delivered, rejected bool
	byHand              bool   // somebody gives it its end
	retried             int    // the cause by which somebody had it tried again
	begun               bool   // of a call: it has started its instance
	other               string // the id of the instance that it waits for, if it is to wait for one
	fires               int64
	atOnce              bool
	output              int64  // of a completed run
	changed             int64  // when it came to be so, by the wall time of the log
	copied              bool   // it ended in what its instance was forked from
	code                string // of a failed run
	undoes              *run   // of a compensation
	// Position of the completion, and the place of the end among all ends; by which causes it ended, and waited, in their order.
	completedAt             int64
	overAt, overBy, begunBy int
	// Its place in its queue: the order, and behind that when it became ready.
	order, readyAt                          int64
	queueDeadline, totalDeadline            int64
	runDeadline, heartbeatDeadline, retryAt int64
	readyFrom, triedFrom                    int64 // of uptime; when it was first seen that somebody had asked for it
	ended                                   []ending
}

// ending is how a token ended, with the first answer; the newest four are kept.
type ending struct {
	token int64
	how   string
	sum   uint64
}

func over(state string) bool {
	return state == Completed || state == Failed || state == Cancelled || state == Skipped
}

func (r *run) holds(token int64) bool { return r.state == Leased && r.token == token }

func (r *run) late(token int64) bool { return r.state == Ready && r.lapsed && r.token == token }

func (r *run) endedBy(token int64, how string) *ending {
	for i := range r.ended {
		if r.ended[i].token == token {
			if r.ended[i].how == how {
				return &r.ended[i]
			}
			return nil
		}
	}
	return nil
}

func (r *run) rememberEnd(token int64, how string, sum uint64) {
	if r.ended = append(r.ended, ending{token, how, sum}); len(r.ended) > 4 {
		r.ended = slices.Delete(r.ended, 0, 1)
	}
}

func (s *State) instance(id string) *instance { return s.instances[id] }

func (s *State) run(id, step string) *run {
	i := s.instances[id]
	if i == nil {
		return nil
	}
	return i.run(step)
}

// runs are those of an instance, if it was started.
func (s *State) runs(id string) []*run {
	if i := s.instances[id]; i != nil {
		return i.runs
	}
	return nil
}

func (i *instance) run(name string) *run {
	for _, r := range i.runs {
		if r.name == name {
			return r
		}
	}
	return nil
}

// enter moves a run to a state.
func (s *State) enter(r *run, state string) {
	if r.inLine() {
		s.leavesQueue(r)
	}
	if state == Ready && !r.of.paused {
		s.joinsQueue(r)
	}
	if r.state == Ready || r.state == Waiting || r.state == Incident {
		s.idling = without(s.idling, r)
	}
	if state == Ready || state == Waiting || state == Incident {
		s.idling = append(s.idling, r)
	}
	if state == Ready {
		r.readyFrom, r.triedFrom = s.Uptime, 0
		r.queueDeadline = after(s.Uptime, r.step.QueueTimeout)
	}
	if r.state == Backoff {
		s.backoff = without(s.backoff, r)
	}
	if state == Backoff {
		s.backoff = append(s.backoff, r)
	}
	r.state, r.changed = state, s.Wall
	if over(state) {
		s.ended++
		r.overAt, r.overBy = s.ended, s.causes
		r.finishes()
	}
	s.touch(r.of)
}

// without takes a run out of a list whose order does not matter.
func without(list []*run, r *run) []*run {
	for at, o := range list {
		if o == r {
			last := len(list) - 1
			list[at], list[last] = list[last], nil
			return list[:last]
		}
	}
	return list
}

// instanceWhole checks that a command or a tick left an instance in one of the states that it may rest in.
func (s *State) instanceWhole(i *instance) {
	switch i.state {
	case Compensating:
		s.compensationWhole(i)
		return
	case InQueue:
		i.queuedWhole()
		return
	}
	leased, open := 0, 0
	for _, r := range i.runs {
		if !over(r.state) {
			open++
		}
		s.waitWhole(r)
		switch {
		case r.state == Leased && r.undoes == nil && r.superseded():
			fault("S1", "%s was set back, and its step %s is %s", i.id, r.name, r.state)
		case r.state == Leased:
			leased++
		case r.undoes != nil && !over(r.state):
			if r.blocked() != (r.state == Pending) && (r.blocked() || !s.leaves(r)) || r.undoer() == nil {
				fault("saga", "%s of %s is %s, and something is before it: %v", r.name, i.id, r.state, r.blocked())
			}
		case r.wanted() && r.state == Pending && r.joined() != waits && s.leaves(r):
		case r.wanted() && r.state == Pending && r.joined() != waits:
			fault("liveness", "step %s of %s has all that it needs or can have, and is not begun", r.name, i.id)
		case r.wanted() && r.state == Failed && !r.handled():
			fault("S1", "step %s of %s has failed, nobody needs that, and what it is in runs on", r.name, i.id)
		case !r.wanted() && !over(r.state) && !(r.step.Body != nil && r.stage == stageUndoing) && !r.stops():
			fault("S1", "%s is %s, and its step %s is %s", i.id, i.state, r.name, r.state)
		}
		s.bodyWhole(r)
	}
	switch {
	case over(i.state) && open > 0:
		fault("S1", "%s is %s with %d open steps", i.id, i.state, open)
	case i.state == Running && open == 0:
		fault("liveness", "%s runs and has no open steps", i.id)
	case (i.state == Failing || i.state == Cancelling) && leased == 0 && !i.undoesInside(nil):
		fault("liveness", "%s is %s and none of its steps is leased", i.id, i.state)
	}
}

// dropLapsed: nothing late is good any more.
func (s *State) dropLapsed(r *run) {
	if !r.lapsed {
		return
	}
	r.lapsed = false
	for _, w := range r.step.Locks {
		l := s.lock(w.Lock)
		l.lapsed = slices.DeleteFunc(l.lapsed, func(p place) bool { return p.token == r.token })
	}
}

// endRunLease ends the lease of a run; its locks must be free when the cause is over.
func (s *State) endRunLease(r *run) {
	s.endLease(r.token)
	for _, w := range r.step.Locks {
		s.touchLock(s.lock(w.Lock))
	}
}

// View is what a read shows of a run.
type View struct {
	Step, State   string
	Attempt, Used int32
	Token         int64
}

// Instance shows an instance; the state is empty when there is none.
func (s *State) Instance(id string) (state string, runs []View) {
	i := s.instances[id]
	if i == nil {
		return "", nil
	}
	for _, r := range i.runs {
		runs = append(runs, View{r.name, r.state, r.attempt, r.used, r.token})
	}
	return i.state, runs
}

// Untold says that an instance may have runs of which nothing was told: what begins them was left, or is held.
func (s *State) Untold(id string) bool {
	i := s.instances[id]
	return i != nil && (s.Limit > 0 || i.wasPaused)
}

// Instances counts all that were started, and not removed.
func (s *State) Instances() int { return len(s.instances) }

// Open lists the instances that have not ended, each with why.
func (s *State) Open() (open []string) {
	for id, i := range s.instances {
		if !over(i.state) {
			open = append(open, id)
		}
	}
	slices.Sort(open)
	return open
}

// Holds says whether a token holds something.
func (s *State) Holds(token int64) bool { return s.leases[token] != nil }

// Accepted returns the token under which a run was completed; zero when it was not.
func (s *State) Accepted(id, step string) int64 {
	if r := s.run(id, step); r != nil && r.state == Completed {
		return r.token
	}
	return 0
}
