package main

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lockstep-dev/lockstep/fsm/cron"
	"github.com/lockstep-dev/lockstep/jepsen/check"
	"github.com/lockstep-dev/lockstep/jepsen/workload"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A run in which no schedule fired, or none found its last instance running, shows nothing of it.
func TestARunWithoutSchedulesIsVoid(t *testing.T) {
	fired, skipped, missed := check.Event{Type: "schedule.fired"}, check.Event{Type: "schedule.skipped"}, check.Event{Type: "schedule.missed", Count: 3}
	for _, x := range []struct {
		events     []check.Event
		fired, ran string
	}{
		{[]check.Event{fired, skipped, missed}, pass, pass}, {[]check.Event{missed}, failed, failed}, {[]check.Event{fired}, pass, failed}, {[]check.Event{skipped}, failed, pass},
	} {
		r := newReport(&config{})
		r.scheduled(x.events)
		if r.Checks["a schedule fired"] != x.fired || r.Checks["a time came while an earlier one's instance ran"] != x.ran {
			t.Errorf("%v: %v", x.events, r.Checks)
		}
	}
}

// What the workloads ask for is what is judged: an expression whose times are so far apart, and an overlap by its name.
func TestTheJudgeKnowsTheSchedules(t *testing.T) {
	overlaps := map[string]bool{}
	for _, b := range workload.Beats {
		p := plans()["beat-"+b.Name]
		overlaps[p.Overlap] = true
		c, err := cron.Parse("@every "+b.Every.String(), "")
		if err != nil {
			t.Fatal(err)
		}
		made := time.Unix(100, 5e8).UnixNano()
		if at, ok := c.Next(made); !ok || at != time.Unix(100, 0).Add(p.Every).UnixNano() {
			t.Errorf("%s made at %d comes first at %d, and is judged to do so every %s", b.Name, made, at, p.Every)
		}
	}
	for _, want := range []string{"SKIP", "QUEUE", "CANCEL_PREVIOUS", "ALLOW"} {
		if !overlaps[want] {
			t.Errorf("no schedule is judged by %s: %v", want, overlaps)
		}
	}
}

// What a schedule's event tells is what the checker reads.
func TestAnEventOfASchedule(t *testing.T) {
	got := event(&v1.Event{Position: 7, Type: "lockstep.schedule.missed.v1", Data: &v1.EventData{Name: "beat-skip-1", Due: timestamppb.New(time.Unix(9, 0)), Count: 3}})
	if got.Type != "schedule.missed" || got.Name != "beat-skip-1" || got.Due != 9e9 || got.Count != 3 {
		t.Errorf("it is read as %+v", got)
	}
}
