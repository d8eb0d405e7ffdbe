// Package graph compiles canonical workflow definitions and evaluates their expressions, purely and
// deterministically.
package graph
