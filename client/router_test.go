package client_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A server that is gone costs nothing but the try.
func TestFailsOver(t *testing.T) {
	_, c, servers := cluster(t, 3)
	servers[0].Close()
	servers[1].Close()
	start(t, c, "a", nil)
	if got := c.Server(); got != servers[2].URL {
		t.Errorf("asks %s first", got)
	}
}

// A refusal that names the leader sends the call there, also when the client was not told of that server.
func TestFollowsLeader(t *testing.T) {
	follower, c, _ := cluster(t, 1)
	_, _, leaders := cluster(t, 1)
	follower.setHook(func(string, any, bool) error {
		return refuseWith(&v1.Refusal{Code: v1.Code_CODE_NO_LEADER, Leader: strings.TrimPrefix(leaders[0].URL, "http://")})
	})
	start(t, c, "a", nil)
	if got := c.Server(); got != leaders[0].URL {
		t.Errorf("asks %s first", got)
	}
}

// once spoils the first call of a method: before it is done, or its answer.
func onceFails(want string, after bool, err error) func(string, any, bool) error {
	var first sync.Once
	return func(method string, _ any, done bool) (out error) {
		if method == want && done == after {
			first.Do(func() { out = err })
		}
		return out
	}
}

// When an answer is lost, a call that is safe to repeat is repeated, and done once.
func TestLostAnswers(t *testing.T) {
	f, c, _ := cluster(t, 1)
	unknown := refuse(v1.Code_CODE_UNKNOWN_OUTCOME, "lost")
	f.setHook(onceFails("StartInstance", true, unknown))
	reply, err := c.Start(within(t), "default", "a", nil, client.StartOptions{})
	if err != nil || !reply.Existing || f.count("StartInstance") != 2 {
		t.Errorf("start: %v %v, %d calls", reply, err, f.count("StartInstance"))
	}
	s, err := c.OpenSession(within(t), client.SessionConfig{})
	if err != nil {
		t.Fatal(err)
	}
	f.setHook(onceFails("AcquireLock", true, connect.NewError(connect.CodeUnavailable, errors.New("connection lost"))))
	lock, err := s.Lock(within(t), "a", client.LockOptions{})
	if err != nil || lock.Token != 1 || f.count("AcquireLock") != 2 {
		t.Errorf("lock: %v %v, %d calls", lock, err, f.count("AcquireLock"))
	}
	lease, err := s.LeaseStep(within(t), client.LeaseOptions{Instance: "a", Step: "work"})
	if err != nil {
		t.Fatal(err)
	}
	f.setHook(onceFails("CompleteStep", true, unknown))
	if _, err := lease.Complete(within(t), 7); err != nil || f.count("CompleteStep") != 2 {
		t.Errorf("complete: %v, %d calls", err, f.count("CompleteStep"))
	}
	f.setHook(nil)
	if err := s.Close(within(t)); err != nil {
		t.Error(err)
	}
}

// A call that may not be done twice is not repeated when its outcome is unknown, and is when it was not done.
func TestUnsafeCalls(t *testing.T) {
	f, c, _ := cluster(t, 1)
	create := func() error {
		_, err := c.Namespaces.CreateNamespace(within(t), connect.NewRequest(&v1.CreateNamespaceRequest{Namespace: "n"}))
		return err
	}
	f.setHook(onceFails("CreateNamespace", false, refuse(v1.Code_CODE_UNKNOWN_OUTCOME, "lost")))
	if err := create(); !client.IsUnknownOutcome(err) || f.count("CreateNamespace") != 1 {
		t.Errorf("unknown: %v, %d calls", err, f.count("CreateNamespace"))
	}
	for _, code := range []v1.Code{v1.Code_CODE_NO_LEADER, v1.Code_CODE_OVERLOADED, v1.Code_CODE_UNAVAILABLE} {
		before := f.count("CreateNamespace")
		f.setHook(onceFails("CreateNamespace", false, refuse(code, "not done")))
		if err := create(); connect.CodeOf(err) != connect.CodeUnimplemented || f.count("CreateNamespace") != before+2 {
			t.Errorf("%s: %v, %d calls", code, err, f.count("CreateNamespace")-before)
		}
	}
}

// A call without a server waits no longer than its context, and says what was wrong.
func TestCallEndsWithContext(t *testing.T) {
	_, c, servers := cluster(t, 2)
	servers[0].Close()
	servers[1].Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := c.Get(ctx, "a")
	if code := connect.CodeOf(err); code != connect.CodeUnavailable && code != connect.CodeDeadlineExceeded {
		t.Errorf("got %v", err)
	}
}

// A refusal is an answer: it comes at once, with all that it says, and is still the error of the call.
func TestRefusal(t *testing.T) {
	f, c, _ := cluster(t, 1)
	_, err := c.Wait(within(t), "nobody")
	refusal, ok := client.AsRefusal(err)
	if !ok || refusal.Code != v1.Code_CODE_INSTANCE_NOT_FOUND || !client.IsNotFound(err) || f.count("WaitInstance") != 1 {
		t.Errorf("got %v, %d calls", err, f.count("WaitInstance"))
	}
	if got := refusal.Error(); got != "INSTANCE_NOT_FOUND: no instance nobody" {
		t.Errorf("it reads %q", got)
	}
	if client.IsFenced(errors.New("other")) || client.IsNotFound(nil) {
		t.Error("an error that is none of ours was taken for one")
	}
}
