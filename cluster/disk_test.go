package cluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/lockstep-dev/lockstep/cluster/logstore"
)

// A node that failed stays out until its disk has been well for a while; one that ended well is let in at once.
func TestANodeThatFailedStaysOutUntilItsDiskIsWell(t *testing.T) {
	for name, x := range map[string]struct {
		failed   bool
		badUntil time.Duration
		want     time.Duration
	}{
		"ended well, disk well": {false, 0, 0},
		"failed, disk well":     {true, 0, 30 * time.Second},
		"failed, disk bad":      {true, 10 * time.Second, 39 * time.Second},
		"ended well, disk bad":  {false, 10 * time.Second, 39 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if x.failed {
				markFailed(dir, errors.New("the disk stalls"))
			}
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var probes atomic.Int32
				probe := func() error {
					probes.Add(1)
					if time.Since(began) < x.badUntil {
						return errors.New("bad")
					}
					return nil
				}
				if err := awaitDisk(t.Context(), dir, logstore.Health{Probe: probe}, hclog.NewNullLogger()); err != nil {
					t.Fatal(err)
				}
				if waited := time.Since(began); waited < x.want || waited > x.want+3*time.Second || probes.Load() == 0 {
					t.Errorf("it waited %s in %d probes, want about %s", waited, probes.Load(), x.want)
				}
			})
			if _, err := os.Stat(filepath.Join(dir, failedFile)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the mark stays: %v", err)
			}
		})
	}
}

func TestWaitingForADiskEndsWithTheContext(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		bad := logstore.Health{Probe: func() error { return errors.New("input/output error") }}
		if err := awaitDisk(ctx, dir, bad, hclog.NewNullLogger()); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("it ended with %v", err)
		}
	})
}
