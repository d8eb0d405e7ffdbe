package fsm

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Each limit, at it and one above.
func TestLimitsOfSchedules(t *testing.T) {
	r := newRig(t)
	r.register(nightly)
	base := &v1.CreateScheduleRequest{Schedule: "x", Cron: "@hourly", Workflow: "w"}
	try := func(change func(*v1.CreateScheduleRequest)) v1.Code {
		c := proto.Clone(base).(*v1.CreateScheduleRequest)
		change(c)
		_, refusal := r.do(createOf(c))
		return refusal.GetCode()
	}
	if got := try(func(*v1.CreateScheduleRequest) {}); got != v1.Code_CODE_UNAVAILABLE {
		t.Errorf("without a time of day: %v", got)
	}
	r.wall = newYear
	for what, c := range map[string]struct {
		change func(*v1.CreateScheduleRequest)
		want   v1.Code
	}{
		"a name of 200":     {func(c *v1.CreateScheduleRequest) { c.Schedule = strings.Repeat("n", 200) }, 0},
		"a name of 201":     {func(c *v1.CreateScheduleRequest) { c.Schedule = strings.Repeat("n", 201) }, v1.Code_CODE_INVALID},
		"no name":           {func(c *v1.CreateScheduleRequest) { c.Schedule = "" }, v1.Code_CODE_INVALID},
		"a queue of 100":    {func(c *v1.CreateScheduleRequest) { c.Schedule, c.QueueLimit = "q", 100 }, 0},
		"a queue of 101":    {func(c *v1.CreateScheduleRequest) { c.QueueLimit = 101 }, v1.Code_CODE_INVALID},
		"a queue of less":   {func(c *v1.CreateScheduleRequest) { c.QueueLimit = -1 }, v1.Code_CODE_INVALID},
		"no such workflow":  {func(c *v1.CreateScheduleRequest) { c.Workflow = "v" }, v1.Code_CODE_WORKFLOW_NOT_FOUND},
		"no such version":   {func(c *v1.CreateScheduleRequest) { c.Version = 2 }, v1.Code_CODE_WORKFLOW_NOT_FOUND},
		"a time in a list":  {func(c *v1.CreateScheduleRequest) { c.TimeKey, c.InputPayload = "t", &v1.Payload{Bytes: []byte("[]")} }, v1.Code_CODE_INVALID},
		"a time in nothing": {func(c *v1.CreateScheduleRequest) { c.Schedule, c.TimeKey = "t", "t" }, 0},
		"a time in an object": {func(c *v1.CreateScheduleRequest) {
			c.Schedule, c.TimeKey, c.InputPayload = "o", "t", &v1.Payload{Bytes: []byte(" { } ")}
		}, 0},
		"a time in what is no JSON": {func(c *v1.CreateScheduleRequest) {
			c.TimeKey, c.InputPayload = "t", &v1.Payload{ContentType: "text/plain"}
		}, v1.Code_CODE_INVALID},
	} {
		if got := try(c.change); got != c.want {
			t.Errorf("%s: %v, want %v", what, got, c.want)
		}
	}
	for n := len(r.m.namespaces[DefaultNamespace].schedules); n < maxSchedules; n++ {
		if got := try(func(c *v1.CreateScheduleRequest) { c.Schedule = fmt.Sprint("m", n) }); got != 0 {
			t.Fatalf("schedule %d: %v", n, got)
		}
	}
	if got := try(func(c *v1.CreateScheduleRequest) { c.Schedule = "one more" }); got != v1.Code_CODE_INVALID {
		t.Errorf("one more: %v", got)
	}
	list, err := r.m.ListSchedules(&v1.ListSchedulesRequest{Limit: 999})
	if err != nil || len(list.Schedules) != 999 || list.NextPage == "" {
		t.Fatalf("a page has %d, %v", len(list.Schedules), err)
	}
	if list, err = r.m.ListSchedules(&v1.ListSchedulesRequest{Page: list.NextPage}); err != nil || len(list.Schedules) != 1 || list.NextPage != "" {
		t.Fatalf("the last page has %v, %v", list, err)
	}
}

// A namespace goes with its schedules, also where the next flush has all of it at once.
func TestANamespaceTakesItsSchedulesAlong(t *testing.T) {
	r := newRig(t)
	r.wall = newYear
	in := func(c *logv1.Command) *v1.Refusal {
		c.Envelope = &logv1.Envelope{Namespace: "n"}
		_, refusal := r.do(c)
		return refusal
	}
	r.do(&logv1.Command{Body: &logv1.Command_CreateNamespace{CreateNamespace: &v1.CreateNamespaceRequest{Namespace: "n"}}})
	in(registration(nightly))
	if refusal := in(createOf(&v1.CreateScheduleRequest{Schedule: "s", Cron: "@hourly", Workflow: "w"})); refusal != nil {
		t.Fatal(refusal)
	}
	version, plans := r.m.Plans(0)
	if len(plans) != 1 || plans[0].Namespace != "n" || plans[0].After != newYear || plans[0].CatchUp != int64(time.Hour) {
		t.Fatalf("planned is %+v", plans)
	}
	if again, plans := r.m.Plans(version); again != version || plans != nil {
		t.Errorf("without a change: %d, %v", again, plans)
	}
	if refusal := in(&logv1.Command{Body: &logv1.Command_DeleteNamespace{DeleteNamespace: &v1.DeleteNamespaceRequest{}}}); refusal != nil {
		t.Fatal(refusal)
	}
	if _, plans := r.m.Plans(version); len(plans) != 0 {
		t.Errorf("planned is %+v", plans)
	}
	r.reopened()
	if _, plans := r.m.Plans(0); len(plans) != 0 {
		t.Errorf("opened again, planned is %+v", plans)
	}
}

// Times are written as everybody writes them.
func TestTimesAreWrittenInUTC(t *testing.T) {
	for at := int64(-200 * 365); at < 200*365; at += 13 {
		when := time.Unix(at*86400*7/5+at*37, 0).UTC()
		if got, want := utc(when.Unix()*second), when.Format("2006-01-02T15:04:05Z"); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	}
	for _, when := range []string{"2000-02-29T23:59:59Z", "1999-12-31T23:59:59Z", "2100-03-01T00:00:00Z", "1970-01-01T00:00:00Z", "2262-04-11T00:00:00Z"} {
		if at, err := time.Parse(time.RFC3339, when); err != nil || utc(at.UnixNano()) != when {
			t.Errorf("%s is written as %s, %v", when, utc(at.UnixNano()), err)
		}
	}
}

// Below its level a schedule is in no log.
func TestSchedulesHaveALevel(t *testing.T) {
	for _, c := range []*logv1.Command{
		createOf(&v1.CreateScheduleRequest{}), fireOf(1, 1, 1, 0),
		{Body: &logv1.Command_PauseSchedule{}}, {Body: &logv1.Command_ResumeSchedule{}}, {Body: &logv1.Command_DeleteSchedule{}}, {Body: &logv1.Command_TriggerSchedule{}},
	} {
		if got := LevelOf(c); got != scheduleLevel {
			t.Errorf("%T has level %d", c.Body, got)
		}
	}
}
