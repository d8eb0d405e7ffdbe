package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
)

// bbolt's file begins with two meta pages, written in turns. At open it takes the newer valid one, and the older
// without a word when the newer is damaged: the last commit would be gone. The layout is bbolt's db.go and
// internal/common/meta.go: a page header of 16 bytes, then magic, version, page size, flags, root (16 bytes),
// freelist, high water mark, transaction, and FNV-1a of all before it.
const (
	metaOffset = 16
	metaLength = 64
	metaMagic  = 0xED0CDAED
)

// checkMeta refuses a file with a damaged meta page, or one that is shorter than its meta page says. A file that
// does not exist, or is empty, is a new one.
func checkMeta(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open log store: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	size := int64(os.Getpagesize())
	var newest uint64
	var water int64
	for page := range int64(2) {
		var b [metaOffset + metaLength]byte
		if _, err := f.ReadAt(b[:], page*size); err != nil && err != io.EOF {
			return fmt.Errorf("open log store: %w", err)
		}
		meta := b[metaOffset:]
		h := fnv.New64a()
		h.Write(meta[:metaLength-8])
		if order.Uint32(meta) != metaMagic || order.Uint64(meta[metaLength-8:]) != h.Sum64() {
			return damaged(path, "meta page %d does not match its checksum", page)
		}
		if stored := int64(order.Uint32(meta[8:])); stored != size {
			return damaged(path, "its pages are %d bytes long, this machine's %d", stored, size)
		}
		if transaction := order.Uint64(meta[48:]); transaction >= newest {
			newest, water = transaction, int64(order.Uint64(meta[40:]))
		}
	}
	if info.Size() < water*size {
		return damaged(path, "it is cut: %d bytes of %d", info.Size(), water*size)
	}
	return nil
}

// order is the machine's own: bbolt maps its file.
var order = binary.NativeEndian
