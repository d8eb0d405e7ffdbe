// Package lab runs a cluster as real processes, each on a disk and in a network of its own, so that each can be hurt as
// a machine can: killed, stopped, cut off, short of disk, without power. It knows the product by its binary and its API.
//
// Networks are network namespaces joined by a bridge, and need root and iproute2; disks are mounts of jepsen/lab/disk,
// and need /dev/fuse. Where one of them cannot be had, Lab says so in Lacks, and what needs it is not to be asked for.
package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lockstep-dev/lockstep/jepsen/lab/disk"
)

// Config of a lab.
type Config struct {
	// Dir holds everything; it must be empty. Binary is the lockstep under test.
	Dir, Binary string
	Nodes       int
	// Args are given to every server.
	Args []string
	// Clocks says that the binary is a build with -tags faults, whose wall clock can be moved.
	Clocks bool
	// Say is told what the lab does, if set.
	Say func(format string, args ...any)
}

// Lab is a running cluster. Its methods are used from one goroutine, but for those that say otherwise.
type Lab struct {
	Config
	Nodes []*Node
	// Lacks names what this machine does not give, with the reason: "network", "wire", "disk", "clock".
	Lacks map[string]error

	names int
	wires *wires
}

// Node is one machine of the lab.
type Node struct {
	Number            int
	API, Peer, Gossip string
	// Disk is where its data is; nil when the machine lacks disks.
	Disk *disk.Disk

	lab     *Lab
	data    string
	address string
	hold    *holder // its network; nil when the machine lacks networks
	process *process
}

var errNoClock = errors.New("the binary's clock cannot be moved (needs a build with -tags faults)")

const subnet = "10.77.0."

// Open makes a cluster of new nodes and starts them. Close it in any case.
func Open(ctx context.Context, c Config) (*Lab, error) {
	l := &Lab{Config: c, Lacks: map[string]error{}, wires: newWires()}
	if l.Say == nil {
		l.Say = func(string, ...any) {}
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	if err := os.WriteFile(l.secret(), []byte(hex.EncodeToString(secret)), 0o600); err != nil {
		return l, fmt.Errorf("open lab: %w", err)
	}
	if !c.Clocks {
		l.Lacks["clock"] = errNoClock
	}
	if err := bridge(ctx); err != nil {
		l.Lacks["network"], l.Lacks["wire"] = err, err
	}
	for range c.Nodes {
		n, err := l.add(ctx)
		if err != nil {
			return l, errors.Join(fmt.Errorf("open lab: %w", err), l.Close())
		}
		l.Nodes = append(l.Nodes, n)
	}
	for _, n := range l.Nodes {
		if err := n.Start(); err != nil {
			return l, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

func (l *Lab) secret() string { return filepath.Join(l.Dir, "secret") }

// add makes a node with a network and a disk, and starts nothing.
func (l *Lab) add(ctx context.Context) (n *Node, err error) {
	l.names++
	n = &Node{Number: l.names, lab: l, address: loopback(os.Getpid()), data: filepath.Join(l.Dir, fmt.Sprintf("node-%d", l.names))}
	back := n.data + ".back"
	if err := errors.Join(os.Mkdir(n.data, 0o700), os.Mkdir(back, 0o700)); err != nil {
		return nil, err
	}
	if l.Lacks["network"] == nil {
		n.address = fmt.Sprint(subnet, n.Number)
		if n.hold, err = newHolder(ctx, n.Number, n.address); err != nil {
			return nil, err
		}
		if err := l.wires.add(ctx, n.hold, n.wireName(), n.address); err != nil {
			l.Lacks["wire"] = err
		}
		n.API, n.Peer, n.Gossip = n.address+":7400", n.address+":7401", n.address+":7402"
	} else if n.API, n.Peer, n.Gossip, err = ports(n.address); err != nil {
		return nil, err
	}
	switch n.Disk, err = disk.Mount(back, n.data); {
	case errors.Is(err, disk.ErrNotHere):
		n.Disk, l.Lacks["disk"] = nil, err
	case err != nil:
		return nil, err
	}
	return n, nil
}

// loopback is an address of this process's own. Ports are free there until it takes them, whatever labs there are beside.
func loopback(pid int) string { return fmt.Sprintf("127.%d.%d.%d", 64+pid>>16&63, pid>>8&255, pid&255) }

// ports finds three free ones.
func ports(address string) (api, peer, gossip string, err error) {
	var out [3]string
	for i := range out {
		l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
		if err != nil {
			return "", "", "", err
		}
		defer l.Close()
		out[i] = l.Addr().String()
	}
	return out[0], out[1], out[2], nil
}

// APIs are the addresses of all nodes.
func (l *Lab) APIs() (out []string) {
	for _, n := range l.Nodes {
		out = append(out, n.API)
	}
	return out
}

// Wipe takes a node's disk away, with its process if there is one, and starts it on an empty disk: for the cluster it is
// another node, at the same address.
func (l *Lab) Wipe(n *Node) (err error) {
	if n.Running() {
		if err := n.Kill(); err != nil {
			return err
		}
	}
	if n.Disk != nil {
		if err := n.Disk.Close(); err != nil {
			return err
		}
	}
	if err := errors.Join(os.RemoveAll(n.Data()), os.Mkdir(n.Data(), 0o700)); err != nil {
		return fmt.Errorf("wipe node %d: %w", n.Number, err)
	}
	if n.Disk != nil {
		if n.Disk, err = disk.Mount(n.Data(), n.data); err != nil {
			return fmt.Errorf("wipe node %d: %w", n.Number, err)
		}
	}
	return n.Start()
}

// Close ends everything that runs. What was written stays in Dir.
func (l *Lab) Close() error {
	var errs []error
	for _, n := range l.Nodes {
		errs = append(errs, n.close())
	}
	errs = append(errs, l.wires.close())
	return errors.Join(errs...)
}

func (n *Node) close() error {
	var errs []error
	if n.Disk != nil {
		n.Disk.Heal() // a process cannot end while its disk stalls
	}
	if n.Running() {
		errs = append(errs, n.Kill())
	}
	if n.Disk != nil {
		errs = append(errs, n.Disk.Close())
		n.Disk = nil
	}
	if n.hold != nil {
		errs = append(errs, n.hold.close())
		n.hold = nil
	}
	return errors.Join(errs...)
}

// Log is what a node's processes have said so far.
func (n *Node) Log() string {
	b, err := os.ReadFile(n.logFile())
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Said waits until a node's processes have said something.
func (n *Node) Said(ctx context.Context, text string) error {
	for !strings.Contains(n.Log(), text) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("node %d has not said %q: %w", n.Number, text, ctx.Err())
		case <-time.After(20 * time.Millisecond): // a file has no channel
		}
	}
	return nil
}

// Data is where a node's files are, behind its disk: what is written there no process sees until it starts again.
func (n *Node) Data() string {
	if n.Disk == nil {
		return n.data
	}
	return n.data + ".back"
}
