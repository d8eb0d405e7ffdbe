package graph

// Kind is what a step does.
type Kind uint8

const (
	// KindTask is leased by a worker.
	KindTask Kind = iota
	// KindSignal waits for a message. The kinds behind it wait too, in the order of the keys that name them.
	KindSignal
	// KindTimer waits for a time.
	KindTimer
	// KindApproval waits for somebody's word.
	KindApproval
	// KindCall starts an instance of another workflow, and waits for its end.
	KindCall
	// KindAwait waits for the end of an instance, or of a step of one.
	KindAwait
	// KindBarrier waits until so many parties wait at the same barrier.
	KindBarrier
	// KindScope waits for the end of what is inside it. The kinds behind it do too.
	KindScope
	// KindForEach waits for that, for each item of a list.
	KindForEach
	// KindLoop waits for that, turn after turn.
	KindLoop

	kinds = iota
)

// Kinds are all that there are: for tests of what must know each of them.
func Kinds() []Kind {
	list := make([]Kind, kinds)
	for k := range list {
		list[k] = Kind(k)
	}
	return list
}

// Join is how many of a step's needs must have completed before it becomes ready.
type Join uint8

const (
	// JoinAll waits for every need to complete or be skipped.
	JoinAll Join = iota
	// JoinAny waits for one completion.
	JoinAny
	// JoinAtLeast waits for AtLeast completions.
	JoinAtLeast
)

// Node is one step of the graph, or a step's compensation, which has no edges.
type Node struct {
	ID                  string
	Kind                Kind
	Scope               int // of Graph.Scopes: the one that it is activated with
	Queue, Task, Signal string
	After               int64  // of a timer, in nanoseconds; zero when Dated
	Dated               bool   // it fires at a date, which Until evaluates
	Role                string // whose approval it waits for; empty is anybody's
	Call                Call   // of a call: what it starts
	Awaits              string // of an await: the step that it waits for; empty is the instance
	AwaitsKey           string // of an await by key: the name of that
	AwaitsCount         int    // of an await by key: how many must have completed; zero is all
	Body                int    // of Graph.Scopes: what is inside it; zero is none
	Width, Turns        int    // how many items of its list are done at a time, and how many turns it has at most
	// Needs are the nodes that must end first, and Successors those that need this one; both ascend.
	Needs      []int
	Successors []Edge
	Join       Join
	AtLeast    int // only with JoinAtLeast
	// Rivals are the waits, ascending, that are skipped when this one completes first.
	Rivals            []int
	HasWhen, HasInput bool
	Locks             int // how many names LocksOf evaluates
	Retry             Retry
	Timeouts          Timeouts
	Priority          int
	Weight            int // of its key of fairness; zero is no key
	Limits            int // how many
	Reconcile         Reconcile
	// Compensation is the node that undoes a step; zero is none, for the first node is a step.
	Compensation int
	undoes       int // of a compensation: the node of its step, counted from one
}

// Retry is how often a run is tried and how long between: Backoff, then each time Factor times the one before,
// up to MaxBackoff. Durations are nanoseconds.
type Retry struct {
	Attempts            int
	Backoff, MaxBackoff int64
	Factor              int
	NonRetryable        []string // failure codes that fail the run at once
}

// Timeouts are nanoseconds; zero is off.
type Timeouts struct{ Queue, Run, Total, Heartbeat, Locks int64 }

// View is what expressions see.
type View struct {
	// Input is the instance's input; nil is null.
	Input *Data
	// Output returns a step's output, if the step has completed.
	Output func(node int) (output *Data, completed bool)
	// Failure returns why a step failed, if it did.
	Failure func(node int) (code, reason string, failed bool)
	// Index is the run's; of a turn, its number.
	Index int
	// Item is that of the list for which a body is done, and Last what the turn before put out; nil is null.
	Item, Last *Data
	// Own is the output of the step itself, for the keys that it gives its instance.
	Own *Data
	// Work is where what is done is counted; nil is nowhere.
	Work *Work
}
