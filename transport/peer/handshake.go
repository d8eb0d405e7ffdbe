package peer

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	magic          = "lockstep-peer/1\n"
	nonceSize      = 16
	handshakeLimit = 5 * time.Second
	raftPrefix     = "raft/"
	callPrefix     = "call/"
	maxName        = 255

	taken  = 0
	turned = 1
)

// errSecret is what both sides say when the proof of the other does not hold.
var errSecret = errors.New("it does not know the cluster secret")

// proof is what a side that knows the secret can compute.
func proof(secret []byte, side, name string, dialer, acceptor []byte) []byte {
	h := hmac.New(sha256.New, secret)
	io.WriteString(h, magic+side+"\n"+name+"\n")
	h.Write(dialer) // nonces have one length, so that nothing can be read in two ways
	h.Write(acceptor)
	return h.Sum(nil)
}

func nonce() []byte {
	b := make([]byte, nonceSize)
	rand.Read(b)
	return b
}

// greet is the acceptor's half of the handshake. Who wants something that is not here is told so once it has proved
// itself.
func (m *Mux) greet(c *conn) (name string, err error) {
	if err := c.SetDeadline(time.Now().Add(m.limit)); err != nil {
		return "", err
	}
	head := make([]byte, len(magic)+1)
	if _, err := io.ReadFull(c, head); err != nil || string(head[:len(magic)]) != magic {
		return "", errors.New("it does not speak our protocol")
	}
	rest := make([]byte, head[len(magic)])
	if _, err := io.ReadFull(c, rest); err != nil {
		return "", fmt.Errorf("it did not say what it wants: %w", err)
	}
	name = string(rest)
	ours := nonce()
	if _, err := c.Write(ours); err != nil {
		return "", err
	}
	given := make([]byte, nonceSize+sha256.Size)
	if _, err := io.ReadFull(c, given); err != nil {
		return "", fmt.Errorf("it did not prove that it knows the cluster secret: %w", err)
	}
	theirs := given[:nonceSize]
	if !hmac.Equal(given[nonceSize:], proof(m.config.Secret, "dialer", name, theirs, ours)) {
		return "", turnAway(c, errors.New("rejected the cluster secret: give both nodes the same --cluster-secret-file"), errSecret)
	}
	if err := m.wanted(name); err != nil {
		return "", turnAway(c, err, fmt.Errorf("it wants %q, and this node %w", name, err))
	}
	if _, err := c.Write(append([]byte{taken}, proof(m.config.Secret, "acceptor", name, theirs, ours)...)); err != nil {
		return "", err
	}
	return name, c.SetDeadline(time.Time{})
}

// turnAway tells the dialer why, and returns what is logged here.
func turnAway(w io.Writer, told, logged error) error {
	why := told.Error()
	why = why[:min(len(why), 255)]
	_, err := w.Write(append([]byte{turned, byte(len(why))}, why...))
	return errors.Join(logged, err)
}

// dial is the dialer's half, bounded by the context and by the limit of a handshake.
func (m *Mux) dial(ctx context.Context, address, name string) (*conn, error) {
	if len(name) > maxName {
		return nil, fmt.Errorf("dial peer %s: the name %q is over %d bytes", address, name, maxName)
	}
	var d net.Dialer
	bare, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("dial peer %s: %w", address, err)
	}
	c := m.keep(bare)
	if c == nil {
		return nil, fmt.Errorf("dial peer %s: %w", address, net.ErrClosed)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() }) // what waits on it ends with an error
	defer stop()
	if err := m.prove(c, name); err != nil {
		_ = c.Close() // the first error tells more
		if ctx.Err() != nil {
			return nil, fmt.Errorf("dial peer %s: %w", address, ctx.Err())
		}
		return nil, fmt.Errorf("peer %s %w", address, err)
	}
	return c, nil
}

// prove says what is wanted, and proves that it may be. Its errors go on after the name of the peer.
func (m *Mux) prove(c *conn, name string) error {
	if err := c.SetDeadline(time.Now().Add(m.limit)); err != nil {
		return err
	}
	if _, err := c.Write(append(append([]byte(magic), byte(len(name))), name...)); err != nil {
		return silent(err)
	}
	theirs := make([]byte, nonceSize)
	if _, err := io.ReadFull(c, theirs); err != nil {
		return silent(err)
	}
	ours := nonce()
	if _, err := c.Write(append(ours, proof(m.config.Secret, "dialer", name, ours, theirs)...)); err != nil {
		return silent(err)
	}
	verdict := make([]byte, 1)
	if _, err := io.ReadFull(c, verdict); err != nil {
		return silent(err)
	}
	if verdict[0] != taken {
		return refusal(c)
	}
	given := make([]byte, sha256.Size)
	if _, err := io.ReadFull(c, given); err != nil {
		return silent(err)
	}
	if !hmac.Equal(given, proof(m.config.Secret, "acceptor", name, ours, theirs)) {
		return fmt.Errorf("is not of this cluster: %w", errSecret)
	}
	return c.SetDeadline(time.Time{})
}

func silent(err error) error { return fmt.Errorf("does not answer as a node would: %w", err) }

func refusal(r io.Reader) error {
	size := make([]byte, 1)
	if _, err := io.ReadFull(r, size); err != nil {
		return silent(err)
	}
	why := make([]byte, size[0])
	if _, err := io.ReadFull(r, why); err != nil {
		return silent(err)
	}
	return errors.New(string(why))
}
