package model

// Class is something that happens to workflows, locks or requests.
type Class string

// The classes. A run of many seeds in which one never happened shows nothing of it.
const (
	SkipWhen       Class = "skipped by its condition"
	SkipPassedOn   Class = "skipped with its needs"
	SkipCounted    Class = "begun beside skipped needs"
	SkipBarred     Class = "skipped, for a need ended otherwise"
	FailureNeeded  Class = "begun behind a failure"
	BodyDone       Class = "body done"
	BodyFailed     Class = "body failed"
	BodyUndone     Class = "body undone"
	LoopLimit      Class = "loop without an end"
	UnsoundWhen    Class = "condition that cannot be evaluated"
	UnsoundItems   Class = "list that cannot be evaluated"
	UnsoundTurn    Class = "loop whose condition cannot be evaluated"
	UnsoundItem    Class = "item that fails as it begins"
	UnsoundOutput  Class = "body whose output cannot be evaluated"
	LeftToNext     Class = "begun in a later entry"
	JoinAny        Class = "join any before the rest"
	JoinAtLeast    Class = "join atLeast before the rest"
	SignalAtOnce   Class = "signal taken at once"
	SignalKept     Class = "signal kept and taken"
	SignalAgain    Class = "signal told again"
	SignalExpired  Class = "signal kept too long"
	KeyFound       Class = "signal found its instance by key"
	KeyKept        Class = "signal kept under a key"
	KeyTaken       Class = "signal taken from under a key"
	KeyExpired     Class = "signal kept under a key too long"
	KeyAgain       Class = "signal by key told again"
	KeyAmbiguous   Class = "key of several refused"
	KeyBroadcast   Class = "signal broadcast"
	BroadcastMany  Class = "signal broadcast to several"
	KeyStarted     Class = "instance started by a signal"
	PriorityFirst  Class = "overtaken by priority"
	TurnTaken      Class = "leased while another key waits"
	TurnBefore     Class = "leased before an older run of another key"
	LastSlot       Class = "last slot of a limit taken"
	SlotAgain      Class = "slot taken by a later attempt"
	SlotUndoes     Class = "slot taken by a compensation"
	SlotsMany      Class = "slots of several limits taken"
	SlotAwaited    Class = "waits for a slot"
	TimeoutRun     Class = "run timeout"
	TimeoutBeat    Class = "heartbeat timeout"
	TimeoutQueue   Class = "queue timeout"
	TimeoutTotal   Class = "total timeout"
	TimeoutSignal  Class = "total timeout of a signal"
	TimeoutAsked   Class = "total timeout of an approval"
	TimeoutStill   Class = "total timeout of a step that stands still"
	TimeoutWhole   Class = "total timeout of an instance"
	TimerFired     Class = "timer fired"
	TimerDate      Class = "timer fired at its date"
	TimerPast      Class = "timer whose date had passed"
	RaceWon        Class = "race won"
	RaceLost       Class = "race lost while waiting"
	RaceNotBegun   Class = "race lost before it was begun"
	Approved       Class = "approved"
	Rejected       Class = "rejected"
	DecidedAgain   Class = "decision told again"
	Retried        Class = "retried after a backoff"
	UsedUp         Class = "attempts used up"
	NotRetryable   Class = "failed for good"
	CancelLeased   Class = "cancelled while leased"
	DoneCancelled  Class = "completed while cancelling"
	Again          Class = "request told again"
	AgainParked    Class = "waiting request told again"
	TooOld         Class = "request too old"
	SessionGone    Class = "session expired, and asked"
	Fenced         Class = "fenced"
	LateDone       Class = "late completion accepted"
	LateKept       Class = "late result kept"
	Orphan         Class = "orphan given back"
	Revoked        Class = "lease revoked"
	Released       Class = "run released"
	ByName         Class = "leased by name"
	ByNext         Class = "leased with a completion"
	ByCredit       Class = "leased by credit"
	ClaimMany      Class = "claim of several locks"
	Permits        Class = "permit beside permits"
	SharedBeside   Class = "share beside shares"
	LockWaited     Class = "lock granted to a wait"
	LockTimeout    Class = "lock's wait timed out"
	StreamReplaced Class = "stream replaced"
	Deadlock       Class = "deadlock refused"
	LimitDiffers   Class = "limit of a lock differs"
	HeldByBody     Class = "lock held by a body"
	HeldAlready    Class = "lock that is held already"
	HeldMore       Class = "share that is held becomes all"
	LocksTimeout   Class = "step's wait for locks timed out"
	Yielded        Class = "deadlock of instances broken"
	YieldedUndo    Class = "deadlock broken by a compensation"
	Undone         Class = "compensation begun"
	UndoneFrom     Class = "compensated from a step on"
	UndoneBeside   Class = "compensation begun beside another"
	UndoneTimeout  Class = "compensated behind the timeout of an instance"
	UndoneNo       Class = "compensated behind a rejection"
	UndoneRace     Class = "compensation begun of a step behind a race"
	UndoneLate     Class = "late completion of a compensation"
	StandsStill    Class = "compensation stands still"
	Resumed        Class = "compensation tried again by hand"
	SkippedByHand  Class = "compensation skipped by hand"

	CallDone       Class = "call done"
	CallFailed     Class = "call failed with what it called"
	CallTimeout    Class = "total timeout of a call"
	ChildCancelled Class = "cancelled with who called it"
	AwaitDone      Class = "waited for an instance"
	AwaitStep      Class = "waited for a step of an instance"
	AwaitSkipped   Class = "skipped with a step of an instance"
	AwaitFailed    Class = "wait for an instance failed with it"
	AwaitCycle     Class = "cycle of waits broken"
	TimeoutAwait   Class = "total timeout of a wait for an instance"

	KeyAny       Class = "went on with one that has a key"
	KeySome      Class = "went on with several that have a key"
	KeyAll       Class = "went on with all that have a key"
	KeyAllFailed Class = "wait for all that have a key failed with one"
	KeyGiven     Class = "key given by a step"
	KeyRefused   Class = "completion refused for its keys"

	BarrierPassed  Class = "barrier passed by several instances"
	PartiesDiffer  Class = "barrier with another number of parties"
	TimeoutBarrier Class = "total timeout at a barrier"

	Fired        Class = "time started"
	Beside       Class = "time started beside another"
	FiredAgain   Class = "time told that is not taken"
	Queued       Class = "time queued"
	Dequeued     Class = "time started from the queue"
	Missed       Class = "times missed"
	SkipOverlap  Class = "time skipped: OVERLAP"
	SkipFull     Class = "time skipped: QUEUE_FULL"
	SkipReplaced Class = "time skipped: REPLACED"
	SkipExists   Class = "time skipped: INSTANCE_EXISTS"
	Triggered    Class = "time by hand"
	Paused       Class = "schedule paused"

	IDQueued        Class = "start queued behind its id"
	IDDequeued      Class = "started when its id was left"
	IDReplaced      Class = "start that took its id"
	IDFound         Class = "start that found who has its id"
	IDRefused       Class = "start refused for its id"
	IDFree          Class = "started again under an id that was left"
	StartAgain      Class = "start of an id told again"
	QueuedCancelled Class = "cancelled while queued"

	Drained      Class = "version drained"
	Undrained    Class = "version undrained"
	StartDrained Class = "start refused for its version"
	StartOlder   Class = "older version started"
	CallDrained  Class = "call failed for its version"
	TimeDrained  Class = "time failed for its version"

	Removed    Class = "instance removed"
	PutBehind  Class = "instance kept for others of its id"
	KeptForKey Class = "instance kept for a wait by its key"
	Dropped    Class = "events dropped"

	ForkLive      Class = "forked while it runs"
	ForkEnded     Class = "forked when it had ended"
	ForkAgain     Class = "fork told again"
	ForkRefused   Class = "fork refused for what is before the step"
	Copied        Class = "completion copied"
	CopiedSkip    Class = "skipped step copied"
	CopiedFailure Class = "failure copied"

	InstancePaused  Class = "instance paused"
	InstanceResumed Class = "instance resumed"
	FailureResolved Class = "failed instance resolved"
	FailureReopened Class = "failed instance reopened"
	StepRetried     Class = "step that stood still retried"
	StepSkipped     Class = "step skipped by an operator"
	StepUpdated     Class = "step updated"
	DoneByHand      Class = "completed by hand"
	FailedByHand    Class = "failed by hand"
	HolderFenced    Class = "completed by hand while leased"

	SetBack          Class = "set back to a step"
	SetBackLeased    Class = "set back while leased"
	SetBackPaused    Class = "set back while paused"
	SetBackStill     Class = "set back what stood still"
	SetBackCall      Class = "set back with what it called"
	SetBackUndoes    Class = "set back with what was completed undone"
	SetBackDone      Class = "set back behind its completion"
	SetBackBody      Class = "set back with what is inside it"
	SetBackAgain     Class = "reset told again"
	SetBackTwice     Class = "set back once more"
	SetBackRefused   Class = "reset refused"
	SetBackUndone    Class = "undone though it was set back"
	BulkChanged      Class = "changed by a bulk operation"
	BulkSame         Class = "left as it was by a bulk operation"
	BulkRefused      Class = "refused a bulk operation"
	BulkRetried      Class = "retried by a bulk operation"
	BulkSlices       Class = "bulk operation in several slices"
	BulkTurns        Class = "bulk operations in turns"
	BulkDone         Class = "bulk operation done"
	BulkCancelled    Class = "bulk operation cancelled"
	ObservedAgain    Class = "observation told again"
	ObservedLess     Class = "observation superseded by a newer one"
	DriftAhead       Class = "drift: AHEAD"
	DriftBehind      Class = "drift: BEHIND"
	DriftMissing     Class = "drift: MISSING"
	DriftDuplicate   Class = "drift: DUPLICATE"
	DriftOrphan      Class = "drift: ORPHAN"
	DriftConflicting Class = "drift: CONFLICTING"
	PlanApplied      Class = "plan applied"
	PlanAgain        Class = "plan applied again"
	PlanStale        Class = "plan stale"
	Adopted          Class = "settled: ADOPT"
	DoneAgain        Class = "settled: RERUN"
	UndoneForDrift   Class = "settled: COMPENSATE"
	LeftToPerson     Class = "settled: INCIDENT"
	Ignored          Class = "settled: IGNORE"
	ReporterAsked    Class = "reporter asked"
	AskAgain         Class = "ask told again"
	AskFenced        Class = "ask refused without the lock"
)

// Classes lists them all.
func Classes() []Class {
	return []Class{
		SkipWhen, SkipPassedOn, SkipCounted, SkipBarred, FailureNeeded, BodyDone, BodyFailed, BodyUndone, LoopLimit, UnsoundWhen, UnsoundItems, UnsoundTurn, UnsoundItem, UnsoundOutput, LeftToNext, JoinAny, JoinAtLeast, SignalAtOnce, SignalKept, SignalAgain, SignalExpired,
		KeyFound, KeyKept, KeyTaken, KeyExpired, KeyAgain, KeyAmbiguous, KeyBroadcast, BroadcastMany, KeyStarted, PriorityFirst, TurnTaken, TurnBefore, LastSlot, SlotAgain, SlotUndoes, SlotsMany, SlotAwaited,
		TimeoutRun, TimeoutBeat, TimeoutQueue, TimeoutTotal, TimeoutSignal, TimeoutAsked, TimeoutStill, TimeoutWhole,
		TimerFired, TimerDate, TimerPast, RaceWon, RaceLost, RaceNotBegun, Approved, Rejected, DecidedAgain, Retried, UsedUp, NotRetryable, CancelLeased, DoneCancelled,
		Again, AgainParked, TooOld, SessionGone, Fenced, LateDone, LateKept, Orphan, Revoked, Released, ByName, ByNext, ByCredit,
		ClaimMany, Permits, SharedBeside, LockWaited, LockTimeout, StreamReplaced, Deadlock, LimitDiffers,
		HeldByBody, HeldAlready, HeldMore, LocksTimeout, Yielded, YieldedUndo,
		Undone, UndoneFrom, UndoneBeside, UndoneTimeout, UndoneNo, UndoneRace, UndoneLate, StandsStill, Resumed, SkippedByHand,
		CallDone, CallFailed, CallTimeout, ChildCancelled, AwaitDone, AwaitStep, AwaitSkipped, AwaitFailed, AwaitCycle, TimeoutAwait,
		KeyAny, KeySome, KeyAll, KeyAllFailed, KeyGiven, KeyRefused,
		BarrierPassed, PartiesDiffer, TimeoutBarrier,
		Fired, Beside, FiredAgain, Queued, Dequeued, Missed, SkipOverlap, SkipFull, SkipReplaced, SkipExists, Triggered, Paused,
		IDQueued, IDDequeued, IDReplaced, IDFound, IDRefused, IDFree, StartAgain, QueuedCancelled,
		Drained, Undrained, StartDrained, StartOlder, CallDrained, TimeDrained,
		Removed, PutBehind, KeptForKey, Dropped,
		ForkLive, ForkEnded, ForkAgain, ForkRefused, Copied, CopiedSkip, CopiedFailure,
		InstancePaused, InstanceResumed, FailureResolved, FailureReopened, StepRetried, StepSkipped, StepUpdated, DoneByHand, FailedByHand, HolderFenced,
		SetBack, SetBackLeased, SetBackPaused, SetBackStill, SetBackCall, SetBackUndoes, SetBackDone, SetBackBody, SetBackAgain, SetBackTwice, SetBackRefused, SetBackUndone,
		BulkChanged, BulkSame, BulkRefused, BulkRetried, BulkSlices, BulkTurns, BulkDone, BulkCancelled,
		ObservedAgain, ObservedLess, DriftAhead, DriftBehind, DriftMissing, DriftDuplicate, DriftOrphan, DriftConflicting,
		PlanApplied, PlanAgain, PlanStale, Adopted, DoneAgain, UndoneForDrift, LeftToPerson, Ignored,
		ReporterAsked, AskAgain, AskFenced,
	}
}

func (s *State) saw(c Class) { s.Seen[c]++ }

// sawAnswer counts what only an answer tells.
func (s *State) sawAnswer(c *Command) {
	switch c.Answer.Code {
	case "FENCED":
		s.saw(Fenced)
	case "SESSION_EXPIRED":
		s.saw(SessionGone)
	case "REQUEST_TOO_OLD":
		s.saw(TooOld)
	case "DEADLOCK":
		s.saw(Deadlock)
	case "LOCK_LIMIT_DIFFERS":
		s.saw(LimitDiffers)
	}
}
