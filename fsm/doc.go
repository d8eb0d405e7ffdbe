// Package fsm is the replicated state machine of a raft group: pure, and the same on every replica.
//
// # The model
//
// A command is imperative and may be refused; an event is past tense and never is. Apply takes one log
// entry: it advances time, renews sessions, decides each command in order, and last, when the entry says
// so, expires what is due. A command decides by reading the state and emitting events; emit is how facts
// come about: the event evolves the state, gets the next position in its namespace's feed, and extends the
// digest. A command refuses only before its first event. What else changes is bookkeeping that every
// replica derives alike and that nobody reads as a fact: time, renewals, waits, remembered outcomes, and
// the lock a blocked claim is parked on.
//
// Time is an input (clock.go). Nothing here has a clock, a goroutine, randomness, IO of its own or a log
// line; rows are paged in from the engine, and an engine that fails panics, for the process must stop.
//
// # Where things are
//
// One noun, one file: namespace, workflow, instance, run (what makes a run ready), claim (the grant of a run
// with its locks: the place where leases begin), lease (how they end), queue, lock, session, wait, request,
// signal, compensate (what undoes a step), incident, late, event, history, clock, digest, level, explain. What only
// reads a noun stands in NOUNread.go. store.go has the rows, snapshot.go the stream of them.
package fsm
