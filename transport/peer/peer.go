// Package peer is the one port for raft and node-to-node traffic.
//
// A connection begins with a handshake: the dialer says what it wants (a raft group, or calls), and both sides
// prove that they know the cluster's secret, over nonces of both. After it the bare connection is handed over.
// Who does not know the secret learns nothing and gets nowhere; the bytes that follow are not encrypted, so the
// port is for a network that is trusted to that extent until TLS is in.
package peer

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// Config of a port.
type Config struct {
	// Listen is host:port; port 0 has the kernel choose.
	Listen string
	// Advertise is the address that others dial; empty means the one that is listened on.
	Advertise string
	// Secret is the cluster's. Without one every connection is taken: for loopback only.
	Secret []byte
	Logger hclog.Logger
}

const (
	magic          = "lockstep-peer/1\n"
	nonceSize      = 16
	handshakeLimit = 5 * time.Second
	maxMessage     = 1 << 20
	raftPrefix     = "raft/"
	callPrefix     = "call/"
)

// Handler answers a call from another node.
type Handler func(ctx context.Context, request []byte) (reply []byte, err error)

// Mux is a port. It has a goroutine that accepts, and one for each connection until that is handed over.
type Mux struct {
	config   Config
	listener net.Listener
	ctx      context.Context
	cancel   context.CancelFunc
	tasks    sync.WaitGroup

	mu       sync.Mutex // guards what follows
	layers   map[string]*layer
	handlers map[string]Handler
	open     map[net.Conn]bool // in a handshake or a call
}

// Listen opens the port.
func Listen(c Config) (*Mux, error) {
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for peers: %w", err)
	}
	if c.Advertise == "" {
		c.Advertise = l.Addr().String()
	}
	m := &Mux{config: c, listener: l, layers: map[string]*layer{}, handlers: map[string]Handler{}, open: map[net.Conn]bool{}}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.tasks.Go(m.accept)
	return m, nil
}

// Addr is the address that others dial.
func (m *Mux) Addr() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.config.Advertise
}

// Advertise sets the address that others dial, where that is not the one that is listened on.
func (m *Mux) Advertise(address string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.config.Advertise = address
}

// Close ends every connection that was not handed over, and every layer.
func (m *Mux) Close() error {
	m.cancel()
	err := m.listener.Close()
	m.mu.Lock()
	for conn := range m.open {
		_ = conn.Close() // its goroutine ends with the error
	}
	m.mu.Unlock()
	m.tasks.Wait()
	return err
}

// Handle has fn answer calls of a name. Set it before others may call.
func (m *Mux) Handle(name string, fn Handler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.handlers[name] = fn
}

func (m *Mux) accept() {
	for {
		conn, err := m.listener.Accept()
		if err != nil {
			if m.ctx.Err() == nil {
				m.config.Logger.Error("accept a peer", "error", err)
			}
			return
		}
		if !m.track(conn, true) {
			_ = conn.Close() // the port is closing
			return
		}
		m.tasks.Go(func() { m.serve(conn) })
	}
}

// track keeps connections that Close must end; false when it is too late.
func (m *Mux) track(conn net.Conn, on bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !on {
		delete(m.open, conn)
		return true
	}
	if m.ctx.Err() != nil {
		return false
	}
	m.open[conn] = true
	return true
}

func (m *Mux) serve(conn net.Conn) {
	defer m.track(conn, false)
	name, err := m.greet(conn)
	if err != nil {
		m.config.Logger.Warn("a peer was turned away", "from", conn.RemoteAddr(), "error", err)
		_ = conn.Close() // nothing was promised on it
		return
	}
	if group, ok := cutPrefix(name, raftPrefix); ok {
		m.layer(group).hand(m.ctx, conn)
		return
	}
	defer conn.Close()
	m.mu.Lock()
	handler := m.handlers[name[len(callPrefix):]]
	m.mu.Unlock()
	if err := answer(m.ctx, conn, handler); err != nil && m.ctx.Err() == nil {
		m.config.Logger.Warn("a peer's call failed", "call", name, "from", conn.RemoteAddr(), "error", err)
	}
}

func cutPrefix(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || s[:len(prefix)] != prefix {
		return "", false
	}
	return s[len(prefix):], true
}

// proof is what a side that knows the secret can compute: a MAC over the side, the name and both nonces.
func proof(secret []byte, side, name string, a, b []byte) []byte {
	h := hmac.New(sha256.New, secret)
	io.WriteString(h, magic+side+"\n"+name+"\n")
	h.Write(a)
	h.Write(b)
	return h.Sum(nil)
}

// greet is the acceptor's half of the handshake.
func (m *Mux) greet(conn net.Conn) (name string, err error) {
	if err := conn.SetDeadline(time.Now().Add(handshakeLimit)); err != nil {
		return "", err
	}
	head := make([]byte, len(magic)+1)
	if _, err := io.ReadFull(conn, head); err != nil || string(head[:len(magic)]) != magic {
		return "", errors.New("it does not speak our protocol")
	}
	rest := make([]byte, int(head[len(magic)])+nonceSize)
	if _, err := io.ReadFull(conn, rest); err != nil {
		return "", err
	}
	name = string(rest[:len(rest)-nonceSize])
	theirs := rest[len(rest)-nonceSize:]
	_, isRaft := cutPrefix(name, raftPrefix)
	_, isCall := cutPrefix(name, callPrefix)
	if !isRaft && !isCall {
		return "", fmt.Errorf("it wants %q, which is nothing here", name)
	}
	ours := make([]byte, nonceSize)
	rand.Read(ours)
	if _, err := conn.Write(append(ours, proof(m.config.Secret, "acceptor", name, theirs, ours)...)); err != nil {
		return "", err
	}
	given := make([]byte, sha256.Size)
	if _, err := io.ReadFull(conn, given); err != nil {
		return "", fmt.Errorf("it did not prove that it knows the cluster secret: %w", err)
	}
	if !hmac.Equal(given, proof(m.config.Secret, "dialer", name, theirs, ours)) {
		return "", errors.New("it does not know the cluster secret")
	}
	if _, err := conn.Write([]byte{1}); err != nil {
		return "", err
	}
	return name, conn.SetDeadline(time.Time{})
}

// dial is the dialer's half.
func (m *Mux) dial(ctx context.Context, address, name string) (conn net.Conn, err error) {
	var d net.Dialer
	dialed, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = dialed.Close() // the first error tells more
		}
	}()
	return dialed, m.prove(ctx, dialed, address, name)
}

// prove says what the dialer wants, and proves that it may.
func (m *Mux) prove(ctx context.Context, conn net.Conn, address, name string) error {
	deadline := time.Now().Add(handshakeLimit)
	if limit, ok := ctx.Deadline(); ok && limit.Before(deadline) {
		deadline = limit
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	ours := make([]byte, nonceSize)
	rand.Read(ours)
	hello := append([]byte(magic), byte(len(name)))
	if _, err := conn.Write(append(append(hello, name...), ours...)); err != nil {
		return err
	}
	reply := make([]byte, nonceSize+sha256.Size)
	if _, err := io.ReadFull(conn, reply); err != nil {
		return fmt.Errorf("peer %s does not answer as a node would: %w", address, err)
	}
	theirs := reply[:nonceSize]
	if !hmac.Equal(reply[nonceSize:], proof(m.config.Secret, "acceptor", name, ours, theirs)) {
		return fmt.Errorf("peer %s has another cluster secret", address)
	}
	if _, err := conn.Write(proof(m.config.Secret, "dialer", name, ours, theirs)); err != nil {
		return err
	}
	var taken [1]byte
	if _, err := io.ReadFull(conn, taken[:]); err != nil {
		return fmt.Errorf("peer %s turned us away: %w", address, err)
	}
	return conn.SetDeadline(time.Time{})
}

// Call asks another node, and waits for its answer or the context.
func (m *Mux) Call(ctx context.Context, address, name string, request []byte) ([]byte, error) {
	conn, err := m.dial(ctx, address, callPrefix+name)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // the read below ends with an error
	defer stop()
	if err := writeMessage(conn, 0, request); err != nil {
		return nil, err
	}
	failed, reply, err := readMessage(conn)
	if err != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	if failed != 0 {
		return nil, fmt.Errorf("peer %s: %s", address, reply)
	}
	return reply, nil
}

func answer(ctx context.Context, conn net.Conn, handler Handler) error {
	if err := conn.SetReadDeadline(time.Now().Add(handshakeLimit)); err != nil {
		return err
	}
	_, request, err := readMessage(conn)
	if err != nil {
		return err
	}
	if handler == nil {
		return writeMessage(conn, 1, []byte("this node does not answer that call"))
	}
	reply, err := handler(ctx, request)
	if err != nil {
		return writeMessage(conn, 1, []byte(err.Error()))
	}
	return writeMessage(conn, 0, reply)
}

func writeMessage(w io.Writer, failed byte, b []byte) error {
	head := binary.BigEndian.AppendUint32([]byte{failed}, uint32(len(b)))
	_, err := w.Write(append(head, b...))
	return err
}

func readMessage(r io.Reader) (failed byte, b []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > maxMessage {
		return 0, nil, fmt.Errorf("a message of %d bytes is over the limit of %d", size, maxMessage)
	}
	b = make([]byte, size)
	_, err = io.ReadFull(r, b)
	return head[0], b, err
}

// Layer is a raft group's share of the port.
func (m *Mux) Layer(group string) raft.StreamLayer { return m.layer(group) }

func (m *Mux) layer(group string) *layer {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.layers[group]
	if l == nil {
		l = &layer{mux: m, group: group, conns: make(chan net.Conn), closed: make(chan struct{})}
		m.layers[group] = l
	}
	return l
}

// layer implements raft.StreamLayer.
type layer struct {
	mux    *Mux
	group  string
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

// hand gives a connection to raft; one that raft does not take in time is closed, and its dialer tries again.
func (l *layer) hand(ctx context.Context, conn net.Conn) {
	timer := time.NewTimer(handshakeLimit)
	defer timer.Stop()
	select {
	case l.conns <- conn:
		return
	case <-l.closed:
	case <-ctx.Done():
	case <-timer.C:
	}
	_ = conn.Close() // nobody reads it
}

// Accept implements net.Listener.
func (l *layer) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-l.mux.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *layer) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *layer) Addr() net.Addr { return address(l.mux.Addr()) }

type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

// Dial implements raft.StreamLayer.
func (l *layer) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(l.mux.ctx, timeout)
	defer cancel()
	return l.mux.dial(ctx, string(to), raftPrefix+l.group)
}
