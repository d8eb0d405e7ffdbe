package cluster

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockstep-dev/lockstep/cluster/propose"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func TestWhatIsAcknowledgedIsReadOnTheNextLeader(t *testing.T) {
	inBubble(t, options{voters: 3}, func(t *testing.T, c *bubble) {
		for round := range 2 {
			name := fmt.Sprint("a", round)
			c.put(create(name))
			i, old := c.leader()
			if got := c.names(old); !got[name] {
				t.Fatalf("the leader has %v", got)
			}
			for _, n := range c.nodes {
				if n == nil || n == old {
					continue
				}
				if _, err := n.Propose(t.Context(), create("x")); code(err) != v1.Code_CODE_NO_LEADER {
					t.Fatalf("a follower answered %v", err)
				}
			}
			if round == 0 {
				c.stop(i)
			}
		}
		_, n := c.leader()
		if got := c.names(n); !got["a0"] || !got["a1"] {
			t.Fatalf("the next leader has %v", got)
		}
	})
}

// far takes its time, with each member another: when one has an entry, and is handed leadership, a majority has not.
type far struct{ *raft.InmemTransport }

func (f far) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	time.Sleep(time.Duration(1+5*int(id[1]-'0')) * time.Millisecond)
	return f.InmemTransport.AppendEntries(id, target, args, resp)
}

// A planned transfer leaves no call's outcome open, also under load, and takes little time.
func TestATransferLeavesNothingOpen(t *testing.T) {
	o := options{voters: 5, wrap: func(_ int, t *raft.InmemTransport) raft.Transport { return far{t} }}
	inBubble(t, o, func(t *testing.T, c *bubble) {
		c.put(create("first"))
		stop := make(chan struct{})
		var load sync.WaitGroup
		for worker := range 8 {
			load.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					_, n := c.leader()
					_, err := n.Propose(t.Context(), create(fmt.Sprintf("w%d-%d", worker, i)))
					if err != nil && code(err) != v1.Code_CODE_NO_LEADER {
						t.Errorf("a call failed in a transfer: %v", err)
					}
					time.Sleep(time.Millisecond)
				}
			})
		}
		for range 10 {
			time.Sleep(50 * time.Millisecond)
			_, n := c.leader()
			begun := time.Now()
			to, err := n.TransferLeadership(c.soon(10*time.Second), "")
			if err != nil || to == n.ID() {
				t.Errorf("handed over to %q: %v", to, err)
			}
			c.put(create(fmt.Sprint("after", begun.UnixNano())))
			if took := time.Since(begun); took > 200*time.Millisecond {
				t.Errorf("a transfer took %s to the next acknowledgement", took)
			}
		}
		close(stop)
		load.Wait()
		c.agree()
	})
}

func TestATransferThatFailsIsSaidAndGoesOn(t *testing.T) {
	inBubble(t, options{voters: 3}, func(t *testing.T, c *bubble) {
		c.put(create("a"))
		i, n := c.leader()
		other := (i + 1) % 3
		c.cut(other)
		c.put(create("b")) // the one that is away is behind
		if to, err := n.TransferLeadership(c.soon(10*time.Second), fmt.Sprint("n", other)); code(err) != v1.Code_CODE_UNAVAILABLE {
			t.Errorf("handed over to %q, which is away: %v", to, err)
		}
		if _, err := n.TransferLeadership(c.soon(time.Second), "nobody"); code(err) != v1.Code_CODE_MEMBER_NOT_FOUND {
			t.Errorf("handed over to nobody: %v", err)
		}
		c.put(create("c"))
		if _, self := n.Leader(""); !self {
			t.Error("the leader gave up leadership that nobody took")
		}
		time.Sleep(10 * time.Second) // the watch for a transfer that never ends must not take this for one
		if err := n.Err(); err != nil {
			t.Error(err)
		}
	})
}

// deaf delivers entries and loses the answers while it is on.
type deaf struct {
	*raft.InmemTransport
	on *atomic.Bool
}

func (d deaf) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	err := d.InmemTransport.AppendEntries(id, target, args, resp)
	if d.on.Load() {
		return fmt.Errorf("the answer is lost")
	}
	return err
}

// An entry whose leader was lost in the middle may be committed by the next: the caller is told that nobody knows.
func TestALeaderLostInTheMiddleLeavesTheOutcomeUnknown(t *testing.T) {
	on := make([]atomic.Bool, 3)
	o := options{voters: 3, wrap: func(i int, t *raft.InmemTransport) raft.Transport { return deaf{t, &on[i]} }}
	inBubble(t, o, func(t *testing.T, c *bubble) {
		c.put(create("a"))
		i, n := c.leader()
		on[i].Store(true)
		_, err := n.Propose(c.soon(time.Minute), create("maybe"))
		if code(err) != v1.Code_CODE_UNKNOWN_OUTCOME {
			t.Fatalf("answered %v", err)
		}
		on[i].Store(false)
		c.put(create("b"))
		_, n = c.leader()
		if got := c.names(n); !got["maybe"] {
			t.Fatal("the entry that followers had was not committed: this shows nothing")
		}
		c.agree()
	})
}

// Time does not wait for a leader to have nothing in hand: under a load that never lets its queue be empty a silent session
// ends in time, later than otherwise by no more than what was received before waits for the log.
func TestSessionsEndUnderLastingOverload(t *testing.T) {
	const callers, ttl = 64, 2 * time.Second
	o := options{
		voters: 3,
		wrap:   func(_ int, t *raft.InmemTransport) raft.Transport { return far{t} },
		tweak:  func(_ int, c *Config) { c.Propose = propose.Config{MaxCommands: 1, MaxInFlight: 1} },
	}
	inBubble(t, o, func(t *testing.T, c *bubble) {
		_, n := c.leader()
		ended := make(chan struct{})
		var load sync.WaitGroup
		for i := range callers {
			load.Go(func() {
				for {
					select {
					case <-ended:
						return
					default:
					}
					if _, err := n.Propose(t.Context(), create(fmt.Sprint("x", i))); err != nil {
						t.Errorf("a call failed: %v", err)
						return
					}
				}
			})
		}
		out, err := n.Propose(t.Context(), &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_OpenSession{OpenSession: &logv1.OpenSession{Ttl: int64(ttl)}}})
		if err != nil || out.Refusal != nil {
			t.Fatal(out.Refusal, err)
		}
		opened, lived := time.Now(), time.Duration(0)
		for alive := true; alive && lived < 5*ttl; lived = time.Since(opened) {
			time.Sleep(10 * time.Millisecond)
			alive = n.groups[theGroup].machine.current.Clock().Sessions > 0
		}
		close(ended)
		load.Wait()
		if lived < ttl || lived > ttl+time.Second {
			t.Errorf("the session lived for %s under load, with a ttl of %s", lived, ttl)
		}
	})
}
