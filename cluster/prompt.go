package cluster

import (
	"time"

	"github.com/hashicorp/raft"
)

// prompt has this node campaign soon after it may, until the group ends. raft looks whether the leader was heard of when a
// timer of its own runs out, every one to two heartbeat timeouts: it notices that it was not by up to a whole one too
// late, and of three nodes both others must have noticed before either gets a pre-vote.
//
// The first campaigns an eighth of a timeout after it may: a leader that is cut off has stepped down by itself by then,
// and none is lost that would have stayed. The others follow a quarter of a timeout after each other, by rank: campaigns
// at the same time split the votes, which costs an election timeout. Those who still follow refuse; with whoever makes up
// the majority there is a leader at once. Whoever hears one before it campaign does not wait for that one any longer, if it
// is of those that make up a majority: one more would only split the votes.
func (g *group) prompt() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait := g.config.Heartbeat
		changed := g.leader.next("")
		if due, follows := g.campaignAt(); follows {
			if wait = time.Until(due); wait <= 0 {
				g.look()
				wait = g.config.Heartbeat
			}
		}
		timer.Reset(wait)
		asleep := time.Now().Add(wait)
		select {
		case <-changed:
		case <-g.canvass.heard:
		case <-timer.C:
		case <-g.end:
			return
		}
		if late := time.Since(asleep); late > g.config.Heartbeat/4 && !g.rest() {
			return
		}
	}
}

// rest lets what came in while this process did not run be read: the leader may be well.
func (g *group) rest() (goOn bool) {
	select {
	case <-time.After(g.config.Heartbeat / 4):
		return true
	case <-g.end:
		return false
	}
}

// campaignAt is when this node should campaign if it hears nothing more of the leader that it follows.
func (g *group) campaignAt() (due time.Time, follows bool) {
	_, leader := g.raft.LeaderWithID()
	if leader == "" || string(leader) == g.node {
		return time.Time{}, false
	}
	voters, heard := g.voters(), g.raft.LastContact()
	before, voter := rankOf(raft.ServerID(g.node), leader, voters)
	if !voter {
		return time.Time{}, false
	}
	waits := waitsFor(before, len(voters), func(id raft.ServerID) bool { return g.canvass.since(id, heard) })
	return heard.Add(time.Duration(9+2*waits) * g.config.Heartbeat / 8), true
}

// waitsFor is for how many of those before it a voter waits.
func waitsFor(before []raft.ServerID, voters int, campaigned func(raft.ServerID) bool) (waits int) {
	for _, id := range before {
		if len(before) > voters/2 || !campaigned(id) {
			waits++
		}
	}
	return waits
}

// rankOf is who comes before a voter among those that follow a leader: the same whoever counts.
func rankOf(node, leader raft.ServerID, voters []raft.Server) (before []raft.ServerID, voter bool) {
	for _, v := range voters {
		switch {
		case v.ID == node:
			voter = true
		case v.ID != leader && v.ID < node:
			before = append(before, v.ID)
		}
	}
	return before, voter
}

// look has raft look now. That its heartbeat timeout becomes shorter is what makes it: it is longer by next to nothing in
// between.
func (g *group) look() {
	for _, timeout := range [...]time.Duration{g.config.Heartbeat + time.Nanosecond, g.config.Heartbeat} {
		if err := g.tune(func(c *raft.ReloadableConfig) { c.HeartbeatTimeout = timeout }); err != nil {
			g.logger.Error("have raft look for its leader", "error", err) // it does so by itself, later
		}
	}
}
