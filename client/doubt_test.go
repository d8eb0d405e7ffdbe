package client_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// silentFirst is a client whose first server takes connections and says nothing, as a process that is stopped, and whose
// connections stay up for ever: nothing but another server's word has it leave.
func silentFirst(t *testing.T) (f *fake, c *client.Client, silent, well string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f = newFake()
	server := f.serve()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	well = strings.TrimPrefix(server.URL, "http://")
	c, err = client.New(client.Config{Servers: []string{l.Addr().String(), well}, HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.CloseClientConnections()
		server.Close()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return f, c, l.Addr().String(), well
}

// A server that answers nothing is left once another says that it leads, with every call that may be made twice.
func TestASilentServerIsLeft(t *testing.T) {
	f, c, _, well := silentFirst(t)
	f.setLeader(well)
	done := make(chan error, 2)
	go func() {
		_, err := c.Start(within(t), "default", "a", nil, client.StartOptions{})
		done <- err
	}()
	go func() {
		_, err := c.Get(within(t), "nobody")
		done <- err
	}()
	for range 2 {
		if err := <-done; err != nil && !client.IsNotFound(err) {
			t.Errorf("got %v", err)
		}
	}
	if f.count("StartInstance") != 1 || c.Server() != "http://"+well {
		t.Errorf("asks %s first; %d calls", c.Server(), f.count("StartInstance"))
	}
}

// Calls that have less time than it takes to doubt find out together.
func TestASilentServerIsLeftByShortCalls(t *testing.T) {
	f, c, _, well := silentFirst(t)
	f.setLeader(well)
	for calls := 0; c.Server() != "http://"+well; calls++ {
		if calls == 200 {
			t.Fatal("no call left the silent server")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, _ = c.Get(ctx, "nobody") // it has no time for an answer, or is told that there is none
		cancel()
	}
}

// A server that leads and is slow is not left, and the others are hardly asked.
func TestASlowLeaderIsNotLeft(t *testing.T) {
	f, c, silent, _ := silentFirst(t)
	f.setLeader(silent)
	ctx, cancel := context.WithTimeout(t.Context(), 1100*time.Millisecond)
	defer cancel()
	if _, err := c.Start(ctx, "default", "a", nil, client.StartOptions{}); !errors.Is(err, context.DeadlineExceeded) && connect.CodeOf(err) != connect.CodeDeadlineExceeded {
		t.Errorf("got %v", err)
	}
	if started, asked := f.count("StartInstance"), f.count("GetStatus"); started != 0 || asked == 0 || asked > 2 {
		t.Errorf("the other was told to start it %d times, and asked %d times who leads", started, asked)
	}
}

// A call that may not be made twice, and one that waits, stay where they are.
func TestCallsThatStay(t *testing.T) {
	f, c, _, well := silentFirst(t)
	f.setLeader(well)
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	_, created := c.Namespaces.CreateNamespace(ctx, connect.NewRequest(&v1.CreateNamespaceRequest{Namespace: "n"}))
	if created == nil || f.count("CreateNamespace")+f.count("GetStatus") != 0 {
		t.Errorf("got %v; %d calls", created, f.count("CreateNamespace"))
	}
}
