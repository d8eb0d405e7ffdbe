package peer

import (
	"io"
	"sync/atomic"
)

// traffic counts the bytes of a port's connections, handshakes included. What is below them, as the heads of packets, is
// not in it.
type traffic struct{ sent, received atomic.Uint64 }

// Sent is how many bytes went out so far.
func (m *Mux) Sent() uint64 { return m.traffic.sent.Load() }

// Received is how many bytes came in so far.
func (m *Mux) Received() uint64 { return m.traffic.received.Load() }

// Read implements net.Conn. To raft, a connection that was closed here has ended, as one that the other side closed.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mux.traffic.received.Add(uint64(n))
	if err != nil {
		select {
		case <-c.closed:
			return n, io.EOF
		default:
		}
	}
	return n, err
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.mux.traffic.sent.Add(uint64(n))
	return n, err
}
