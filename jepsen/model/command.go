package model

import (
	"fmt"
	"slices"
	"strings"
)

func (c *Command) say() string {
	if c == nil {
		return "nobody"
	}
	if c.Schedule != "" {
		return fmt.Sprintf("%s (%s)", kinds[c.Kind], c.Schedule)
	}
	return fmt.Sprintf("%s (session %d, token %d, %s/%s%s)", kinds[c.Kind], c.Session, c.Token, c.Instance, c.Step, c.Want.Lock)
}

var kinds = [...]string{
	"OpenSession", "CloseSession", "OpenStream", "PollSteps", "LeaseStep", "CompleteStep", "FailStep", "ReleaseStep",
	"ReportProgress", "AcquireLock", "ReleaseLock", "RevokeLease", "StartInstance", "CancelInstance", "EndWait", "RegisterWorkflow", "SendSignal", "CompensateInstance",
	"ApproveStep", "RejectStep", "CreateSchedule", "DeleteSchedule", "PauseSchedule", "ResumeSchedule", "TriggerSchedule", "FireSchedule", "DrainVersion", "UndrainVersion", "UpdateNamespace", "Retain", "AckExport", "ForkInstance",
	"PauseInstance", "ResumeInstance", "ResolveIncident", "ReopenIncident", "RetryStep", "SkipStep", "ResolveStep", "UpdateStep", "ResetInstance",
	"StartBulk", "CancelBulk", "AdvanceBulk", "RetryAll",
	"ReportObservation", "ApplyPlan",
	"RegisterReporter", "RemoveReporter", "RecordAsk",
}

// command decides what a command must come to, takes in what it did, and checks that this is it.
func (s *State) command(ordinal int, c *Command) {
	if c.Kind == Advance {
		s.advances(ordinal, c)
		return
	}
	s.begin(cause{command: c})
	s.sawAnswer(c)
	if s.recall(c) {
		return // events of it, if there are any, have no cause
	}
	check := s.decide(c)
	for s.pending() && s.e.Facts[0].Ordinal == ordinal {
		s.fact(s.next())
	}
	if check != nil {
		check()
	}
	if c.By != 0 && c.Request != 0 && c.Kind != EndWait {
		s.remember(c.By, c.Request, c.Answer)
	}
	s.over()
}

// must says that a command is to be done.
func (s *State) must(c *Command) {
	if c.Answer.Code != "" || c.Answer.Parked {
		fault("S2", "entry %d: %s must be done, and is answered %+v", s.Index, c.say(), c.Answer)
	}
}

// decide checks the answer that follows from the state alone, and returns what is to be checked when the command's events
// were taken in.
func (s *State) decide(c *Command) (check func()) {
	switch c.Kind {
	case Open:
		return func() {
			if s.must(c); s.session(c.Answer.Session) == nil {
				fault("S5", "session %d is told to be open, and is not", c.Answer.Session)
			}
		}
	case Start:
		return s.start(c)
	case Cancel:
		return s.cancel(c)
	case Compensate:
		return s.compensate(c)
	case EndWait:
		s.endWait(c)
	case Revoke:
		return s.revoke(c)
	case Signal:
		return s.signal(c)
	case Approve, Reject:
		return s.decision(c)
	case Schedule, Unschedule, Pause, Resume, Trigger, Fire:
		return s.askSchedule(c)
	case Drain, Undrain:
		return s.askDrain(c)
	case Fork:
		return s.askFork(c)
	case Reset:
		return s.askReset(c)
	case Keep, Retain, Ack:
		return s.askRetention(c)
	case Halt, Unhalt:
		return s.pauses(c)
	case Bulk, Unbulk:
		return s.askBulk(c)
	case ResolveWhole, Reopen:
		return s.resolvesWhole(c)
	case Retry, SkipRun, Resolve, Update:
		return s.operate(c)
	case Enlist, Strike, Asked:
		return s.askReporter(c)
	case Report:
		return s.report(c)
	case Apply:
		return s.apply(c)
	case ReleaseLock:
		return s.releaseLock(c)
	case Complete, Fail, Release, Progress:
		return s.held(c)
	case Close, Stream, Poll, Lease, Acquire:
		x := s.session(c.Session)
		if x == nil {
			s.refused(c, "SESSION_EXPIRED")
			return nil
		}
		return s.ofSession(c, x)
	}
	return nil
}

func (s *State) ofSession(c *Command, x *session) func() {
	switch c.Kind {
	case Poll:
		return s.poll(c, x)
	case Lease:
		return s.leaseStep(c, x)
	case Acquire:
		return s.acquire(c, x)
	case Stream:
		s.must(c)
		s.dropCredit(x)
		if x.stream != 0 && x.stream != c.Call {
			s.replaced = append(s.replaced, x.stream)
		}
		x.stream = c.Call
		var tokens []int64
		for _, l := range x.leases {
			if l.run != nil {
				tokens = append(tokens, l.token)
			}
		}
		if !slices.Equal(tokens, tokensOf(c.Answer.Grants)) {
			fault("S2", "the stream of session %d is told of leases %v; it has %v", x.id, tokensOf(c.Answer.Grants), tokens)
		}
		return nil
	}
	s.must(c)
	return func() {
		if s.session(x.id) != nil {
			fault("S5", "session %d is told to be closed, and is alive", x.id)
		}
	}
}

func tokensOf(grants []Grant) (tokens []int64) {
	for _, g := range grants {
		tokens = append(tokens, g.Token)
	}
	return tokens
}

func (s *State) dropCredit(x *session) {
	for _, w := range slices.Clone(s.waits) {
		if w.session == x && w.credit {
			s.dropWait(w)
		}
	}
}

// await has a command wait.
func (s *State) await(c *Command, w *wait) *wait {
	w.call, w.request = c.Call, c.Request
	if c.By == 0 {
		w.request = 0
	}
	if c.Wait > 0 && !w.credit {
		w.deadline = s.Uptime + min(c.Wait, maxWait)
	}
	s.waits = append(s.waits, w)
	return w
}

func (s *State) poll(c *Command, x *session) func() {
	if len(c.Queues) == 0 || c.Count < 0 || c.Count > 100 && !c.Credit {
		s.refused(c, "INVALID")
		return nil
	}
	if c.Credit && c.Call != x.stream { // by a stream that was replaced
		s.must(c)
		if len(c.Answer.Grants) > 0 {
			fault("S2", "%s is granted runs by a stream that was replaced", c.say())
		}
		return nil
	}
	if c.Credit {
		s.dropCredit(x)
	}
	if c.Count == 0 {
		s.must(c)
		return nil
	}
	w := s.await(c, &wait{session: x, queues: c.Queues, left: c.Count, credit: c.Credit})
	return func() {
		s.tell(x, c.Answer.Grants, func(r *run) bool { return slices.Contains(c.Queues, r.step.Queue) })
		switch {
		case len(c.Answer.Grants) > int(c.Count):
			fault("S2", "%s asks for %d runs and gets %d", c.say(), c.Count, len(c.Answer.Grants))
		case c.Answer.Parked != (len(c.Answer.Grants) == 0 && c.Wait > 0 && !c.Credit):
			fault("liveness", "%s is answered %+v", c.say(), c.Answer)
		case !c.Answer.Parked && !c.Credit:
			s.dropWait(w)
		}
		for _, q := range c.Queues {
			if len(c.Answer.Grants) < int(c.Count) && len(s.ready[q]) > 0 {
				fault("liveness", "%s leaves a run of queue %s ready", c.say(), q)
			}
		}
	}
}

// find names the run that a command speaks of, and refuses what cannot be.
func (s *State) find(c *Command) *run {
	i := s.instance(c.Instance)
	if i == nil {
		s.refused(c, "INSTANCE_NOT_FOUND")
		return nil
	}
	r := i.run(c.Step)
	if r == nil && (s.Limit > 0 || i.wasPaused) && c.Answer.Code != "RUN_NOT_FOUND" { // the answer may be the first that is heard of a frame
		r = s.begun(i, c.Step, false)
	}
	if r != nil {
		return r
	}
	name, _, _ := strings.Cut(c.Step, "#")
	if step, _ := i.flow.step(name); step != nil {
		s.refused(c, "RUN_NOT_FOUND") // it is not begun
	} else {
		s.refused(c, "STEP_NOT_FOUND")
	}
	return nil
}

func (s *State) leaseStep(c *Command, x *session) func() {
	r := s.find(c)
	switch {
	case r == nil:
		return nil
	case over(r.state):
		s.refused(c, "ALREADY_DONE")
		return nil
	case r.state == Incident:
		s.refused(c, "NOT_READY")
		return nil
	case r.inLine() && r.free():
		s.must(c)
	case !r.inLine() && c.Wait <= 0:
		s.refused(c, "NOT_READY")
	}
	return func() {
		switch {
		case c.Answer.Parked:
			if c.Wait <= 0 {
				fault("liveness", "%s parks and was not to wait", c.say())
			}
			s.await(c, &wait{session: x, run: r, left: 1})
		case c.Answer.Code == "":
			s.tell(x, c.Answer.Grants, func(o *run) bool { return o == r })
			if len(c.Answer.Grants) != 1 {
				fault("S2", "%s is done and gets %d runs", c.say(), len(c.Answer.Grants))
			}
		case c.Answer.Code != "NOT_READY" || c.Wait > 0:
			fault("liveness", "%s is answered %+v", c.say(), c.Answer)
		}
	}
}

// held are the commands of a run's holder: only the newest token counts.
func (s *State) held(c *Command) func() {
	r := s.find(c)
	switch {
	case r == nil:
		return nil
	case c.Token <= 0:
		s.refused(c, "INVALID")
		return nil
	case c.Token > s.Token:
		s.refused(c, "TOKEN_UNKNOWN")
		return nil
	}
	switch c.Kind {
	case Complete:
		return s.complete(c, r)
	case Progress:
		if !r.holds(c.Token) {
			s.refused(c, "FENCED")
			return nil
		}
		s.must(c)
		return nil
	}
	how := map[Kind]string{Fail: "fail", Release: "release"}[c.Kind]
	if !r.holds(c.Token) {
		first := r.endedBy(c.Token, how)
		if first == nil {
			s.refused(c, "FENCED")
		} else if s.must(c); first.sum != 0 && first.sum != c.Answer.Sum {
			fault("S5", "%s is answered otherwise than the first time: %+v", c.say(), c.Answer)
		}
		return nil
	}
	s.must(c)
	return func() {
		if r.holds(c.Token) {
			fault("S2", "%s is done and the token holds on", c.say())
		}
		if c.Kind == Fail {
			r.rememberEnd(c.Token, "fail", c.Answer.Sum)
		} else if r.endedBy(c.Token, how) == nil {
			r.rememberEnd(c.Token, how, 0)
		}
	}
}

func (s *State) complete(c *Command, r *run) func() {
	again := r.state == Completed && r.token == c.Token
	if !again && !r.holds(c.Token) && !r.late(c.Token) {
		s.refused(c, "FENCED")
		return nil
	}
	fresh, conflicts := r.gives(c.Output)
	if !again && conflicts {
		s.saw(KeyRefused)
		s.refused(c, "KEY_REFUSED")
		return nil
	}
	waited := s.awaiting(fresh)
	s.must(c)
	if late := r.late(c.Token) || again && r.lapsed; c.Answer.Late != late {
		fault("S1", "%s is told late: %v", c.say(), c.Answer.Late)
	}
	return func() {
		if r.state != Completed || r.token != c.Token {
			fault("S1", "%s is told done, and the run is %s under token %d", c.say(), r.state, r.token)
		}
		if !again {
			s.takesGiven(c, r, waited)
		}
		if c.Answer.State != r.of.state {
			fault("S4", "%s is told that the instance is %s; it is %s", c.say(), c.Answer.State, r.of.state)
		}
		if x := s.session(c.Session); x != nil && c.HasNext && (!again && c.Call == 0 || c.Call != 0 && c.Call == x.stream) {
			queues := c.Queues
			if len(queues) == 0 {
				queues = []string{r.step.Queue}
			}
			s.tell(x, c.Answer.Grants, func(o *run) bool { return slices.Contains(queues, o.step.Queue) })
			s.park(c, x, queues)
		} else if len(c.Answer.Grants) > 0 {
			fault("S2", "%s is given runs that it did not ask for", c.say())
		}
	}
}

// park: what a completion asked for next and was not granted is credit of the stream that it came by, if it came by one; a
// stream's credit is for the same queues throughout.
func (s *State) park(c *Command, x *session, queues []string) {
	left := min(c.Count, 100) - int32(len(c.Answer.Grants)) - s.cause.ahead
	if left < 0 {
		fault("S2", "%s asks for %d runs and gets %d", c.say(), c.Count, len(c.Answer.Grants))
	}
	if left == 0 && s.cause.ahead > 0 {
		s.dropped = append(s.dropped, &wait{call: c.Call, session: x, queues: queues, credit: true}) // it was used up, and is told so
	}
	if left == 0 || c.Call == 0 {
		return
	}
	for _, w := range s.waits {
		if w.call == c.Call {
			if w.session == x && w.credit && slices.Equal(slices.Sorted(slices.Values(w.queues)), slices.Sorted(slices.Values(queues))) {
				w.left += left
			}
			return
		}
	}
	s.waits = append(s.waits, &wait{call: c.Call, session: x, queues: queues, left: left, credit: true})
}

// aheadOfCredit: what a completion by a stream asks for next, and was not granted at once, is credit; a run that comes to be free by that very
// command, as one that waits for a slot does, is granted to it there.
func (s *State) aheadOfCredit(x *session, r *run) bool {
	c := s.cause.command
	if c == nil || c.Kind != Complete || !c.HasNext || c.Session != x.id || c.Call == 0 || c.Call != x.stream {
		return false
	}
	queues := c.Queues
	if done := s.run(c.Instance, c.Step); len(queues) == 0 && done != nil {
		queues = []string{done.step.Queue}
	}
	if !slices.Contains(queues, r.step.Queue) || int32(len(c.Answer.Grants))+s.cause.ahead >= min(c.Count, 100) {
		return false
	}
	s.cause.ahead++
	s.saw(ByCredit)
	return true
}

func (s *State) acquire(c *Command, x *session) func() {
	w := c.Want
	w.Take = max(1, w.Take)
	l := s.lock(w.Lock)
	switch {
	case w.Limit > 0 && (w.Shared || w.Take > w.Limit) || w.Limit == 0 && w.Take > 1:
		s.refused(c, "INVALID")
		return nil
	case s.differs(l, w.Limit):
		if c.Answer.Code != "LOCK_LIMIT_DIFFERS" && len(l.holders)+len(l.lapsed)+len(l.holds) > 0 {
			s.refused(c, "LOCK_LIMIT_DIFFERS")
		}
	}
	fits, cycle := l.room(w, nil), s.cycle(x, l)
	if a := c.Answer; fits && a.Code == "" && !a.Parked {
		return func() {
			if p := s.leases[a.Token]; !s.granted(a.Token) || p == nil || p.session != x || p.lock != w.Lock {
				fault("S2", "%s is told of token %d, which is not its grant", c.say(), a.Token)
			}
			s.told[a.Token] = true
		}
	} else if fits && !s.contended(l, nil) && a.Code != "LOCK_LIMIT_DIFFERS" {
		fault("liveness", "%s is answered %+v, and the lock is free", c.say(), a)
	}
	switch a := c.Answer; {
	case a.Code == "LOCK_LIMIT_DIFFERS" && s.differs(l, w.Limit):
	case a.Code == "LOCK_HELD" && c.Wait <= 0:
	case a.Code == "DEADLOCK" && c.Wait > 0 && cycle:
	case a.Parked && c.Wait > 0 && !cycle:
		s.await(c, &wait{session: x, want: &w})
	default:
		fault("S2", "%s is answered %+v while the lock has %d holders", c.say(), a, len(l.holders))
	}
	return nil
}

func (s *State) releaseLock(c *Command) func() {
	if c.Token <= 0 || c.Token > s.Token {
		s.refused(c, "TOKEN_UNKNOWN")
		return nil
	}
	switch p := s.lock(c.Want.Lock).holder(c.Token); {
	case p == nil:
		s.refused(c, "FENCED")
		return nil
	case p.run != nil:
		s.refused(c, "INVALID")
		return nil
	}
	return s.gone(c)
}

func (s *State) revoke(c *Command) func() {
	switch {
	case s.leases[c.Token] != nil:
		return s.gone(c)
	case c.Token <= 0 || c.Token > s.Token:
		s.refused(c, "TOKEN_UNKNOWN")
	default:
		s.refused(c, "FENCED")
	}
	return nil
}

// gone: the command is done, and its token holds nothing any more.
func (s *State) gone(c *Command) func() {
	s.must(c)
	return func() {
		if s.leases[c.Token] != nil {
			fault("S2", "%s is done and the token holds on", c.say())
		}
	}
}
