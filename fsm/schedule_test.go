package fsm

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/durationpb"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

const nightly = "workflow: w\nsteps:\n  a: {queue: q}\n"

func createOf(r *v1.CreateScheduleRequest) *logv1.Command {
	return &logv1.Command{Body: &logv1.Command_CreateSchedule{CreateSchedule: r}}
}

// plans makes the schedule s of workflow w, at new year.
func (r *rig) plans(change func(*v1.CreateScheduleRequest)) {
	r.t.Helper()
	r.register(nightly)
	r.wall = newYear
	c := &v1.CreateScheduleRequest{Schedule: "s", Cron: "@every 10s", Workflow: "w", InputPayload: &v1.Payload{Bytes: []byte(`{"n":1}`)}}
	if change != nil {
		change(c)
	}
	if _, refusal := r.do(createOf(c)); refusal != nil {
		r.t.Fatal(refusal)
	}
}

// fire has the time come that is so many seconds behind new year, and says what happened.
func (r *rig) fire(seconds int64) []string {
	r.t.Helper()
	if at := newYear + seconds*second; r.wall < at {
		r.tick(at - r.wall)
	}
	return r.fireAgain(seconds, 0)
}

func (r *rig) fireAgain(seconds int64, missed int32) []string {
	r.t.Helper()
	rec := r.m.namespaces[DefaultNamespace].schedules["s"].rec
	return r.fireBehind(rec.Position, rec.AfterWall, newYear+seconds*second, missed)
}

func (r *rig) fireBehind(position, after, at int64, missed int32) []string {
	r.t.Helper()
	result := r.tell(fireOf(position, after, at, missed))
	taken := result.Outcomes[0].Reply.(*logv1.ScheduleFired).Taken
	if taken != (len(result.Kinds) > 0) {
		r.t.Fatalf("taken is %v, and %v happened", taken, result.Kinds)
	}
	return kinds(result)
}

func fireOf(position, after, at int64, missed int32) *logv1.Command {
	return &logv1.Command{Body: &logv1.Command_FireSchedule{FireSchedule: &logv1.FireSchedule{Schedule: "s", Position: position, After: after, At: at, Missed: missed}}}
}

func (r *rig) planned() *v1.Schedule {
	r.t.Helper()
	s, err := r.m.GetSchedule(&v1.GetScheduleRequest{Schedule: "s"})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *rig) happened(got []string, want string) {
	r.t.Helper()
	if strings.Join(got, ",") != want {
		r.t.Fatalf("happened: %v; want %v", got, want)
	}
}

// finish completes the one step of an instance.
func (r *rig) finish(id string) Result {
	r.t.Helper()
	session := r.session(60 * second)
	reply, refusal := r.do(&logv1.Command{Body: &logv1.Command_LeaseStep{LeaseStep: &logv1.LeaseStep{Session: session, InstanceId: id, Step: "a"}}})
	if refusal != nil {
		r.t.Fatal(refusal)
	}
	run := reply.(*v1.LeaseStepResponse).Run
	return r.tell(&logv1.Command{Body: &logv1.Command_CompleteStep{CompleteStep: &v1.CompleteStepRequest{InstanceId: id, Step: "a", Token: run.Token}}})
}

const started = "instance.started,schedule.fired,step.ready a"

// A time is taken once, in order, and when it has come: whoever says it again, before its time, or of another schedule of that name changes nothing.
func TestATimeIsTakenOnce(t *testing.T) {
	scenario(t, func(r *rig) {
		r.plans(func(c *v1.CreateScheduleRequest) {
			c.Overlap, c.TimeKey, c.Labels = v1.Overlap_OVERLAP_ALLOW, "at", map[string]string{"team": "ops"}
		})
		r.happened(r.fireAgain(10, 0), "") // it has not come
		r.midway()
		r.happened(r.fire(10), started)
		r.midway()
		r.tick(30 * second)
		position := r.m.namespaces[DefaultNamespace].schedules["s"].rec.Position
		r.happened(r.fireBehind(position, newYear, newYear+10*second, 0), "")           // again
		r.happened(r.fireBehind(position, newYear, newYear+20*second, 0), "")           // behind what the last one was before
		r.happened(r.fireBehind(position, newYear+20*second, newYear+30*second, 0), "") // and behind one that was not taken
		r.happened(r.fireAgain(10, 0), "")
		r.happened(r.fireAgain(5, 0), "")
		r.happened(r.fireBehind(position+1, newYear+10*second, newYear+20*second, 0), "")
		r.happened(r.fireBehind(position, newYear+10*second, newYear+20*second+1, 0), "")
		i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "s@2030-01-01T00:00:10Z"})
		if err != nil || string(i.InputPayload.Bytes) != `{"at":"2030-01-01T00:00:10Z","n":1}` || i.Schedule != "s" || i.Scheduled.AsTime().Unix() != newYear/second+10 || i.Labels["team"] != "ops" {
			r.t.Fatalf("started is %v, %v", i, err)
		}
		late := r.tell(fireOf(position, newYear+10*second, newYear+20*second, 0))
		if e := late.Events()[1]; e.Type != "lockstep.schedule.fired.v1" || e.Data.Lag != 20*second || fmt.Sprint(late.FiringLags) != fmt.Sprint([]int64{20 * second}) || e.Subject != "schedule/s" {
			r.t.Fatalf("late: %v, lags %v", e, late.FiringLags)
		}
		if s := r.planned(); s.Started != 2 || s.After.AsTime().Unix() != newYear/second+20 || len(s.Recent) != 2 || s.Running != "" {
			r.t.Fatalf("it is %v", s)
		}
	})
}

// While one runs the next is left out, and the schedule says so.
func TestOverlapSkip(t *testing.T) {
	scenario(t, func(r *rig) {
		r.plans(nil)
		r.happened(r.fire(10), started)
		r.midway()
		r.happened(r.fire(20), "schedule.skipped")
		s := r.planned()
		if last := s.Recent[1]; s.Running != "s@2030-01-01T00:00:10Z" || s.Skipped != 1 || last.Code != "OVERLAP" || last.Outcome != v1.FiringOutcome_FIRING_OUTCOME_SKIPPED {
			r.t.Fatalf("it is %v", s)
		}
		r.finish(s.Running)
		r.midway()
		r.happened(r.fire(30), started)
	})
}

// Times wait for what runs, in order and up to the limit; each is started when the one before it has ended, in the same entry.
func TestOverlapQueue(t *testing.T) {
	scenario(t, func(r *rig) {
		r.plans(func(c *v1.CreateScheduleRequest) { c.Overlap, c.QueueLimit = v1.Overlap_OVERLAP_QUEUE, 2 })
		r.fire(10)
		r.happened(r.fire(20), "schedule.queued")
		r.happened(r.fire(30), "schedule.queued")
		r.happened(r.fire(40), "schedule.skipped")
		if s := r.planned(); s.Recent[3].Code != "QUEUE_FULL" || len(s.Queued) != 2 {
			r.t.Fatalf("it is %v", s)
		}
		r.midway()
		r.happened(kinds(r.finish("s@2030-01-01T00:00:10Z")), "step.completed a,instance.completed,"+started)
		r.midway()
		r.do(&logv1.Command{Body: &logv1.Command_CancelInstance{CancelInstance: &v1.CancelInstanceRequest{InstanceId: "s@2030-01-01T00:00:20Z"}}})
		r.is("s@2030-01-01T00:00:30Z", "RUNNING a=READY")
		if s := r.planned(); s.Running != "s@2030-01-01T00:00:30Z" || len(s.Queued) != 0 || s.After.AsTime().Unix() != newYear/second+40 {
			r.t.Fatalf("it is %v", s)
		}
	})
}

// What waits is begun before the worker that ended what was before it is given more: it may be that.
func TestWhatWaitsIsNextForWhoEndedWhatWasBefore(t *testing.T) {
	scenario(t, func(r *rig) {
		r.plans(func(c *v1.CreateScheduleRequest) { c.Overlap = v1.Overlap_OVERLAP_QUEUE })
		r.fire(10)
		r.fire(20)
		session := r.session(60 * second)
		run := r.poll(session, "q", 1)[0]
		reply, refusal := r.do(&logv1.Command{Body: &logv1.Command_CompleteStep{CompleteStep: &v1.CompleteStepRequest{
			InstanceId: run.InstanceId, Step: "a", Token: run.Token, SessionId: run.SessionId, Next: &v1.Next{Count: 1},
		}}})
		if refusal != nil {
			r.t.Fatal(refusal)
		}
		if next := reply.(*v1.CompleteStepResponse).Next; len(next) != 1 || next[0].InstanceId != "s@2030-01-01T00:00:20Z" {
			r.t.Fatalf("next is %v", next)
		}
	})
}

// What runs is cancelled, and the newest time is started when it has ended: two of a schedule never run side by side.
func TestOverlapCancelPrevious(t *testing.T) {
	scenario(t, func(r *rig) {
		r.plans(func(c *v1.CreateScheduleRequest) { c.Overlap = v1.Overlap_OVERLAP_CANCEL_PREVIOUS })
		r.fire(10)
		r.happened(r.fire(20), "schedule.queued,instance.cancelling,step.cancelled a,instance.cancelled,"+started)
		run := r.poll(r.session(60*second), "q", 1)[0]
		r.happened(r.fire(30), "schedule.queued,instance.cancelling")
		r.midway()
		r.happened(r.fire(40), "schedule.skipped,schedule.queued")
		if s := r.planned(); s.Recent[len(s.Recent)-2].Code != "REPLACED" || len(s.Queued) != 1 {
			r.t.Fatalf("it is %v", s)
		}
		r.complete(run, "{}")
		r.is("s@2030-01-01T00:00:20Z", "CANCELLED a=COMPLETED")
		r.is("s@2030-01-01T00:00:40Z", "RUNNING a=READY")
	})
}

// What is too late to be caught up with is left out with an event that says how many; what is in time is started, in order.
func TestWhatWasMissedIsCaughtUpWithInOrder(t *testing.T) {
	scenario(t, func(r *rig) {
		r.plans(func(c *v1.CreateScheduleRequest) {
			c.Overlap, c.CatchUp = v1.Overlap_OVERLAP_ALLOW, durationpb.New(30e9)
		})
		r.tick(100 * second)
		r.happened(r.fireAgain(80, 7), "") // it may be caught up with: nothing before it may be left out by it
		r.happened(r.fireAgain(60, 5), "schedule.missed")
		r.midway()
		r.happened(r.fireAgain(70, 0), started)
		r.happened(r.fireAgain(80, 0), started)
		s := r.planned()
		if last := s.Recent[0]; s.Missed != 6 || last.Count != 6 || last.Outcome != v1.FiringOutcome_FIRING_OUTCOME_MISSED || last.At.AsTime().Unix() != newYear/second+60 {
			r.t.Fatalf("it is %v", s)
		}
	})
}

// A paused schedule takes nothing. What fell into the pause is over when it ends, unless it is to be caught up with.
func TestAPause(t *testing.T) {
	scenario(t, func(r *rig) {
		r.plans(func(c *v1.CreateScheduleRequest) { c.Overlap = v1.Overlap_OVERLAP_QUEUE })
		pause := &logv1.Command{Body: &logv1.Command_PauseSchedule{PauseSchedule: &v1.PauseScheduleRequest{Schedule: "s", Reason: "repairs"}}}
		resume := func(catchUp bool) *logv1.Command {
			return &logv1.Command{Body: &logv1.Command_ResumeSchedule{ResumeSchedule: &v1.ResumeScheduleRequest{Schedule: "s", CatchUp: catchUp}}}
		}
		r.fire(10)
		r.fire(20)
		r.happened(kinds(r.tell(pause)), "schedule.paused")
		r.happened(kinds(r.tell(pause)), "")
		if s := r.planned(); !s.Paused || s.Reason != "repairs" {
			r.t.Fatalf("it is %v", s)
		}
		r.midway()
		r.happened(r.fire(30), "")
		r.finish("s@2030-01-01T00:00:10Z") // what waits does not begin in a pause
		r.happened(kinds(r.tell(resume(false))), "schedule.resumed,"+started)
		r.happened(r.fire(30), "")
		r.tell(pause)
		r.tick(10 * second)
		r.happened(kinds(r.tell(resume(true))), "schedule.resumed")
		r.happened(kinds(r.tell(resume(true))), "")
		r.happened(r.fireAgain(40, 0), "schedule.queued")
	})
}

// What cannot be started is told, and the schedule goes on.
func TestAFiringThatFails(t *testing.T) {
	scenario(t, func(r *rig) {
		r.plans(nil)
		r.register("workflow: w\ninputSchema: {type: object, required: [m]}\nsteps:\n  a: {queue: q}\n")
		r.happened(r.fire(10), "schedule.failed")
		r.start("w", "s@2030-01-01T00:00:20Z", `{"m":1}`) // somebody takes the name
		r.happened(r.fire(20), "schedule.skipped")
		r.midway()
		s := r.planned()
		if s.Failed != 1 || s.Recent[0].Code != "INPUT_INVALID" || s.Recent[0].Reason == "" || s.Recent[1].Code != "INSTANCE_EXISTS" || s.Running != "" {
			r.t.Fatalf("it is %v", s)
		}
		r.register("workflow: w\nsteps:\n  a: {queue: r}\n")
		r.happened(r.fire(30), started)
	})
}

// By hand a time is decided like any; the same again finds what it came to, and the schedule's own times come as they would.
func TestATriggerByHand(t *testing.T) {
	scenario(t, func(r *rig) {
		r.plans(func(c *v1.CreateScheduleRequest) { c.Overlap = v1.Overlap_OVERLAP_QUEUE })
		r.tick(15 * second)
		trigger := func(seconds int64) *v1.TriggerScheduleResponse {
			reply, refusal := r.do(&logv1.Command{Body: &logv1.Command_TriggerSchedule{TriggerSchedule: &v1.TriggerScheduleRequest{Schedule: "s", At: stamp(newYear + seconds*second)}}})
			if refusal != nil {
				return &v1.TriggerScheduleResponse{Code: refusal.Code.String()}
			}
			return reply.(*v1.TriggerScheduleResponse)
		}
		if got := trigger(-3600); got.InstanceId != "s@2029-12-31T23:00:00Z" || got.Outcome != v1.FiringOutcome_FIRING_OUTCOME_STARTED || got.Existing {
			r.t.Fatalf("answered is %v", got)
		}
		if got := trigger(-3600); !got.Existing {
			r.t.Fatalf("again: %v", got)
		}
		if got := trigger(14); got.Outcome != v1.FiringOutcome_FIRING_OUTCOME_QUEUED || got.Existing {
			r.t.Fatalf("answered is %v", got)
		}
		if got := trigger(14); got.Outcome != v1.FiringOutcome_FIRING_OUTCOME_QUEUED || !got.Existing {
			r.t.Fatalf("again: %v", got)
		}
		if got := trigger(16 + 60); got.Code != "CODE_INVALID" {
			r.t.Fatalf("in the future: %v", got)
		}
		r.midway()
		r.happened(r.fireAgain(10, 0), "schedule.queued")
		r.tick(5 * second)
		if got := trigger(20); got.Outcome != v1.FiringOutcome_FIRING_OUTCOME_QUEUED || got.Existing {
			r.t.Fatalf("answered is %v", got)
		}
		if r.happened(r.fireAgain(20, 0), "schedule.skipped"); r.planned().Recent[4].Code != "QUEUED" || len(r.planned().Queued) != 3 {
			r.t.Fatalf("what waits by hand comes by itself: %v", r.planned())
		}
		if s := r.planned(); len(s.Queued) != 3 || s.After.AsTime().Unix() != newYear/second+20 {
			r.t.Fatalf("it is %v", s)
		}
	})
}

// The same schedule again is found; another under its name is refused until it is deleted, and what was deleted starts nothing.
func TestASchedulesNameIsTaken(t *testing.T) {
	scenario(t, func(r *rig) {
		r.plans(func(c *v1.CreateScheduleRequest) { c.Overlap = v1.Overlap_OVERLAP_QUEUE })
		same := &v1.CreateScheduleRequest{Schedule: "s", Cron: "@every 10s", Workflow: "w", InputPayload: &v1.Payload{Bytes: []byte(`{"n":1}`)}, Overlap: v1.Overlap_OVERLAP_QUEUE}
		r.happened(kinds(r.tell(createOf(same))), "")
		other := &v1.CreateScheduleRequest{Schedule: "s", Cron: "@every 11s", Workflow: "w"}
		if _, refusal := r.do(createOf(other)); refusal.GetCode() != v1.Code_CODE_SCHEDULE_EXISTS {
			r.t.Fatalf("refused with %v", refusal)
		}
		r.fire(10)
		r.fire(20)
		first := r.m.namespaces[DefaultNamespace].schedules["s"].rec.Position
		gone, _ := r.do(&logv1.Command{Body: &logv1.Command_DeleteSchedule{DeleteSchedule: &v1.DeleteScheduleRequest{Schedule: "s"}}})
		if gone.(*v1.DeleteScheduleResponse).Dropped != 1 {
			r.t.Fatalf("answered is %v", gone)
		}
		if _, refusal := r.do(&logv1.Command{Body: &logv1.Command_DeleteSchedule{DeleteSchedule: &v1.DeleteScheduleRequest{Schedule: "s"}}}); refusal.GetCode() != v1.Code_CODE_SCHEDULE_NOT_FOUND {
			r.t.Fatalf("refused with %v", refusal)
		}
		if _, refusal := r.do(createOf(other)); refusal != nil {
			r.t.Fatal(refusal)
		}
		r.midway()
		r.tick(30 * second)
		r.happened(r.fireBehind(first, newYear+20*second, newYear+30*second, 0), "")
		r.happened(kinds(r.finish("s@2030-01-01T00:00:10Z")), "step.completed a,instance.completed")
		if s := r.planned(); s.Started != 0 || s.Cron != "@every 11s" {
			r.t.Fatalf("it is %v", s)
		}
	})
}
