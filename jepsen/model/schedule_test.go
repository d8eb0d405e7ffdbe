package model

import "testing"

// scheduled has made schedule s of workflow w, whose one step waits for a worker, at a wall time of 100 s: each ten seconds.
func scheduled(t *testing.T, overlap string) *told {
	h := tell(t, flow(Step{Name: "a"}))
	h.wall = 100 * second
	plan := Plan{Workflow: "w", Period: 10 * second, Overlap: overlap, Limit: 1, CatchUp: 30 * second}
	h.good(one(Command{Kind: Schedule, Schedule: "s", Plan: plan}, Fact{Kind: "schedule.created", Name: "s"}))
	return h
}

// come is the leader's word on a time, behind another, in seconds.
func come(after, at int64, taken bool, facts ...Fact) Entry {
	return one(Command{Kind: Fire, Schedule: "s", Position: 1, After: after * second, At: at * second, Answer: Answer{Taken: taken}}, facts...)
}

func timeIs(what string, due, lag int64) Fact {
	return Fact{Kind: "schedule." + what, Name: "s", Due: due * second, Lag: lag * second}
}

// begun are the facts of an instance that is started for a time.
func begun(id string, due, lag int64) []Fact {
	fired := timeIs("fired", due, lag)
	fired.Instance = id
	return []Fact{{Kind: "instance.started", Workflow: "w", Instance: id}, fired, {Kind: "step.ready", Instance: id, Step: "a"}}
}

const (
	at110 = "s@1970-01-01T00:01:50Z"
	at120 = "s@1970-01-01T00:02:00Z"
)

func TestTimesOfSchedules(t *testing.T) {
	first := func(t *testing.T, wall int64) *told {
		h := scheduled(t, SkipIt)
		h.wall = wall * second
		return h
	}
	first(t, 110).good(come(100, 110, true, begun(at110, 110, 0)...))
	first(t, 112).good(come(100, 110, true, begun(at110, 110, 2)...))
	first(t, 109).bad("schedule", "taken true", come(100, 110, true, begun(at110, 110, -1)...))
	first(t, 109).good(come(100, 110, false))
	first(t, 120).bad("schedule", "comes 110", come(100, 120, true, begun(at120, 120, 0)...)) // one is left out
	first(t, 112).bad("schedule", "for 110", come(100, 110, true, begun(at110, 110, 0)...))   // and how late it was is not so
	first(t, 110).bad("schedule", "must be fired", come(100, 110, true))
	first(t, 110).bad("schedule", "for 110", come(100, 110, true, timeIs("skipped", 110, 0)))
	first(t, 110).bad("schedule", "must be fired", come(100, 110, true, begun(at110, 110, 0)[0], begun(at110, 110, 0)[2]))
	first(t, 110).bad("S5", "is started by", come(100, 110, true, begun(at120, 110, 0)...))

	h := first(t, 110)
	h.good(come(100, 110, true, begun(at110, 110, 0)...))
	h.good(come(100, 110, false))
	h.bad("schedule", "taken true", come(100, 110, true, timeIs("skipped", 110, 0)))

	missed := timeIs("missed", 150, 50)
	missed.Count = 5
	late := come(100, 150, true, missed)
	late.Commands[0].Missed = 4
	first(t, 200).good(late)
	first(t, 180).bad("schedule", "taken true", late) // it may be caught up with
	missed.Count, missed.Ordinal = 4, 1
	late.Facts = []Fact{missed}
	first(t, 200).bad("schedule", "schedule.missed", late)
}

func TestOverlapsOfSchedules(t *testing.T) {
	busy := func(t *testing.T, overlap string) *told {
		h := scheduled(t, overlap)
		h.wall = 110 * second
		h.good(come(100, 110, true, begun(at110, 110, 0)...))
		h.wall = 120 * second
		return h
	}
	skipped := timeIs("skipped", 120, 0)
	skipped.Code = "OVERLAP"
	queued := timeIs("queued", 120, 0)
	busy(t, SkipIt).good(come(110, 120, true, skipped))
	busy(t, SkipIt).bad("schedule", "for 120", come(110, 120, true, queued))
	busy(t, SkipIt).bad("S5", "is started by", come(110, 120, true, begun(at120, 120, 0)...))
	busy(t, AllowAll).good(come(110, 120, true, begun(at120, 120, 0)...))
	busy(t, QueueIt).bad("schedule", "for 120", come(110, 120, true, skipped))

	cancel := func(facts ...Fact) Entry {
		return one(Command{Kind: Cancel, Instance: at110, Answer: Answer{State: Cancelled}}, append([]Fact{
			{Kind: "instance.cancelling", Instance: at110}, {Kind: "step.cancelled", Instance: at110, Step: "a"}, {Kind: "instance.cancelled", Instance: at110}}, facts...)...)
	}
	h := busy(t, QueueIt)
	h.good(come(110, 120, true, queued))
	h.good(cancel(begun(at120, 120, 0)...))
	h = busy(t, QueueIt)
	h.good(come(110, 120, true, queued))
	h.bad("liveness", "wait, and nothing runs", cancel())

	ends := []Fact{queued, {Kind: "instance.cancelling", Instance: at110}, {Kind: "step.cancelled", Instance: at110, Step: "a"}, {Kind: "instance.cancelled", Instance: at110}}
	busy(t, Replace).good(come(110, 120, true, append(ends, begun(at120, 120, 0)...)...))
	busy(t, Replace).bad("schedule", "runs on", come(110, 120, true, queued))
	busy(t, QueueIt).bad("S1", "instance.cancelling", come(110, 120, true, ends...))
}
