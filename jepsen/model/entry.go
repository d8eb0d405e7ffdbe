package model

// Workflow is a definition, as far as the rules need it.
type Workflow struct {
	Name       string
	Total      int64 // how long an instance may take, in nanoseconds; zero is for ever
	Sequential bool  // compensations are one at a time
	Steps      []Step
}

// Step of a workflow. Times are nanoseconds; zero is none.
type Step struct {
	Name, Queue           string
	Signal                string // a step that waits for one has no queue
	After, Until          int64  // nor has one that waits for a time, or for a date in unix nanoseconds
	Approval              bool   // nor one that waits for somebody's word
	Needs                 []string
	Failures              map[string]Failure // of the needs that count failures
	Race                  bool               // the needs are waits, of which the first to complete ends the others
	AtLeast               int32              // of its needs must complete; zero: all must end
	When                  *When
	Locks                 []Want
	Attempts              int32
	NonRetryable          []string
	Backoff, MaxBackoff   int64
	RunTimeout, Heartbeat int64
	QueueTimeout, Total   int64
	LockTimeout           int64
	Priority              int64
	Fairness              *Fairness
	Rates                 []Rate
	Undo                  *Step // its compensation, which has no needs
	Body                  *Body // what is inside it: such a step waits for that
	Call                  *Call // it waits for an instance that it starts
	Await                 *Await
	Barrier               *Barrier
	Keys                  []Given // that its completion gives the instance, by name
}

// Body is steps inside a step: once, for so many items, or turn after turn.
type Body struct {
	Steps []Step
	// Of a list: how many items it has, but no more than the number in the instance's input when Fed, and how many are done at a time.
	Items, Width int
	Fed          bool
	// Of a loop: how many turns at most, and, when While, only as long as the number of the turn is less than that in the instance's input.
	Turns int
	While bool
	// The list cannot be evaluated when the number in the input is odd; nor can a loop's condition, which holds for as many turns as
	// three leaves of the number, where it does not hold; nor, when Spoils, what the body puts out, when the number is odd.
	Unsound, Spoils bool
}

// Failure is what a need counts of a step's failures: those with one of the codes, or all.
type Failure struct {
	Codes  []string
	Either bool // completions count as well
}

// Want is what a claim needs of a lock: all of it, a share, or Take of Limit places.
type Want struct {
	Lock        string
	Shared      bool
	Limit, Take int32
	Hold        int // of a step: until when
}

// Entry is one of the log, with what it came to.
type Entry struct {
	Index, Term uint64
	// What the leader that proposed it said of itself and of its time.
	HeaderTerm uint64
	Elapsed    int64
	Wall       int64 // unix; zero: it does not trust its clock
	Due        int64 // of the leader's elapsed time: until then it has nothing in hand that the log has not
	Renewals   []Renewal
	Commands   []Command
	Facts      []Fact
	Settled    []Settled
}

// Renewal of a session.
type Renewal struct {
	Session  int64
	Tokens   []int64
	Complete bool // Tokens are all that the holder knows of
	Code     string
	Lost     []int64
}

// Kind of a command.
type Kind int

// The kinds.
const (
	Open Kind = iota
	Close
	Stream
	Poll
	Lease
	Complete
	Fail
	Release
	Progress
	Acquire
	ReleaseLock
	Revoke
	Start
	Cancel
	EndWait
	Register
	Signal
	Compensate
	Approve
	Reject
	Schedule
	Unschedule
	Pause
	Resume
	Trigger
	Fire
	Drain
	Undrain
	Keep   // how long
	Retain // remove a slice of what is over
	Ack    // of an export
	Fork
	Halt // an instance is paused, and resumed
	Unhalt
	ResolveWhole // a failed instance is resolved, and reopened
	Reopen
	Retry
	SkipRun
	Resolve
	Update
	Reset
	Bulk
	Unbulk
	Advance  // a bulk operation
	RetryAll // of an instance: by a bulk operation alone
	Report   // what was observed
	Apply    // a plan
	Enlist   // a reporter
	Strike   // it is to be asked no more
	Asked    // it was
)

// Changes of a run. Times are nanoseconds from now on; zero leaves what there is.
type Changes struct {
	Left              int32
	Total, Run, Queue int64
	Now               bool
}

// Command of a client. What does not apply is zero.
type Command struct {
	Kind    Kind
	Session int64
	Call    uint64 // names the call that waits for the answer
	// By and Request name a request whose answer its session remembers, until Lowest says that it need not.
	By, Request, Lowest int64

	Instance, Step, Workflow string
	Version                  int32
	Conflict, StartID        string // of a start: what becomes of it when its id is taken, and its name among those of the id
	Token                    int64
	Code                     string
	Retryable                bool
	Want                     Want
	TTL, Wait                int64
	Input, Output            int64 // the number in an instance's input, and in a step's output
	Signal, Name             string
	Key                      Key // of a signal by key
	Broadcast, Starts        bool
	Keys                     []Key // of an instance, by name
	Queues                   []string
	Count                    int32
	Credit, HasNext          bool
	Ended                    uint64 // the wait that EndWait ends
	From                     string // the step from which on an instance is undone
	Skip                     bool
	Fork                     string // the id of a fork
	Update                   Changes
	Index                    int    // the activation that is set back
	Compensate               bool   // and what was completed is undone before
	Bulk                     string // the id of a bulk operation
	Plans                    BulkPlan
	// Of a schedule: which of its name, behind which time which comes, and how many in between do not.
	Schedule            string
	Plan                Plan
	Position, After, At int64
	Missed              int32
	CatchUp             bool
	// Of an observation: what was seen of which run, when (At), and by what it was done; and what a plan does.
	Sighting                         Sighting
	Observation, Observed, Execution string
	PlanID                           string
	Actions                          []Action
	Reporter                         Reporter
	Ask                              Ask
	// How long what is over is kept.
	KeepFinished, KeepEvents int64
	ExportFirst              bool

	Answer Answer
}

// Answer to a command. A Code is a refusal.
type Answer struct {
	Code     string
	Parked   bool
	Token    int64
	Session  int64
	Late     bool
	Existing bool
	// Of a signal.
	Delivered, Duplicate bool
	Instance             string
	Reached              int
	Started              bool
	Place                int32 // of a start that is queued
	Copied               int32 // of a fork: runs
	Index, Back, Undone  int   // of a reset: the newest activation, how many steps were set back, and how many completions are undone
	Drained              bool  // of a version
	Live                 int64
	State                string
	// Of a time of a schedule.
	Taken        bool
	Outcome, Why string
	Steps        []string // that stood still
	Drift        string   // of an observation
	Superseded   bool
	Done         []Done // of a plan: by its actions
	Grants       []Grant
	Bulk         string // which bulk operation goes on
	Sum          uint64 // of all its bytes
}

// Grant is a leased run, as its holder is told of it.
type Grant struct {
	Instance, Step string
	Token, Session int64
	Attempt        int32
}

// Settled is the answer to a command that had parked.
type Settled struct {
	Call   uint64
	Answer Answer
	More   bool
}

// Fact is an event.
type Fact struct {
	Kind     string // step.completed
	Position int64
	Ordinal  int // of the command that caused it, from 1; zero is a renewal or the tick

	Instance, Workflow, Step string
	Version                  int32
	Session, Token           int64
	Attempt, Used            int32
	Lock, Code, Name         string
	Key                      Key
	Fair                     string // the key by which a run takes turns
	LimitKey                 string // the limit of which a slot is taken
	Limit                    int32
	Per                      int64
	Delay, Lag               int64
	Take, Slot               int32
	Shared, Late             bool
	Other, OtherStep         string // another instance, and a step of it
	Forked                   string // what an instance that is started is forked from
	Index                    int    // of a reset: the activation that begins
	Due                      int64  // unix
	Count                    int32
	Instances                []string // that have completed for a wait by a key
	Removed, Through         int64    // of retention
	Bulk                     string   // the bulk operation that it is about, or by which it happened
	Changed, Refused         int64
	// Of an observation, and of plans.
	Reporter, Observation, Observed, Drift, Plan string
}
