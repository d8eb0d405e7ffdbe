package model

import (
	"slices"
	"strings"
)

// fact takes an event in, if the present cause may have it.
func (s *State) fact(f *Fact) {
	defer s.record(f)
	if s.slots != nil && f.Kind != "limit.taken" {
		s.over()
	}
	if s.slots == nil && s.claim != nil && (f.Kind != "lock.granted" || f.Token != s.claim.token) {
		s.over() // a claim is granted whole, or not at all
	}
	if s.keeps != nil && f.Kind != "lock.held" {
		s.over()
	}
	if strings.HasPrefix(f.Kind, "bulk.") {
		s.bulkFact(f)
		return
	}
	if strings.HasPrefix(f.Kind, "reporter.") {
		s.reporterFact(f)
		return
	}
	if f.Bulk != s.cause.bulk {
		fault("S4", "%s of %q tells bulk operation %q; it is by %q", f.Kind, f.Instance, f.Bulk, s.cause.bulk)
	}
	s.stand()
	switch f.Kind {
	case "observation.reported":
		s.observed(f)
	case "plan.applied":
		s.planApplied(f)
	case "drift.settled", "drift.raised":
		s.driftSettled(f)
	case "session.opened":
		s.sessionOpened(f)
	case "session.closed", "session.expired":
		s.sessionEnded(f)
	case "lock.granted":
		s.lockGranted(f)
	case "limit.taken":
		s.slotTaken(f)
	case "lock.released":
		s.lockReleased(f)
	case "lock.held":
		s.lockHeld(f)
	case "lock.freed":
		s.lockFreed(f)
	case "signal.received":
		s.signalReceived(f)
	case "signal.kept", "signal.correlated", "signal.broadcast":
		s.signalTold(f, f.Kind[len("signal."):])
	case "barrier.passed":
		s.passed(f)
	case "signal.expired":
		s.letterExpired(f)
	case "instance.started":
		s.instanceStarted(f)
	case "instance.forked":
		s.forkTold(f)
	case "instance.reset":
		s.setBack(f)
	case "instance.queued":
		s.instanceQueued(f)
	case "namespace.updated", "retention.removed", "retention.compacted", "retention.exported":
		s.retentionFact(f)
	case "workflow.registered":
		s.registered(f)
	case "workflow.drained", "workflow.undrained":
		s.drainFact(f)
	case "schedule.created", "schedule.deleted", "schedule.paused", "schedule.resumed",
		"schedule.missed", "schedule.queued", "schedule.skipped", "schedule.failed", "schedule.fired":
		s.scheduleFact(f)
	default:
		i := s.instance(f.Instance)
		if i == nil {
			fault("S7", "%s of instance %q, which is not", f.Kind, f.Instance)
		}
		if f.Step == "" {
			s.instanceChanged(f, i)
			s.grown(f)
			return
		}
		r := s.begun(i, f.Step, f.Kind == "step.cancelled")
		if r == nil {
			fault("S7", "%s of step %q of %s, which is not", f.Kind, f.Step, f.Instance)
		}
		s.runFact(f, r)
	}
	s.grown(f)
}

func (s *State) runFact(f *Fact, r *run) {
	c := s.cause.command
	about := c != nil && c.Instance == f.Instance && c.Step == f.Step
	switch f.Kind {
	case "step.resolved":
		s.runResolved(f, r)
	case "step.updated":
		s.runUpdated(f, r)
	case "step.ready":
		s.runReady(f, r)
	case "step.leased":
		s.runLeased(f, r)
	case "step.waiting":
		s.runWaiting(f, r)
	case "signal.delivered":
		s.signalDelivered(f, r)
	case "timer.fired":
		s.timerFired(f, r)
	case "step.approved", "step.rejected":
		s.decided(f, r)
	case "step.copied":
		s.copied(f, r)
	case "step.skipped":
		s.runSkipped(f, r)
	case "step.completed":
		if r.byHand && s.byOperator(Resolve, f) {
			s.completedByHand(f, r)
			break
		}
		if r.step.waits() {
			s.awaited(f, r)
			break
		}
		if !about || c.Kind != Complete || !r.holds(c.Token) && !r.late(c.Token) {
			fault("S1", "step %s of %s is completed while it is %s under token %d, by %s", f.Step, f.Instance, r.state, r.token, c.say())
		}
		s.runCompleted(f, r)
	case "step.lapsed":
		s.runLapsed(f, r)
	case "step.released":
		s.runReleased(f, r)
	case "step.retried":
		if s.keptWaiting(f, r) {
			if r.last(f.Code) {
				fault("S1", "step %s of %s fails with %d of %d attempts used, and is retried", f.Step, f.Instance, r.used, r.step.Attempts)
			}
			s.runRetried(f, r)
			break
		}
		if !about || c.Kind != Fail || !r.holds(c.Token) || !c.Retryable || r.used+1 >= r.step.Attempts || slices.Contains(r.step.NonRetryable, c.Code) {
			fault("S1", "step %s of %s is retried by %s", f.Step, f.Instance, c.say())
		}
		s.runRetried(f, r)
	case "step.failing":
		s.failing(f, r)
		r.changed = s.Wall
	case "step.compensating":
		s.undoingBody(f, r)
		r.changed = s.Wall
	case "step.failed":
		if r.step.Body != nil && r.stage != stageRunning {
			s.bodyFailed(f, r)
			break
		}
		if r.step.Call != nil && r.stage != stageRunning {
			s.callStopped(f, r)
			break
		}
		s.runFailed(f, r)
	case "step.incident":
		s.runIncident(f, r)
	case "step.resumed":
		s.runResumed(f, r)
	case "step.cancelled":
		ended, _ := s.ends(r)
		if r.wanted() || over(r.state) || r.undoes != nil || r.stage == stageUndoing && r.busy() || r.calls() && ended != Failed {
			fault("S1", "step %s of %s is cancelled while it is %s and the instance %s", f.Step, f.Instance, r.state, r.of.state)
		}
		if r.state == Leased {
			s.saw(CancelLeased)
			if how := s.givenBack(r); how != "" {
				r.rememberEnd(r.token, how, 0)
			}
		}
		s.runStopped(r, Cancelled)
	case "instance.keyed":
		s.keyGiven(f, r)
	case "step.progressed":
		if !about || c.Kind != Progress || !r.holds(c.Token) {
			fault("S2", "step %s of %s progresses by %s while it is %s under token %d", f.Step, f.Instance, c.say(), r.state, r.token)
		}
		if r.step.Heartbeat > 0 {
			r.heartbeatDeadline = s.Uptime + r.step.Heartbeat
		}
	case "step.late":
		if !about || c.Kind != Complete || c.Answer.Code != "FENCED" || f.Token != c.Token {
			fault("S2", "a late result of step %s of %s is kept by %s", f.Step, f.Instance, c.say())
		}
		s.saw(LateKept)
		s.observedLate(f, c.Output)
		return
	default:
		fault("S7", "an event of unknown kind %s", f.Kind)
	}
	if f.Token != r.token || f.Attempt != r.attempt || f.Used != r.used {
		fault("S7", "%s of step %s of %s tells token %d, attempt %d, used %d; they are %d, %d, %d",
			f.Kind, f.Step, f.Instance, f.Token, f.Attempt, f.Used, r.token, r.attempt, r.used)
	}
}

func (s *State) runReady(f *Fact, r *run) {
	first := r.goes() && !r.step.waits() || r.undoes != nil && r.state == Pending && r.undoer() != nil
	again := r.state == Backoff && (r.retryAt <= s.horizon && s.cause.tick || s.byOperator(Update, f) && s.cause.command.Update.Now)
	if !first && !again {
		fault("S1", "step %s of %s becomes ready while it is %s", f.Step, f.Instance, r.state)
	}
	if first {
		r.begunByItself(f)
		s.begins(r)
	}
	if f.Fair != r.key() {
		fault("fairness", "step %s of %s is ready under key %q; its key is %q", f.Step, f.Instance, f.Fair, r.key())
	}
	switch {
	case first && r.undoes != nil:
		s.undoReady(r)
	case first:
		s.joins(r)
		r.totalDeadline = after(s.Uptime, r.step.Total)
	default:
		s.saw(Retried)
	}
	r.order, r.readyAt = s.Uptime-r.step.Priority*priorityWorth, f.Position
	s.enter(r, Ready)
}

func (s *State) runLeased(f *Fact, r *run) {
	x := s.session(f.Session)
	switch {
	case x == nil:
		fault("S2", "step %s of %s is leased to session %d, which is not alive", f.Step, f.Instance, f.Session)
	case !r.inLine() || !r.wanted():
		fault("S1", "step %s of %s is leased while it is %s and the instance %s", f.Step, f.Instance, r.state, r.of.state)
	case !s.asks(x, r, f.Token):
		fault("S2", "step %s of %s is leased to session %d, which does not ask", f.Step, f.Instance, f.Session)
	}
	if s.named(x, r) {
		s.saw(ByName)
	} else {
		s.first(r)
		s.inTurn(r)
	}
	s.newToken(f.Token)
	s.dropLapsed(r)
	s.enter(r, Leased)
	r.attempt++
	r.token, r.session, r.lapsed = f.Token, x.id, false
	r.runDeadline, r.heartbeatDeadline = after(s.Uptime, r.step.RunTimeout), after(s.Uptime, r.step.Heartbeat)
	s.grantLease(&lease{token: f.Token, session: x, run: r})
	s.takesSlots(r, f.Token)
	if len(r.step.Locks) > 0 {
		s.claim = &claim{f.Token, r, slices.Clone(r.step.Locks)}
	}
}

func after(now, d int64) int64 {
	if d <= 0 {
		return 0
	}
	return now + d
}

// asks: the session waits for such a run, or the command that is decided asks for one and is told of it. Credit is used up
// by it.
func (s *State) asks(x *session, r *run, token int64) bool {
	if c := s.cause.command; c != nil && c.Session == x.id {
		if c.Kind == Complete && c.HasNext && slices.Contains(tokensOf(c.Answer.Grants), token) {
			s.saw(ByNext)
			return true
		}
		if c.Kind == Lease && c.Instance == r.of.id && c.Step == r.name {
			return true
		}
	}
	var credit *wait
	for _, w := range s.waits {
		if w.session != x || w.run != r && (w.run != nil || w.want != nil || !slices.Contains(w.queues, r.step.Queue)) {
			continue
		}
		if !w.credit {
			return true
		}
		credit = w
	}
	if credit == nil {
		return s.aheadOfCredit(x, r)
	}
	s.saw(ByCredit)
	if credit.left--; credit.left == 0 {
		s.dropWait(credit)
	}
	return true
}

func (s *State) runCompleted(f *Fact, r *run) {
	late := r.state == Ready
	if f.Late != late {
		fault("S1", "the completion of step %s of %s tells late: %v", f.Step, f.Instance, f.Late)
	}
	if late {
		s.dropLapsed(r)
		s.Late++
		s.saw(LateDone)
		if r.undoes != nil {
			s.saw(UndoneLate)
		}
	} else {
		s.endRunLease(r)
	}
	s.enter(r, Completed)
	r.lapsed = late
	r.output, r.completedAt = s.cause.command.Output, f.Position
	if r.of.state == Cancelling {
		s.saw(DoneCancelled)
	}
	s.Completed++
}

func (s *State) runLapsed(f *Fact, r *run) {
	s.lapses(f, r)
	if !r.wanted() || r.used+1 >= r.step.Attempts {
		fault("S1", "step %s of %s lapses and may not be tried again", f.Step, f.Instance)
	}
	s.endRunLease(r)
	s.enter(r, Ready)
	r.used++
	r.lapsed = true
}

// lapses: a lease is taken from its holder for a reason that there is.
func (s *State) lapses(f *Fact, r *run) {
	l := s.leases[r.token]
	if r.state != Leased || l == nil {
		fault("S1", "step %s of %s lapses while it is %s", f.Step, f.Instance, r.state)
	}
	reason := false
	switch f.Code {
	case "SESSION_EXPIRED":
		reason = s.ending(l.session)
	case "TIMEOUT_RUN":
		s.saw(TimeoutRun)
		reason = s.cause.tick && due(r.runDeadline, s.horizon)
	case "TIMEOUT_HEARTBEAT":
		s.saw(TimeoutBeat)
		reason = s.cause.tick && due(r.heartbeatDeadline, s.horizon)
	}
	if !reason {
		fault("S6", "step %s of %s lapses before its time, as %s", f.Step, f.Instance, f.Code)
	}
}

// givenBack is how the lease of a run ends that is cancelled with its stopping instance, if it is given back: what is remembered of that
// is what would be otherwise. Who releases it himself, or fails, is remembered with what he is answered.
func (s *State) givenBack(r *run) (how string) {
	l, c := s.leases[r.token], s.cause.command
	switch {
	case l == nil:
	case s.cause.renewal:
		return "orphan"
	case c != nil && c.Kind == Close && s.ending(l.session):
		return "release"
	case c != nil && c.Kind == Revoke && c.Token == r.token:
		return "revoke"
	}
	return ""
}

func (s *State) runReleased(f *Fact, r *run) {
	l := s.leases[r.token]
	if r.state != Leased || l == nil {
		fault("S1", "step %s of %s is released while it is %s", f.Step, f.Instance, r.state)
	}
	c := s.cause.command
	held := c != nil && c.Token == r.token
	reason := false
	s.saw(map[string]Class{"release": Released, "orphan": Orphan, "revoke": Revoked}[f.Name])
	switch f.Name {
	case "release":
		reason = held && c.Kind == Release || s.ending(l.session)
	case "orphan":
		reason = l.omitted >= 2
	case "revoke":
		reason = held && c.Kind == Revoke
	}
	if !reason {
		fault("S6", "step %s of %s is taken from session %d, as %s, for no reason", f.Step, f.Instance, l.session.id, f.Name)
	}
	r.rememberEnd(r.token, f.Name, 0)
	s.endRunLease(r)
	s.enter(r, Ready)
	r.lapsed = false
}

func (s *State) runRetried(f *Fact, r *run) {
	most := r.step.Backoff
	for range r.used {
		most = min(2*most, r.step.MaxBackoff)
	}
	if most = min(most, r.step.MaxBackoff); f.Delay > most || f.Delay < most-most/5-1 {
		fault("S1", "step %s of %s backs off %d, of a policy of %d", f.Step, f.Instance, f.Delay, most)
	}
	if r.state == Leased {
		s.endRunLease(r)
	}
	s.dropLapsed(r)
	s.enter(r, Backoff)
	r.used++
	r.retryAt, r.lapsed = s.Uptime+f.Delay, false
}

// runFailed: a run fails, and with it the instance, unless a step needs that. A compensation does not.
func (s *State) runFailed(f *Fact, r *run) {
	if r.undoes != nil {
		fault("saga", "%s of %s fails, and does not stand still", f.Step, f.Instance)
	}
	s.fails(f, r)
	r.code = f.Code
	s.runStopped(r, Failed)
}

// fails: a run fails by its holder's word, by its last attempt, or because its time is up.
func (s *State) fails(f *Fact, r *run) {
	c := s.cause.command
	last := r.used+1 >= r.step.Attempts
	counts := true
	switch {
	case s.keptWaiting(f, r):
		if !r.last(f.Code) {
			fault("S1", "step %s of %s fails with %d of %d attempts used", f.Step, f.Instance, r.used, r.step.Attempts)
		}
	case c != nil && c.Kind == Fail && c.Instance == f.Instance && c.Step == f.Step && r.holds(c.Token):
		if c.Retryable && !last && !slices.Contains(r.step.NonRetryable, c.Code) {
			fault("S1", "step %s of %s fails with %d of %d attempts used", f.Step, f.Instance, r.used, r.step.Attempts)
		}
		if last {
			s.saw(UsedUp)
		} else {
			s.saw(NotRetryable)
		}
	case r.byHand && s.byOperator(Resolve, f) && f.Code == c.Code:
		counts = false
	case f.Code == "REJECTED" && r.rejected, s.failsWith(f, r), s.partiesDiffer(f, r):
		counts = false
	case f.Code == "TIMEOUT_QUEUE" || f.Code == "TIMEOUT_TOTAL":
		counts = r.state == Leased
		s.timedOut(f, r)
	default:
		if s.lapses(f, r); !last {
			fault("S1", "step %s of %s fails with %d of %d attempts used", f.Step, f.Instance, r.used, r.step.Attempts)
		}
		s.saw(UsedUp)
	}
	if counts {
		r.used++
	}
}

func (s *State) runStopped(r *run, to string) {
	if r.state == Leased {
		s.endRunLease(r)
	}
	s.dropLapsed(r)
	s.enter(r, to)
}
