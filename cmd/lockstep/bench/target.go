package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/cmd/lockstep/local"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
	lockstepv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1/lockstepv1connect"
)

// target is the cluster under load. What of it is ours ends with close.
type target struct {
	Config
	servers []string
	own     *local.Cluster // nil when the cluster is somebody else's
	dir     string         // of an own cluster
	http    *http.Client
	problem func(format string, args ...any)
	report  *Report // of which this is one run
	run     int
}

func newHTTPClient() *http.Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{Protocols: protocols}}
}

// open reaches a cluster, or starts one, and waits until every server follows the leader. It returns what is to be
// closed also when it fails.
func open(ctx context.Context, c Config) (t *target, err error) {
	t = &target{Config: c, servers: c.Servers, http: newHTTPClient()}
	if len(c.Servers) == 0 {
		if err := t.start(); err != nil {
			return t, err
		}
	}
	return t, t.ready(ctx)
}

func (t *target) start() (err error) {
	t.Say("starting three servers")
	if t.dir, err = os.MkdirTemp(t.Dir, "lockstep-bench-"); err != nil {
		return err
	}
	args := []string{"--log-level", "warn"}
	if t.Heartbeat != 0 {
		args = append(args, "--heartbeat", t.Heartbeat.String())
	}
	if t.Profile != "" {
		args = append(args, "--pprof")
	}
	t.own, err = local.Create(local.Config{Dir: filepath.Join(t.dir, "cluster"), Binary: t.Binary, Size: 3, Args: args})
	if err != nil {
		return err
	}
	for _, n := range t.own.Nodes {
		if err := t.own.StartAttached(n.Number); err != nil {
			return err
		}
	}
	t.servers = t.own.APIs()
	return nil
}

// close ends an own cluster, and leaves nothing of it behind.
func (t *target) close() error {
	t.http.CloseIdleConnections()
	var errs []error
	if t.own != nil {
		errs = append(errs, t.own.Down(10*time.Second))
	}
	if t.dir != "" {
		errs = append(errs, os.RemoveAll(t.dir))
	}
	return errors.Join(errs...)
}

// status asks one server.
func (t *target) status(ctx context.Context, server string) (*v1.GroupStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	reply, err := lockstepv1.NewClusterServiceClient(t.http, url(server)).GetStatus(ctx, connect.NewRequest(&v1.GetStatusRequest{Local: true}))
	if err != nil {
		return nil, err
	}
	if len(reply.Msg.Groups) != 1 {
		return nil, fmt.Errorf("%s has %d groups", server, len(reply.Msg.Groups))
	}
	return reply.Msg.Groups[0], nil
}

func url(server string) string {
	if strings.Contains(server, "://") {
		return server
	}
	return "http://" + server
}

const readyWithin = time.Minute

// ready waits until one server leads, and every other one has applied what it had committed.
func (t *target) ready(ctx context.Context) error {
	for limit := time.Now().Add(readyWithin); ; {
		why := t.unready(ctx)
		if why == nil {
			return nil
		}
		if time.Now().After(limit) {
			return fmt.Errorf("the cluster is not ready after %s: %w", readyWithin, why)
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil { // servers are processes: they can only be asked
			return err
		}
	}
}

func (t *target) unready(ctx context.Context) error {
	leader, server, err := t.leader(ctx)
	if err != nil {
		return err
	}
	if t.own != nil && len(leader.Members) < len(t.servers) {
		return fmt.Errorf("%s knows %d members", server, len(leader.Members))
	}
	for _, m := range leader.Members {
		if !m.Voter {
			return fmt.Errorf("%s is not a voter yet", m.NodeId)
		}
	}
	for _, server := range t.servers {
		s, err := t.status(ctx, server)
		if err != nil {
			return err
		}
		if s.AppliedIndex < leader.CommitIndex || s.LeaderId != leader.LeaderId {
			return fmt.Errorf("%s is behind", server)
		}
	}
	return nil
}

var errNoLeader = errors.New("no server leads")

// leader is the status of the server that leads, and its address.
func (t *target) leader(ctx context.Context) (*v1.GroupStatus, string, error) {
	var last error = errNoLeader
	for _, server := range t.servers {
		s, err := t.status(ctx, server)
		switch {
		case err != nil:
			last = err
		case s.State == "Leader":
			return s, server, nil
		case s.LeaderApi != "" && t.own == nil:
			if lead, err := t.status(ctx, s.LeaderApi); err == nil && lead.State == "Leader" {
				return lead, s.LeaderApi, nil
			}
		}
	}
	return nil, "", last
}

// client makes a client that asks the leader first, with connections of its own.
func (t *target) client(ctx context.Context) (*client.Client, error) {
	_, lead, err := t.leader(ctx)
	if err != nil {
		return nil, err
	}
	servers := []string{lead}
	for _, s := range t.servers {
		if s != lead {
			servers = append(servers, s)
		}
	}
	return client.New(client.Config{Servers: servers, Namespace: t.Namespace})
}

// pause waits, or fails because the context has ended.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
