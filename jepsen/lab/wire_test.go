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
	carry := func(wire Wire, last byte) {
		w.wires[[2]netip.Addr{a, b}] = wire
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
	defer w.mu.Unlock()
	if want := (Carried{Packets: 4, Delayed: 1, Overtaken: 1, Lost: 1, Twice: 1}); w.carried != want {
		t.Errorf("carried %+v, want %+v", w.carried, want)
	}
}

func TestOnlyPacketsOfIPv4AreCarried(t *testing.T) {
	for _, p := range [][]byte{nil, make([]byte, 19), append([]byte{6 << 4}, make([]byte, 40)...)} {
		if _, _, ok := ends(p); ok {
			t.Errorf("%d bytes that begin %x are taken for a packet", len(p), p[:min(1, len(p))])
		}
	}
}
