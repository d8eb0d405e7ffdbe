package peer

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// layer implements raft.StreamLayer.
type layer struct {
	mux    *Mux
	group  string
	node   string // who is at this end
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *layer) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

// hand gives a connection to a group; one that raft does not take in time is closed, and its dialer tries again.
// It holds up nobody: each connection has a goroutine of its own.
func (m *Mux) hand(group string, c *conn) {
	m.mu.Lock()
	l := m.layers[group] // greet saw that it is there
	c.layer = l
	m.mu.Unlock()
	timer := time.NewTimer(m.limit)
	defer timer.Stop()
	select {
	case l.conns <- c:
		if !l.isClosed() {
			return
		}
	case <-l.closed:
	case <-m.ctx.Done():
	case <-timer.C:
	}
	_ = c.Close() // nobody reads it, or nobody should
}

// Accept implements net.Listener.
func (l *layer) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-l.mux.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener, and ends the group's connections: raft's transport leaves those that it accepted open.
func (l *layer) Close() error {
	l.once.Do(func() { close(l.closed) })
	l.mux.closeAll(func(c *conn) bool { return c.layer == l })
	return nil
}

// Addr implements net.Listener.
func (l *layer) Addr() net.Addr { return address(l.mux.Addr()) }

type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

// Dial implements raft.StreamLayer. The address is NODE@HOST:PORT: raft takes whoever answers at an address for the
// member that had it, and a node with an empty disk there, which has forgotten its log and its votes, must not pass for
// that one.
func (l *layer) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(l.mux.ctx, timeout)
	defer cancel()
	node, address, found := strings.Cut(string(to), "@")
	if !found {
		return nil, fmt.Errorf("dial peer %s: nobody says which node should be there", to)
	}
	c, err := l.mux.dial(ctx, address, raftName(l.group, node))
	if err != nil {
		return nil, err // and no typed nil
	}
	l.mux.mu.Lock()
	c.layer = l
	l.mux.mu.Unlock()
	if l.isClosed() {
		_ = c.Close() // Close may have looked before it was there
		return nil, net.ErrClosed
	}
	return c, nil
}
