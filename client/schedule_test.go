package client_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
	"github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1/lockstepv1connect"
)

// fakeSchedules remembers what it was asked.
type fakeSchedules struct {
	lockstepv1connect.UnimplementedScheduleServiceHandler
	created   *v1.CreateScheduleRequest
	triggered *v1.TriggerScheduleRequest
	resumed   *v1.ResumeScheduleRequest
	paused    *v1.PauseScheduleRequest
}

func (f *fakeSchedules) CreateSchedule(_ context.Context, r *connect.Request[v1.CreateScheduleRequest]) (*connect.Response[v1.Schedule], error) {
	f.created = r.Msg
	return connect.NewResponse(&v1.Schedule{Schedule: r.Msg.Schedule, Cron: r.Msg.Cron, Zone: r.Msg.Zone}), nil
}

func (f *fakeSchedules) PauseSchedule(_ context.Context, r *connect.Request[v1.PauseScheduleRequest]) (*connect.Response[v1.Schedule], error) {
	f.paused = r.Msg
	return connect.NewResponse(&v1.Schedule{}), nil
}

func (f *fakeSchedules) ResumeSchedule(_ context.Context, r *connect.Request[v1.ResumeScheduleRequest]) (*connect.Response[v1.Schedule], error) {
	f.resumed = r.Msg
	return connect.NewResponse(&v1.Schedule{}), nil
}

func (f *fakeSchedules) TriggerSchedule(_ context.Context, r *connect.Request[v1.TriggerScheduleRequest]) (*connect.Response[v1.TriggerScheduleResponse], error) {
	f.triggered = r.Msg
	return connect.NewResponse(&v1.TriggerScheduleResponse{InstanceId: r.Msg.Schedule + "@"}), nil
}

func TestSchedules(t *testing.T) {
	f := &fakeSchedules{}
	server := httptest.NewUnstartedServer(nil)
	mux := http.NewServeMux()
	mux.Handle(lockstepv1connect.NewScheduleServiceHandler(f))
	server.Config.Handler = mux
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	defer server.Close()
	c, err := client.New(client.Config{Servers: []string{server.URL}, Namespace: "n"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := c.CreateSchedule(within(t), "nightly", "30 2 * * *", "report", client.ScheduleOptions{
		Zone: "Europe/Berlin", Input: map[string]int{"n": 1}, TimeKey: "at", Overlap: v1.Overlap_OVERLAP_QUEUE, QueueLimit: 3, CatchUp: time.Minute,
	})
	if r := f.created; err != nil || s.Schedule != "nightly" || r.Namespace != "n" || r.Cron != "30 2 * * *" || r.Zone != "Europe/Berlin" || string(r.InputPayload.Bytes) != `{"n":1}` ||
		r.TimeKey != "at" || r.QueueLimit != 3 || r.CatchUp.AsDuration() != time.Minute {
		t.Errorf("created as %v: %v, %v", r, s, err)
	}
	if _, err = c.CreateSchedule(within(t), "plain", "@daily", "report", client.ScheduleOptions{}); err != nil || f.created.InputPayload != nil || f.created.CatchUp != nil {
		t.Errorf("created as %v: %v", f.created, err)
	}
	if err := c.PauseSchedule(within(t), "nightly", "why"); err != nil || f.paused.Reason != "why" {
		t.Errorf("paused: %v, %v", f.paused, err)
	}
	if err := c.ResumeSchedule(within(t), "nightly", true); err != nil || !f.resumed.CatchUp {
		t.Errorf("resumed: %v, %v", f.resumed, err)
	}
	// Now is named by the client, so that a call that is made again is for the same time.
	if _, err := c.TriggerSchedule(within(t), "nightly", time.Time{}); err != nil || f.triggered.At.Nanos != 0 || time.Since(f.triggered.At.AsTime()) > time.Minute {
		t.Errorf("triggered: %v, %v", f.triggered, err)
	}
}
