package client_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
	"github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1/lockstepv1connect"
)

// fake is a server with the services in memory: every instance has one step, "work", that is ready at once in the queue
// named as its workflow. One fake may be served at several addresses, as if they were the nodes of a cluster. What no test
// asks for is answered by the generated handlers that it embeds.
type fake struct {
	lockstepv1connect.UnimplementedInstanceServiceHandler
	lockstepv1connect.UnimplementedWorkflowServiceHandler
	lockstepv1connect.UnimplementedNamespaceServiceHandler
	lockstepv1connect.UnimplementedClusterServiceHandler
	lockstepv1connect.UnimplementedReconcileServiceHandler
	lockstepv1connect.UnimplementedReporterServiceHandler
	lockstepv1connect.UnimplementedBulkServiceHandler
	lockstepv1connect.UnimplementedIncidentServiceHandler
	mux *http.ServeMux

	mu        sync.Mutex
	changed   chan struct{}
	token     int64
	sessions  map[string]*fakeSession
	instances map[string]*fakeInstance
	ready     []*fakeInstance
	locks     map[string]int64 // token
	events    []*v1.Event
	answers   map[string]any // by session and request id
	calls     map[string]int
	renewals  []*v1.KeepAliveRequest
	leader    string
	bulkAsked atomic.Int32 // for a bulk operation
	// hook, when set, may refuse a call before it is done, or lose its answer after.
	hook func(method string, msg any, done bool) error
}

type fakeSession struct {
	ttl    time.Duration
	leases map[int64]*fakeInstance
}

type fakeInstance struct {
	*v1.Instance
	attempt   int32
	cancelled bool
}

func newFake() *fake {
	f := &fake{
		mux: http.NewServeMux(), changed: make(chan struct{}), sessions: map[string]*fakeSession{}, instances: map[string]*fakeInstance{},
		locks: map[string]int64{}, answers: map[string]any{}, calls: map[string]int{},
	}
	option := connect.WithInterceptors(f)
	f.mux.Handle(lockstepv1connect.NewInstanceServiceHandler(f, option))
	f.mux.Handle(lockstepv1connect.NewWorkerServiceHandler(fakeWorkers{f: f}, option))
	f.mux.Handle(lockstepv1connect.NewLockServiceHandler(fakeLocks{f: f}, option))
	f.mux.Handle(lockstepv1connect.NewEventServiceHandler(fakeEvents{f}, option))
	f.mux.Handle(lockstepv1connect.NewWorkflowServiceHandler(f, option))
	f.mux.Handle(lockstepv1connect.NewNamespaceServiceHandler(f, option))
	f.mux.Handle(lockstepv1connect.NewClusterServiceHandler(f, option))
	f.mux.Handle(lockstepv1connect.NewReconcileServiceHandler(f, option))
	f.mux.Handle(lockstepv1connect.NewReporterServiceHandler(f, option))
	f.mux.Handle(lockstepv1connect.NewBulkServiceHandler(f, option))
	f.mux.Handle(lockstepv1connect.NewIncidentServiceHandler(f, option))
	f.mux.Handle(lockstepv1connect.NewScheduleServiceHandler(&fakeSchedules{}, option))
	return f
}

// serve serves the fake at an address of its own, over HTTP/2 without TLS.
func (f *fake) serve() *httptest.Server {
	server := httptest.NewUnstartedServer(f.mux)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Config.Protocols.SetHTTP1(true)
	server.Start()
	return server
}

// newExample is a client of a fresh fake, for examples.
func newExample() (*client.Client, func()) {
	server := newFake().serve()
	c, err := client.New(client.Config{Servers: []string{server.URL}})
	if err != nil {
		panic(err)
	}
	return c, func() { c.Close(); server.CloseClientConnections(); server.Close() }
}

func refuse(code v1.Code, reason string) error {
	return refuseWith(&v1.Refusal{Code: code, Reason: reason})
}

func refuseWith(r *v1.Refusal) error {
	wire := map[v1.Code]connect.Code{
		v1.Code_CODE_NO_LEADER: connect.CodeUnavailable, v1.Code_CODE_UNKNOWN_OUTCOME: connect.CodeAborted,
		v1.Code_CODE_OVERLOADED: connect.CodeResourceExhausted, v1.Code_CODE_INSTANCE_NOT_FOUND: connect.CodeNotFound,
	}
	err := connect.NewError(cmp.Or(wire[r.Code], connect.CodeFailedPrecondition), errors.New(r.Reason))
	detail, _ := connect.NewErrorDetail(r)
	err.AddDetail(detail)
	return err
}

// WrapUnary counts calls and lets the hook spoil them.
func (f *fake) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		method := r.Spec().Procedure[strings.LastIndex(r.Spec().Procedure, "/")+1:]
		f.mu.Lock()
		f.calls[method]++
		hook := f.hook
		f.mu.Unlock()
		if hook == nil {
			return next(ctx, r)
		}
		if err := hook(method, r.Any(), false); err != nil {
			return nil, err
		}
		res, err := next(ctx, r)
		if lost := hook(method, r.Any(), true); lost != nil {
			return nil, lost
		}
		return res, err
	}
}

func (f *fake) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (f *fake) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

func (f *fake) setLeader(address string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leader = address
}

func (f *fake) setHook(hook func(method string, msg any, done bool) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

func (f *fake) count(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[method]
}

// event adds an event, and wakes all that wait. The caller holds the mutex.
func (f *fake) event(kind, instance string) {
	f.events = append(f.events, &v1.Event{Position: int64(len(f.events) + 1), Type: "lockstep." + kind + ".v1", Subject: "instance/" + instance, Data: &v1.EventData{InstanceId: instance}})
	f.wake()
}

// wake has all that wait look again. The caller holds the mutex.
func (f *fake) wake() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// await calls try, with the mutex held, until it says that it is done, or the wait is over.
func (f *fake) await(ctx context.Context, wait time.Duration, try func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		f.mu.Lock()
		done, changed := try(), f.changed
		f.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

func (f *fake) session(id string) (*fakeSession, error) {
	if s := f.sessions[id]; s != nil {
		return s, nil
	}
	return nil, refuse(v1.Code_CODE_SESSION_EXPIRED, "session "+id+" has ended or never was")
}

// expire ends a session as if its TTL had passed.
func (f *fake) expire(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end(id)
}

func (f *fake) end(id string) {
	s := f.sessions[id]
	if s == nil {
		return
	}
	delete(f.sessions, id)
	for token, i := range s.leases {
		f.giveBack(i)
		for name, held := range f.locks {
			if held == token {
				delete(f.locks, name)
			}
		}
	}
	f.event("session.ended", id)
}

func (f *fake) giveBack(i *fakeInstance) {
	if i != nil {
		i.Runs[0].State, i.Runs[0].SessionId = v1.RunState_RUN_STATE_READY, ""
		f.ready = append(f.ready, i)
		f.event("step.ready", i.InstanceId)
	}
}

// grant leases a ready run of queues.
func (f *fake) grant(id string, queues []string, count int) (runs []*v1.LeasedRun) {
	s := f.sessions[id]
	for _, i := range slices.Clone(f.ready) {
		if s == nil || len(runs) == count {
			break
		}
		if slices.Contains(queues, i.Workflow) {
			runs = append(runs, f.lease(s, id, i))
		}
	}
	return runs
}

func (f *fake) lease(s *fakeSession, id string, i *fakeInstance) *v1.LeasedRun {
	f.ready = slices.DeleteFunc(f.ready, func(o *fakeInstance) bool { return o == i })
	f.token++
	i.attempt++
	i.Runs[0].State, i.Runs[0].Token, i.Runs[0].SessionId = v1.RunState_RUN_STATE_LEASED, f.token, id
	s.leases[f.token] = i
	return i.leased()
}

func (i *fakeInstance) leased() *v1.LeasedRun {
	return &v1.LeasedRun{
		InstanceId: i.InstanceId, Workflow: i.Workflow, Version: 1, Step: "work", Task: "work", Attempt: i.attempt, Token: i.Runs[0].Token,
		Queue: i.Workflow, SessionId: i.Runs[0].SessionId, InputPayload: i.InputPayload, IdempotencyKey: "default/" + i.InstanceId + "/work/0", Retryable: true,
	}
}

// finish ends the lease under a token, by how.
func (f *fake) finish(id string, token int64, how string, output *v1.Payload) *v1.Refusal {
	i := f.instances[id]
	switch {
	case i == nil:
		return &v1.Refusal{Code: v1.Code_CODE_INSTANCE_NOT_FOUND, Reason: "no instance " + id}
	case i.Runs[0].State == v1.RunState_RUN_STATE_COMPLETED && i.Runs[0].Token == token && how == "complete":
		return nil
	case i.Runs[0].State != v1.RunState_RUN_STATE_LEASED || i.Runs[0].Token != token:
		return &v1.Refusal{Code: v1.Code_CODE_FENCED, Reason: fmt.Sprintf("token %d is over", token), Token: i.Runs[0].Token}
	case len(output.GetBytes()) > 256<<10:
		return &v1.Refusal{Code: v1.Code_CODE_PAYLOAD_TOO_LARGE, Reason: "output is too large"}
	}
	delete(f.sessions[i.Runs[0].SessionId].leases, token)
	switch how {
	case "complete":
		i.Runs[0].State, i.State, i.OutputPayload = v1.RunState_RUN_STATE_COMPLETED, v1.InstanceState_INSTANCE_STATE_COMPLETED, output
		f.event("step.completed", id)
	case "fail":
		i.Runs[0].State, i.State = v1.RunState_RUN_STATE_FAILED, v1.InstanceState_INSTANCE_STATE_FAILED
		f.event("step.failed", id)
	default:
		f.giveBack(i)
	}
	return nil
}

func asCall(r *v1.Refusal) error {
	if r == nil {
		return nil
	}
	return refuseWith(r)
}

func (f *fake) GetStatus(context.Context, *connect.Request[v1.GetStatusRequest]) (*connect.Response[v1.GetStatusResponse], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return connect.NewResponse(&v1.GetStatusResponse{Groups: []*v1.GroupStatus{{LeaderApi: f.leader}}}), nil
}

func (f *fake) GetNamespace(context.Context, *connect.Request[v1.GetNamespaceRequest]) (*connect.Response[v1.Namespace], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return connect.NewResponse(&v1.Namespace{Namespace: "default", Position: int64(len(f.events))}), nil
}

func (f *fake) RegisterWorkflow(_ context.Context, r *connect.Request[v1.RegisterWorkflowRequest]) (*connect.Response[v1.Workflow], error) {
	name, _, _ := strings.Cut(strings.TrimPrefix(r.Msg.Source, "workflow: "), "\n")
	return connect.NewResponse(&v1.Workflow{Workflow: name, Version: 1, Steps: 1}), nil
}

func (f *fake) DrainVersion(_ context.Context, r *connect.Request[v1.DrainVersionRequest]) (*connect.Response[v1.Workflow], error) {
	return connect.NewResponse(&v1.Workflow{Workflow: r.Msg.Workflow, Version: r.Msg.Version, Drained: true, Reason: r.Msg.Reason, LiveInstances: 2}), nil
}

func (f *fake) UndrainVersion(_ context.Context, r *connect.Request[v1.UndrainVersionRequest]) (*connect.Response[v1.Workflow], error) {
	return connect.NewResponse(&v1.Workflow{Workflow: r.Msg.Workflow, Version: r.Msg.Version}), nil
}

func (f *fake) StartInstance(_ context.Context, r *connect.Request[v1.StartInstanceRequest]) (*connect.Response[v1.StartInstanceResponse], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, existing := f.instances[r.Msg.InstanceId], true
	if i != nil && r.Msg.OnConflict == v1.OnConflict_ON_CONFLICT_QUEUE { // nothing ends here: it is the first that waits
		return connect.NewResponse(&v1.StartInstanceResponse{InstanceId: i.InstanceId + "~" + r.Msg.StartId, Version: 1, State: v1.InstanceState_INSTANCE_STATE_QUEUED, Place: 1}), nil
	}
	if i == nil {
		i, existing = &fakeInstance{Instance: &v1.Instance{
			InstanceId: r.Msg.InstanceId, Workflow: r.Msg.Workflow, Version: 1, State: v1.InstanceState_INSTANCE_STATE_RUNNING,
			InputPayload: r.Msg.InputPayload, Runs: []*v1.Run{{Step: "work", State: v1.RunState_RUN_STATE_READY}},
		}}, false
		f.instances[i.InstanceId] = i
		f.ready = append(f.ready, i)
		f.event("instance.started", i.InstanceId)
	}
	return connect.NewResponse(&v1.StartInstanceResponse{InstanceId: i.InstanceId, Version: 1, State: i.State, Existing: existing}), nil
}

func (f *fake) WaitInstance(ctx context.Context, r *connect.Request[v1.WaitInstanceRequest]) (*connect.Response[v1.WaitInstanceResponse], error) {
	reply := &v1.WaitInstanceResponse{}
	var missing error
	reply.Done = f.await(ctx, r.Msg.Wait.AsDuration(), func() bool {
		i := f.instances[r.Msg.InstanceId]
		if i == nil {
			missing = refuse(v1.Code_CODE_INSTANCE_NOT_FOUND, "no instance "+r.Msg.InstanceId)
			return true
		}
		reply.Instance = &v1.Instance{InstanceId: i.InstanceId, State: i.State, OutputPayload: i.OutputPayload}
		return i.State >= v1.InstanceState_INSTANCE_STATE_COMPLETED
	})
	return connect.NewResponse(reply), missing
}

func (f *fake) GetInstance(ctx context.Context, r *connect.Request[v1.GetInstanceRequest]) (*connect.Response[v1.Instance], error) {
	reply, err := f.WaitInstance(ctx, connect.NewRequest(&v1.WaitInstanceRequest{InstanceId: r.Msg.InstanceId}))
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(reply.Msg.Instance), nil
}

func (f *fake) SendSignal(_ context.Context, r *connect.Request[v1.SendSignalRequest]) (*connect.Response[v1.SendSignalResponse], error) {
	reply := &v1.SendSignalResponse{Delivered: true}
	if k := r.Msg.Key; k != nil {
		reply.InstanceId = k.Name + "-" + k.Value
	}
	return connect.NewResponse(reply), nil
}

func (f *fake) CancelInstance(_ context.Context, r *connect.Request[v1.CancelInstanceRequest]) (*connect.Response[v1.CancelInstanceResponse], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.instances[r.Msg.InstanceId].cancelled = true
	f.event("instance.cancelling", r.Msg.InstanceId)
	return connect.NewResponse(&v1.CancelInstanceResponse{State: v1.InstanceState_INSTANCE_STATE_CANCELLING}), nil
}

func (f *fake) CompensateInstance(_ context.Context, r *connect.Request[v1.CompensateInstanceRequest]) (*connect.Response[v1.CompensateInstanceResponse], error) {
	reply := &v1.CompensateInstanceResponse{State: v1.InstanceState_INSTANCE_STATE_COMPENSATING}
	if r.Msg.FromStep != "" && r.Msg.Reason != "" {
		reply.Steps = []string{r.Msg.FromStep + ".compensate"}
	}
	return connect.NewResponse(reply), nil
}

func (f *fake) ResetInstance(_ context.Context, r *connect.Request[v1.ResetInstanceRequest]) (*connect.Response[v1.ResetInstanceResponse], error) {
	undone := int32(0)
	if r.Msg.Compensate {
		undone = 1
	}
	return connect.NewResponse(&v1.ResetInstanceResponse{
		Undone: undone, Index: r.Msg.Index + 1, Steps: int32(len(r.Msg.FromStep)), State: v1.InstanceState_INSTANCE_STATE_RUNNING,
	}), nil
}

func (f *fake) ForkInstance(_ context.Context, r *connect.Request[v1.ForkInstanceRequest]) (*connect.Response[v1.ForkInstanceResponse], error) {
	return connect.NewResponse(&v1.ForkInstanceResponse{
		InstanceId: r.Msg.NewInstanceId, Version: max(1, r.Msg.Version), State: v1.InstanceState_INSTANCE_STATE_RUNNING, Copied: int32(len(r.Msg.FromStep)),
	}), nil
}

func (f *fake) ApproveStep(_ context.Context, r *connect.Request[v1.ApproveStepRequest]) (*connect.Response[v1.ApproveStepResponse], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.event("step.approved "+r.Msg.Step+" "+r.Msg.Reason, r.Msg.InstanceId)
	return connect.NewResponse(&v1.ApproveStepResponse{InstanceState: v1.InstanceState_INSTANCE_STATE_RUNNING}), nil
}

func (f *fake) RejectStep(_ context.Context, r *connect.Request[v1.RejectStepRequest]) (*connect.Response[v1.RejectStepResponse], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.event("step.rejected "+r.Msg.Step+" "+r.Msg.Reason, r.Msg.InstanceId)
	return connect.NewResponse(&v1.RejectStepResponse{InstanceState: v1.InstanceState_INSTANCE_STATE_FAILED}), nil
}

func (f *fake) GetHistory(_ context.Context, r *connect.Request[v1.GetHistoryRequest]) (*connect.Response[v1.GetHistoryResponse], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	reply := &v1.GetHistoryResponse{}
	for _, e := range f.events {
		if e.Data.InstanceId == r.Msg.InstanceId && e.Position > r.Msg.After {
			if len(reply.Events) == 1 { // pages of one
				reply.NextAfter = reply.Events[0].Position
				break
			}
			reply.Events = append(reply.Events, e)
		}
	}
	return connect.NewResponse(reply), nil
}

func (f *fake) Explain(_ context.Context, r *connect.Request[v1.ExplainRequest]) (*connect.Response[v1.ExplainResponse], error) {
	return connect.NewResponse(&v1.ExplainResponse{Explanations: []*v1.Explanation{{
		Code: v1.ExplainCode_EXPLAIN_CODE_NO_POLLER, Step: "work", Sentence: "no worker polls the queue of step work",
	}}}), nil
}

func durationOf(d time.Duration) *durationpb.Duration { return durationpb.New(d) }
