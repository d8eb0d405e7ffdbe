package cluster

import (
	"runtime"
	"testing"
	"weak"

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

// What has fallen out of the tail is free: nothing of it stays reachable behind the entries that are kept.
func TestTheTailFreesWhatItDrops(t *testing.T) {
	tail, err := newTail(forgetful{raft.NewInmemStore()}, 10*(1000+perEntry))
	if err != nil {
		t.Fatal(err)
	}
	var dropped []weak.Pointer[byte]
	for index := range uint64(100) {
		data := make([]byte, 1000)
		if err := tail.StoreLog(&raft.Log{Index: index + 1, Term: 1, Data: data}); err != nil {
			t.Fatal(err)
		}
		dropped = append(dropped, weak.Make(&data[0]))
	}
	runtime.GC()
	kept := 0
	for _, p := range dropped {
		if p.Value() != nil {
			kept++
		}
	}
	if kept != 10 {
		t.Errorf("%d entries are in memory, of 10 that fit the tail", kept)
	}
	runtime.KeepAlive(tail)
}

// forgetful is a log that keeps nothing in memory.
type forgetful struct{ raft.LogStore }

func (forgetful) StoreLogs([]*raft.Log) error { return nil }
