package logstore

import (
	"errors"
	"os"
	"path/filepath"
	"time"
)

// markEvery is how often the mark follows the writes. It goes along with a write, and costs no sync of its own.
const markEvery = 100 * time.Millisecond

// spare is a file of zeros for the next segment.
type spare struct {
	file *os.File
	err  error
}

// newest is the segment that is written. Whoever writes calls it.
func (s *Store) newest() *segment { return s.content.segments[len(s.content.segments)-1] }

// layout has room for a write of records, in memory that the next one uses again.
func (s *Store) layout(size int) layout {
	l := newLayout(s.memory, writeHead+size)
	if s.memory = l.blocks; cap(s.memory) > 4<<20 {
		s.memory = nil
	}
	l.put([]byte{byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size)})
	return l
}

// commit writes a layout durably, and returns in which block it begins.
func (s *Store) commit(to *segment, l layout) (block uint32, err error) {
	if now := time.Now(); now.Sub(s.marked) >= markEvery {
		if err := s.mark(to); err != nil {
			return 0, err
		}
		s.marked = now
	}
	block = to.next
	l.seal(to.number, block, to.write)
	if _, err := to.file.WriteAt(l.blocks, int64(block)*blockSize); err != nil {
		return 0, err
	}
	if err := s.sync(to.file); err != nil {
		return 0, err
	}
	to.next += uint32(len(l.blocks) / blockSize)
	to.write++
	s.prepare(to)
	return block, nil
}

// mark says that every write until now was answered for.
func (s *Store) mark(to *segment) error {
	_, err := to.file.WriteAt(markBlock(to.number, to.write-1), blockSize)
	return err
}

// prepare makes the next file in the background once half of this one is used. If it cannot, the write that needs it
// says why.
func (s *Store) prepare(current *segment) {
	if s.spare != nil || current.next < current.blocks/2 || s.blocks > int(current.blocks) {
		return
	}
	made := make(chan spare, 1)
	s.spare = made
	go func() {
		f, err := newSpare(s.path, s.blocks, s.sync)
		made <- spare{f, err}
	}()
}

// append writes records of some size, which put lays out, to the newest segment, or to the next one. It returns where
// their stream begins.
func (s *Store) append(size int, put func(*layout)) (to *segment, block uint32, err error) {
	to = s.newest()
	if n := blocksFor(writeHead + size); n > to.room() {
		if to, err = s.rotate(n); err != nil {
			return nil, 0, err
		}
	}
	l := s.layout(size)
	put(&l)
	block, err = s.commit(to, l)
	return to, block, err
}

// rotate goes on in the next segment, which has room for a write of so many blocks. It is there, with all that the log
// must know without the ones before it, before the current one says so.
func (s *Store) rotate(blocks int) (*segment, error) {
	current := s.newest()
	made, err := s.newSegment(current.number+1, max(s.blocks, blocks+firstBlock+1+blocksFor(writeHead+len(s.state()))))
	if err != nil {
		return nil, err
	}
	l := s.layout(1)
	l.put([]byte{recordNext})
	if _, err := s.commit(current, l); err != nil {
		return nil, errors.Join(err, made.file.Close())
	}
	s.mu.Lock()
	s.content.segments = append(s.content.segments, made)
	s.mu.Unlock()
	return made, nil
}

// state is what a segment begins with.
func (s *Store) state() []byte {
	c := s.content
	out := appendExtent(nil, c.index.first, c.index.last)
	for key, value := range c.values {
		out = appendValue(out, key, value)
	}
	return out
}

// newSegment makes a segment whose first write is the state. It has its name once it is whole.
func (s *Store) newSegment(number uint32, blocks int) (made *segment, err error) {
	f, err := s.takeSpare(blocks)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	made = &segment{number: number, blocks: uint32(blocks), next: firstBlock, write: 1}
	state := s.state()
	l := s.layout(len(state))
	l.put(state)
	l.seal(number, firstBlock, made.write)
	whole := append(append(headerBlock(number, made.blocks), markBlock(number, made.write)...), l.blocks...)
	if _, err := f.WriteAt(whole, 0); err != nil {
		return nil, err
	}
	if err := s.sync(f); err != nil {
		return nil, err
	}
	made.next, made.write = firstBlock+uint32(len(l.blocks)/blockSize), made.write+1
	name := filepath.Join(s.path, segmentName(number))
	if err := os.Rename(f.Name(), name); err != nil {
		return nil, err
	}
	// Its name in messages is the new one.
	if made.file, err = os.OpenFile(name, os.O_RDWR, 0); err != nil {
		return nil, err
	}
	return made, errors.Join(f.Close(), syncDir(s.path))
}

// takeSpare returns a file of zeros of so many blocks.
func (s *Store) takeSpare(blocks int) (*os.File, error) {
	if s.spare != nil {
		made := <-s.spare
		s.spare = nil
		if made.err == nil && blocks == s.blocks {
			return made.file, nil
		}
		if made.err == nil {
			if err := made.file.Close(); err != nil {
				return nil, err
			}
		}
	}
	return newSpare(s.path, blocks, s.sync)
}
