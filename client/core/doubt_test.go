package core

import (
	"slices"
	"testing"
	"time"
)

// While a server is silent others are asked, less and less often; an answer, to whichever call, ends the doubt.
func TestDoubt(t *testing.T) {
	const ms = time.Millisecond
	d := &Doubt{}
	d.Sent(1)
	var asked []time.Duration
	for now := time.Duration(1); now < 10*time.Second; now += 10 * ms {
		if ask, _, again := d.Step(now); ask {
			asked = append(asked, now-1)
		} else if again <= now {
			t.Fatalf("at %s look again at %s", now, again)
		}
	}
	if want := []time.Duration{500 * ms, 750 * ms, 1250 * ms, 2250 * ms, 4250 * ms, 6250 * ms, 8250 * ms}; !slices.Equal(asked, want) {
		t.Errorf("asked at %v, want %v", asked, want)
	}
	d.Heard(10 * time.Second)
	if ask, _, again := d.Step(10_400 * ms); ask || again != 10_500*ms || d.Silent(10_400*ms) {
		t.Errorf("after an answer: ask %t, look again at %s", ask, again)
	}
	if ask, nth, _ := d.Step(10_500 * ms); !ask || nth != 0 || !d.Silent(10_500*ms) {
		t.Errorf("silent again: ask %t, question %d", ask, nth)
	}
}

// A call says nothing of a server that was not asked for long, nor of one that has answered; calls that are given up one
// after the other say as much as one that waits.
func TestDoubtOfANewCall(t *testing.T) {
	const ms = time.Millisecond
	for _, x := range []struct {
		name   string
		before func(*Doubt)
		silent bool
	}{
		{"never asked", func(*Doubt) {}, false},
		{"given up just now", func(d *Doubt) { d.Sent(100 * ms); d.Ended(500 * ms); d.Sent(520 * ms); d.Ended(920 * ms) }, true},
		{"answered just now", func(d *Doubt) { d.Sent(100 * ms); d.Ended(900 * ms); d.Heard(900 * ms) }, false},
		{"answered, and given up since", func(d *Doubt) {
			d.Sent(100 * ms)
			d.Ended(500 * ms)
			d.Heard(500 * ms)
			d.Sent(600 * ms)
			d.Ended(900 * ms)
		}, false},
		{"given up long ago", func(d *Doubt) { d.Sent(100 * ms); d.Ended(200 * ms) }, false},
	} {
		d := &Doubt{}
		x.before(d)
		d.Sent(1000 * ms)
		if d.Silent(1001*ms) != x.silent {
			t.Errorf("%s: silent is %t", x.name, !x.silent)
		}
	}
}

// Many calls in doubt ask as often as one.
func TestCallsDoubtTogether(t *testing.T) {
	d, asks := &Doubt{}, 0
	for call := range 1000 {
		d.Sent(time.Duration(call+1) * time.Microsecond)
	}
	for range 1000 {
		if ask, _, _ := d.Step(time.Second); ask {
			asks++
		}
	}
	if asks != 1 {
		t.Errorf("asked %d times", asks)
	}
}

func TestASilentServerIsLeftForTheLeaderAlone(t *testing.T) {
	for _, x := range []struct {
		name, silent, leader string
		moved                bool
		server               string
	}{
		{"another leads", "a", "b", true, "b"},
		{"it leads: it is slow", "a", "a", false, "a"},
		{"nobody is known to lead", "a", "", false, "a"},
		{"we were not told of the leader", "a", "x", false, "a"},
		{"it was left already", "c", "b", false, "a"},
	} {
		f := NewFailover([]string{"a", "b", "c"})
		if moved := f.Moved(x.silent, x.leader); moved != x.moved || f.Server() != x.server {
			t.Errorf("%s: moved %t, to %q", x.name, moved, f.Server())
		}
	}
}
