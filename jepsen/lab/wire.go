package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Wire is what packets from one node to another meet on their way.
type Wire struct {
	// Delay is for every packet, and up to Jitter more for some: so that they overtake each other.
	Delay, Jitter time.Duration
	// Loss and Twice are the chances that a packet is lost, or arrives twice.
	Loss, Twice float64
}

// Carried counts what wires did: a fault that no packet met proves nothing.
type Carried struct{ Delayed, Overtaken, Lost, Twice int }

// Plus adds two up.
func (c Carried) Plus(o Carried) Carried {
	return Carried{c.Delayed + o.Delayed, c.Overtaken + o.Overtaken, c.Lost + o.Lost, c.Twice + o.Twice}
}

// wires carries packets between nodes in this process: each node has a device of its own whose other end is here, and
// those packets take it that a route of the node sends there. The others go over the bridge and are none the slower.
type wires struct {
	mu      sync.Mutex // guards what follows
	devices map[netip.Addr]*os.File
	wires   map[[2]netip.Addr]*wired

	reading sync.WaitGroup
}

// wired is a wire from one node to another, and what it did so far.
type wired struct {
	Wire
	packets, newest int // how many there were, and the number of the newest that arrived
	carried         Carried
}

func newWires() *wires {
	return &wires{devices: map[netip.Addr]*os.File{}, wires: map[[2]netip.Addr]*wired{}}
}

const mtu = 1500

// add gives a node its device.
func (w *wires) add(ctx context.Context, h *holder, name, address string) error {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return err
	}
	device, err := tun(name)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.devices[addr] = device
	w.mu.Unlock()
	if err := ip(ctx, "link", "set", name, "netns", fmt.Sprint(h.process.cmd.Process.Pid)); err != nil {
		return err
	}
	// What arrives by the device was sent over the bridge's network, and what is answered goes back over it.
	loose := fmt.Sprintf("echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter && echo 0 >/proc/sys/net/ipv4/conf/%s/rp_filter", name)
	if err := errors.Join(h.within(ctx, "sh", "-c", loose), h.within(ctx, "ip", "link", "set", name, "mtu", fmt.Sprint(mtu), "up")); err != nil {
		return err
	}
	w.reading.Go(func() { w.read(device) })
	return nil
}

// tun makes a device whose packets are read and written here.
func tun(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make %s: %w", name, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// read carries what a node sends until its device is closed.
func (w *wires) read(device *os.File) {
	buffer := make([]byte, 2*mtu)
	for {
		n, err := device.Read(buffer)
		if err != nil {
			return
		}
		if from, to, ok := ends(buffer[:n]); ok {
			w.carry(from, to, append([]byte(nil), buffer[:n]...))
		}
	}
}

// ends are the addresses of a packet of IPv4.
func ends(packet []byte) (from, to netip.Addr, ok bool) {
	if len(packet) < 20 || packet[0]>>4 != 4 {
		return from, to, false
	}
	return netip.AddrFrom4([4]byte(packet[12:16])), netip.AddrFrom4([4]byte(packet[16:20])), true
}

// carry sends a packet on its way.
func (w *wires) carry(from, to netip.Addr, packet []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	device := w.devices[to]
	wire := w.wires[[2]netip.Addr{from, to}]
	if device == nil {
		return // it is for nobody here
	}
	if wire == nil {
		wire = &wired{} // it ended while the packet was in the device
	}
	wire.packets++
	number := wire.packets
	if rand.Float64() < wire.Loss {
		wire.carried.Lost++
		return
	}
	copies := 1
	if rand.Float64() < wire.Twice {
		wire.carried.Twice++
		copies = 2
	}
	for range copies {
		delay := wire.Delay
		if wire.Jitter > 0 && rand.IntN(2) == 0 {
			delay += time.Duration(rand.Int64N(int64(wire.Jitter)))
		}
		if delay > 0 {
			wire.carried.Delayed++
		}
		time.AfterFunc(delay, func() { w.arrive(wire, device, number, packet) })
	}
}

func (w *wires) arrive(wire *wired, device *os.File, number int, packet []byte) {
	w.mu.Lock()
	if number < wire.newest {
		wire.carried.Overtaken++
	}
	wire.newest = max(wire.newest, number)
	w.mu.Unlock()
	_, _ = device.Write(packet) // a device that is gone, or full, loses it as a wire may
}

func (w *wires) close() error {
	var errs []error
	w.mu.Lock()
	for _, device := range w.devices {
		errs = append(errs, device.Close())
	}
	w.mu.Unlock()
	w.reading.Wait()
	return errors.Join(errs...)
}

// Carried tells what the wire from a node to another did so far, if it has one.
func (n *Node) Carried(to *Node) Carried {
	pair, err := n.pair(to)
	n.lab.wires.mu.Lock()
	defer n.lab.wires.mu.Unlock()
	if w := n.lab.wires.wires[pair]; err == nil && w != nil {
		return w.carried
	}
	return Carried{}
}

// Wire has what a node sends to another go over a bad wire from now on. Use it where the lab has wires. A Cut is a cut
// all the same.
func (n *Node) Wire(ctx context.Context, to *Node, wire Wire) error {
	pair, err := n.pair(to)
	if err != nil {
		return err
	}
	n.lab.wires.mu.Lock()
	n.lab.wires.wires[pair] = &wired{Wire: wire}
	n.lab.wires.mu.Unlock()
	return n.hold.within(ctx, "ip", "route", "add", to.address+"/32", "dev", n.wireName(), "src", n.address, "metric", wireMetric)
}

// Unwire ends a Wire. What is on its way still arrives.
func (n *Node) Unwire(ctx context.Context, to *Node) error {
	pair, err := n.pair(to)
	if err != nil {
		return err
	}
	err = n.hold.within(ctx, "ip", "route", "del", to.address+"/32", "dev", n.wireName(), "metric", wireMetric)
	n.lab.wires.mu.Lock()
	defer n.lab.wires.mu.Unlock()
	delete(n.lab.wires.wires, pair)
	return err
}

// wireMetric puts a wire behind a cut, whose route has none.
const wireMetric = "10"

func (n *Node) wireName() string { return fmt.Sprint("wire", n.Number) }

func (n *Node) pair(to *Node) (pair [2]netip.Addr, err error) {
	for i, address := range []string{n.address, to.address} {
		if pair[i], err = netip.ParseAddr(address); err != nil {
			return pair, err
		}
	}
	return pair, nil
}
