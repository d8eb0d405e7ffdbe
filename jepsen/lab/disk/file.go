package disk

import (
	"context"
	"os"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// file is an open file.
type file struct {
	disk  *Disk
	f     *os.File
	inode uint64
}

// Read implements fs.FileReader.
func (h *file) Read(_ context.Context, into []byte, at int64) (fuse.ReadResult, syscall.Errno) {
	return fuse.ReadResultFd(h.f.Fd(), at, len(into)), 0
}

// Write implements fs.FileWriter.
func (h *file) Write(_ context.Context, data []byte, at int64) (uint32, syscall.Errno) {
	if errno := h.disk.meet(true); errno != 0 {
		return 0, errno
	}
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if err := h.disk.journal.write(h.inode, h.f, at, data); err != nil {
		return 0, fs.ToErrno(err)
	}
	n, err := h.f.WriteAt(data, at)
	return uint32(n), fs.ToErrno(err)
}

func (h *file) truncate(size int64) syscall.Errno {
	if errno := h.disk.meet(true); errno != 0 {
		return errno
	}
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if err := h.disk.journal.write(h.inode, h.f, size, nil); err != nil {
		return fs.ToErrno(err)
	}
	return fs.ToErrno(h.f.Truncate(size))
}

// Allocate implements fs.FileAllocater.
func (h *file) Allocate(_ context.Context, at, size uint64, mode uint32) syscall.Errno {
	const keepSize = 1
	if errno := h.disk.meet(true); errno != 0 {
		return errno
	}
	if mode != 0 && mode != keepSize {
		return syscall.EOPNOTSUPP
	}
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	info, err := h.f.Stat()
	if err == nil && mode != keepSize && int64(at+size) > info.Size() {
		err = h.disk.journal.write(h.inode, h.f, info.Size(), nil)
	}
	if err != nil {
		return fs.ToErrno(err)
	}
	return fs.ToErrno(syscall.Fallocate(int(h.f.Fd()), mode, int64(at), int64(size)))
}

// Fsync implements fs.FileFsyncer.
func (h *file) Fsync(context.Context, uint32) syscall.Errno { return h.disk.sync(h.inode) }

// Flush implements fs.FileFlusher: closing promises nothing.
func (h *file) Flush(context.Context) syscall.Errno { return 0 }

// Release implements fs.FileReleaser.
func (h *file) Release(context.Context) syscall.Errno { return fs.ToErrno(h.f.Close()) }
