package sim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/jepsen/model"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// What the product says, in the oracle's words.

func number(name string) int64 {
	n, err := strconv.ParseInt(name, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// amount is the number in a payload: it is one, or the n of an object.
func amount(p *v1.Payload) int64 {
	return number(strings.TrimSuffix(strings.TrimPrefix(string(p.GetBytes()), `{"n":`), "}"))
}

// runName is what the oracle calls a run: by its step, and behind the first by its index.
func runName(r interface {
	GetStep() string
	GetIndex() int32
}) string {
	if index := r.GetIndex(); index != 0 && r.GetStep() != "" {
		return r.GetStep() + "#" + strconv.Itoa(int(index))
	}
	return r.GetStep()
}

func sessionName(id int64) string { return strconv.FormatInt(id, 10) }

func codeOf(r *v1.Refusal) string {
	if r == nil {
		return ""
	}
	return strings.TrimPrefix(r.Code.String(), "CODE_")
}

// asked is what an entry asks for, before anybody has had it in hands.
func asked(e *entry, x *logv1.Entry) *model.Entry {
	m := &model.Entry{
		Index: e.index, Term: e.term, HeaderTerm: x.Header.Term, Elapsed: x.Header.Elapsed, Wall: x.Header.Wall, Due: x.Header.Due,
		Renewals: make([]model.Renewal, len(x.Renewals)), Commands: make([]model.Command, len(x.Commands)),
	}
	for i, r := range x.Renewals {
		m.Renewals[i] = model.Renewal{Session: r.Session, Tokens: slices.Clone(r.Tokens), Complete: r.TokensComplete}
	}
	for i, c := range x.Commands {
		m.Commands[i] = command(c)
	}
	return m
}

// answered adds what it came to.
func answered(m *model.Entry, result *fsm.Result, sums *answerSums, events []*v1.Event) *model.Entry {
	m.Facts, m.Settled = make([]model.Fact, len(events)), make([]model.Settled, len(result.Settled))
	for i, o := range result.Renewals {
		m.Renewals[i].Code, m.Renewals[i].Lost = codeOf(o.Refusal), o.Reply.GetLost()
	}
	for i, o := range result.Outcomes {
		m.Commands[i].Answer = answer(o.Reply, o.Refusal, sums.outcomes[i])
		m.Commands[i].Answer.Parked = o.Parked
	}
	for i, event := range events {
		m.Facts[i] = factOf(event)
	}
	for i, s := range result.Settled {
		m.Settled[i] = model.Settled{Call: s.WaitID, Answer: answer(s.Reply, s.Refusal, sums.settled[i]), More: s.More}
	}
	return m
}

func command(c *logv1.Command) model.Command {
	e := c.Envelope
	m := model.Command{Call: e.GetWaitId(), By: e.GetSession(), Request: e.GetRequestId(), Lowest: e.GetLowestUnanswered()}
	switch b := c.Body.(type) {
	case *logv1.Command_OpenSession:
		m.Kind, m.TTL = model.Open, b.OpenSession.Ttl
	case *logv1.Command_CloseSession:
		m.Kind, m.Session = model.Close, b.CloseSession.Session
	case *logv1.Command_OpenStream:
		m.Kind, m.Session = model.Stream, b.OpenStream.Session
	case *logv1.Command_PollSteps:
		p := b.PollSteps
		m.Kind, m.Session, m.Queues, m.Count, m.Wait, m.Credit = model.Poll, p.Session, p.Queues, p.Count, p.Wait, p.Credit
	case *logv1.Command_LeaseStep:
		p := b.LeaseStep
		m.Kind, m.Session, m.Instance, m.Step, m.Wait = model.Lease, p.Session, p.InstanceId, runName(p), p.Wait
	case *logv1.Command_CompleteStep:
		p := b.CompleteStep
		m.Kind, m.Session, m.Instance, m.Step, m.Token = model.Complete, number(p.SessionId), p.InstanceId, runName(p), p.Token
		m.Output = amount(p.OutputPayload)
		m.HasNext, m.Count, m.Queues = p.Next != nil, p.Next.GetCount(), p.Next.GetQueues()
	case *logv1.Command_FailStep:
		p := b.FailStep
		m.Kind, m.Instance, m.Step, m.Token, m.Code, m.Retryable = model.Fail, p.InstanceId, runName(p), p.Token, p.Code, p.Retryable
	case *logv1.Command_ReleaseStep:
		p := b.ReleaseStep
		m.Kind, m.Instance, m.Step, m.Token = model.Release, p.InstanceId, runName(p), p.Token
	case *logv1.Command_ReportProgress:
		p := b.ReportProgress
		m.Kind, m.Instance, m.Step, m.Token = model.Progress, p.InstanceId, runName(p), p.Token
	case *logv1.Command_AcquireLock:
		p := b.AcquireLock
		m.Kind, m.Session, m.Wait = model.Acquire, p.Session, p.Wait
		m.Want = model.Want{Lock: p.Lock, Shared: p.Shared, Limit: p.Limit, Take: p.Take}
	case *logv1.Command_ReleaseLock:
		m.Kind, m.Want.Lock, m.Token = model.ReleaseLock, b.ReleaseLock.Lock, b.ReleaseLock.Token
	case *logv1.Command_RevokeLease:
		m.Kind, m.Token = model.Revoke, b.RevokeLease.Token
	case *logv1.Command_StartInstance:
		m.Kind, m.Instance, m.Workflow = model.Start, b.StartInstance.InstanceId, b.StartInstance.Workflow
		m.Version = b.StartInstance.Version
		m.Input, m.Keys = amount(b.StartInstance.InputPayload), keysOf(b.StartInstance.Keys)
		if on := b.StartInstance.OnConflict; on != 0 {
			m.Conflict, m.StartID = strings.TrimPrefix(on.String(), "ON_CONFLICT_"), b.StartInstance.StartId
		}
	case *logv1.Command_CancelInstance:
		m.Kind, m.Instance = model.Cancel, b.CancelInstance.InstanceId
	case *logv1.Command_CompensateInstance:
		p := b.CompensateInstance
		m.Kind, m.Instance, m.From, m.Skip = model.Compensate, p.InstanceId, p.FromStep, p.Skip
	case *logv1.Command_SendSignal:
		p := b.SendSignal
		m.Kind, m.Instance, m.Name, m.Signal, m.TTL = model.Signal, p.InstanceId, p.Name, p.SignalId, p.Ttl.AsDuration().Nanoseconds()
		if p.Start != nil {
			m.Version = p.Start.Version
			m.Starts, m.Workflow, m.Input, m.Keys = true, p.Start.Workflow, amount(p.Start.InputPayload), keysWith(p)
			m.Instance = cmp.Or(p.Start.InstanceId, p.Key.GetName()+"/"+p.Key.GetValue())
		}
		m.Key, m.Broadcast = model.Key{Name: p.Key.GetName(), Value: p.Key.GetValue()}, p.Broadcast
	case *logv1.Command_ApproveStep:
		m.Kind, m.Instance, m.Step = model.Approve, b.ApproveStep.InstanceId, runName(b.ApproveStep)
	case *logv1.Command_RejectStep:
		m.Kind, m.Instance, m.Step = model.Reject, b.RejectStep.InstanceId, runName(b.RejectStep)
	case *logv1.Command_EndWait:
		m.Kind, m.Ended = model.EndWait, b.EndWait.WaitId
	case *logv1.Command_RegisterWorkflow:
		m.Kind, m.Workflow = model.Register, b.RegisterWorkflow.Workflow
	case *logv1.Command_DrainVersion:
		m.Kind, m.Workflow, m.Version = model.Drain, b.DrainVersion.Workflow, b.DrainVersion.Version
	case *logv1.Command_UndrainVersion:
		m.Kind, m.Workflow, m.Version = model.Undrain, b.UndrainVersion.Workflow, b.UndrainVersion.Version
	case *logv1.Command_UpdateNamespace:
		k := b.UpdateNamespace.Retention
		m.Kind, m.KeepFinished, m.KeepEvents, m.ExportFirst = model.Keep, int64(k.GetFinished().AsDuration()), int64(k.GetEvents().AsDuration()), k.GetExportFirst()
	case *logv1.Command_Retain:
		m.Kind = model.Retain
	case *logv1.Command_AckExport:
		m.Kind, m.Position = model.Ack, b.AckExport.Position
	case *logv1.Command_ForkInstance:
		p := b.ForkInstance
		m.Kind, m.Instance, m.From, m.Fork, m.Version, m.Keys = model.Fork, p.InstanceId, p.FromStep, p.NewInstanceId, p.Version, keysOf(p.Keys)
	case *logv1.Command_ResetInstance:
		p := b.ResetInstance
		m.Kind, m.Instance, m.From, m.Index, m.Compensate = model.Reset, p.InstanceId, p.FromStep, int(p.Index), p.Compensate
	default:
		bulkCommand(c, &m)
		operatorCommand(c, &m)
		scheduleCommand(c, &m)
	}
	return m
}

// operatorCommand is command of what somebody does in the place of what else moves an instance.
func operatorCommand(c *logv1.Command, m *model.Command) {
	switch b := c.Body.(type) {
	case *logv1.Command_PauseInstance:
		m.Kind, m.Instance = model.Halt, b.PauseInstance.InstanceId
	case *logv1.Command_ResolveIncident:
		m.Kind, m.Instance = model.ResolveWhole, b.ResolveIncident.InstanceId
	case *logv1.Command_ReopenIncident:
		m.Kind, m.Instance = model.Reopen, b.ReopenIncident.InstanceId
	case *logv1.Command_ResumeInstance:
		m.Kind, m.Instance = model.Unhalt, b.ResumeInstance.InstanceId
	case *logv1.Command_RetryStep:
		m.Kind, m.Instance, m.Step = model.Retry, b.RetryStep.InstanceId, runName(b.RetryStep)
	case *logv1.Command_SkipStep:
		m.Kind, m.Instance, m.Step = model.SkipRun, b.SkipStep.InstanceId, runName(b.SkipStep)
	case *logv1.Command_ResolveStep:
		p := b.ResolveStep
		m.Kind, m.Instance, m.Step, m.Code, m.Output = model.Resolve, p.InstanceId, runName(p), p.Code, amount(p.OutputPayload)
	case *logv1.Command_ReportObservation:
		p := b.ReportObservation
		m.Kind, m.Instance, m.Step, m.Code, m.Output, m.At = model.Report, p.InstanceId, runName(p), p.Code, amount(p.OutputPayload), unix(p.ObservedAt)
		m.Sighting = sighting(p)
		m.Observation, m.Observed, m.Execution = p.ObservationId, strings.TrimPrefix(p.State.String(), "OBSERVED_STATE_"), p.Execution
	case *logv1.Command_ApplyPlan:
		p := b.ApplyPlan.GetPlan()
		m.Kind, m.PlanID = model.Apply, p.GetPlanId()
		for _, a := range p.GetActions() {
			m.Actions = append(m.Actions, model.Action{
				Sighting: sighting(a), ID: a.ObservationId, Drift: driftName(a.Drift), Do: strings.TrimPrefix(a.Action.String(), "RECONCILE_ACTION_"),
				InstanceAt: a.InstancePosition, ObservedAt: a.ObservationPosition,
			})
		}
	case *logv1.Command_RegisterReporter:
		p := b.RegisterReporter
		m.Kind, m.Name, m.Reporter = model.Enlist, p.Reporter, model.Reporter{URL: p.Url, Every: int64(p.Every.AsDuration()), Silent: int64(p.OutOfContact.AsDuration())}
	case *logv1.Command_RemoveReporter:
		m.Kind, m.Name = model.Strike, b.RemoveReporter.Reporter
	case *logv1.Command_RecordAsk:
		p := b.RecordAsk
		m.Kind, m.Name, m.Position, m.Token = model.Asked, p.Reporter, p.Position, p.Token
		m.Ask = model.Ask{ID: p.AskId, Error: p.Error, Runs: int64(p.Runs), Observations: int64(p.Observations), Refused: int64(p.Refused)}
	case *logv1.Command_UpdateStep:
		p := b.UpdateStep
		m.Kind, m.Instance, m.Step = model.Update, p.InstanceId, runName(p)
		m.Update = model.Changes{
			Left: p.AttemptsLeft, Now: p.RetryNow, Total: int64(p.TotalTimeout.AsDuration()), Run: int64(p.RunTimeout.AsDuration()), Queue: int64(p.QueueTimeout.AsDuration()),
		}
	}
}

// scheduleCommand is command of what is about schedules.
func scheduleCommand(c *logv1.Command, m *model.Command) {
	switch b := c.Body.(type) {
	case *logv1.Command_CreateSchedule:
		p := b.CreateSchedule
		period, err := time.ParseDuration(strings.TrimPrefix(p.Cron, "@every "))
		if err != nil {
			panic(fmt.Sprintf("sim: %v", err))
		}
		m.Kind, m.Schedule = model.Schedule, p.Schedule
		m.Plan = model.Plan{
			Workflow: p.Workflow, Period: int64(period), Overlap: strings.TrimPrefix(p.Overlap.String(), "OVERLAP_"), Limit: p.QueueLimit,
			CatchUp: int64(p.CatchUp.AsDuration()), Input: amount(p.InputPayload),
		}
	case *logv1.Command_PauseSchedule:
		m.Kind, m.Schedule = model.Pause, b.PauseSchedule.Schedule
	case *logv1.Command_ResumeSchedule:
		m.Kind, m.Schedule, m.CatchUp = model.Resume, b.ResumeSchedule.Schedule, b.ResumeSchedule.CatchUp
	case *logv1.Command_DeleteSchedule:
		m.Kind, m.Schedule = model.Unschedule, b.DeleteSchedule.Schedule
	case *logv1.Command_TriggerSchedule:
		m.Kind, m.Schedule, m.At = model.Trigger, b.TriggerSchedule.Schedule, b.TriggerSchedule.At.AsTime().UnixNano()
	case *logv1.Command_FireSchedule:
		p := b.FireSchedule
		m.Kind, m.Schedule, m.Position, m.After, m.At, m.Missed = model.Fire, p.Schedule, p.Position, p.After, p.At, p.Missed
	}
}

func answer(reply proto.Message, refusal *v1.Refusal, sum uint64) model.Answer {
	m := model.Answer{Code: codeOf(refusal), Sum: sum}
	switch r := reply.(type) {
	case *v1.Session:
		m.Session = number(r.SessionId)
	case *v1.PollStepsResponse:
		m.Grants = grants(r.Runs...)
	case *v1.LeaseStepResponse:
		m.Grants = grants(r.Run)
	case *v1.CompleteStepResponse:
		m.Late, m.Grants = r.Late, grants(r.Next...)
		m.State = strings.TrimPrefix(r.InstanceState.String(), "INSTANCE_STATE_")
	case *v1.FailStepResponse:
		m.State = strings.TrimPrefix(r.State.String(), "RUN_STATE_")
	case *v1.AcquireLockResponse:
		m.Token = r.Token
	case *v1.StartInstanceResponse:
		m.Existing, m.Instance, m.Place = r.Existing, r.InstanceId, r.Place
		m.State = strings.TrimPrefix(r.State.String(), "INSTANCE_STATE_")
	case *v1.SendSignalResponse:
		m.Delivered, m.Duplicate, m.Instance, m.Reached = r.Delivered, r.Duplicate, r.InstanceId, int(r.Reached)
		m.Started = r.Started
	case *v1.CompensateInstanceResponse:
		m.State, m.Steps = strings.TrimPrefix(r.State.String(), "INSTANCE_STATE_"), r.Steps
	case *v1.ApproveStepResponse:
		m.Duplicate, m.State = r.Duplicate, strings.TrimPrefix(r.InstanceState.String(), "INSTANCE_STATE_")
	case *v1.RejectStepResponse:
		m.Duplicate, m.State = r.Duplicate, strings.TrimPrefix(r.InstanceState.String(), "INSTANCE_STATE_")
	case *v1.PauseInstanceResponse:
		m.Duplicate, m.State = r.Duplicate, strings.TrimPrefix(r.State.String(), "INSTANCE_STATE_")
	case *v1.ResumeInstanceResponse:
		m.Duplicate, m.State = r.Duplicate, strings.TrimPrefix(r.State.String(), "INSTANCE_STATE_")
	case *v1.ResolveIncidentResponse:
		m.Duplicate = r.Duplicate
	case *v1.ReopenIncidentResponse:
		m.Duplicate = r.Duplicate
	case *v1.RetryStepResponse:
		m.Duplicate, m.State = r.Duplicate, strings.TrimPrefix(r.InstanceState.String(), "INSTANCE_STATE_")
	case *v1.SkipStepResponse:
		m.Duplicate, m.State = r.Duplicate, strings.TrimPrefix(r.InstanceState.String(), "INSTANCE_STATE_")
	case *v1.ResolveStepResponse:
		m.Duplicate, m.State, m.Token = r.Duplicate, strings.TrimPrefix(r.InstanceState.String(), "INSTANCE_STATE_"), r.Token
	case *v1.UpdateStepResponse:
		m.State = strings.TrimPrefix(r.InstanceState.String(), "INSTANCE_STATE_")
	case *v1.BulkOperation:
		m.Existing = r.Existing
	case *logv1.BulkAdvanced:
		m.Bulk = r.BulkId
	case *v1.ReportObservationResponse:
		m.Drift, m.Instance, m.Duplicate, m.Superseded = driftName(r.Drift), r.InstanceId, r.Duplicate, r.Superseded
	case *v1.Reporter:
		m.Existing = r.Existing
	case *v1.RecordAskResponse:
		m.Duplicate = r.Duplicate
	case *v1.ApplyPlanResponse:
		m.Duplicate = r.Duplicate
		for _, a := range r.Applied {
			m.Done = append(m.Done, model.Done{Done: a.Done, Token: a.Token})
		}
	case *logv1.ScheduleFired:
		m.Taken = r.Taken
	case *v1.TriggerScheduleResponse:
		m.Existing, m.Why = r.Existing, r.Code
		m.Outcome = map[v1.FiringOutcome]string{
			v1.FiringOutcome_FIRING_OUTCOME_STARTED: "fired", v1.FiringOutcome_FIRING_OUTCOME_QUEUED: "queued", v1.FiringOutcome_FIRING_OUTCOME_SKIPPED: "skipped",
			v1.FiringOutcome_FIRING_OUTCOME_FAILED: "failed",
		}[r.Outcome]
	case *v1.ForkInstanceResponse:
		m.Existing, m.Copied, m.State = r.Existing, r.Copied, strings.TrimPrefix(r.State.String(), "INSTANCE_STATE_")
	case *v1.ResetInstanceResponse:
		m.Existing, m.Index, m.Back, m.Undone, m.State = r.Existing, int(r.Index), int(r.Steps), int(r.Undone), strings.TrimPrefix(r.State.String(), "INSTANCE_STATE_")
	case *v1.Workflow:
		m.Drained, m.Live = r.Drained, r.LiveInstances
	case *v1.CancelInstanceResponse:
		m.State = strings.TrimPrefix(r.State.String(), "INSTANCE_STATE_")
	}
	return m
}

// sighting names what was observed, as a report, a plan and a list do.
func sighting(r interface {
	GetInstanceId() string
	GetKey() *v1.Key
	GetStep() string
	GetIndex() int32
	GetReporter() string
}) model.Sighting {
	return model.Sighting{Instance: r.GetInstanceId(), Step: runName(r), Reporter: r.GetReporter(), Key: model.Key{Name: r.GetKey().GetName(), Value: r.GetKey().GetValue()}}
}

// driftName is what the oracle calls a class: nothing where there is no drift.
func driftName(c v1.DriftClass) string {
	if c == 0 {
		return ""
	}
	return strings.TrimPrefix(c.String(), "DRIFT_CLASS_")
}

// keysWith are those of what a signal by key starts.
func keysWith(r *v1.SendSignalRequest) []model.Key {
	keys := map[string]string{r.Key.GetName(): r.Key.GetValue()}
	maps.Copy(keys, r.Start.Keys)
	return keysOf(keys)
}

// keysOf are keys in the order of their names.
func keysOf(keys map[string]string) (out []model.Key) {
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		out = append(out, model.Key{Name: name, Value: keys[name]})
	}
	return out
}

func grants(runs ...*v1.LeasedRun) []model.Grant {
	if len(runs) == 0 {
		return nil
	}
	out := make([]model.Grant, len(runs))
	for i, r := range runs {
		out[i] = model.Grant{Instance: r.InstanceId, Step: runName(r), Token: r.Token, Session: number(r.SessionId), Attempt: r.Attempt}
	}
	return out
}

func factOf(e *v1.Event) model.Fact {
	d := e.Data
	_, place, _ := strings.Cut(e.CausationId, "/")
	otherStep := d.OtherStep
	if d.OtherIndex != 0 {
		otherStep += "#" + strconv.Itoa(int(d.OtherIndex))
	}
	return model.Fact{
		Kind: strings.TrimSuffix(strings.TrimPrefix(e.Type, "lockstep."), ".v1"), Position: e.Position, Ordinal: int(number(place)),
		Instance: d.InstanceId, Workflow: d.Workflow, Version: d.Version, Step: runName(d), Session: number(d.SessionId), Token: d.Token, Attempt: d.Attempt, Used: d.Used,
		Lock: d.Lock, Code: d.Code, Name: d.Name, Delay: d.Delay, Lag: d.Lag, Take: d.Take, Slot: d.Slot, Shared: d.Shared, Late: d.Late,
		Other: d.OtherInstance, OtherStep: otherStep,
		Due: unix(d.Due), Count: d.Count, Removed: d.Removed, Through: d.Through,
		Key: model.Key{Name: d.KeyName, Value: d.KeyValue}, Fair: d.FairnessKey, LimitKey: d.LimitKey, Limit: d.Limit, Per: d.Per,
		Instances: d.Instances, Forked: d.ForkedFrom, Index: int(d.Index), Bulk: d.Bulk, Changed: d.Changed, Refused: d.Refused,
		Reporter: d.Reporter, Observation: d.Observation, Observed: d.Observed, Drift: d.Drift, Plan: d.Plan,
	}
}

// unix is a time in nanoseconds; zero when there is none.
func unix(t *timestamppb.Timestamp) int64 { return t.GetSeconds()*1e9 + int64(t.GetNanos()) }
