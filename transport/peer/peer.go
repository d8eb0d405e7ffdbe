package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// Config of a port.
type Config struct {
	// Listen is host:port; port 0 has the kernel choose.
	Listen string
	// Secret is the cluster's. Without one every connection is taken: for loopback only.
	Secret []byte
	Logger hclog.Logger
}

// Mux is a port. It has a goroutine that accepts, and one for each accepted connection until that is handed over or
// its call is answered; each ends before Close returns. Its methods may be called from any goroutine.
type Mux struct {
	config   Config
	listener net.Listener
	limit    time.Duration // of a handshake, and of raft to take a connection
	ctx      context.Context
	cancel   context.CancelFunc
	tasks    sync.WaitGroup
	traffic  traffic

	mu        sync.Mutex // guards what follows
	advertise string
	layers    map[string]*layer
	handlers  map[string]Handler
	open      map[*conn]bool // whoever has them now
}

// Listen opens the port.
func Listen(c Config) (*Mux, error) {
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for peers: %w", err)
	}
	return open(c, l, handshakeLimit), nil
}

func open(c Config, l net.Listener, limit time.Duration) *Mux {
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	m := &Mux{
		config: c, listener: l, limit: limit, advertise: l.Addr().String(),
		layers: map[string]*layer{}, handlers: map[string]Handler{}, open: map[*conn]bool{},
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.tasks.Go(m.accept)
	return m
}

// Addr is the address that others dial.
func (m *Mux) Addr() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.advertise
}

// Advertise sets the address that others dial, where that is not the one that is listened on.
func (m *Mux) Advertise(address string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advertise = address
}

// Close ends the port, every layer, and every connection, also those that raft has.
func (m *Mux) Close() error {
	m.cancel()
	err := m.listener.Close()
	m.closeAll(func(*conn) bool { return true })
	m.tasks.Wait()
	return err
}

// closeAll closes the connections that are chosen.
func (m *Mux) closeAll(chosen func(*conn) bool) {
	m.mu.Lock()
	var all []*conn
	for c := range m.open {
		if chosen(c) {
			all = append(all, c)
		}
	}
	m.mu.Unlock()
	for _, c := range all {
		_ = c.Close() // whoever has it ends with the error
	}
}

// accept goes on until Close: an error that passes, as when there are too many open files, must not end the port.
func (m *Mux) accept() {
	for {
		accepted, err := m.listener.Accept()
		if m.ctx.Err() != nil {
			if err == nil {
				_ = accepted.Close() // too late
			}
			return
		}
		if err != nil {
			m.config.Logger.Error("accept a peer", "error", err)
			select {
			case <-m.ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		if c := m.keep(accepted); c != nil {
			m.tasks.Go(func() { m.serve(c) })
		}
	}
}

const acceptPause = 50 * time.Millisecond

// conn is a connection that Close must end.
type conn struct {
	net.Conn
	mux    *Mux
	layer  *layer // whose it is, once it is handed over; under mux.mu
	once   sync.Once
	closed chan struct{}
}

// keep has a connection ended by Close; nil when the port is closed already.
func (m *Mux) keep(bare net.Conn) *conn {
	c := &conn{Conn: bare, mux: m, closed: make(chan struct{})}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx.Err() != nil {
		_ = bare.Close() // nobody waits for it
		return nil
	}
	m.open[c] = true
	return c
}

// Close implements net.Conn.
func (c *conn) Close() (err error) {
	c.once.Do(func() {
		close(c.closed)
		err = c.Conn.Close()
		c.mux.mu.Lock()
		defer c.mux.mu.Unlock()
		delete(c.mux.open, c)
	})
	return err
}

// serve gives a connection to whom it is for.
func (m *Mux) serve(c *conn) {
	name, err := m.greet(c)
	if err != nil {
		if m.ctx.Err() == nil {
			m.config.Logger.Warn("a peer was turned away", "from", c.RemoteAddr(), "error", err)
		}
		_ = c.Close() // nothing was promised on it
		return
	}
	if group, _, ok := groupOf(name); ok {
		m.hand(group, c)
		return
	}
	defer c.Close()
	if err := m.answer(c, strings.TrimPrefix(name, callPrefix)); err != nil && m.ctx.Err() == nil {
		m.config.Logger.Warn("a peer's call failed", "call", name, "from", c.RemoteAddr(), "error", err)
	}
}

// wanted says whether there is something here of a name. Its errors go on after the name of this node.
func (m *Mux) wanted(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if group, node, ok := groupOf(name); ok {
		switch l := m.layers[group]; {
		case l == nil || l.isClosed():
			return fmt.Errorf("has no group %q", group)
		case l.node != node:
			return fmt.Errorf("is node %s, not %s: if that one's disk is gone, remove it with `lockstep member remove %s`", l.node, node, node)
		}
		return nil
	}
	if call, ok := strings.CutPrefix(name, callPrefix); ok {
		if m.handlers[call] == nil {
			return fmt.Errorf("answers no call %q", call)
		}
		return nil
	}
	return errors.New("has only groups and calls")
}

// raftName is what a connection to a group of a node wants.
func raftName(group, node string) string { return raftPrefix + group + "/" + node }

// groupOf takes it apart again.
func groupOf(name string) (group, node string, ok bool) {
	rest, ok := strings.CutPrefix(name, raftPrefix)
	if !ok {
		return "", "", false
	}
	group, node, _ = strings.Cut(rest, "/")
	return group, node, true
}

// Layer is a raft group's share of the port, for the node that is here. A second one for a group is had once the first
// is closed.
func (m *Mux) Layer(group, node string) raft.StreamLayer {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.layers[group]
	if l == nil || l.isClosed() {
		l = &layer{mux: m, group: group, node: node, conns: make(chan net.Conn), closed: make(chan struct{})}
		m.layers[group] = l
	}
	return l
}
