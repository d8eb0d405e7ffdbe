package gossip

import (
	"testing"
	"time"
)

func open(t *testing.T, id string, secret string, join ...string) *Gossip {
	t.Helper()
	g, err := Open(Config{NodeID: id, Listen: "127.0.0.1:0", Join: join, Secret: []byte(secret), PeerAddress: "peer-" + id, APIAddress: "api-" + id})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

// until waits for a change that makes ok true.
func until(t *testing.T, g *Gossip, ok func() bool) bool {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		changed := g.Changed()
		if ok() {
			return true
		}
		select {
		case <-changed:
		case <-deadline:
			return false
		}
	}
}

func TestNodesHearOfEachOther(t *testing.T) {
	a := open(t, "a", "s")
	b := open(t, "b", "s", a.Addr())
	if !until(t, a, func() bool { return a.APIAddress("b") == "api-b" }) || !until(t, b, func() bool { return b.APIAddress("a") == "api-a" }) {
		t.Fatalf("a knows %v, b knows %v", a.Members(), b.Members())
	}
}

func TestDecide(t *testing.T) {
	fresh := func(id string, expect int) Standing { return Standing{NodeID: id, Expect: expect} }
	member := Standing{NodeID: "m", Expect: 3, HasState: true}
	for name, x := range map[string]struct {
		expect, seen int
		answers      []Standing
		want         Verdict
		fails        bool
	}{
		"alone, expecting one":           {1, 1, []Standing{fresh("a", 1)}, Found, false},
		"two of three":                   {3, 2, []Standing{fresh("a", 3), fresh("b", 3)}, Wait, false},
		"all three":                      {3, 3, []Standing{fresh("a", 3), fresh("b", 3), fresh("c", 3)}, Found, false},
		"one did not answer":             {3, 3, []Standing{fresh("a", 3), fresh("b", 3)}, Wait, false},
		"one is part of a cluster":       {3, 3, []Standing{fresh("a", 3), fresh("b", 3), member}, Join, false},
		"a member, and one is silent":    {3, 3, []Standing{fresh("a", 3), member}, Join, false},
		"they expect different clusters": {3, 3, []Standing{fresh("a", 3), fresh("b", 3), fresh("c", 5)}, Wait, true},
		"too many":                       {3, 4, []Standing{fresh("a", 3), fresh("b", 3), fresh("c", 3), fresh("d", 3)}, Wait, true},
		"it expects nothing":             {0, 1, []Standing{fresh("a", 0)}, Wait, false},
	} {
		got, err := Decide(x.expect, x.seen, x.answers)
		if got != x.want || (err != nil) != x.fails {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
