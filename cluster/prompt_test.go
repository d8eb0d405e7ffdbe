package cluster

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// A lost leader costs little more than the time in which it was not heard of, whatever raft's own timers are at: with the
// default ones less than half a second, with those of the LAN profile half of that. Of five nodes a majority must notice, one
// after the other. Now and then raft's own timer is in the way, and votes are split once.
func TestALostLeaderIsReplacedInTime(t *testing.T) {
	for _, x := range []struct {
		voters          int
		heartbeat, most time.Duration // of nine in ten
	}{
		{3, 400 * time.Millisecond, 500 * time.Millisecond},
		{3, 200 * time.Millisecond, 250 * time.Millisecond},
		{5, 400 * time.Millisecond, 600 * time.Millisecond},
	} {
		tweak := func(_ int, c *Config) { c.Heartbeat = x.heartbeat }
		inBubble(t, options{voters: x.voters, tweak: tweak}, func(t *testing.T, c *bubble) {
			c.put(create("first"))
			var outages []time.Duration
			for round := range 40 {
				time.Sleep(time.Duration(round) * 7 * time.Millisecond) // heartbeats and timers are anywhere
				i, _ := c.leader()
				lost := time.Now()
				c.cut(i)
				c.put(create(fmt.Sprint("round", round)))
				outages = append(outages, time.Since(lost))
				c.heal(i)
				c.agree()
			}
			slices.Sort(outages)
			if nine, most := outages[len(outages)*9/10], outages[len(outages)-1]; nine > x.most || most > 4*x.heartbeat {
				t.Errorf("%d voters, %s: %s", x.voters, x.heartbeat, outages)
			}
		})
	}
}

// Heartbeats that are late by less than the timeout cost no leader. After a cut of 200 ms the next comes some 350 ms after the
// last at most: raft sends one every 40 to 80 ms, and backs off for up to 80 ms by then from a member that it does not reach.
func TestALeaderThatIsHeardLateStays(t *testing.T) {
	inBubble(t, options{voters: 3}, func(t *testing.T, c *bubble) {
		c.put(create("first"))
		i, n := c.leader()
		term := c.group(i).raft.CurrentTerm()
		for range 20 {
			c.cut(i)
			time.Sleep(200 * time.Millisecond)
			c.heal(i)
			time.Sleep(200 * time.Millisecond)
		}
		if j, now := c.leader(); now != n || c.group(j).raft.CurrentTerm() != term {
			t.Errorf("node %d leads in term %d, after node %d in term %d", j, c.group(j).raft.CurrentTerm(), i, term)
		}
	})
}

// Followers differ in rank, and agree on it; who is not asked for a vote has none.
func TestRanksOfFollowers(t *testing.T) {
	voters := []raft.Server{{ID: "c"}, {ID: "a"}, {ID: "d"}, {ID: "b"}}
	for _, x := range []struct {
		node  raft.ServerID
		rank  int
		voter bool
	}{{"a", 0, true}, {"c", 1, true}, {"d", 2, true}, {"x", 3, false}} {
		before, voter := rankOf(x.node, "b", voters)
		if voter != x.voter || voter && len(before) != x.rank {
			t.Errorf("%s: after %v, votes: %t", x.node, before, voter)
		}
	}
}

// Of those that follow a lost leader some lack entries that others have, and get no vote from these: they cost no time,
// whoever notices first, in nine of ten cases. Votes of five are split now and then, which costs an election timeout.
func TestALostLeaderIsReplacedInTimeByWhoHasMost(t *testing.T) {
	for voters, bound := range map[int]time.Duration{3: 550 * time.Millisecond, 5: 650 * time.Millisecond} {
		inBubble(t, options{voters: voters}, func(t *testing.T, c *bubble) {
			c.put(create("first"))
			var outages []time.Duration
			first := map[bool]int{} // by whether who notices first is behind
			for round := range 100 {
				time.Sleep(time.Duration(round) * 7 * time.Millisecond)
				lead, _ := c.leader()
				followers := slices.DeleteFunc(c.indices(), func(i int) bool { return i == lead })
				behind := (voters - 1) / 2
				for k := range behind {
					c.inner[lead].Disconnect(raft.ServerAddress(c.address(followers[(round+k)%len(followers)])))
				}
				c.put(create(fmt.Sprint("round", round)))
				first[c.group(followers[0]).raft.LastIndex() < c.group(lead).raft.LastIndex()]++
				lost := time.Now()
				c.cut(lead)
				c.put(create(fmt.Sprint("after", round)))
				outages = append(outages, time.Since(lost))
				c.heal(lead)
				c.agree()
			}
			slices.Sort(outages)
			t.Logf("%d voters: p50 %s, p90 %s, most %s", voters, outages[50], outages[90], outages[99])
			if first[true] < 20 || first[false] < 20 {
				t.Errorf("who notices first was behind or not: %v", first)
			}
			if nine, most := outages[len(outages)*9/10], outages[len(outages)-1]; nine > bound || most > 1600*time.Millisecond {
				t.Errorf("%d voters: %s", voters, outages)
			}
		})
	}
}

// Who hears that one before it campaigns does not wait for that one, if the majority needs it. The others wait their time.
func TestWhoHearsACampaignJoinsIt(t *testing.T) {
	all := []raft.ServerID{"a", "b", "c", "d"}
	for _, x := range []struct {
		voters, rank int
		campaigned   []raft.ServerID
		waits        int
	}{
		{3, 0, nil, 0},
		{3, 1, nil, 1},
		{3, 1, all[:1], 0},
		{5, 2, all[:1], 1},
		{5, 2, all[1:2], 1},
		{5, 2, all[:2], 0},
		{5, 2, all[3:], 2},
		{5, 3, all[:3], 3},
		{4, 2, all[:2], 0},
	} {
		campaigned := func(id raft.ServerID) bool { return slices.Contains(x.campaigned, id) }
		if waits := waitsFor(all[:x.rank], x.voters, campaigned); waits != x.waits {
			t.Errorf("of %d voters, the one after %v waits for %d when %v campaign, want %d", x.voters, all[:x.rank], waits, x.campaigned, x.waits)
		}
	}
}
