package api

import (
	"net"
	"sync"
)

// readAhead is a connection that is read in few system calls: net/http reads an HTTP/2 frame by two, its head and what is behind it,
// and a client that works sends many small ones in a row. What is behind a head is read with what has come behind that. A connection
// on which nothing comes waits for a head, so it has no memory for this. Like a connection, it is read by one goroutine at a time.
type readAhead struct {
	net.Conn
	memory *[readAheadBytes]byte // nil when nothing is left
	left   []byte                // of it, to be read
}

const (
	frameHead      = 9        // bytes of it: what is waited for
	readAheadBytes = 16 << 10 // as much as a frame may have, unless more was agreed
	readsMuch      = 4 << 10  // who asks for so much has a buffer itself
)

var readAheads = sync.Pool{New: func() any { return new([readAheadBytes]byte) }}

// Read implements net.Conn.
func (c *readAhead) Read(b []byte) (int, error) {
	if len(c.left) == 0 {
		if len(b) <= frameHead || len(b) >= readsMuch {
			return c.Conn.Read(b)
		}
		c.memory = readAheads.Get().(*[readAheadBytes]byte)
		n, err := c.Conn.Read(c.memory[:])
		if n == 0 {
			c.drop()
			return 0, err
		}
		c.left = c.memory[:n] // an error beside it comes again
	}
	n := copy(b, c.left)
	if c.left = c.left[n:]; len(c.left) == 0 {
		c.drop()
	}
	return n, nil
}

func (c *readAhead) drop() {
	readAheads.Put(c.memory)
	c.memory, c.left = nil, nil
}
