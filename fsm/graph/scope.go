package graph

// Scope is a part of the graph that is activated as one. Its nodes stand together, so that an activation is a list.
type Scope struct {
	First, Count int
	// Owner is the node whose body the scope is; the workflow has none.
	Owner int
}
