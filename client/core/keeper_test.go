package core

import (
	"slices"
	"testing"
	"time"
)

const ttl = 10 * time.Second

func expect(t *testing.T, k *Keeper, now time.Duration, act Act, at time.Duration) {
	t.Helper()
	if a, when := k.Step(now); a != act || when != at {
		t.Fatalf("at %s: act %d at %s, want %d at %s", now, a, when, act, at)
	}
}

// A session is renewed every third of its TTL, counted from when the renewal was sent.
func TestKeeperRenews(t *testing.T) {
	k := NewKeeper(ttl, 0)
	expect(t, k, 0, Wait, ttl/3)
	expect(t, k, ttl/3, Renew, ttl/3)
	k.Renewed(ttl, ttl/3, ttl/3+time.Second)
	expect(t, k, ttl/3+time.Second, Wait, 2*(ttl/3))
}

// The deadline is the sending time plus the TTL, less 200 ms and a thousandth of the TTL, whenever the answer came.
func TestKeeperDeadline(t *testing.T) {
	k := NewKeeper(ttl, 0)
	if want := ttl - 210*time.Millisecond; k.Deadline() != want {
		t.Fatalf("deadline is %s, want %s", k.Deadline(), want)
	}
	k.Renewed(ttl, 3*time.Second, 9*time.Second)
	if want := 13*time.Second - 210*time.Millisecond; k.Deadline() != want {
		t.Fatalf("deadline is %s, want %s", k.Deadline(), want)
	}
	k.Renewed(ttl, time.Second, 10*time.Second)
	if want := 13*time.Second - 210*time.Millisecond; k.Deadline() != want {
		t.Fatalf("an old answer moved the deadline back to %s", k.Deadline())
	}
}

// While renewals fail they are tried again, at most a sixth of the TTL apart, until the deadline ends it for good: also for
// an answer that comes after.
func TestKeeperExpires(t *testing.T) {
	k := NewKeeper(ttl, 0)
	now, tries := ttl/3, 0
	for {
		act, at := k.Step(now)
		if act == Expire {
			break
		}
		if act == Wait {
			if gap := at - now; gap > ttl/6 || gap > max((k.Deadline()-now)/2, ttl/96) {
				t.Fatalf("at %s: waits %s, more than a sixth of the TTL or half of what is left", now, gap)
			}
			now = at
			continue
		}
		tries++
		k.Failed(now, 0)
	}
	if now != k.Deadline() || tries < 5 {
		t.Fatalf("expired at %s after %d tries, deadline %s", now, tries, k.Deadline())
	}
	k.Renewed(ttl, now-time.Second, now)
	if act, _ := k.Step(now); act != Expire {
		t.Fatal("a late answer revived the session")
	}
	if act, _ := k.Step(0); act != Expire {
		t.Fatal("the session came back")
	}
}

func TestKeeperTokens(t *testing.T) {
	k := NewKeeper(ttl, 0)
	k.Hold(5)
	k.Hold(3)
	k.Hold(9)
	k.Drop(5)
	k.Drop(77)
	if got := k.Tokens(); !slices.Equal(got, []int64{3, 9}) {
		t.Fatalf("tokens are %v", got)
	}
}

// Request ids increase; the lowest unanswered one moves on only when all below are answered.
func TestKeeperRequests(t *testing.T) {
	k := NewKeeper(ttl, 0)
	request := func(wantID, wantLowest int64) {
		t.Helper()
		if id, lowest := k.Request(); id != wantID || lowest != wantLowest {
			t.Fatalf("request %d, lowest %d; want %d and %d", id, lowest, wantID, wantLowest)
		}
	}
	request(1, 1)
	request(2, 1)
	k.Answered(2)
	request(3, 1)
	k.Answered(1)
	k.Answered(1)
	request(4, 3)
	k.Answered(3)
	k.Answered(4)
	request(5, 5)
}

func TestMargin(t *testing.T) {
	for ttl, want := range map[time.Duration]time.Duration{
		time.Hour: 3800 * time.Millisecond, time.Second: 201 * time.Millisecond, 200 * time.Millisecond: 100 * time.Millisecond,
	} {
		if got := Margin(ttl); got != want {
			t.Errorf("margin of %s is %s, want %s", ttl, got, want)
		}
	}
}
