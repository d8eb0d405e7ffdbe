package gossip

import (
	"net"
	"strings"
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

func alive(g *Gossip, id string) bool {
	for _, m := range g.Members() {
		if m.NodeID == id {
			return m.Alive
		}
	}
	return false
}

func TestNodesHearOfEachOther(t *testing.T) {
	a := open(t, "a", "s")
	b := open(t, "b", "s", a.Addr())
	c := open(t, "c", "s", b.Addr())
	for _, g := range []*Gossip{a, b, c} {
		if !until(t, g, func() bool { return len(g.Members()) == 3 }) {
			t.Fatalf("it knows %v", g.Members())
		}
		for i, id := range []string{"a", "b", "c"} {
			want := Member{NodeID: id, PeerAddress: "peer-" + id, APIAddress: "api-" + id, Alive: true}
			if got := g.Members()[i]; got != want || g.APIAddress(id) != "api-"+id {
				t.Errorf("it knows %+v, want %+v", got, want)
			}
		}
	}
	if a.APIAddress("d") != "" {
		t.Error("it knows a node that is not there")
	}
}

func TestANodeKnowsItself(t *testing.T) {
	a := open(t, "a", "s")
	if !alive(a, "a") || a.APIAddress("a") != "api-a" {
		t.Fatalf("it knows %v", a.Members())
	}
}

func TestWhoLeavesIsNotAlive(t *testing.T) {
	a := open(t, "a", "s")
	b, err := Open(Config{NodeID: "b", Listen: "127.0.0.1:0", Join: []string{a.Addr()}, Secret: []byte("s"), APIAddress: "api-b"})
	if err != nil {
		t.Fatal(err)
	}
	heard := until(t, a, func() bool { return alive(a, "b") })
	if err := b.Close(); err != nil || !heard {
		t.Fatalf("a heard of b: %v; close: %v", heard, err)
	}
	if !until(t, a, func() bool { return !alive(a, "b") }) {
		t.Fatalf("a knows %v", a.Members())
	}
	if a.APIAddress("b") != "api-b" {
		t.Fatal("a forgot where b was") // it may be the leader still, in raft's eyes
	}
}

// A seed that is not there yet is tried again.
func TestASeedMayComeLater(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	a := open(t, "a", "s", address)
	b, err := Open(Config{NodeID: "b", Listen: address, Secret: []byte("s")})
	if err != nil {
		t.Skipf("the port was taken meanwhile: %v", err)
	}
	defer b.Close()
	if !until(t, a, func() bool { return alive(a, "b") }) {
		t.Fatalf("a knows %v", a.Members())
	}
}

// The stranger's join fails on the spot, and so shows that nothing was told.
func TestAnotherSecretHearsNothing(t *testing.T) {
	a := open(t, "a", "s")
	for _, secret := range []string{"other", ""} {
		x := open(t, "x", secret)
		if n, err := x.list.Join([]string{a.Addr()}); err == nil || n > 0 {
			t.Fatalf("secret %q: joined %d", secret, n)
		}
		if len(x.Members()) != 1 || len(a.Members()) != 1 {
			t.Fatalf("x knows %v, a knows %v", x.Members(), a.Members())
		}
	}
}

// The second under a name learns it from whomever it meets, and is not taken for the first.
func TestASecondOfOneNameIsARival(t *testing.T) {
	first := open(t, "a", "s")
	b := open(t, "b", "s", first.Addr())
	if !until(t, b, func() bool { return alive(b, "a") }) {
		t.Fatal("b has not heard of a")
	}
	second, err := Open(Config{NodeID: "a", Listen: "127.0.0.1:0", Join: []string{b.Addr()}, Secret: []byte("s"), PeerAddress: "peer-second"})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	var rival Member
	if !until(t, second, func() (found bool) { rival, found = second.Rival(); return found }) || rival.PeerAddress != "peer-a" {
		t.Errorf("rival %+v, want one at peer-a", rival)
	}
	if b.APIAddress("a") != "api-a" {
		t.Error("b took the second for the first")
	}
	if _, found := b.Rival(); found {
		t.Error("b has a rival")
	}
}

func TestBadAddressesAreRefused(t *testing.T) {
	long := strings.Repeat("x", maxMeta)
	for says, c := range map[string]Config{
		"gossip listen address":    {NodeID: "a", Listen: "127.0.0.1"},
		"gossip advertise address": {NodeID: "a", Listen: "127.0.0.1:0", Advertise: "host:port"},
		"need more than the 512":   {NodeID: "a", Listen: "127.0.0.1:0", PeerAddress: long},
	} {
		g, err := Open(c)
		if err == nil {
			g.Close()
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
	}
	// The most that fits does.
	fits := strings.Repeat("x", maxMeta-len(`{"p":"","a":""}`))
	g, err := Open(Config{NodeID: "a", Listen: "127.0.0.1:0", PeerAddress: fits})
	if err != nil {
		t.Fatal(err)
	}
	g.Close()
}
