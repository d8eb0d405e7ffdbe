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
	var asked []time.Duration
	for now := time.Duration(0); now < 10*time.Second; now += 10 * ms {
		if ask, _, again := d.Step(now, 0); ask {
			asked = append(asked, now)
		} else if again <= now {
			t.Fatalf("at %s look again at %s", now, again)
		}
	}
	if want := []time.Duration{500 * ms, 750 * ms, 1250 * ms, 2250 * ms, 4250 * ms, 6250 * ms, 8250 * ms}; !slices.Equal(asked, want) {
		t.Errorf("asked at %v, want %v", asked, want)
	}
	d.Heard(10 * time.Second)
	if ask, _, again := d.Step(10_400*ms, 0); ask || again != 10_500*ms || d.Silent(10_400*ms, 0) {
		t.Errorf("after an answer: ask %t, look again at %s", ask, again)
	}
	if ask, nth, _ := d.Step(10_500*ms, 0); !ask || nth != 0 || !d.Silent(10_500*ms, 0) {
		t.Errorf("silent again: ask %t, question %d", ask, nth)
	}
}

// A call that has only just been made says nothing of a server that was not asked for long.
func TestDoubtOfANewCall(t *testing.T) {
	d := &Doubt{}
	if ask, _, again := d.Step(time.Hour, time.Hour); ask || again != time.Hour+DoubtAfter {
		t.Errorf("ask %t, look again at %s", ask, again)
	}
}

// Many calls in doubt ask as often as one.
func TestCallsDoubtTogether(t *testing.T) {
	d, asks := &Doubt{}, 0
	for call := range 1000 {
		if ask, _, _ := d.Step(time.Second, time.Duration(call)*time.Microsecond); ask {
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
