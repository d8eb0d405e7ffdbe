package api

import (
	"errors"
	"io"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A lock's life over unary calls: held, waited for, released, granted, checked, revoked.
func TestALock(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	first, second := open(t, client), open(t, client)
	held := must(t, client.AcquireLock, &v1.AcquireLockRequest{SessionId: first, Lock: "l", Note: "migrating"})
	r := refusal(t, client.AcquireLock, &v1.AcquireLockRequest{SessionId: second, Lock: "l"})
	if r.Code != v1.Code_CODE_LOCK_HELD || r.Holder.GetSessionId() != first || r.Holder.Token != held.Token || r.Holder.Note != "migrating" {
		t.Errorf("a held lock is refused with %v", r)
	}
	waits := begun(t, t.Context(), client.AcquireLock, &v1.AcquireLockRequest{SessionId: second, Lock: "l", Wait: durationpb.New(time.Minute)})
	eventually(t, "somebody waits", func() bool { return must(t, client.GetLock, &v1.GetLockRequest{Lock: "l"}).Waiters == 1 })
	must(t, client.ReleaseLock, &v1.ReleaseLockRequest{Lock: "l", Token: held.Token})
	got := <-waits
	if got.err != nil || got.msg.Token <= held.Token {
		t.Fatalf("granted %v after %v", got, held)
	}
	for token, want := range map[int64]bool{held.Token: false, got.msg.Token: true} {
		if res := must(t, client.CheckToken, &v1.CheckTokenRequest{Token: token, Lock: "l"}); res.Holds != want {
			t.Errorf("token %d: %v", token, res)
		}
	}
	if locks := must(t, client.ListLocks, &v1.ListLocksRequest{Prefix: "l"}).Locks; len(locks) != 1 || len(locks[0].Holders) != 1 {
		t.Errorf("locks: %v", locks)
	}
	must(t, client.RevokeLease, &v1.RevokeLeaseRequest{Token: got.msg.Token, Reason: "by hand"})
	if r := refusal(t, client.ReleaseLock, &v1.ReleaseLockRequest{Lock: "l", Token: got.msg.Token}); r.Code != v1.Code_CODE_FENCED {
		t.Errorf("a revoked lock's release is refused with %v", r)
	}
}

type lockClient = connect.BidiStreamForClient[v1.LocksRequest, v1.LocksResponse]

func acquire(session, lock string, id int64, wait time.Duration) *v1.LocksRequest {
	return &v1.LocksRequest{Acquire: &v1.AcquireLockRequest{SessionId: session, Lock: lock, RequestId: id, Wait: durationpb.New(wait)}}
}

func release(lock string, token int64) *v1.LocksRequest {
	return &v1.LocksRequest{Release: &v1.ReleaseLockRequest{Lock: lock, Token: token}}
}

func askLocks(t *testing.T, stream *lockClient, requests ...*v1.LocksRequest) {
	t.Helper()
	for _, r := range requests {
		if err := stream.Send(r); err != nil {
			t.Fatal(err)
		}
	}
}

func answers(t *testing.T, stream *lockClient, n int) (out []*v1.LocksResponse) {
	t.Helper()
	for range n {
		r, err := stream.Receive()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// A stream does what it is asked in that order, so that a lock can be released and taken again without waiting for an
// answer; what waits holds nothing up.
func TestALockStreamKeepsItsOrder(t *testing.T) {
	t.Parallel()
	leader := serve(t, newOne(t))
	follower := newOne(t)
	follower.follow(leader)
	for name, address := range map[string]string{"leader": leader, "follower": serve(t, follower)} {
		client := dial(t, address)
		session, other := open(t, client), open(t, client)
		busy := must(t, client.AcquireLock, &v1.AcquireLockRequest{SessionId: other, Lock: "busy"})
		stream := client.Locks(t.Context())
		askLocks(t, stream, acquire(session, "busy", 1, time.Minute), acquire(session, name, 2, 0))
		first := answers(t, stream, 1)[0]
		if first.RequestId != 2 || first.Acquired == nil {
			t.Fatalf("%s: answered %v", name, first)
		}
		token := first.Acquired.Token
		for id := int64(3); id < 20; id++ {
			askLocks(t, stream, release(name, token), acquire(session, name, id, 0))
			both := answers(t, stream, 2)
			if both[0].Released == nil || both[1].Acquired == nil || both[1].RequestId != id {
				t.Fatalf("%s: answered %v", name, both)
			}
			token = both[1].Acquired.Token
		}
		must(t, client.ReleaseLock, &v1.ReleaseLockRequest{Lock: "busy", Token: busy.Token})
		if got := answers(t, stream, 1)[0]; got.RequestId != 1 || got.Acquired == nil || got.Lock != "busy" {
			t.Errorf("%s: what waited is answered with %v", name, got)
		}
		must(t, client.CloseSession, &v1.CloseSessionRequest{SessionId: session})
	}
}

// A client that has asked for all it wants ends its half, and hears the rest.
func TestALockStreamIsAnsweredToItsEnd(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	session, other := open(t, client), open(t, client)
	must(t, client.AcquireLock, &v1.AcquireLockRequest{SessionId: other, Lock: "busy"})
	stream := client.Locks(t.Context())
	askLocks(t, stream, acquire(session, "busy", 1, 50*time.Millisecond))
	if err := stream.CloseRequest(); err != nil {
		t.Fatal(err)
	}
	if got := answers(t, stream, 1)[0]; got.Refusal.GetCode() != v1.Code_CODE_WAIT_TIMEOUT {
		t.Errorf("answered %v", got)
	}
	if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ends with %v", err)
	}
}

// What a lock stream refuses, it refuses message by message.
func TestALockStreamRefuses(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	session := open(t, client)
	stream := client.Locks(t.Context())
	both := acquire(session, "l", 3, 0)
	both.Release = &v1.ReleaseLockRequest{Lock: "l", Token: 1}
	strange := acquire(session, "l", 4, 0)
	strange.Acquire.Namespace = "other"
	for _, x := range []struct {
		name string
		r    *v1.LocksRequest
		want v1.Code
	}{
		{"nothing", &v1.LocksRequest{}, v1.Code_CODE_INVALID},
		{"both", both, v1.Code_CODE_INVALID},
		{"another namespace", strange, v1.Code_CODE_INVALID},
		{"a long wait", acquire(session, "l", 5, time.Minute+1), v1.Code_CODE_INVALID},
		{"token 0", release("l", 0), v1.Code_CODE_INVALID},
		{"a token from the future", release("l", 1000), v1.Code_CODE_TOKEN_UNKNOWN},
		{"no session", acquire("", "l", 6, 0), v1.Code_CODE_INVALID},
	} {
		askLocks(t, stream, x.r)
		if got := answers(t, stream, 1)[0]; got.Refusal.GetCode() != x.want {
			t.Errorf("%s: %v", x.name, got)
		}
	}
}

// A stream waits for so many locks, and for no more.
func TestALockStreamWaitsForSoMany(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	session, other := open(t, client), open(t, client)
	must(t, client.AcquireLock, &v1.AcquireLockRequest{SessionId: other, Lock: "busy"})
	stream := client.Locks(t.Context())
	for range maxParked {
		askLocks(t, stream, acquire(session, "busy", 0, time.Minute))
	}
	eventually(t, "all wait", func() bool { return must(t, client.GetLock, &v1.GetLockRequest{Lock: "busy"}).Waiters == maxParked })
	askLocks(t, stream, acquire(session, "busy", 0, time.Minute))
	if got := answers(t, stream, 1)[0]; got.Refusal.GetCode() != v1.Code_CODE_OVERLOADED {
		t.Errorf("answered %v", got)
	}
	askLocks(t, stream, acquire(session, "free", 0, 0))
	if got := answers(t, stream, 1)[0]; got.Acquired == nil {
		t.Errorf("answered %v", got)
	}
	must(t, client.CloseSession, &v1.CloseSessionRequest{SessionId: session})
}
