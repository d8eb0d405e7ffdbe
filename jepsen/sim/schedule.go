package sim

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lockstep-dev/lockstep/cluster/propose"
	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/fsm/cron"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// timetable is a node's driver of the core that says which times of schedules have come, as package cluster has one.
type timetable struct {
	core    propose.Schedules
	machine *fsm.Machine
	version uint64
	looks   int  // that were planned
	asks    bool // it waits for an answer
}

const schedulesEvery = 250 * time.Millisecond

// plan has the node look at schedules, after so long, unless it looks before.
func (n *node) plan(after time.Duration) {
	t := &n.timetable
	t.looks++
	looks := t.looks
	n.w.by(n.process, n.sleep(after), func() {
		if t.looks == looks && !t.asks {
			n.look()
		}
	})
}

// look proposes what has come, when the node leads. It looks again when that is answered.
func (n *node) look() {
	if _, leads := n.core.Leading(); !leads {
		n.plan(schedulesEvery)
		return
	}
	t := &n.timetable
	t.know(n.machine)
	date := t.core.Date(n.mono(n.w.now), n.wallClock(), n.machine.Clock().Wall)
	due := t.core.Due(date)
	if len(due) == 0 {
		n.plan(max(time.Millisecond, t.core.Wait(date, schedulesEvery)))
		return
	}
	t.asks = true
	n.take(&group{request: &request{}, send: func(res *response) {
		t.asks = false
		version, _ := n.machine.Plans(t.version)
		if taken(res.outcomes) || version != t.version {
			n.plan(time.Millisecond)
			return
		}
		n.plan(schedulesEvery)
	}}, due)
	n.kick(0)
}

func taken(outcomes []fsm.Outcome) bool {
	for _, o := range outcomes {
		if o.Reply.(*logv1.ScheduleFired).Taken {
			return true
		}
	}
	return false
}

func (t *timetable) know(m *fsm.Machine) {
	if m != t.machine {
		t.machine, t.version = m, 0
	}
	version, plans := m.Plans(t.version)
	if version == t.version {
		return
	}
	t.version = version
	var known []propose.Plan
	for _, p := range plans {
		c, err := cron.Parse(p.Cron, p.Zone)
		if err != nil {
			panic(fmt.Sprintf("sim: %v", err))
		}
		known = append(known, propose.Plan{Namespace: p.Namespace, Schedule: p.Schedule, Position: p.Position, After: p.After, CatchUp: p.CatchUp, Next: c.Next})
	}
	t.core.Know(known)
}

// planner makes schedules, pauses and resumes them, has them fire by hand, and drops them. In the end it waits until all that has come is
// decided, and drops them all.
type planner struct {
	c     *client
	plans []*v1.CreateScheduleRequest
	asked int // calls that are not answered
	gone  bool
}

func (w *world) planner(d draws) *planner {
	p := &planner{c: w.client("planner", d)}
	for i := range 1 + d.IntN(3) {
		p.plans = append(p.plans, p.draw(fmt.Sprint("p", i)))
	}
	p.next()
	return p
}

// draw draws a schedule. Few allow overlaps, and those come rarely: what they start is work beside all other.
func (p *planner) draw(name string) *v1.CreateScheduleRequest {
	d := p.c.draws
	r := &v1.CreateScheduleRequest{
		Schedule: name, Workflow: pick(d, p.c.w.workflows).Name, Overlap: v1.Overlap(1 + d.IntN(4)), QueueLimit: int32(1 + d.IntN(3)),
		Cron: "@every " + pick(d, []string{"1s", "1s", "2s", "5s"}), CatchUp: durationpb.New(pick(d, []time.Duration{2 * time.Second, 5 * time.Second, 20 * time.Second})),
		InputPayload: &v1.Payload{Bytes: fmt.Appendf(nil, `{"n":%d}`, d.IntN(4))},
	}
	if r.Overlap == v1.Overlap_OVERLAP_ALLOW {
		r.Cron, r.CatchUp = "@every 3s", durationpb.New(10*time.Second)
	}
	return r
}

func (p *planner) next() {
	w, d := p.c.w, p.c.draws
	w.by(p.c.process, d.between(0, 800*time.Millisecond), func() {
		switch {
		case !w.stopping:
			p.asked++
			c := p.command(pick(d, p.plans))
			once := d.one(4) && c.GetCreateSchedule() == nil // which might come late
			p.c.call(&request{commands: one(c)}, options{kind: "plan", once: once}, func(*response) { p.asked-- })
			p.next()
		case p.asked > 0: // what was asked before may make again what the end drops
			p.next()
		default:
			p.end(0)
		}
	})
}

// command is mostly that the schedule be there, and run.
func (p *planner) command(r *v1.CreateScheduleRequest) *logv1.Command {
	d, c := p.c.draws, &logv1.Command{Envelope: &logv1.Envelope{}}
	switch n := d.IntN(20); {
	case n < 6:
		if d.one(10) {
			r = p.draw(r.Schedule) // refused, if it is there and says something else
		}
		c.Body = &logv1.Command_CreateSchedule{CreateSchedule: proto.Clone(r).(*v1.CreateScheduleRequest)}
	case n < 8:
		c.Body = &logv1.Command_PauseSchedule{PauseSchedule: &v1.PauseScheduleRequest{Schedule: r.Schedule}}
	case n < 13:
		c.Body = &logv1.Command_ResumeSchedule{ResumeSchedule: &v1.ResumeScheduleRequest{Schedule: r.Schedule, CatchUp: d.one(2)}}
	case n < 19:
		// About now by the log, or by some node's clock.
		now := p.c.w.history.wall
		if d.one(4) {
			now = pick(d, p.c.w.nodes).wallClock()
		}
		at := timestamppb.New(time.Unix(0, now).Truncate(time.Second).Add(time.Duration(d.IntN(10)-4) * time.Second))
		c.Body = &logv1.Command_TriggerSchedule{TriggerSchedule: &v1.TriggerScheduleRequest{Schedule: r.Schedule, At: at}}
	case d.one(2):
		c.Body = &logv1.Command_DeleteSchedule{DeleteSchedule: &v1.DeleteScheduleRequest{Schedule: r.Schedule}}
	default:
		c.Body = &logv1.Command_PauseSchedule{PauseSchedule: &v1.PauseScheduleRequest{Schedule: r.Schedule}}
	}
	return c
}

// end has each schedule resumed, waits until nothing of it is overdue, and drops it.
func (p *planner) end(at int) {
	if at == len(p.plans) {
		p.gone = true
		return
	}
	name := p.plans[at].Schedule
	resume := &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_ResumeSchedule{ResumeSchedule: &v1.ResumeScheduleRequest{Schedule: name, CatchUp: true}}}
	p.until(resume, func() { p.caughtUp(name, func() { p.end(at + 1) }) })
}

// until has a command answered.
func (p *planner) until(c *logv1.Command, then func()) {
	p.c.call(&request{commands: func() []*logv1.Command { return []*logv1.Command{proto.Clone(c).(*logv1.Command)} }}, options{kind: "plan"}, func(res *response) {
		if !res.ok() {
			p.c.w.by(p.c.process, 100*time.Millisecond, func() { p.until(c, then) })
			return
		}
		then()
	})
}

// caughtUp waits until the next time of a schedule is later than it is, and drops the schedule.
func (p *planner) caughtUp(name string, then func()) {
	r := &request{read: func(m *fsm.Machine) (proto.Message, error) {
		s, err := m.GetSchedule(&v1.GetScheduleRequest{Schedule: name})
		if err == nil { // the wall time of the state, in a field that the state machine leaves alone
			s.Next = []*timestamppb.Timestamp{timestamppb.New(time.Unix(0, m.Clock().Wall))}
		}
		return s, err
	}}
	p.c.call(r, options{kind: "read"}, func(res *response) {
		s, is := res.value.(*v1.Schedule)
		switch {
		case !res.ok():
		case !is || s == nil:
			then()
			return
		default:
			c, err := cron.Parse(s.Cron, s.Zone)
			if err != nil {
				panic(fmt.Sprintf("sim: %v", err))
			}
			if next, _ := c.Next(s.After.AsTime().UnixNano()); next > s.Next[0].AsTime().UnixNano() {
				p.until(&logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_DeleteSchedule{DeleteSchedule: &v1.DeleteScheduleRequest{Schedule: name}}}, then)
				return
			}
		}
		p.c.w.by(p.c.process, 100*time.Millisecond, func() { p.caughtUp(name, then) })
	})
}
