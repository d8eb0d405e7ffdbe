package disk

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// node is a file or a directory of the disk. What is not here reads, and is passed on; ways to change something that
// the journal does not know are refused.
type node struct {
	fs.LoopbackNode
	disk *Disk
}

// WrapChild implements fs.NodeWrapChilder: what is found in a directory of the disk is of the disk.
func (n *node) WrapChild(context.Context, fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{LoopbackNode: fs.LoopbackNode{RootData: n.RootData}, disk: n.disk}
}

func (n *node) path(name ...string) string {
	return filepath.Join(append([]string{n.RootData.Path, n.Path(n.RootData.RootNode.EmbeddedInode())}, name...)...)
}

func (n *node) inode() uint64 { return inodeOf(n.path()) }

func inodeOf(path string) uint64 {
	var st syscall.Stat_t
	if syscall.Lstat(path, &st) != nil {
		return 0
	}
	return st.Ino
}

// change meets the disk's fault, and does what changes something with the journal in hand.
func (n *node) change(grows bool, do func(*journal) error) syscall.Errno {
	if errno := n.disk.meet(grows); errno != 0 {
		return errno
	}
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	return fs.ToErrno(do(&n.disk.journal))
}

// Create implements fs.NodeCreater.
func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (child *fs.Inode, h fs.FileHandle, fuseFlags uint32, errno syscall.Errno) {
	errno = n.change(true, func(j *journal) error {
		fresh := inodeOf(n.path(name)) == 0
		f, err := os.OpenFile(n.path(name), int(flags)&^syscall.O_APPEND|os.O_CREATE, os.FileMode(mode&0o777))
		if err != nil {
			return err
		}
		if fresh {
			j.made(n.inode(), n.path(name))
		}
		h = &file{n.disk, f, inodeOf(n.path(name))}
		return nil
	})
	if errno != 0 {
		return nil, nil, 0, errno
	}
	child, errno = n.LoopbackNode.Lookup(ctx, name, out)
	return child, h, 0, errno
}

// Open implements fs.NodeOpener. A file that is opened to be emptied is emptied on record.
func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	f, err := os.OpenFile(n.path(), int(flags)&^(syscall.O_APPEND|syscall.O_TRUNC|fuse.FMODE_EXEC), 0)
	if err != nil {
		return nil, 0, fs.ToErrno(err)
	}
	h := &file{n.disk, f, n.inode()}
	if flags&syscall.O_TRUNC != 0 {
		if errno := h.truncate(0); errno != 0 {
			_ = f.Close() // only read from
			return nil, 0, errno
		}
	}
	return h, 0, 0
}

// Setattr implements fs.NodeSetattrer.
func (n *node) Setattr(ctx context.Context, h fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		f, err := os.OpenFile(n.path(), os.O_RDWR, 0)
		if err != nil {
			return fs.ToErrno(err)
		}
		defer f.Close()
		if errno := (&file{n.disk, f, n.inode()}).truncate(int64(size)); errno != 0 {
			return errno
		}
		in.Valid &^= fuse.FATTR_SIZE
	}
	return n.LoopbackNode.Setattr(ctx, nil, in, out)
}

// Getattr implements fs.NodeGetattrer.
func (n *node) Getattr(ctx context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	return n.LoopbackNode.Getattr(ctx, nil, out)
}

// Mkdir implements fs.NodeMkdirer.
func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	errno := n.change(true, func(j *journal) error {
		if err := os.Mkdir(n.path(name), os.FileMode(mode&0o777)); err != nil {
			return err
		}
		j.made(n.inode(), n.path(name))
		return nil
	})
	if errno != 0 {
		return nil, errno
	}
	return n.LoopbackNode.Lookup(ctx, name, out)
}

// Unlink implements fs.NodeUnlinker.
func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	return n.change(false, func(j *journal) error {
		if err := j.bury(n.inode(), n.path(name)); err != nil {
			return err
		}
		return syscall.Unlink(n.path(name))
	})
}

// Rmdir implements fs.NodeRmdirer.
func (n *node) Rmdir(_ context.Context, name string) syscall.Errno {
	return n.change(false, func(j *journal) error {
		gone := inodeOf(n.path(name))
		if err := syscall.Rmdir(n.path(name)); err != nil {
			return err
		}
		j.removedDir(n.inode(), gone, n.path(name))
		return nil
	})
}

// Rename implements fs.NodeRenamer.
func (n *node) Rename(_ context.Context, name string, to fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	other, ok := to.(*node)
	if !ok || flags != 0 {
		return syscall.EINVAL
	}
	return n.change(false, func(j *journal) error {
		if info, err := os.Lstat(other.path(newName)); err == nil && !info.IsDir() {
			if err := j.bury(other.inode(), other.path(newName)); err != nil {
				return err
			}
		}
		if err := syscall.Rename(n.path(name), other.path(newName)); err != nil {
			return err
		}
		j.moved(other.inode(), n.path(name), other.path(newName))
		return nil
	})
}

// OpendirHandle implements fs.NodeOpendirHandler.
func (n *node) OpendirHandle(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	stream, errno := fs.NewLoopbackDirStream(n.path())
	if errno != 0 {
		return nil, 0, errno
	}
	return &directory{stream, n}, 0, 0
}

// directory is an open one.
type directory struct {
	fs.DirStream
	node *node
}

// Fsyncdir implements fs.FileFsyncdirer.
func (d *directory) Fsyncdir(context.Context, uint32) syscall.Errno {
	return d.node.disk.sync(d.node.inode())
}

// Readdirent implements fs.FileReaddirenter.
func (d *directory) Readdirent(context.Context) (*fuse.DirEntry, syscall.Errno) {
	if !d.HasNext() {
		return nil, 0
	}
	e, errno := d.Next()
	return &e, errno
}

// Releasedir implements fs.FileReleasedirer.
func (d *directory) Releasedir(context.Context, uint32) { d.Close() }

// Seekdir implements fs.FileSeekdirer.
func (d *directory) Seekdir(ctx context.Context, to uint64) syscall.Errno {
	if s, ok := d.DirStream.(fs.FileSeekdirer); ok {
		return s.Seekdir(ctx, to)
	}
	return syscall.ENOTSUP
}

func (d *Disk) sync(inode uint64) syscall.Errno {
	if errno := d.meet(false); errno != 0 {
		return errno
	}
	d.mu.Lock()
	if held := d.held; held != nil {
		d.mu.Unlock()
		<-held
		return syscall.EIO
	}
	d.seen.Syncs++
	err, slow := d.journal.synced(inode), d.slow
	if slow > 0 {
		d.seen.Slowed++
	}
	d.mu.Unlock()
	time.Sleep(slow) // it is on the disk, and nobody is told: what is written from now on is not synced with it
	return fs.ToErrno(err)
}

// What the journal does not know is refused.

// Mknod implements fs.NodeMknoder.
func (n *node) Mknod(context.Context, string, uint32, uint32, *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return nil, syscall.EPERM
}

// Link implements fs.NodeLinker.
func (n *node) Link(context.Context, fs.InodeEmbedder, string, *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return nil, syscall.EPERM
}

// Symlink implements fs.NodeSymlinker.
func (n *node) Symlink(context.Context, string, string, *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return nil, syscall.EPERM
}

// CopyFileRange implements fs.NodeCopyFileRanger.
func (n *node) CopyFileRange(context.Context, fs.FileHandle, uint64, *fs.Inode, fs.FileHandle, uint64, uint64, uint64) (uint32, syscall.Errno) {
	return 0, syscall.ENOTSUP
}
