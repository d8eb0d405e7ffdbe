package logstore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestProbe(t *testing.T) {
	dir := t.TempDir()
	if err := Probe(dir); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("the probe left %v: %v", left, err)
	}
	if err := Probe(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("probe of no directory: %v", err)
	}
}

func TestAwaitHealth(t *testing.T) {
	broken := errors.New("input/output error")
	bad := func(from, to time.Duration, how func() error) func() func() error {
		return func() func() error {
			began := time.Now()
			return func() error {
				if after := time.Since(began); after >= from && after < to {
					return how()
				}
				return nil
			}
		}
	}
	for what, c := range map[string]struct {
		probe    func() func() error
		min, max time.Duration
	}{
		"well":                      {bad(0, 0, nil), 30 * time.Second, 32 * time.Second},
		"broken at first":           {bad(0, 10*time.Second, func() error { return broken }), 39 * time.Second, 42 * time.Second},
		"broken again near the end": {bad(28*time.Second, 29500*time.Millisecond, func() error { return broken }), 58 * time.Second, 62 * time.Second},
		"stuck for a minute":        {bad(0, time.Second, func() error { time.Sleep(time.Minute); return nil }), 89 * time.Second, 94 * time.Second},
		"slow for a minute":         {bad(0, time.Minute, func() error { time.Sleep(3 * time.Second); return nil }), 88 * time.Second, 96 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			if err := (Health{Probe: c.probe()}).Await(t.Context(), nil); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			if took := time.Since(began); took < c.min || took > c.max {
				t.Errorf("%s: took %s, should be %s to %s", what, took, c.min, c.max)
			}
		})
	}
}

// A disk that does not come back is waited for no longer than the context allows, also when a probe is stuck for good.
func TestAwaitHealthGivesUp(t *testing.T) {
	broken := errors.New("input/output error")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var told int
		err := Health{Probe: func() error { return broken }}.Await(ctx, func(error) { told++ })
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, broken) || told < 50 {
			t.Errorf("a broken disk: told %d times, %v", told, err)
		}
		resume := make(chan struct{})
		ctx2, cancel2 := context.WithTimeout(t.Context(), time.Minute)
		defer cancel2()
		began := time.Now()
		var started atomic.Int32
		err = Health{Probe: func() error { started.Add(1); <-resume; return nil }}.Await(ctx2, nil)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute || started.Load() != 1 {
			t.Errorf("a stuck disk: %d probes in %s, %v", started.Load(), time.Since(began), err)
		}
		close(resume)
	})
}
