package cluster

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/fsm/graph/source"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// planned makes the schedule s, which comes each second and starts what ends by itself.
func (c *bubble) planned(change func(*v1.CreateScheduleRequest)) {
	c.t.Helper()
	d, err := source.Parse([]byte("workflow: w\nsteps:\n  a: {timer: {after: 10ms}}\n"), "yaml")
	if err != nil {
		c.t.Fatal(err)
	}
	c.put(&logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_RegisterWorkflow{RegisterWorkflow: &logv1.RegisterWorkflow{Workflow: d.Name, Digest: d.Digest, Graph: d.Canonical}}})
	r := &v1.CreateScheduleRequest{Schedule: "s", Cron: "@every 1s", Workflow: "w", Overlap: v1.Overlap_OVERLAP_ALLOW}
	if change != nil {
		change(r)
	}
	c.put(&logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_CreateSchedule{CreateSchedule: r}})
}

func pauseOf(schedule string) *logv1.Command {
	return &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_PauseSchedule{PauseSchedule: &v1.PauseScheduleRequest{Schedule: schedule}}}
}

// fired are the events of schedules, in order.
func (c *bubble) fired() (out []*v1.Event) {
	c.t.Helper()
	_, n := c.leader()
	_, err := n.Read(c.soon(time.Minute), "", 0, func(m *fsm.Machine) error {
		for after := int64(0); ; {
			events, err := m.Events("", after, 1000)
			if err != nil || len(events) == 0 {
				return err
			}
			for _, e := range events {
				after = e.Position
				if strings.HasPrefix(e.Type, "lockstep.schedule.") && e.Type != "lockstep.schedule.created.v1" {
					out = append(out, e)
				}
			}
		}
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

// eachOnce checks that second after second was started or missed, none twice and none left out, and returns how many, and how late the
// latest was that was started.
func eachOnce(t *testing.T, events []*v1.Event) (started, missed int, latest time.Duration) {
	t.Helper()
	last := int64(0)
	for _, e := range events {
		due, count := e.Data.Due.AsTime().Unix(), int64(max(1, e.Data.Count))
		if last != 0 && due != last+count {
			t.Fatalf("%s of %d, count %d, comes behind %d", e.Type, due, count, last)
		}
		last = due
		switch e.Type {
		case "lockstep.schedule.fired.v1":
			started++
			latest = max(latest, time.Duration(e.Data.Lag))
		case "lockstep.schedule.missed.v1":
			missed += int(count)
		default:
			t.Fatalf("a time is %s", e.Type)
		}
	}
	return started, missed, latest
}

// Leaders are lost a little before, at, and a little behind times of a schedule: each time is started once.
func TestATimeIsStartedOnceThoughLeadersAreLost(t *testing.T) {
	inBubble(t, options{voters: 3}, func(t *testing.T, c *bubble) {
		c.planned(nil)
		const rounds = 60
		began := time.Now()
		for round := range rounds {
			// The next whole second, less 40 ms at first, and then later each time.
			next := time.Now().Truncate(time.Second).Add(time.Second)
			time.Sleep(time.Until(next.Add(time.Duration(round*2-40) * time.Millisecond)))
			i, _ := c.leader()
			c.cut(i)
			time.Sleep(time.Second + time.Duration(round)*17*time.Millisecond)
			c.heal(i)
		}
		time.Sleep(2 * time.Second)
		started, missed, latest := eachOnce(t, c.fired())
		if passed := int(time.Since(began) / time.Second); missed > 0 || started < passed-2 || started > passed+1 {
			t.Errorf("%d started and %d missed in %d s", started, missed, passed)
		}
		if latest > 2*time.Second {
			t.Errorf("the latest was %s late", latest)
		}
		c.put(pauseOf("s"))
		time.Sleep(time.Second) // what it has started ends
		c.agree()
	})
}

// With a leader that stays, a time is started within some milliseconds.
func TestATimeIsStartedInTime(t *testing.T) {
	inBubble(t, options{voters: 3}, func(t *testing.T, c *bubble) {
		c.planned(func(r *v1.CreateScheduleRequest) { r.Cron, r.Zone = "* * * * *", "America/New_York" })
		time.Sleep(3 * time.Minute)
		events := c.fired()
		if len(events) != 3 {
			t.Fatalf("%d times in three minutes", len(events))
		}
		for _, e := range events {
			if e.Type != "lockstep.schedule.fired.v1" || time.Duration(e.Data.Lag) > 50*time.Millisecond {
				t.Errorf("%s, %s late", e.Type, time.Duration(e.Data.Lag))
			}
		}
	})
}

// Without a schedule, and with one that is paused, a cluster proposes nothing.
func TestWithoutAScheduleNothingIsProposed(t *testing.T) {
	inBubble(t, options{voters: 3}, func(t *testing.T, c *bubble) {
		c.planned(nil)
		stands := func(what string) {
			time.Sleep(time.Second) // what it has started ends
			i, _ := c.leader()
			was := c.group(i).raft.LastIndex()
			time.Sleep(2 * time.Minute)
			if is := c.group(i).raft.LastIndex(); is != was {
				t.Errorf("with the schedule %s the log went from %d to %d", what, was, is)
			}
		}
		c.put(pauseOf("s"))
		stands("paused")
		c.put(&logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_DeleteSchedule{DeleteSchedule: &v1.DeleteScheduleRequest{Schedule: "s"}}})
		stands("deleted")
	})
}

// Clocks of leaders differ by up to a minute, and one leader does not trust its own. A clock that is ahead has times come early, and one
// that is behind comes to none for a while; each comes once all the same, or is told as missed.
func TestATimeComesOnceThoughClocksDiffer(t *testing.T) {
	var trusts atomic.Bool
	var ahead atomic.Int64 // of the clock of node 1
	trusts.Store(true)
	tweak := func(i int, config *Config) {
		config.Wall = func() int64 {
			switch now := time.Now(); {
			case i == 2 && !trusts.Load():
				return 0
			case i == 1:
				return now.Add(time.Duration(ahead.Load())).UnixNano()
			default:
				return now.UnixNano()
			}
		}
	}
	inBubble(t, options{voters: 3, tweak: tweak}, func(t *testing.T, c *bubble) {
		c.planned(func(r *v1.CreateScheduleRequest) { r.CatchUp = durationpb.New(10 * time.Second) })
		trusts.Store(false)
		led := map[int]bool{}
		for round := range 40 {
			ahead.Store(int64(round/10%2) * int64(time.Minute))
			i, _ := c.leader()
			led[i] = true
			time.Sleep(time.Duration(3+round%5) * time.Second)
			c.cut(i)
			c.put(create(fmt.Sprint("round", round)))
			c.heal(i)
		}
		time.Sleep(time.Minute)
		started, missed, _ := eachOnce(t, c.fired())
		if len(led) != 3 || started < 60 || missed == 0 {
			t.Errorf("%d started and %d missed under %v", started, missed, led)
		}
	})
}
