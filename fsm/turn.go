package fsm

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// turn is one entry's passage through the machine.
type turn struct {
	m           *Machine
	index, term uint64
	result      Result

	// The command being decided; none in a tick.
	ordinal int
	cmd     *logv1.Command
	env     *logv1.Envelope
	ns      *namespace
	emitted bool
	last    *instance // the one that was looked up last, in ns: most that follows is about it

	// Queues that got a ready run or a wait, in order, to be matched when the command has decided.
	touched []*queue
	// What waits were granted since the last settling, in order.
	deliveries []*delivery

	// Runs of the instance at hand that have ended, and behind which it was not gone on yet.
	over      []at
	advancing bool // that is being gone on

	spent    int        // how much of what an entry may do later the thing at hand is
	looked   int        // runs among which waits were searched
	lookMost int        // how many of them the search at hand may look at
	work     graph.Work // what evaluations did
	reached  int        // runs that were begun, or skipped: see work.go
	before   int        // what the entry had done when its second share began
	data     data       // what evaluations have read

	bulk string // the bulk operation by which it happens

	events []byte // the canonical encoding of this entry's events

	// checkpoint: the entry makes one, with a slice of the state as it found it.
	checkpoint bool
	flushed    bool // what was before the entry is in the engine
	slice      []byte

	freed  []successor // of instances that have ended
	unheld []*instance // in which something has ended: see hold.go

	until, untilWall int64 // in a tick: what is due later is not due yet

	cause string                 // causation, once it was asked for
	time  *timestamppb.Timestamp // stamp, once it was asked for
}

// event is a fact. evolve is the only code that changes what the fact is about.
type event interface {
	kind() string // the event's type
	// fill tells the fact: its subject and data.
	fill(*v1.EventData) (subject string)
	evolve(*turn)
}

// emit makes a fact of e.
func (t *turn) emit(e event) {
	t.emitted = true
	e.evolve(t)
	t.append(e)
}

// run decides one command.
func (t *turn) run(cmd *logv1.Command) Outcome {
	t.cmd, t.env, t.emitted, t.cause, t.last = cmd, cmd.GetEnvelope(), false, "", nil
	if t.env == nil {
		t.env = &logv1.Envelope{}
	}
	if create := cmd.GetCreateNamespace(); create != nil {
		return t.outcome(t.createNamespace(create))
	}
	ns, refusal := t.m.namespace(t.env.Namespace)
	if refusal != nil {
		return Outcome{Refusal: refusal.Detail}
	}
	t.ns = ns
	known, refusal := t.recall()
	if refusal != nil {
		return Outcome{Refusal: refusal.Detail}
	}
	if known != nil {
		return *known
	}
	out := t.outcome(t.decide(cmd))
	t.settle()
	t.remember(out)
	return out
}

// settle goes on behind what was decided: with what has ended, and with what waits.
func (t *turn) settle() {
	t.goOn()
	for len(t.touched)+len(t.m.limits) > 0 {
		t.refillLimits()
		t.matchTouched()
	}
	t.settleDeliveries()
}

// goOn frees what was held by what has ended, and starts what starts behind that, until nothing more has ended by it.
func (t *turn) goOn() {
	for len(t.unheld)+len(t.freed) > 0 {
		t.freeHeld()
		t.followEnds()
	}
}

// decide is the dispatch table of commands. Each returns its reply; nil means that the command parked.
func (t *turn) decide(cmd *logv1.Command) (proto.Message, *Refusal) {
	switch body := cmd.Body.(type) {
	case *logv1.Command_UpdateNamespace:
		return t.updateNamespace(body.UpdateNamespace)
	case *logv1.Command_DeleteNamespace:
		return t.deleteNamespace(body.DeleteNamespace)
	case *logv1.Command_RegisterWorkflow:
		return t.registerWorkflow(body.RegisterWorkflow)
	case *logv1.Command_DrainVersion:
		return t.drainVersion(body.DrainVersion)
	case *logv1.Command_UndrainVersion:
		return t.undrainVersion(body.UndrainVersion)
	case *logv1.Command_StartInstance:
		return t.startInstance(body.StartInstance)
	case *logv1.Command_CancelInstance:
		return t.cancelInstance(body.CancelInstance)
	case *logv1.Command_ForkInstance:
		return t.forkInstance(body.ForkInstance)
	case *logv1.Command_ResetInstance:
		return t.resetInstance(body.ResetInstance)
	case *logv1.Command_CompensateInstance:
		return t.compensateInstance(body.CompensateInstance)
	case *logv1.Command_SendSignal:
		return t.sendSignal(body.SendSignal)
	case *logv1.Command_ApproveStep:
		return t.approveStep(body.ApproveStep)
	case *logv1.Command_RejectStep:
		return t.rejectStep(body.RejectStep)
	case *logv1.Command_OpenSession:
		return t.openSession(body.OpenSession)
	case *logv1.Command_CloseSession:
		return t.closeSession(body.CloseSession)
	case *logv1.Command_OpenStream:
		return t.openStream(body.OpenStream)
	case *logv1.Command_PollSteps:
		return t.pollSteps(body.PollSteps)
	case *logv1.Command_LeaseStep:
		return t.leaseStep(body.LeaseStep)
	case *logv1.Command_CompleteStep:
		return t.completeStep(body.CompleteStep)
	case *logv1.Command_FailStep:
		return t.failStep(body.FailStep)
	case *logv1.Command_ReleaseStep:
		return t.releaseStep(body.ReleaseStep)
	case *logv1.Command_ReportProgress:
		return t.reportProgress(body.ReportProgress)
	case *logv1.Command_AcquireLock:
		return t.acquireLock(body.AcquireLock)
	case *logv1.Command_ReleaseLock:
		return t.releaseLock(body.ReleaseLock)
	case *logv1.Command_RevokeLease:
		return t.revokeLease(body.RevokeLease)
	case *logv1.Command_EndWait:
		return t.endWait(body.EndWait)
	case *logv1.Command_RaiseLevel:
		return t.raiseLevel(body.RaiseLevel)
	}
	if reply, refusal, known := t.decideOperator(cmd); known {
		return reply, refusal
	}
	return t.decideSchedule(cmd)
}

// decideOperator is decide of what somebody does to an instance, or to its runs, in the place of what else moves them; or to
// many at once.
func (t *turn) decideOperator(cmd *logv1.Command) (reply proto.Message, refusal *Refusal, known bool) {
	known = true
	switch body := cmd.Body.(type) {
	case *logv1.Command_PauseInstance:
		reply, refusal = t.pauseInstance(body.PauseInstance)
	case *logv1.Command_ResumeInstance:
		reply, refusal = t.resumeInstance(body.ResumeInstance)
	case *logv1.Command_RetryStep:
		reply, refusal = t.retryStep(body.RetryStep)
	case *logv1.Command_SkipStep:
		reply, refusal = t.skipStep(body.SkipStep)
	case *logv1.Command_ResolveStep:
		reply, refusal = t.resolveStep(body.ResolveStep)
	case *logv1.Command_UpdateStep:
		reply, refusal = t.updateStep(body.UpdateStep)
	case *logv1.Command_StartBulk:
		reply, refusal = t.startBulk(body.StartBulk)
	case *logv1.Command_CancelBulk:
		reply, refusal = t.cancelBulk(body.CancelBulk)
	case *logv1.Command_AdvanceBulk:
		reply, refusal = t.advanceBulk(body.AdvanceBulk)
	case *logv1.Command_ResolveIncident:
		reply, refusal = t.resolveIncident(body.ResolveIncident)
	case *logv1.Command_ReopenIncident:
		reply, refusal = t.reopenIncident(body.ReopenIncident)
	case *logv1.Command_ReportObservation:
		reply, refusal = t.reportObservation(body.ReportObservation)
	case *logv1.Command_ApplyPlan:
		reply, refusal = t.applyPlan(body.ApplyPlan)
	case *logv1.Command_RegisterReporter:
		reply, refusal = t.registerReporter(body.RegisterReporter)
	case *logv1.Command_RemoveReporter:
		reply, refusal = t.removeReporter(body.RemoveReporter)
	case *logv1.Command_RecordAsk:
		reply, refusal = t.recordAsk(body.RecordAsk)
	default:
		known = false
	}
	return reply, refusal, known
}

// decideSchedule is decide of what is about schedules, and of retention.
func (t *turn) decideSchedule(cmd *logv1.Command) (proto.Message, *Refusal) {
	switch body := cmd.Body.(type) {
	case *logv1.Command_CreateSchedule:
		return t.createSchedule(body.CreateSchedule)
	case *logv1.Command_PauseSchedule:
		return t.pauseSchedule(body.PauseSchedule)
	case *logv1.Command_ResumeSchedule:
		return t.resumeSchedule(body.ResumeSchedule)
	case *logv1.Command_DeleteSchedule:
		return t.deleteSchedule(body.DeleteSchedule)
	case *logv1.Command_TriggerSchedule:
		return t.triggerSchedule(body.TriggerSchedule)
	case *logv1.Command_FireSchedule:
		return t.fireSchedule(body.FireSchedule)
	case *logv1.Command_Retain:
		return t.retain(body.Retain)
	case *logv1.Command_AckExport:
		return t.ackExport(body.AckExport)
	}
	panic(fmt.Sprintf("fsm: entry %d has a command of unknown type %T", t.index, cmd.Body))
}

// outcome shapes what a command decided. A command refuses before its first event, or the state would be half
// done; the exception is a refusal that an event tells, such as FENCED with the result kept as late.
func (t *turn) outcome(reply proto.Message, refusal *Refusal) Outcome {
	if refusal != nil {
		if t.emitted && !refusal.fact {
			panic(fmt.Sprintf("fsm: entry %d: %T refused after its first event: %v", t.index, t.cmd.Body, refusal))
		}
		return Outcome{Refusal: refusal.Detail}
	}
	if reply == nil {
		return Outcome{Parked: true}
	}
	return Outcome{Reply: reply}
}

// uptime is the state machine's time, in nanoseconds.
func (t *turn) uptime() int64 { return t.m.group.Uptime }

// wall is what people see, in unix nanoseconds.
func (t *turn) wall() int64 { return t.m.group.Wall }
