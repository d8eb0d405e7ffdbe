package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"time"
)

// Hub is the address of this process in the lab's network.
const Hub = subnet + "254"

// errNoNetwork says that the lab was not run in a network namespace of its own: see jepsen/chaos for how.
var errNoNetwork = errors.New("not in a network namespace of its own (needs root, iproute2 and nsenter)")

func ip(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// bridge joins the networks of nodes in this process's own namespace, which must hold nothing but a loopback: never in
// the machine's.
func bridge(ctx context.Context) error {
	links, err := net.Interfaces()
	if err != nil {
		return err
	}
	if len(links) != 1 {
		return errNoNetwork
	}
	if _, err := exec.LookPath("nsenter"); err != nil {
		return errNoNetwork
	}
	for _, args := range [][]string{
		{"link", "set", "lo", "up"}, {"link", "add", "hub", "type", "bridge"}, {"addr", "add", Hub + "/24", "dev", "hub"}, {"link", "set", "hub", "up"},
	} {
		if err := ip(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// holder keeps a network namespace while processes in it come and go.
type holder struct{ process *process }

func newHolder(ctx context.Context, number int, address string) (*holder, error) {
	p, err := start("/dev/null", "unshare", "--net", "cat") // cat ends with its standard input
	if err != nil {
		return nil, err
	}
	h := &holder{p}
	if err := h.join(ctx, number, address); err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

func (h *holder) join(ctx context.Context, number int, address string) error {
	near, far := fmt.Sprint("near", number), fmt.Sprint("far", number)
	if err := ip(ctx, "link", "add", near, "type", "veth", "peer", "name", far); err != nil {
		return err
	}
	// The namespace is there a moment after the process is.
	limit := time.Now().Add(5 * time.Second)
	for {
		err := ip(ctx, "link", "set", far, "netns", fmt.Sprint(h.process.cmd.Process.Pid))
		if err == nil && h.within(ctx, "ip", "link", "show", far) == nil {
			break
		}
		if time.Now().After(limit) {
			return fmt.Errorf("no namespace for node %d: %w", number, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.Join(
		ip(ctx, "link", "set", near, "master", "hub", "up"),
		h.within(ctx, "ip", "link", "set", "lo", "up"),
		h.within(ctx, "ip", "addr", "add", address+"/24", "dev", far),
		h.within(ctx, "ip", "link", "set", far, "up"),
	)
}

func (h *holder) enter() []string {
	return []string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", h.process.cmd.Process.Pid)}
}

func (h *holder) within(ctx context.Context, args ...string) error {
	args = append(h.enter(), args...)
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

func (h *holder) close() error { return h.process.kill() }

// Cut drops what a node sends to another from now on; the other way goes on. Use it where the lab has networks.
func (n *Node) Cut(ctx context.Context, to *Node) error {
	return n.hold.within(ctx, "ip", "route", "add", "blackhole", to.address+"/32")
}

// Join ends a Cut.
func (n *Node) Join(ctx context.Context, to *Node) error {
	return n.hold.within(ctx, "ip", "route", "del", "blackhole", to.address+"/32")
}

// Reaches says whether a connection from one node to another's peer port can be made.
func (n *Node) Reaches(ctx context.Context, to *Node) bool {
	ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	host, port, _ := strings.Cut(to.Peer, ":")
	return n.hold.within(ctx, "bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%s/%s", host, port)) == nil
}
