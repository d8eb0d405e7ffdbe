package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Exit statuses of `lock run`, beside its command's own.
const (
	exitLockTimeout = 124
	exitLockLost    = 123
	exitLockError   = 125
)

func (c *cli) lockRun() *cobra.Command {
	var o client.LockOptions
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "run NAME -- CMD ARG...",
		Short: "Run a command while holding a lock",
		Long: `Run a command while holding a lock. The command's environment has LOCKSTEP_LOCK, LOCKSTEP_SLOT for a lock with a limit,
and LOCKSTEP_TOKEN: have what it writes to refuse older ones. The status is the command's, or

    123  the lock was lost: the command's process group got SIGTERM, and SIGKILL 5 s later
    124  the lock was not free within --wait
    125  something else went wrong`,
		Example: `  lockstep lock run nightly-report --wait 10m -- ./report.sh
  lockstep lock run build-slots --limit 4 -- make`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 || cmd.ArgsLenAtDash() > 1 {
				return usage("give a lock's name and a command: lockstep lock run NAME -- CMD")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Wait = wait
			if !cmd.Flags().Changed("wait") {
				o.Wait = -1
			}
			return c.runLocked(cmd.Context(), args[0], args[1:], o)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(true)
	f.DurationVar(&wait, "wait", 0, "how long to wait for the lock, 0 not at all; default: for ever")
	f.BoolVar(&o.Shared, "shared", false, "shared with other shared holders")
	f.Int32Var(&o.Limit, "limit", 0, "permits of the lock; 0 is exclusive or shared")
	f.Int32Var(&o.Take, "take", 0, "permits to take")
	f.StringVar(&o.Note, "note", "", "note that others can read; default: this host and process")
	f.DurationVar(&o.Session.TTL, "ttl", client.DefaultTTL, "how long after this process's death the lock is others'")
	return cmd
}

// runLocked runs the command under the lock. Its error carries the status.
func (c *cli) runLocked(ctx context.Context, name string, command []string, o client.LockOptions) error {
	if o.Note == "" {
		host, _ := os.Hostname() // a note without a host is still one
		o.Note = fmt.Sprintf("%s/%d", host, os.Getpid())
	}
	connection, err := c.client(nil)
	if err != nil {
		return &exitError{exitLockError, err}
	}
	defer connection.Close()
	lock, err := connection.Lock(ctx, name, o)
	switch {
	case client.IsWaitTimeout(err), client.IsCode(err, v1.Code_CODE_LOCK_HELD):
		return &exitError{exitLockTimeout, err}
	case err != nil:
		return &exitError{exitLockError, err}
	}
	status, err := c.runHolding(ctx, lock, command)
	releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	lost := lock.Err()
	if failed := lock.Release(releasing); failed != nil && lost == nil {
		fmt.Fprintf(c.stderr, "lockstep: %s; the lock is free when its session ends, in %s at most\n", c.explain(failed), lock.Session().TTL())
	}
	switch {
	case lost != nil:
		return &exitError{exitLockLost, fmt.Errorf("lock %s was lost while the command ran: %w", name, lost)}
	case err != nil:
		return &exitError{exitLockError, err}
	case status != 0:
		return &exitError{code: status}
	}
	return nil
}

// runHolding runs the command until it ends, the lock is lost, or this process is told to stop.
func (c *cli) runHolding(ctx context.Context, lock *client.Lock, command []string) (status int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(lock.Context(), cancel)()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.stdin, c.stdout, c.stderr
	cmd.Env = append(os.Environ(), "LOCKSTEP_SERVER="+strings.Join(c.servers, ","), "LOCKSTEP_LOCK="+lock.Name, "LOCKSTEP_TOKEN="+strconv.FormatInt(lock.Token, 10))
	if lock.Slot > 0 {
		cmd.Env = append(cmd.Env, "LOCKSTEP_SLOT="+strconv.Itoa(int(lock.Slot)))
	}
	err = runGroup(ctx, cmd, execGrace)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return 128 + int(ws.Signal()), nil // as a shell says it
		}
		return exit.ExitCode(), nil
	}
	if errors.Is(err, context.Canceled) {
		return 128 + int(syscall.SIGTERM), nil
	}
	return 0, err
}
