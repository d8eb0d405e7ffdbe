package main

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

func TestAFaultGoesOnUntilItIsMet(t *testing.T) {
	for _, x := range []struct {
		name          string
		metAt, lasted time.Duration
		met           bool
	}{
		{"at once", 0, time.Second, true},
		{"late", 9 * time.Second, 9 * time.Second, true},
		{"never", time.Hour, time.Second + longest, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := &harm{chance: rand.New(rand.NewPCG(1, 1))}
			began := time.Now()
			met := h.until(t.Context(), time.Second, time.Second+1, func() bool { return time.Since(began) >= x.metAt })
			if lasted := time.Since(began); met != x.met || lasted < x.lasted || lasted > x.lasted+100*time.Millisecond {
				t.Errorf("%s: met %t after %s, want %t after %s", x.name, met, lasted, x.met, x.lasted)
			}
		})
	}
}

func TestAFaultEndsWithTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &harm{chance: rand.New(rand.NewPCG(1, 1))}
		ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
		defer stop()
		began := time.Now()
		if h.until(ctx, time.Second, time.Minute, func() bool { return false }) || time.Since(began) != 3*time.Second {
			t.Errorf("a fault that is not met ended %s after the run began, want with it", time.Since(began))
		}
	})
}

// A hand-over that was acknowledged is not asked for again while the new leader does not show yet.
func TestWhatIsAboutToShowIsWaitedFor(t *testing.T) {
	for _, x := range []struct{ at, lasted time.Duration }{{0, 0}, {time.Second, time.Second}, {time.Hour, showsWithin}} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			seen := shows(t.Context(), func() bool { return time.Since(began) >= x.at })
			if lasted := time.Since(began); seen != (x.at <= showsWithin) || lasted != x.lasted {
				t.Errorf("what shows after %s was seen: %t, after %s", x.at, seen, lasted)
			}
		})
	}
}
