package lab

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// LosePower takes the power of nodes at once: their processes are killed, and what was not synced is gone, as
// disk.LosePower has it. Within a time, it takes a moment at which there is something to lose, holding syncs until
// there is; with none, whatever moment it is. Use it where the lab has disks.
func LosePower(ctx context.Context, within time.Duration, keep func() bool, nodes ...*Node) (lost bool, err error) {
	if within > 0 {
		for _, n := range nodes {
			n.Disk.Hold(true)
		}
		await(ctx, within, nodes)
	}
	for _, n := range nodes {
		err = errors.Join(err, n.process.signal(syscall.SIGKILL))
	}
	for _, n := range nodes {
		n.Disk.Hold(false) // of a process that is killed: it is told nothing any more, and cannot end before
		err = errors.Join(err, n.Kill())
	}
	if err != nil {
		return false, err
	}
	for _, n := range nodes {
		before := n.Disk.Seen().Lost
		if err := n.Disk.LosePower(keep); err != nil {
			return lost, err
		}
		lost = lost || n.Disk.Seen().Lost > before
	}
	return lost, nil
}

// await waits until one of the nodes has something to lose.
func await(ctx context.Context, within time.Duration, nodes []*Node) {
	for limit := time.Now().Add(within); ctx.Err() == nil && time.Now().Before(limit); {
		for _, n := range nodes {
			if n.Disk.Unsynced() > 0 {
				return
			}
		}
		time.Sleep(time.Millisecond) // a disk has no channel for it
	}
}
