package lab

import (
	"net/netip"
	"os"
	"testing"
	"time"
)

// pipe is a device whose other end the test reads.
func pipe(t *testing.T) (near, far *os.File) {
	t.Helper()
	far, near, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return near, far
}

func packet(from, to netip.Addr, last byte) []byte {
	out := make([]byte, 21)
	out[0] = 4 << 4
	copy(out[12:], from.AsSlice())
	copy(out[16:], to.AsSlice())
	out[20] = last
	return out
}

func TestAWireLosesDoublesAndDelays(t *testing.T) {
	a, b := netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("10.77.0.2")
	near, far := pipe(t)
	w := newWires()
	w.devices[b] = near
	arrives := func(what string, last byte) {
		t.Helper()
		got := make([]byte, 21)
		if _, err := far.Read(got); err != nil || got[20] != last {
			t.Fatalf("%s: packet %d arrived, want %d: %v", what, got[20], last, err)
		}
	}
	one := &wired{}
	w.wires[[2]netip.Addr{a, b}] = one
	carry := func(wire Wire, last byte) {
		one.Wire = wire
		p := packet(a, b, last)
		from, to, ok := ends(p)
		if !ok || from != a || to != b {
			t.Fatalf("a packet from %s to %s is told to be from %s to %s", a, b, from, to)
		}
		w.carry(from, to, p)
	}
	carry(Wire{Loss: 1}, 1)
	carry(Wire{Twice: 1}, 2)
	arrives("twice", 2)
	arrives("twice", 2)
	began := time.Now()
	carry(Wire{Delay: 50 * time.Millisecond}, 3)
	carry(Wire{}, 4)
	arrives("overtaking", 4)
	arrives("delayed", 3)
	if took := time.Since(began); took < 50*time.Millisecond {
		t.Errorf("a packet was delayed by %s", took)
	}
	w.mu.Lock()
	if want := (Carried{Delayed: 1, Overtaken: 1, Lost: 1, Twice: 1}); one.carried != want {
		t.Errorf("carried %+v, want %+v", one.carried, want)
	}
	delete(w.wires, [2]netip.Addr{a, b})
	w.mu.Unlock()
	w.carry(a, b, packet(a, b, 5))
	arrives("when the wire has ended", 5)
}

// What another wire does is no effect of this one.
func TestAWireCountsForItself(t *testing.T) {
	a, b, c := netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("10.77.0.2"), netip.MustParseAddr("10.77.0.3")
	near, _ := pipe(t)
	w := newWires()
	w.devices[b], w.devices[c] = near, near
	w.wires[[2]netip.Addr{a, b}] = &wired{Wire: Wire{Loss: 1}}
	w.wires[[2]netip.Addr{a, c}] = &wired{Wire: Wire{Twice: 1}}
	for range 3 {
		w.carry(a, b, packet(a, b, 1))
	}
	lab := &Lab{wires: w}
	one, two, three := &Node{lab: lab, address: a.String()}, &Node{lab: lab, address: b.String()}, &Node{lab: lab, address: c.String()}
	for _, x := range []struct {
		to   *Node
		want Carried
	}{{two, Carried{Lost: 3}}, {three, Carried{}}, {one, Carried{}}} {
		if got := one.Carried(x.to); got != x.want {
			t.Errorf("the wire to %s did %+v, want %+v", x.to.address, got, x.want)
		}
	}
}

func TestOnlyPacketsOfIPv4AreCarried(t *testing.T) {
	for _, p := range [][]byte{nil, make([]byte, 19), append([]byte{6 << 4}, make([]byte, 40)...)} {
		if _, _, ok := ends(p); ok {
			t.Errorf("%d bytes that begin %x are taken for a packet", len(p), p[:min(1, len(p))])
		}
	}
}
