package peer

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// at is how raft dials the node of these tests.
func at(m *Mux) raft.ServerAddress { return raft.ServerAddress("n@" + m.Addr()) }

// accepted has what a layer accepts next.
func accepted(l raft.StreamLayer) <-chan net.Conn {
	c := make(chan net.Conn, 1)
	go func() {
		defer close(c)
		if conn, err := l.Accept(); err == nil {
			c <- conn
		}
	}()
	return c
}

func dialed(t *testing.T, a *Mux, group string, b *Mux) net.Conn {
	t.Helper()
	conn, err := a.Layer(group, "n").Dial(at(b), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestAGroupsConnectionsReachItAlone(t *testing.T) {
	a, b := listen(t, "s"), listen(t, "s")
	seven, eight := accepted(b.Layer("7", "n")), accepted(b.Layer("8", "n"))
	out := dialed(t, a, "8", b)
	in := soon(t, eight, "group 8 gets its connection")
	io.WriteString(in, "group 8")
	in.Close()
	if got, err := io.ReadAll(out); err != nil || string(got) != "group 8" {
		t.Fatalf("%q, %v", got, err)
	}
	if len(seven) > 0 {
		t.Fatal("group 7 got the connection of group 8")
	}
}

// Whoever is at a member's address with another id, since the disk there is new, is not that member.
func TestAnotherNodeAtTheAddressIsNotTaken(t *testing.T) {
	a, b := listen(t, "s"), listen(t, "s")
	b.Layer("1", "new")
	_, err := a.Layer("1", "n").Dial(raft.ServerAddress("old@"+b.Addr()), 5*time.Second)
	if err == nil || !strings.Contains(err.Error(), "is node new, not old") {
		t.Errorf("dialled with %v", err)
	}
	if _, err := a.Layer("1", "n").Dial(raft.ServerAddress(b.Addr()), time.Second); err == nil {
		t.Error("an address alone was dialled")
	}
	in := accepted(b.Layer("1", "new"))
	conn, err := a.Layer("1", "n").Dial(raft.ServerAddress("new@"+b.Addr()), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	soon(t, in, "the right node gets its connection").Close()
}

// A group that does not take its connections holds up neither calls nor other groups.
func TestAGroupThatAcceptsNothingBlocksNobody(t *testing.T) {
	a, b := listen(t, "s"), listen(t, "s")
	echo(b)
	b.Layer("1", "n")
	for range 20 {
		dialed(t, a, "1", b)
	}
	if _, err := a.Call(t.Context(), b.Addr(), "echo", nil); err != nil {
		t.Fatal(err)
	}
	two := accepted(b.Layer("2", "n"))
	dialed(t, a, "2", b)
	soon(t, two, "group 2 gets its connection")
}

func TestAConnectionThatIsNotTakenIsEnded(t *testing.T) {
	a, b := listen(t, "s"), hurried(t)
	b.Layer("1", "n")
	conn := dialed(t, a, "1", b)
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("got %v, want the end of the connection", err)
	}
}

// Closing a layer or the port ends the connections on both sides, also those that raft has; reads end as if the
// other side had gone, which is no error to raft.
func TestCloseEndsWhatWasHandedOver(t *testing.T) {
	for name, close := range map[string]func(m *Mux, l raft.StreamLayer) error{
		"layer": func(_ *Mux, l raft.StreamLayer) error { return l.Close() },
		"port":  func(m *Mux, _ raft.StreamLayer) error { return m.Close() },
	} {
		for side := range 2 {
			a, b := listen(t, "s"), listen(t, "s")
			one := accepted(b.Layer("1", "n"))
			out := dialed(t, a, "1", b)
			in := soon(t, one, "the connection")
			ended := make(chan error, 2)
			for _, conn := range []net.Conn{in, out} {
				go func() {
					_, err := conn.Read(make([]byte, 1))
					ended <- err
				}()
			}
			m := []*Mux{a, b}[side]
			if err := close(m, m.Layer("1", "n")); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := soon(t, ended, name+" closes, reads end"); !errors.Is(err, io.EOF) {
					t.Fatalf("%s: %v", name, err)
				}
			}
		}
	}
}

func TestALayerCanBeHadAgain(t *testing.T) {
	a, b := listen(t, "s"), listen(t, "s")
	b.Layer("1", "n").Close()
	one := accepted(b.Layer("1", "n"))
	dialed(t, a, "1", b)
	if soon(t, one, "the connection") == nil {
		t.Fatal("the second layer accepts nothing")
	}
}

func TestAClosedLayerAcceptsNothing(t *testing.T) {
	a, b := listen(t, "s"), listen(t, "s")
	l := b.Layer("1", "n")
	waits := accepted(l)
	l.Close()
	if conn := soon(t, waits, "Accept ends"); conn != nil {
		t.Fatal("a closed layer accepted")
	}
	_, err := a.Layer("1", "n").Dial(at(b), time.Second)
	wantError(t, err, `has no group "1"`)
}

// Three raft nodes agree over three ports, in two groups, and go on when a leader's port is gone.
func TestRaftAgreesOverThePort(t *testing.T) {
	var muxes []*Mux
	for range 3 {
		muxes = append(muxes, listen(t, "s"))
	}
	groups := [][]*raft.Raft{raftGroup(t, "1", muxes), raftGroup(t, "2", muxes)}
	agree := func() {
		for i, group := range groups {
			if err := leaderOf(t, group).Apply(fmt.Appendf(nil, "group %d", i), 5*time.Second).Error(); err != nil {
				t.Fatal(err)
			}
		}
	}
	agree()
	gone := slices.Index(groups[0], leaderOf(t, groups[0]))
	if err := muxes[gone].Close(); err != nil {
		t.Fatal(err)
	}
	for i := range groups {
		groups[i] = slices.Delete(groups[i], gone, gone+1)
	}
	agree()
}

func raftGroup(t *testing.T, group string, muxes []*Mux) []*raft.Raft {
	t.Helper()
	var all raft.Configuration
	for i, m := range muxes {
		all.Servers = append(all.Servers, raft.Server{ID: raft.ServerID(fmt.Sprint(i)), Address: at(m)})
	}
	var nodes []*raft.Raft
	for i, m := range muxes {
		config := raft.DefaultConfig()
		config.LocalID = all.Servers[i].ID
		config.HeartbeatTimeout, config.ElectionTimeout, config.LeaderLeaseTimeout = 200*time.Millisecond, 200*time.Millisecond, 200*time.Millisecond
		config.Logger = hclog.NewNullLogger()
		config.NoLegacyTelemetry = true
		transport := raft.NewNetworkTransportWithLogger(m.Layer(group, "n"), 3, 5*time.Second, config.Logger)
		store := raft.NewInmemStore()
		node, err := raft.NewRaft(config, &raft.MockFSM{}, store, store, raft.NewInmemSnapshotStore(), transport)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			node.Shutdown().Error()
			transport.Close()
		})
		if err := node.BootstrapCluster(all).Error(); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, node)
	}
	return nodes
}

func leaderOf(t *testing.T, nodes []*raft.Raft) *raft.Raft {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for _, node := range nodes {
			if node.State() == raft.Leader && node.VerifyLeader().Error() == nil {
				return node
			}
		}
	}
	t.Fatal("no leader in 20 s")
	return nil
}
