package fsm

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/fsm/graph/sound"
	"github.com/lockstep-dev/lockstep/fsm/graph/source"
	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// drawnSteps draws a definition for the checker to be tried on: its conditions are fields of the input, and its times are
// drawn again for each run, so that anything may come before anything else.
type drawnSteps struct {
	*rand.Rand
	times *rand.Rand
	reads bool
	b     strings.Builder
	count int
	met   bool                // a step that is drawn is a barrier, and may be in the race that comes next
	up    map[string][]string // what is upstream of a step
}

func (d *drawnSteps) one(in int) bool { return d.IntN(in) == 0 }

// time is one that may be behind all others, also those that are not drawn: a timer's step that stands still has a month.
func (d *drawnSteps) time() string {
	t := 1 + d.times.IntN(1_000_000)
	if d.times.IntN(3) == 0 {
		t += 3_000_000
	}
	return fmt.Sprintf("%ds", t)
}

// drawn is a definition: the same for the same seed, but for its times.
func drawn(seed, run uint64, reads bool) string {
	d := &drawnSteps{Rand: rand.New(rand.NewPCG(seed, 1)), times: rand.New(rand.NewPCG(seed, run+2)), reads: reads, up: map[string][]string{}}
	d.b.WriteString("workflow: w\nsteps:\n")
	d.steps("  ", 2+d.IntN(5), 0)
	return d.b.String()
}

func (d *drawnSteps) steps(indent string, many, depth int) {
	var ids, waits []string
	for range many {
		id := fmt.Sprint("s", d.count)
		d.count++
		fmt.Fprintf(&d.b, "%s%s:\n", indent, id)
		race := len(waits) > 1 && d.one(3)
		if race {
			d.behind(id, waits)
			fmt.Fprintf(&d.b, "%s  race: [%s]\n", indent, strings.Join(waits, ", "))
			waits, d.met = nil, false
		} else {
			d.needs(indent+"  ", id, ids)
		}
		if d.one(4) {
			fmt.Fprintf(&d.b, "%s  when: input.%s\n", indent, id)
		}
		if d.kind(indent+"  ", id, depth) {
			waits = append(waits, id)
		}
		ids = append(ids, id)
	}
}

// behind has a step be behind others, and all that these are behind.
func (d *drawnSteps) behind(id string, needs []string) {
	for _, need := range needs {
		d.up[id] = append(append(d.up[id], need), d.up[need]...)
	}
}

func (d *drawnSteps) needs(indent, id string, ids []string) {
	var needs, read []string
	for _, need := range ids {
		switch d.IntN(5) {
		case 0:
			needs, read = append(needs, need), append(read, need)
		case 1:
			ends := []string{"failed", "any"}[d.IntN(2)]
			codes := []string{"", ", codes: [A]", ", codes: [B, TIMEOUT_TOTAL]", ", codes: [REJECTED]"}[d.IntN(4)]
			needs, read = append(needs, fmt.Sprintf("{step: %s, ends: %s%s}", need, ends, codes)), append(read, need)
		}
	}
	if len(needs) == 0 {
		return
	}
	d.behind(id, read)
	fmt.Fprintf(&d.b, "%sneeds: [%s]\n", indent, strings.Join(needs, ", "))
	if len(needs) > 1 && d.one(3) {
		fmt.Fprintf(&d.b, "%sjoin: {atLeast: %d}\n", indent, 1+d.IntN(len(needs)))
	}
}

// kind draws what a step does, and says whether it can race.
func (d *drawnSteps) kind(indent, id string, depth int) (waits bool) {
	switch k := d.IntN(10); {
	case k == 0:
		fmt.Fprintf(&d.b, "%ssignal: {name: %s}\n%stimeouts: {total: %s}\n", indent, id, indent, d.time())
	case k == 1:
		fmt.Fprintf(&d.b, "%sapproval: {}\n%stimeouts: {total: %s}\n", indent, indent, d.time())
	case k == 2 && d.one(2):
		fmt.Fprintf(&d.b, "%stimer: {after: %s}\n", indent, d.time())
	case k == 2:
		return d.barrier(indent, id)
	case k == 3 && depth < 2:
		body := []string{"scope:", "forEach:\n" + indent + "  in: \"${input.list}\"", "loop:\n" + indent + "  max: 2"}[d.IntN(3)]
		fmt.Fprintf(&d.b, "%stimeouts: {total: %s}\n%s%s\n%s  steps:\n", indent, d.time(), indent, body, indent)
		d.steps(indent+"    ", 1+d.IntN(3), depth+1)
		return false
	case k == 4:
		d.await(indent, id)
	case k == 5:
		d.call(indent, id)
		return false
	default:
		if up := d.up[id]; d.reads && len(up) > 0 && !d.one(3) {
			fmt.Fprintf(&d.b, "%sinput: \"${steps.%s.output}\"\n", indent, up[d.IntN(len(up))])
		}
		fmt.Fprintf(&d.b, "%squeue: %s\n%sretry: {attempts: 1}\n%stimeouts: {total: %s}\n", indent, id, indent, indent, d.time())
		return false
	}
	return true
}

// wanderer lets instances of one definition end in one way after another.
type wanderer struct {
	*rig
	rng      *rand.Rand
	seed     uint64
	reads    bool
	versions uint64 // that are registered, each with times of its own
	runs     int
	lucky    bool     // nothing fails by anybody's word: else what is behind much that may fail is hardly ever seen
	others   []string // that were started for the instance to call, or to wait for
}

func newWanderer(t *testing.T, seed uint64, reads bool) *wanderer {
	m, err := Open(table.NewMemory())
	must(err)
	r := &rig{t: t, m: m, engine: m.engine, again: func(*rig) {}}
	r.apply(&logv1.Entry{})
	r.register(kid)
	r.register(other)
	r.register(mate)
	return &wanderer{rig: r, rng: rand.New(rand.NewPCG(seed, 0)), seed: seed, reads: reads}
}

// wander lets an instance end in some way, one thing at a time, and returns which of its steps were begun, and which stood still for
// what they read.
func (w *wanderer) wander() (begun, still map[string]bool) {
	if w.runs++; w.runs%32 == 1 {
		w.register(drawn(w.seed, w.versions, w.reads))
		w.versions++
	}
	id := fmt.Sprint("i", w.runs)
	begun, still = map[string]bool{}, map[string]bool{}
	w.lucky = w.rng.IntN(3) == 0
	saw := func(result Result) {
		for _, e := range result.Events() {
			switch e.Type {
			case "lockstep.step.incident.v1":
				begun[e.Data.Step] = true
				still[e.Data.Step] = still[e.Data.Step] || e.Data.Code != "CONDITION_INVALID"
			case "lockstep.step.ready.v1", "lockstep.step.waiting.v1":
				begun[e.Data.Step] = true
			}
		}
	}
	w.taken(id)
	saw(w.tell(startOf("w", id, w.drawnInput())))
	i := w.m.namespaces[DefaultNamespace].instances[id]
	patience := w.rng.IntN(6) // how much rather something happens than time passes
	for n := 0; i.live(); n++ {
		if n > 500 {
			w.t.Fatalf("seed %d: it does not end: %s", w.seed, w.state(id))
		}
		if moves := w.moves(i, n); len(moves) > 0 && w.rng.IntN(patience+2) > 0 {
			saw(w.tell(moves[w.rng.IntN(len(moves))]()))
			continue
		}
		next, ok := w.m.deadlines.first()
		if !ok {
			w.t.Fatalf("seed %d: nothing happens: %s", w.seed, w.state(id))
		}
		saw(w.tick(max(next.at-w.elapsed, 1)))
	}
	w.leave()
	return begun, still
}

// drawnInput has conditions hold, or not, or have no value, and what calls are given too.
func (w *wanderer) drawnInput() string {
	fields := []string{fmt.Sprintf(`"run":%d,"list":%s`, w.runs, []string{"[]", "[1]", "[1,2]"}[w.rng.IntN(3)])}
	for _, line := range strings.Split(drawn(w.seed, 0, w.reads), "\n") {
		line = strings.TrimSpace(line)
		if id, is := strings.CutPrefix(line, "when: input."); is && w.rng.IntN(8) > 0 {
			fields = append(fields, fmt.Sprintf(`"%s":%v`, id, w.rng.IntN(3) > 0))
		}
		if id, is := strings.CutPrefix(line, "input: \"${input.given_"); is && w.rng.IntN(8) > 0 {
			fields = append(fields, fmt.Sprintf(`"given_%s":1`, strings.TrimSuffix(id, "}\"")))
		}
	}
	return "{" + strings.Join(fields, ",") + "}"
}

// moves are what can happen to an instance from outside.
func (w *wanderer) moves(i *instance, n int) (moves []func() *logv1.Command) {
	for at, run := range i.all() {
		step := i.step(at)
		switch {
		case run.State == v1.RunState_RUN_STATE_WAITING && dependent(step.Kind):
			moves = append(moves, w.otherMoves(run.Other)...)
		case i.arrived(at):
			moves = append(moves, w.mateMoves(run.Other)...)
		case run.State == v1.RunState_RUN_STATE_READY:
			moves = append(moves, func() *logv1.Command { return w.worked(step.ID) })
		case run.State == v1.RunState_RUN_STATE_WAITING && step.Kind == graph.KindSignal:
			c := signalOf(i.rec.InstanceId, step.Signal)
			c.GetSendSignal().SignalId = fmt.Sprint(n)
			moves = append(moves, func() *logv1.Command { return c })
		case run.State == v1.RunState_RUN_STATE_WAITING && step.Kind == graph.KindApproval:
			c := approve(i.rec.InstanceId, step.ID, "")
			if !w.lucky && w.rng.IntN(3) == 0 {
				c = reject(i.rec.InstanceId, step.ID, "")
				c.GetRejectStep().Index = at.index
			} else {
				c.GetApproveStep().Index = at.index
			}
			moves = append(moves, func() *logv1.Command { return c })
		}
	}
	return moves
}

// worked is what a worker says of a run that it gets.
func (w *wanderer) worked(queue string) *logv1.Command {
	return w.ends(w.poll(w.session(600*second), queue, 1)[0])
}

// ends is what a worker says of a run.
func (w *wanderer) ends(run *v1.LeasedRun) *logv1.Command {
	if code := w.rng.IntN(8); code < 4 && !w.lucky {
		return failOf(run, []string{"A", "B", "Z", rejected}[code])
	}
	c := completeOf(run)
	c.GetCompleteStep().OutputPayload = &v1.Payload{Bytes: []byte(`{"v":1}`)}
	return c
}

// checked is a drawn definition, and the steps that the checker says something of, by code.
func checked(t *testing.T, seed uint64, reads bool) (ids []string, says map[sound.Code]map[string]bool) {
	d, err := source.Parse([]byte(drawn(seed, 0, reads)), "yaml")
	if err != nil {
		t.Fatalf("%v\n%s", err, drawn(seed, 0, reads))
	}
	report := sound.Check(d.Checked)
	if report.Verdict == sound.NotChecked {
		t.Fatalf("seed %d is not checked: %+v", seed, report)
	}
	says = map[sound.Code]map[string]bool{}
	for _, f := range report.Findings {
		if says[f.Code] == nil {
			says[f.Code] = map[string]bool{}
		}
		says[f.Code][f.Step] = true
	}
	for n := range d.Checked.Graph.Nodes {
		ids = append(ids, d.Checked.Graph.Nodes[n].ID)
	}
	return ids, says
}

// What is said never to run does not run, and everything else runs in some outcome: on the machine itself, in random outcomes of random
// definitions, until each of their steps was seen or there were many.
func TestSoundnessIsWhatTheMachineDoes(t *testing.T) {
	const most = 30_000
	nevers := 0
	for seed := range seedsOf(t) {
		ids, says := checked(t, seed, false)
		never, seen := says[sound.StepNeverRuns], map[string]bool{}
		unseen := func() []string {
			return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return seen[id] || never[id] })
		}
		w := newWanderer(t, seed, false)
		for w.runs < 20 || w.runs < most && len(unseen()) > 0 {
			begun, _ := w.wander()
			for id := range begun {
				if seen[id] = true; never[id] {
					t.Fatalf("seed %d: step %s runs, and is said never to\n%s", seed, id, drawn(seed, 0, false))
				}
			}
		}
		if ids := unseen(); len(ids) > 0 {
			t.Errorf("seed %d: steps %v do not run in %d outcomes, and are not said never to\n%s", seed, ids, w.runs, drawn(seed, 0, false))
		}
		must(w.m.Close())
		nevers += len(never)
	}
	if t.Logf("%d steps never run", nevers); nevers < 3 {
		t.Errorf("only %d steps never run: the test sees nothing", nevers)
	}
}

// seedsOf are the definitions that are drawn: few, or as LOCKSTEP_SOUND_SEEDS says.
func seedsOf(t *testing.T) uint64 {
	n, err := strconv.ParseUint(cmp.Or(os.Getenv("LOCKSTEP_SOUND_SEEDS"), "25"), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What is said to stand still in some outcome, or in all, does so in one, and nothing else does.
func TestWhatStandsStillIsSaid(t *testing.T) {
	const most = 30_000
	stood := 0
	for seed := range seedsOf(t) {
		_, says := checked(t, seed, true)
		may, always := says[sound.StepMayStandStill], says[sound.StepStandsStill]
		seen := map[string]bool{}
		unseen := func() (ids []string) {
			for id := range may {
				if !seen[id] {
					ids = append(ids, id)
				}
			}
			return ids
		}
		w := newWanderer(t, seed, true)
		for w.runs < 30 || w.runs < most && len(unseen()) > 0 {
			begun, still := w.wander()
			for id := range begun {
				switch {
				case says[sound.StepNeverRuns][id]:
					t.Fatalf("seed %d: step %s runs, and is said never to\n%s", seed, id, drawn(seed, 0, true))
				case still[id] && !may[id] && !always[id]:
					t.Fatalf("seed %d: step %s stands still, and that is not said\n%s", seed, id, drawn(seed, 0, true))
				case still[id]:
					seen[id] = true
				}
			}
		}
		if ids := unseen(); len(ids) > 0 {
			t.Errorf("seed %d: steps %v do not stand still in %d outcomes, and are said to\n%s", seed, ids, w.runs, drawn(seed, 0, true))
		}
		must(w.m.Close())
		stood += len(may) + len(always)
	}
	if t.Logf("%d steps stand still", stood); stood < 3 {
		t.Errorf("only %d steps stand still: the test sees nothing", stood)
	}
}
