package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func (c *cli) lockCommand() *cobra.Command {
	parent := &cobra.Command{Use: "lock", Short: "Hold locks, and see who does"}
	parent.AddCommand(c.lockRun(), c.lockAcquire(), c.lockRelease(), c.lockList(), c.lockRevoke())
	return parent
}

func (c *cli) lockAcquire() *cobra.Command {
	r := &v1.AcquireLockRequest{}
	var wait, ttl time.Duration
	cmd := &cobra.Command{
		Use: "acquire NAME", Short: "Hold a lock for the time of a session", Args: cobra.ExactArgs(1),
		Long: "Hold a lock. Without --session a session is opened with --ttl, and the lock is lost when that ends. `lock run` is safer: it keeps the session alive while a command runs.",
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Namespace, r.Lock, r.Wait = c.namespace, args[0], durationpb.New(wait)
			if r.SessionId == "" {
				s, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.OpenSessionRequest]) (*connect.Response[v1.Session], error) {
					return a.workers.OpenSession
				}, &v1.OpenSessionRequest{Namespace: c.namespace, Ttl: durationpb.New(ttl), Worker: "lockstep lock acquire"})
				if err != nil {
					return err
				}
				r.SessionId = s.SessionId
			}
			res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.AcquireLockRequest]) (*connect.Response[v1.AcquireLockResponse], error) {
				return a.locks.AcquireLock
			}, r)
			if err != nil {
				return err
			}
			return c.print(res, func() {
				fmt.Fprintf(c.stdout, "held under token %d by session %s\nrelease it:  lockstep lock release %s --token %d\n", res.Token, r.SessionId, args[0], res.Token)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.SessionId, "session", "", "session; default: a new one")
	f.BoolVar(&r.Shared, "shared", false, "shared with other shared holders")
	f.Int32Var(&r.Limit, "limit", 0, "permits of the lock; 0 is exclusive or shared")
	f.Int32Var(&r.Take, "take", 0, "permits to take")
	f.StringVar(&r.Note, "note", "", "note that others can read")
	f.DurationVar(&wait, "wait", 0, "wait for it, up to 60s")
	f.DurationVar(&ttl, "ttl", time.Minute, "ttl of a new session")
	return cmd
}

func (c *cli) lockRelease() *cobra.Command {
	var token int64
	cmd := &cobra.Command{Use: "release NAME", Short: "Give a lock back", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ReleaseLockRequest]) (*connect.Response[v1.ReleaseLockResponse], error) {
			return a.locks.ReleaseLock
		}, &v1.ReleaseLockRequest{Namespace: c.namespace, Lock: args[0], Token: token})
		if err != nil {
			return err
		}
		return c.print(res, func() { fmt.Fprintln(c.stdout, "released", args[0]) })
	}}
	cmd.Flags().Int64Var(&token, "token", 0, "token that came with the lock")
	return cmd
}

func (c *cli) lockList() *cobra.Command {
	var prefix string
	cmd := &cobra.Command{Use: "list", Short: "List locks and who holds them", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ListLocksRequest]) (*connect.Response[v1.ListLocksResponse], error) {
			return a.locks.ListLocks
		}, &v1.ListLocksRequest{Namespace: c.namespace, Prefix: prefix, Limit: 1000})
		if err != nil {
			return err
		}
		return c.print(res, func() {
			var rows [][]string
			for _, l := range res.Locks {
				for _, h := range l.Holders {
					rows = append(rows, lockRow(l, h, ""))
				}
				for _, h := range l.Held {
					rows = append(rows, lockRow(l, h, ", held"))
				}
			}
			c.table([]string{"lock", "mode", "holder", "token", "since", "waiting", "note"}, rows)
		})
	}}
	cmd.Flags().StringVar(&prefix, "prefix", "", "only names that begin so")
	return cmd
}

// lockRow is who has a lock: a session, a run, or what holds it for longer than a run.
func lockRow(l *v1.Lock, h *v1.LockHolder, held string) []string {
	holder := "session " + h.SessionId
	if h.InstanceId != "" {
		holder = strings.TrimSpace(h.InstanceId + " " + h.Step)
	}
	mode := "exclusive"
	switch {
	case l.Limit > 0:
		mode = fmt.Sprintf("%d of %d", h.Take, l.Limit)
	case h.Shared:
		mode = "shared"
	}
	return []string{l.Lock, mode + held, holder, strconv.FormatInt(h.Token, 10), when(h.Since), strconv.FormatInt(l.Waiters, 10), h.Note}
}

func (c *cli) lockRevoke() *cobra.Command {
	var reason string
	cmd := &cobra.Command{Use: "revoke TOKEN", Short: "Take a lease, of a lock or a run, from its holder", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		token, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil {
			return usage("%q is no token", args[0])
		}
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.RevokeLeaseRequest]) (*connect.Response[v1.RevokeLeaseResponse], error) {
			return a.locks.RevokeLease
		}, &v1.RevokeLeaseRequest{Namespace: c.namespace, Token: token, Reason: reason})
		if err != nil {
			return err
		}
		return c.print(res, func() { fmt.Fprintln(c.stdout, "revoked", token) })
	}}
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	return cmd
}
