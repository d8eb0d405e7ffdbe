package peer

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
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

func TestACallIsAnswered(t *testing.T) {
	a, b := listen(t, "s"), listen(t, "s")
	b.Handle("echo", func(_ context.Context, request []byte) ([]byte, error) {
		return append([]byte("re: "), request...), nil
	})
	b.Handle("no", func(context.Context, []byte) ([]byte, error) { return nil, errors.New("I would rather not") })
	if reply, err := a.Call(t.Context(), b.Addr(), "echo", []byte("hello")); err != nil || string(reply) != "re: hello" {
		t.Fatalf("%q, %v", reply, err)
	}
	if _, err := a.Call(t.Context(), b.Addr(), "no", nil); err == nil || !strings.Contains(err.Error(), "I would rather not") {
		t.Fatalf("%v", err)
	}
	if _, err := a.Call(t.Context(), b.Addr(), "nothing", nil); err == nil {
		t.Fatal("a call without a handler was answered")
	}
}

func TestAnotherSecretIsTurnedAway(t *testing.T) {
	a, b := listen(t, "s"), listen(t, "other")
	called := false
	b.Handle("echo", func(context.Context, []byte) ([]byte, error) { called = true; return nil, nil })
	if _, err := a.Call(t.Context(), b.Addr(), "echo", nil); err == nil || !strings.Contains(err.Error(), "another cluster secret") {
		t.Fatalf("%v", err)
	}
	if called {
		t.Fatal("the handler ran")
	}
}

func TestAGroupsConnectionsReachItAlone(t *testing.T) {
	a, b := listen(t, "s"), listen(t, "s")
	go func() {
		conn, err := b.Layer("7").Accept()
		if err == nil {
			io.WriteString(conn, "group 7")
			conn.Close()
		}
	}()
	conn, err := a.Layer("7").Dial(raft.ServerAddress(b.Addr()), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "group 7" {
		t.Fatalf("%q, %v", got, err)
	}
}

// A dialer that says nothing must not keep others from being served, nor Close from ending.
func TestASilentDialerBlocksNobody(t *testing.T) {
	a, b := listen(t, "s"), listen(t, "s")
	b.Handle("echo", func(_ context.Context, request []byte) ([]byte, error) { return request, nil })
	silent, err := net.Dial("tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if _, err := a.Call(t.Context(), b.Addr(), "echo", nil); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}
