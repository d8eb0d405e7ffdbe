package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// pgServer is a PostgreSQL of our own, reached by a socket in its directory.
type pgServer struct {
	dir  string
	cmd  *exec.Cmd
	pool *pgxpool.Pool
}

func startPostgres(ctx context.Context, connections int) (s *pgServer, err error) {
	s = &pgServer{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return s, fmt.Errorf("there is no PostgreSQL in /usr/lib/postgresql; scripts/deps installs it")
	}
	bin := filepath.Dir(found[len(found)-1])
	if s.dir, err = os.MkdirTemp("", "peers-pg"); err != nil {
		return s, err
	}
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 { // PostgreSQL does not run as root
		who, err := user.Lookup("postgres")
		if err != nil {
			return s, err
		}
		uid, _ := strconv.Atoi(who.Uid) // it is a number on unix
		gid, _ := strconv.Atoi(who.Gid)
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(s.dir, uid, gid); err != nil {
			return s, err
		}
	}
	data := filepath.Join(s.dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-A", "trust", "-U", "postgres")
	initdb.Dir, initdb.SysProcAttr = s.dir, attr
	if out, err := initdb.CombinedOutput(); err != nil {
		return s, fmt.Errorf("initdb: %w: %s", err, out)
	}
	s.cmd = exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-k", s.dir, "-c", "listen_addresses=", "-c", fmt.Sprint("max_connections=", connections+10))
	s.cmd.Dir, s.cmd.SysProcAttr = s.dir, attr
	if err := s.cmd.Start(); err != nil {
		return s, err
	}
	s.pool, err = pgxpool.New(ctx, fmt.Sprintf("host=%s user=postgres dbname=postgres pool_max_conns=%d", s.dir, connections))
	if err != nil {
		return s, err
	}
	ready, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		if err = s.pool.Ping(ready); err == nil || ready.Err() != nil {
			return s, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (s *pgServer) close() error {
	if s.pool != nil {
		s.pool.Close()
	}
	if s.cmd != nil && s.cmd.Process != nil {
		_ = s.cmd.Process.Signal(syscall.SIGQUIT) // its children end with it; it may have ended
		_ = s.cmd.Wait()                          // it was told to end
	}
	return os.RemoveAll(s.dir)
}

const pgSchema = `
CREATE TABLE step (
	id bigserial PRIMARY KEY, workflow bigint NOT NULL, number int NOT NULL, state text NOT NULL,
	token bigint NOT NULL DEFAULT 0, input text NOT NULL, output text
);
CREATE INDEX ready ON step (id) WHERE state = 'ready';
CREATE SEQUENCE token;`

// The claim takes the oldest ready step that nobody else is taking; the completion compares the token and makes the next
// step ready, in one statement.
const (
	pgClaim = `UPDATE step SET state = 'leased', token = nextval('token') WHERE id =
		(SELECT id FROM step WHERE state = 'ready' ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING id, token`
	pgComplete = `WITH done AS (UPDATE step SET state = 'done', output = $3 WHERE id = $1 AND token = $2 AND state = 'leased' RETURNING workflow, number)
		INSERT INTO step (workflow, number, state, input) SELECT CASE WHEN number = 9 THEN workflow + 1000000 ELSE workflow END,
		(number + 1) % 10, 'ready', $3 FROM done`
)

// postgres measures claims by SKIP LOCKED and completions: workflows of ten steps, 10,000 of them live.
func postgres(ctx context.Context, o options) (figures []figure, err error) {
	const connections = 64
	s, err := startPostgres(ctx, connections)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if _, err := s.pool.Exec(ctx, pgSchema); err != nil {
		return nil, err
	}
	if _, err := s.pool.Exec(ctx, `INSERT INTO step (workflow, number, state, input) SELECT n, 0, 'ready', $1 FROM generate_series(1, 10000) n`, string(o.payload)); err != nil {
		return nil, err
	}
	f, err := o.measure(ctx, "claim and complete a step", connections, func(ctx context.Context, _ int) (bool, error) {
		var id, token int64
		err := s.pool.QueryRow(ctx, pgClaim).Scan(&id, &token)
		if errors.Is(err, pgx.ErrNoRows) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		done, err := s.pool.Exec(ctx, pgComplete, id, token, string(o.payload))
		return err == nil && done.RowsAffected() == 1, err
	})
	return []figure{f}, err
}
