package graph

// The editions of the language. A definition is of the first one that has all that it says.
const (
	firstEdition = 1
	// waitsEdition has timers, approvals, races, and a total timeout of instances.
	waitsEdition = 2
)

// edition is that of the language in which the definition is written: the first that has all it says.
func (d *Definition) edition() int {
	if d.Total > 0 {
		return waitsEdition
	}
	for i := range d.Steps {
		if s := &d.Steps[i]; s.Kind > KindSignal || s.Race {
			return waitsEdition
		}
	}
	return firstEdition
}
