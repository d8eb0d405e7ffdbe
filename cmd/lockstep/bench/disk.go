package bench

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"
)

// fsyncTime is the median time of 200 appends of 4 KiB, each with its fdatasync: what a durable write costs at least on
// the disk of a directory.
func fsyncTime(dir string) (_ time.Duration, err error) {
	file, err := os.CreateTemp(dir, "lockstep-bench-fsync-")
	if err != nil {
		return 0, fmt.Errorf("measure fsync: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	block := make([]byte, 4096)
	took := make([]time.Duration, 200)
	for i := range took {
		began := time.Now()
		if _, err := file.Write(block); err != nil {
			return 0, fmt.Errorf("measure fsync: %w", err)
		}
		if err := syscall.Fdatasync(int(file.Fd())); err != nil {
			return 0, fmt.Errorf("measure fsync: %w", err)
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}
