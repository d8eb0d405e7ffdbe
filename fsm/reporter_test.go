package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func registerOf(name string, fn func(*v1.RegisterReporterRequest)) *logv1.Command {
	r := &v1.RegisterReporterRequest{Reporter: name, Url: "http://ledger:1/", OutOfContact: durationpb.New(10 * time.Second), Reason: "they book it"}
	if fn != nil {
		fn(r)
	}
	return byAnn(&logv1.Command{Body: &logv1.Command_RegisterReporter{RegisterReporter: r}})
}

func removeOf(name string) *logv1.Command {
	return byAnn(&logv1.Command{Body: &logv1.Command_RemoveReporter{RemoveReporter: &v1.RemoveReporterRequest{Reporter: name, Reason: "they are gone"}}})
}

// code is how a command is refused; empty when it is not.
func (r *rig) code(c *logv1.Command) v1.Code {
	r.t.Helper()
	return r.tell(c).Outcomes[0].Refusal.GetCode()
}

// A reporter is registered once, is found again as it is, and refused otherwise; it is removed by its name, with who did it and why in events.
func TestAReporterIsRegisteredOnce(t *testing.T) {
	scenario(t, func(r *rig) {
		r.advance(second)
		got := r.tell(registerOf("ledger", nil))
		r.did(got, "reporter.registered")
		first := got.Outcomes[0].Reply.(*v1.Reporter)
		if first.Every.AsDuration().Seconds() != 60 || first.Existing || first.Position == 0 || got.Events()[0].Author.GetPrincipal() != "ann" || got.Events()[0].Data.Reason != "they book it" {
			t.Fatalf("registered is %v", first)
		}
		r.midway()
		again := r.tell(registerOf("ledger", nil))
		r.did(again)
		if same := again.Outcomes[0].Reply.(*v1.Reporter); !same.Existing || same.Position != first.Position {
			t.Errorf("again it is %v", same)
		}
		if code := r.code(registerOf("ledger", func(r *v1.RegisterReporterRequest) { r.Url = "http://elsewhere/" })); code != v1.Code_CODE_REPORTER_EXISTS {
			t.Errorf("another of its name is answered %v", code)
		}
		for _, bad := range []func(*v1.RegisterReporterRequest){
			func(r *v1.RegisterReporterRequest) { r.Reporter = "" },
			func(r *v1.RegisterReporterRequest) { r.Reporter = lateReporter },
			func(r *v1.RegisterReporterRequest) { r.Url = "" },
			func(r *v1.RegisterReporterRequest) { r.Every = durationpb.New(1) },
			func(r *v1.RegisterReporterRequest) { r.OutOfContact = durationpb.New(31 * 24 * time.Hour) },
			func(r *v1.RegisterReporterRequest) {
				r.Steps = strings.Split(strings.Repeat("s,x", maxReporterOf), "s")
			},
		} {
			c := registerOf("bad", bad)
			if r := c.GetRegisterReporter(); len(r.Steps) > 0 {
				for n := range r.Steps {
					r.Steps[n] += fmt.Sprint(n)
				}
			}
			if code := r.code(c); code != v1.Code_CODE_INVALID {
				t.Errorf("%v is answered %v", c, code)
			}
		}
		if code := r.code(removeOf("mainframe")); code != v1.Code_CODE_REPORTER_NOT_FOUND {
			t.Errorf("what is not there is removed as %v", code)
		}
		r.did(r.tell(removeOf("ledger")), "reporter.removed")
		r.midway()
		if list, err := r.m.ListReporters(&v1.ListReportersRequest{}); err != nil || len(list.Reporters) != 0 || len(r.m.Swept()) != 0 {
			t.Errorf("there are %v, %v", list, err)
		}
		for n := range maxReporters {
			r.did(r.tell(registerOf(fmt.Sprint("r", n), nil)), "reporter.registered")
		}
		if code := r.code(registerOf("one more", nil)); code != v1.Code_CODE_REPORTER_LIMIT {
			t.Errorf("one more is answered %v", code)
		}
		if list, err := r.m.ListReporters(&v1.ListReportersRequest{}); err != nil || len(list.Reporters) != maxReporters || !slices.Equal(r.m.Swept(), []string{DefaultNamespace}) {
			t.Errorf("there are %v, %v", list, err)
		}
	})
}

// contact lists who is out of contact with the ledger: step and state.
func (r *rig) contact(want ...string) []*v1.OutOfContact {
	r.t.Helper()
	var got []string
	var runs []*v1.OutOfContact
	for page := ""; ; {
		list, err := r.m.ListOutOfContact(&v1.ListOutOfContactRequest{Reporter: "ledger", Limit: 1, Page: page})
		if err != nil {
			r.t.Fatal(err)
		}
		for _, run := range list.Runs {
			got = append(got, run.InstanceId+" "+run.Step+" "+runStateName(run.State))
			runs = append(runs, run)
		}
		if page = list.NextPage; page == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		r.t.Fatalf("out of contact are %q, want %q", got, want)
	}
	return runs
}

// A run is out of contact when nothing was heard of it for as long as the reporter says: neither from who does it, nor from the reporter itself.
// What waits for its needs is not, what has ended is not, nor what the reporter does not know.
func TestRunsAreOutOfContact(t *testing.T) {
	scenario(t, func(r *rig) {
		r.advance(second)
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {queue: q}\n  c: {queue: q, needs: [a, b]}\n  other: {queue: q}\n")
		r.tell(registerOf("ledger", func(r *v1.RegisterReporterRequest) { r.Steps = []string{"c", "b", "a"} }))
		r.start("w", "j", `{}`)
		r.start("w", "i", `{}`)
		r.contact()
		r.advance(9 * second)
		r.midway()
		r.contact()
		r.advance(second)
		for _, run := range r.contact("i a READY", "i b READY", "j a READY", "j b READY") {
			if run.Workflow != "w" || run.Since == nil || run.Token != 0 {
				t.Errorf("it is %v", run)
			}
		}
		r.report(r.sees("a", "e1", sawNothing, nil))
		r.contact("i b READY", "j a READY", "j b READY")
		r.advance(10 * second)
		r.midway()
		r.contact("i a READY", "i b READY", "j a READY", "j b READY")
		if _, err := r.m.ListOutOfContact(&v1.ListOutOfContactRequest{Reporter: "mainframe"}); err.(*Refusal).Detail.Code != v1.Code_CODE_REPORTER_NOT_FOUND {
			t.Errorf("of a reporter that is not there: %v", err)
		}
	})
}

// What is leased is out of contact like all else, unless it has a heartbeat, for then silence ends its lease; what has completed is not; what another
// reporter says does not count.
func TestWhatIsLeasedIsOutOfContact(t *testing.T) {
	scenario(t, func(r *rig) {
		r.advance(second)
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {queue: q, timeouts: {heartbeat: 1h}}\n  c: {queue: q}\n")
		r.tell(registerOf("ledger", func(r *v1.RegisterReporterRequest) { r.Workflows = []string{"w"} }))
		r.start("w", "i", `{}`)
		worker := r.session(3600 * second)
		runs := r.poll(worker, "q", 3)
		r.advance(9 * second)
		r.report(r.sees("a", "e1", sawRunning, func(r *v1.ReportObservationRequest) { r.Reporter = "mainframe" }))
		r.midway()
		for _, run := range r.contact("i a LEASED", "i c LEASED") {
			if run.Token == 0 || run.Attempt != 1 {
				t.Errorf("it is %v", run)
			}
		}
		if _, refusal := r.complete(runs[2], `{}`); refusal != nil {
			t.Fatal(refusal)
		}
		r.contact("i a LEASED")
	})
}

// sweeps has a session take the lock of the sweep.
func (r *rig) sweeps(session int64) int64 {
	r.t.Helper()
	got := r.tell(&logv1.Command{Body: &logv1.Command_AcquireLock{AcquireLock: &logv1.AcquireLock{Session: session, Lock: SweepLock}}})
	return got.Outcomes[0].Reply.(*v1.AcquireLockResponse).Token
}

// That a reporter was asked is recorded by who holds the lock, and by nobody who has lost it, or never had it; the same ask once.
func TestAnAskIsRecordedUnderTheLock(t *testing.T) {
	scenario(t, func(r *rig) {
		r.advance(second)
		at := r.tell(registerOf("ledger", nil)).Outcomes[0].Reply.(*v1.Reporter).Position
		ask := func(token int64, id, err string) *logv1.Command {
			return &logv1.Command{Body: &logv1.Command_RecordAsk{RecordAsk: &v1.RecordAskRequest{Reporter: "ledger", Position: at, Token: token, AskId: id, Runs: 3, Observations: 2, Refused: 1, Error: err}}}
		}
		if code := r.code(ask(1, "e", "")); code != v1.Code_CODE_FENCED {
			t.Errorf("without the lock it is answered %v", code)
		}
		first := r.session(3600 * second)
		one := r.sweeps(first)
		r.did(r.tell(ask(one, "e1", "")), "reporter.asked")
		r.midway()
		r.did(r.tell(ask(one, "e1", "")))
		r.did(r.tell(ask(one, "e2", "silence")), "reporter.asked")
		r.did(r.tell(ask(one, "e3", "silence")), "reporter.asked")
		list, _ := r.m.ListReporters(&v1.ListReportersRequest{})
		p := list.Reporters[0]
		if p.Failures != 2 || p.Error != "silence" || p.Runs != 9 || p.Observations != 6 || p.Refused != 3 || p.Token != one || p.Asked == nil || p.Answered == nil {
			t.Errorf("it is %v", p)
		}
		r.tell(&logv1.Command{Body: &logv1.Command_ReleaseLock{ReleaseLock: &v1.ReleaseLockRequest{Lock: SweepLock, Token: one}}})
		two := r.sweeps(first)
		if code := r.code(ask(one, "e4", "")); code != v1.Code_CODE_FENCED {
			t.Errorf("who has lost the lock is answered %v", code)
		}
		r.midway()
		r.did(r.tell(ask(two, "e4", "")), "reporter.asked")
		r.tell(removeOf("ledger"))
		r.tell(registerOf("ledger", nil))
		if code := r.code(ask(two, "e5", "")); code != v1.Code_CODE_REPORTER_NOT_FOUND {
			t.Errorf("of another of its name it is answered %v", code)
		}
	})
}
