package propose

import (
	"testing"
	"time"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

const ms = time.Millisecond

func lead(config Config) *Core {
	c := New(config)
	c.Lead(7, 0)
	return c
}

func TestTheFirstEntryOfATermIsATick(t *testing.T) {
	c := lead(Config{})
	b := c.Next(0, 0, Clock{})
	if b == nil || !b.Entry.Tick || b.Entry.Header.Term != 7 || b.Entry.Header.Elapsed != 0 {
		t.Fatalf("the first entry is %v", b)
	}
	if b := c.Next(time.Hour, 0, Clock{}); b != nil {
		t.Fatalf("a cluster without deadlines proposes %v", b.Entry)
	}
}

func TestATickDoesNotOvertakeWhatWasReceived(t *testing.T) {
	c := lead(Config{MaxCommands: 2})
	for i := range 5 {
		c.Command(&logv1.Command{}, i)
	}
	c.Renew(&logv1.Renewal{Session: 1}, "old")
	c.Renew(&logv1.Renewal{Session: 1, Tokens: []int64{3}}, "new")
	var ticks []bool
	for range 3 {
		b := c.Next(0, 0, Clock{})
		ticks = append(ticks, b.Entry.Tick)
		if len(ticks) == 1 && (len(b.Entry.Renewals) != 1 || b.Renewals[0] != "new" || b.Joined[0][0] != "old" || len(b.Entry.Renewals[0].Tokens) != 1) {
			t.Fatalf("the renewals of the first entry are %v for %v", b.Entry.Renewals, b.Renewals)
		}
	}
	if ticks[0] || ticks[1] || !ticks[2] {
		t.Fatalf("ticks are in entries %v of five commands in pairs", ticks)
	}
}

func TestAPausedLeaderCountsLittle(t *testing.T) {
	c := lead(Config{})
	c.Next(0, 0, Clock{})
	c.Sample(50 * ms)
	c.Sample(60 * time.Second)
	c.Barrier("read")
	b := c.Next(60*time.Second, 0, Clock{})
	if got := time.Duration(b.Entry.Header.Elapsed); got != 300*ms {
		t.Fatalf("a pause of a minute counted %s", got)
	}
}

func TestEntriesWhileTimeMatters(t *testing.T) {
	for name, x := range map[string]struct {
		clock Clock
		want  time.Duration
	}{
		"a session lives": {Clock{Sessions: 1}, 250 * ms},
		"a deadline":      {Clock{Deadline: int64(3 * time.Second)}, 3 * time.Second},
		"one far away":    {Clock{Deadline: int64(time.Hour)}, time.Minute},
		"one overdue":     {Clock{Deadline: 1, Uptime: 5}, ms},
	} {
		c := lead(Config{})
		c.Next(0, 0, x.clock)
		if got := c.Wait(0, x.clock); got != x.want {
			t.Errorf("%s: the next entry in %s, want %s", name, got, x.want)
		}
		if c.Next(x.want-1, 0, x.clock) != nil || c.Next(x.want, 0, x.clock) == nil {
			t.Errorf("%s: not at %s", name, x.want)
		}
	}
}

func TestBounds(t *testing.T) {
	c := lead(Config{MaxInFlight: 2, MaxQueued: 3})
	for i := range 3 {
		if !c.Command(&logv1.Command{}, i) {
			t.Fatal("refused below the bound")
		}
	}
	if c.Command(&logv1.Command{}, 4) {
		t.Fatal("taken above the bound")
	}
	c.Next(0, 0, Clock{})
	c.Barrier(1)
	c.Next(0, 0, Clock{})
	c.Barrier(2)
	if c.Next(0, 0, Clock{}) != nil {
		t.Fatal("a third entry in flight")
	}
	c.Done()
	if b := c.Next(0, 0, Clock{}); b == nil || b.Barriers[0] != 2 {
		t.Fatal("no entry when one has landed")
	}
}

func TestLosingGivesBackWhatWasNotProposed(t *testing.T) {
	c := lead(Config{})
	c.Command(&logv1.Command{}, "a")
	c.Next(0, 0, Clock{})
	c.Command(&logv1.Command{}, "b")
	c.Renew(&logv1.Renewal{Session: 1}, "c")
	c.Barrier("d")
	if back := c.Lose(); len(back) != 3 || back[0] != "b" {
		t.Fatalf("given back: %v", back)
	}
	if c.Next(0, 0, Clock{}) != nil {
		t.Fatal("proposes without leading")
	}
}
