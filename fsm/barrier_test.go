package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

const (
	meeting = `
workflow: meeting
steps:
  meet: {barrier: {name: "batch-${input.day}", parties: 3}, timeouts: {total: 60s}}
  go: {needs: [meet], queue: q, input: "${steps.meet.output}"}
`
	pair = `
workflow: pair
steps:
  meet: {barrier: {name: "${input.at}", parties: "${input.parties}"}}
  late: {needs: [{step: meet, ends: failed, codes: [PARTIES_DIFFER]}], queue: q}
`
)

// Parties wait until so many are there, and then all of them go on, in one entry, and are told which they are. Who comes behind is one of the
// next.
func TestABarrierWaitsForItsParties(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(meeting)
		r.start("meeting", "a", `{"day":1}`)
		r.start("meeting", "other", `{"day":2}`)
		r.midway()
		r.start("meeting", "b", `{"day":1}`)
		r.midway()
		r.is("b", "RUNNING meet=WAITING go=PENDING")
		r.did(r.tell(startOf("meeting", "c", `{"day":1}`)), "instance.started", "step.waiting meet",
			"barrier.passed", "step.completed meet", "step.completed meet", "step.completed meet", "step.ready go", "step.ready go", "step.ready go")
		r.midway()
		r.is("other", "RUNNING meet=WAITING go=PENDING")
		generation := r.m.namespaces[DefaultNamespace].rec.Position - 6
		for n, run := range r.poll(r.session(600*second), "q", 3) {
			if want := fmt.Sprintf(`{"arrival":%d,"generation":%d,"parties":3}`, n+1, generation); run.InstanceId != string('a'+rune(n)) || string(run.InputPayload.Bytes) != want {
				t.Errorf("%s has passed with %s; want %s", run.InstanceId, run.InputPayload.Bytes, want)
			}
		}
		r.start("meeting", "d", `{"day":1}`)
		r.start("meeting", "e", `{"day":1}`)
		r.midway()
		r.is("d", "RUNNING meet=WAITING go=PENDING")
		r.start("meeting", "f", `{"day":1}`)
		r.is("d", "RUNNING meet=COMPLETED go=READY")
	})
}

// A barrier of one lets whoever comes pass.
func TestABarrierOfOne(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(pair)
		r.start("pair", "a", `{"at":"x","parties":1}`)
		r.midway()
		r.is("a", "COMPLETED meet=COMPLETED late=SKIPPED")
	})
}

// Whose instance ends, or whose time is over, is no party any more: another takes its place.
func TestAPartyLeavesItsBarrier(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(meeting)
		r.start("meeting", "slow", `{"day":1}`)
		r.tick(30 * second)
		r.start("meeting", "cancelled", `{"day":1}`)
		r.midway()
		r.tell(cancelOf("cancelled"))
		r.tick(30 * second)
		r.midway()
		r.is("slow", "FAILED(TIMEOUT_TOTAL) meet=FAILED go=CANCELLED")
		r.start("meeting", "a", `{"day":1}`)
		r.start("meeting", "b", `{"day":1}`)
		r.midway()
		r.is("b", "RUNNING meet=WAITING go=PENDING")
		if e := r.why("b", "meet"); e.Sentence != `Step "meet" waits at barrier "batch-1", where 2 of 3 parties are: it, step "meet" of instance "a".` ||
			e.Code != v1.ExplainCode_EXPLAIN_CODE_BARRIER_PENDING || fmt.Sprint(e.Missing) != "[batch-1]" {
			r.t.Fatalf("explained as %v", e)
		}
		r.start("meeting", "c", `{"day":1}`)
		r.is("a", "RUNNING meet=COMPLETED go=READY")
	})
}

// The time of one that waits passes in the entry in which the last one comes: time goes first.
func TestTimeGoesBeforeABarrier(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(meeting)
		r.start("meeting", "a", `{"day":1}`)
		r.tick(30 * second)
		r.start("meeting", "b", `{"day":1}`)
		r.register("workflow: late\nsteps:\n  t: {timer: {after: 30s}}\n  meet: {needs: [t], barrier: {name: batch-1, parties: 3}}\n")
		r.start("late", "c", `{}`)
		r.tick(30 * second)
		r.midway()
		r.is("a", "FAILED(TIMEOUT_TOTAL) meet=FAILED go=CANCELLED")
		r.is("b", "RUNNING meet=WAITING go=PENDING")
		r.is("c", "RUNNING t=COMPLETED meet=WAITING")
	})
}

// All that wait at a barrier wait for the same number of parties, which the first of them says. When nobody is there it is as new.
func TestPartiesDiffer(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(pair)
		r.start("pair", "a", `{"at":"x","parties":2}`)
		r.midway()
		r.start("pair", "b", `{"at":"x","parties":3}`)
		r.midway()
		r.is("b", "RUNNING meet=FAILED late=READY")
		if got, want := r.reason("b", "meet"), `PARTIES_DIFFER: barrier "x" is for 2 parties, as step "meet" of instance "a" says, which waits there; this step says 3`; got != want {
			t.Errorf("it fails with %s", got)
		}
		r.start("pair", "c", `{"at":"x","parties":2}`)
		r.is("a", "COMPLETED meet=COMPLETED late=SKIPPED")
		r.start("pair", "d", `{"at":"x","parties":3}`)
		r.midway()
		r.is("d", "RUNNING meet=WAITING late=PENDING")
	})
}

// A name or a number that is none stands still, like any expression that fails.
func TestABarrierThatIsNone(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(pair)
		r.start("pair", "a", `{"at":"x","parties":0}`)
		r.start("pair", "b", `{"at":"","parties":2}`)
		r.midway()
		r.is("a", "RUNNING meet=INCIDENT late=PENDING")
		r.is("b", "RUNNING meet=INCIDENT late=PENDING")
	})
}

// Runs of one instance are parties too: items of a list, or branches; and one that races leaves when another wins.
func TestPartiesOfOneInstance(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: w
steps:
  each:
    forEach: {in: [1, 2, 3], width: 3, steps: {s: {barrier: {name: all, parties: 4}}, last: {needs: [s], queue: q}}}
  beside: {barrier: {name: all, parties: 4}}
  soon: {timer: {after: 10s}}
  first: {race: [beside, soon], queue: q}
`)
		r.did(r.tell(startOf("w", "i", `{}`)), "instance.started", "step.waiting each", "step.waiting s", "step.waiting s", "step.waiting s",
			"step.waiting beside", "step.waiting soon", "barrier.passed",
			"step.completed s", "step.completed s", "step.completed s", "step.completed beside",
			"step.ready last", "step.ready last", "step.ready last", "step.skipped soon", "step.ready first")
		r.midway()

		r.register("workflow: racer\nsteps:\n  meet: {barrier: {name: two, parties: 2}}\n  soon: {timer: {after: 10s}}\n  first: {race: [meet, soon], queue: q}\n")
		r.start("racer", "a", `{}`)
		r.tick(10 * second)
		r.midway()
		r.is("a", "RUNNING meet=SKIPPED soon=COMPLETED first=READY")
		r.start("racer", "b", `{}`)
		r.midway()
		r.is("b", "RUNNING meet=WAITING soon=WAITING first=PENDING")
	})
}

// What goes on behind one party may stop the instance of another: it has passed all the same, and nothing goes on behind it.
func TestAPartyWhoseInstanceStopsAsItPasses(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: w
steps:
  often: {loop: {while: "index == 0 || input.none", max: 3, steps: {s: {barrier: {name: all, parties: 2}}}}}
  beside: {barrier: {name: all, parties: 2}}
  behind: {needs: [beside], queue: q}
`)
		r.start("w", "i", `{}`)
		r.midway()
		r.is("i", "FAILED(CONDITION_INVALID) often=FAILED beside=COMPLETED behind=CANCELLED s=COMPLETED")
	})
}

// The turns of a loop meet at the same barrier again and again, each time as a new generation.
func TestABarrierIsUsedAgain(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: w
steps:
  rounds: {loop: {max: 3, steps: {s: {barrier: {name: round, parties: 2}}}, output: "${steps.s.output}"}}
output: "${steps.rounds.output}"
`)
		r.start("w", "a", `{}`)
		r.midway()
		r.start("w", "b", `{}`)
		r.midway()
		for _, id := range []string{"a", "b"} {
			r.is(id, "COMPLETED rounds=COMPLETED s=COMPLETED s=COMPLETED s=COMPLETED")
		}
		if a, b := r.result("a"), r.result("b"); strings.Replace(a, `"arrival":1`, `"arrival":2`, 1) != b {
			t.Errorf("the last round was %s and %s", a, b)
		}
	})
}

func (r *rig) result(id string) string {
	r.t.Helper()
	i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: id})
	if err != nil {
		r.t.Fatal(err)
	}
	return string(i.OutputPayload.GetBytes())
}

// Many parties that one command begins are counted, and pass, in the entries that follow it at the latest.
func TestABarrierOfManyParties(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  each: {forEach: {in: \"${input.list}\", width: 1000, steps: {s: {barrier: {name: all, parties: 1000}}}}}\n")
		r.start("w", "i", numbers(999))
		r.drain()
		r.start("w", "j", numbers(1))
		r.drain()
		r.is("j", "COMPLETED each=COMPLETED s=COMPLETED")
		if state := r.state("i"); !strings.HasPrefix(state, "COMPLETED each=COMPLETED") || strings.Contains(state, "WAITING") {
			t.Errorf("it is %s", state[:60])
		}
	})
}

// Who waits at a barrier is told with who waits for whom: those there, and those that hang together with them.
func TestWaitsAtBarriersAreListed(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(meeting)
		r.register(onWhole)
		r.start("meeting", "a", `{"day":1}`)
		r.start("meeting", "b", `{"day":1}`)
		r.start("meeting", "c", `{"day":2}`)
		r.start("whole", "w", `{"of":"a"}`)
		r.midway()
		for id, want := range map[string]string{
			"":  `a meet at batch-1 2/3, b meet at batch-1 2/3, c meet at batch-2 1/3, w wait for a`,
			"b": `a meet at batch-1 2/3, b meet at batch-1 2/3, w wait for a`,
			"w": `a meet at batch-1 2/3, b meet at batch-1 2/3, w wait for a`,
			"c": `c meet at batch-2 1/3`,
		} {
			reply, err := r.m.ListWaits(&v1.ListWaitsRequest{Namespace: DefaultNamespace, InstanceId: id})
			if err != nil {
				t.Fatal(err)
			}
			var says []string
			for _, w := range reply.Waits {
				says = append(says, w.Waits.InstanceId+" "+w.Waits.Step)
				if n := len(says) - 1; w.Barrier != "" {
					says[n] += fmt.Sprintf(" at %s %d/%d", w.Barrier, w.Arrived, w.Parties)
				} else {
					says[n] += " for " + w.WaitsFor.InstanceId
				}
			}
			if got := strings.Join(says, ", "); got != want {
				t.Errorf("with %q hang together %s; want %s", id, got, want)
			}
		}
		i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "a"})
		if err != nil || !slices.ContainsFunc(i.Runs, func(run *v1.Run) bool { return run.Barrier == "batch-1" && run.OtherInstance == "" }) {
			t.Errorf("its runs are %v, %v", i.GetRuns(), err)
		}
	})
}

// Latches are steps that are awaited: one that somebody opens, and one that is counted down. Who comes first waits, who comes later does
// not, and a count that is told again does not count.
func TestALatchIsAStepThatIsAwaited(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: gate
steps:
  opened: {approval: {}}
  down: {loop: {while: "index < input.count", steps: {one: {signal: {name: down}}}}}
`)
		for _, step := range []string{"opened", "down"} {
			r.register(fmt.Sprintf(waitFor, "on-"+step, step))
			r.start("on-"+step, "before-"+step, `{"of":"gate-1"}`)
		}
		r.start("gate", "gate-1", `{"count":2}`)
		r.midway()
		r.is("before-opened", "RUNNING wait=WAITING go=PENDING")
		r.tell(approve("gate-1", "opened", ""))
		r.is("before-opened", "RUNNING wait=COMPLETED go=READY")
		for _, id := range []string{"1", "1"} {
			c := signalOf("gate-1", "down")
			c.GetSendSignal().SignalId = id
			r.tell(c)
		}
		r.midway()
		r.is("before-down", "RUNNING wait=WAITING go=PENDING")
		c := signalOf("gate-1", "down")
		c.GetSendSignal().SignalId = "2"
		r.tell(c)
		r.midway()
		for _, step := range []string{"opened", "down"} {
			r.start("on-"+step, "behind-"+step, `{"of":"gate-1"}`)
			r.is("before-"+step, "RUNNING wait=COMPLETED go=READY")
			r.is("behind-"+step, "RUNNING wait=COMPLETED go=READY")
		}
	})
}

// A cluster of the level before refuses the fifth edition of the language.
func TestBarriersWaitForTheLevel(t *testing.T) {
	ofLevel(t, "workflow: w\nsteps:\n  a: {barrier: {name: x, parties: 2}}\n", barrierLevel)
}

// checkBarriers: who waits at a barrier is known to both orders, all there say one number, and that is more than there are.
func checkBarriers(ns *namespace) error {
	known := 0
	for _, i := range ns.instances {
		for at := range i.all() {
			k := i.key(at)
			p, has := ns.parties.of.Get(&party{run: &k})
			if has != i.arrived(at) || has && (p.barrier != i.run(at).Other || p.parties != i.run(at).Order) {
				return fmt.Errorf("step %s of %s waits at a barrier: %v, and is known for it: %+v", i.step(at).ID, i.rec.InstanceId, i.arrived(at), p)
			}
			if has {
				known++
			}
		}
	}
	if known > ns.parties.of.Len() || ns.parties.of.Len() != ns.parties.at.Len() {
		return fmt.Errorf("%d runs wait at barriers, and %d are known by who they are, %d by where they wait", known, ns.parties.of.Len(), ns.parties.at.Len())
	}
	var broken error
	ns.parties.at.Ascend(func(p *party) bool {
		if there := ns.parties.there(p.barrier, int(p.parties)); there[0].parties != p.parties || len(there) >= int(p.parties) {
			broken = fmt.Errorf("%d parties wait at barrier %s, of %d, and the first says %d", len(there), p.barrier, p.parties, there[0].parties)
		}
		return broken == nil
	})
	return broken
}
