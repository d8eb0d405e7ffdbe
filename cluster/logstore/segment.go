package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// A segment is a file of fixed size. Its first block says which it is, and how many blocks it has; the second, the mark,
// which write was answered for (up to a tenth of a second late), so that writes that a disk has lost are missed. The
// last is kept for the record that says that there is a next segment.
const (
	segmentMagic = "LOCKLOG1"
	markMagic    = "LOCKMARK"
	firstBlock   = 2
	segmentBytes = 8 << 20
	spareName    = "spare"
)

type segment struct {
	number uint32
	file   *os.File
	blocks uint32
	next   uint32 // block of the next write
	write  uint32 // number of the next write, from 1
	last   uint64 // the highest entry that was ever written here
}

func segmentName(number uint32) string { return fmt.Sprintf("%010d.log", number) }

func segmentNumber(name string) (uint32, bool) {
	digits, found := strings.CutSuffix(name, ".log")
	number, err := strconv.ParseUint(digits, 10, 32)
	return uint32(number), found && err == nil && name == segmentName(uint32(number))
}

// room is how many blocks a write may have.
func (s *segment) room() int { return int(s.blocks) - 1 - int(s.next) }

func headerBlock(number, blocks uint32) []byte {
	l := newLayout(nil, blockRoom)
	l.put(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte(segmentMagic), number), blocks))
	l.seal(number, 0, 0)
	return l.blocks
}

func markBlock(number, write uint32) []byte {
	l := newLayout(nil, blockRoom)
	l.put(binary.BigEndian.AppendUint32([]byte(markMagic), write))
	l.seal(number, 1, 0)
	return l.blocks
}

// newSpare makes a file of zeros for a segment: a write over what was written before needs no change of metadata, and
// takes three quarters of the time. It syncs as it goes, for no write of the log should wait for all of it.
func newSpare(dir string, blocks int, sync func(*os.File) error) (_ *os.File, err error) {
	f, err := os.OpenFile(filepath.Join(dir, spareName), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	zeros := make([]byte, min(blocks*blockSize, 1<<20))
	for left := blocks * blockSize; left > 0; {
		n, err := f.Write(zeros[:min(left, len(zeros))])
		if err != nil {
			return nil, err
		}
		left -= n
		if err := sync(f); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// datasync makes what a file holds last. Its size is the same for ever.
func datasync(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

// found is what a scan of a segment finds.
type found struct {
	ended bool // it says that there is a next
	torn  bool // a write behind the last was not finished
}

// scan reads a segment and calls fn for each record of its writes: in which block the write begins, and where in its
// stream the record. It sets where the next write goes.
func (s *segment) scan(fn func(block, at uint32, record []byte) error) (found, error) {
	content, err := s.read()
	if err != nil {
		return found{}, err
	}
	answered, err := s.head(content)
	if err != nil {
		return found{}, err
	}
	out := found{}
	s.next, s.write = firstBlock, 1
	var memory []byte
	for {
		n, err := s.extent(content)
		if err != nil {
			return found{}, err
		}
		if n == 0 {
			break
		}
		blocks := content[s.next*blockSize : (s.next+uint32(n))*blockSize]
		size := int(binary.BigEndian.Uint32(blocks[blockHead:]))
		memory = stream(memory[:0], blocks, writeHead, size)
		for at := 0; at < size; {
			length, err := recordSize(memory[at:])
			if err != nil {
				return found{}, err
			}
			record := memory[at : at+length]
			if out.ended = record[0] == recordNext; !out.ended {
				if err := fn(s.next, uint32(writeHead+at), record); err != nil {
					return found{}, err
				}
			}
			at += length
		}
		s.next, s.write = s.next+uint32(n), s.write+1
	}
	if answered >= s.write {
		return found{}, fmt.Errorf("write %d is gone, though write %d was answered for", s.write, answered)
	}
	out.torn, err = s.rest(content)
	return out, err
}

func (s *segment) read() ([]byte, error) {
	info, err := s.file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() < (firstBlock+2)*blockSize || info.Size()%blockSize != 0 || info.Size() > 1<<31 {
		return nil, fmt.Errorf("it is cut: it has %d bytes", info.Size())
	}
	content := make([]byte, info.Size())
	if _, err := s.file.ReadAt(content, 0); err != nil && err != io.EOF {
		return nil, err
	}
	return content, nil
}

// head checks the first two blocks, and returns the write that was answered for.
func (s *segment) head(content []byte) (answered uint32, err error) {
	s.blocks = uint32(len(content) / blockSize)
	head, mark := content[blockHead:], content[blockSize+blockHead:]
	for number := range uint32(firstBlock) {
		if state, _ := inspect(s.number, number, content[number*blockSize:][:blockSize]); state != whole {
			return 0, fmt.Errorf("block %d does not match its checksum", number)
		}
	}
	switch {
	case string(head[:8]) != segmentMagic || string(mark[:8]) != markMagic:
		return 0, errors.New("it is not a segment of a log")
	case binary.BigEndian.Uint32(head[12:]) != s.blocks:
		return 0, fmt.Errorf("it is cut: it has %d blocks, and should have %d", s.blocks, binary.BigEndian.Uint32(head[12:]))
	}
	return binary.BigEndian.Uint32(mark[8:]), nil
}

// extent returns how many blocks the next write has: none when there is none, or when it was not finished.
func (s *segment) extent(content []byte) (int, error) {
	first := content[s.next*blockSize:]
	if len(first) == 0 {
		return 0, nil
	}
	switch state, write := inspect(s.number, s.next, first[:blockSize]); {
	case state == blank:
		return 0, nil
	case state == broken || write != s.write:
		return 0, s.broken(s.next)
	}
	size := int(binary.BigEndian.Uint32(first[blockHead:]))
	n := blocksFor(writeHead + size)
	if size == 0 || n > len(first)/blockSize {
		return 0, fmt.Errorf("write %d is %d bytes long, which do not fit", s.write, size)
	}
	torn := false
	for i := range uint32(n) {
		switch state, write := inspect(s.number, s.next+i, first[i*blockSize:][:blockSize]); {
		case state == blank:
			torn = true
		case state == broken || write != s.write:
			return 0, s.broken(s.next + i)
		}
	}
	if torn {
		return 0, nil
	}
	return n, nil
}

func (s *segment) broken(block uint32) error {
	return fmt.Errorf("block %d does not match its checksum", block)
}

// rest looks at what is behind the last write: nothing, or parts of one that was not finished.
func (s *segment) rest(content []byte) (torn bool, err error) {
	for number := s.next; number < s.blocks; number++ {
		switch state, write := inspect(s.number, number, content[number*blockSize:][:blockSize]); {
		case state == blank:
		case state == whole && write == s.write:
			torn = true
		default:
			return false, s.broken(number)
		}
	}
	return torn, nil
}

// get reads bytes of the stream of a write.
func (s *segment) get(block, at, size uint32) ([]byte, error) {
	skip := at / blockRoom
	from := int(at % blockRoom)
	blocks := make([]byte, blocksFor(from+int(size))*blockSize)
	first := block + skip
	if _, err := s.file.ReadAt(blocks, int64(first)*blockSize); err != nil {
		return nil, err
	}
	for i := 0; i < len(blocks); i += blockSize {
		number := first + uint32(i/blockSize)
		if state, _ := inspect(s.number, number, blocks[i:i+blockSize]); state != whole {
			return nil, s.broken(number)
		}
	}
	return stream(make([]byte, 0, size), blocks, from, int(size)), nil
}
