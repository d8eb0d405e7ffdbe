package graph_test

import (
	"testing"

	"github.com/lockstep-dev/lockstep/fsm/graph"
)

func has(s graph.Scope, node int) bool { return node >= s.First && node < s.First+s.Count }

// checkScopes wants what activations rely on: each node is in one scope, the one that it names, and the workflow, which
// nothing owns, is the first.
func checkScopes(t *testing.T, g *graph.Graph) {
	t.Helper()
	for node, n := range g.Nodes {
		for at, s := range g.Scopes {
			if has(s, node) != (n.Scope == at) {
				t.Errorf("node %d says that it is in scope %d; scope %d is %+v", node, n.Scope, at, s)
			}
		}
	}
	total := 0
	for at, s := range g.Scopes {
		if owned := s.Owner >= 0 && s.Owner < len(g.Nodes) && !has(s, s.Owner); owned != (at > 0) {
			t.Errorf("scope %d of %d nodes is %+v", at, len(g.Nodes), s)
		}
		total += s.Count
	}
	if len(g.Scopes) == 0 || total != len(g.Nodes) {
		t.Errorf("%d scopes have %d nodes of %d", len(g.Scopes), total, len(g.Nodes))
	}
}

func TestTheWorkflowIsTheFirstScope(t *testing.T) {
	g := define(t, `{"workflow":"w","steps":{"a":{"queue":"q"},"b":{"signal":{"name":"s"},"needs":["a"]}}}`)
	if want := (graph.Scope{Count: 2, Owner: -1}); len(g.Scopes) != 1 || g.Scopes[0] != want {
		t.Errorf("the scopes are %+v, not %+v", g.Scopes, want)
	}
}
