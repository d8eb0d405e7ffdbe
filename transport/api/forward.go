package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
	lockstepv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1/lockstepv1connect"
)

// forwarded marks a call that another node passed on: it is not passed on again.
const forwarded = "Lockstep-Forwarded"

// call is what of a request concerns where it is answered.
type call struct {
	procedure string
	namespace string
	header    http.Header
	passed    bool // by another node
	reads     bool // may be done twice
}

// unary answers a call here if this node leads the namespace, and has the leader answer it otherwise, once.
func unary[Req, Res any](s *service, ctx context.Context, r *connect.Request[Req], namespace string, local func(context.Context, *Req) (*Res, error)) (*connect.Response[Res], error) {
	c := call{
		procedure: r.Spec().Procedure, namespace: namespace, header: r.Header(), passed: r.Header().Get(forwarded) != "",
		reads: r.Spec().IdempotencyLevel == connect.IdempotencyNoSideEffects,
	}
	res, err := answer(s, ctx, c, r.Msg, local)
	if err != nil {
		return nil, asConnect(err)
	}
	if speaksJSON(r.Header()) {
		showLeased(res)
	}
	return connect.NewResponse(res), nil
}

// ask reads behind a barrier, wherever the leader is, for a call that goes on here.
func ask[Req, Res any](s *service, ctx context.Context, h http.Header, procedure, namespace string, r *Req, fn func(*fsm.Machine, *Req) (*Res, error)) (*Res, error) {
	c := call{procedure: procedure, namespace: namespace, header: h, reads: true}
	return answer(s, ctx, c, r, func(ctx context.Context, r *Req) (*Res, error) {
		res, _, err := readOf(s, ctx, namespace, v1.Consistency_CONSISTENCY_UNSPECIFIED, r, fn)
		return res, err
	})
}

// answer has a call answered by whoever leads. Where nothing happened because nobody did, it tries again for a while.
func answer[Req, Res any](s *service, ctx context.Context, c call, r *Req, local func(context.Context, *Req) (*Res, error)) (*Res, error) {
	ctx, err := withCaller(ctx, c.header)
	if err == nil {
		err = optional("namespace", c.namespace)
	}
	if err != nil {
		return nil, err
	}
	limit := time.Now().Add(s.config.Patience)
	for {
		changed := s.cluster.LeaderChanged()
		var res *Res
		address, err := s.place(ctx, c, limit)
		switch {
		case err != nil:
			return nil, err
		case address == "":
			res, err = local(ctx, r)
		default:
			res, err = forward[Req, Res](s, ctx, c, r, address)
		}
		if err == nil || c.passed || !c.again(err) || time.Now().After(limit) {
			return res, err
		}
		if err := s.rest(ctx, changed); err != nil {
			return nil, err
		}
	}
}

// again says that a call may be tried again: nothing happened, or it only reads.
func (c call) again(err error) bool {
	code := refusalOf(err).GetCode()
	return code == v1.Code_CODE_NO_LEADER || c.reads && code == v1.Code_CODE_UNAVAILABLE
}

// place says at which address a call is answered; empty is here. Until limit it waits for a leader to be known.
func (s *service) place(ctx context.Context, c call, limit time.Time) (string, error) {
	for {
		changed := s.cluster.LeaderChanged()
		address, self := s.cluster.Leader(c.namespace)
		switch {
		case self:
			return "", nil
		case address != "" && !c.passed:
			return address, nil
		case c.passed || time.Now().After(limit):
			return "", noLeader(address)
		}
		if err := s.rest(ctx, changed); err != nil {
			return "", err
		}
	}
}

func noLeader(address string) error {
	if address == "" {
		return fsm.Refuse(v1.Code_CODE_NO_LEADER, "no leader is known now; try again")
	}
	r := fsm.Refuse(v1.Code_CODE_NO_LEADER, "this node does not lead; %s does", address)
	r.Detail.Leader = address
	return r
}

// restTime is how long to rest at most before looking again: an address may become known without a change of leadership.
const restTime = 50 * time.Millisecond

// rest waits for a change of leadership, a little.
func (s *service) rest(ctx context.Context, changed <-chan struct{}) error {
	timer := time.NewTimer(restTime)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-s.ctx.Done():
		return stopping()
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func stopping() error {
	return fsm.Refuse(v1.Code_CODE_UNAVAILABLE, "this node is stopping; ask another")
}

func forward[Req, Res any](s *service, ctx context.Context, c call, r *Req, address string) (*Res, error) {
	client := connect.NewClient[Req, Res](s.http, "http://"+address+c.procedure)
	onward := connect.NewRequest(r)
	copyHeaders(onward.Header(), c.header)
	led, done := s.whileLed(ctx, c, address)
	defer done()
	res, err := client.CallUnary(led, onward)
	if err != nil {
		if errors.Is(context.Cause(led), errFollowed) {
			err = errFollowed
		}
		return nil, passedOn(ctx, c, address, err)
	}
	return res.Msg, nil
}

// errFollowed says that another leads by now: a leader that was cut off or stopped may not answer for long.
var errFollowed = errors.New("another leads by now")

// lastWord is how long one who led may take to answer when another leads: who hands over has answers on their way, to
// what was done before. lastWordOfTransfer is the same of a call that makes another lead, and is answered when one does.
const (
	lastWord           = 200 * time.Millisecond
	lastWordOfTransfer = 2 * time.Second
)

// patience is for how long a call that was passed on waits for its answer when another leads. One that reads is asked again.
func (c call) patience() time.Duration {
	switch {
	case c.reads:
		return 0
	case c.procedure == lockstepv1.ClusterServiceTransferLeadershipProcedure, c.procedure == lockstepv1.ClusterServiceRemoveMemberProcedure:
		return lastWordOfTransfer
	}
	return lastWord
}

// whileLed is a context that ends with errFollowed as its cause a while after somebody else than the node at address is
// known to lead. Call done when the call is over.
func (s *service) whileLed(ctx context.Context, c call, address string) (led context.Context, done func()) {
	led, end := context.WithCancelCause(ctx)
	go func() {
		for {
			changed := s.cluster.LeaderChanged()
			if now, self := s.cluster.Leader(c.namespace); self || now != "" && now != address {
				late := time.AfterFunc(c.patience(), func() { end(errFollowed) })
				<-led.Done()
				late.Stop()
				return
			}
			select {
			case <-changed:
			case <-led.Done():
				return
			}
		}
	}()
	return led, func() { end(nil) }
}

// passedOn makes the failure of a forwarded call this call's own: the other node's refusal, or its code and sentence,
// without its headers. When the connection broke, nobody knows what became of the call.
func passedOn(ctx context.Context, c call, address string, err error) error {
	if r := refusalOf(err); r != nil {
		return &fsm.Refusal{Detail: r}
	}
	var remote *connect.Error
	var dial *net.OpError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errFollowed) && !c.reads:
		return fsm.Refuse(v1.Code_CODE_UNKNOWN_OUTCOME, "the leader, %s, did not answer before another led; ask again with the same identity", address)
	case errors.As(err, &dial) && dial.Op == "dial":
		return fsm.Refuse(v1.Code_CODE_NO_LEADER, "the leader, %s, cannot be reached; try again", address)
	case connect.IsWireError(err) && errors.As(err, &remote):
		return connect.NewError(remote.Code(), errors.New(remote.Message()))
	case c.reads:
		return fsm.Refuse(v1.Code_CODE_UNAVAILABLE, "the connection to the leader, %s, broke; try again", address)
	}
	return fsm.Refuse(v1.Code_CODE_UNKNOWN_OUTCOME, "the connection to the leader, %s, broke; ask again with the same identity", address)
}

// copyHeaders passes on what concerns the call, and marks it.
func copyHeaders(to, from http.Header) {
	for _, name := range [...]string{principalHeader, reasonHeader, traceHeader} {
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
