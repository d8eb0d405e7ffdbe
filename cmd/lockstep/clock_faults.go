//go:build faults

package main

import (
	"os"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/lockstep-dev/lockstep/jepsen/lab/clock"
)

// wallClock is one that a file moves, in a build made for that: a static binary cannot be fooled from outside. Without
// the file, which is named by the environment, it is the machine's.
func wallClock(logger hclog.Logger) func() int64 {
	path := os.Getenv(clock.File)
	if path == "" {
		return nil
	}
	logger.Warn("the wall clock of this build can be moved", "by", path)
	var last clock.Fault
	return func() int64 {
		now := time.Now()
		f, err := clock.Read(path)
		if err != nil {
			logger.Error("the wall clock cannot be moved", "error", err)
			return now.UnixNano()
		}
		if f != last {
			last = f
			logger.Warn(clock.Moved, "offset", f.Offset, "rate", f.Rate)
		}
		return f.Wall(now)
	}
}
