// Package plant holds the bugs that can be planted in a build made for it (-tags sabotage), one at run time, to show
// that the checkers see them. In every other build Is is false by constant, and the compiler leaves the bugs out.
//
// A bug is one line where the right thing is done: if plant.Is(plant.SkipTokenCheck) { the wrong thing }. It is caught
// by the general checkers, never by a test that was written for it.
package plant

import "fmt"

// Bug is the name of a planted bug, as --plant takes it.
type Bug string

// Row tells what a bug breaks.
type Row struct {
	Bug       Bug
	Guarantee string // of docs/guarantees.md
	What      string
}

// The bugs.
const (
	SkipTokenCheck      Bug = "skip-token-check"
	AckBeforeFsync      Bug = "ack-before-fsync"
	WatchSkips          Bug = "watch-skips"
	VerifyLeader        Bug = "verify-leader-for-barrier"
	RenewalBeforeCommit Bug = "renewal-before-commit"
	RestoreOverLive     Bug = "restore-over-live"
	LocalState          Bug = "local-state"
)

// All lists the bugs in the order in which scripts/sabotage shows them.
var All = []Row{
	{SkipTokenCheck, "S1", "a completion is accepted whatever its token"},
	{AckBeforeFsync, "S3", "the log is written and not synced"},
	{WatchSkips, "L7", "a watch that resumes begins one event later"},
	{VerifyLeader, "S4", "a read is answered once a majority has answered the leader, without a barrier in the log"},
	{RenewalBeforeCommit, "S3", "a renewal is acknowledged when the leader has it, before it is committed"},
	{RestoreOverLive, "S7", "a snapshot is restored into the live state, which keeps what the snapshot has not"},
	{LocalState, "S7", "a renewal lasts for some nanoseconds more, by the clock of the node that applies it"},
}

// Host is what a planted bug may look at that the state machine must not: a node's clocks, and its chances.
type Host struct {
	Wall, Mono func() int64
	Draw       func(n int) int
}

// Set plants a bug for the rest of the process; "" plants none. It fails in a build without bugs, and for a name that
// is not in All. Call it before anything else runs.
func Set(name string) error {
	if name == "" {
		return nil
	}
	for _, row := range All {
		if string(row.Bug) == name {
			return set(row.Bug)
		}
	}
	return fmt.Errorf("no bug %q; scripts/sabotage --list shows them", name)
}
