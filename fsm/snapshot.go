package fsm

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// A snapshot is a logical stream: a magic, blocks of rows, and an end. Each block is its length, its CRC32C
// and its rows as (length, key, length, value); the end is an empty block with the count of rows. It does not
// depend on how an engine stores them.
const (
	snapshotName  = "lockstep/snapshot/"
	snapshotMagic = snapshotName + "2\n"
	snapshotBlock = 256 << 10
	maxBlock      = 64 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrDamaged says that a snapshot's bytes are not those that were written.
var ErrDamaged = errors.New("the snapshot is damaged")

// Snapshot is a pinned point in time of a machine.
type Snapshot struct {
	view  table.Snapshot
	index uint64
}

// Snapshot flushes and pins the state. It costs one flush; writing it out is WriteTo's.
func (m *Machine) Snapshot() (*Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.flush(); err != nil {
		return nil, err
	}
	return &Snapshot{view: m.engine.Snapshot(), index: m.group.Index}, nil
}

// Index is the newest entry in the snapshot.
func (s *Snapshot) Index() uint64 { return s.index }

// Close lets the point in time go.
func (s *Snapshot) Close() error { return s.view.Close() }

// WriteTo streams every row. It may run beside Apply.
func (s *Snapshot) WriteTo(w io.Writer) (int64, error) {
	out := &blockWriter{w: w}
	out.raw([]byte(snapshotMagic))
	err := s.view.Scan(nil, nil, func(key, value []byte) bool {
		out.row(key, value)
		return out.err == nil
	})
	out.end()
	return out.written, errors.Join(err, out.err)
}

type blockWriter struct {
	w       io.Writer
	block   []byte
	rows    uint64
	written int64
	err     error
}

func (b *blockWriter) raw(p []byte) {
	if b.err == nil {
		var n int
		n, b.err = b.w.Write(p)
		b.written += int64(n)
	}
}

func (b *blockWriter) row(key, value []byte) {
	b.block = binary.AppendUvarint(b.block, uint64(len(key)))
	b.block = append(b.block, key...)
	b.block = binary.AppendUvarint(b.block, uint64(len(value)))
	b.block = append(b.block, value...)
	b.rows++
	if len(b.block) >= snapshotBlock {
		b.flush()
	}
}

func (b *blockWriter) flush() {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(b.block)))
	b.raw(binary.BigEndian.AppendUint32(head, crc32.Checksum(b.block, castagnoli)))
	b.raw(b.block)
	b.block = b.block[:0]
}

func (b *blockWriter) end() {
	if len(b.block) > 0 {
		b.flush()
	}
	count := binary.BigEndian.AppendUint64(nil, b.rows)
	head := binary.BigEndian.AppendUint32(nil, 0)
	b.raw(binary.BigEndian.AppendUint32(head, crc32.Checksum(count, castagnoli)))
	b.raw(count)
}

// ReadSnapshot writes a stream's rows into an empty engine, and returns the newest entry in them. After an
// error the engine must be thrown away: what it has is not the state.
func ReadSnapshot(r io.Reader, into table.Engine) (index uint64, err error) {
	in := bufio.NewReaderSize(r, 64<<10)
	magic := make([]byte, len(snapshotMagic))
	switch _, err := io.ReadFull(in, magic); {
	case err == nil && string(magic) != snapshotMagic && strings.HasPrefix(string(magic), snapshotName):
		return 0, fmt.Errorf("read snapshot: %w: it begins with %q", ErrFormat, magic)
	case err != nil || string(magic) != snapshotMagic:
		return 0, fmt.Errorf("read snapshot: %w: it does not begin with %q", ErrDamaged, snapshotMagic)
	}
	var rows uint64
	for {
		var head [8]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return 0, fmt.Errorf("read snapshot after %d rows: %w: %v", rows, ErrDamaged, err)
		}
		size, sum := binary.BigEndian.Uint32(head[:4]), binary.BigEndian.Uint32(head[4:])
		last := size == 0
		if last {
			size = 8
		}
		if size > maxBlock {
			return 0, fmt.Errorf("read snapshot after %d rows: %w: a block of %d bytes", rows, ErrDamaged, size)
		}
		block := make([]byte, size)
		if _, err := io.ReadFull(in, block); err != nil {
			return 0, fmt.Errorf("read snapshot after %d rows: %w: %v", rows, ErrDamaged, err)
		}
		if crc32.Checksum(block, castagnoli) != sum {
			return 0, fmt.Errorf("read snapshot after %d rows: %w: a checksum differs", rows, ErrDamaged)
		}
		if last {
			if count := binary.BigEndian.Uint64(block); count != rows {
				return 0, fmt.Errorf("read snapshot: %w: it has %d rows of %d", ErrDamaged, rows, count)
			}
			break
		}
		n, err := writeBlock(block, into)
		if err != nil {
			return 0, fmt.Errorf("read snapshot after %d rows: %w", rows, err)
		}
		rows += n
	}
	group := &logv1.Group{}
	if _, err := row(into, []byte{tableGroup}, group); err != nil {
		return 0, fmt.Errorf("read snapshot: %w", err)
	}
	return group.Index, nil
}

func writeBlock(block []byte, into table.Engine) (rows uint64, err error) {
	b := &table.Batch{}
	for len(block) > 0 {
		var key, value []byte
		if key, block, err = cutBytes(block); err != nil {
			return 0, err
		}
		if value, block, err = cutBytes(block); err != nil {
			return 0, err
		}
		b.Put(key, value)
		rows++
	}
	return rows, into.Write(b)
}

func cutBytes(b []byte) (part, rest []byte, err error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return nil, nil, fmt.Errorf("%w: a row is cut short", ErrDamaged)
	}
	return b[used : used+int(n) : used+int(n)], b[used+int(n):], nil
}
