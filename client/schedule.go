package client

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// ScheduleOptions are what a schedule may say beside its times and its workflow.
type ScheduleOptions struct {
	// Zone of the cron expression, as Europe/Berlin; empty is UTC.
	Zone string
	// Version of the workflow; zero means the newest at each time.
	Version int32
	// Input of each instance.
	Input any
	// TimeKey is the field of the input under which each instance gets its time; empty is none.
	TimeKey string
	Labels  map[string]string
	// Overlap is what becomes of a time while the instance of an earlier one runs: it is skipped, unless this says otherwise.
	Overlap v1.Overlap
	// QueueLimit is how many times wait at most with OVERLAP_QUEUE; zero is 10.
	QueueLimit int32
	// CatchUp is how old a time may be that is still fired; zero is an hour.
	CatchUp time.Duration
}

// CreateSchedule has a workflow be started at each time of a cron expression, from now on. The same again finds the schedule that there
// is; a name taken by another is refused as SCHEDULE_EXISTS.
func (c *Client) CreateSchedule(ctx context.Context, name, cron, workflow string, o ScheduleOptions) (*v1.Schedule, error) {
	r := &v1.CreateScheduleRequest{
		Namespace: c.namespace, Schedule: name, Cron: cron, Zone: o.Zone, Workflow: workflow, Version: o.Version,
		TimeKey: o.TimeKey, Labels: o.Labels, Overlap: o.Overlap, QueueLimit: o.QueueLimit,
	}
	if o.Input != nil {
		var err error
		if r.InputPayload, err = encode(o.Input); err != nil {
			return nil, fmt.Errorf("input of schedule %s: %w", name, err)
		}
	}
	if o.CatchUp != 0 {
		r.CatchUp = durationpb.New(o.CatchUp)
	}
	s, err := ask(ctx, c.Schedules.CreateSchedule, r)
	if err != nil {
		return nil, fmt.Errorf("create schedule %s: %w", name, err)
	}
	return s, nil
}

// GetSchedule reads a schedule, with its next times and what became of the newest.
func (c *Client) GetSchedule(ctx context.Context, name string) (*v1.Schedule, error) {
	return ask(ctx, c.Schedules.GetSchedule, &v1.GetScheduleRequest{Namespace: c.namespace, Schedule: name})
}

// PauseSchedule has a schedule start nothing by itself. Pausing twice is answered like once.
func (c *Client) PauseSchedule(ctx context.Context, name, reason string) error {
	if _, err := ask(ctx, c.Schedules.PauseSchedule, &v1.PauseScheduleRequest{Namespace: c.namespace, Schedule: name, Reason: reason}); err != nil {
		return fmt.Errorf("pause schedule %s: %w", name, err)
	}
	return nil
}

// ResumeSchedule ends a pause. What fell into it is fired only if catchUp says so, and as far as it is not too old.
func (c *Client) ResumeSchedule(ctx context.Context, name string, catchUp bool) error {
	if _, err := ask(ctx, c.Schedules.ResumeSchedule, &v1.ResumeScheduleRequest{Namespace: c.namespace, Schedule: name, CatchUp: catchUp}); err != nil {
		return fmt.Errorf("resume schedule %s: %w", name, err)
	}
	return nil
}

// DeleteSchedule drops a schedule; what it has started goes on. One that is not there is refused as SCHEDULE_NOT_FOUND: also where an
// earlier try, of which nobody heard, has dropped it.
func (c *Client) DeleteSchedule(ctx context.Context, name, reason string) error {
	if _, err := ask(ctx, c.Schedules.DeleteSchedule, &v1.DeleteScheduleRequest{Namespace: c.namespace, Schedule: name, Reason: reason}); err != nil {
		return fmt.Errorf("delete schedule %s: %w", name, err)
	}
	return nil
}

// TriggerSchedule has a schedule fire by hand, for a time of whole seconds, past or present; the zero time is now. The same time again
// finds what it came to.
func (c *Client) TriggerSchedule(ctx context.Context, name string, at time.Time) (*v1.TriggerScheduleResponse, error) {
	if at.IsZero() {
		at = time.Now()
	}
	r := &v1.TriggerScheduleRequest{Namespace: c.namespace, Schedule: name, At: timestamppb.New(at.Truncate(time.Second))}
	reply, err := ask(ctx, c.Schedules.TriggerSchedule, r)
	if err != nil {
		return nil, fmt.Errorf("trigger schedule %s: %w", name, err)
	}
	return reply, nil
}
