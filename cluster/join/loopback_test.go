package join

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/lockstep-dev/lockstep/cluster/gossip"
	"github.com/lockstep-dev/lockstep/transport/peer"
)

// port has others' standings over a real port.
type port struct{ mux *peer.Mux }

func (p port) Ask(ctx context.Context, address string) (Standing, error) {
	reply, err := p.mux.Call(ctx, address, "standing", nil)
	if err != nil {
		return Standing{}, err
	}
	return Read(reply)
}

func (p port) Join(ctx context.Context, address string) error {
	_, err := p.mux.Call(ctx, address, "join", nil)
	return err
}

// founder is a node that tells when it is part of a cluster.
type founder struct {
	fake
	founding chan []gossip.Member
}

func (f *founder) Bootstrap(members []gossip.Member) error {
	f.founding <- members
	return f.fake.Bootstrap(members)
}

// Three nodes with real gossip and real ports found one cluster, and none founds another.
func TestThreeFoundOverLoopback(t *testing.T) {
	secret := []byte("a secret of the cluster")
	var first string
	founding := make(chan []gossip.Member, 3)
	w := newWorld()
	for _, id := range []string{"a", "b", "c"} {
		mux, err := peer.Listen(peer.Config{Listen: "127.0.0.1:0", Secret: secret})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { mux.Close() })
		c := gossip.Config{NodeID: id, Listen: "127.0.0.1:0", Secret: secret, PeerAddress: mux.Addr()}
		if first != "" {
			c.Join = []string{first}
		}
		g, err := gossip.Open(c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { g.Close() })
		if first == "" {
			first = g.Addr()
		}
		node := &founder{fake{world: w, id: id, address: mux.Addr()}, founding}
		j := New(Config{NodeID: id, PeerAddress: mux.Addr(), Expect: 3, Node: node, Around: g, Peers: port{mux}})
		mux.Handle("standing", func(context.Context, []byte) ([]byte, error) { return j.Answer() })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); j.Run(ctx) }()
		t.Cleanup(func() { cancel(); <-ended })
	}
	var one []gossip.Member
	select {
	case one = <-founding:
	case <-time.After(20 * time.Second):
		t.Fatal("nobody founded in 20 s")
	}
	if len(one) != 3 {
		t.Fatalf("founded with %v", one)
	}
	for range len(founding) {
		if other := <-founding; !slices.Equal(one, other) {
			t.Fatalf("founded with %v and with %v", one, other)
		}
	}
}
