package sound

import (
	"slices"

	"github.com/lockstep-dev/lockstep/fsm/graph"
)

// What a check may spend. A state is what is assumed of one step.
const (
	MaxStates = 100_000
	maxLooks  = 50_000_000 // at needs: a state of a step that has thousands of them is more than one of a step that has two
)

// Verdict is what a check comes to.
type Verdict uint8

const (
	// Sound: there are no findings.
	Sound Verdict = iota
	// Unsound: there are findings.
	Unsound
	// NotChecked: it cannot be told, for the check gave up. What it found holds, and there may be more.
	NotChecked
)

// Report is what a check found.
type Report struct {
	Verdict  Verdict
	States   int // that were explored
	Findings []Finding
	// Of NotChecked: the step at which the check gave up, and where that stands in the definition.
	Step, Path string
}

// Code says what kind of finding it is. Codes never change their meaning.
type Code string

const (
	// StepNeverRuns: no outcome of what it needs begins the step.
	StepNeverRuns Code = "STEP_NEVER_RUNS"
	// StepStandsStill: an expression of the step names what is not there in any outcome in which the step is begun.
	StepStandsStill Code = "STEP_STANDS_STILL"
	// OutputNeverThere: the workflow's output, or a body's, names what is not there in any outcome in which all ends well.
	OutputNeverThere Code = "OUTPUT_NEVER_THERE"
	// NeedNeverMet: a need counts ends that the step which it needs cannot have.
	NeedNeverMet Code = "NEED_NEVER_MET"
	// StepMayStandStill: an expression of the step names what is not there in some outcome in which the step is begun.
	StepMayStandStill Code = "STEP_MAY_STAND_STILL"
	// OutputMayBeMissing: the workflow's output, or a body's, names what is not there in some outcome in which all ends well.
	OutputMayBeMissing Code = "OUTPUT_MAY_BE_MISSING"
	// ConditionMayFail: a loop's condition names what is not there in some outcome in which it is looked at.
	ConditionMayFail Code = "CONDITION_MAY_FAIL"
	// WaitMayBeLeft: in some outcome nothing needs the wait any more, and the instance waits for it.
	WaitMayBeLeft Code = "WAIT_MAY_BE_LEFT"
)

// Always says that a finding holds in every outcome, so that the definition does not do what it says. Others hold in some.
func (c Code) Always() bool {
	switch c {
	case StepNeverRuns, StepStandsStill, OutputNeverThere, NeedNeverMet:
		return true
	}
	return false
}

// Finding is something that cannot go well, or may not.
type Finding struct {
	Code     Code
	Step     string   // empty: it is about the workflow's output
	Path     string   // where it is in the definition
	Sentence string   // what cannot go well, and what to do
	Witness  []string // of what may not go well: what happens first, in order
}

// Check looks at a graph and what its expressions read. It takes time that is bounded, whatever the graph.
func Check(c *graph.Checked) *Report { return checkWithin(c, MaxStates) }

func checkWithin(checked *graph.Checked, states int) *Report {
	c := newCheck(checked, states)
	c.all()
	r := &Report{States: min(states, states-c.budget.states), Findings: c.inOrder()}
	switch {
	case c.budget.spent():
		r.Verdict, r.Step, r.Path = NotChecked, c.g.Nodes[c.at].ID, c.g.Path(c.at)
	case len(r.Findings) > 0:
		r.Verdict = Unsound
	}
	return r
}

func newCheck(checked *graph.Checked, states int) *check {
	m := newModel(checked.Graph, checked.Reads)
	n := len(m.steps)
	return &check{said: map[subject]bool{}, search: &search{
		model: m, budget: &budget{states: states, looks: maxLooks},
		fact: make([]outcomes, n), goes: make([]bool, n), derived: make([]bool, n),
	}}
}

// all checks the scopes, those inside first.
func (c *check) all() {
	for scope := len(c.inside) - 1; scope >= 0 && !c.budget.spent(); scope-- {
		c.scope(scope)
	}
	if !c.budget.spent() {
		c.insides()
	}
}

// check collects what it finds.
type check struct {
	*search
	before   *upstream // what has completed, of the scope that is looked at
	findings []found
	said     map[subject]bool
	at       int // the node that is looked at
}

type found struct {
	node int
	Finding
}

// subject is what findings say something of.
type subject struct {
	node int
	code Code
}

// turn turns to a node; false when the check has given up at one before.
func (c *check) turn(node int) bool {
	if c.budget.spent() {
		return false
	}
	c.at = node
	return true
}

// scope checks the steps of a scope, each behind those that it needs, and then what it puts out.
func (c *check) scope(scope int) {
	order, unknown := c.prepare(scope)
	if unknown >= 0 {
		c.at, c.budget.out = unknown, true
		return
	}
	c.up = c.upstreamOf(scope, order)
	c.budget.work(c.unions(scope, order))
	for _, node := range order {
		c.budget.state()
		if !c.turn(node) {
			return
		}
		c.step(node)
	}
	if len(c.reads[scope]) > 0 {
		c.before = c.completedBefore(scope, order)
		c.budget.work(3 * c.unions(scope, order))
	}
	for _, node := range order {
		if !c.turn(node) {
			return
		}
		c.codes(node)
		c.left(node)
	}
	in := &c.inside[scope]
	in.ends, in.fails = c.output(scope), these()
	for _, r := range c.reads[scope] {
		if !c.turn(r.Of) {
			return
		}
		c.reading(scope, r)
	}
	for _, node := range order {
		if c.steps[node].runs {
			in.fails.add(c.steps[node].fails.unneeded(&c.g.Nodes[node]))
		}
	}
}

// insides are the steps inside one that is never begun, or whose body is not: nothing else is to be said of them.
func (c *check) insides() {
	dead := make([]string, len(c.g.Scopes)) // why
	for scope := 1; scope < len(c.g.Scopes); scope++ {
		switch owner := c.g.Scopes[scope].Owner; {
		case dead[c.g.Nodes[owner].Scope] != "", !c.steps[owner].runs:
			dead[scope] = "never runs"
		case c.has(owner, StepStandsStill):
			dead[scope] = "always stands still"
		case c.g.Nodes[owner].Kind == graph.KindForEach && c.g.Times(owner) == 0:
			dead[scope] = "has no items"
		}
	}
	c.findings = slices.DeleteFunc(c.findings, func(f found) bool { return f.node >= 0 && dead[c.g.Nodes[f.node].Scope] != "" })
	for node := range c.g.Nodes {
		if why := dead[c.g.Nodes[node].Scope]; why != "" && !c.compensates(node) {
			c.add(node, StepNeverRuns, nil, "it is inside %s, which %s", c.id(c.g.Scopes[c.g.Nodes[node].Scope].Owner), why)
		}
	}
}

// step finds out whether a node ever runs, and how it can end.
func (c *check) step(node int) {
	st := &c.steps[node]
	c.usually(node)
	if !st.runs {
		if st.runs = c.find(nil, []int{node}, goal{kind: goalGoes, node: node}); !st.runs && !c.budget.spent() {
			c.never(node)
		}
	}
	if st.runs && len(st.strict) > 0 && st.usual != completes {
		c.still(node)
	}
	c.narrow(node)
}

// still finds out whether what a node's expressions read is ever there. Where it is not, only time ends the node.
func (c *check) still(node int) {
	st := &c.steps[node]
	if c.find(nil, []int{node}, append(c.values(node), goal{kind: goalGoes, node: node})...) || c.budget.spent() {
		return
	}
	c.standsStill(node)
	left := st.can & isSkipped
	for _, o := range (st.can & failures).bits() {
		if st.takesTimeout(o) {
			left |= o
		}
	}
	st.can = left
	st.fails = these(timeoutTotal)
}
