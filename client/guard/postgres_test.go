//go:build unix

package guard_test

import (
	"context"
	"database/sql"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	_ "github.com/lib/pq" // talks to the PostgreSQL that the test starts, where there is one

	"github.com/lockstep-dev/lockstep/client/guard"
	"github.com/lockstep-dev/lockstep/jepsen/require"
)

// postgresBin finds the directory of PostgreSQL's programs, which Debian keeps out of PATH.
func postgresBin(t *testing.T) string {
	t.Helper()
	if initdb, err := exec.LookPath("initdb"); err == nil {
		if initdb, err = filepath.EvalSymlinks(initdb); err != nil {
			t.Fatal(err)
		}
		return filepath.Dir(initdb)
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		require.Missing(t, "postgres", "no initdb in PATH or /usr/lib/postgresql")
	}
	return filepath.Dir(found[len(found)-1])
}

// openPostgres starts a PostgreSQL of the test's own, reached by a socket in its directory. PostgreSQL does not run as root:
// then it runs as postgres, or as nobody.
func openPostgres(t *testing.T) *sql.DB {
	t.Helper()
	bin := postgresBin(t)
	dir, err := os.MkdirTemp("", "guard") // a TempDir of the test is nobody else's, and too long a path for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	attr := &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		attr.Credential = unprivileged(t)
		if err := os.Chown(dir, int(attr.Credential.Uid), int(attr.Credential.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	run := func(name string, args ...string) {
		t.Helper()
		// Output goes to a file: the server inherits it, and a pipe would be waited for.
		log, err := os.CreateTemp(t.TempDir(), name)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = log.Close() }()
		cmd := exec.Command(filepath.Join(bin, name), args...)
		cmd.Dir, cmd.SysProcAttr, cmd.Stdout, cmd.Stderr = dir, attr, log, log
		if err := cmd.Run(); err != nil {
			said, _ := os.ReadFile(log.Name()) // the error is told without it
			t.Fatalf("%s: %v\n%s", name, err, said)
		}
	}
	data := filepath.Join(dir, "data")
	run("initdb", "--no-sync", "--auth=trust", "--username=lockstep", "--locale=C", "--encoding=UTF8", "-D", data)
	run("pg_ctl", "start", "-w", "-D", data, "-o", "-F -k "+dir+" -c listen_addresses=''")
	t.Cleanup(func() { run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", data) })
	db, err := sql.Open("postgres", "host="+dir+" user=lockstep dbname=postgres sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func unprivileged(t *testing.T) *syscall.Credential {
	t.Helper()
	for _, name := range []string{"postgres", "nobody"} {
		who, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(who.Uid, 10, 32)
		if err != nil {
			continue
		}
		gid, err := strconv.ParseUint(who.Gid, 10, 32)
		if err != nil {
			continue
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	t.Fatal("PostgreSQL does not run as root, and there is no user postgres or nobody")
	return nil
}

func TestPostgreSQL(t *testing.T) {
	db := openPostgres(t)
	g, err := guard.OpenSQL(t.Context(), db, guard.PostgreSQL)
	if err != nil {
		t.Fatal(err)
	}
	raises(t, g)
	fencesWrites(t, db, g)
	overlaps(t, g)
	t.Run("waits in the database", func(t *testing.T) { waitsForRow(t, db, g) })
}

// waitsForRow: the older writer is seen to wait for the newer one's row, not for anything in this process.
func waitsForRow(t *testing.T, db *sql.DB, g *guard.SQL) {
	key := guard.Key{Target: "row", Lease: "waits"}
	older := make(chan error, 1)
	err := g.Tx(t.Context(), key, 2, func(*sql.Tx) error {
		go func() {
			older <- g.Tx(context.WithoutCancel(t.Context()), key, 1, func(*sql.Tx) error { return nil })
		}()
		for waiting := 0; waiting == 0; {
			if err := db.QueryRow(`SELECT count(*) FROM pg_locks WHERE NOT granted`).Scan(&waiting); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-older; !fenced(err) {
		t.Errorf("the older writer: %v", err)
	}
}
