package api

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/fsm/cron"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Limits of schedules; the state machine has those of their number, and of names and queues.
const (
	maxScheduleInput = 16 << 10 // all of a namespace's are in memory
	maxTimeKey       = 64
	minCatchUp       = 10 * time.Second
	maxCatchUp       = 366 * 24 * time.Hour
	shownNext        = 3
)

// CreateSchedule checks a schedule, and makes it.
func (s *service) CreateSchedule(ctx context.Context, r *connect.Request[v1.CreateScheduleRequest]) (*connect.Response[v1.Schedule], error) {
	if err := checkSchedule(r.Msg); err != nil {
		return nil, asConnect(err)
	}
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.CreateScheduleRequest) (*v1.Schedule, error) {
		return s.schedule(ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_CreateSchedule{CreateSchedule: r}})
	})
}

// schedule has a command applied that is answered with the schedule.
func (s *service) schedule(ctx context.Context, c *logv1.Command) (*v1.Schedule, error) {
	out, err := propose[*v1.Schedule](s, ctx, c)
	if err == nil {
		showSchedule(out)
	}
	return out, err
}

func checkSchedule(r *v1.CreateScheduleRequest) error {
	if err := names("schedule", r.Schedule, "workflow", r.Workflow); err != nil {
		return err
	}
	if _, err := cron.Parse(r.Cron, r.Zone); err != nil {
		return invalid("%v", err)
	}
	if err := version(r.Version); err != nil {
		return err
	}
	if err := pairs("labels", r.Labels, maxLabels); err != nil {
		return err
	}
	if _, known := v1.Overlap_name[int32(r.Overlap)]; !known {
		return invalid("overlap %d is none", r.Overlap)
	}
	if err := catchUp(r.CatchUp); err != nil {
		return err
	}
	return checkScheduleInput(r)
}

func catchUp(d *durationpb.Duration) error {
	if d == nil {
		return nil
	}
	if is := d.AsDuration(); !d.IsValid() || is < minCatchUp || is > maxCatchUp {
		return invalid("catchUp is %s, and must be between %s and %s; an hour is taken when it is left out", is, minCatchUp, maxCatchUp)
	}
	return nil
}

func checkScheduleInput(r *v1.CreateScheduleRequest) error {
	if err := payloadOf("input", &r.Input, &r.InputPayload); err != nil {
		return err
	}
	if n := len(r.InputPayload.GetBytes()); n > maxScheduleInput {
		return fsm.Refuse(v1.Code_CODE_PAYLOAD_TOO_LARGE, "the input of a schedule has %d bytes, the limit is %d; keep it elsewhere and send where", n, maxScheduleInput)
	}
	if r.TimeKey == "" {
		return nil
	}
	if len(r.TimeKey) > maxTimeKey || strings.ContainsFunc(r.TimeKey, func(c rune) bool { return !wordRune(c) }) {
		return invalid("timeKey %q is not up to %d letters, digits and underscores", r.TimeKey, maxTimeKey)
	}
	if b := r.InputPayload.GetBytes(); len(b) > 0 && isJSON(r.InputPayload) {
		object := map[string]json.RawMessage{}
		if err := json.Unmarshal(b, &object); err != nil || object == nil {
			return invalid("with a timeKey the input is a JSON object, or is left out")
		}
		if _, has := object[r.TimeKey]; has {
			return invalid("the input has a field %q, which is the timeKey", r.TimeKey)
		}
	}
	return nil
}

func wordRune(c rune) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// PauseSchedule has a schedule start nothing by itself.
func (s *service) PauseSchedule(ctx context.Context, r *connect.Request[v1.PauseScheduleRequest]) (*connect.Response[v1.Schedule], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.PauseScheduleRequest) (*v1.Schedule, error) {
		if err := ofSchedule(r.Schedule, r.Reason); err != nil {
			return nil, err
		}
		return s.schedule(ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_PauseSchedule{PauseSchedule: r}})
	})
}

// ResumeSchedule ends a pause.
func (s *service) ResumeSchedule(ctx context.Context, r *connect.Request[v1.ResumeScheduleRequest]) (*connect.Response[v1.Schedule], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.ResumeScheduleRequest) (*v1.Schedule, error) {
		if err := ofSchedule(r.Schedule, r.Reason); err != nil {
			return nil, err
		}
		return s.schedule(ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_ResumeSchedule{ResumeSchedule: r}})
	})
}

// DeleteSchedule drops a schedule.
func (s *service) DeleteSchedule(ctx context.Context, r *connect.Request[v1.DeleteScheduleRequest]) (*connect.Response[v1.DeleteScheduleResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.DeleteScheduleRequest) (*v1.DeleteScheduleResponse, error) {
		if err := ofSchedule(r.Schedule, r.Reason); err != nil {
			return nil, err
		}
		return propose[*v1.DeleteScheduleResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_DeleteSchedule{DeleteSchedule: r}})
	})
}

// TriggerSchedule has a schedule fire by hand.
func (s *service) TriggerSchedule(ctx context.Context, r *connect.Request[v1.TriggerScheduleRequest]) (*connect.Response[v1.TriggerScheduleResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.TriggerScheduleRequest) (*v1.TriggerScheduleResponse, error) {
		if err := ofSchedule(r.Schedule, r.Reason); err != nil {
			return nil, err
		}
		if r.At == nil {
			r.At = timestamppb.New(time.Now().Truncate(time.Second))
		}
		if !r.At.IsValid() || r.At.Nanos != 0 {
			return nil, invalid("at is not of whole seconds")
		}
		return propose[*v1.TriggerScheduleResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_TriggerSchedule{TriggerSchedule: r}})
	})
}

func ofSchedule(schedule, reason string) error {
	if err := name("schedule", schedule); err != nil {
		return err
	}
	return text("reason", reason)
}

// GetSchedule returns a schedule.
func (s *service) GetSchedule(ctx context.Context, r *connect.Request[v1.GetScheduleRequest]) (*connect.Response[v1.Schedule], error) {
	return read(s, ctx, r, func(r *v1.GetScheduleRequest) error { return name("schedule", r.Schedule) }, (*fsm.Machine).GetSchedule, showSchedule)
}

// ListSchedules lists schedules.
func (s *service) ListSchedules(ctx context.Context, r *connect.Request[v1.ListSchedulesRequest]) (*connect.Response[v1.ListSchedulesResponse], error) {
	return read(s, ctx, r, func(r *v1.ListSchedulesRequest) error { return page(r.Limit, r.Page) }, (*fsm.Machine).ListSchedules,
		func(l *v1.ListSchedulesResponse) {
			for _, one := range l.Schedules {
				showSchedule(one)
			}
		})
}

// showSchedule adds what the state machine does not know: when the schedule fires next.
func showSchedule(s *v1.Schedule) {
	valueOf(&s.Input, &s.InputPayload)
	c, err := cron.Parse(s.Cron, s.Zone)
	if err != nil || s.Paused {
		return
	}
	after := s.After.AsTime().UnixNano()
	for range shownNext {
		at, ok := c.Next(after)
		if !ok {
			return
		}
		s.Next, after = append(s.Next, timestamppb.New(time.Unix(0, at))), at
	}
}
