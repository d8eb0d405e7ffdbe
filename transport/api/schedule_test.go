package api

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func yearly(change func(*v1.CreateScheduleRequest)) *v1.CreateScheduleRequest {
	r := &v1.CreateScheduleRequest{Schedule: "s", Cron: "30 2 29 3 *", Zone: "Europe/Berlin", Workflow: "w"}
	if change != nil {
		change(r)
	}
	return r
}

// What can be done to a schedule, each once over the API.
func TestASchedule(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: "workflow: w\nsteps: {a: {queue: q}}\n"})
	create := yearly(func(r *v1.CreateScheduleRequest) {
		r.Input = structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"n": structpb.NewNumberValue(7)}})
		r.TimeKey, r.Labels, r.Overlap = "at", map[string]string{"k": "v"}, v1.Overlap_OVERLAP_QUEUE
	})
	made := must(t, client.CreateSchedule, create)
	if len(made.Next) != shownNext || made.CatchUp.AsDuration() != time.Hour || made.QueueLimit != 10 {
		t.Errorf("made: %v", made)
	}
	// On the day on which the clocks go ahead there is no half past two: that year is left out.
	for _, at := range made.Next {
		if local := at.AsTime().In(berlin(t)); local.Format("01-02 15:04") != "03-29 02:30" {
			t.Errorf("next at %s", local)
		}
	}
	if r := refusal(t, client.CreateSchedule, yearly(nil)); r.Code != v1.Code_CODE_SCHEDULE_EXISTS {
		t.Errorf("refused with %v", r)
	}
	at := timestamppb.New(time.Date(2026, 3, 28, 1, 30, 0, 0, time.UTC))
	for again := range 2 {
		got := must(t, client.TriggerSchedule, &v1.TriggerScheduleRequest{Schedule: "s", At: at})
		if got.InstanceId != "s@2026-03-28T01:30:00Z" || got.Outcome != v1.FiringOutcome_FIRING_OUTCOME_STARTED || got.Existing != (again > 0) {
			t.Errorf("triggered: %v", got)
		}
	}
	if now := must(t, client.TriggerSchedule, &v1.TriggerScheduleRequest{Schedule: "s"}); now.Outcome != v1.FiringOutcome_FIRING_OUTCOME_QUEUED {
		t.Errorf("triggered now: %v", now)
	}
	i := must(t, client.GetInstance, &v1.GetInstanceRequest{InstanceId: "s@2026-03-28T01:30:00Z"})
	if input := i.Input.GetStructValue().AsMap(); input["at"] != "2026-03-28T01:30:00Z" || input["n"] != 7.0 || i.Labels["k"] != "v" || i.Schedule != "s" || !i.Scheduled.AsTime().Equal(at.AsTime()) {
		t.Errorf("started: %v", i)
	}
	paused := must(t, client.PauseSchedule, &v1.PauseScheduleRequest{Schedule: "s", Reason: "r"})
	if !paused.Paused || len(paused.Next) != 0 {
		t.Errorf("paused: %v", paused)
	}
	if got := must(t, client.ResumeSchedule, &v1.ResumeScheduleRequest{Schedule: "s"}); got.Paused || len(got.Next) != shownNext {
		t.Errorf("resumed: %v", got)
	}
	got := must(t, client.GetSchedule, &v1.GetScheduleRequest{Schedule: "s"})
	if got.Running != i.InstanceId || len(got.Queued) != 1 || len(got.Recent) != 2 || got.Input.GetStructValue().AsMap()["n"] != 7.0 || got.Labels["k"] != "v" {
		t.Errorf("it is %v", got)
	}
	must(t, client.CreateSchedule, yearly(func(r *v1.CreateScheduleRequest) { r.Schedule = "t" }))
	first := must(t, client.ListSchedules, &v1.ListSchedulesRequest{Limit: 1})
	second := must(t, client.ListSchedules, &v1.ListSchedulesRequest{Limit: 1, Page: first.NextPage})
	if first.Schedules[0].Schedule != "s" || len(first.Schedules[0].Next) != shownNext || second.Schedules[0].Schedule != "t" || second.NextPage != "" {
		t.Errorf("pages: %v, %v", first, second)
	}
	if gone := must(t, client.DeleteSchedule, &v1.DeleteScheduleRequest{Schedule: "s"}); gone.Dropped != 1 {
		t.Errorf("deleted: %v", gone)
	}
	if r := refusal(t, client.GetSchedule, &v1.GetScheduleRequest{Schedule: "s"}); r.Code != v1.Code_CODE_SCHEDULE_NOT_FOUND {
		t.Errorf("refused with %v", r)
	}
}

func berlin(t *testing.T) *time.Location {
	place, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	return place
}

// A limit is refused above it, before the log has the command, and taken at it.
func TestWhatASchedulesLimitsAre(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: "workflow: w\nsteps: {a: {queue: q}}\n"})
	text := func(n int) *v1.Payload { return &v1.Payload{Bytes: []byte(`"` + strings.Repeat("x", n-2) + `"`)} }
	for what, c := range map[string]struct {
		change func(*v1.CreateScheduleRequest)
		code   v1.Code
		why    string
	}{
		"a bad cron":            {func(r *v1.CreateScheduleRequest) { r.Cron = "30 2 32 3 *" }, v1.Code_CODE_INVALID, "field 3 (day of month)"},
		"a bad zone":            {func(r *v1.CreateScheduleRequest) { r.Zone = "Nowhere" }, v1.Code_CODE_INVALID, `zone "Nowhere"`},
		"no name":               {func(r *v1.CreateScheduleRequest) { r.Schedule = "" }, v1.Code_CODE_INVALID, "schedule is missing"},
		"no workflow":           {func(r *v1.CreateScheduleRequest) { r.Workflow = "" }, v1.Code_CODE_INVALID, "workflow is missing"},
		"catches up less":       {func(r *v1.CreateScheduleRequest) { r.CatchUp = durationpb.New(minCatchUp - 1) }, v1.Code_CODE_INVALID, "catchUp"},
		"catches up least":      {func(r *v1.CreateScheduleRequest) { r.CatchUp = durationpb.New(minCatchUp) }, 0, ""},
		"catches up most":       {func(r *v1.CreateScheduleRequest) { r.CatchUp = durationpb.New(maxCatchUp) }, 0, ""},
		"catches up more":       {func(r *v1.CreateScheduleRequest) { r.CatchUp = durationpb.New(maxCatchUp + 1) }, v1.Code_CODE_INVALID, "catchUp"},
		"an unknown overlap":    {func(r *v1.CreateScheduleRequest) { r.Overlap = 77 }, v1.Code_CODE_INVALID, "overlap 77"},
		"an input at its limit": {func(r *v1.CreateScheduleRequest) { r.InputPayload = text(maxScheduleInput) }, 0, ""},
		"an input above":        {func(r *v1.CreateScheduleRequest) { r.InputPayload = text(maxScheduleInput + 1) }, v1.Code_CODE_PAYLOAD_TOO_LARGE, "the limit is 16384"},
		"a key at its limit":    {func(r *v1.CreateScheduleRequest) { r.TimeKey = strings.Repeat("k", maxTimeKey) }, 0, ""},
		"a key above":           {func(r *v1.CreateScheduleRequest) { r.TimeKey = strings.Repeat("k", maxTimeKey+1) }, v1.Code_CODE_INVALID, "timeKey"},
		"a key that is none":    {func(r *v1.CreateScheduleRequest) { r.TimeKey = `a"b` }, v1.Code_CODE_INVALID, "timeKey"},
		"a key that is taken": {func(r *v1.CreateScheduleRequest) {
			r.TimeKey, r.InputPayload = "k", &v1.Payload{Bytes: []byte(`{"k":1}`)}
		}, v1.Code_CODE_INVALID, "has a field"},
		"a key, and no object": {func(r *v1.CreateScheduleRequest) { r.TimeKey, r.InputPayload = "k", text(5) }, v1.Code_CODE_INVALID, "JSON object"},
		"a key, and null":      {func(r *v1.CreateScheduleRequest) { r.TimeKey, r.InputPayload = "k", &v1.Payload{Bytes: []byte("null")} }, v1.Code_CODE_INVALID, "JSON object"},
		"a key, and other bytes": {func(r *v1.CreateScheduleRequest) {
			r.TimeKey, r.InputPayload = "k", &v1.Payload{ContentType: "text/plain", Bytes: []byte("{")}
		}, v1.Code_CODE_INVALID, "JSON object"},
	} {
		r := yearly(func(r *v1.CreateScheduleRequest) { r.Schedule = what; c.change(r) })
		if c.code == 0 {
			must(t, client.CreateSchedule, r)
			continue
		}
		if got := refusal(t, client.CreateSchedule, r); got.Code != c.code || !strings.Contains(got.Reason, c.why) {
			t.Errorf("%s: refused with %v", what, got)
		}
	}
	half := timestamppb.New(time.Unix(100, 5e8))
	if r := refusal(t, client.TriggerSchedule, &v1.TriggerScheduleRequest{Schedule: "s", At: half}); r.Code != v1.Code_CODE_INVALID {
		t.Errorf("refused with %v", r)
	}
}
