// Package sim is a whole cluster with its clients in one goroutine, in virtual time, from one seed.
//
// What is real: the state machine (fsm), the proposer (cluster/propose), and the client's cores (client/core). What is a
// model: raft's log with its elections, disks that lose what was not synced, a network that loses, delays, duplicates and
// reorders, and processes that crash and pause. Whatever happens is checked against jepsen/model, which is told every
// entry of the log and what the cluster said of it, and against what clients saw.
//
// The same Config gives the same run, event for event: Report.Hash is the proof.
package sim
