package fsm

// Most runs are at rest: their needs have not ended, or they have. What a run has only while it moves, and what only few have, is
// therefore memory of its own, which a run at rest does without: it has the blank ones in its place, which all of them share. change
// is what may write to a run, and gives it its own before that. Whatever ends there has no use for where it stood, and forgets it, from
// restLevel on: what is stored of it is less then too.

const restLevel = 8

// The blank ones are never written: rested says so of each entry.
var (
	noMotion = &motion{}
	noAside  = &aside{}
)

// blank is a run of which nothing is known.
func blank() run { return run{motion: noMotion, aside: noAside} }

func (a *aside) blank() bool {
	return a.CompletedAt == 0 && a.Todo == 0 && a.Code == "" && a.Reason == "" && a.Other == "" && a.OtherStep == "" &&
		len(a.Locks) == 0 && len(a.Ended) == 0
}

// spare is memory of runs that came to rest, for those that move next.
type spare struct {
	motions []*motion
	asides  []*aside
}

const maxSpare = 1024

// own gives a run memory of its own, for as long as it is changed, or moves.
func (m *Machine) own(r *run) {
	s := &m.spare
	if r.motion == noMotion {
		r.motion = popSpare(&s.motions)
	}
	if r.aside == noAside {
		r.aside = popSpare(&s.asides)
	}
}

// rest takes back what a run has no use for.
func (m *Machine) rest(r *run) {
	s := &m.spare
	if !pending(r) && ended(r.State) && m.level() >= restLevel {
		*r.motion = motion{}
	}
	if *r.motion == (motion{}) {
		pushSpare(&s.motions, r.motion)
		r.motion = noMotion
	}
	if r.aside.blank() {
		*r.aside = aside{} // a slice without anything in it is memory too
		pushSpare(&s.asides, r.aside)
		r.aside = noAside
	}
}

func popSpare[T any](spare *[]*T) *T {
	last := len(*spare) - 1
	if last < 0 {
		return new(T)
	}
	t := (*spare)[last]
	*spare = (*spare)[:last]
	return t
}

func pushSpare[T any](spare *[]*T, t *T) {
	if len(*spare) < maxSpare {
		*spare = append(*spare, t)
	}
}

// rested stops the process if something wrote to what all runs at rest share: the state cannot be trusted then.
func (m *Machine) rested() {
	if *noMotion != (motion{}) || !noAside.blank() {
		panic("fsm: a run at rest was changed")
	}
}
