package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// saga drives one instance of a workflow by words, each of which is a command; every queue is q.
type saga struct {
	*rig
	worker int64
	leases map[string]*v1.LeasedRun
}

func newSaga(t *testing.T, definition string) *saga {
	s := &saga{rig: newRig(t), leases: map[string]*v1.LeasedRun{}}
	s.register(definition)
	s.worker = s.session(3600 * second)
	s.start("w", "i", `{"n":1}`)
	return s
}

// lease leases everything that is ready, and returns the names of it in order.
func (s *saga) lease() string {
	s.t.Helper()
	var names []string
	for _, run := range s.poll(s.worker, "q", 100) {
		s.leases[run.Step] = run
		names = append(names, run.Step)
	}
	must(check(s.m))
	return strings.Join(names, " ")
}

// done completes leased runs, one after the other; done leases what is ready before each.
func (s *saga) done(steps ...string) {
	s.t.Helper()
	for _, step := range steps {
		s.lease()
		if _, refusal := s.complete(s.leases[step], fmt.Sprintf(`{"by":%q}`, step)); refusal != nil {
			s.t.Fatalf("%s: %v", step, refusal)
		}
		must(check(s.m))
	}
}

func (s *saga) fail(step string, retryable bool) {
	s.t.Helper()
	s.lease()
	_, refusal := s.do(&logv1.Command{Body: &logv1.Command_FailStep{FailStep: &v1.FailStepRequest{
		InstanceId: "i", Step: step, Token: s.leases[step].GetToken(), Code: "E", Reason: "no", Retryable: retryable,
	}}})
	if refusal != nil {
		s.t.Fatalf("%s: %v", step, refusal)
	}
	must(check(s.m))
}

func (s *saga) cancel() {
	s.t.Helper()
	if _, refusal := s.do(&logv1.Command{Body: &logv1.Command_CancelInstance{CancelInstance: &v1.CancelInstanceRequest{InstanceId: "i", Reason: "enough"}}}); refusal != nil {
		s.t.Fatal(refusal)
	}
	must(check(s.m))
}

func (s *saga) compensate(from string, skip bool) (*v1.CompensateInstanceResponse, *v1.Refusal) {
	s.t.Helper()
	reply, refusal := s.do(&logv1.Command{Body: &logv1.Command_CompensateInstance{CompensateInstance: &v1.CompensateInstanceRequest{
		InstanceId: "i", Reason: "by hand", FromStep: from, Skip: skip,
	}}})
	must(check(s.m))
	if refusal != nil {
		return nil, refusal
	}
	return reply.(*v1.CompensateInstanceResponse), nil
}

// is compares the instance: its state, and the runs that are named, as "a.compensate READY".
func (s *saga) is(state string, runs ...string) {
	s.t.Helper()
	i, err := s.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i"})
	must(err)
	if got := stateName(i.State); got != state {
		s.t.Errorf("the instance is %s, not %s", got, state)
	}
	for _, want := range runs {
		step, state, _ := strings.Cut(want, " ")
		got := "not there"
		for _, r := range i.Runs {
			if r.Step == step {
				got = runStateName(r.State)
			}
		}
		if got != state {
			s.t.Errorf("%s is %s, not %s", step, got, state)
		}
	}
	s.reopened()
}

func (s *saga) history() (kinds []string) {
	reply, err := s.m.GetHistory(&v1.GetHistoryRequest{InstanceId: "i", Limit: 1000})
	must(err)
	for _, e := range reply.Events {
		kinds = append(kinds, strings.TrimSuffix(strings.TrimPrefix(e.Type, "lockstep."), ".v1")+" "+e.Data.Step)
	}
	return kinds
}

func (s *saga) explained(step string) string {
	reply, err := s.m.Explain(&v1.ExplainRequest{InstanceId: "i", Step: step})
	must(err)
	var out []string
	for _, e := range reply.Explanations {
		out = append(out, strings.TrimPrefix(e.Code.String(), "EXPLAIN_CODE_")+": "+e.Sentence)
	}
	return strings.Join(out, "\n")
}

const chainOfThree = `
workflow: w
steps:
  a: {queue: q, compensate: {task: undo-a}}
  b: {queue: q, needs: [a], compensate: {}}
  c: {queue: q, needs: [b], compensate: {}}
`

// What was completed is undone when the instance fails, what came last first; what failed is not, and what never was needed
// is not there.
func TestAFailedInstanceUndoesWhatItCompleted(t *testing.T) {
	s := newSaga(t, chainOfThree)
	s.is("RUNNING", "a READY", "a.compensate not there")
	s.done("a", "b")
	s.fail("c", false)
	s.is("COMPENSATING", "c FAILED", "c.compensate not there", "b.compensate READY", "a.compensate PENDING")
	if got := s.explained(""); !strings.Contains(got, "COMPENSATING: The instance is COMPENSATING: 0 of 2 compensations are over, and behind the last it is FAILED.") || !strings.Contains(got, "NO_POLLER") {
		t.Error(got)
	}
	if got := s.explained("a.compensate"); !strings.Contains(got, `NEEDS_PENDING: Step "a" is undone behind b.compensate.`) {
		t.Error(got)
	}
	s.done("b.compensate")
	s.is("COMPENSATING", "b.compensate COMPLETED", "a.compensate READY")
	s.lease()
	if run := s.leases["a.compensate"]; run.Task != "undo-a" || run.Compensates != "a" || run.IdempotencyKey != "default/i/a.compensate/0" ||
		string(run.InputPayload.Bytes) != `{"input":{"n":1},"output":{"by":"a"}}` {
		t.Errorf("the compensation is leased as %v", run)
	}
	s.done("a.compensate")
	s.is("FAILED", "a COMPLETED", "a.compensate COMPLETED")
	if s.m.namespaces[DefaultNamespace].rec.LiveInstances != 0 {
		t.Error("the instance is counted as live")
	}
	want := []string{"instance.failing ", "instance.compensating ", "step.ready b.compensate", "step.leased b.compensate", "step.completed b.compensate", "step.ready a.compensate", "step.leased a.compensate", "step.completed a.compensate", "instance.failed "}
	if got := s.history(); !slices.Equal(got[len(got)-len(want):], want) {
		t.Errorf("the history ends with %q", got)
	}
}

// An instance that ends well, or has completed nothing that can be undone, compensates nothing.
func TestNothingIsUndoneWithoutReason(t *testing.T) {
	s := newSaga(t, chainOfThree)
	s.done("a", "b", "c")
	s.is("COMPLETED", "a.compensate not there")
	if got := s.history(); slices.ContainsFunc(got, func(e string) bool { return strings.Contains(e, "compensat") }) {
		t.Errorf("the history has %q", got)
	}
	s = newSaga(t, chainOfThree)
	s.fail("a", false)
	s.is("FAILED", "a.compensate not there")
}

// The graph turned around: branches overlap, what joins them is undone before both, and steps without a compensation, or
// that were skipped, keep nobody waiting.
func TestBranchesAreUndoneTogether(t *testing.T) {
	s := newSaga(t, `
workflow: w
steps:
  a: {queue: q, compensate: {}}
  b: {queue: q, needs: [a], compensate: {}}
  c: {queue: q, needs: [a], compensate: {}}
  skipped: {queue: q, needs: [a], when: "false || input.n > 1", compensate: {}}
  plain: {queue: q, needs: [b, skipped]}
  d: {queue: q, needs: [plain, c], compensate: {}}
  e: {queue: q, needs: [d]}
`)
	s.done("a", "b", "c", "plain", "d")
	s.fail("e", false)
	s.is("COMPENSATING", "skipped SKIPPED", "skipped.compensate not there", "d.compensate READY", "b.compensate PENDING", "c.compensate PENDING")
	s.done("d.compensate")
	if got := s.lease(); got != "c.compensate b.compensate" {
		t.Errorf("leased are %s", got)
	}
	s.done("c.compensate")
	s.is("COMPENSATING", "a.compensate PENDING")
	s.done("b.compensate", "a.compensate")
	s.is("FAILED")
}

// Sequential compensation goes by the order of completion, whatever the graph says of it.
func TestSequentialCompensationGoesByCompletion(t *testing.T) {
	s := newSaga(t, `
workflow: w
compensation: sequential
steps:
  a: {queue: q, compensate: {}}
  b: {queue: q, compensate: {}}
  c: {queue: q, compensate: {}}
  d: {queue: q, needs: [a]}
`)
	s.lease()
	s.done("b", "c", "a")
	s.fail("d", false)
	if got := s.explained("b.compensate"); !strings.Contains(got, `Step "b" is undone behind a.compensate, c.compensate.`) {
		t.Error(got)
	}
	for _, step := range []string{"a.compensate", "c.compensate", "b.compensate"} {
		if got := s.lease(); got != step {
			t.Fatalf("leased is %q, not %s", got, step)
		}
		s.done(step)
	}
	s.is("FAILED")
}

// A completion that is accepted while the instance stops is undone like any other. A cancelled instance ends as CANCELLED.
func TestWhatIsCompletedWhileTheInstanceStopsIsUndone(t *testing.T) {
	s := newSaga(t, chainOfThree)
	s.done("a")
	s.lease()
	s.cancel()
	s.is("CANCELLING", "b LEASED", "a.compensate not there")
	s.done("b")
	s.is("COMPENSATING", "b.compensate READY")
	s.done("b.compensate", "a.compensate")
	s.is("CANCELLED")
}

// A cancellation of an instance that compensates changes nothing: it ends as it would have.
func TestACancelDoesNotEndACompensation(t *testing.T) {
	s := newSaga(t, chainOfThree)
	s.done("a")
	s.fail("b", false)
	s.lease()
	s.cancel()
	s.is("COMPENSATING", "a.compensate LEASED")
	s.done("a.compensate")
	s.is("FAILED")
}

// The lease of a compensation lapses as any other: a late completion is good until the run is granted again, and refused
// after that.
func TestTheLeaseOfACompensationLapses(t *testing.T) {
	s := newSaga(t, chainOfThree)
	s.done("a")
	s.fail("b", false)
	first := s.worker
	s.worker = s.session(2 * second)
	s.lease()
	old := s.leases["a.compensate"]
	s.tick(3 * second)
	s.is("COMPENSATING", "a.compensate READY")
	s.worker = first
	s.lease()
	if _, refusal := s.complete(old, `{}`); refusal.GetCode() != v1.Code_CODE_FENCED {
		t.Errorf("the old token is answered %v", refusal)
	}
	s.done("a.compensate")
	s.is("FAILED")

	s = newSaga(t, chainOfThree)
	s.done("a")
	s.fail("b", false)
	s.worker = s.session(2 * second)
	s.lease()
	s.tick(3 * second)
	if reply, refusal := s.complete(s.leases["a.compensate"], `{}`); !reply.GetLate() || reply.GetInstanceState() != v1.InstanceState_INSTANCE_STATE_FAILED {
		t.Errorf("the late completion is answered %v, %v", reply, refusal)
	}
	must(check(s.m))
}

// A step whose lease lapsed before the instance failed is not completed any more, and so not undone: what its worker says
// late is refused, and kept.
func TestALateCompletionOfAStepIsNotUndone(t *testing.T) {
	s := newSaga(t, "workflow: w\nsteps:\n  a: {queue: q, compensate: {}}\n  b: {queue: other, compensate: {}}\n  c: {queue: q, needs: [a]}\n")
	short := s.session(2 * second)
	old := s.poll(short, "other", 1)[0]
	s.done("a")
	s.tick(3 * second)
	s.fail("c", false)
	s.is("COMPENSATING", "b CANCELLED", "b.compensate not there")
	if _, refusal := s.complete(old, `{}`); refusal.GetCode() != v1.Code_CODE_FENCED {
		t.Errorf("the late completion is answered %v", refusal)
	}
	s.done("a.compensate")
	s.is("FAILED", "b.compensate not there")
	if late, err := s.m.ListLateResults(&v1.ListLateResultsRequest{}); err != nil || len(late.Results) != 1 {
		t.Errorf("the inbox has %v, %v", late, err)
	}
}

// Partial compensation undoes a step and what came behind it.
func TestPartialCompensation(t *testing.T) {
	s := newSaga(t, chainOfThree+"  d: {queue: q, needs: [c]}\n")
	s.done("a", "b", "c")
	s.lease()
	for _, c := range []struct {
		from string
		skip bool
		code v1.Code
	}{{"x", false, v1.Code_CODE_STEP_NOT_FOUND}, {"a.compensate", false, v1.Code_CODE_STEP_NOT_FOUND}, {"", true, v1.Code_CODE_INVALID}} {
		if _, refusal := s.compensate(c.from, c.skip); refusal.GetCode() != c.code {
			t.Errorf("%+v is answered %v", c, refusal)
		}
	}
	for range 2 { // the same again has the same answer
		if reply, refusal := s.compensate("b", false); refusal != nil || reply.State != v1.InstanceState_INSTANCE_STATE_CANCELLING {
			t.Fatal(reply, refusal)
		}
	}
	if _, refusal := s.compensate("c", false); refusal.GetCode() != v1.Code_CODE_INVALID {
		t.Errorf("another step is answered %v", refusal)
	}
	s.fail("d", true)
	s.is("COMPENSATING", "c.compensate READY", "b.compensate PENDING", "a.compensate not there")
	s.done("c.compensate", "b.compensate")
	s.is("CANCELLED")
	if _, refusal := s.compensate("", false); refusal.GetCode() != v1.Code_CODE_ALREADY_ENDED {
		t.Errorf("an ended instance is answered %v", refusal)
	}
	if i, _ := s.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i"}); i.Reason != "by hand" {
		t.Errorf("the reason is %q", i.Reason)
	}
}

// An output that cannot be made fails an instance whose steps are all done: they are undone.
func TestAnInvalidOutputIsUndone(t *testing.T) {
	s := newSaga(t, "workflow: w\nsteps:\n  a: {queue: q, compensate: {}}\noutput: {x: \"${steps.a.output.missing}\"}\n")
	s.done("a")
	s.is("COMPENSATING", "a.compensate READY")
	s.done("a.compensate")
	s.is("FAILED")
}

// A compensation that is not begun is no run to those who name it.
func TestACompensationThatIsNotBegunIsNotFound(t *testing.T) {
	s := newSaga(t, chainOfThree)
	_, refusal := s.do(&logv1.Command{Body: &logv1.Command_LeaseStep{LeaseStep: &logv1.LeaseStep{Session: s.worker, InstanceId: "i", Step: "a.compensate", Wait: second}}})
	if refusal.GetCode() != v1.Code_CODE_RUN_NOT_FOUND {
		t.Errorf("answered is %v", refusal)
	}
	if got := s.explained("a.compensate"); !strings.Contains(got, `Step "a" is not undone, unless`) {
		t.Error(got)
	}
	plain := newSaga(t, "workflow: w\nsteps:\n  a: {queue: q}\n")
	if _, refusal := plain.compensate("", false); refusal.GetCode() != v1.Code_CODE_INVALID {
		t.Errorf("a workflow without compensations is answered %v", refusal)
	}
}

// Compensations keep the locks of their own, under the token of their own lease.
func TestACompensationClaimsItsLocks(t *testing.T) {
	s := newSaga(t, "workflow: w\nsteps:\n  a: {queue: q, locks: [l], compensate: {locks: [l]}}\n  b: {queue: q, needs: [a]}\n")
	s.done("a")
	s.fail("b", false)
	holder := s.session(3600 * second)
	reply, refusal := s.do(&logv1.Command{Body: &logv1.Command_AcquireLock{AcquireLock: &logv1.AcquireLock{Session: holder, Lock: "l"}}})
	if refusal != nil {
		t.Fatal(refusal)
	}
	if got := s.lease(); got != "" {
		t.Fatalf("leased is %s", got)
	}
	if got := s.explained("a.compensate"); !strings.Contains(got, "LOCK_HELD") {
		t.Error(got)
	}
	s.do(&logv1.Command{Body: &logv1.Command_ReleaseLock{ReleaseLock: &v1.ReleaseLockRequest{Lock: "l", Token: reply.(*v1.AcquireLockResponse).Token}}})
	s.done("a.compensate")
	s.is("FAILED")
}

// A compensation without a mapping is given what its step was given, and not what the instance was. What is no JSON in the
// clear is null to it, as it is to expressions.
func TestWhatACompensationIsGiven(t *testing.T) {
	s := newSaga(t, `
workflow: w
steps:
  a: {queue: q, input: {m: "${input.n + 1}"}, compensate: {}}
  b: {queue: q, needs: [a], compensate: {}}
  c: {queue: q, needs: [b], compensate: {input: "${steps.a.output.by}-${steps.c.output.by}-${input.n}"}}
  d: {queue: q, needs: [c]}
`)
	s.done("a")
	s.lease()
	sealed := &v1.Payload{KeyId: "k", Bytes: []byte("sealed")}
	if _, refusal := s.do(&logv1.Command{Body: &logv1.Command_CompleteStep{CompleteStep: &v1.CompleteStepRequest{
		InstanceId: "i", Step: "b", Token: s.leases["b"].Token, OutputPayload: sealed,
	}}}); refusal != nil {
		t.Fatal(refusal)
	}
	s.done("c")
	must(s.m.Flush()) // payloads are not in memory any more
	s.fail("d", false)
	for _, want := range [][2]string{
		{"c.compensate", `"a-c-1"`}, {"b.compensate", `{"input":{"n":1},"output":null}`}, {"a.compensate", `{"input":{"m":2},"output":{"by":"a"}}`},
	} {
		s.lease()
		if got := string(s.leases[want[0]].GetInputPayload().GetBytes()); got != want[1] {
			t.Errorf("%s is given %s, not %s", want[0], got, want[1])
		}
		s.done(want[0])
	}
}
