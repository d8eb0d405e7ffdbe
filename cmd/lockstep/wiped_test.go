package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A node whose disk is lost, and that is started again under the same flags at the same addresses, is another node: the
// cluster does not count it for the voter that it was, whose votes and log it has forgotten, until that one is removed
// and it is added.
func TestANodeWithoutItsDiskIsNotTheVoterItWas(t *testing.T) {
	h := newHurt(t, 3)
	lead := h.leader()
	wiped := lead%3 + 1
	old := h.status(wiped)
	ctx, stop := context.WithCancel(t.Context())
	defer h.tasks.Wait()
	defer stop()
	p := h.pulse(ctx)
	h.kill(wiped)
	if err := os.RemoveAll(h.Data(wiped)); err != nil {
		t.Fatal(err)
	}
	h.start(wiped)
	h.until("the leader is told that another node is there", func() bool { return h.logged(lead, "is node node-"+string(rune('0'+wiped))) })
	from := time.Now()
	h.until("work goes on meanwhile", func() bool {
		_, longest := p.outage(from, time.Now())
		return longest < time.Second && time.Since(from) > time.Second
	})
	fresh := h.status(wiped)
	if g := fresh.Groups[0]; fresh.NodeId == old.NodeId || g.LastLogIndex != 0 || len(g.Members) != 0 {
		t.Errorf("the empty node took part: %v, and it was %s", fresh, old.NodeId)
	}
	if err := h.anywhere(ctx, 5*time.Second, func(ctx context.Context, s *services) error {
		_, err := s.cluster.RemoveMember(ctx, connect.NewRequest(&v1.RemoveMemberRequest{NodeId: old.NodeId}))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	h.until("the new node votes", func() bool {
		for _, m := range h.status(lead).Groups[0].Members {
			if m.NodeId == fresh.NodeId && m.Voter {
				return true
			}
		}
		return false
	})
}

// status asks a node until it answers.
func (h *hurt) status(number int) (out *v1.GetStatusResponse) {
	h.t.Helper()
	h.until("a status", func() bool {
		ctx, cancel := context.WithTimeout(h.t.Context(), time.Second)
		defer cancel()
		res, err := h.services(number-1).cluster.GetStatus(ctx, connect.NewRequest(&v1.GetStatusRequest{}))
		if err == nil && len(res.Msg.Groups) > 0 {
			out = res.Msg
		}
		return out != nil
	})
	return out
}

// Two of three nodes are lost for good; the third is recovered by one command and goes on, and the others join it anew.
func TestANodeIsRecoveredAlone(t *testing.T) {
	h := newHurt(t, 3)
	lead := h.leader()
	c := &cli{servers: h.APIs()}
	if _, err := c.registerSource(t.Context(), []byte("workflow: w\nsteps: {a: {queue: q}}\n"), 0); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	writers, total := h.write(ctx, "w", 0)
	h.until("writing", func() bool { return total() > 200 })
	stop()
	h.tasks.Wait()
	for _, n := range h.Nodes {
		h.kill(n.Number)
	}
	for _, n := range h.Nodes {
		if n.Number != lead {
			if err := os.RemoveAll(h.Data(n.Number)); err != nil {
				t.Fatal(err)
			}
		}
	}
	recovering := []string{"member", "recover", "--data", h.Data(lead), "--peer-listen", h.Nodes[lead-1].Peer}
	var out, errs bytes.Buffer
	if code := run(t.Context(), recovering, &bytes.Buffer{}, &out, &errs); code != 2 || !strings.Contains(errs.String(), "--yes") {
		t.Errorf("without --yes: status %d: %s", code, &errs)
	}
	if code := run(t.Context(), append(recovering, "--yes"), &bytes.Buffer{}, &out, &errs); code != 0 || !strings.Contains(out.String(), "the only voter") {
		t.Fatalf("status %d: %s%s", code, &out, &errs)
	}
	h.start(lead)
	if again := h.leader(); again != lead {
		t.Fatalf("node %d leads", again)
	}
	h.nothingIsLost(c, writers)
	for _, n := range h.Nodes {
		if n.Number != lead {
			h.start(n.Number)
		}
	}
	h.until("the others vote", func() bool {
		voters := 0
		for _, m := range h.status(lead).Groups[0].Members {
			if m.Voter {
				voters++
			}
		}
		return voters == 3
	})
}
