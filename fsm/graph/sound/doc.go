// Package sound says what cannot go well with a workflow, before an instance of it was started: steps that never run, expressions
// that have no value in some outcome, waits that nobody needs any more, and ends that are never reached.
//
// It looks at every way in which steps can end: a step completes, fails with a code that some step needs or with another, or is skipped. What
// conditions say, how long anything takes and what workers put out is not known here: a condition may hold or not, and anything may come
// before anything else that does not wait for it. What is said to happen in no outcome happens in none; what is said to happen in
// some outcome is told with the way there, and happens if conditions and times allow that way.
//
// Nothing here is read in apply: replicas need not agree on it.
package sound
