// Package graph turns a workflow definition into a graph and evaluates its expressions, purely and
// deterministically: the state machine calls it while it applies the log, on every replica.
//
//	value -> Read -> Definition -> Check -> canonical bytes      before a definition is proposed
//	canonical bytes -> Compile -> Graph -> When, Input, ...      in apply
//
// Read and Check refuse whatever is wrong, by path; package source finds the line and column. Compile takes
// canonical bytes only, and checks all of it but the expressions, which it compiles when they are first needed.
//
// # Expressions
//
// A condition is an expression in CEL; every other string is a template with ${expressions} in it. They see
//
//	input            the instance's input; null if there is none
//	steps.ID.output  the output of a step upstream, if it has completed: has(steps.ID.output)
//	index            the run's index
//
// and a subset of CEL: its operators, has, size, contains, startsWith, endsWith, int, double, string, dyn, and over lists
// (maps have no order) all, exists, exists_one, filter and map. Ids that are no identifiers are named in
// brackets or backquotes: steps["a-b"].output.
//
// # Numbers
//
// JSON has one kind of number and CEL has two. A number whose value is integral and fits an int64 is an int, however it is
// written; any other is a double; what the inputSchema declares as "number" is a double always. Int and double
// compare with each other but do not mix in arithmetic: double(input.n) * 1.5. Both are written as RFC 8785 writes
// numbers, in JSON and in text.
//
// # Errors and costs
//
// An evaluation that has no result is an EvalError with a code of our own. Each evaluation has a budget, so that no
// definition can hold up the log for more than some 60 ms. The corpus in testdata/golden fails when an upgrade of a
// library changes a result, a code or a cost.
package graph
