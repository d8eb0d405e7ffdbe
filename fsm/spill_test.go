package fsm

import (
	"bytes"
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	"github.com/lockstep-dev/lockstep/jepsen/require"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// crashing is a machine that loses what was not flushed, and has its log to apply that again.
type crashing struct {
	t      testing.TB
	engine table.Engine
	m      *Machine
	log    []logged
}

type logged struct {
	index, term uint64
	data        []byte
}

func (c *crashing) apply(l logged) Result {
	c.log = append(c.log, l)
	return c.again(l)
}

func (c *crashing) again(l logged) Result {
	e := &logv1.Entry{}
	must(proto.Unmarshal(l.data, e))
	return c.m.Apply(l.index, l.term, e)
}

// crash opens the engine as it is.
func (c *crashing) crash() {
	var err error
	if c.m, err = Open(c.engine); err != nil {
		c.t.Fatal(err)
	}
	for _, l := range c.log {
		c.again(l)
	}
}

// What was written ahead of a flush that never came is not the state: whoever opens the engine is as one that wrote nothing ahead,
// in what it answers, in its digests, and in its rows. Some clusters begin at the level before payloads had numbers.
func TestACrashBehindASpill(t *testing.T) {
	require.WithoutRace(t)
	for seed := range int64(12) {
		chance := rand.New(rand.NewSource(seed))
		w := newWalk(seed)
		level := []uint32{Level, aheadLevel - 1}[seed%2]
		a, err := Open(table.NewMemory())
		must(err)
		c := &crashing{t: t, engine: table.NewMemory()}
		c.crash()
		for n := range 500 {
			w.index += 1 + uint64(chance.Intn(100))
			e := w.entry()
			switch n {
			case 0:
				e = register(t)
			case 250:
				e.Commands = append(e.Commands, &logv1.Command{Body: &logv1.Command_RaiseLevel{RaiseLevel: &logv1.RaiseLevel{Level: Level}}})
			}
			e.Header.Level = level
			data, err := proto.Marshal(e)
			must(err)
			result := a.Apply(w.index, w.term, e)
			if got, want := answers(c.apply(logged{w.index, w.term, data})), answers(result); got != want {
				t.Fatalf("seed %d, entry %d: the one that crashed answers\n%q\nthe other\n%q", seed, n, got, want)
			}
			if got, want := fmt.Sprintf("%x", c.m.Checkpoints()), fmt.Sprintf("%x", a.Checkpoints()); got != want {
				t.Fatalf("seed %d, entry %d: the one that crashed has the checkpoints\n%s\nthe other\n%s", seed, n, got, want)
			}
			w.learn(e, result)
			switch chance.Intn(12) {
			case 0, 1, 2, 3:
				must(c.m.Spill())
			case 4:
				must(c.m.Flush())
			case 5:
				c.crash()
			}
		}
		must(a.Flush())
		must(c.m.Flush())
		if got, want := dump(c.m), dump(a); got != want {
			t.Fatalf("seed %d: the one that crashed differs:\n%s", seed, cmp.Diff(want, got))
		}
		if got, want := rowsOf(c.engine, tableNumbered), rowsOf(a.engine, tableNumbered); got != want || want == "" {
			t.Fatalf("seed %d: the one that crashed has the payloads\n%s\nthe other\n%s", seed, got, want)
		}
	}
}

func rowsOf(e table.Engine, tbl byte) string {
	text := strings.Builder{}
	must(e.Scan([]byte{tbl}, table.End([]byte{tbl}), func(k, value []byte) bool {
		fmt.Fprintf(&text, "%q %q\n", k, value)
		return true
	}))
	return text.String()
}

// Events and payloads do not wait in memory for the flush, and are there as before.
func TestWhatOnlyGrowsIsWrittenAhead(t *testing.T) {
	r := newRig(t)
	r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {queue: q, needs: [a], input: {was: \"${steps.a.output.pad}\"}}\n")
	must(r.m.Flush())
	at, _ := r.m.Applied()
	worker := r.session(1000 * second)
	pad := strings.Repeat("x", 100<<10)
	for n := range 12 {
		r.start("w", fmt.Sprint("i", n), `{}`)
	}
	for _, run := range r.poll(worker, "q", 12) {
		if _, refusal := r.complete(run, `{"pad":"`+pad+`"}`); refusal != nil {
			t.Fatal(refusal)
		}
		must(r.m.Relieve(64 << 20))
		if dirty := r.m.Dirty(); dirty > spillBytes+100<<10 {
			t.Fatalf("%d bytes wait", dirty)
		}
	}
	if flushed := r.m.Flushed(); flushed != at {
		t.Fatalf("entry %d is flushed, and nothing asked for more than %d", flushed, at)
	}
	if held := r.m.namespaces[DefaultNamespace].instances["i0"].root.runs[0].held[roleOutput]; held != nil {
		t.Error("an output that was written is in memory")
	}
	for _, run := range r.poll(worker, "q", 12) { // b, whose input was made of what a put out
		if want := `{"was":"` + pad + `"}`; string(run.InputPayload.GetBytes()) != want {
			t.Fatalf("the input of %s is %.40q", run.InstanceId, run.InputPayload.GetBytes())
		}
		history, err := r.m.GetHistory(&v1.GetHistoryRequest{InstanceId: run.InstanceId})
		if err != nil || len(history.Events) != 6 {
			t.Fatalf("the history of %s has %d events, %v", run.InstanceId, len(history.GetEvents()), err)
		}
	}
	must(r.m.Relieve(1))
	if flushed := r.m.Flushed(); flushed != r.index || r.m.Dirty() != 0 {
		t.Fatalf("entry %d of %d is flushed, and %d bytes wait", flushed, r.index, r.m.Dirty())
	}
	r.reopened()
}

// What is written ahead of a namespace that was made again outlives the flush that removes the rows of the one before.
func TestANamespaceMadeAgainKeepsWhatWasWrittenAhead(t *testing.T) {
	r := newRig(t)
	in := func(c *logv1.Command) {
		t.Helper()
		c.Envelope = &logv1.Envelope{Namespace: "n"}
		if out := r.apply(&logv1.Entry{Commands: []*logv1.Command{c}}).Outcomes[0]; out.Refusal != nil {
			t.Fatal(out.Refusal)
		}
		must(r.m.Spill())
	}
	begin := func(input string) {
		t.Helper()
		in(&logv1.Command{Body: &logv1.Command_CreateNamespace{CreateNamespace: &v1.CreateNamespaceRequest{Namespace: "n"}}})
		in(registration("workflow: w\nsteps:\n  a: {queue: q}\n"))
		in(&logv1.Command{Body: &logv1.Command_StartInstance{StartInstance: &v1.StartInstanceRequest{InstanceId: "i", Workflow: "w", InputPayload: &v1.Payload{Bytes: []byte(input)}}}})
	}
	begin(`{"k":1}`)
	in(&logv1.Command{Body: &logv1.Command_DeleteNamespace{DeleteNamespace: &v1.DeleteNamespaceRequest{Namespace: "n", Force: true}}})
	begin(`{"k":2}`)
	must(r.m.Flush())
	r.reopened()
	i, err := r.m.GetInstance(&v1.GetInstanceRequest{Namespace: "n", InstanceId: "i"})
	if err != nil || string(i.InputPayload.GetBytes()) != `{"k":2}` {
		t.Fatalf("its input is %v, %v", i.GetInputPayload(), err)
	}
	if rows := strings.Count(rowsOf(r.engine, tableNumbered), "\n"); rows != 1 {
		t.Fatalf("%d payloads are stored", rows)
	}
}

// A payload that is replaced leaves no row, whether it was written by the flush, ahead of it, or not at all, and whether it had a number.
func TestAPayloadThatIsReplacedLeavesNoRow(t *testing.T) {
	r := &rig{t: t, engine: table.NewMemory(), level: aheadLevel - 1}
	var err error
	r.m, err = Open(r.engine)
	must(err)
	r.register("workflow: w\nsteps:\n  a: {queue: q}\n")
	r.start("w", "i", `{}`)
	run := r.poll(r.session(1000*second), "q", 1)[0]
	report := func(said string) {
		t.Helper()
		_, refusal := r.do(&logv1.Command{Body: &logv1.Command_ReportProgress{ReportProgress: &v1.ReportProgressRequest{
			InstanceId: "i", Step: "a", Token: run.Token, ProgressPayload: &v1.Payload{Bytes: []byte(said)},
		}}})
		if refusal != nil {
			t.Fatal(refusal)
		}
	}
	stored := func(without, with int) {
		t.Helper()
		must(r.m.Flush())
		r.reopened()
		progress, err := r.m.namespaces[DefaultNamespace].instances["i"].payload(r.engine, at{}, roleProgress)
		if err != nil || string(progress.GetBytes()) != "last" {
			t.Errorf("the progress is %v, %v", progress, err)
		}
		if a, b := strings.Count(rowsOf(r.engine, tablePayload), "\n"), strings.Count(rowsOf(r.engine, tableNumbered), "\n"); a != without || b != with {
			t.Errorf("%d payloads without and %d with a number are stored, not %d and %d", a, b, without, with)
		}
	}
	report("first")
	report("last")
	stored(2, 0) // with the input
	r.tell(&logv1.Command{Body: &logv1.Command_RaiseLevel{RaiseLevel: &logv1.RaiseLevel{Level: Level}}})
	report("first")
	report("last") // the first was never written
	stored(1, 1)
	report("first")
	must(r.m.Spill())
	report("last")
	stored(1, 1)
}

// A payload that its instance tells of, and that is not there, is damage.
func TestAPayloadThatIsMissingIsNotEmpty(t *testing.T) {
	r := newRig(t)
	r.register("workflow: w\nsteps:\n  a: {queue: q}\n")
	r.start("w", "i", `{}`)
	must(r.m.Flush())
	engine := copied(t, r.engine, func(k, value []byte) ([]byte, bool) { return value, !bytes.HasPrefix(k, []byte{tableNumbered}) })
	m, err := Open(engine)
	must(err)
	if _, err := m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i"}); err == nil || !strings.Contains(err.Error(), "lacks the payload") {
		t.Fatalf("it is read: %v", err)
	}
}
