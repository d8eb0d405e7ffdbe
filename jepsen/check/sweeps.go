package check

// SweepLock is held by the node that asks reporters.
const SweepLock = "lockstep.sweep"

// Sweeps checks that what is told of asks of reporters is told by who holds the lock of the sweep in that moment.
func Sweeps(events []Event) []Fact {
	var f faults
	var holder int64
	for _, e := range events {
		switch {
		case e.Type == "lock.granted" && e.Lock == SweepLock:
			holder = e.Token
		case e.Type == "lock.released" && e.Lock == SweepLock && e.Token == holder:
			holder = 0
		case e.Type == "reporter.asked" && e.Token != holder:
			f.add("S2", "position %d: a reporter is told as asked under token %d, and token %d holds %s", e.Position, e.Token, holder, SweepLock)
		}
	}
	return f.list
}
