// Package model is the cluster as its users are promised it: an oracle in plain Go that shares no code with the product.
//
// State is told every entry of the log, in order, with what the cluster said of it: the answer to each command, and the
// events that it published. It keeps sessions, runs, leases, locks and remembered requests by itself, and returns a Fault
// as soon as an answer or an event is not what the rules allow, or something that must happen did not.
//
// Where the rules leave a choice (which of two ready runs a poll gets), State follows the events and checks that the choice
// was allowed; where they leave none, it knows the answer.
package model

import "fmt"

// Fault is a rule that was broken.
type Fault struct {
	Guarantee string // of docs/guarantees.md
	What      string
}

func (f *Fault) Error() string { return f.Guarantee + ": " + f.What }

// faulty carries a Fault up to Apply.
type faulty struct{ *Fault }

func fault(guarantee, format string, args ...any) {
	panic(faulty{&Fault{guarantee, fmt.Sprintf(format, args...)}})
}
