package sound

import "github.com/lockstep-dev/lockstep/fsm/graph"

// What is known here of the kinds of nodes: with which codes each fails, which skip themselves, and which wait to be heard of. Nothing
// is told of what has a kind that is not known.

// Codes of failures that no worker makes up.
const (
	rejected         = "REJECTED"
	timeoutTotal     = "TIMEOUT_TOTAL"
	outputInvalid    = "OUTPUT_INVALID"
	conditionInvalid = "CONDITION_INVALID"
	loopLimit        = "LOOP_LIMIT"
	tooManyRuns      = "TOO_MANY_RUNS"
	partiesDiffer    = "PARTIES_DIFFER"
	awaitTooWide     = "AWAIT_TOO_WIDE"
	callTooDeep      = "CALL_TOO_DEEP"
	instanceExists   = "INSTANCE_EXISTS"
	workflowNotFound = "WORKFLOW_NOT_FOUND"
	inputInvalid     = "INPUT_INVALID"
)

// codesOf are those with which a node can fail; false when its kind is not known.
func (m *model) codesOf(node int) (fails codes, known bool) {
	n := &m.g.Nodes[node]
	switch n.Kind {
	case graph.KindTask: // workers fail with what they like
		return anything(), true
	case graph.KindSignal:
		return these(timeoutTotal), true
	case graph.KindTimer:
		if !n.HasWhen && !n.Dated {
			return these(), true
		}
		return these(timeoutTotal), true
	case graph.KindApproval:
		return these(rejected, timeoutTotal), true
	case graph.KindCall:
		if n.Call.Detach {
			return these(callTooDeep, instanceExists, workflowNotFound, inputInvalid, timeoutTotal), true
		}
		return anything(), true // with which the other fails
	case graph.KindAwait:
		if counts(n) {
			return these(awaitTooWide, timeoutTotal), true
		}
		return anything(), true
	case graph.KindBarrier:
		return these(partiesDiffer, timeoutTotal), true
	case graph.KindScope, graph.KindForEach, graph.KindLoop:
		return m.codesOfBody(node), true
	}
	return codes{}, false
}

// codesOfBody are those that are left inside a node, and those of what it makes of its body.
func (m *model) codesOfBody(node int) codes {
	c := these(timeoutTotal)
	c.add(m.inside[m.g.Nodes[node].Body].fails)
	if m.g.HasBodyOutput(node) {
		c.add(these(outputInvalid))
	}
	if m.conditional(node) {
		c.add(these(conditionInvalid, loopLimit))
	}
	if m.crowded {
		c.add(these(tooManyRuns))
	}
	return c
}

// conditional: the node is a loop with a condition.
func (m *model) conditional(node int) bool {
	return m.g.Nodes[node].Kind == graph.KindLoop && m.g.Conditional(node)
}

// skipsItself: a node whose needs are met can be skipped all the same, by its condition, by a list without items, or by the step of
// another instance that is skipped.
func (m *model) skipsItself(node int) bool {
	n := &m.g.Nodes[node]
	switch n.Kind {
	case graph.KindForEach:
		items, listed := m.g.Listed(node)
		return n.HasWhen || !listed || items == 0
	case graph.KindAwait:
		return n.HasWhen || n.Awaits != "" && !counts(n)
	}
	return n.HasWhen
}

// counts: a node waits by a key for a number of instances. What fails, or is skipped, is not counted, so it fails with none of that.
func counts(n *graph.Node) bool { return n.AwaitsKey != "" && n.AwaitsCount > 0 }

// completesItself: what is inside a node lets it complete.
func (m *model) completesItself(node int) bool {
	n := &m.g.Nodes[node]
	if !n.Kind.HasBody() {
		return true
	}
	items, listed := 0, false
	if n.Kind == graph.KindForEach {
		items, listed = m.g.Listed(node)
	}
	return !(listed && items == 0) && (m.inside[n.Body].ends || m.conditional(node)) // its condition may never hold
}

// heard: a node goes on when somebody is heard of, and of nothing that it waits for it is known whether it begins.
func heard(n *graph.Node) bool {
	switch n.Kind {
	case graph.KindSignal, graph.KindApproval, graph.KindAwait, graph.KindBarrier:
		return true
	}
	return false
}

// isCrowded: inside the steps of an instance there may be more runs than are allowed.
func isCrowded(g *graph.Graph) bool {
	total, times := 0, make([]int, len(g.Scopes))
	times[0] = 1
	for scope := 1; scope < len(g.Scopes); scope++ { // behind the one that its step is in
		s := g.Scopes[scope]
		times[scope] = min(times[g.Nodes[s.Owner].Scope]*g.Times(s.Owner), graph.MaxInside+1)
		total = min(total+times[scope]*s.Count, graph.MaxInside+1)
	}
	return total > graph.MaxInside
}
