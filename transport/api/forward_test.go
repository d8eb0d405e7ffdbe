package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A follower's answers, refusals and their details are the leader's, and so is who asked.
func TestAFollowerAnswersLikeItsLeader(t *testing.T) {
	t.Parallel()
	leader := serve(t, newOne(t))
	follower := newNode(emptyLog(t))
	follower.follow(leader)
	c := dial(t, serve(t, follower))
	ordered(t, c)
	r := connect.NewRequest(startRequest("o1"))
	r.Header().Set("Lockstep-Principal", "ada")
	r.Header().Set("Traceparent", "00-1-2-01")
	if _, err := c.StartInstance(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	history := must(t, c.GetHistory, &v1.GetHistoryRequest{InstanceId: "o1"})
	if e := history.Events[0]; e.Author.GetPrincipal() != "ada" || e.Author.Verified || e.Traceparent != "00-1-2-01" {
		t.Errorf("the event says that %v asked, in %q", e.Author, e.Traceparent)
	}
	unknown := &v1.StartInstanceRequest{InstanceId: "o2", Workflow: "none"}
	if r := refusal(t, dial(t, leader).StartInstance, unknown); r.Code != v1.Code_CODE_WORKFLOW_NOT_FOUND {
		t.Errorf("the leader refuses with %v", r)
	}
	_, err := c.StartInstance(t.Context(), connect.NewRequest(unknown))
	if r := refusedBy(t, err); r.Code != v1.Code_CODE_WORKFLOW_NOT_FOUND {
		t.Errorf("the follower refuses with %v", r)
	}
	var wire *connect.Error
	if !errors.As(err, &wire) || len(wire.Meta().Values("Date")) != 1 {
		t.Errorf("a forwarded refusal brings headers of another answer along: %v", wire.Meta())
	}
}

// A call is passed on once: two nodes that take each other for the leader refuse it, and say whom they meant.
func TestACallIsPassedOnOnce(t *testing.T) {
	t.Parallel()
	a, b := newOne(t), newOne(t)
	first, second := serve(t, a), serve(t, b)
	a.follow(second)
	b.follow(first)
	began := time.Now()
	r := refusal(t, dial(t, first).OpenSession, &v1.OpenSessionRequest{})
	if r.Code != v1.Code_CODE_NO_LEADER || r.Leader != first {
		t.Errorf("refused with %v", r)
	}
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("given up after %s, without patience", took)
	}
}

// A call waits for a leader to be known, for a while.
func TestACallWaitsForALeader(t *testing.T) {
	t.Parallel()
	c := newOne(t)
	c.set(false, "")
	client := dial(t, serve(t, c))
	if r := refusal(t, client.OpenSession, &v1.OpenSessionRequest{}); r.Code != v1.Code_CODE_NO_LEADER || r.Leader != "" {
		t.Errorf("refused with %v", r)
	}
	opened := begun(t, t.Context(), client.OpenSession, &v1.OpenSessionRequest{})
	c.set(true, "")
	if a := <-opened; a.err != nil {
		t.Error(a.err)
	}
}

// Of a leader that is gone before it was asked, nothing is lost: the call goes to the next.
func TestALeaderThatCannotBeReached(t *testing.T) {
	t.Parallel()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nowhere := gone.Addr().String()
	gone.Close()
	c := newOne(t)
	c.follow(nowhere)
	client := dial(t, serve(t, c))
	if r := refusal(t, client.OpenSession, &v1.OpenSessionRequest{}); r.Code != v1.Code_CODE_NO_LEADER {
		t.Errorf("refused with %v", r)
	}
	opened := begun(t, t.Context(), client.OpenSession, &v1.OpenSessionRequest{})
	c.set(true, "")
	if a := <-opened; a.err != nil {
		t.Error(a.err)
	}
}

// breaking is a leader that takes a call and breaks the connection instead of answering. asked is told of each.
func breaking(t *testing.T, asked chan<- string) string {
	t.Helper()
	return takes(t, func(r *http.Request) {
		asked <- r.URL.Path
		panic(http.ErrAbortHandler)
	})
}

// stopped is a leader that takes a call, and nothing more. asked is told of each.
func stopped(t *testing.T, asked chan<- string) string {
	t.Helper()
	return takes(t, func(r *http.Request) {
		asked <- r.URL.Path
		<-r.Context().Done()
	})
}

// takes is a server that does with a call what it is told to.
func takes(t *testing.T, call func(*http.Request)) string {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Protocols: protocols, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { call(r) })}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-ended })
	return l.Addr().String()
}

// When the leader breaks off, a read is tried again, and of anything else it is said that nobody knows.
func TestALeaderThatBreaksOff(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 100)
	c := newOne(t)
	client := dial(t, serve(t, c))
	c.follow(breaking(t, asked))
	if r := refusal(t, client.OpenSession, &v1.OpenSessionRequest{}); r.Code != v1.Code_CODE_UNKNOWN_OUTCOME {
		t.Errorf("a command is refused with %v", r)
	}
	<-asked
	if len(asked) > 0 {
		t.Error("a command whose outcome is unknown was repeated")
	}
	read := begun(t, t.Context(), client.GetNamespace, &v1.GetNamespaceRequest{Namespace: "default"})
	<-asked
	c.set(true, "")
	if a := <-read; a.err != nil {
		t.Errorf("a read: %v", a.err)
	}
}

// A leader that is stopped is waited for until another leads, and not for as long as its connection seems to live.
func TestALeaderThatIsStopped(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 10)
	c := newOne(t)
	client := dial(t, serve(t, c))
	for range 2 {
		c.follow(stopped(t, asked))
		written := begun(t, t.Context(), client.OpenSession, &v1.OpenSessionRequest{})
		read := begun(t, t.Context(), client.GetNamespace, &v1.GetNamespaceRequest{Namespace: "default"})
		<-asked
		<-asked
		c.set(false, "") // nobody is known to lead: it may still answer
		c.set(true, "")
		if r := refusedBy(t, (<-written).err); r.Code != v1.Code_CODE_UNKNOWN_OUTCOME {
			t.Errorf("a command is refused with %v", r)
		}
		if a := <-read; a.err != nil {
			t.Errorf("a read: %v", a.err)
		}
	}
}

// handing is a leader of whom others know that it leads no more before it answers what it did while it led.
type handing struct {
	*node
	asked, answers chan struct{}
}

func (h handing) ProposeAll(ctx context.Context, commands []*logv1.Command) ([]fsm.Outcome, error) {
	out, err := h.node.ProposeAll(ctx, commands)
	h.asked <- struct{}{}
	<-h.answers
	return out, err
}

func (h handing) TransferLeadership(context.Context, string) (string, error) {
	h.asked <- struct{}{}
	<-h.answers
	return "n2", nil
}

// Who passed a call on hears of the next leader before the answer of the last: a planned transfer fails none for that,
// and not the call that asked for it.
func TestALeaderThatHandsOverIsHeard(t *testing.T) {
	t.Parallel()
	lead := handing{newOne(t), make(chan struct{}, 1), make(chan struct{}, 1)}
	follower := newOne(t)
	follower.follow(serve(t, lead))
	client := dial(t, serve(t, follower))
	next := serve(t, newOne(t))
	for name, x := range map[string]struct {
		call func() error
		late time.Duration
	}{
		"write": {func() error {
			_, err := client.OpenSession(t.Context(), connect.NewRequest(&v1.OpenSessionRequest{}))
			return err
		}, 0},
		"transfer": {func() error {
			_, err := client.TransferLeadership(t.Context(), connect.NewRequest(&v1.TransferLeadershipRequest{}))
			return err
		}, 2 * lastWord},
	} {
		leader, _ := follower.Leader("")
		done := make(chan error, 1)
		go func() { done <- x.call() }()
		<-lead.asked
		follower.follow(next)
		time.Sleep(x.late)
		lead.answers <- struct{}{}
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		follower.follow(leader)
	}
}

// What the log says reaches the client as it is.
func TestRefusalsOfTheLog(t *testing.T) {
	t.Parallel()
	c := newOne(t)
	leader := serve(t, c)
	follower := newOne(t)
	follower.follow(leader)
	for name, client := range map[string]*clients{"leader": dial(t, leader), "follower": dial(t, serve(t, follower))} {
		for _, code := range []v1.Code{v1.Code_CODE_OVERLOADED, v1.Code_CODE_UNKNOWN_OUTCOME} {
			c.inject(fsm.Refuse(code, "by the test"), nil)
			if r := refusal(t, client.OpenSession, &v1.OpenSessionRequest{}); r.Code != code {
				t.Errorf("%s: %v came as %v", name, code, r)
			}
		}
		c.inject(context.DeadlineExceeded, nil)
		if r := refusal(t, client.OpenSession, &v1.OpenSessionRequest{}); r.Code != v1.Code_CODE_UNKNOWN_OUTCOME {
			t.Errorf("%s: an answer that does not come is %v", name, r)
		}
	}
}

// Stale reads are this node's own, and say how old they may be; others are refused without a leader.
func TestStaleReadsNeedNoLeader(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	ordered(t, dial(t, serve(t, newNode(l))), "o1")
	alone := newNode(l)
	alone.set(false, "")
	client := dial(t, serve(t, alone))
	stale := v1.Consistency_CONSISTENCY_STALE
	res, err := client.GetInstance(t.Context(), connect.NewRequest(&v1.GetInstanceRequest{InstanceId: "o1", Consistency: stale}))
	if err != nil || res.Msg.Workflow != "order" || res.Header().Get("Lockstep-Stale-Ms") != "5" {
		t.Errorf("%v, %v", res, err)
	}
	if got := must(t, client.ListNamespaces, &v1.ListNamespacesRequest{Consistency: stale}); len(got.Namespaces) != 1 {
		t.Errorf("namespaces: %v", got)
	}
	if r := refusal(t, client.ListNamespaces, &v1.ListNamespacesRequest{}); r.Code != v1.Code_CODE_NO_LEADER {
		t.Errorf("refused with %v", r)
	}
	if r := refusal(t, client.ListNamespaces, &v1.ListNamespacesRequest{Consistency: 7}); r.Code != v1.Code_CODE_INVALID {
		t.Errorf("refused with %v", r)
	}
}

// Headers go into the log, where what is not UTF-8 would fail everybody's commands.
func TestHeadersThatCannotBeKept(t *testing.T) {
	t.Parallel()
	c := newOne(t)
	commands := make(chan *logv1.Command, 10)
	c.inject(nil, func(all []*logv1.Command) { commands <- all[0] })
	client := dial(t, serve(t, c))
	r := connect.NewRequest(&v1.OpenSessionRequest{})
	r.Header().Set("Lockstep-Principal", "\xff")
	if _, err := client.OpenSession(t.Context(), r); err == nil || refusedBy(t, err).Code != v1.Code_CODE_INVALID {
		t.Errorf("a principal that is not UTF-8: %v", err)
	}
	r = connect.NewRequest(&v1.OpenSessionRequest{})
	fits := strings.Repeat("a", maxText-1)
	r.Header().Set("Lockstep-Reason", fits+"é")
	r.Header().Set("Traceparent", "\xff")
	if _, err := client.OpenSession(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if e := (<-commands).Envelope; e.Reason != fits || e.Traceparent != "" {
		t.Errorf("the envelope keeps a reason of %d bytes and the trace %q", len(e.Reason), e.Traceparent)
	}
}
