package graph

import "slices"

// The editions of the language. A definition is of the first one that has all that it says.
const (
	firstEdition = 1
	// waitsEdition has timers, approvals, races, and a total timeout of instances.
	waitsEdition = 2
	// bodiesEdition has needs that count failures, and steps inside steps.
	bodiesEdition = 3
)

// edition is that of the language in which the definition is written: the first that has all it says.
func (d *Definition) edition() int {
	edition := firstEdition
	if d.Total > 0 {
		edition = waitsEdition
	}
	for i := range d.Steps {
		s := &d.Steps[i]
		if s.Kind.HasBody() || slices.ContainsFunc(s.Needs, func(n Need) bool { return !n.plain() }) {
			return bodiesEdition
		}
		if s.Kind > KindSignal || s.Race {
			edition = waitsEdition
		}
	}
	return edition
}
