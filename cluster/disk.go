package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/lockstep-dev/lockstep/cluster/logstore"
)

// failedFile in a data directory says that the node could not go on, and why. It is written if the disk still takes it.
const failedFile = "FAILED"

// markFailed leaves the reason for the next start. It does not wait for a disk that does not answer.
func markFailed(dir string, reason error) {
	mark := failedFile
	if diverged := (*divergence)(nil); errors.As(reason, &diverged) {
		mark = divergedFile
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = writeFile(filepath.Join(dir, mark), []byte(reason.Error()+"\n")) // the reason is told by Err as well
	}()
	select {
	case <-done:
	case <-time.After(500 * time.Millisecond):
	}
}

// AwaitDisk returns once a data directory's disk may be trusted with a place in the cluster, or with the context's
// error: at once when a probe is good and the node ended well the last time; else when the disk has been well for 30 s
// in a row. A node whose disk stalls or fails is thus not elected again as soon as somebody starts it again.
func AwaitDisk(ctx context.Context, dir string, logger hclog.Logger) error {
	health := logstore.Health{Probe: func() error { return logstore.Probe(dir) }}
	return awaitDisk(ctx, dir, health, logger)
}

func awaitDisk(ctx context.Context, dir string, health logstore.Health, logger hclog.Logger) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil // there is nothing yet; opening it says what is wrong
	}
	marker := filepath.Join(dir, failedFile)
	reason, err := os.ReadFile(marker)
	switch {
	case err == nil:
		logger.Warn("this node could not go on the last time; it joins in once the disk has been well for a while", "reason", strings.TrimSpace(string(reason)), "data", dir)
	case errors.Is(err, fs.ErrNotExist):
		once := health
		once.Steady = time.Nanosecond
		first, cancel := context.WithTimeout(ctx, max(health.Limit, 2*time.Second))
		err = once.Await(first, nil)
		cancel()
		if err == nil {
			return nil
		}
		logger.Warn("the disk is not well; this node joins in once it has been for a while", "error", err, "data", dir)
	default:
		return fmt.Errorf("look for a mark of failure: %w", err)
	}
	if err := health.Await(ctx, func(err error) { logger.Warn("the disk is not well", "error", err) }); err != nil {
		return fmt.Errorf("wait for the disk of %s: %w", dir, err)
	}
	if err := os.Remove(marker); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the mark of failure: %w", err)
	}
	return nil
}
