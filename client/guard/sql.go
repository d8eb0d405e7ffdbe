package guard

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// Dialect is a database's way to write parameters.
type Dialect int

const (
	// SQLite 3.24 or newer.
	SQLite Dialect = iota
	// PostgreSQL 9.5 or newer.
	PostgreSQL
)

// SQL guards what is written to a database: the mark is raised in the transaction that writes, so that either both happen
// or neither. Marks are in the table lockstep_guard. It is safe for concurrent use.
//
// Whoever raised a mark holds its row until the transaction ends: writers under one lease go one after the other, and one with
// an older token that waits for a newer one is refused when it gets its turn.
type SQL struct {
	db           *sql.DB
	raise, newer string
}

const table = `CREATE TABLE IF NOT EXISTS lockstep_guard (
	target TEXT NOT NULL,
	lease TEXT NOT NULL,
	token BIGINT NOT NULL,
	PRIMARY KEY (target, lease)
)`

// OpenSQL makes the table of marks, unless it is there.
func OpenSQL(ctx context.Context, db *sql.DB, dialect Dialect) (*SQL, error) {
	if _, err := db.ExecContext(ctx, table); err != nil {
		return nil, fmt.Errorf("guard: create table lockstep_guard: %w", err)
	}
	return &SQL{
		db: db,
		raise: dialect.query(`INSERT INTO lockstep_guard (target, lease, token) VALUES (?, ?, ?)
			ON CONFLICT (target, lease) DO UPDATE SET token = excluded.token WHERE lockstep_guard.token <= excluded.token`),
		newer: dialect.query(`SELECT token FROM lockstep_guard WHERE target = ? AND lease = ?`),
	}, nil
}

func (d Dialect) query(q string) string {
	for n := 1; d == PostgreSQL && strings.Contains(q, "?"); n++ {
		q = strings.Replace(q, "?", fmt.Sprintf("$%d", n), 1)
	}
	return q
}

// Tx writes in a transaction that commits only if no newer token has written under the lease: else nothing is written, and
// the error is a *FencedError. An error of write rolls back too, the mark included.
func (g *SQL) Tx(ctx context.Context, key Key, token int64, write func(*sql.Tx) error) (err error) {
	tx, err := g.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("guard: begin: %w", err)
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback() // what failed is told; a transaction that cannot be rolled back is not committed either
		}
	}()
	if err := g.Check(ctx, tx, key, token); err != nil {
		return err
	}
	if err := write(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("guard: commit: %w", err)
	}
	return nil
}

// Check raises the mark in a transaction of the caller, which must be rolled back on an error. Call it first: it takes the
// lock that has older and newer writers wait for each other.
func (g *SQL) Check(ctx context.Context, tx *sql.Tx, key Key, token int64) error {
	if err := validate(key, token); err != nil {
		return err
	}
	result, err := tx.ExecContext(ctx, g.raise, key.Target, key.Lease, token)
	if err != nil {
		return fmt.Errorf("guard: raise the mark of %s: %w", key, err)
	}
	switch changed, err := result.RowsAffected(); {
	case err != nil:
		return fmt.Errorf("guard: raise the mark of %s: %w", key, err)
	case changed > 0:
		return nil
	}
	refused := &FencedError{Key: key, Given: token}
	if err := tx.QueryRowContext(ctx, g.newer, key.Target, key.Lease).Scan(&refused.Have); err != nil {
		return errors.Join(refused, fmt.Errorf("guard: read the mark: %w", err))
	}
	return refused
}

// Raise is Store's, for writes that are not in the database: the mark is safe there, and the write comes after it.
func (g *SQL) Raise(ctx context.Context, key Key, token int64) error {
	return g.Tx(ctx, key, token, func(*sql.Tx) error { return nil })
}
