package sim

import (
	"slices"
	"testing"
	"time"
)

// Time never goes back, and what is due at one time happens in the order in which it was made.
func TestEventsHappenInTheirOrder(t *testing.T) {
	var c clock
	d := newDraws(1, "test")
	type mark struct {
		at   time.Duration
		made int
	}
	var last mark
	made := 0
	var add func(n int)
	add = func(n int) {
		for range n {
			made++
			me := mark{c.now + time.Duration(d.IntN(50)), made}
			c.after(me.at-c.now, func() {
				if c.now != me.at || me.at < last.at || me.at == last.at && me.made < last.made {
					t.Fatalf("event %+v behind %+v at %d", me, last, c.now)
				}
				last = me
				if made < 20_000 {
					add(d.IntN(3))
				}
			})
		}
	}
	add(500)
	for c.step() {
	}
	if made < 500 {
		t.Fatal("nothing happened")
	}
}

// A paused process does everything late and in order; a crashed one does nothing of its life, and hears what comes later.
func TestPausesAndCrashes(t *testing.T) {
	var c clock
	p := &process{up: true, rate: 1}
	var did []string
	say := func(s string) func() { return func() { did = append(did, s) } }
	c.pause(p, 10)
	c.by(p, 3, say("b"))
	c.by(p, 2, say("a"))
	c.after(5, say("world"))
	c.after(11, func() { p.life++ })
	c.by(p, 12, say("lost"))
	c.to(p, 12, say("heard"))
	for c.step() {
	}
	want := []string{"world", "a", "b", "heard"}
	if len(did) != len(want) {
		t.Fatalf("did %v", did)
	}
	for i := range want {
		if did[i] != want[i] {
			t.Fatalf("did %v, want %v", did, want)
		}
	}
}

// A pause that ends early is over then, and not when it would have been: what it held does not wait for that.
func TestAPauseThatEndsEarlyHoldsNothing(t *testing.T) {
	var c clock
	p := &process{up: true, rate: 1}
	var did []time.Duration
	say := func() { did = append(did, c.now) }
	c.pause(p, 100)
	c.by(p, 2, say)
	c.to(p, 3, say)
	c.by(p, 30, say)
	c.after(10, func() { c.pause(p, c.now) })
	for c.step() {
	}
	if want := []time.Duration{10, 10, 30}; !slices.Equal(did, want) {
		t.Fatalf("what was due at 2, 3 and 30 happened at %v, and the pause of 100 ended at 10", did)
	}
}
