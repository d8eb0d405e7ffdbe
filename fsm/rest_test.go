package fsm

import (
	"strings"
	"testing"
	"unsafe"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// What something writes to the memory that all runs at rest share stops the process in the same entry.
func TestARunAtRestThatIsChangedIsFatal(t *testing.T) {
	for name, spoil := range map[string]func() (undo func()){
		"motion": func() func() { noMotion.Order = 1; return func() { noMotion.Order = 0 } },
		"aside":  func() func() { noAside.Code = "X"; return func() { noAside.Code = "" } },
	} {
		r := newRig(t)
		undo := spoil()
		func() {
			defer func() {
				if said, _ := recover().(string); !strings.Contains(said, "a run at rest was changed") {
					t.Errorf("%s: the entry says %q", name, said)
				}
			}()
			defer undo()
			r.tick(1)
		}()
	}
}

// A run that waits for its needs, and one that has ended, has nothing of its own; one that moves has, and a failure is kept.
func TestARunAtRestIsSmall(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {queue: q, needs: [a]}\n  c: {queue: q, needs: [{step: b, ends: any}]}\n  d: {queue: q, needs: [c]}\n")
		r.start("w", "i", `{}`)
		session := r.session(1000 * second)
		r.done(r.poll(session, "q", 1)[0], `{}`)
		failed := r.poll(session, "q", 1)[0]
		r.tell(failOf(failed, "BROKEN"))
		r.midway()
		ns := r.m.namespaces[DefaultNamespace]
		i := ns.instances["i"]
		if i == nil { // opened again
			var err error
			if i, err = r.m.readInstance(ns, "i"); err != nil {
				r.t.Fatal(err)
			}
		}
		runs := i.root.runs
		for n, want := range []struct{ moves, aside bool }{{false, false}, {false, true}, {true, false}, {false, false}} {
			if moves, aside := runs[n].motion != noMotion, runs[n].aside != noAside; moves != want.moves || aside != want.aside {
				r.t.Errorf("run %d moves %v and has something aside %v, not %v", n, moves, aside, want)
			}
		}
	})
	if size := unsafe.Sizeof(run{}); size > 128 {
		t.Errorf("a run takes %d bytes", size)
	}
}

// Below the level where it forgets, what has ended keeps where it stood: what is stored of it does not depend on who runs it.
func TestARunForgetsFromALevelOn(t *testing.T) {
	for level, forgets := range map[uint32]bool{restLevel - 1: false, restLevel: true} {
		r := newRig(t)
		var err error
		if r.m, err = OpenAt(r.engine, level); err != nil {
			t.Fatal(err)
		}
		r.level = level
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n")
		r.start("w", "i", `{}`)
		r.done(r.poll(r.session(1000*second), "q", 1)[0], `{}`)
		if run := r.m.namespaces[DefaultNamespace].instances["i"].root.runs[0]; run.State != v1.RunState_RUN_STATE_COMPLETED || (run.OrderSeq == 0) != forgets {
			t.Errorf("at level %d the run is %+v", level, run.motion)
		}
	}
}
