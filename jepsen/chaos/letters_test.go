package main

import (
	"testing"

	"github.com/lockstep-dev/lockstep/jepsen/check"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A run shows something of signals by key when one was kept and taken, one found who has it, and a broadcast reached several.
func TestARunWithoutKeysIsVoid(t *testing.T) {
	all := []check.Event{{Type: "signal.received", Signal: "a", Key: "k=v"}, {Type: "signal.correlated", Signal: "b"}, {Type: "signal.received", Signal: "a"}, {Type: "signal.broadcast", Signal: "a"}}
	for _, x := range []struct {
		events []check.Event
		want   string
	}{{all, pass}, {all[:3], failed}, {all[1:], failed}, {append(all[:1:1], all[2:]...), failed}, {append(all[:2:2], all[3]), failed}} {
		r := newReport(&config{})
		if r.keyed(x.events); r.Checks["signals went by keys"] != x.want {
			t.Errorf("%v: %v", x.events, r.Checks)
		}
	}
}

func TestAnEventOfASignalByKey(t *testing.T) {
	got := event(&v1.Event{Type: "lockstep.signal.kept.v1", Data: &v1.EventData{Name: "go", Code: "a", KeyName: "order", KeyValue: "7"}})
	if got.Type != "signal.kept" || got.Key != "order=7" || got.Signal != "a" || got.Name != "go" {
		t.Errorf("it is read as %+v", got)
	}
	if got := event(&v1.Event{Type: "lockstep.signal.received.v1", Data: &v1.EventData{Name: "go", Code: "a"}}); got.Key != "" {
		t.Errorf("it is read as %+v", got)
	}
}

// What a signal was told to have reached is taken to its end, too, and once.
func TestStartedBySignals(t *testing.T) {
	ops := []*check.Op{
		{Kind: "start", Instance: "letter-1-0", Outcome: check.OK}, {Kind: "message", Instance: "letter-1-0", Outcome: check.OK}, {Kind: "message", Instance: "letter-1-2-0", Outcome: check.OK},
		{Kind: "message", Outcome: check.OK}, {Kind: "message", Instance: "letter-1-3", Outcome: check.Unknown}, {Kind: "signal", Instance: "saga-1-1", Outcome: check.OK},
	}
	if got := started(ops); len(got) != 2 || got[0] != "letter-1-0" || got[1] != "letter-1-2-0" {
		t.Errorf("they are %v", got)
	}
}
