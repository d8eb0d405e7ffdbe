package logstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// errNotFound has the text that raft looks for.
var errNotFound = errors.New("not found")

// notFound tells raft's own two words for it, which go through as they are: raft compares them.
func notFound(err error) bool { return err == raft.ErrLogNotFound || err == errNotFound }

// Bounds of a stable value and of its key: every segment begins with all of them.
const (
	maxKey   = 256
	maxValue = 64 << 10
)

// Set writes a stable value durably.
func (s *Store) Set(key, value []byte) error {
	return s.do("write a stable value to", func() error {
		if len(key) > maxKey || len(value) > maxValue {
			return fmt.Errorf("a key of %d bytes and a value of %d: at most %d and %d", len(key), len(value), maxKey, maxValue)
		}
		s.writing.Lock()
		defer s.writing.Unlock()
		record := appendValue(nil, string(key), value)
		if _, _, err := s.append(len(record), func(l *layout) { l.put(record) }); err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.content.values[string(key)] = bytes.Clone(value)
		return nil
	})
}

// Get reads a stable value. One that is not there is an error with raft's own text, for raft compares it.
func (s *Store) Get(key []byte) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	value, found := s.content.values[string(key)]
	switch {
	case s.failed != nil:
		return nil, s.failed
	case !found:
		return nil, errNotFound
	}
	return bytes.Clone(value), nil
}

// SetUint64 writes a stable number.
func (s *Store) SetUint64(key []byte, value uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

// GetUint64 reads a stable number.
func (s *Store) GetUint64(key []byte) (number uint64, err error) {
	value, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(value) != 8 {
		return 0, fmt.Errorf("the stable value %q is no number: it is %d bytes long", key, len(value))
	}
	return binary.BigEndian.Uint64(value), nil
}
