package logstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/hashicorp/raft"
)

// Exists says whether a directory has a log in it.
func Exists(dir string) (bool, error) {
	numbers, err := list(dir)
	return len(numbers) > 0, err
}

// list returns the numbers of the segments in a directory, ascending; none when it is not there.
func list(dir string) (numbers []uint32, err error) {
	names, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open log store: %w", err)
	}
	for _, entry := range names {
		if number, ok := segmentNumber(entry.Name()); ok {
			numbers = append(numbers, number)
		}
	}
	return numbers, nil
}

// content is everything that a log store's files hold.
type content struct {
	lock     *os.File
	segments []*segment
	index    index
	values   map[string][]byte
	torn     bool     // a write behind the last was not finished
	extra    *segment // one that was made and not begun
	stale    []uint32 // segments that were removed, as far as the disk knew
}

// load reads and verifies everything. Each entry that it meets is verified too.
func load(dir string, flag int) (*content, error) {
	c := &content{values: map[string][]byte{}}
	if err := c.load(dir, flag); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *content) load(dir string, flag int) (err error) {
	if c.lock, err = lock(dir); err != nil {
		return err
	}
	numbers, err := list(dir)
	if err != nil {
		return err
	}
	// Of those that were removed any may come back. What is missed in earnest has an entry, which is missed below.
	for i := len(numbers) - 1; i > 0; i-- {
		if numbers[i-1]+1 != numbers[i] {
			c.stale, numbers = numbers[:i], numbers[i:]
			break
		}
	}
	for _, number := range numbers {
		f, err := os.OpenFile(filepath.Join(dir, segmentName(number)), flag, 0)
		if err != nil {
			return fmt.Errorf("open log store: %w", err)
		}
		c.segments = append(c.segments, &segment{number: number, file: f})
	}
	for i, s := range slices.Clone(c.segments) {
		if i == len(c.segments) {
			break // it is extra
		}
		if err := c.replay(i); err != nil {
			return damaged(s.file.Name(), "%w", err)
		}
	}
	if err := c.index.complete(); err != nil {
		return damaged(dir, "%w", err)
	}
	return nil
}

// lock keeps others from a directory.
func lock(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open log store: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = fmt.Errorf("open log store %s: another process holds it", dir)
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// replay reads one segment, behind those before it.
func (c *content) replay(i int) error {
	s := c.segments[i]
	found, err := s.scan(func(block, at uint32, record []byte) error { return c.apply(s, i == 0, block, at, record) })
	newest := i == len(c.segments)-1
	switch {
	case err != nil:
		return err
	case s.write == 1:
		return errors.New("its first write is gone")
	case newest && found.ended:
		return fmt.Errorf("segment %d is missing", s.number+1)
	case newest:
		c.torn = found.torn
	case !found.ended && i == len(c.segments)-2:
		return c.unbegun(i+1, found.torn)
	case !found.ended:
		return errors.New("it does not say that it has ended")
	case found.torn:
		return fmt.Errorf("block %d is behind its end", s.next)
	}
	return nil
}

// unbegun takes the newest segment away, of which the one before does not know yet: nothing may be in it.
func (c *content) unbegun(i int, torn bool) error {
	s := c.segments[i]
	if _, err := s.scan(func(uint32, uint32, []byte) error { return nil }); err != nil {
		return fmt.Errorf("segment %d: %w", s.number, err)
	}
	if s.write != 2 {
		return fmt.Errorf("segment %d goes on, and this one does not say that it has ended", s.number)
	}
	c.extra, c.torn = s, torn
	c.segments = c.segments[:i]
	return nil
}

func (c *content) apply(s *segment, oldest bool, block, at uint32, record []byte) error {
	switch record[0] {
	case recordEntry:
		var log raft.Log
		number := binary.BigEndian.Uint64(record[2:])
		if err := decode(number, record, &log); err != nil {
			return err
		}
		c.index.add(number, place{s.number, block, at, uint32(len(record))})
		s.last = max(s.last, number)
	case recordValue:
		key, value := record[valueHead:], record[valueHead+int(binary.BigEndian.Uint16(record[1:])):]
		c.values[string(key[:len(key)-len(value)])] = bytes.Clone(value)
	case recordExtent:
		first, last := binary.BigEndian.Uint64(record[1:]), binary.BigEndian.Uint64(record[9:])
		switch {
		case block != firstBlock:
			return c.index.narrow(first, last)
		case oldest:
			return c.index.begin(first, last)
		case first != c.index.first || last != c.index.last:
			return fmt.Errorf("it follows the entries %d to %d, and there are %d to %d", first, last, c.index.first, c.index.last)
		}
	}
	return nil
}

func (c *content) close() error {
	var errs []error
	for _, s := range c.segments {
		errs = append(errs, s.file.Close())
	}
	if c.extra != nil {
		errs = append(errs, c.extra.file.Close())
	}
	if c.lock != nil {
		errs = append(errs, c.lock.Close())
	}
	return errors.Join(errs...)
}

func (c *content) segment(number uint32) *segment { return c.segments[number-c.segments[0].number] }

func (c *content) get(number uint64, log *raft.Log) error {
	p := c.index.places[number-c.index.first]
	s := c.segment(p.segment)
	record, err := s.get(p.block, p.at, p.size)
	if err == nil {
		err = decode(number, record, log)
	}
	if err != nil {
		return damaged(s.file.Name(), "%w", err)
	}
	return nil
}

// Entries reads and verifies the log of a store that no process has open, entry by entry. An error is the last that it
// yields. The entries are the caller's own. A directory without a log has none.
func Entries(dir string) iter.Seq2[raft.Log, error] {
	return func(yield func(raft.Log, error) bool) {
		if exists, err := Exists(dir); !exists {
			if err != nil {
				yield(raft.Log{}, err)
			}
			return
		}
		c, err := load(dir, os.O_RDONLY)
		if err != nil {
			yield(raft.Log{}, err)
			return
		}
		defer c.close() // it was only read
		for number := c.index.first; number <= c.index.last && !c.index.empty(); number++ {
			var log raft.Log
			err := c.get(number, &log)
			if !yield(log, err) || err != nil {
				return
			}
		}
	}
}
