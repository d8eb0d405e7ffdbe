package graph

import "slices"

// The editions of the language. A definition is of the first one that has all that it says.
const (
	firstEdition = 1
	// waitsEdition has timers, approvals, races, and a total timeout of instances.
	waitsEdition = 2
	// bodiesEdition has needs that count failures, and steps inside steps.
	bodiesEdition = 3
	// callsEdition has calls, and waits for other instances.
	callsEdition = 4
	// holdsEdition has locks that are held for longer than a step, and waits for locks that end.
	holdsEdition = 5
	// barriersEdition has barriers.
	barriersEdition = 6
	// FairEdition has keys of fairness.
	FairEdition = 7
	// LimitsEdition has rate limits.
	LimitsEdition = 8
	// KeysEdition has waits by key, and keys that steps give their instance.
	KeysEdition = 9
	// ReconcileEdition has what to do about drift of steps.
	ReconcileEdition = 10
)

// edition is that of the language in which the definition is written: the first that has all it says.
func (d *Definition) edition() int {
	edition := firstEdition
	if d.Total > 0 {
		edition = waitsEdition
	}
	return max(edition, editionOf(d.Steps))
}

func editionOf(steps []Step) int {
	edition := firstEdition
	for i := range steps {
		s := &steps[i]
		switch {
		case len(s.Reconcile) > 0:
			return ReconcileEdition
		case len(s.Keys) > 0 || s.Await.Key.Name != "":
			edition = max(edition, KeysEdition)
		case len(s.Limits) > 0 || s.Compensate != nil && len(s.Compensate.Limits) > 0:
			edition = max(edition, LimitsEdition)
		case s.Fairness.Key != "" || s.Compensate != nil && s.Compensate.Fairness.Key != "":
			edition = max(edition, FairEdition)
		case s.Kind == KindBarrier:
			edition = max(edition, barriersEdition)
		case s.holds() || s.Compensate != nil && s.Compensate.holds():
			edition = max(edition, holdsEdition)
		case s.Kind == KindCall || s.Kind == KindAwait:
			edition = max(edition, callsEdition)
		case s.Kind.HasBody():
			edition = max(edition, bodiesEdition, editionOf(s.Body.Steps))
		case slices.ContainsFunc(s.Needs, func(n Need) bool { return !n.plain() }):
			edition = max(edition, bodiesEdition)
		case s.Kind > KindSignal || s.Race:
			edition = max(edition, waitsEdition)
		}
	}
	return edition
}

// holds: the step says what the edition of holds has.
func (s *Step) holds() bool {
	return s.Timeouts.Locks > 0 || slices.ContainsFunc(s.Locks, func(l StepLock) bool { return l.Hold != HoldStep })
}
