package api

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func open(t *testing.T, c *clients) string {
	t.Helper()
	return must(t, c.OpenSession, &v1.OpenSessionRequest{Ttl: durationpb.New(time.Minute)}).SessionId
}

func pollFor(session string) *v1.PollStepsRequest {
	return &v1.PollStepsRequest{SessionId: session, Queue: "inventory", Wait: durationpb.New(time.Minute)}
}

// A wait is replicated, so the call that waits goes on when another node leads.
func TestAPollOutlivesAChangeOfLeadership(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	a, b := newNode(l), newNode(l)
	first, second := serve(t, a), serve(t, b)
	b.follow(first)
	c := dial(t, first)
	ordered(t, c)
	poll := begun(t, t.Context(), c.PollSteps, pollFor(open(t, c)))
	eventually(t, "the poll waits", func() bool { return l.waiting("inventory") == 1 })
	a.set(false, "")
	b.set(true, "")
	a.follow(second)
	must(t, dial(t, second).StartInstance, startRequest("o1"))
	if got := <-poll; got.err != nil || len(got.msg.Runs) != 1 {
		t.Errorf("polled %v", got)
	}
}

// A node that has heard of no leader for a while cannot know what became of a wait.
func TestAPollThatHearsOfNoLeader(t *testing.T) {
	t.Parallel()
	c := newOne(t)
	client := dial(t, serve(t, c))
	poll := begun(t, t.Context(), client.PollSteps, pollFor(open(t, client)))
	eventually(t, "the poll waits", func() bool { return c.waiting("inventory") == 1 })
	c.set(false, "")
	if got := <-poll; refusedBy(t, got.err).Code != v1.Code_CODE_UNKNOWN_OUTCOME {
		t.Errorf("polled %v", got)
	}
}

// A wait ends with its caller: no run goes to who is gone.
func TestAWaitEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	c := newOne(t)
	client := dial(t, serve(t, c))
	ordered(t, client)
	session := open(t, client)
	ctx, leave := context.WithCancel(t.Context())
	poll := begun(t, ctx, client.PollSteps, pollFor(session))
	eventually(t, "the poll waits", func() bool { return c.waiting("inventory") == 1 })
	leave()
	<-poll
	eventually(t, "the wait is dropped", func() bool { return c.waiting("inventory") == 0 })
	must(t, client.StartInstance, startRequest("o1"))
	if runs := must(t, client.PollSteps, pollFor(session)).Runs; len(runs) != 1 || runs[0].Attempt != 1 {
		t.Errorf("the run went to a caller that was gone: %v", runs)
	}
}

// What waits too long is told so: a poll by no runs, the others by WAIT_TIMEOUT.
func TestWaitsThatEnd(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	ordered(t, client, "o1")
	session, wait := open(t, client), durationpb.New(50*time.Millisecond)
	holder := must(t, client.AcquireLock, &v1.AcquireLockRequest{SessionId: session, Lock: "l", Note: "mine"})
	if got := must(t, client.PollSteps, &v1.PollStepsRequest{SessionId: session, Queue: "empty", Wait: wait}); len(got.Runs) != 0 {
		t.Errorf("polled %v", got)
	}
	r := refusal(t, client.LeaseStep, &v1.LeaseStepRequest{SessionId: session, InstanceId: "o1", Step: "charge", Wait: wait})
	if r.Code != v1.Code_CODE_WAIT_TIMEOUT {
		t.Errorf("LeaseStep is refused with %v", r)
	}
	r = refusal(t, client.AcquireLock, &v1.AcquireLockRequest{SessionId: open(t, client), Lock: "l", Wait: wait})
	if r.Code != v1.Code_CODE_WAIT_TIMEOUT || r.Holder.GetToken() != holder.Token || r.Holder.GetNote() != "mine" {
		t.Errorf("AcquireLock is refused with %v", r)
	}
}

// A retry under the same request id takes over the wait, and an answered one has the first answer again.
func TestARetryHasTheFirstAnswer(t *testing.T) {
	t.Parallel()
	c := newOne(t)
	client := dial(t, serve(t, c))
	ordered(t, client)
	r := pollFor(open(t, client))
	r.RequestId = 1
	proposed := make(chan struct{}, 10)
	c.inject(nil, func(all []*logv1.Command) {
		if all[0].GetPollSteps() != nil {
			proposed <- struct{}{}
		}
	})
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	begun(t, ctx, client.PollSteps, r)
	<-proposed
	eventually(t, "the poll waits", func() bool { return c.waiting("inventory") == 1 })
	again := begun(t, t.Context(), client.PollSteps, r)
	<-proposed
	// Whether the second call has taken the wait over by now, or will find it answered: it has the answer.
	must(t, client.StartInstance, startRequest("o1"))
	got := <-again
	if got.err != nil || len(got.msg.Runs) != 1 {
		t.Fatalf("polled %v", got)
	}
	if same := must(t, client.PollSteps, r); len(same.Runs) != 1 || same.Runs[0].Token != got.msg.Runs[0].Token {
		t.Errorf("the retry got %v", same)
	}
	leave()
	next := pollFor(r.SessionId)
	next.Wait, next.RequestId, next.LowestUnanswered = nil, 2, 2
	must(t, client.PollSteps, next)
	if r := refusal(t, client.PollSteps, r); r.Code != v1.Code_CODE_REQUEST_TOO_OLD {
		t.Errorf("refused with %v", r)
	}
}

// Closing ends what waits, and says so; short calls finish.
func TestClosingEndsWhatWaits(t *testing.T) {
	t.Parallel()
	c := newOne(t)
	s := run(t, Config{Cluster: c})
	client := dial(t, s.address)
	session := open(t, client)
	poll := begun(t, t.Context(), client.PollSteps, pollFor(session))
	eventually(t, "the poll waits", func() bool { return c.waiting("inventory") == 1 })
	watch := watchFor(t, client, &v1.WatchEventsRequest{After: -1})
	if !watch.Receive() {
		t.Fatal(watch.Err())
	}
	stream := work(t, client, session, 1)
	entered, finish := make(chan struct{}), make(chan struct{})
	c.inject(nil, func([]*logv1.Command) { close(entered); <-finish })
	short := begun(t, t.Context(), client.CreateNamespace, &v1.CreateNamespaceRequest{Namespace: "n"})
	<-entered
	c.inject(nil, nil)
	closed := make(chan struct{})
	go func() { defer close(closed); s.close() }()
	if got := <-poll; refusedBy(t, got.err).Code != v1.Code_CODE_UNKNOWN_OUTCOME {
		t.Errorf("polled %v", got)
	}
	for watch.Receive() {
	}
	if r := refusedBy(t, watch.Err()); r.Code != v1.Code_CODE_UNAVAILABLE {
		t.Errorf("the watch ends with %v", r)
	}
	if _, err := stream.Receive(); refusedBy(t, err).Code != v1.Code_CODE_UNAVAILABLE {
		t.Errorf("the stream ends with %v", err)
	}
	close(finish)
	if got := <-short; got.err != nil {
		t.Errorf("a short call: %v", got.err)
	}
	<-closed
}

// WaitInstance answers when the instance has ended, on any node, also one that hears of it late.
func TestWaitInstance(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	leader := serve(t, newNode(l))
	late := newNode(emptyLog(t))
	late.follow(leader)
	direct, client := dial(t, leader), dial(t, serve(t, late))
	ordered(t, direct, "o1")
	wait := &v1.WaitInstanceRequest{InstanceId: "o1"}
	if got := must(t, client.WaitInstance, wait); got.Done || got.Instance.State != v1.InstanceState_INSTANCE_STATE_RUNNING {
		t.Errorf("without waiting: %v", got)
	}
	wait.Wait = durationpb.New(time.Minute)
	waits := begun(t, t.Context(), client.WaitInstance, wait)
	must(t, direct.CancelInstance, &v1.CancelInstanceRequest{InstanceId: "o1", Reason: "enough"})
	late.catchUp(l)
	if got := <-waits; got.err != nil || !got.msg.Done || got.msg.Instance.State != v1.InstanceState_INSTANCE_STATE_CANCELLED {
		t.Errorf("waited: %v", got)
	}
	late.set(false, "")
	if r := refusal(t, client.WaitInstance, wait); r.Code != v1.Code_CODE_NO_LEADER {
		t.Errorf("without a leader: %v", r)
	}
	if r := refusal(t, direct.WaitInstance, &v1.WaitInstanceRequest{InstanceId: "none"}); r.Code != v1.Code_CODE_INSTANCE_NOT_FOUND {
		t.Errorf("refused with %v", r)
	}
}
