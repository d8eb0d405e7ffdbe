package client_test

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
	"github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1/lockstepv1connect"
)

// fakeWorkers is the worker service of a fake.
type fakeWorkers struct {
	lockstepv1connect.UnimplementedWorkerServiceHandler
	f *fake
}

func (w fakeWorkers) OpenSession(_ context.Context, r *connect.Request[v1.OpenSessionRequest]) (*connect.Response[v1.Session], error) {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	id := strconv.Itoa(w.f.calls["OpenSession"])
	w.f.sessions[id] = &fakeSession{ttl: r.Msg.Ttl.AsDuration(), leases: map[int64]*fakeInstance{}}
	return connect.NewResponse(&v1.Session{SessionId: id, Ttl: r.Msg.Ttl}), nil
}

func (w fakeWorkers) KeepAlive(_ context.Context, r *connect.Request[v1.KeepAliveRequest]) (*connect.Response[v1.KeepAliveResponse], error) {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	w.f.renewals = append(w.f.renewals, r.Msg)
	s, err := w.f.session(r.Msg.SessionId)
	if err != nil {
		return nil, err
	}
	reply := &v1.KeepAliveResponse{Ttl: durationOf(s.ttl)}
	for _, token := range r.Msg.Tokens {
		if i, holds := s.leases[token]; !holds {
			reply.Lost = append(reply.Lost, token)
		} else if i != nil && i.cancelled {
			reply.Cancelled = append(reply.Cancelled, token)
		}
	}
	return connect.NewResponse(reply), nil
}

func (w fakeWorkers) CloseSession(_ context.Context, r *connect.Request[v1.CloseSessionRequest]) (*connect.Response[v1.CloseSessionResponse], error) {
	w.f.expire(r.Msg.SessionId)
	return connect.NewResponse(&v1.CloseSessionResponse{}), nil
}

// remembered answers a request once, and its retry with the same. Who went away has no answer.
func remembered[T any](ctx context.Context, f *fake, session string, request int64, answer func() T) T {
	key := fmt.Sprintf("%s/%d", session, request)
	f.mu.Lock()
	old, found := f.answers[key]
	f.mu.Unlock()
	if found {
		return old.(T)
	}
	out := answer()
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() == nil {
		f.answers[key] = out
	}
	return out
}

func (w fakeWorkers) PollSteps(ctx context.Context, r *connect.Request[v1.PollStepsRequest]) (*connect.Response[v1.PollStepsResponse], error) {
	runs := remembered(ctx, w.f, r.Msg.SessionId, r.Msg.RequestId, func() (runs []*v1.LeasedRun) {
		w.f.await(ctx, r.Msg.Wait.AsDuration(), func() bool {
			runs = w.f.grant(r.Msg.SessionId, r.Msg.Queues, int(r.Msg.Count))
			return len(runs) > 0 || w.f.sessions[r.Msg.SessionId] == nil
		})
		return runs
	})
	return connect.NewResponse(&v1.PollStepsResponse{Runs: runs}), nil
}

func (w fakeWorkers) LeaseStep(ctx context.Context, r *connect.Request[v1.LeaseStepRequest]) (*connect.Response[v1.LeaseStepResponse], error) {
	reply := &v1.LeaseStepResponse{}
	var refusal *v1.Refusal
	granted := w.f.await(ctx, r.Msg.Wait.AsDuration(), func() bool {
		i := w.f.instances[r.Msg.InstanceId]
		switch {
		case i == nil:
			refusal = &v1.Refusal{Code: v1.Code_CODE_INSTANCE_NOT_FOUND}
		case i.Runs[0].State == v1.RunState_RUN_STATE_COMPLETED:
			refusal = &v1.Refusal{Code: v1.Code_CODE_ALREADY_DONE, Output: i.OutputPayload}
		case i.Runs[0].State == v1.RunState_RUN_STATE_READY:
			reply.Run = w.f.lease(w.f.sessions[r.Msg.SessionId], r.Msg.SessionId, i)
		}
		return refusal != nil || reply.Run != nil
	})
	if !granted {
		refusal = &v1.Refusal{Code: v1.Code_CODE_NOT_READY}
	}
	return connect.NewResponse(reply), asCall(refusal)
}

func (w fakeWorkers) CompleteStep(_ context.Context, r *connect.Request[v1.CompleteStepRequest]) (*connect.Response[v1.CompleteStepResponse], error) {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	refusal := w.f.finish(r.Msg.InstanceId, r.Msg.Token, "complete", r.Msg.OutputPayload)
	return connect.NewResponse(&v1.CompleteStepResponse{InstanceState: v1.InstanceState_INSTANCE_STATE_COMPLETED}), asCall(refusal)
}

func (w fakeWorkers) CompleteSteps(_ context.Context, r *connect.Request[v1.CompleteStepsRequest]) (*connect.Response[v1.CompleteStepsResponse], error) {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	reply := &v1.CompleteStepsResponse{}
	for _, c := range r.Msg.Completions {
		reply.Outcomes = append(reply.Outcomes, &v1.CompleteOutcome{Refusal: w.f.finish(c.InstanceId, c.Token, "complete", c.OutputPayload)})
	}
	return connect.NewResponse(reply), nil
}

func (w fakeWorkers) FailStep(_ context.Context, r *connect.Request[v1.FailStepRequest]) (*connect.Response[v1.FailStepResponse], error) {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	return connect.NewResponse(&v1.FailStepResponse{}), asCall(w.f.finish(r.Msg.InstanceId, r.Msg.Token, "fail", nil))
}

func (w fakeWorkers) ReleaseStep(_ context.Context, r *connect.Request[v1.ReleaseStepRequest]) (*connect.Response[v1.ReleaseStepResponse], error) {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	return connect.NewResponse(&v1.ReleaseStepResponse{}), asCall(w.f.finish(r.Msg.InstanceId, r.Msg.Token, "release", nil))
}

func (w fakeWorkers) ReportProgress(_ context.Context, r *connect.Request[v1.ReportProgressRequest]) (*connect.Response[v1.ReportProgressResponse], error) {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	i := w.f.instances[r.Msg.InstanceId]
	if i.Runs[0].Token != r.Msg.Token {
		return nil, refuse(v1.Code_CODE_FENCED, "over")
	}
	return connect.NewResponse(&v1.ReportProgressResponse{Cancelled: i.cancelled}), nil
}

// Work grants by credit, and answers each message's results.
func (w fakeWorkers) Work(ctx context.Context, stream *connect.BidiStream[v1.WorkRequest, v1.WorkResponse]) error {
	hello, err := stream.Receive()
	if err != nil {
		return err
	}
	id := hello.SessionId
	opened := &v1.WorkResponse{Opened: true}
	w.f.mu.Lock()
	w.f.calls["Work"]++
	w.f.wake()
	s, err := w.f.session(id)
	if err == nil {
		for _, i := range s.leases {
			if i != nil {
				opened.Runs = append(opened.Runs, i.leased())
			}
		}
	}
	w.f.mu.Unlock()
	if err != nil {
		return err
	}
	if err := stream.Send(opened); err != nil {
		return err
	}
	messages, failed := make(chan *v1.WorkRequest), make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		for {
			m, err := stream.Receive()
			if err != nil {
				failed <- err
				return
			}
			select {
			case messages <- m:
			case <-ctx.Done():
				return
			}
		}
	}()
	credit := &v1.Credit{}
	for {
		w.f.mu.Lock()
		reply := &v1.WorkResponse{Runs: w.f.grant(id, credit.Queues, int(credit.Count))}
		changed := w.f.changed
		w.f.mu.Unlock()
		if len(reply.Runs) > 0 {
			credit.Count -= int32(len(reply.Runs))
			if err := stream.Send(reply); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-failed:
			return nil
		case m := <-messages:
			if m.Credit != nil {
				credit = m.Credit
			}
			reply := w.results(m)
			for i, c := range m.Completions {
				if c.Next != nil && reply.Outcomes[i].Refusal == nil {
					credit = &v1.Credit{Queues: c.Next.Queues, Count: credit.Count + c.Next.Count}
				}
			}
			if len(reply.Outcomes) > 0 {
				if err := stream.Send(reply); err != nil {
					return err
				}
			}
		}
	}
}

func (w fakeWorkers) results(m *v1.WorkRequest) *v1.WorkResponse {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	reply := &v1.WorkResponse{}
	for _, c := range m.Completions {
		reply.Outcomes = append(reply.Outcomes, &v1.WorkOutcome{Token: c.Token, Refusal: w.f.finish(c.InstanceId, c.Token, "complete", c.OutputPayload)})
	}
	for _, c := range m.Failures {
		reply.Outcomes = append(reply.Outcomes, &v1.WorkOutcome{Token: c.Token, Refusal: w.f.finish(c.InstanceId, c.Token, "fail", nil)})
	}
	for _, c := range m.Releases {
		reply.Outcomes = append(reply.Outcomes, &v1.WorkOutcome{Token: c.Token, Refusal: w.f.finish(c.InstanceId, c.Token, "release", nil)})
	}
	return reply
}

// fakeLocks is the lock service of a fake: exclusive locks only.
type fakeLocks struct {
	lockstepv1connect.UnimplementedLockServiceHandler
	f *fake
}

func (l fakeLocks) AcquireLock(ctx context.Context, r *connect.Request[v1.AcquireLockRequest]) (*connect.Response[v1.AcquireLockResponse], error) {
	token := remembered(ctx, l.f, r.Msg.SessionId, r.Msg.RequestId, func() (token int64) {
		l.f.await(ctx, r.Msg.Wait.AsDuration(), func() bool {
			if l.f.locks[r.Msg.Lock] != 0 {
				return false
			}
			l.f.token++
			token = l.f.token
			l.f.locks[r.Msg.Lock] = token
			l.f.sessions[r.Msg.SessionId].leases[token] = nil
			return true
		})
		return token
	})
	switch {
	case token == 0 && r.Msg.Wait.AsDuration() > 0:
		return nil, refuse(v1.Code_CODE_WAIT_TIMEOUT, "lock was not free within the wait")
	case token == 0:
		return nil, refuseWith(&v1.Refusal{Code: v1.Code_CODE_LOCK_HELD, Reason: "lock is held", Holder: &v1.Holder{Lock: r.Msg.Lock}})
	}
	return connect.NewResponse(&v1.AcquireLockResponse{Token: token, Grant: &v1.LockGrant{Lock: r.Msg.Lock, Slot: r.Msg.Limit}}), nil
}

func (l fakeLocks) ReleaseLock(_ context.Context, r *connect.Request[v1.ReleaseLockRequest]) (*connect.Response[v1.ReleaseLockResponse], error) {
	l.f.mu.Lock()
	defer l.f.mu.Unlock()
	if l.f.locks[r.Msg.Lock] != r.Msg.Token {
		return nil, refuse(v1.Code_CODE_FENCED, "not held")
	}
	delete(l.f.locks, r.Msg.Lock)
	l.f.event("lock.released", "")
	return connect.NewResponse(&v1.ReleaseLockResponse{}), nil
}

// fakeEvents is the event service of a fake: each stream ends after two events, so that a watch must reconnect, and begins
// with one that was asked for before.
type fakeEvents struct{ f *fake }

func (e fakeEvents) WatchEvents(ctx context.Context, r *connect.Request[v1.WatchEventsRequest], stream *connect.ServerStream[v1.WatchEventsResponse]) error {
	after := max(0, r.Msg.After-1)
	for range 2 {
		var next *v1.Event
		if !e.f.await(ctx, time.Minute, func() bool {
			if int(after) < len(e.f.events) {
				next = e.f.events[after]
			}
			return next != nil
		}) {
			return ctx.Err()
		}
		after = next.Position
		if err := stream.Send(&v1.WatchEventsResponse{Events: []*v1.Event{next}, Position: after}); err != nil {
			return err
		}
	}
	return nil
}
