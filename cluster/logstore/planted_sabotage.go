//go:build sabotage

package logstore

import (
	"os"
	"time"
)

// slowWriteCounts is a planted bug: a sync that takes longer than 300 ms is taken for done.
func slowWriteCounts(f *os.File) error {
	synced := make(chan error, 1)
	go func() { synced <- datasync(f) }()
	select {
	case err := <-synced:
		return err
	case <-time.After(300 * time.Millisecond):
		return nil
	}
}
