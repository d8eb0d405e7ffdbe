package peer

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Handler answers a call from another node. Its context ends when the caller goes away, and when the port closes.
type Handler func(ctx context.Context, request []byte) (reply []byte, err error)

const maxMessage = 1 << 20

// messageLimit bounds how long the other side may take to send or take a message that is on its way.
const messageLimit = 5 * time.Second

// Handle has fn answer calls of a name.
func (m *Mux) Handle(name string, fn Handler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.handlers[name] = fn
}

// Call asks another node, and waits for its answer or the context. A request and a reply may have 1 MiB.
func (m *Mux) Call(ctx context.Context, address, name string, request []byte) ([]byte, error) {
	c, err := m.dial(ctx, address, callPrefix+name)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() }) // the read below ends with an error
	defer stop()
	if err := writeMessage(c, taken, request); err != nil {
		return nil, fmt.Errorf("call %s of peer %s: %w", name, address, cause(ctx, err))
	}
	verdict, reply, err := readMessage(c)
	if err != nil {
		return nil, fmt.Errorf("call %s of peer %s: %w", name, address, cause(ctx, err))
	}
	if verdict != taken {
		return nil, fmt.Errorf("peer %s: %s", address, reply)
	}
	return reply, nil
}

// answer is the other side of a call.
func (m *Mux) answer(c *conn, name string) error {
	if err := c.SetReadDeadline(time.Now().Add(messageLimit)); err != nil {
		return err
	}
	_, request, err := readMessage(c)
	if err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(m.ctx)
	defer cancel()
	m.tasks.Go(func() {
		var b [1]byte
		_, _ = c.Read(b[:]) // a caller says no more: this ends when it goes away, or when its answer is on its way
		cancel()
	})
	m.mu.Lock()
	handler := m.handlers[name]
	m.mu.Unlock()
	reply, err := handler(ctx, request)
	verdict := byte(taken)
	if err == nil && len(reply) > maxMessage {
		err = fmt.Errorf("the reply of %d bytes is over the limit of %d", len(reply), maxMessage)
	}
	if err != nil {
		text := err.Error()
		verdict, reply = turned, []byte(text[:min(len(text), maxMessage)])
	}
	if err := c.SetWriteDeadline(time.Now().Add(messageLimit)); err != nil {
		return err
	}
	return writeMessage(c, verdict, reply)
}

// cause is why what waited on a connection ended: the context, where that closed it.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func writeMessage(w io.Writer, verdict byte, b []byte) error {
	if len(b) > maxMessage {
		return fmt.Errorf("a message of %d bytes is over the limit of %d", len(b), maxMessage)
	}
	head := binary.BigEndian.AppendUint32([]byte{verdict}, uint32(len(b)))
	_, err := w.Write(append(head, b...))
	return err
}

func readMessage(r io.Reader) (verdict byte, b []byte, err error) {
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
