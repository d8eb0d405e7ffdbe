package main

import (
	"context"
	"fmt"
	"time"

	"github.com/lockstep-dev/lockstep/jepsen/lab"
)

// replace takes a node's disk away: what comes back is a new node, and the old one is removed from the members.
func (h *harm) replace(ctx context.Context, n *lab.Node) (bool, error) {
	old := h.id(n)
	if err := h.lab.Wipe(n); err != nil {
		return false, err
	}
	limit, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	if err := h.removeMember(limit, old); err != nil {
		return false, fmt.Errorf("remove the member that is gone, %s: %w", old, err)
	}
	if err := h.ready(limit, n, 60*time.Second); err != nil {
		return false, err
	}
	return h.voter(limit, n)
}

// remove takes a node that is well from the members. It ends its work, and comes back as a new one.
func (h *harm) remove(ctx context.Context) (bool, error) {
	n := h.any()
	if n == nil || !n.Running() || h.status(n) == nil {
		return false, errBusy
	}
	limit, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	old := h.id(n)
	if err := h.removeMember(limit, old); err != nil {
		return false, fmt.Errorf("remove a member that is well, %s: %w", old, err)
	}
	h.last(ctx, 200*time.Millisecond, 2*time.Second)
	return h.replace(ctx, n)
}
