package graph

import "errors"

// Graph is a compiled definition. Its exported fields never change after Compile and may be read from
// any goroutine; evaluation may be called from any goroutine too.
type Graph struct {
	Name string
	// Digest is the SHA-256 of the canonical bytes, hex.
	Digest string
	// Nodes stand in definition order: a node's index here is its identity everywhere.
	Nodes []Node
}

// Kind is what a step does.
type Kind uint8

const (
	// KindTask is leased by a worker.
	KindTask Kind = iota
	// KindSignal waits for a message.
	KindSignal
)

// Join is how many of a step's needs must have completed before it becomes ready.
type Join uint8

const (
	JoinAll Join = iota
	JoinAny
	JoinAtLeast
)

// Node is one step of the graph.
type Node struct {
	ID                  string
	Kind                Kind
	Queue, Task, Signal string
	// Needs and Successors are node indexes, ascending.
	Needs, Successors []int
	Join              Join
	AtLeast           int // only with JoinAtLeast
	HasWhen, HasInput bool
	Locks             int // how many lock templates LocksOf evaluates
	Retry             Retry
	Timeouts          Timeouts
	Priority          int
}

// Retry is how often a run is tried and how long between. Durations are nanoseconds.
type Retry struct {
	Attempts            int
	Backoff, MaxBackoff int64
	Factor              int
	NonRetryable        []string // failure codes that fail the run at once
}

// Timeouts are nanoseconds; zero is off.
type Timeouts struct{ Queue, Run, Total, Heartbeat int64 }

// Lock is one lock that a claim needs. Limit is zero for exclusive and shared locks.
type Lock struct {
	Name        string
	Shared      bool
	Limit, Take int32
}

// Scope is what expressions see.
type Scope struct {
	Input  []byte // JSON of the instance's input; nil is null
	Output func(node int) (json []byte, completed bool)
	Index  int
}

var errUnfinished = errors.New("graph: not yet")

// Compile reads a canonical definition.
func Compile(canonical []byte) (*Graph, error) { return nil, errUnfinished }

// When evaluates a node's condition.
func (g *Graph) When(node int, s Scope) (bool, error) { return false, errUnfinished }

// Input evaluates a node's input mapping.
func (g *Graph) Input(node int, s Scope) ([]byte, error) { return nil, errUnfinished }

// LocksOf evaluates a node's lock names.
func (g *Graph) LocksOf(node int, s Scope) ([]Lock, error) { return nil, errUnfinished }

// HasOutput says whether the workflow has an output of its own.
func (g *Graph) HasOutput() bool { return false }

// Output evaluates the workflow's output.
func (g *Graph) Output(s Scope) ([]byte, error) { return nil, errUnfinished }

// CheckInput holds an input against the inputSchema.
func (g *Graph) CheckInput(input []byte) error { return nil }

// EvalError is why an evaluation has no result. It holds codes and arguments of our own only.
type EvalError struct{ Code, Where, Expression string }

func (e *EvalError) Error() string { return e.Code + " in " + e.Where + ": " + e.Expression }
