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

	ProgressIgnoresToken Bug = "progress-ignores-token"
	ReleaseIgnoresToken  Bug = "release-ignores-token"
	RequestsNotStored    Bug = "requests-not-stored"
	RequestRerun         Bug = "request-rerun"
	WallInApply          Bug = "wall-in-apply"
	LeasesReset          Bug = "leases-reset"
	LocalExpiry          Bug = "local-expiry"
	TickOvertakes        Bug = "tick-overtakes"
	TakeoverUntold       Bug = "takeover-untold"
	PauseCounts          Bug = "pause-counts"
	TrustFromAnswer      Bug = "trust-from-answer"
	PermitsLeak          Bug = "permits-leak"
	MapOrder             Bug = "map-order"
	ClaimPiecemeal       Bug = "claim-piecemeal"
	ForeignTermTime      Bug = "foreign-term-time"
	LateAfterLock        Bug = "late-after-lock"
	OrphanKept           Bug = "orphan-kept"
	ScanMissesDirty      Bug = "scan-misses-dirty"
	IndexApart           Bug = "index-apart"
	TermBegunTwice       Bug = "term-begun-twice"
	SyncNotAwaited       Bug = "sync-not-awaited"

	ShortReign    Bug = "short-reign"
	GraceAtChange Bug = "grace-at-change"
	OutageCounts  Bug = "outage-counts"

	ShortTermLost    Bug = "short-term-lost"
	ShortTermForgets Bug = "short-term-forgets"
	YoungDenies      Bug = "young-denies"
	DiskNotAwaited   Bug = "disk-not-awaited"
	SlowWriteCounts  Bug = "slow-write-counts"

	UndoesUndone   Bug = "undoes-undone"
	UndoesEarly    Bug = "undoes-early"
	DatesNotStored Bug = "dates-not-stored"
	RaceWonTwice   Bug = "race-won-twice"
	EndsIgnored    Bug = "ends-ignored"
	CodesIgnored   Bug = "codes-ignored"

	WidthIgnored    Bug = "width-ignored"
	InsideNotUndone Bug = "inside-not-undone"

	HoldIgnored    Bug = "hold-ignored"
	HoldEndsEarly  Bug = "hold-ends-early"
	BodyHoldsOn    Bug = "body-holds-on"
	DeadlockStands Bug = "deadlock-stands"
	EldestYields   Bug = "eldest-yields"

	LockWaitEndless Bug = "lock-wait-endless"

	ChildFailureTaken Bug = "child-failure-taken"
	ChildLeft         Bug = "child-left"
	EndNotTold        Bug = "end-not-told"

	BarrierEarly     Bug = "barrier-early"
	BarrierLeavesOne Bug = "barrier-leaves-one"
	PartiesNotStored Bug = "parties-not-stored"

	CountedTwice    Bug = "counted-twice"
	LateNotSeen     Bug = "late-not-seen"
	CensusNotStored Bug = "census-not-stored"
	KeyNotIndexed   Bug = "key-not-indexed"

	FiredTwice     Bug = "fired-twice"
	OverlapIgnored Bug = "overlap-ignored"

	KeptTwice    Bug = "kept-twice"
	EndedMatches Bug = "ended-matches"
	ToldForgets  Bug = "told-forgets"
	StartsTwice  Bug = "starts-twice"

	ItemsGoOn      Bug = "items-go-on"
	EntryUnbounded Bug = "entry-unbounded"
	NeedsForgotten Bug = "needs-forgotten"

	TakenIgnored Bug = "taken-ignored"
	LastInFirst  Bug = "last-in-first"

	DrainIgnored   Bug = "drain-ignored"
	DrainForgotten Bug = "drain-forgotten"
	TurnNotTaken   Bug = "turn-not-taken"
	TagsNotStored  Bug = "tags-not-stored"

	SlotGivenBack   Bug = "slot-given-back"
	SlotsForgotten  Bug = "slots-forgotten"
	LimitPassedOver Bug = "limit-passed-over"

	PageSkips     Bug = "page-skips"
	IndexNotMoved Bug = "index-not-moved"

	RemovedEarly Bug = "removed-early"
	RemovedShown Bug = "removed-shown"
	CutUnkept    Bug = "cut-unkept"

	CopyUndone    Bug = "copy-undone"
	CopyOfUndone  Bug = "copy-of-undone"
	CopyForgotten Bug = "copy-forgotten"

	PauseLeases  Bug = "pause-leases"
	OldTokenKept Bug = "old-token-kept"

	IncidentLeftOut Bug = "incident-left-out"

	ResetNotUndone       Bug = "reset-not-undone"
	ResetUnordered       Bug = "reset-unordered"
	ResetUngated         Bug = "reset-ungated"
	SweepUnfenced        Bug = "sweep-unfenced"
	BulkEdgeLost         Bug = "bulk-edge-lost"
	BulkEdgeTwice        Bug = "bulk-edge-twice"
	BulkNewer            Bug = "bulk-newer"
	ResolvedForgotten    Bug = "resolved-forgotten"
	AdoptKeepsHolder     Bug = "adopt-keeps-holder"
	StalePlanApplied     Bug = "stale-plan-applied"
	OlderObservationKept Bug = "older-observation-kept"
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
	{ProgressIgnoresToken, "S2", "progress is accepted whatever its token"},
	{ReleaseIgnoresToken, "S2", "a lock is released whatever the token"},
	{RequestsNotStored, "S5", "answers to requests are left out of the state on disk, and so of snapshots"},
	{RequestRerun, "S5", "a request that was answered and forgotten is run again"},
	{WallInApply, "S7", "the state machine takes the time of day from its own node"},
	{LeasesReset, "L2", "every session begins anew under a new leader"},
	{LocalExpiry, "S6", "a tick expires by the clock of the node that applies it"},
	{TakeoverUntold, "liveness", "a stream is not told that another of its session took its place"},
	{TickOvertakes, "S6", "a tick goes before renewals and completions that the leader has received"},
	{PauseCounts, "S6", "a leader counts the time in which it was paused"},
	{TrustFromAnswer, "S6", "a holder counts its time from the answer to a renewal, not from its sending"},
	{PermitsLeak, "S2", "places in a lock with a limit are not freed when a lease lapses"},
	{MapOrder, "S7", "the leases of a session that ends are taken in the order of a map"},
	{ClaimPiecemeal, "S2", "the locks of a claim are granted one by one, and kept while another is waited for"},
	{ForeignTermTime, "S6", "time passes in an entry that was proposed in another term"},
	{LateAfterLock, "S2", "a late completion is accepted after one of its locks went on to another"},
	{OrphanKept, "L2", "a lease that its holder never heard of is kept alive by the session"},
	{ScanMissesDirty, "S4", "a list does not see what was not flushed yet"},
	{IndexApart, "S3", "the applied index is stored apart from the rows that it tells of"},
	{TermBegunTwice, "L2", "a term that a leader hears of twice begins at zero again, and time stands still until then"},
	{SyncNotAwaited, "S3", "the log is cut before the state is synced, and a start takes what it finds for the state"},
	{ShortReign, "L2", "every session begins anew behind a leader of less than a second, under whom few could renew"},
	{GraceAtChange, "L2", "a session that holds leases, and has little time left, gets more of it under a new leader"},
	{OutageCounts, "S6", "a new leader ends sessions that hold leases and have little time left, as if the time without a leader counted"},
	{ShortTermLost, "S6", "the time of a term of less than a second is not kept"},
	{ShortTermForgets, "S5", "answers to requests are forgotten behind a leader of less than a second"},
	{YoungDenies, "S5", "a leader that took over less than a second ago says of what it had in flight when it is deposed that it was not done"},
	{DiskNotAwaited, "S3", "a leader applies and acknowledges what its followers have, whether or not its own disk has it"},
	{SlowWriteCounts, "S3", "a write of the log that takes 300 ms is taken for synced"},
	{UndoesUndone, "saga", "a step that was begun and not completed is compensated, too"},
	{UndoesEarly, "saga", "a step is compensated as soon as one of those behind it is"},
	{DatesNotStored, "S7", "what a restart reads of a timer does not have its date"},
	{RaceWonTwice, "S1", "a wait that is over as it begins completes though another of its race has"},
	{EndsIgnored, "S1", "a need is met however the step ended"},
	{CodesIgnored, "S1", "a need of some failures is met by every failure"},
	{WidthIgnored, "S1", "all items of a list are done at a time"},
	{InsideNotUndone, "saga", "what was completed inside a step is left as it is"},
	{HoldIgnored, "S2", "a run is granted a lock that another instance holds"},
	{HoldEndsEarly, "S2", "what an instance holds is freed with the first end of a step with a body in it"},
	{BodyHoldsOn, "liveness", "what a body holds is freed with the end of its instance"},
	{DeadlockStands, "liveness", "instances that wait for each other's locks are left waiting"},
	{EldestYields, "locks", "of instances that wait for each other's locks the oldest yields"},
	{LockWaitEndless, "liveness", "a step's wait for its locks does not end by its timeout"},
	{ChildFailureTaken, "S1", "a call completes also when what it called has failed"},
	{ChildLeft, "saga", "what an instance called is left running when that stops"},
	{EndNotTold, "liveness", "what waits for a step of another instance is not told of its end"},
	{BarrierEarly, "S1", "a barrier lets its parties go on when one of them has not come"},
	{BarrierLeavesOne, "liveness", "the last party of a barrier waits on where the others go on"},
	{CountedTwice, "S1", "an instance that ends counts twice for those who wait by its key"},
	{LateNotSeen, "S1", "who waits for all that have a key does not see those that come meanwhile"},
	{CensusNotStored, "S7", "what is known of those that have a key is left out of the state on disk, and so of snapshots"},
	{KeyNotIndexed, "S4", "a key that a step gives leads nobody to its instance"},
	{PartiesNotStored, "S7", "what a restart reads of a run that waits at a barrier does not have the barrier"},
	{FiredTwice, "schedule", "a time of a schedule that was taken is taken again when it is proposed again"},
	{OverlapIgnored, "schedule", "a time of a schedule is started although the instance of an earlier one runs"},
	{KeptTwice, "S1", "a signal that was kept under a key is given to every instance that is started with it"},
	{EndedMatches, "S4", "an instance that has ended is still found by its keys"},
	{StartsTwice, "S4", "a signal that may start an instance starts one beside that which has the key"},
	{ToldForgets, "S5", "a signal by key is remembered by the instance alone, and is another one when that has ended"},
	{ItemsGoOn, "S7", "a list goes on with its items where one has failed it as it began"},
	{EntryUnbounded, "liveness", "an entry begins all that it could leave to those behind it"},
	{TakenIgnored, "S5", "a start that is to wait for who has its id starts beside it"},
	{LastInFirst, "S5", "of those that wait for an id the newest is started first"},
	{DrainIgnored, "S4", "a version that is drained is started all the same"},
	{DrainForgotten, "S7", "that a version is drained is forgotten by who starts again"},
	{NeedsForgotten, "S1", "a step that an entry left to another is begun, whatever its needs have come to"},
	{TurnNotTaken, "fairness", "a lease takes none of its key's turns"},
	{SlotGivenBack, "limits", "a slot of a rate limit comes back when its lease is given back"},
	{SlotsForgotten, "limits", "when slots were taken is forgotten by who leads next"},
	{LimitPassedOver, "liveness", "who waits for a slot is not woken when one comes back"},
	{PauseLeases, "S1", "what is ready of a paused instance is leased on"},
	{OldTokenKept, "S1", "a run that is leased is completed by hand under the token of its lease"},
	{TagsNotStored, "S7", "where keys are with their turns is left out of the state on disk"},
	{PageSkips, "S4", "a page of a list that is full goes on behind the one after it"},
	{SweepUnfenced, "S2", "what a sweeper says that has lost its lock is recorded"},
	{BulkEdgeLost, "S4", "a bulk operation goes on behind the instance after the one at which a slice ended"},
	{BulkEdgeTwice, "S4", "a bulk operation comes to the instance at which a slice ended again"},
	{BulkNewer, "S4", "a bulk operation comes to instances that were started behind it"},
	{IncidentLeftOut, "S4", "a run that stands still is not among what needs a person"},
	{ResolvedForgotten, "S4", "that a failed instance needs nobody any more is told, and not kept"},
	{AdoptKeepsHolder, "S1", "a run that is adopted while it is leased is completed under the token of its lease"},
	{StalePlanApplied, "S4", "a plan is applied though what it touches has moved since it was made"},
	{OlderObservationKept, "S4", "an older observation takes the place of a newer one"},
	{IndexNotMoved, "S4", "an instance stays in the index as what it was when it was first written"},
	{RemovedEarly, "retention", "an instance is removed when half of the time for which it is kept is over"},
	{RemovedShown, "S4", "an instance that was removed is still shown"},
	{CutUnkept, "S7", "the events of an instance that is kept are dropped without a copy"},
	{CopyUndone, "saga", "a fork that fails undoes what was copied, which is its original's"},
	{CopyOfUndone, "saga", "a fork copies what its original has undone"},
	{CopyForgotten, "S7", "that a run was copied is left out of the state on disk"},
	{ResetNotUndone, "saga", "what was completed before a reset is not undone with the instance"},
	{ResetUnordered, "S1", "steps that are set back do not wait for each other"},
	{ResetUngated, "S1", "what is done anew begins while what was called before is being undone"},
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
