package check

import (
	"slices"
	"strconv"
	"strings"
)

// Body is what a workflow says of the steps inside a step, none of which has a body.
type Body struct {
	Needs map[string][]string // of each step inside, those that it needs there
	Undo  []string            // those that have a compensation
	// How often the body is done: for each of so many items, of which so many at a time, or for so many turns.
	Items, Width, Turns int
}

// frames is how often a body is done at least before its step completes.
func (b *Body) frames() int { return max(1, b.Items, b.Turns) }

// Bodies checks what is inside steps: the runs of an activation begin behind those that they need in it, and no activation begins before there
// is room for it; a step completes behind all that is inside it, and not before its body was done as often as it says; nothing inside
// begins once the step fails, and then all that was completed inside is undone, once, what came behind it first, and before the
// step has failed.
//
// flows are bodies by the first word of an instance's name and the step.
func Bodies(events []Event, flows map[string]map[string]Body) []Fact {
	var f faults
	instances := map[string]*insides{}
	for _, e := range events {
		bodies, is := flows[first(e.Instance)]
		if !is {
			continue
		}
		i := instances[e.Instance]
		if i == nil {
			i = &insides{f: &f, bodies: bodies, ends: map[string]string{}, undone: map[string]bool{}, frames: map[string]int{}, failing: map[string]bool{}}
			instances[e.Instance] = i
		}
		i.see(e)
	}
	return f.list
}

// activation cuts a run's name into its step's and the number of the activation.
func activation(run string) (step string, n int) {
	step, number, _ := strings.Cut(run, "#")
	n, _ = strconv.Atoi(number) // none is the first
	return step, n
}

func inActivation(step string, n int) string { return RunName(step, int32(n)) }

// RunName is what the checkers call a run: by its step, and behind the first by its index.
func RunName(step string, index int32) string {
	if index == 0 {
		return step
	}
	return step + "#" + strconv.Itoa(int(index))
}

// insides is an instance, as far as the feed has come.
type insides struct {
	f       *faults
	bodies  map[string]Body
	ends    map[string]string // by run, how it ended
	undone  map[string]bool
	frames  map[string]int  // by step, how many activations of its body are told of
	failing map[string]bool // steps
	stops   bool            // the instance
}

func (i *insides) see(e Event) {
	if e.Type == "instance.failing" || e.Type == "instance.cancelling" {
		i.stops = true
	}
	run, compensation := strings.CutSuffix(e.Step, ".compensate")
	step, n := activation(e.Step)
	if compensated, is := strings.CutSuffix(step, ".compensate"); is {
		run, compensation, step = inActivation(compensated, n), true, compensated
	}
	if _, is := i.bodies[step]; is && !compensation {
		i.owner(e, step)
		return
	}
	for owner, b := range i.bodies {
		if _, inside := b.Needs[step]; inside {
			if compensation {
				i.undo(e, owner, &b, run)
			} else {
				i.inside(e, owner, &b, step, n)
			}
		}
	}
}

// inside sees what happens to a run inside a step.
func (i *insides) inside(e Event, owner string, b *Body, step string, n int) {
	begins := e.Type == "step.ready" || e.Type == "step.leased"
	if n >= i.frames[owner] && strings.HasPrefix(e.Type, "step.") {
		i.begin(e, owner, b, n)
	}
	switch {
	case begins && (i.failing[owner] || i.stops):
		i.f.add("S1", "position %d: %s of %s is begun inside %s, which stops", e.Position, e.Step, e.Instance, owner)
	case begins:
		for _, need := range b.Needs[step] {
			if end := i.ends[inActivation(need, n)]; end != "step.completed" {
				i.f.add("S1", "position %d: %s of %s is begun, and %s, which it needs there, has %q", e.Position, e.Step, e.Instance, need, end)
			}
		}
	}
	switch e.Type {
	case "step.completed", "step.failed", "step.cancelled", "step.skipped":
		i.ends[e.Step] = e.Type
	}
}

// begin sees the first of an activation.
func (i *insides) begin(e Event, owner string, b *Body, n int) {
	if n > i.frames[owner] || n >= b.frames() {
		i.f.add("S1", "position %d: activation %d of %s of %s begins behind %d of %d", e.Position, n, owner, e.Instance, i.frames[owner], b.frames())
	}
	going := 0
	for k := range i.frames[owner] {
		if i.open(b, k) {
			going++
		}
	}
	if going >= max(1, b.Width) {
		i.f.add("S1", "position %d: activation %d of %s of %s begins beside %d others, and may not", e.Position, n, owner, e.Instance, going)
	}
	i.frames[owner] = n + 1
}

// open: something of an activation has not ended.
func (i *insides) open(b *Body, n int) bool {
	for step := range b.Needs {
		if i.ends[inActivation(step, n)] == "" {
			return true
		}
	}
	return false
}

// owner sees what happens to a step that has a body.
func (i *insides) owner(e Event, step string) {
	b := i.bodies[step]
	switch e.Type {
	case "step.failing":
		i.failing[step] = true
	case "step.completed":
		if i.failing[step] || i.frames[step] != b.frames() {
			i.f.add("S1", "position %d: %s of %s is completed, with %d of %d activations of its body", e.Position, step, e.Instance, i.frames[step], b.frames())
		}
		for n := range i.frames[step] {
			for inside := range b.Needs {
				if end := i.ends[inActivation(inside, n)]; end != "step.completed" {
					i.f.add("S1", "position %d: %s of %s is completed, and %s inside it has %q", e.Position, step, e.Instance, inActivation(inside, n), end)
				}
			}
		}
	case "step.failed":
		for n := range i.frames[step] {
			for _, inside := range b.Undo {
				if run := inActivation(inside, n); i.ends[run] == "step.completed" && !i.undone[run] {
					i.f.add("saga", "position %d: %s of %s has failed, and %s inside it is not undone", e.Position, step, e.Instance, run)
				}
			}
		}
	}
}

// undo sees what happens to the compensation of a run inside a step: what came behind it in its activation, and in later ones, is undone.
func (i *insides) undo(e Event, owner string, b *Body, run string) {
	step, n := activation(run)
	if i.ends[run] != "step.completed" {
		i.f.add("saga", "position %d: %s of %s is undone, and was not completed", e.Position, run, e.Instance)
	}
	for k := range i.frames[owner] {
		for _, other := range b.Undo {
			later := inActivation(other, k)
			if (k > n || k == n && behind(b.Needs, other, step)) && i.ends[later] == "step.completed" && !i.undone[later] {
				i.f.add("saga", "position %d: %s of %s is undone before %s, which came behind it", e.Position, run, e.Instance, later)
			}
		}
	}
	if e.Type == "step.completed" || e.Type == "step.skipped" {
		if i.undone[run] {
			i.f.add("saga", "position %d: %s of %s is undone again", e.Position, run, e.Instance)
		}
		i.undone[run] = true
	}
}

func behind(needs map[string][]string, step, of string) bool {
	return slices.ContainsFunc(needs[step], func(need string) bool { return need == of || behind(needs, need, of) })
}
