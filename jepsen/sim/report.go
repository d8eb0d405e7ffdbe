package sim

import (
	"fmt"
	"github.com/lockstep-dev/lockstep/jepsen/model"
	"time"
)

// Violation is a guarantee that was broken.
type Violation struct {
	Guarantee string
	What      string
	At        time.Duration // in simulated time
}

func (v *Violation) Error() string { return fmt.Sprintf("%s at %s: %s", v.Guarantee, v.At, v.What) }

// Fault counts a kind of fault: how often it was injected, and how often that had an effect that was seen.
type Fault struct{ Injected, Observed int }

// Report is what a run came to.
type Report struct {
	Config    Config
	Violation *Violation
	// Hash tells every event of the run: two runs of one Config have the same.
	Hash      uint64
	Events    uint64
	Simulated time.Duration

	// Operations that clients began, those that were answered, refusals among them, and tries that failed.
	Ops, Answered, Refused, Unanswered, Failed int
	// Accepted completions of runs, late ones among them, and writes that the register refused.
	Advances, Late, Fenced                                                          int
	Leaders, Truncations, Crashes, Snapshots, Installs, Restores, Pauses, Transfers int
	Entries, Commands, Reads, Compared, Walked, Watched, Reconnects, Expiries       int
	Faults                                                                          map[string]*Fault
	// How often each class of things happened.
	Seen map[model.Class]int
}
