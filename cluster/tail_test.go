package cluster

import (
	"testing"

	"github.com/hashicorp/raft"
)

// What is kept in memory of the log is no part of what raft answers with: an answer has every event of its entry.
func TestTheTailKeepsNoAnswers(t *testing.T) {
	tail, err := newTail(raft.NewInmemStore(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	log := &raft.Log{Index: 1, Term: 1, Data: []byte("entry")}
	if err := tail.StoreLog(log); err != nil {
		t.Fatal(err)
	}
	if tail.logs[0] == log {
		t.Error("the tail holds on to raft's own log")
	}
	var got raft.Log
	if err := tail.GetLog(1, &got); err != nil || string(got.Data) != "entry" {
		t.Errorf("%v, %q", err, got.Data)
	}
}
