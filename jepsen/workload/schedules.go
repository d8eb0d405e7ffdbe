package workload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/jepsen/check"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// beat is what schedules start: it runs for longer than it is from one time of some of them to the next.
const beat = `
workflow: beat
steps:
  rest: {timer: {after: 1500ms}}
  end: {needs: [rest], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
`

// Beat is a schedule that each lane has one of: beat-NAME-LANE.
type Beat struct {
	Name    string
	Every   time.Duration
	Overlap v1.Overlap
	Limit   int32 // of its queue
	CatchUp time.Duration
}

// Beats are one of each overlap.
var Beats = []Beat{
	{"skip", time.Second, v1.Overlap_OVERLAP_SKIP, 0, 10 * time.Second},
	{"queue", 2 * time.Second, v1.Overlap_OVERLAP_QUEUE, 2, 10 * time.Second},
	{"replace", 2 * time.Second, v1.Overlap_OVERLAP_CANCEL_PREVIOUS, 0, 10 * time.Second},
	{"allow", 2 * time.Second, v1.Overlap_OVERLAP_ALLOW, 0, 20 * time.Second},
}

// beating is a schedule of a lane, as the lane knows it.
type beating struct {
	Beat
	name         string
	made, paused bool
	last         time.Time // the time that it was fired for by hand
}

// Schedules makes schedules and changes them, until the context ends: pauses and resumes them, with and without what fell into the pause,
// fires them by hand, some for a time that they were fired for before, or by two callers at once, and deletes some, which are made
// again by the same name.
func (r *Recorder) Schedules(ctx context.Context, c *client.Client, lane int, seed uint64) {
	chance := rand.New(rand.NewPCG(seed, uint64(11000+lane)))
	long := time.Now().Add(-time.Hour).Truncate(time.Second) // before any schedule was made: a time of its own is none of these
	var all []*beating
	for _, b := range Beats {
		all = append(all, &beating{Beat: b, name: fmt.Sprintf("beat-%s-%d", b.Name, lane)})
	}
	for n := 0; ctx.Err() == nil; n++ {
		b := all[n%len(all)]
		switch {
		case !b.made:
			b.made = r.plan(ctx, c, b) == nil
		case b.paused && chance.IntN(4) == 0:
			b.paused = !b.know(r.resume(ctx, c, b, chance.IntN(2) == 0))
		case chance.IntN(40) == 0:
			b.made = !b.know(r.onSchedule(ctx, check.Op{Kind: "unschedule", Schedule: b.name}, func(ctx context.Context) error { return c.DeleteSchedule(ctx, b.name, "chance") }))
		case !b.paused && chance.IntN(8) == 0:
			b.paused = b.know(r.onSchedule(ctx, check.Op{Kind: "pause", Schedule: b.name}, func(ctx context.Context) error { return c.PauseSchedule(ctx, b.name, "chance") }))
		case chance.IntN(2) == 0:
			r.byHand(ctx, c, b, long.Add(-time.Duration(n)*time.Second), chance)
		}
		pause(ctx, time.Duration(50+chance.IntN(200))*time.Millisecond)
	}
}

// know takes in what was answered, and says whether it was yes. A schedule that is not there is made again: nobody may have heard
// that it was deleted.
func (b *beating) know(err error) (yes bool) {
	if refusal, ok := client.AsRefusal(err); ok && refusal.Code == v1.Code_CODE_SCHEDULE_NOT_FOUND {
		b.made = false
	}
	return err == nil
}

func (r *Recorder) onSchedule(ctx context.Context, op check.Op, do func(context.Context) error) error {
	calling, cancel := call(ctx)
	defer cancel()
	return r.Do(op, func(*check.Op) error { return do(calling) })
}

func (r *Recorder) plan(ctx context.Context, c *client.Client, b *beating) error {
	b.paused = false
	return r.onSchedule(ctx, check.Op{Kind: "schedule", Schedule: b.name}, func(ctx context.Context) error {
		_, err := c.CreateSchedule(ctx, b.name, "@every "+b.Every.String(), "beat", client.ScheduleOptions{Overlap: b.Overlap, QueueLimit: b.Limit, CatchUp: b.CatchUp})
		return err
	})
}

func (r *Recorder) resume(ctx context.Context, c *client.Client, b *beating, catchUp bool) error {
	return r.onSchedule(ctx, check.Op{Kind: "resume", Schedule: b.name}, func(ctx context.Context) error { return c.ResumeSchedule(ctx, b.name, catchUp) })
}

// byHand fires a schedule for a time that it never had, for now, or for the last once more.
func (r *Recorder) byHand(ctx context.Context, c *client.Client, b *beating, never time.Time, chance *rand.Rand) {
	switch at := chance.IntN(3); {
	case at == 0 || b.last.IsZero():
		b.last = never
	case at == 1:
		b.last = time.Now().Truncate(time.Second)
	}
	errs := make([]error, 1+chance.IntN(2))
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { errs[i] = r.trigger(ctx, c, b.name, b.last) })
	}
	all.Wait()
	for _, err := range errs {
		b.know(err)
	}
}

func (r *Recorder) trigger(ctx context.Context, c *client.Client, name string, at time.Time) error {
	calling, cancel := call(ctx)
	defer cancel()
	return r.Do(check.Op{Kind: "trigger", Schedule: name, At: at.UnixNano()}, func(op *check.Op) error {
		reply, err := c.TriggerSchedule(calling, name, at)
		if err == nil && reply.Outcome == v1.FiringOutcome_FIRING_OUTCOME_STARTED {
			op.Instance = reply.InstanceId
		}
		return err
	})
}

// Settle has every schedule fire what it left out, now that nothing is broken any more, and pauses it when all that has come by the wall time that
// the log tells is decided.
func Settle(ctx context.Context, c *client.Client, wall func(context.Context) (time.Time, error)) error {
	list, err := c.Schedules.ListSchedules(ctx, connect.NewRequest(&v1.ListSchedulesRequest{Namespace: client.DefaultNamespace, Limit: 1000}))
	if err != nil {
		return fmt.Errorf("list schedules: %w", err)
	}
	var errs []error
	for _, s := range list.Msg.Schedules {
		if err := settle(ctx, c, s.Schedule, wall); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.Schedule, err))
		}
	}
	return errors.Join(errs...)
}

func settle(ctx context.Context, c *client.Client, name string, wall func(context.Context) (time.Time, error)) error {
	if err := c.ResumeSchedule(ctx, name, true); err != nil {
		return err
	}
	for {
		date, err := wall(ctx)
		if err != nil {
			return err
		}
		s, err := c.GetSchedule(ctx, name)
		switch {
		case err != nil:
			return err
		case len(s.Queued) == 0 && len(s.Next) > 0 && s.Next[0].AsTime().After(date):
			return c.PauseSchedule(ctx, name, "it is the end")
		case ctx.Err() != nil:
			return fmt.Errorf("%d times wait, and the next is %v: %w", len(s.Queued), s.Next, ctx.Err())
		}
		pause(ctx, 50*time.Millisecond)
	}
}
