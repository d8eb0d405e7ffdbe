package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
	"github.com/lockstep-dev/lockstep/jepsen/require"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// sabotaged builds the program with the bugs in it.
func sabotaged(t *testing.T) (binary string) {
	t.Helper()
	if testing.Short() {
		t.Skip("SABOTAGE: NOT RUN: it builds the program once more, and -short was given")
	}
	binary = filepath.Join(t.TempDir(), "lockstep")
	if out, err := exec.CommandContext(t.Context(), require.Program(t, "go"), "build", "-trimpath", "-tags", "sabotage", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

// startWith starts a node with a bug of its own.
func (h *hurt) startWith(bug plant.Bug, number int) {
	h.t.Helper()
	h.t.Setenv("LOCKSTEP_PLANT", string(bug))
	h.start(number)
	if err := os.Unsetenv("LOCKSTEP_PLANT"); err != nil {
		h.t.Fatal(err)
	}
}

// renewals keeps sessions alive, often.
func (h *hurt) renewals(ctx context.Context, count int) {
	h.t.Helper()
	for range count {
		session, _, _, err := h.open(ctx, 10*time.Minute)
		if err != nil {
			h.t.Fatal(err)
		}
		h.tasks.Go(func() {
			for at := 0; ctx.Err() == nil; {
				// What fails is told by the nodes: this only gives them something to do.
				_ = h.from(ctx, &at, time.Second, func(ctx context.Context, s *services) error {
					_, err := s.workers.KeepAlive(ctx, connect.NewRequest(&v1.KeepAliveRequest{SessionId: session}))
					return err
				})
				select {
				case <-time.After(10 * time.Millisecond): // the holder's own rate
				case <-ctx.Done():
				}
			}
		})
	}
}

func TestDivergence(t *testing.T) {
	binary := sabotaged(t)
	t.Run("one node", func(t *testing.T) { oneNodeDiverges(t, binary) })
	t.Run("every node", func(t *testing.T) { everyNodeDiverges(t, binary) })
}

// oneNodeDiverges: a bug that changes the state of one node, and that no event and no answer shows. The node stops, and says
// why and what to do. The others go on with all that was acknowledged; the node does not start from its state again, and comes
// back without it.
func oneNodeDiverges(t *testing.T, binary string) {
	h := createHurt(t, 3)
	h.Binary = binary
	const bad = 1
	h.startWith(plant.LocalState, bad)
	h.start(2)
	h.start(3)
	h.leader()
	c := &cli{servers: h.APIs()}
	if _, err := c.registerSource(t.Context(), []byte("workflow: w\nsteps: {a: {queue: q}}\n"), 0); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer h.tasks.Wait()
	defer stop()
	h.renewals(ctx, 8)
	writers, total := h.write(ctx, "w", 10*time.Millisecond)
	old := h.status(bad).NodeId
	begin := time.Now()
	h.until("the node that diverged stops", func() bool { return !h.Running(bad) })
	t.Logf("it stopped after %s and %d writes", time.Since(begin).Round(10*time.Millisecond), total())
	if says := "the state of this node has diverged from that of a majority: at entry "; !h.logged(bad, says) {
		t.Errorf("it does not say %q", says)
	}
	h.until("the others go on", h.more(total, 500))
	h.startWith("", bad)
	h.until("it does not start from its state again", func() bool { return !h.Running(bad) && h.logged(bad, "does not start from the same state") })

	if err := os.RemoveAll(h.Data(bad)); err != nil {
		t.Fatal(err)
	}
	h.startWith("", bad)
	if err := h.anywhere(ctx, 10*time.Second, func(ctx context.Context, s *services) error {
		_, err := s.cluster.RemoveMember(ctx, connect.NewRequest(&v1.RemoveMemberRequest{NodeId: old}))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	h.until("it votes again, as another node", func() bool {
		s := h.status(bad)
		for _, m := range s.Groups[0].Members {
			if m.NodeId == s.NodeId && s.NodeId != old {
				return m.Voter
			}
		}
		return false
	})
	from := h.status(bad).Groups[0].AppliedIndex
	h.until("all go on beyond another checkpoint", func() bool { return h.status(bad).Groups[0].AppliedIndex > from+1024 })
	stop()
	h.tasks.Wait()
	for _, n := range h.Nodes {
		if !h.Running(n.Number) {
			t.Errorf("node %d stopped", n.Number)
		}
	}
	h.nothingIsLost(c, writers)
}

// everyNodeDiverges: a bug makes every node's state its own. All stop, for nobody can say whose state is right.
func everyNodeDiverges(t *testing.T, binary string) {
	h := createHurt(t, 3)
	h.Binary = binary
	for _, n := range h.Nodes {
		h.startWith(plant.LocalState, n.Number)
	}
	h.leader()
	c := &cli{servers: h.APIs()}
	if _, err := c.registerSource(t.Context(), []byte("workflow: w\nsteps: {a: {queue: q}}\n"), 0); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer h.tasks.Wait()
	defer stop()
	h.renewals(ctx, 8)
	h.write(ctx, "w", 10*time.Millisecond)
	for _, n := range h.Nodes {
		h.until(fmt.Sprintf("node %d stops", n.Number), func() bool { return !h.Running(n.Number) })
		log, err := os.ReadFile(h.Log(n.Number))
		if err != nil || !strings.Contains(string(log), "no majority agrees: at entry ") {
			t.Errorf("node %d stopped, and does not say that no majority agrees (%v)", n.Number, err)
		}
	}
}
