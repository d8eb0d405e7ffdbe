package peer

import (
	"context"
	"crypto/sha256"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestAnotherSecretIsTurnedAway(t *testing.T) {
	for name, secrets := range map[string][2]string{
		"another":    {"ours", "theirs"},
		"none here":  {"", "theirs"},
		"none there": {"ours", ""},
	} {
		a, b := listen(t, secrets[0]), listen(t, secrets[1])
		called := make(chan bool, 1)
		b.Handle("echo", func(context.Context, []byte) ([]byte, error) { called <- true; return nil, nil })
		b.Layer("1", "n")
		_, err := a.Call(t.Context(), b.Addr(), "echo", nil)
		wantError(t, err, "peer "+b.Addr()+" rejected the cluster secret")
		_, err = a.Layer("1", "n").Dial(at(b), time.Second)
		wantError(t, err, "peer "+b.Addr()+" rejected the cluster secret")
		if len(called) > 0 {
			t.Fatalf("%s: the handler ran", name)
		}
	}
}

func TestWhatIsNotThereIsSaidSo(t *testing.T) {
	a, b := listen(t, "s"), listen(t, "s")
	_, err := a.Call(t.Context(), b.Addr(), "echo", nil)
	wantError(t, err, "peer "+b.Addr()+` answers no call "echo"`)
	_, err = a.Layer("7", "n").Dial(at(b), time.Second)
	wantError(t, err, "peer "+b.Addr()+` has no group "7"`)
	_, err = a.dial(t.Context(), b.Addr(), "attic")
	wantError(t, err, "has only groups and calls")
	_, err = a.Call(t.Context(), b.Addr(), strings.Repeat("x", maxName+1-len(callPrefix)), nil)
	wantError(t, err, "over 255 bytes")
	_, err = a.Call(t.Context(), b.Addr(), strings.Repeat("x", maxName-len(callPrefix)), nil)
	wantError(t, err, "answers no call")
}

// An acceptor that only pretends is found out: here one that takes every proof and sends back what it got.
func TestAnAcceptorMustKnowTheSecret(t *testing.T) {
	a := listen(t, "s")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		hello := make([]byte, len(magic)+1+len("call/echo"))
		io.ReadFull(conn, hello)
		conn.Write(make([]byte, nonceSize))
		given := make([]byte, nonceSize+sha256.Size)
		io.ReadFull(conn, given)
		conn.Write(append([]byte{taken}, given[nonceSize:]...))
		io.Copy(io.Discard, conn)
	}()
	_, err = a.Call(t.Context(), l.Addr().String(), "echo", nil)
	wantError(t, err, "does not know the cluster secret")
}

// raw is a dialer that says exactly what it is told.
func raw(t *testing.T, b *Mux, hello string) (conn net.Conn, theirs []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(conn, hello)
	theirs = make([]byte, nonceSize)
	if _, err := io.ReadFull(conn, theirs); err != nil {
		t.Fatal(err)
	}
	return conn, theirs
}

// verdict says a proof and returns what the port makes of it.
func verdict(t *testing.T, conn net.Conn, said []byte) byte {
	t.Helper()
	conn.Write(said)
	var v [1]byte
	if _, err := io.ReadFull(conn, v[:]); err != nil {
		t.Fatal(err)
	}
	return v[0]
}

func TestAProofIsGoodOnce(t *testing.T) {
	b := listen(t, "s")
	echo(b)
	b.Handle("echo2", nil)
	const hello = magic + "\x09call/echo"
	conn, theirs := raw(t, b, hello)
	ours := nonce()
	good := append(ours, proof([]byte("s"), "dialer", "call/echo", ours, theirs)...)
	if verdict(t, conn, good) != taken {
		t.Fatal("a good proof is turned away: the rest of this test would show nothing")
	}
	conn, _ = raw(t, b, hello)
	if verdict(t, conn, good) != turned {
		t.Fatal("a proof that somebody overheard is taken")
	}
	conn, theirs = raw(t, b, hello)
	if verdict(t, conn, append(ours, proof([]byte("s"), "acceptor", "call/echo", ours, theirs)...)) != turned {
		t.Fatal("an acceptor's proof is taken as a dialer's")
	}
	conn, theirs = raw(t, b, magic+"\x0acall/echo2")
	if verdict(t, conn, append(ours, proof([]byte("s"), "dialer", "call/echo", ours, theirs)...)) != turned {
		t.Fatal("a proof for one call is taken for another")
	}
}

// What is no node gets no answer at all: no nonce, no sentence.
func TestAStrangerIsHungUpOn(t *testing.T) {
	b := listen(t, "s")
	conn, err := net.Dial("tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if got, _ := io.ReadAll(conn); len(got) > 0 {
		t.Fatalf("a stranger is told %q", got)
	}
}
