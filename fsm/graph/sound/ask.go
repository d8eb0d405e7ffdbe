package sound

import "github.com/lockstep-dev/lockstep/fsm/graph"

// codes finds needs of a node that count ends which it cannot have.
func (c *check) codes(node int) {
	st := &c.steps[node]
	edges := c.g.Nodes[node].Successors
	for k := range edges {
		e := &edges[k]
		if e.Ends&graph.EndsFailed == 0 || !st.runs || !c.steps[e.To].runs {
			continue
		}
		var never []string
		for _, code := range e.Codes {
			if !st.fails.has(code) {
				never = append(never, code)
			}
		}
		if len(never) > 0 || e.Ends == graph.EndsFailed && st.fails.none() {
			c.add(e.To, NeedNeverMet, nil, "it counts that %s fails%s, and %s; leave that out of its needs", c.id(node), with(never), c.failsOnly(node))
		}
	}
}

// left looks for an outcome in which a wait goes on while all that need it have gone on without it, or are skipped. Who is never
// heard of then fails the instance. One that stands still, for what it reads is not there, waits for nobody.
func (c *check) left(node int) {
	n := &c.g.Nodes[node]
	if !heard(n) || !c.steps[node].runs || len(n.Successors) == 0 || n.Takes(timeoutTotal) {
		return
	}
	banned := []ban{{node, ^none}}
	for _, rival := range n.Rivals {
		banned = append(banned, ban{rival, completes})
	}
	goals := append(c.values(node), goal{kind: goalGoes, node: node})
	for k := range n.Successors {
		goals = append(goals, goal{kind: goalDecided, node: n.Successors[k].To})
	}
	if c.find(banned, []int{node}, goals...) {
		c.add(node, WaitMayBeLeft, c.witness(), "nothing needs it any more while it waits, and the instance waits for it, and fails when its total timeout passes; "+
			"let it race, or let a step need it with ends: any")
	}
}

// output finds out whether what a scope puts out can be made when all in it has ended well.
func (c *check) output(scope int) (ends bool) {
	var all []goal
	for _, r := range c.reads[scope] {
		if r.Node < 0 && r.Scope == scope {
			all = append(all, goal{kind: goalEnds, node: r.Of, in: readable(r.Failure)})
		}
	}
	owner := c.g.Scopes[scope].Owner
	if len(all) > 0 && !c.find(nil, nil, all...) {
		if !c.budget.spent() {
			c.add(owner, OutputNeverThere, nil, "its output reads %s, and in no outcome is all of that there; ask with has first", c.list(nodesOf(all)))
		}
		return false
	}
	said := map[int]bool{}
	for _, g := range all {
		without := c.steps[g.node].can &^ g.in
		if without == none || said[g.node] {
			continue
		}
		said[g.node] = true
		if c.find(nil, nil, goal{kind: goalEnds, node: g.node, in: without}) {
			c.add(owner, OutputMayBeMissing, c.witness(), "its output reads %s, which is not there then; ask with has first", c.list([]int{g.node}))
		}
	}
	return true
}

// readable is how a step must have ended for its output, or its error, to be there.
func readable(failure bool) outcomes {
	if failure {
		return failures
	}
	return completes
}

// reading looks for an outcome in which a step is begun, and what an expression of it reads is not there.
func (c *check) reading(scope int, r graph.Reading) {
	if r.Node < 0 && r.Scope == scope {
		return // it is looked at with the scope's output
	}
	reader, from := r.Node, r.Scope
	goals, undo := goalGoes, false
	if reader >= 0 {
		if step, is := c.g.Nodes[reader].Compensates(); is {
			reader, goals, undo = step, goalEnds, true
		}
		if !c.steps[reader].runs || c.has(r.Node, StepStandsStill) || c.has(r.Node, whenMissing(r)) {
			return
		}
	}
	for ; from != scope; from = c.g.Nodes[reader].Scope {
		reader, goals = c.g.Scopes[from].Owner, goalGoes
	}
	if reader == r.Of || !c.steps[reader].runs || !r.Failure && c.before.has(reader, r.Of) {
		return
	}
	begun := []int{reader}
	if goals == goalEnds {
		begun = nil
	}
	all := []goal{{kind: goals, node: reader, in: completes}}
	if r.Turn && reader == r.Node { // it is looked at when all else that is read has a value
		all = append(all, c.values(reader)...)
	}
	if c.find([]ban{{r.Of, readable(r.Failure)}}, begun, all...) {
		c.missing(r, undo)
	}
}

// whenMissing is the finding that what a step reads may not be there.
func whenMissing(r graph.Reading) Code {
	switch {
	case r.Node < 0:
		return OutputMayBeMissing
	case r.Turn:
		return ConditionMayFail
	}
	return StepMayStandStill
}

// has: that is found of a node already.
func (c *check) has(node int, code Code) bool { return c.said[subject{node, code}] }

func nodesOf(list []goal) (nodes []int) {
	seen := map[int]bool{}
	for _, g := range list {
		if !seen[g.node] {
			seen[g.node] = true
			nodes = append(nodes, g.node)
		}
	}
	return nodes
}
