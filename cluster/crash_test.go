package cluster

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// An entry that cannot be applied is never passed over, is named at the next start, and nothing of it is read or
// written meanwhile. A binary that can apply it goes on.
func TestAPoisonedEntryIsNamed(t *testing.T) {
	dir := t.TempDir()
	m := machineOn(t, dir, 3)
	data, err := proto.Marshal(&logv1.Entry{Header: &logv1.Header{Level: fsm.Level + 1}})
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "level") {
				t.Fatalf("applied an entry of a later level: %v", r)
			}
		}()
		m.Apply(&raft.Log{Index: 4, Term: 1, Type: raft.LogCommand, Data: data})
	}()
	read := make(chan struct{})
	go func() {
		m.flush() // never returns: the process is about to end
		close(read)
	}()
	select {
	case <-read:
		t.Error("what is half applied was flushed")
	case <-time.After(50 * time.Millisecond):
	}

	log := &bytes.Buffer{}
	next := &crash{logger: hclog.New(&hclog.LoggerOptions{Output: log})}
	path := filepath.Join(dir, "CRASHED")
	if err := next.open(path); err != nil {
		t.Fatal(err)
	}
	if next.index != 4 || !strings.Contains(log.String(), "entry 4: ") {
		t.Errorf("the next start says %s", log)
	}
	next.passed(3)
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the marker went before its entry was applied: %v", err)
	}
	next.passed(4)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the marker stays: %v", err)
	}
}

// What a store refuses that has failed is not blamed on the entry in which it was asked: here the flush of a checkpoint.
func TestWhatTheDiskRefusesIsNoPoison(t *testing.T) {
	dir := t.TempDir()
	m := machineOn(t, dir, 3)
	failed, rests := make(chan struct{}), 0
	m.crash.failed, m.crash.rest = failed, func() { rests++ }
	if err := m.dir.Close(); err != nil {
		t.Fatal(err)
	}
	close(failed)
	m.Apply(&raft.Log{Index: 1024, Term: 1, Type: raft.LogCommand})
	if _, err := os.Stat(filepath.Join(dir, "CRASHED")); rests != 1 || !os.IsNotExist(err) {
		t.Errorf("it rested %d times, and the mark of a crash: %v", rests, err)
	}
}

func TestWhatIsNoEntryIsPoison(t *testing.T) {
	m := machineOn(t, "", 0)
	defer func() {
		if recover() == nil {
			t.Fatal("applied noise")
		}
	}()
	m.Apply(&raft.Log{Index: 1, Term: 1, Type: raft.LogCommand, Data: []byte{0xff, 0xff, 0xff}})
}

// Once the log store has failed, raft gets no answer any more: the node neither acknowledges nor votes nor panics, and
// says why it ends.
func TestADiskThatFailsEndsTheNode(t *testing.T) {
	_, transport := raft.NewInmemTransport("peer0")
	n, err := Open(Config{
		DataDir: t.TempDir(), NodeID: "n0", Transport: func(string) raft.Transport { return transport },
		Heartbeat: 20 * time.Millisecond, FlushEvery: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Bootstrap([]Member{{n.ID(), "peer0"}}); err != nil {
		t.Fatal(err)
	}
	for _, self := n.Leader(""); !self; _, self = n.Leader("") {
		<-n.LeaderChanged()
	}
	g := n.groups[theGroup]
	if err := g.log.(interface{ Close() error }).Close(); err != nil { // the nearest to a disk that is gone
		t.Fatal(err)
	}
	_, err = n.Propose(t.Context(), create("a"))
	if err == nil {
		t.Fatal("acknowledged without a disk")
	}
	<-n.Done()
	if n.Err() == nil || n.Close() != n.Err() {
		t.Errorf("the node ends with %v, and closing says %v", n.Err(), n.Close())
	}
}
