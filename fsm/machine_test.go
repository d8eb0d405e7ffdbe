package fsm

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"testing"

	"github.com/google/btree"
	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/graph/source"
	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// rig drives a machine by hand: one command an entry, time by request.
type rig struct {
	t       *testing.T
	m       *Machine
	engine  table.Engine
	index   uint64
	elapsed int64
	due     int64  // see Header.Due
	wall    int64  // unix nanoseconds; zero: the leader does not trust its clock
	level   uint32 // of entries; zero: the newest

	again func(*rig) // what midway does
}

func newRig(t *testing.T) *rig {
	engine := table.NewMemory()
	m, err := Open(engine)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, m: m, engine: engine}
	r.apply(&logv1.Entry{})
	return r
}

const second = int64(1e9)

func (r *rig) apply(e *logv1.Entry) Result {
	r.t.Helper()
	r.index++
	e.Header = &logv1.Header{Term: 1, Elapsed: r.elapsed, Wall: r.wall, Due: r.due, Level: cmp.Or(r.level, Level)}
	// Through the wire, as raft does it.
	b, err := proto.Marshal(e)
	if err != nil {
		r.t.Fatal(err)
	}
	again := &logv1.Entry{}
	if err := proto.Unmarshal(b, again); err != nil {
		r.t.Fatal(err)
	}
	return r.m.Apply(r.index, 1, again)
}

// do applies one command.
func (r *rig) do(cmd *logv1.Command) (proto.Message, *v1.Refusal) {
	r.t.Helper()
	if cmd.Envelope == nil {
		cmd.Envelope = &logv1.Envelope{}
	}
	out := r.apply(&logv1.Entry{Commands: []*logv1.Command{cmd}}).Outcomes[0]
	return out.Reply, out.Refusal
}

// tick lets time pass and expires what is due.
func (r *rig) tick(nanoseconds int64) Result {
	r.elapsed += nanoseconds
	r.due = r.elapsed
	if r.wall > 0 {
		r.wall += nanoseconds
	}
	return r.apply(&logv1.Entry{})
}

func (r *rig) register(yaml string) {
	r.t.Helper()
	d, err := source.Parse([]byte(yaml), "yaml")
	if err != nil {
		r.t.Fatal(err)
	}
	if _, refusal := r.do(&logv1.Command{Body: &logv1.Command_RegisterWorkflow{RegisterWorkflow: &logv1.RegisterWorkflow{
		Workflow: d.Name, Digest: d.Digest, Graph: d.Canonical,
	}}}); refusal != nil {
		r.t.Fatal(refusal)
	}
}

func (r *rig) start(workflow, id, input string) *v1.StartInstanceResponse {
	r.t.Helper()
	reply, refusal := r.do(&logv1.Command{Body: &logv1.Command_StartInstance{StartInstance: &v1.StartInstanceRequest{
		Workflow: workflow, InstanceId: id, InputPayload: &v1.Payload{Bytes: []byte(input)},
	}}})
	if refusal != nil {
		r.t.Fatal(refusal)
	}
	return reply.(*v1.StartInstanceResponse)
}

func (r *rig) session(ttl int64) int64 {
	r.t.Helper()
	reply, refusal := r.do(&logv1.Command{Body: &logv1.Command_OpenSession{OpenSession: &logv1.OpenSession{Ttl: ttl}}})
	if refusal != nil {
		r.t.Fatal(refusal)
	}
	return sessionID(reply.(*v1.Session).SessionId)
}

func (r *rig) poll(session int64, queue string, count int32) []*v1.LeasedRun {
	r.t.Helper()
	reply, refusal := r.do(&logv1.Command{Body: &logv1.Command_PollSteps{PollSteps: &logv1.PollSteps{
		Session: session, Queues: []string{queue}, Count: count,
	}}})
	if refusal != nil {
		r.t.Fatal(refusal)
	}
	return reply.(*v1.PollStepsResponse).Runs
}

func (r *rig) complete(run *v1.LeasedRun, output string) (*v1.CompleteStepResponse, *v1.Refusal) {
	r.t.Helper()
	reply, refusal := r.do(&logv1.Command{Body: &logv1.Command_CompleteStep{CompleteStep: &v1.CompleteStepRequest{
		InstanceId: run.InstanceId, Step: run.Step, Index: run.Index, Token: run.Token, OutputPayload: &v1.Payload{Bytes: []byte(output)},
	}}})
	if refusal != nil {
		return nil, refusal
	}
	return reply.(*v1.CompleteStepResponse), nil
}

const chain = `
workflow: chain
steps:
  a: {queue: q}
  b: {queue: q, needs: [a], input: {got: "${steps.a.output.n + 1}"}}
output: {sum: "${steps.b.output.n}"}
`

func TestAWorkflowRunsToItsEnd(t *testing.T) {
	r := newRig(t)
	r.register(chain)
	r.start("chain", "i1", `{"x":1}`)
	s := r.session(10 * second)
	runs := r.poll(s, "q", 5)
	if len(runs) != 1 || runs[0].Step != "a" || string(runs[0].InputPayload.Bytes) != `{"x":1}` {
		t.Fatalf("the first poll got %v", runs)
	}
	if _, refusal := r.complete(runs[0], `{"n":41}`); refusal != nil {
		t.Fatal(refusal)
	}
	runs = r.poll(s, "q", 5)
	if len(runs) != 1 || runs[0].Step != "b" || string(runs[0].InputPayload.Bytes) != `{"got":42}` {
		t.Fatalf("the second poll got %v", runs)
	}
	reply, refusal := r.complete(runs[0], `{"n":7}`)
	if refusal != nil || reply.InstanceState != v1.InstanceState_INSTANCE_STATE_COMPLETED {
		t.Fatalf("the last completion answered %v, %v", reply, refusal)
	}
	i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i1"})
	if err != nil || string(i.OutputPayload.Bytes) != `{"sum":7}` {
		t.Fatalf("the instance is %v, %v", i, err)
	}
	if again, _ := r.complete(runs[0], `{"n":8}`); again == nil {
		t.Fatal("the same token again was refused")
	}
	r.reopened()
}

// reopened compares the machine with one that is opened on what it flushed, and one restored from its snapshot.
func (r *rig) reopened() {
	r.t.Helper()
	want := dump(r.m)
	if again, _ := restored(r.t, r.m); dump(again) != want {
		r.t.Fatalf("restored:\n%s\nwas:\n%s", dump(again), want)
	}
	again, err := Open(r.engine)
	if err != nil {
		r.t.Fatal(err)
	}
	if got := dump(again); got != want {
		r.t.Fatalf("opened again:\n%s\nwas:\n%s", got, want)
	}
}

// dump tells everything that orders things: what a machine that was opened again must agree on.
func dump(m *Machine) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "index %d uptime %d digest %x wait %d session %d\n", m.group.Index, m.group.Uptime, m.group.Digest, m.group.LastWait, m.group.LastSession)
	for _, d := range slices.SortedFunc(m.deadlines.all(), func(a, b deadline) int {
		if a.less(b) {
			return -1
		}
		return 1
	}) {
		fmt.Fprintf(&b, "deadline %d %d %v %d %d\n", d.at, d.kind, d.run, d.session, d.wait)
	}
	m.dates.Ascend(func(d date) bool {
		fmt.Fprintf(&b, "date %d %v\n", d.at, d.run)
		return true
	})
	m.todos.Ascend(func(d todo) bool {
		fmt.Fprintf(&b, "todo %d %v\n", d.seq, d.run)
		return true
	})
	for _, name := range m.names {
		ns := m.namespaces[name]
		for _, order := range []*btree.BTreeG[*dependency]{ns.waits.on, ns.waits.keyed, ns.waits.of} {
			order.Ascend(func(d *dependency) bool {
				fmt.Fprintf(&b, "waits for %s %s %v: %v\n", d.on, d.step, d.by, d.run)
				return true
			})
		}
		ns.censuses.Ascend(func(c *census) bool {
			fmt.Fprintf(&b, "census %x\n", appendRow(nil, c.rec))
			return true
		})
		ns.holds.Ascend(func(h holding) bool {
			fmt.Fprintf(&b, "holds %v\n", h)
			return true
		})
		fmt.Fprintf(&b, "namespace %s token %d position %d live %d leases %d\n", name, ns.rec.Token, ns.rec.Position, ns.rec.LiveInstances, len(ns.leases))
		for _, tbl := range looseTables {
			m.scan(key(tbl, name), table.End(key(tbl, name)), func(k, value []byte) bool {
				fmt.Fprintf(&b, "row %q %x\n", k, value)
				return true
			})
		}
		b.WriteString(sayLimits(ns))
		for _, line := range ns.lines {
			q := ns.queues[line]
			if q.readyRuns()+q.parked.Len()+q.waits.Len()+int(q.leased) == 0 {
				continue
			}
			fmt.Fprintf(&b, "queue %s leased %d\n", line, q.leased)
			q.ready.Ascend(func(x readyRun) bool { fmt.Fprintf(&b, "  ready %d %d %v\n", x.order, x.seq, x.run); return true })
			b.WriteString(sayFairness(q))
			q.parked.Ascend(func(x readyRun) bool { fmt.Fprintf(&b, "  parked %d %d %v\n", x.order, x.seq, x.run); return true })
			q.waits.Ascend(func(x *wait) bool { fmt.Fprintf(&b, "  wait %d %d\n", x.rec.WaitId, x.rec.Remaining); return true })
		}
		for _, id := range ns.bulkIDs {
			fmt.Fprintf(&b, "bulk %s %x, %d run\n", id, appendRow(nil, ns.bulks[id].rec), ns.bulksRun)
		}
		for _, name := range ns.asked {
			fmt.Fprintf(&b, "reporter %s %x\n", name, appendRow(nil, ns.reporters[name].rec))
		}
		for _, plan := range ns.calendar {
			fmt.Fprintf(&b, "schedule %s %x\n", plan, appendRow(nil, ns.schedules[plan].rec))
		}
		for _, lockName := range sortedLocks(m, ns) {
			l := ns.lock(m, lockName)
			if l.idle() {
				continue
			}
			limit, _ := l.limit()
			fmt.Fprintf(&b, "lock %s limit %d claims %d\n", lockName, limit, l.claims.Len())
			for _, h := range l.rec.Holders {
				fmt.Fprintf(&b, "  holder %d %v\n", h.Token, h.Slots)
			}
			for _, h := range l.rec.Lapsed {
				fmt.Fprintf(&b, "  lapsed %d\n", h.Token)
			}
			l.claims.Ascend(func(c *claim) bool {
				fmt.Fprintf(&b, "  claim %d %d %+v parked %v skipped %d\n", c.order, c.seq, c.run, c.parked, c.skippedAt)
				return true
			})
		}
	}
	return b.String()
}

// sortedLocks are the locks that are resident, or have a row.
func sortedLocks(m *Machine, ns *namespace) []string {
	var names []string
	for name := range ns.locks {
		names = insertSorted(names, name)
	}
	must(scanRows(m.engine, key(tableLock, ns.rec.Namespace), func() *logv1.Lock { return &logv1.Lock{} }, func(_ []byte, rec *logv1.Lock) error {
		names = insertSorted(names, rec.Lock)
		return nil
	}))
	return names
}

func TestATokenThatIsNotTheNewestIsFenced(t *testing.T) {
	r := newRig(t)
	r.register(chain)
	r.start("chain", "i1", `{}`)
	first := r.session(2 * second)
	old := r.poll(first, "q", 1)[0]
	r.tick(3 * second)
	second := r.session(10 * second)
	now := r.poll(second, "q", 1)[0]
	if now.Token <= old.Token || now.Attempt != 2 || now.IdempotencyKey != old.IdempotencyKey {
		t.Fatalf("the second lease is %v after %v", now, old)
	}
	_, refusal := r.complete(old, `{"n":1}`)
	if refusal.GetCode() != v1.Code_CODE_FENCED || refusal.Holder.GetToken() != now.Token {
		t.Fatalf("the old token was answered %v", refusal)
	}
	late, err := r.m.ListLateResults(&v1.ListLateResultsRequest{})
	if err != nil || len(late.Results) != 1 || late.Results[0].Token != old.Token {
		t.Fatalf("the inbox has %v, %v", late, err)
	}
	if _, refusal := r.complete(now, `{"n":2}`); refusal != nil {
		t.Fatal(refusal)
	}
	r.reopened()
}

func TestALapsedLeaseIsGoodUntilTheRunGoesOn(t *testing.T) {
	r := newRig(t)
	r.register(chain)
	r.start("chain", "i1", `{}`)
	s := r.session(2 * second)
	run := r.poll(s, "q", 1)[0]
	r.tick(3 * second)
	reply, refusal := r.complete(run, `{"n":1}`)
	if refusal != nil || !reply.Late {
		t.Fatalf("the late completion was answered %v, %v", reply, refusal)
	}
	r.reopened()
}

// A result that is sent again gets the first answer, byte for byte, also when it ended the run.
func TestAFailureToldAgainGetsTheFirstAnswer(t *testing.T) {
	for name, retryable := range map[string]bool{"it backs off": true, "it fails for good": false} {
		r := newRig(t)
		r.register("workflow: w\nsteps:\n  a: {retry: {attempts: 3}}\n  b: {}\n")
		r.start("w", "i", `{}`)
		run := r.poll(r.session(10*second), "default", 1)[0]
		fail := func() proto.Message {
			reply, refusal := r.do(&logv1.Command{Body: &logv1.Command_FailStep{FailStep: &v1.FailStepRequest{
				InstanceId: "i", Step: run.Step, Token: run.Token, Code: "E", Retryable: retryable,
			}}})
			if refusal != nil {
				t.Fatalf("%s: %v", name, refusal)
			}
			return reply
		}
		first := fail()
		if again := fail(); !proto.Equal(first, again) {
			t.Errorf("%s: first %v, then %v", name, first, again)
		}
	}
}

// The default namespace is there from the beginning, also for a machine that had nothing to say of it before it was closed.
func TestTheDefaultNamespaceOutlivesAFlushBeforeItsFirstEvent(t *testing.T) {
	r := newRig(t)
	r.tick(second)
	must(r.m.Flush())
	again, err := Open(r.engine)
	must(err)
	if _, err := again.GetNamespace(&v1.GetNamespaceRequest{}); err != nil {
		t.Fatal(err)
	}
	r.m = again
	if id := r.session(10 * second); id != 1 {
		t.Fatalf("the first session is %d", id)
	}
}

// A failing instance leases nothing more, not even while its runs are stopped one by one and their claims go: here that of
// b, for which the places that c wants were reserved.
func TestAFailingInstanceLeasesNothingMore(t *testing.T) {
	for name, end := range map[string]func(*v1.LeasedRun) *logv1.Command{
		"a step fails": func(run *v1.LeasedRun) *logv1.Command {
			return &logv1.Command{Body: &logv1.Command_FailStep{FailStep: &v1.FailStepRequest{InstanceId: "i", Step: run.Step, Token: run.Token, Code: "E"}}}
		},
		"it is cancelled": func(*v1.LeasedRun) *logv1.Command {
			return &logv1.Command{Body: &logv1.Command_CancelInstance{CancelInstance: &v1.CancelInstanceRequest{InstanceId: "i"}}}
		},
	} {
		r := newRig(t)
		r.register("workflow: w\nsteps:\n  a: {queue: a}\n  b: {queue: b, locks: [{name: p, limit: 2, take: 2}]}\n  c: {queue: c, locks: [{name: p, limit: 2}]}\n")
		worker, holder := r.session(60*second), r.session(60*second)
		if _, refusal := r.do(&logv1.Command{Body: &logv1.Command_AcquireLock{AcquireLock: &logv1.AcquireLock{Session: holder, Lock: "p", Limit: 2}}}); refusal != nil {
			t.Fatal(refusal)
		}
		r.start("w", "i", `{}`)
		run := r.poll(worker, "a", 1)[0]
		for _, queue := range []string{"b", "c"} {
			r.do(&logv1.Command{Body: &logv1.Command_PollSteps{PollSteps: &logv1.PollSteps{Session: worker, Queues: []string{queue}, Count: 1, Wait: 60 * second}}})
			r.tick(6 * second)
		}
		command := end(run)
		command.Envelope = &logv1.Envelope{}
		stopping := false
		for _, event := range r.apply(&logv1.Entry{Commands: []*logv1.Command{command}}).Events() {
			stopping = stopping || event.Type == "lockstep.instance.failing.v1" || event.Type == "lockstep.instance.cancelling.v1"
			if stopping && event.Type == "lockstep.step.leased.v1" {
				t.Errorf("%s: step %s is leased behind that", name, event.Data.Step)
			}
		}
		if !stopping {
			t.Errorf("%s: it does not stop", name)
		}
	}
}

// A lock that is granted to what has waited for it is not forgotten on the way: nobody else is granted it. Here it was free,
// kept for a run that was then cancelled, and nothing of it had changed since the last flush.
func TestALockThatIsGrantedIsHeld(t *testing.T) {
	for name, waits := range map[string]func(r *rig, acquire func(session int64, lock string, wait int64) (*v1.AcquireLockResponse, *v1.Refusal)){
		"to a session": func(r *rig, acquire func(int64, string, int64) (*v1.AcquireLockResponse, *v1.Refusal)) {
			acquire(r.session(60*second), "p", 60*second)
		},
		"to a run": func(r *rig, _ func(int64, string, int64) (*v1.AcquireLockResponse, *v1.Refusal)) {
			r.register("workflow: other\nsteps:\n  c: {queue: c, locks: [p]}\n")
			r.start("other", "j", `{}`)
			r.do(&logv1.Command{Body: &logv1.Command_PollSteps{PollSteps: &logv1.PollSteps{Session: r.session(60 * second), Queues: []string{"c"}, Count: 1, Wait: 60 * second}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.register("workflow: w\nsteps:\n  b: {queue: b, locks: [x, p]}\n")
			worker, holder := r.session(60*second), r.session(60*second)
			acquire := func(session int64, lock string, wait int64) (*v1.AcquireLockResponse, *v1.Refusal) {
				out := r.apply(&logv1.Entry{Commands: []*logv1.Command{{Envelope: &logv1.Envelope{}, Body: &logv1.Command_AcquireLock{AcquireLock: &logv1.AcquireLock{
					Session: session, Lock: lock, Wait: wait,
				}}}}}).Outcomes[0]
				reply, _ := out.Reply.(*v1.AcquireLockResponse)
				return reply, out.Refusal
			}
			acquire(holder, "x", 0)
			r.start("w", "i", `{}`)
			r.do(&logv1.Command{Body: &logv1.Command_PollSteps{PollSteps: &logv1.PollSteps{Session: worker, Queues: []string{"b"}, Count: 1, Wait: 60 * second}}})
			passing, refusal := acquire(holder, "p", 0) // it passes the run, which waits for x
			if refusal != nil {
				t.Fatal(refusal)
			}
			r.do(&logv1.Command{Body: &logv1.Command_ReleaseLock{ReleaseLock: &v1.ReleaseLockRequest{Lock: "p", Token: passing.Token}}})
			r.tick(6 * second)
			waits(r, acquire)
			must(r.m.Flush()) // what is free has no row, and is not known for changed any more
			settled := r.apply(&logv1.Entry{Commands: []*logv1.Command{{Envelope: &logv1.Envelope{}, Body: &logv1.Command_CancelInstance{CancelInstance: &v1.CancelInstanceRequest{InstanceId: "i"}}}}}).Settled
			if len(settled) != 1 {
				t.Fatalf("p is not reserved, or not granted: settled %v", settled)
			}
			if reply, refusal := acquire(holder, "p", 0); refusal == nil {
				t.Fatalf("p is held by whom %v tells, and granted again under %d", settled[0].Reply, reply.Token)
			}
			must(check(r.m))
		})
	}
}
