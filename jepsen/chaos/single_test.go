package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
	"github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1/lockstepv1connect"
)

// node is a server that says who it is, and sends whoever reads to the leader.
type node struct {
	lockstepv1connect.UnimplementedClusterServiceHandler
	lockstepv1connect.UnimplementedNamespaceServiceHandler
	id     string
	leader string        // that it sends others to
	sent   chan struct{} // is closed when it has sent one away
	once   sync.Once
}

func (n *node) GetStatus(context.Context, *connect.Request[v1.GetStatusRequest]) (*connect.Response[v1.GetStatusResponse], error) {
	return connect.NewResponse(&v1.GetStatusResponse{NodeId: n.id}), nil
}

func (n *node) GetNamespace(context.Context, *connect.Request[v1.GetNamespaceRequest]) (*connect.Response[v1.Namespace], error) {
	err := connect.NewError(connect.CodeUnavailable, errors.New("another leads"))
	detail, _ := connect.NewErrorDetail(&v1.Refusal{Code: v1.Code_CODE_NO_LEADER, Leader: n.leader})
	err.AddDetail(detail)
	n.once.Do(func() { close(n.sent) })
	return nil, err
}

func (n *node) serve(t *testing.T) (api string) {
	mux := http.NewServeMux()
	mux.Handle(lockstepv1connect.NewClusterServiceHandler(n))
	mux.Handle(lockstepv1connect.NewNamespaceServiceHandler(n))
	server := httptest.NewUnstartedServer(mux)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// What is asked of a node by itself is asked of that node, wherever it has sent others.
func TestASingleClientStaysWithItsNode(t *testing.T) {
	leader := &node{id: "leader", sent: make(chan struct{})}
	follower := &node{id: "follower", sent: make(chan struct{}), leader: leader.serve(t)}
	c, err := newSingle(follower.serve(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx, cancel := context.WithCancel(t.Context())
	reads := make(chan error)
	go func() {
		_, err := c.Namespaces.GetNamespace(ctx, connect.NewRequest(&v1.GetNamespaceRequest{}))
		reads <- err
	}()
	<-follower.sent
	for c.Server() != "http://"+follower.leader { // it has read where it is sent
		runtime.Gosched()
	}
	for range 3 {
		status, err := c.Cluster.GetStatus(ctx, connect.NewRequest(&v1.GetStatusRequest{Local: true}))
		if err != nil || status.Msg.NodeId != follower.id {
			t.Errorf("the follower is asked, and %v answers: %v", status, err)
		}
	}
	cancel()
	if err := <-reads; err == nil {
		t.Error("the read was answered")
	}
}
