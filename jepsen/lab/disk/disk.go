// Package disk is a disk that can stall, fail, fill up and lose its power: a directory that is reached through a FUSE
// mount, so that a real process with real files meets the fault. What a process has not synced is remembered, and is
// what a loss of power takes: bytes of files, and names in directories, each until that file or directory was synced
// (POSIX promises no more; some filesystems keep more).
package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// ErrNotHere says that this machine mounts no FUSE filesystem, for want of the device or of the right.
var ErrNotHere = errors.New("FUSE cannot be used here")

// Disk is a mounted directory. Its methods may be called from any goroutine. Close it in any case: a process that uses
// the mount waits for it otherwise.
type Disk struct {
	back, at string
	server   *fuse.Server

	mu      sync.Mutex // guards what follows
	stalled chan struct{}
	fails   syscall.Errno
	full    bool
	slow    time.Duration
	held    chan struct{}
	seen    Seen
	journal journal
}

// Seen counts what a disk's faults did to whoever used it: a fault that nobody met proves nothing.
type Seen struct {
	Stalled, Failed, Full, Slowed int // operations
	Syncs                         int
	Lost                          int // writes, and changes of directories, that a loss of power took
}

// Mount has a directory, back, appear at another one; both exist.
func Mount(back, at string) (*Disk, error) {
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotHere, err)
	} else if err := f.Close(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotHere, err)
	}
	d := &Disk{back: back, at: at}
	d.journal.back = back
	return d, d.mount()
}

func (d *Disk) mount() error {
	root := &fs.LoopbackRoot{Path: d.back}
	top := &node{LoopbackNode: fs.LoopbackNode{RootData: root}, disk: d}
	root.RootNode = top
	known := time.Hour // the kernel need not ask again: what is behind a mount is changed by it alone
	server, err := fs.Mount(d.at, top, &fs.Options{EntryTimeout: &known, AttrTimeout: &known, MountOptions: fuse.MountOptions{
		DirectMount: true, FsName: "lockstep-lab", Name: "lab",
		MaxWrite:      128 << 10, // of every reader's buffer
		DisableXAttrs: true,      // or the kernel asks for one before each write
	}})
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w: %w", ErrNotHere, err)
	}
	if err != nil {
		return fmt.Errorf("mount %s: %w", d.at, err)
	}
	d.server = server
	return keepFromChildren()
}

// keepFromChildren closes the mounts' descriptors in processes that are started from now on: go-fuse leaves them open,
// and a child that has one keeps a dead disk alive, and itself waiting for it, for good.
func keepFromChildren() error {
	const fds = "/proc/self/fd"
	names, err := os.ReadDir(fds)
	if err != nil {
		return fmt.Errorf("look for mounts' descriptors: %w", err)
	}
	for _, name := range names {
		if to, err := os.Readlink(filepath.Join(fds, name.Name())); err != nil || to != "/dev/fuse" {
			continue // a descriptor of the listing's own is gone already
		}
		fd, err := strconv.Atoi(name.Name())
		if err != nil {
			return fmt.Errorf("look for mounts' descriptors: %w", err)
		}
		syscall.CloseOnExec(fd)
	}
	return nil
}

// Path is where the disk is used.
func (d *Disk) Path() string { return d.at }

// Seen tells what its faults did so far.
func (d *Disk) Seen() Seen {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seen
}

// Stall has every write and sync wait from now on, until it is called with false.
func (d *Disk) Stall(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case on && d.stalled == nil:
		d.stalled = make(chan struct{})
	case !on && d.stalled != nil:
		close(d.stalled)
		d.stalled = nil
	}
}

// Fail has every write and sync fail with an error from now on, EIO for one; zero ends it.
func (d *Disk) Fail(with syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fails = with
}

// Fill has every write that needs room fail with ENOSPC from now on, until it is called with false.
func (d *Disk) Fill(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = on
}

// Slow has every sync take so much longer from now on; zero ends it. What is written is in memory until then, and fast.
func (d *Disk) Slow(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slow = by
}

// Hold has every sync wait from now on, so that what is written is not synced, until it is called with false: those
// that wait fail then, and synced nothing.
func (d *Disk) Hold(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case on && d.held == nil:
		d.held = make(chan struct{})
	case !on && d.held != nil:
		close(d.held)
		d.held = nil
	}
}

// Unsynced is how many writes and changes of directories a loss of power would take now.
func (d *Disk) Unsynced() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.journal.changes)
}

// LosePower takes what was not synced. Of the lost writes to files, those stay for whose pages of 4 KiB keep says so,
// in any order, as a real disk may; nil keeps none. No process may have a file of the disk open: kill them before.
// The disk is there again afterwards, without faults.
func (d *Disk) LosePower(keep func() bool) error {
	d.Heal()
	if err := d.unmount(); err != nil {
		return err
	}
	d.mu.Lock()
	lost, err := d.journal.undo(keep)
	d.seen.Lost += lost
	d.mu.Unlock()
	if err != nil {
		return fmt.Errorf("lose power of %s: %w", d.at, err)
	}
	return d.mount()
}

// Heal ends every fault.
func (d *Disk) Heal() {
	d.Stall(false)
	d.Fail(0)
	d.Fill(false)
	d.Slow(0)
	d.Hold(false)
}

func (d *Disk) unmount() error {
	var err error
	for range 100 { // a killed process's files are closed a moment after it
		if err = d.server.Unmount(); err == nil {
			d.server.Wait()
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("unmount %s: %w", d.at, err)
}

// Close ends the faults and the mount; the files stay where they are.
func (d *Disk) Close() error {
	d.Heal()
	err := d.unmount()
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(err, d.journal.close())
}

// meet is what every operation that changes something passes: it waits while the disk is stalled, and returns the
// error that the disk gives.
func (d *Disk) meet(grows bool) syscall.Errno {
	d.mu.Lock()
	for waited := false; d.stalled != nil; waited = true {
		if !waited {
			d.seen.Stalled++
		}
		stalled := d.stalled
		d.mu.Unlock()
		<-stalled
		d.mu.Lock()
	}
	defer d.mu.Unlock()
	switch {
	case d.fails != 0:
		d.seen.Failed++
		return d.fails
	case d.full && grows:
		d.seen.Full++
		return syscall.ENOSPC
	}
	return 0
}
