// Package clock has the wall clock of a process be wrong, as those of machines are: by a step, or by running too fast or
// too slow. A build with -tags faults reads from a file by how much; a static binary cannot be fooled from outside. Time
// by which things are measured is left alone: what runs in the wrong is the simulation's.
package clock

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"time"
)

// File is the variable of the environment that names the file.
const File = "LOCKSTEP_FAULT_CLOCK"

// Moved is what a process logs when it reads that its clock is another.
const Moved = "the wall clock was moved"

// Fault is what is wrong with a clock. The zero one is right.
type Fault struct {
	Offset time.Duration `json:"offset"`
	// Rate is by how much too fast it runs since a time, a negative one is too slow: 1 is twice as fast.
	Rate  float64 `json:"rate"`
	Since int64   `json:"since"` // unix nanoseconds
}

// Wall is what the clock shows, in unix nanoseconds.
func (f Fault) Wall(now time.Time) int64 {
	real := now.UnixNano()
	return real + int64(f.Offset) + int64(f.Rate*float64(real-f.Since))
}

// Read reads the fault of a file; without one the clock is right.
func Read(path string) (f Fault, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	return f, err
}

// Write has the clock that looks at a file be wrong from now on. It is seen whole or not at all.
func Write(path string, f Fault) error {
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
