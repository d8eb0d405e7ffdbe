// Package core is what the Go client decides: which server to ask and whether to ask again (Failover, Call), when to
// renew a session and when to stop trusting it (Keeper), what a worker starts, sends and gives back (Worker).
//
// Everything here is stepped: no goroutine, no clock, no IO, no randomness. A driver calls in with the time (a Duration
// on a monotonic clock of its own, from any start) and does what it is told. Package client is one driver; the simulator
// is another. Nothing here is safe for concurrent use: the driver holds a mutex.
package core
