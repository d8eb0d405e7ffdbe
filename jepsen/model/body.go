package model

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// frame is one activation of a step's body, or of the workflow, whose owner is nil.
type frame struct {
	owner *run
	place int // among the items, or turns
	runs  []*run
	done  bool // all in it has ended well, while that was wanted
}

// stage is how far a step with a body is that does not end well.
type stage int

const (
	stageRunning stage = iota
	stageStopping
	stageUndoing
)

// named is the name of a run of a step in the nth frame of its scope.
func named(step string, n int) string {
	if n == 0 {
		return step
	}
	return fmt.Sprintf("%s#%d", step, n)
}

// activate adds a frame with its runs.
func (i *instance) activate(owner *run, steps []Step) *frame {
	f := &frame{owner: owner}
	n := 0
	for i.run(named(steps[0].Name, n)) != nil {
		n++
	}
	for at := range steps {
		r := &run{of: i, step: &steps[at], name: named(steps[at].Name, n), frame: f, state: Pending}
		r.other = r.names()
		f.runs, i.runs = append(f.runs, r), append(i.runs, r)
	}
	if owner != nil {
		f.place = len(owner.frames)
		owner.frames = append(owner.frames, f)
	}
	return f
}

// beside is the run of another step of the same frame; of one that was not set back with the run's that which was the newest then.
func (r *run) beside(step string) *run {
	for _, o := range r.frame.runs {
		if o.step.Name == step {
			return o
		}
	}
	if r.frame.owner == nil {
		return r.of.upTo(step, r.frame.place)
	}
	return nil
}

// around are the steps that a run is inside of, its own first.
func (r *run) around() (owners []*run) {
	for o := r.frame.owner; o != nil; o = o.frame.owner {
		owners = append(owners, o)
	}
	return owners
}

// inside: a run is inside a step, at any depth; nil is the instance.
func (r *run) inside(owner *run) bool { return owner == nil || slices.Contains(r.around(), owner) }

// undoesInside: something inside a step is being undone.
func (i *instance) undoesInside(owner *run) bool {
	return slices.ContainsFunc(i.runs, func(r *run) bool {
		return (r.stage == stageUndoing || r.stops()) && !over(r.state) && r.inside(owner) || owner == nil && r.undoes != nil && !over(r.state) && r.undoer() == back{}
	})
}

// busy: something inside a step is leased, or being undone.
func (r *run) busy() bool {
	return r.of.undoesInside(r) || slices.ContainsFunc(r.of.runs, func(o *run) bool { return o.state == Leased && o.inside(r) })
}

// undoer is who undoes what a run is in: nil is nobody.
func (r *run) undoer() any {
	for _, o := range r.around() {
		if o.stage == stageUndoing && !over(o.state) {
			return o
		}
	}
	switch {
	case r.of.state == Compensating:
		return r.of
	case r.undoes != nil && r.outermost().superseded():
		return back{}
	}
	return nil
}

// count is how many frames a body has at most.
func (r *run) count() int {
	b, n := r.step.Body, int(r.of.input)
	switch {
	case b.Items > 0 && b.Fed:
		return max(0, min(b.Items, n))
	case b.Items > 0:
		return b.Items
	case b.Turns > 0:
		return b.Turns
	}
	return 1
}

// open is how many of a body's frames have runs that have not ended.
func (r *run) open() (n int) {
	for _, f := range r.frames {
		if slices.ContainsFunc(f.runs, func(o *run) bool { return !over(o.state) }) {
			n++
		}
	}
	return n
}

// again: one more frame of a body is to begin now.
func (r *run) again() bool {
	b := r.step.Body
	if r.state != Waiting || r.stage != stageRunning || !r.wanted() || len(r.frames) >= r.count() || r.spoiled() {
		return false
	}
	switch {
	case b.Items > 0:
		return r.open() < b.Width
	case b.While && len(r.frames) >= r.wantedTurns():
		return false
	}
	return r.open() == 0
}

// limited: a loop whose condition holds has had all its turns.
func (r *run) limited() bool {
	b := r.step.Body
	return b.While && r.open() == 0 && len(r.frames) == b.Turns && b.Turns < r.wantedTurns() && !r.spoiled()
}

// finished: all that is inside a step has ended well.
func (r *run) finished() bool {
	return r.open() == 0 && !r.again() && !r.limited() && !r.unsoundTurn() && !r.spoiled()
}

// begun names a run, which may be the first that is told of in a frame that begins with it, or is cancelled before anything was told of that.
func (s *State) begun(i *instance, name string, cancelled bool) *run {
	if r := i.run(name); r != nil {
		return r
	}
	step, _, _ := strings.Cut(name, "#")
	var begun *frame
	for untold := true; untold; {
		owner := s.nextOwner(i, step, cancelled)
		if owner == nil {
			break
		}
		untold = s.unseen(owner) // then what begins may have been left, and have its number
		begun = i.activate(owner, owner.step.Body.Steps)
		s.since(begun.runs)
		if r := i.run(name); r != nil {
			return r
		}
	}
	if begun != nil {
		fault("S1", "%s of %s is told of, and what begins is %s", name, i.id, begun.runs[0].name)
	}
	return nil
}

// nextOwner is the step with a body that begins the next frame in which a step is: the one that had room for it first.
func (s *State) nextOwner(i *instance, step string, cancelled bool) (next *run) {
	c := s.cause.command
	reset := cancelled && c != nil && c.Kind == Reset
	for _, owner := range i.runs {
		b := owner.step.Body
		if owner.superseded() != reset {
			continue // only a reset tells of what it supersedes
		}
		if b == nil || owner.state == Pending || !owner.again() && !s.fills(owner) && !s.unseen(owner) || !slices.ContainsFunc(b.Steps, func(s Step) bool { return s.Name == step }) {
			continue
		}
		waits := owner.state == Waiting // else what is told is of a frame that ends with what it is in
		if next == nil || waits && next.state != Waiting || (waits || next.state != Waiting) && owner.roomSince().before(next.roomSince()) {
			next = owner
		}
	}
	return next
}

// fills: a list that began by this very cause begins its first items one behind the other, and what they put out is looked at behind that.
func (s *State) fills(owner *run) bool {
	return slices.Contains(s.cause.lists, owner) && owner.stage == stageRunning && len(owner.frames) < min(owner.step.Body.Width, owner.count())
}

// roomSince is when there came to be room for the next frame of a body: by a cause the step began, or a frame ended. What begins has its
// frames at once, and what has room by an end behind that, in the order of the ends. While there is no room it is behind all.
func (r *run) roomSince() moment {
	width, ends := 1, []moment(nil)
	if b := r.step.Body; b.Items > 0 {
		width = b.Width
	}
	for _, f := range r.frames {
		var end moment
		for _, o := range f.runs {
			if !over(o.state) {
				end.cause = math.MaxInt
			}
			if at := (moment{o.overBy, o.overAt}); end.before(at) {
				end = at
			}
		}
		ends = append(ends, end)
	}
	if len(ends) < width {
		return moment{cause: r.begunBy}
	}
	slices.SortFunc(ends, func(a, b moment) int { return cmp.Or(cmp.Compare(a.cause, b.cause), cmp.Compare(a.end, b.end)) })
	return ends[len(ends)-width]
}

// moment is behind an end of one cause; no end is before all of that.
type moment struct{ cause, end int }

func (m moment) before(o moment) bool {
	return m.cause < o.cause || m.cause == o.cause && m.end < o.end
}

// failing has a step with a body stop: a failure inside it that nobody needs, its own time, or turns without an end.
func (s *State) failing(f *Fact, r *run) {
	if r.step.Call != nil {
		s.stopsCall(f, r)
		return
	}
	reason := slices.ContainsFunc(r.frames, func(f *frame) bool {
		return slices.ContainsFunc(f.runs, func(o *run) bool { return o.state == Failed && !o.handled() })
	})
	switch f.Code {
	case "TIMEOUT_TOTAL":
		reason = reason || s.cause.tick && due(r.totalDeadline, s.horizon)
	case "LOOP_LIMIT":
		reason = reason || r.limited()
		s.saw(LoopLimit)
	case "CONDITION_INVALID":
		reason = reason || r.step.Body != nil && r.unsoundTurn()
		if o := r.frame.owner; o != nil && o.step.Body.Items > 0 && len(r.frames) == 0 {
			s.saw(UnsoundItem)
		}
		s.saw(UnsoundTurn)
	case "OUTPUT_INVALID":
		reason = reason || r.step.Body != nil && r.spoiled()
		s.saw(UnsoundOutput)
	}
	if r.step.Body == nil || r.state != Waiting || r.stage != stageRunning || !r.wanted() || !reason {
		fault("S1", "step %s of %s fails as %s, for no reason; it is %s", f.Step, f.Instance, f.Code, r.state)
	}
	r.stage, r.code, r.totalDeadline = stageStopping, f.Code, 0
	s.saw(BodyFailed)
	s.touch(r.of)
}

// undoing has a step with a body that failed undo what was completed inside it.
func (s *State) undoingBody(f *Fact, r *run) {
	undo := r.of.toUndo(r)
	if r.stage != stageStopping || r.state != Waiting || r.busy() || len(undo) == 0 {
		fault("saga", "step %s of %s undoes %d steps, and is %s", f.Step, f.Instance, len(undo), r.state)
	}
	r.of.beginUndo(undo)
	s.since(r.of.runs)
	r.stage = stageUndoing
	s.saw(BodyUndone)
	s.touch(r.of)
}

// bodyFailed ends a step with a body that failed, behind what was undone.
func (s *State) bodyFailed(f *Fact, r *run) {
	open := slices.ContainsFunc(r.of.runs, func(o *run) bool { return o.inside(r) && !over(o.state) })
	if r.stage == stageRunning || r.busy() && r.stage == stageStopping || open || r.stage == stageStopping && len(r.of.toUndo(r)) > 0 || f.Code != r.code || !r.wanted() {
		fault("saga", "step %s of %s has failed as %s, and is not at its end", f.Step, f.Instance, f.Code)
	}
	s.enter(r, Failed)
}

// bodyWhole checks that a cause left nothing half done of a step with a body.
func (s *State) bodyWhole(r *run) {
	if r.step.Body == nil || r.state != Waiting {
		return
	}
	switch {
	case r.stage == stageStopping && r.wanted() && !r.busy():
		fault("liveness", "step %s of %s stops, and nothing inside it is leased", r.name, r.of.id)
	case r.stage != stageRunning || !r.wanted():
	case r.spoiled():
		fault("liveness", "step %s of %s waits, and what is inside it puts out nothing", r.name, r.of.id)
	case r.again() && (s.Limit > 0 || r.of.wasPaused):
	case r.again():
		fault("liveness", "step %s of %s has room for one more of what is inside it, and it is not begun", r.name, r.of.id)
	case r.open() == 0:
		fault("liveness", "step %s of %s waits, and all inside it has ended", r.name, r.of.id)
	case r.step.Body.Items > 0 && r.open() > r.step.Body.Width:
		fault("S1", "step %s of %s has %d items at a time", r.name, r.of.id, r.open())
	}
}
