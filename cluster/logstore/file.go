package logstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"syscall"

	"github.com/hashicorp/raft"
)

// The buckets of the file. Each keeps the seal of what is in it as its sequence, which bbolt stores beside the number
// of the bucket's root page, in a page of the root bucket, which only the meta pages point to.
const (
	logBucket    = "log"
	stableBucket = "stable"
)

// bbolt's layout (its internal/common): pages have a header of id, flags, count and overflow. Two meta pages are written
// in turns: magic, version, page size, flags, root bucket, freelist, high water mark, transaction, FNV-1a of all that.
// Branch and leaf pages have their elements first, then each element's key and value, without a gap between them; an
// element's position counts from the element itself. A bucket is a root page and a sequence; a small one has no root
// page, and its only page follows it inline. Numbers are in the machine's order, for bbolt maps the file.
const (
	pageHead    = 16
	elementSize = 16
	bucketHead  = 16
	metaSize    = 64
	metaMagic   = 0xED0CDAED
	branchPage  = 0x01
	leafPage    = 0x02
	bucketFlag  = 0x01
)

// file reads a bbolt file without bbolt, which panics on damage, or loops, or trusts it. It never writes.
type file struct {
	io.ReaderAt
	close    func() error
	path     string
	pageSize int64
	pages    uint64 // high water mark
	root     uint64
	written  bool   // since it was made
	seen     []bool // pages that something points to: each only once
	leaf     []byte // memory of the last leaf
}

// openFile opens a file that no process writes, and reads its meta pages. It returns nil for an empty file.
func openFile(path string) (_ *file, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open log store: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	// bbolt holds an exclusive lock of this kind while it writes.
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err != nil {
		return nil, errHeld(path)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open log store: %w", err)
	}
	if info.Size() == 0 {
		return nil, f.Close()
	}
	out := &file{ReaderAt: f, close: f.Close, path: path, pageSize: int64(os.Getpagesize())}
	if err := out.readMeta(info.Size()); err != nil {
		return nil, damaged(path, "%w", err)
	}
	return out, nil
}

// readMeta takes the newer meta page, and insists on both: which is the newer cannot be told when one is damaged. A
// crash does not leave one torn, for it lies within one sector.
func (f *file) readMeta(size int64) error {
	var newest uint64
	for page := range int64(2) {
		b := make([]byte, pageHead+metaSize)
		if err := f.readAt(b, page*f.pageSize); err != nil {
			return err
		}
		meta := b[pageHead:]
		h := fnv.New64a()
		h.Write(meta[:metaSize-8])
		if order.Uint32(meta) != metaMagic || order.Uint64(meta[metaSize-8:]) != h.Sum64() {
			return fmt.Errorf("meta page %d does not match its checksum", page)
		}
		if stored := int64(order.Uint32(meta[8:])); stored != f.pageSize {
			return fmt.Errorf("its pages are %d bytes long, this machine's %d", stored, f.pageSize)
		}
		if transaction := order.Uint64(meta[48:]); transaction >= newest {
			newest, f.root, f.pages = transaction, order.Uint64(meta[16:]), order.Uint64(meta[40:])
		}
	}
	f.written = newest > 1 // a new file's meta pages have the transactions 0 and 1
	if uint64(size)/uint64(f.pageSize) < f.pages {
		return fmt.Errorf("it is cut: it has %d bytes, and should have %d pages of %d", size, f.pages, f.pageSize)
	}
	f.seen = make([]bool, f.pages)
	return nil
}

// order is the machine's own.
var order = binary.NativeEndian

func (f *file) readAt(b []byte, at int64) error {
	if _, err := f.ReadAt(b, at); err == io.EOF {
		return fmt.Errorf("it ends before byte %d", at+int64(len(b)))
	} else if err != nil {
		return fmt.Errorf("read at byte %d: %w", at, err)
	}
	return nil
}

// verify reads everything, checks it, and calls fn for each entry of the log in order until it returns false. What fn
// is given is valid only during the call.
func (f *file) verify(fn func(*raft.Log) bool) (extent, error) {
	x, err := f.verifyLog(fn)
	if err != nil {
		return extent{}, damaged(f.path, "%w", err)
	}
	return x, nil
}

// errStop ends a walk early.
var errStop = errors.New("stop")

func (f *file) verifyLog(fn func(*raft.Log) bool) (x extent, err error) {
	buckets, err := f.buckets()
	if err != nil || buckets == nil {
		return extent{}, err
	}
	if err := f.verifyStable(buckets[stableBucket]); err != nil {
		return extent{}, err
	}
	var term uint64
	err = f.walkBucket(buckets[logBucket], func(key, value []byte) error {
		var log raft.Log
		if len(key) != 8 {
			return fmt.Errorf("%x is not the key of an entry", key)
		}
		if err := decode(binary.BigEndian.Uint64(key), value, &log); err != nil {
			return err
		}
		switch {
		case x.last != 0 && log.Index != x.last+1:
			return fmt.Errorf("the entries between %d and %d are missing", x.last, log.Index)
		case log.Term < term:
			return fmt.Errorf("entry %d has term %d, the one before %d", log.Index, log.Term, term)
		}
		term = log.Term
		x.add(log.Index, binary.BigEndian.Uint32(log.Extensions), len(value))
		if !fn(&log) {
			return errStop
		}
		return nil
	})
	switch {
	case err == errStop:
		return x, nil
	case err != nil:
		return extent{}, err
	case order.Uint64(buckets[logBucket][8:]) != x.seal:
		return extent{}, errors.New("the entries are not those that were written last: their seal does not match")
	}
	return x, nil
}

func (f *file) verifyStable(bucket []byte) error {
	var seal uint64
	err := f.walkBucket(bucket, func(key, value []byte) error {
		share, err := stableMark(key, value)
		seal += share
		return err
	})
	if err == nil && order.Uint64(bucket[8:]) != seal {
		err = errors.New("the stable values are not those that were written last: their seal does not match")
	}
	return err
}

// buckets reads the root bucket. It returns nil for a file that was made and not written since.
func (f *file) buckets() (map[string][]byte, error) {
	out := map[string][]byte{}
	err := f.walk(f.root, nil, nil, func(e element) error {
		if e.flags != bucketFlag || len(e.value) < bucketHead {
			return fmt.Errorf("%q is not a bucket", e.key)
		}
		out[string(e.key)] = bytes.Clone(e.value)
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case !f.written && len(out) == 0:
		return nil, nil
	case len(out) != 2 || out[logBucket] == nil || out[stableBucket] == nil:
		return nil, errors.New("its buckets are not a log store's")
	}
	return out, nil
}
