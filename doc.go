// Package lockstep is a workflow synchronization layer: it makes sure that exactly one worker advances each step
// of each workflow, whatever fails. There is no code in this package; it is the map of the house.
//
//	 workers, other engines, people
//	      │ Connect, gRPC, JSON
//	      ▼
//	client ──► transport/api        what is said: one file per noun, refusals, forwarding to the leader
//	                │
//	                ▼
//	            cluster ◄──► transport/peer ◄──► the other nodes       (cluster/gossip: who is around; cluster/join)
//	                │   commands packed into raft entries (cluster/propose), committed, stored (cluster/logstore)
//	                ▼
//	               fsm              the same on every replica: decides commands, derives events; time is an input
//	                │
//	                ▼
//	            fsm/table           ordered rows, in memory or on disk;  fsm/graph: what a workflow is
//
// One noun is one file of the same name in every layer: "ls **/lock*" shows the whole feature.
//
// # Who may import whom
//
// Arrows point down in the picture, and never up: fsm knows nothing of raft, of a network or of a clock; transport/api
// reaches the cluster through an interface of its own; a client knows the words of proto and nothing of how
// they are kept. The command alone knows every concrete type, for it wires them. The cores in cluster/propose and client/core
// are stepped: they have no goroutine, clock, IO or lock, so that a simulator can drive what production runs.
//
// The rule, each line with its reason, is the table in layers_test.go, which fails when an import breaks it.
// What the state machine's own source may contain is the list in fsm/purity_test.go.
package lockstep
