package logstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// probeSize is more than a page, and less than what a full disk has left for the reports of that.
const probeSize = 16 << 10

// Probe writes a small file in a directory durably, reads it back, and removes it. It lasts as long as the disk does:
// a stalled disk makes it wait without end.
func Probe(dir string) (err error) {
	f, err := os.CreateTemp(dir, "probe-*")
	if err != nil {
		return fmt.Errorf("probe disk: %w", err)
	}
	defer func() {
		if err = errors.Join(err, f.Close(), os.Remove(f.Name()), syncDir(dir)); err != nil {
			err = fmt.Errorf("probe disk: %w", err)
		}
	}()
	want := bytes.Repeat([]byte(filepath.Base(f.Name())), probeSize/len(filepath.Base(f.Name())))
	if _, err := f.Write(want); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := f.ReadAt(got, 0); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errors.New("what was read is not what was written")
	}
	return nil
}

// Health is how a disk shows that it is well again: after a failure a node joins in only once each probe for a while
// was good, lest it lead again and stall again.
type Health struct {
	// Probe is Probe of the data directory. It runs in a goroutine of its own; one that is stuck is not started again,
	// and is left behind when Await returns.
	Probe func() error
	// Every is the time between two probes: 1 s. Limit is how long one may take: 2 s. Steady is how long all of them
	// must have been good: 30 s.
	Every, Limit, Steady time.Duration
}

// Await returns once the disk has been well for Steady, or with the context's error and the last of the disk's. told,
// if not nil, hears of each bad probe.
func (h Health) Await(ctx context.Context, told func(error)) error {
	h.Every, h.Limit, h.Steady = or(h.Every, time.Second), or(h.Limit, 2*time.Second), or(h.Steady, 30*time.Second)
	var last error
	var running *attempt
	for since := time.Now(); ; {
		if running == nil {
			running = h.start()
		}
		done, err := running.wait(ctx, h.Limit)
		if done {
			running = nil
		}
		switch {
		case ctx.Err() != nil:
			return errors.Join(ctx.Err(), last)
		case err != nil:
			last, since = err, time.Now()
			if told != nil {
				told(err)
			}
		case time.Since(since) >= h.Steady:
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(h.Every):
		}
	}
}

// attempt is one probe under way.
type attempt struct {
	began  time.Time
	answer chan error
}

func (h Health) start() *attempt {
	a := &attempt{time.Now(), make(chan error, 1)}
	go func() { a.answer <- h.Probe() }()
	return a
}

// wait waits for the answer, but not beyond the limit. One that came later is bad.
func (a *attempt) wait(ctx context.Context, limit time.Duration) (done bool, err error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err = <-a.answer:
		done = true
	case <-timer.C:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	if took := time.Since(a.began); err == nil && took >= limit {
		err = fmt.Errorf("probe disk: no answer within %s", took.Round(look))
	}
	return done, err
}

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}
