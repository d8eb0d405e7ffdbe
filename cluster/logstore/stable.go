package logstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"go.etcd.io/bbolt"
)

// errNotFound has the text that raft looks for.
var errNotFound = errors.New("not found")

// Set writes a stable value durably, with a checksum over it and its key.
func (s *Store) Set(key, value []byte) error {
	return s.do("write a stable value to", func() error {
		return s.update(func(tx *bbolt.Tx, _ *extent) error {
			bucket := tx.Bucket([]byte(stableBucket))
			if err := bucket.Put(key, binary.BigEndian.AppendUint32(bytes.Clone(value), stableSum(key, value))); err != nil {
				return err
			}
			var seal uint64
			err := bucket.ForEach(func(key, value []byte) error {
				share, err := stableMark(key, value)
				seal += share
				return err
			})
			if err != nil {
				return damaged(s.path, "%w", err)
			}
			return bucket.SetSequence(seal)
		})
	})
}

func stableSum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// stableMark verifies a value as it is stored, and returns its share of its bucket's seal.
func stableMark(key, value []byte) (uint64, error) {
	_, err := unsealed(key, value)
	return mark(uint64(len(key)), stableSum(key, value)), err
}

// unsealed takes the checksum off a value.
func unsealed(key, value []byte) ([]byte, error) {
	cut := len(value) - sumSize
	if cut < 0 || binary.BigEndian.Uint32(value[cut:]) != stableSum(key, value[:cut]) {
		return nil, fmt.Errorf("the stable value %q does not match its checksum", key)
	}
	return value[:cut], nil
}

// Get reads a stable value. One that is not there is an error with raft's own text, for raft compares it.
func (s *Store) Get(key []byte) (value []byte, err error) {
	err = s.do("read a stable value of", func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			stored := tx.Bucket([]byte(stableBucket)).Get(key)
			if stored == nil {
				return errNotFound
			}
			if value, err = unsealed(key, bytes.Clone(stored)); err != nil {
				return damaged(s.path, "%w", err)
			}
			return nil
		})
	})
	return value, err
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
