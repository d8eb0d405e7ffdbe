package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// crash is the file that names a poisoned entry: it is written when applying one panics, named at the next start, and
// removed once a binary has applied the entry. A panic itself is never recovered: what diverged, or cannot be applied,
// must not be served. No entry is to blame for what the disk refused.
type crash struct {
	path   string // empty: the state is in memory
	index  uint64 // zero: none
	logger hclog.Logger
	failed <-chan struct{} // closed when the node cannot go on
	rest   func()          // waits for the end of the process
}

func (c *crash) open(path string) error {
	c.path = path
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read crash marker: %w", err)
	}
	if _, err := fmt.Sscanf(string(b), "entry %d:", &c.index); err != nil {
		c.index = 1 // the file was cut; whatever is applied next removes it
	}
	c.logger.Error("this node crashed in applying an entry, and will again unless this binary can apply it", "crash", strings.TrimSpace(string(b)), "file", path)
	return nil
}

// mark leaves the index of a poisoned entry for the next start, and lets the panic go on. Defer it. Of a node that has
// failed already it waits for the end of the process: the state could not be read or flushed, as was told.
func (c *crash) mark(index uint64) {
	r := recover()
	if r == nil {
		return
	}
	select {
	case <-c.failed:
		c.rest()
		return
	default:
	}
	if c.path != "" {
		_ = writeFile(c.path, fmt.Appendf(nil, "entry %d: %v\n", index, r)) // the panic below tells it as well
	}
	panic(r)
}

// passed removes the marker once its entry was applied.
func (c *crash) passed(index uint64) {
	if c.index == 0 || index < c.index {
		return
	}
	c.index = 0
	if err := os.Remove(c.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.logger.Warn("remove crash marker", "error", err)
	}
}
