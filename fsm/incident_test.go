package fsm

import (
	"slices"
	"strings"
	"testing"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A compensation that does not succeed stands still for as long as nobody has it tried again, and what came before it waits.
func TestACompensationThatFailsStandsStill(t *testing.T) {
	for name, fail := range map[string]func(*saga){
		"its attempts are used up": func(s *saga) {
			for n := range 2 {
				s.fail("b.compensate", true)
				if n == 0 {
					s.is("COMPENSATING", "b.compensate BACKOFF")
					s.tick(60 * second)
				}
			}
		},
		"its worker says so":    func(s *saga) { s.fail("b.compensate", false) },
		"nobody takes it":       func(s *saga) { s.tick(100 * second) },
		"it takes too long":     func(s *saga) { s.lease(); s.tick(200 * second) },
		"its lease lapses last": func(s *saga) { s.lease(); s.tick(40 * second); s.lease(); s.tick(40 * second) },
	} {
		s := newSaga(t, `
workflow: w
steps:
  a: {queue: q, compensate: {}}
  b: {queue: q, needs: [a], compensate: {retry: {attempts: 2}, locks: [l], timeouts: {queue: 90s, run: 30s, total: 150s}}}
  c: {queue: q, needs: [b]}
`)
		s.done("a", "b")
		s.fail("c", false)
		fail(s)
		s.is("COMPENSATING", "b.compensate INCIDENT", "a.compensate PENDING")
		if got := s.explained("b.compensate"); !strings.Contains(got, "INCIDENT: Step \"b\" is not undone: b.compensate stands still (") {
			t.Errorf("%s: %s", name, got)
		}
		s.tick(40 * 24 * 3600 * second)
		s.worker = s.session(3600 * second)
		s.is("COMPENSATING", "b.compensate INCIDENT")
		if reply, refusal := s.compensate("c", false); len(reply.GetSteps()) != 0 {
			t.Errorf("%s: what is before c is tried again: %v, %v", name, reply, refusal)
		}
		reply, refusal := s.compensate("a", false)
		if refusal != nil || !slices.Equal(reply.Steps, []string{"b.compensate"}) || reply.State != v1.InstanceState_INSTANCE_STATE_COMPENSATING {
			t.Errorf("%s: the retry is answered %v, %v", name, reply, refusal)
		}
		s.is("COMPENSATING", "b.compensate READY")
		s.fail("b.compensate", true)
		s.is("COMPENSATING", "b.compensate BACKOFF")
		s.tick(60 * second)
		s.done("b.compensate", "a.compensate")
		s.is("FAILED")
	}
}

// What stands still can be skipped, for what was done by hand: the last one ends the instance.
func TestACompensationIsSkippedByHand(t *testing.T) {
	for _, order := range []string{"parallel", "sequential"} {
		s := newSaga(t, "workflow: w\ncompensation: "+order+`
steps:
  a: {queue: q, compensate: {retry: {attempts: 1}}}
  b: {queue: q, needs: [a], compensate: {input: {x: "${steps.b.output.missing}"}}}
  c: {queue: q, needs: [b]}
`)
		s.done("a", "b")
		s.fail("c", false)
		s.is("COMPENSATING", "b.compensate INCIDENT")
		if _, refusal := s.compensate("", false); refusal != nil {
			t.Fatal(refusal)
		}
		s.is("COMPENSATING", "b.compensate INCIDENT") // the expression fails again
		if reply, refusal := s.compensate("", true); refusal != nil || len(reply.Steps) != 1 {
			t.Fatal(reply, refusal)
		}
		s.is("COMPENSATING", "b.compensate SKIPPED", "a.compensate READY")
		s.fail("a.compensate", true)
		reply, refusal := s.compensate("", true)
		if refusal != nil || reply.State != v1.InstanceState_INSTANCE_STATE_FAILED {
			t.Fatal(reply, refusal)
		}
		s.is("FAILED", "a.compensate SKIPPED")
	}
}

// A failed instance is left out of what needs a person from when somebody says so until that is taken back. Who says it, and why, is kept
// with the instance, and goes with it.
func TestAFailureIsResolved(t *testing.T) {
	resolve := func(id string) *logv1.Command {
		return byAnn(&logv1.Command{Body: &logv1.Command_ResolveIncident{ResolveIncident: &v1.ResolveIncidentRequest{InstanceId: id, Reason: "paid by hand"}}})
	}
	reopen := func(id string) *logv1.Command {
		return byAnn(&logv1.Command{Body: &logv1.Command_ReopenIncident{ReopenIncident: &v1.ReopenIncidentRequest{InstanceId: id, Reason: "it came back"}}})
	}
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q, retry: {attempts: 1}}\n")
		worker := r.session(3600 * second)
		for _, id := range []string{"i1", "i2", "i3"} {
			r.start("w", id, `{}`)
			r.tick(second)
		}
		for range 3 {
			if run := r.poll(worker, "q", 1)[0]; run.InstanceId == "i3" {
				r.done(run, `{}`)
			} else {
				r.fail(run, "GONE", true)
			}
			r.tick(second)
		}
		r.needs("EXHAUSTED i2 a, EXHAUSTED i1 a")
		r.did(r.tell(resolve("i1")), "instance.resolved")
		r.did(r.tell(resolve("i1")))
		r.midway()
		r.needs("EXHAUSTED i2 a")
		if all := r.incidents(&v1.ListIncidentsRequest{Resolved: true}); sayIncidents(all) != "EXHAUSTED i2 a, EXHAUSTED i1 a" || all[0].Resolution != nil || all[1].Resolution.By != "ann" || all[1].Resolution.Reason != "paid by hand" {
			r.t.Fatalf("with what was resolved there are %v", all)
		}
		if i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i1"}); err != nil || i.Resolution.GetBy() != "ann" || i.Resolution.At.AsTime().IsZero() {
			r.t.Fatalf("shown as %v, %v", i, err)
		}
		r.did(r.tell(resolve("i2")), "instance.resolved")
		r.did(r.tell(reopen("i1")), "instance.reopened")
		r.did(r.tell(reopen("i1")))
		r.midway()
		r.needs("EXHAUSTED i1 a")
		for id, code := range map[string]v1.Code{"i3": v1.Code_CODE_NOT_FAILED, "i9": v1.Code_CODE_INSTANCE_NOT_FOUND} {
			for _, c := range []*logv1.Command{resolve(id), reopen(id)} {
				if _, refusal := r.do(c); refusal.GetCode() != code {
					r.t.Fatalf("of %s it is refused with %v", id, refusal)
				}
			}
		}
	})
}
