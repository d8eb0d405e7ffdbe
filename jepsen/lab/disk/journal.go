package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

const (
	page = 4096 // the most of a write that a disk does whole
	kept = 16   // descriptors of files without changes: a log is written and synced thousands of times
)

// journal remembers what was changed and not synced, in order, so that it can be taken back.
type journal struct {
	back    string
	files   map[uint64]*os.File // of all inodes that have changes, and some that had, to reach them under any name
	changes []change
	graves  int
}

// change is one that was not synced: of a file's bytes, or of a directory's names.
type change struct {
	inode uint64 // whose sync makes it last
	gone  uint64 // a directory whose own changes end with this one, once it lasts
	undo  func() error
	redo  func(keep func() bool) error // nil for names
}

// write notes that bytes of a file are about to be replaced, or its size set (data is nil).
func (j *journal) write(inode uint64, f *os.File, at int64, data []byte) error {
	mine, err := j.open(inode, f)
	if err != nil {
		return err
	}
	info, err := mine.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	old := make([]byte, max(0, min(size-at, int64(len(data)))))
	if data == nil {
		old = make([]byte, max(0, size-at))
	}
	if len(old) > 0 {
		if _, err := mine.ReadAt(old, at); err != nil {
			return err
		}
	}
	undo := func() error {
		if _, err := mine.WriteAt(old, at); err != nil {
			return err
		}
		return mine.Truncate(size)
	}
	data = slices.Clone(data)
	redo := func(keep func() bool) error { return tear(mine, at, data, keep) }
	if data == nil {
		redo = nil
	}
	j.changes = append(j.changes, change{inode: inode, undo: undo, redo: redo})
	return nil
}

// tear writes those pages of a lost write that are kept.
func tear(f *os.File, at int64, data []byte, keep func() bool) error {
	for len(data) > 0 {
		n := min(int64(len(data)), page-at%page)
		if keep() {
			if _, err := f.WriteAt(data[:n], at); err != nil {
				return err
			}
		}
		at, data = at+n, data[n:]
	}
	return nil
}

// open has a descriptor of the journal's own for an inode.
func (j *journal) open(inode uint64, f *os.File) (*os.File, error) {
	if mine := j.files[inode]; mine != nil {
		return mine, nil
	}
	mine, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if j.files == nil {
		j.files = map[uint64]*os.File{}
	}
	j.files[inode] = mine
	return mine, nil
}

// made notes that a name was made in a directory.
func (j *journal) made(dir uint64, path string) {
	j.changes = append(j.changes, change{inode: dir, undo: func() error { return os.RemoveAll(path) }})
}

// bury keeps a file whose name is about to go, so that the name can come back. There may be none.
func (j *journal) bury(dir uint64, path string) error {
	grave := fmt.Sprintf("%s.lost-%d", filepath.Clean(j.back), j.graves)
	j.graves++
	switch err := os.Link(path, grave); {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	j.changes = append(j.changes, change{inode: dir, undo: func() error { return os.Rename(grave, path) }})
	return nil
}

// moved notes that a name became another.
func (j *journal) moved(dir uint64, from, to string) {
	j.changes = append(j.changes, change{inode: dir, undo: func() error { return os.Rename(to, from) }})
}

// removedDir notes that an empty directory, gone, went.
func (j *journal) removedDir(dir, gone uint64, path string) {
	j.changes = append(j.changes, change{inode: dir, gone: gone, undo: func() error { return os.Mkdir(path, 0o700) }})
}

// synced forgets the changes of an inode: they last.
func (j *journal) synced(inode uint64) error {
	for last := []uint64{inode}; len(last) > 0; last = last[1:] {
		j.changes = slices.DeleteFunc(j.changes, func(c change) bool {
			if c.inode == last[0] && c.gone != 0 {
				last = append(last, c.gone)
			}
			return c.inode == last[0]
		})
	}
	if f := j.files[inode]; f != nil && len(j.files) > kept {
		delete(j.files, inode)
		return f.Close()
	}
	return nil
}

// undo takes back all changes, newest first, and then does again what is kept of writes.
func (j *journal) undo(keep func() bool) (lost int, err error) {
	for _, c := range slices.Backward(j.changes) {
		lost++
		if err := c.undo(); err != nil {
			return lost, err
		}
	}
	for _, c := range j.changes {
		if keep != nil && c.redo != nil {
			if err := c.redo(keep); err != nil {
				return lost, err
			}
		}
	}
	return lost, j.close()
}

// close forgets everything.
func (j *journal) close() error {
	var errs []error
	for _, f := range j.files {
		errs = append(errs, f.Close())
	}
	j.files, j.changes = nil, nil
	graves, err := filepath.Glob(filepath.Clean(j.back) + ".lost-*")
	errs = append(errs, err)
	for _, grave := range graves {
		errs = append(errs, os.Remove(grave))
	}
	return errors.Join(errs...)
}
