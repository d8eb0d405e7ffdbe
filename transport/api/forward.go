package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// forwarded marks a call that another node passed on: it is not passed on again.
const forwarded = "Lockstep-Forwarded"

// patience is how long a call waits for a leader to be known before it is refused.
const patience = 3 * time.Second

// unary answers a call here if this node leads the namespace, and has the leader answer it otherwise, once.
func unary[Req, Res any](s *service, ctx context.Context, r *connect.Request[Req], namespace string, local func(context.Context, *Req) (*Res, error)) (*connect.Response[Res], error) {
	limit := time.Now().Add(patience)
	for {
		changed := s.cluster.LeaderChanged()
		address, self := s.cluster.Leader(namespace)
		var err error
		switch {
		case self:
			var res *Res
			if res, err = local(withCaller(ctx, r.Header()), r.Msg); err == nil {
				return connect.NewResponse(res), nil
			}
		case r.Header().Get(forwarded) != "" || address == "":
			err = fsm.Refuse(v1.Code_CODE_NO_LEADER, "no leader is known now; try again")
		default:
			var res *connect.Response[Res]
			if res, err = forward[Req, Res](s, ctx, r, address); err == nil {
				return res, nil
			}
		}
		if !leaderless(err) || r.Header().Get(forwarded) != "" || time.Now().After(limit) {
			return nil, asConnect(err)
		}
		select {
		case <-changed:
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, asConnect(err)
		}
	}
}

// leaderless says that nothing happened, because whoever was asked does not lead, or cannot be reached.
func leaderless(err error) bool {
	if r := refusalOf(err); r != nil {
		return r.Code == v1.Code_CODE_NO_LEADER
	}
	var dial *net.OpError
	return errors.As(err, &dial) && dial.Op == "dial"
}

func forward[Req, Res any](s *service, ctx context.Context, r *connect.Request[Req], address string) (*connect.Response[Res], error) {
	client := connect.NewClient[Req, Res](s.http, "http://"+address+r.Spec().Procedure)
	onward := connect.NewRequest(r.Msg)
	copyHeaders(onward.Header(), r.Header())
	return client.CallUnary(ctx, onward)
}

// copyHeaders passes on what concerns the call, and marks it.
func copyHeaders(to, from http.Header) {
	for _, name := range [...]string{principalHeader, reasonHeader, "Traceparent"} {
		if v := from.Get(name); v != "" {
			to.Set(name, v)
		}
	}
	to.Set(forwarded, "1")
}

// newHTTPClient speaks HTTP/2 without TLS to other nodes, and notices soon when one does not answer.
func newHTTPClient() *http.Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{
		Protocols:   protocols,
		DialContext: (&net.Dialer{Timeout: time.Second}).DialContext,
		HTTP2:       &http.HTTP2Config{SendPingTimeout: 2 * time.Second, PingTimeout: 2 * time.Second},
	}}
}

// pipe has the leader serve a stream, passing messages on both ways.
func pipe[Req, Res any](s *service, ctx context.Context, in *connect.BidiStream[Req, Res], first *Req, address string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client := connect.NewClient[Req, Res](s.http, "http://"+address+in.Spec().Procedure)
	out := client.CallBidiStream(ctx)
	copyHeaders(out.RequestHeader(), in.RequestHeader())
	// An HTTP/2 call that waits for more of its request does not notice that its context has ended: end the request.
	defer context.AfterFunc(ctx, func() { _ = out.CloseRequest() })() // the context's error is the one that tells
	if err := out.Send(first); err != nil {
		_, err := out.Receive() // it has the reason
		return asConnect(err)
	}
	// Ends with the call: Receive fails when the handler has returned.
	go func() {
		for {
			message, err := in.Receive()
			if err != nil || out.Send(message) != nil {
				_ = out.CloseRequest() // the other half tells how it ended
				return
			}
		}
	}()
	for {
		message, err := out.Receive()
		if err == nil {
			err = in.Send(message)
		}
		if err != nil {
			cancel()
			if errors.Is(err, io.EOF) {
				return nil
			}
			return asConnect(err)
		}
	}
}
