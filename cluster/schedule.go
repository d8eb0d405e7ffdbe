package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/lockstep-dev/lockstep/cluster/propose"
	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/fsm/cron"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// timetable is the driver of the core that says which times of schedules have come. It belongs to one goroutine.
type timetable struct {
	g       *group
	core    propose.Schedules
	machine *fsm.Machine // whose schedules the core knows; another one comes with a snapshot
	version uint64       // of what it knows of them; zero: nothing
	parsed  map[expression]*cron.Cron
}

type expression struct{ cron, zone string }

// schedulesEvery is how often a leader looks whether schedules were made or changed. Times that it knows it waits for.
const schedulesEvery = 250 * time.Millisecond

// parsedLimit bounds the expressions that are kept parsed.
const parsedLimit = 4096

// fireSchedules proposes times of schedules when they have come, while this node leads and until the group ends. Without a schedule it
// proposes nothing.
func (g *group) fireSchedules() {
	t := &timetable{g: g, parsed: map[expression]*cron.Cron{}}
	timer := time.NewTimer(schedulesEvery)
	defer timer.Stop()
	for {
		led := g.leader.next("")
		timer.Reset(t.look(g.life))
		select {
		case <-g.end:
			return
		case <-g.failed:
			return
		case <-led: // what came while nobody led waits for no more
		case <-timer.C:
		}
	}
}

// look proposes what has come, and says when to look again.
func (t *timetable) look(ctx context.Context) time.Duration {
	if !t.g.leads() {
		return schedulesEvery
	}
	var clock fsm.Clock
	_ = t.g.machine.view(func(m *fsm.Machine) error { clock = m.Clock(); t.know(m); return nil }) // the function returns none
	date := t.core.Date(t.g.proposer.now(), t.g.config.Wall(), clock.Wall)
	due := t.core.Due(date)
	if len(due) == 0 {
		return max(time.Millisecond, t.core.Wait(date, schedulesEvery))
	}
	outcomes, err := t.g.proposeAll(ctx, due)
	switch {
	case err != nil:
		if ctx.Err() == nil && t.g.leads() {
			t.g.logger.Warn("fire schedules", "error", err) // whatever became of it, the next look finds out
		}
		return schedulesEvery
	case taken(outcomes), t.changed():
		return time.Millisecond // there may be more, or others; or the state was behind
	}
	return schedulesEvery // by the entry's time they had not come yet
}

// changed says whether there is more of schedules than the core knows.
func (t *timetable) changed() (is bool) {
	_ = t.g.machine.view(func(m *fsm.Machine) error { // the function returns none
		version, _ := m.Plans(t.version)
		is = m != t.machine || version != t.version
		return nil
	})
	return is
}

func taken(outcomes []fsm.Outcome) bool {
	for _, o := range outcomes {
		if fired, is := o.Reply.(*logv1.ScheduleFired); is && fired.Taken {
			return true
		}
	}
	return false
}

// know tells the core of schedules that have changed. One whose expression this node cannot read does not fire here, and is told to
// whoever looks after the node: it was read when it was made, by a node that knew its zone.
func (t *timetable) know(m *fsm.Machine) {
	if m != t.machine {
		t.machine, t.version = m, 0
	}
	version, plans := m.Plans(t.version)
	if version == t.version {
		return
	}
	t.version = version
	known := make([]propose.Plan, 0, len(plans))
	for _, p := range plans {
		c, err := t.parse(expression{p.Cron, p.Zone})
		if err != nil {
			t.g.logger.Error("a schedule does not fire on this node", "namespace", p.Namespace, "schedule", p.Schedule, "error", err)
			continue
		}
		known = append(known, propose.Plan{
			Namespace: p.Namespace, Schedule: p.Schedule, Position: p.Position, After: p.After, CatchUp: p.CatchUp, Next: c.Next,
		})
	}
	t.core.Know(known)
}

func (t *timetable) parse(e expression) (*cron.Cron, error) {
	c, known := t.parsed[e]
	if !known {
		if len(t.parsed) >= parsedLimit {
			clear(t.parsed)
		}
		c, _ = cron.Parse(e.cron, e.zone)
		t.parsed[e] = c
	}
	if c == nil {
		return nil, errUnread
	}
	return c, nil
}

var errUnread = errors.New("its cron expression or its zone is unknown here; has this host other time zones than the others?")
