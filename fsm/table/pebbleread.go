package table

import (
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

func (e *pebbleEngine) Get(key []byte) (value []byte, found bool, err error) {
	err = e.call(func() error { value, found, err = pebbleGet(e.db, key); return err })
	return value, found, err
}

func (e *pebbleEngine) Scan(lo, hi []byte, fn func(key, value []byte) bool) error {
	return e.call(func() error { return pebbleScan(e.db, lo, hi, fn, false) })
}

func (e *pebbleEngine) ScanBack(lo, hi []byte, fn func(key, value []byte) bool) error {
	return e.call(func() error { return pebbleScan(e.db, lo, hi, fn, true) })
}

func (e *pebbleEngine) Snapshot() Snapshot {
	if err := e.pin(); err != nil {
		return refusedSnapshot{err}
	}
	return &pebbleSnapshot{e, e.db.NewSnapshot()}
}

// pebbleSnapshot pins the engine's files until it is closed.
type pebbleSnapshot struct {
	engine *pebbleEngine
	view   *pebble.Snapshot
}

func (s *pebbleSnapshot) Get(key []byte) ([]byte, bool, error) {
	if err := s.engine.err(); err != nil {
		return nil, false, err
	}
	value, found, err := pebbleGet(s.view, key)
	return value, found, s.engine.checked(err)
}

func (s *pebbleSnapshot) Scan(lo, hi []byte, fn func(key, value []byte) bool) error {
	return s.scan(lo, hi, fn, false)
}

func (s *pebbleSnapshot) ScanBack(lo, hi []byte, fn func(key, value []byte) bool) error {
	return s.scan(lo, hi, fn, true)
}

func (s *pebbleSnapshot) scan(lo, hi []byte, fn func(key, value []byte) bool, back bool) error {
	if err := s.engine.err(); err != nil {
		return err
	}
	return s.engine.checked(pebbleScan(s.view, lo, hi, fn, back))
}

func (s *pebbleSnapshot) Close() error {
	if err := s.engine.err(); err != nil {
		return err
	}
	return errors.Join(s.view.Close(), s.engine.unpin())
}

// refusedSnapshot is what a closed or failed engine gives.
type refusedSnapshot struct{ err error }

func (s refusedSnapshot) Get([]byte) ([]byte, bool, error)                           { return nil, false, s.err }
func (s refusedSnapshot) Scan(_, _ []byte, _ func(key, value []byte) bool) error     { return s.err }
func (s refusedSnapshot) ScanBack(_, _ []byte, _ func(key, value []byte) bool) error { return s.err }
func (s refusedSnapshot) Close() error                                               { return nil }

func pebbleGet(r pebble.Reader, key []byte) ([]byte, bool, error) {
	value, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	value = slices.Clone(value)
	return value, true, closer.Close()
}

func pebbleScan(r pebble.Reader, lo, hi []byte, fn func(key, value []byte) bool, back bool) (err error) {
	bounds := &pebble.IterOptions{LowerBound: lo}
	if len(hi) > 0 {
		bounds.UpperBound = hi
	}
	it, err := r.NewIter(bounds)
	if err != nil {
		return err
	}
	// Close tells of the iterator's own error too.
	defer func() { err = errors.Join(err, it.Close()) }()
	first, next := it.First, it.Next
	if back {
		first, next = it.Last, it.Prev
	}
	for ok := first(); ok; ok = next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if !fn(it.Key(), value) {
			return nil
		}
	}
	return nil
}
