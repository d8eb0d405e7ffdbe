package check

import (
	"slices"
	"time"
)

// Waiting is what a workflow says of its steps that no worker takes, but for signals, and of its own time.
type Waiting struct {
	After     map[string]time.Duration // timers that count, by step
	Until     []string                 // timers with a date
	Approvals []string
	Races     map[string][]string // by the step that goes on with the first of them
	Total     time.Duration       // the timeout of its instances; zero is none
}

// Waits checks how what waits ends. A timer fires once, while its step waits: not before so much time has passed, nor before the
// wall time of the feed has reached its date. A decision is made once, while its step waits, and what is completed or
// rejected without one is a violation. Of a race one step completes, and of an instance that ends well the others have lost. Nothing
// times out, but in its time.
//
// Events do not tell uptime, so how long something took is judged by the operations around it: it took no longer than from when
// something was asked that had happened before, to when something was answered that happened later. Wall time may leap ahead, and so dates
// are held to what the feed shows alone. flows are by the first word of an instance's name.
func Waits(ops []*Op, events []Event, flows map[string]Waiting) []Fact {
	var f faults
	s := newSpans(ops, events)
	instances := map[string]*waiting{}
	for _, e := range events {
		flow, is := flows[first(e.Instance)]
		if !is {
			continue
		}
		i := instances[e.Instance]
		if i == nil {
			i = &waiting{Waiting: flow, f: &f, spans: s, runs: map[string]*wait{}}
			instances[e.Instance] = i
		}
		i.see(e)
	}
	return f.list
}

// waiting is an instance, as far as the feed has come.
type waiting struct {
	Waiting
	f     *faults
	spans spans

	began int64
	stops bool
	runs  map[string]*wait
}

// wait is a run of it.
type wait struct {
	since     int64 // the position; zero: it does not wait yet
	due       int64
	fired     bool
	decided   string // step.approved or step.rejected
	completed bool
	lost      bool
	over      bool
}

func (i *waiting) see(e Event) {
	r := i.runs[e.Step]
	if r == nil {
		r = &wait{}
		i.runs[e.Step] = r
	}
	switch e.Type {
	case "instance.started":
		i.began = e.Position
	case "instance.failing", "instance.cancelling":
		i.stop(e)
	case "instance.completed":
		i.end(e)
	case "step.waiting":
		if r.since != 0 || r.over || i.stops {
			i.f.add("S1", "position %d: %s of %s begins to wait, and did before, or is over", e.Position, e.Step, e.Instance)
		}
		r.since, r.due = e.Position, e.Due
	case "timer.fired":
		i.fire(e, r)
	case "step.approved", "step.rejected":
		i.decide(e, r)
	case "step.completed":
		i.complete(e, r)
	case "step.failed", "step.skipped", "step.cancelled":
		i.leave(e, r)
	}
}

// waits holds what ends a wait to one that there is.
func (i *waiting) waits(e Event, r *wait) {
	if r.since == 0 || r.over || i.stops {
		i.f.add("S1", "position %d: %s of %s, and %s does not wait", e.Position, e.Type, e.Instance, e.Step)
	}
}

func (i *waiting) fire(e Event, r *wait) {
	i.waits(e, r)
	if r.fired {
		i.f.add("S1", "position %d: the timer %s of %s fires again", e.Position, e.Step, e.Instance)
	}
	r.fired = true
	after, counts := i.After[e.Step]
	switch {
	case counts:
		if most := i.spans.most(r.since, e.Position); most < after {
			i.f.add("S6", "position %d: the timer %s of %s fires within %s of position %d, and waits for %s", e.Position, e.Step, e.Instance, most, r.since, after)
		}
	case !slices.Contains(i.Until, e.Step):
		i.f.add("S1", "position %d: %s of %s fires, and is no timer", e.Position, e.Step, e.Instance)
	case e.Due == 0 || e.Due != r.due:
		i.f.add("S6", "position %d: the date of %s of %s was %s, and is %s", e.Position, e.Step, e.Instance, date(r.due), date(e.Due))
	case e.Wall < e.Due:
		i.f.add("S6", "position %d: %s of %s fires %s before its date", e.Position, e.Step, e.Instance, time.Duration(e.Due-e.Wall))
	}
}

func date(at int64) string { return time.Unix(0, at).UTC().Format(time.RFC3339Nano) }

func (i *waiting) decide(e Event, r *wait) {
	i.waits(e, r)
	switch {
	case !slices.Contains(i.Approvals, e.Step):
		i.f.add("S1", "position %d: %s of %s, which waits for no approval: %s", e.Position, e.Step, e.Instance, e.Type)
	case r.decided != "":
		i.f.add("S1", "position %d: %s of %s is decided again: %s behind %s", e.Position, e.Step, e.Instance, e.Type, r.decided)
	}
	r.decided = e.Type
}

func (i *waiting) complete(e Event, r *wait) {
	_, counts := i.After[e.Step]
	switch {
	case r.over:
		i.f.add("S1", "position %d: %s of %s is completed, and had ended", e.Position, e.Step, e.Instance)
	case (counts || slices.Contains(i.Until, e.Step)) && !r.fired:
		i.f.add("S1", "position %d: %s of %s is completed, and its timer did not fire", e.Position, e.Step, e.Instance)
	case slices.Contains(i.Approvals, e.Step) && r.decided != "step.approved":
		i.f.add("S1", "position %d: %s of %s is completed, and nobody approved it", e.Position, e.Step, e.Instance)
	}
	if of, is := i.Races[e.Step]; is && i.winner(of) == "" {
		i.f.add("S1", "position %d: %s of %s is completed, and nothing of its race is", e.Position, e.Step, e.Instance)
	}
	if won := i.winner(i.race(e.Step)); won != "" {
		i.f.add("S1", "position %d: %s of %s is completed, and %s had won their race", e.Position, e.Step, e.Instance, won)
	}
	r.completed, r.over = true, true
}

// leave sees a run end otherwise than well.
func (i *waiting) leave(e Event, r *wait) {
	switch {
	case r.over:
		i.f.add("S1", "position %d: %s of %s ends, and had ended: %s", e.Position, e.Step, e.Instance, e.Type)
	case e.Type == "step.skipped" && e.Code == "RACE_LOST" && i.winner(i.race(e.Step)) == "":
		i.f.add("S1", "position %d: %s of %s has lost a race that nothing has won", e.Position, e.Step, e.Instance)
	case e.Type == "step.failed" && (e.Code == "REJECTED") != (r.decided == "step.rejected"):
		i.f.add("S1", "position %d: %s of %s fails with %s, and was decided on by %q", e.Position, e.Step, e.Instance, e.Code, r.decided)
	}
	r.lost, r.over = e.Code == "RACE_LOST", true
}

// race is the one that a step is in.
func (i *waiting) race(step string) []string {
	for _, of := range i.Races {
		if slices.Contains(of, step) {
			return of
		}
	}
	return nil
}

// winner is the step of a race that has completed.
func (i *waiting) winner(of []string) string {
	for _, step := range of {
		if r := i.runs[step]; r != nil && r.completed {
			return step
		}
	}
	return ""
}

func (i *waiting) stop(e Event) {
	if e.Type == "instance.failing" && e.Code == "TIMEOUT" {
		if most := i.spans.most(i.began, e.Position); i.Total == 0 || most < i.Total {
			i.f.add("S6", "position %d: %s times out within %s of its start, and has %s", e.Position, e.Instance, most, i.Total)
		}
	}
	i.stops = true
}

// end sees an instance end well: of its races all is over.
func (i *waiting) end(e Event) {
	if i.stops {
		i.f.add("S1", "position %d: %s is completed, and was stopped", e.Position, e.Instance)
	}
	for _, of := range i.Races {
		won := i.winner(of)
		for _, step := range of {
			if r := i.runs[step]; step != won && (r == nil || !r.lost) {
				i.f.add("S1", "position %d: %s is completed, %s won its race, and %s has not lost it", e.Position, e.Instance, won, step)
			}
		}
	}
}

// decides says that an operation is somebody's word about a step.
func (op *Op) decides() bool { return op.Kind == "approve" || op.Kind == "reject" }
