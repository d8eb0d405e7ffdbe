// Package cluster makes many machines agree on one state machine. All of hashicorp/raft is in here.
//
// A Node has a data directory and raft groups; a namespace belongs to one group. A group is a raft.Raft, the
// machine (package fsm) that its log drives, and a proposer. One command's path: propose.go takes the call, the
// core in package propose packs it into an entry, raft commits it, machine.go applies it on every node, and on the
// leader its outcome answers the call. A command that waits is answered later, through await.go.
//
// On disk: IDENTITY, and for each group its log (package logstore), its snapshots, and the state's store.
package cluster
