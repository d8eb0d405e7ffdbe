package guard_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite" // the embedded database that the guard is always tested on

	"github.com/lockstep-dev/lockstep/client/guard"
)

func openSQLite(t *testing.T) (*sql.DB, *guard.SQL) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "guard.db")+"?_pragma=busy_timeout(5000)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	g, err := guard.OpenSQL(t.Context(), db, guard.SQLite)
	if err != nil {
		t.Fatal(err)
	}
	return db, g
}

func TestSQLite(t *testing.T) {
	db, g := openSQLite(t)
	raises(t, g)
	fencesWrites(t, db, g)
	overlaps(t, g)
}

// fencesWrites is what the guard does for any database: a zombie's write leaves nothing behind, and neither does one
// that fails, not even its mark.
func fencesWrites(t *testing.T, db *sql.DB, g *guard.SQL) {
	t.Helper()
	ctx := t.Context()
	if _, err := db.ExecContext(ctx, `CREATE TABLE ledger (entry TEXT)`); err != nil {
		t.Fatal(err)
	}
	key := guard.Key{Target: "ledger", Lease: "fences"}
	write := func(token int64, entry string, fails error) error {
		return g.Tx(ctx, key, token, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO ledger VALUES ('`+entry+`')`)
			return errors.Join(err, fails)
		})
	}
	broken := errors.New("broken")
	for _, step := range []struct {
		token int64
		entry string
		fails error
		want  func(error) bool
	}{
		{1, "first", nil, ok},
		{9, "broken", broken, func(err error) bool { return errors.Is(err, broken) }},
		{2, "second", nil, ok}, // 9 never wrote
		{1, "zombie", nil, fenced},
		{2, "third", nil, ok},
	} {
		if err := write(step.token, step.entry, step.fails); !step.want(err) {
			t.Errorf("writing %s: %v", step.entry, err)
		}
	}
	rows, err := db.QueryContext(ctx, `SELECT entry FROM ledger`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var entries []string
	for rows.Next() {
		var entry string
		if err := rows.Scan(&entry); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, entry)
	}
	if got := fmt.Sprint(entries); got != "[first second third]" || rows.Err() != nil {
		t.Errorf("ledger has %s, %v", got, rows.Err())
	}
}

func ok(err error) bool { return err == nil }

func fenced(err error) bool {
	f := (*guard.FencedError)(nil)
	return errors.As(err, &f)
}

// overlaps: the older of two writers that are in the database at once waits for the newer one, and is then refused.
func overlaps(t *testing.T, g *guard.SQL) {
	t.Helper()
	key := guard.Key{Target: "ledger", Lease: "overlaps"}
	inside, older := make(chan struct{}), make(chan error, 1)
	err := g.Tx(t.Context(), key, 2, func(*sql.Tx) error {
		go func() {
			close(inside)
			older <- g.Tx(context.WithoutCancel(t.Context()), key, 1, func(*sql.Tx) error { return nil })
		}()
		<-inside
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-older; !fenced(err) {
		t.Errorf("the older writer: %v", err)
	}
}

// What keeps the table from being made, or a transaction from being begun, is told.
func TestSQLFails(t *testing.T) {
	db, g := openSQLite(t)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := g.Raise(t.Context(), key, 1); err == nil || fenced(err) {
		t.Errorf("a closed database: %v", err)
	}
	if _, err := guard.OpenSQL(t.Context(), db, guard.SQLite); err == nil {
		t.Error("a closed database was opened")
	}
}

func ExampleSQL_Tx() {
	ctx := context.Background()
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		panic(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // each connection to :memory: is a database of its own
	if _, err := db.Exec(`CREATE TABLE payments (invoice TEXT)`); err != nil {
		panic(err)
	}
	g, err := guard.OpenSQL(ctx, db, guard.SQLite)
	if err != nil {
		panic(err)
	}
	pay := func(token int64) error {
		key := guard.Key{Target: "payments", Lease: "default/order-17/charge/0"}
		return g.Tx(ctx, key, token, func(tx *sql.Tx) error {
			_, err := tx.Exec(`INSERT INTO payments VALUES ('order-17')`)
			return err
		})
	}
	fmt.Println(pay(42)) // the second attempt
	fmt.Println(pay(41)) // the first, which was paused all the while
	// Output:
	// <nil>
	// FENCED: token 41 is over for payments under lease default/order-17/charge/0: token 42 has written
}

// A database is opened in its dialect, which makes the table of marks: on PostgreSQL with guard.PostgreSQL.
func ExampleDialect() {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		panic(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // each connection to :memory: is a database of its own
	if _, err := guard.OpenSQL(context.Background(), db, guard.SQLite); err != nil {
		panic(err)
	}
	var table string
	fmt.Println(db.QueryRow(`SELECT name FROM sqlite_master WHERE type = 'table'`).Scan(&table), table)
	// Output: <nil> lockstep_guard
}
