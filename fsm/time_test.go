package fsm

import (
	"testing"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// at applies an entry with a header of the test's own.
func (r *rig) at(raftTerm uint64, header *logv1.Header) Result {
	r.index++
	header.Level = Level
	return r.m.Apply(r.index, raftTerm, &logv1.Entry{Header: header})
}

func (r *rig) alive(session int64) bool { return r.m.sessions[session] != nil }

// Time passes only by what a leader counted in its own term.
func TestTimeIsWhatALeaderCounted(t *testing.T) {
	r := newRig(t)
	r.at(2, &logv1.Header{Term: 2, Elapsed: 5 * second})
	if up := r.m.Clock().Uptime; up != 0 {
		t.Fatalf("the first entry of a term moved time by %d", up)
	}
	r.at(2, &logv1.Header{Term: 2, Elapsed: 8 * second})
	if up := r.m.Clock().Uptime; up != 3*second {
		t.Fatalf("three seconds in a term moved time to %d", up)
	}
	r.at(2, &logv1.Header{Term: 2, Elapsed: 6 * second})
	r.at(2, &logv1.Header{Term: 2, Elapsed: 8 * second})
	if up := r.m.Clock().Uptime; up != 3*second {
		t.Fatalf("entries out of order moved time to %d", up)
	}
	r.at(3, &logv1.Header{Term: 2, Elapsed: 60 * second, Due: 60 * second})
	if up := r.m.Clock().Uptime; up != 3*second {
		t.Fatalf("an entry that was proposed in another term moved time to %d", up)
	}
}

// A tick that was proposed in one term and committed in a later one expires nothing.
func TestATickOfAnotherTermExpiresNothing(t *testing.T) {
	r := newRig(t)
	s := r.session(2 * second)
	r.elapsed = 3 * second
	r.apply(&logv1.Entry{}) // time passes, nobody ticks
	r.at(2, &logv1.Header{Term: 1, Elapsed: 9 * second, Due: 9 * second})
	if !r.alive(s) {
		t.Fatal("a tick of another term expired a session")
	}
	r.at(2, &logv1.Header{Term: 2, Elapsed: 0, Due: 0})
	if r.alive(s) {
		t.Fatal("the session outlived its ttl and a tick")
	}
}

// A renewal in the entry of a tick comes before it: it is good until SessionExpired.
func TestARenewalInTheSameEntryCounts(t *testing.T) {
	r := newRig(t)
	s := r.session(2 * second)
	r.elapsed, r.due = 5*second, 5*second
	result := r.apply(&logv1.Entry{Renewals: []*logv1.Renewal{{Session: s}}})
	if result.Renewals[0].Refusal != nil || !r.alive(s) {
		t.Fatalf("the renewal was answered %v", result.Renewals[0])
	}
}

// What fell due behind what the leader had in hand lives on; what fell due before that expires, though the leader never
// has nothing in hand.
func TestATickReachesAsFarAsTheLeaderHasLogged(t *testing.T) {
	r := newRig(t)
	s := r.session(2 * second)
	r.elapsed, r.due = 5*second, 2*second-1
	if r.apply(&logv1.Entry{}); !r.alive(s) {
		t.Fatal("the session ended before what the leader had in hand when it fell due")
	}
	r.elapsed, r.due = 6*second, 2*second
	if r.apply(&logv1.Entry{}); r.alive(s) {
		t.Fatal("the session outlived what was in hand when it fell due")
	}
}

// Of a run that has several timeouts only those are over that a tick reaches: the others may be overtaken by what the
// leader has in hand.
func TestATickLooksNoFurtherAtTheRestOfARun(t *testing.T) {
	r := newRig(t)
	r.register("workflow: w\nsteps: {a: {queue: q, timeouts: {heartbeat: 1s, run: 3s, total: 2s}}}\n")
	r.start("w", "i", "{}")
	run := r.poll(r.session(60*second), "q", 1)[0]
	r.elapsed, r.due = 4*second, second*3/2
	r.apply(&logv1.Entry{})
	if refusal := refusalOf(r.complete(run, "1")); refusal != nil {
		t.Fatalf("a completion that was in hand before the step's time was up is refused: %v", refusal)
	}
}

func refusalOf(_ *v1.CompleteStepResponse, refusal *v1.Refusal) *v1.Refusal { return refusal }

// A lease survives changes of leader without being reset, and does not outlive its holder for that: killed at the
// 59th second of a minute's lease, five times over, it has what is left each time.
func TestLeasesSurviveLeadersWithoutReset(t *testing.T) {
	r := newRig(t)
	s := r.session(60 * second)
	uptime := int64(0)
	for term := uint64(2); term < 7; term++ {
		r.at(term, &logv1.Header{Term: term})
		r.at(term, &logv1.Header{Term: term, Elapsed: 11 * second, Due: 11 * second})
		uptime += 11 * second
		if !r.alive(s) {
			t.Fatalf("the session ended at %ds of 60", uptime/second)
		}
		if left := r.m.sessions[s].rec.ExpireAt - r.m.Clock().Uptime; left != 60*second-uptime {
			t.Fatalf("after %d terms it has %ds left, want %ds", term-1, left/second, 60-uptime/second)
		}
	}
	r.at(7, &logv1.Header{Term: 7})
	r.at(7, &logv1.Header{Term: 7, Elapsed: 5 * second, Due: 5 * second})
	if r.alive(s) {
		t.Fatal("the session outlived its ttl")
	}
}

// Wall time never runs backwards, and goes on with uptime when no leader trusts its clock.
func TestWallTimeNeverRunsBackwards(t *testing.T) {
	r := newRig(t)
	wall := func(term uint64, elapsed, wall int64) int64 {
		r.at(term, &logv1.Header{Term: term, Elapsed: elapsed, Wall: wall})
		return r.m.Clock().Wall
	}
	if got := wall(2, 0, 1000*second); got != 1000*second {
		t.Fatalf("wall is %d", got)
	}
	if got := wall(2, second, 400*second); got != 1000*second {
		t.Fatalf("a clock that was set back moved wall to %d", got)
	}
	if got := wall(2, 3*second, 0); got != 1002*second {
		t.Fatalf("an untrusted clock moved wall to %d", got)
	}
	if up := r.m.Clock().Uptime; up != 3*second {
		t.Fatalf("uptime is %d", up)
	}
}

// A dead worker's run is granted again when its session expires, and an idle machine has no deadline.
func TestADeadWorkersRunIsGrantedAgain(t *testing.T) {
	r := newRig(t)
	r.register(chain)
	if d := r.m.Clock().Deadline; d != 0 {
		t.Fatalf("an idle machine has a deadline at %d", d)
	}
	r.start("chain", "i", `{}`)
	dead, waiting := r.session(2*second), r.session(60*second)
	old := r.poll(dead, "q", 1)[0]
	out := r.apply(&logv1.Entry{Commands: []*logv1.Command{{Envelope: &logv1.Envelope{WaitId: 77}, Body: &logv1.Command_PollSteps{PollSteps: &logv1.PollSteps{
		Session: waiting, Queues: []string{"q"}, Count: 1, Wait: 30 * second,
	}}}}}).Outcomes[0]
	if !out.Parked {
		t.Fatalf("the poll was answered %v", out)
	}
	if r.tick(second); !r.alive(dead) {
		t.Fatal("the session ended early")
	}
	settled := r.tick(second + 1).Settled
	if len(settled) != 1 || settled[0].WaitID != 77 {
		t.Fatalf("settled: %v", settled)
	}
	if run := settled[0].Reply.(*v1.PollStepsResponse).Runs[0]; run.Token <= old.Token || run.Attempt != 2 {
		t.Fatalf("granted again: %v", run)
	}
}
