package peer

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func listen(t *testing.T, secret string) *Mux {
	t.Helper()
	m, err := Listen(Config{Listen: "127.0.0.1:0", Secret: []byte(secret)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// hurried is a port that waits for nobody for long.
func hurried(t *testing.T) *Mux {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := open(Config{Secret: []byte("s")}, l, 50*time.Millisecond)
	t.Cleanup(func() { m.Close() })
	return m
}

// echo answers the call of that name.
func echo(m *Mux) {
	m.Handle("echo", func(_ context.Context, request []byte) ([]byte, error) { return request, nil })
}

// wantError fails unless the error says what it must.
func wantError(t *testing.T, err error, says string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Fatalf("got %v, want an error that says %q", err, says)
	}
}

// soon waits for what must happen without more ado.
func soon[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatalf("not in 10 s: %s", what)
		panic("unreachable")
	}
}

func TestAnAddressInUseIsRefused(t *testing.T) {
	a := listen(t, "s")
	_, err := Listen(Config{Listen: a.Addr()})
	wantError(t, err, "listen for peers")
}

func TestAdvertiseChangesWhatIsDialed(t *testing.T) {
	a := listen(t, "s")
	layer := a.Layer("1", "n")
	a.Advertise("node-1:7401")
	if a.Addr() != "node-1:7401" || layer.Addr().String() != "node-1:7401" {
		t.Fatalf("%s, %s", a.Addr(), layer.Addr())
	}
}

func TestNobodyIsReachedAfterClose(t *testing.T) {
	a, b := listen(t, "s"), listen(t, "s")
	echo(b)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Call(t.Context(), b.Addr(), "echo", nil); err == nil {
		t.Fatal("a closed port answers")
	}
	_, err := b.Call(t.Context(), a.Addr(), "echo", nil)
	if !errors.Is(err, net.ErrClosed) {
		t.Fatalf("a closed port calls: %v", err)
	}
}

// Dialers that stop at any point of a handshake keep nobody from being served, nor Close from ending.
func TestASilentDialerBlocksNobody(t *testing.T) {
	a, b := listen(t, "s"), listen(t, "s")
	echo(b)
	for _, said := range []string{"", "lock", magic, magic + "\x09call/", magic + "\x09call/echo"} {
		silent, err := net.Dial("tcp", b.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		if _, err := io.WriteString(silent, said); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Call(t.Context(), b.Addr(), "echo", nil); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- b.Close() }()
	if err := soon(t, ended, "Close beside silent dialers"); err != nil {
		t.Fatal(err)
	}
}

func TestASilentDialerIsHungUpOn(t *testing.T) {
	b := hurried(t)
	silent, err := net.Dial("tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if err := silent.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := silent.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("got %v, want the end of the connection", err)
	}
}

// A listener that takes connections and says nothing must not hold a caller for longer than a handshake.
func TestASilentAcceptorIsGivenUp(t *testing.T) {
	a := hurried(t)
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	_, err = a.Call(t.Context(), mute.Addr().String(), "echo", nil)
	wantError(t, err, "does not answer as a node would")
}

// flaky is a listener that fails before it goes on.
type flaky struct {
	net.Listener
	failures chan error
}

func (f flaky) Accept() (net.Conn, error) {
	select {
	case err := <-f.failures:
		return nil, err
	default:
		return f.Listener.Accept()
	}
}

// Too many open files is a state that passes; a node without its port would be lost until somebody restarts it.
func TestThePortOutlivesAFailedAccept(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	failures := make(chan error, 2)
	failures <- errors.New("too many open files")
	failures <- errors.New("too many open files")
	b := open(Config{Secret: []byte("s")}, flaky{l, failures}, handshakeLimit)
	defer b.Close()
	echo(b)
	if _, err := listen(t, "s").Call(t.Context(), b.Addr(), "echo", nil); err != nil {
		t.Fatal(err)
	}
}

// What one port has sent the other has received, and it is all that was said: a handshake, a request and a reply.
func TestTrafficIsCounted(t *testing.T) {
	a, b := listen(t, "s"), listen(t, "s")
	echo(b)
	said := []byte(strings.Repeat("x", 1000))
	if _, err := a.Call(t.Context(), b.Addr(), "echo", said); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.Close(), b.Close()); err != nil { // what counts has ended
		t.Fatal(err)
	}
	for side, x := range map[string]struct{ sent, received uint64 }{"asked": {a.Sent(), b.Received()}, "answered": {b.Sent(), a.Received()}} {
		if x.sent != x.received || x.sent < 1000 || x.sent > 1200 {
			t.Errorf("of 1,000 bytes that were %s, and a handshake, %d were sent and %d received", side, x.sent, x.received)
		}
	}
}
