package fsm

import (
	"math"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// completeStep accepts the one completion of a run: that of its running lease, or of one that lapsed while
// nobody has been granted the run, or needed one of its locks' places, since. The token is compared here, in
// the entry that moves the workflow on.
func (t *turn) completeStep(c *v1.CompleteStepRequest) (proto.Message, *Refusal) {
	i, at, refusal := t.findHeld(c.InstanceId, c.Step, c.Index, c.Token)
	if refusal != nil {
		return nil, refusal
	}
	r := i.run(at)
	late := r.Lapsed && r.Token == c.Token && r.State == v1.RunState_RUN_STATE_READY
	if plant.Is(plant.SkipTokenCheck) && r.State == v1.RunState_RUN_STATE_LEASED {
		c.Token = r.Token
	}
	switch {
	case r.State == v1.RunState_RUN_STATE_COMPLETED && r.Token == c.Token:
		reply := &v1.CompleteStepResponse{InstanceState: i.rec.State, Late: r.Lapsed}
		if t.env.WaitId != 0 { // what a stream asks for next is for that stream, whoever told the completion first
			t.next(c, i.step(at).Queue, reply)
		}
		return reply, nil
	case !holds(r, c.Token) && !late:
		refusal := i.fenced(at, c.Token)
		t.keepLate(i, at, c)
		return nil, refusal.asFact()
	}
	keys, refusal := t.newKeys(i, at, c.OutputPayload)
	if refusal != nil {
		return nil, refusal
	}
	t.accept(&runCompleted{i: i, at: at, token: c.Token, output: c.OutputPayload, late: late}, c.Token, keys)
	reply := &v1.CompleteStepResponse{InstanceState: i.rec.State, Late: late}
	t.goOn() // what is begun now may be next
	t.matchTouched()
	t.next(c, i.step(at).Queue, reply)
	return reply, nil
}

// accept completes a run, gives its instance the keys that come with that, frees what was held under a token, and goes on behind it.
func (t *turn) accept(e *runCompleted, held int64, keys []graph.Key) {
	t.emit(e)
	for _, k := range keys {
		t.emit(&keyGiven{i: e.i, at: e.at, key: k})
	}
	t.freeLocks(e.i, e.at, held, false)
	t.moveOn(e.i, e.at)
	t.takeKeptUnder(e.i, keys)
}

// next grants more runs in the command that completed one. It ranks as a poll made now. What it is not granted at once
// parks as credit of the stream that the command came by, if it came by one.
func (t *turn) next(c *v1.CompleteStepRequest, queue string, reply *v1.CompleteStepResponse) {
	s := t.m.sessions[sessionID(c.SessionId)]
	if c.Next == nil || s == nil || s.ns != t.ns || t.env.WaitId != 0 && !t.byStream(s) {
		return
	}
	queues := c.Next.Queues
	if len(queues) == 0 {
		queues = []string{queue}
	}
	left := min(c.Next.Count, maxPoll)
	for ; left > 0; left-- {
		run := t.leaseNext(s, queues)
		if run == nil {
			break
		}
		reply.Next = append(reply.Next, run)
	}
	if left > 0 && t.env.WaitId != 0 {
		t.parkCredit(s, queues, left)
	}
}

// leaseNext leases the first run of queues whose claim is granted; nil when none is ready.
func (t *turn) leaseNext(s *session, queues []string) *v1.LeasedRun {
	for {
		var best *readyRun
		var of *queue
		for _, name := range queues {
			q := t.ns.queue(name)
			if first, ok := q.next(); ok && (best == nil || first.less(*best)) {
				best, of = &first, q
			}
		}
		if best == nil {
			return nil
		}
		i, refusal := t.instance(best.run.instance)
		must(refusalError(refusal))
		l := of.hold()
		leased := t.claim(i, best.run.at, s)
		if t.m.turnOver(of, l, leased, i.step(best.run.at).Weight); leased {
			return t.leasedRun(i, best.run.at)
		}
	}
}

// runCompleted is the one accepted completion of a run.
type runCompleted struct {
	i      *instance
	at     at
	token  int64
	output *v1.Payload
	late   bool
	by     *satisfied // of a wait by a key

	digest  []byte
	session int64 // which completed it
}

func (e *runCompleted) kind() string { return "lockstep.step.completed.v1" }
func (e *runCompleted) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.at)
	d.Late, d.PayloadDigest, d.PayloadSize = e.late, e.digest, int64(len(e.output.GetBytes()))
	d.SessionId = sessionName(e.session)
	if e.by != nil {
		d.Count, d.Instances = int32(min(e.by.count, math.MaxInt32)), e.by.ids[:min(len(e.by.ids), maxTold)]
	}
	return e.i.subject()
}
func (e *runCompleted) evolve(t *turn) {
	if !dependent(e.i.step(e.at).Kind) { // what another put out has no salt here
		e.digest = t.payloadDigest(e.output)
	}
	e.session = e.i.run(e.at).Session
	t.dropLapsed(e.i, e.at)
	t.m.dropLease(t.ns, e.token)
	t.m.change(e.i, e.at, func(r *run) {
		r.limitBy(0)
		r.State, r.Lapsed, r.Parked = v1.RunState_RUN_STATE_COMPLETED, e.late, ""
		r.Todo = 0
		r.Cancelling, r.Code, r.Reason, r.ChangedWall = false, "", "", t.wall()
		if e.i.graph.Sequential {
			r.CompletedAt = t.ns.rec.Position + 1
		}
	})
	t.m.setPayload(e.i, e.at, roleOutput, e.output)
	t.overRun(e.i, e.at)
}
