// Package guard has the target of a write refuse a holder that has been overtaken. It is what makes a lease safe whatever
// happens to clocks, networks and processes: the worker that was paused for a minute and writes now carries an old token, and
// the target has seen a newer one.
//
// A guard keeps a high-water mark: the newest token that has written, for each pair of target and lease. The lease is
// part of the pair because tokens are ordered within one lease only: two branches of a workflow, or the holders of two permits
// of a lock, may write to one target in any order, and neither is the other's zombie. Name a run's lease by its
// idempotency key, an exclusive lock's by its name, and a permit's by name and slot (client.Lock.Key).
//
// Holders of a shared lock hold at the same time, each with its own token, and cannot be told apart from zombies by a mark:
// ask CheckToken of the API for them.
//
// Use SQL where what is written is in a database: mark and write are one transaction. Use Handler in front of an HTTP
// service, and Transport in its clients.
package guard

import (
	"context"
	"fmt"
	"sync"
)

// Key is what a high-water mark is kept for.
type Key struct {
	// Target is what is written to: a row, a bucket, a device, a service.
	Target string
	// Lease under which it is written.
	Lease string
}

// String is the pair for people.
func (k Key) String() string { return fmt.Sprintf("%s under lease %s", k.Target, k.Lease) }

// validate refuses keys and tokens that would guard nothing.
func validate(key Key, token int64) error {
	switch {
	case key.Target == "" || key.Lease == "":
		return fmt.Errorf("guard: a key needs target and lease; this one has %q and %q", key.Target, key.Lease)
	case token <= 0:
		return fmt.Errorf("guard: token %d is none; give the token of the lease", token)
	}
	return nil
}

// FencedError says that a newer holder has written: whoever gave the older token must not write, and has lost its lease.
type FencedError struct {
	Key Key
	// Have is the newest token that has written; Given is the one that was refused.
	Have, Given int64
}

// Error says both tokens.
func (e *FencedError) Error() string {
	return fmt.Sprintf("FENCED: token %d is over for %s: token %d has written", e.Given, e.Key, e.Have)
}

// Store keeps high-water marks.
type Store interface {
	// Raise lifts the mark of key to token, or refuses a token below it with a *FencedError, in one atomic step. A token equal
	// to the mark is its holder's next write.
	Raise(ctx context.Context, key Key, token int64) error
}

// Memory keeps marks for as long as the process lives. A service that restarts with it forgets them: use it where what it guards
// is forgotten too. It is safe for concurrent use; the zero value is ready.
type Memory struct {
	mu    sync.Mutex
	marks map[Key]int64
}

// Raise is Store's.
func (m *Memory) Raise(_ context.Context, key Key, token int64) error {
	if err := validate(key, token); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if have := m.marks[key]; token < have {
		return &FencedError{Key: key, Have: have, Given: token}
	}
	if m.marks == nil {
		m.marks = map[Key]int64{}
	}
	m.marks[key] = token
	return nil
}
