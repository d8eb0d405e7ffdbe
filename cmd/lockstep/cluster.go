package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/lockstep-dev/lockstep/cmd/lockstep/local"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func (c *cli) clusterCommand() *cobra.Command {
	parent := &cobra.Command{
		Use:   "cluster",
		Short: "Run a cluster of processes on this machine, and hurt it",
		Long: `Run a cluster of 3 or 5 processes on this machine, each with data on disk, and try what happens when some of them are
killed or paused. All of it is in one directory: data, logs, the cluster's secret and the processes' numbers.`,
	}
	var dir string
	parent.PersistentFlags().StringVar(&dir, "dir", "lockstep-cluster", "directory of the cluster")
	each := func(use, short string, do func(context.Context, *local.Cluster, int) error, past string) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: cobra.MinimumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return c.hurt(cmd.Context(), dir, args, do, past)
		}}
	}
	parent.AddCommand(c.clusterUp(&dir), c.clusterDown(&dir), c.clusterStatus(&dir),
		each("kill NODE|leader...", "Kill nodes with SIGKILL; `cluster up` starts them again",
			func(_ context.Context, l *local.Cluster, n int) error { return l.Kill(n) }, "killed"),
		each("pause NODE|leader...", "Pause nodes with SIGSTOP",
			func(_ context.Context, l *local.Cluster, n int) error { return l.Pause(n) }, "paused"),
		each("resume NODE...", "Let paused nodes go on",
			func(_ context.Context, l *local.Cluster, n int) error { return l.Resume(n) }, "resumed"),
	)
	return parent
}

func (c *cli) clusterUp(dir *string) *cobra.Command {
	var size, port int
	var level, engine string
	var heartbeat time.Duration
	cmd := &cobra.Command{Use: "up", Short: "Start the cluster, or those of its nodes that are down", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		l, err := local.Open(*dir)
		for _, name := range [...]string{"engine", "heartbeat"} {
			if err == nil && cmd.Flags().Changed(name) {
				return usage("--%s is for a new cluster; %s has one, and says in %s how its nodes are started", name, l.Dir, local.File)
			}
		}
		if err != nil {
			if err := errors.Join(checkEngine(engine), checkHeartbeat(heartbeat)); err != nil {
				return err
			}
			binary, failed := os.Executable()
			if failed != nil {
				return failed
			}
			l, err = local.Create(local.Config{Dir: *dir, Binary: binary, Size: size, BasePort: port, Args: []string{"--log-level", level, "--engine", engine, "--heartbeat", heartbeat.String()}})
		}
		if err != nil {
			return err
		}
		for _, n := range l.Nodes {
			if !l.Running(n.Number) {
				if err := l.Start(n.Number); err != nil {
					return err
				}
			}
		}
		if err := c.awaitLeader(cmd.Context(), l); err != nil {
			return err
		}
		if err := c.showCluster(cmd.Context(), l); err != nil || c.json {
			return err
		}
		fmt.Fprintf(c.stdout, "\nuse it:   export LOCKSTEP_SERVER=%s\nhurt it:  lockstep cluster kill leader --dir %s\n", strings.Join(l.APIs(), ","), *dir)
		return nil
	}}
	f := cmd.Flags()
	f.IntVar(&size, "size", 3, "nodes of a new cluster: 1, 3 or 5")
	f.IntVar(&port, "base-port", 7400, "first port of a new cluster, which uses three for each node; 0: any that are free, at a loopback host of its own")
	engineFlag(f, &engine)
	heartbeatFlag(f, &heartbeat)
	f.StringVar(&level, "log-level", "info", "log level of a new cluster's nodes")
	return cmd
}

func (c *cli) clusterDown(dir *string) *cobra.Command {
	var wipe bool
	cmd := &cobra.Command{Use: "down", Short: "End every node of the cluster", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		l, err := local.Open(*dir)
		if err != nil {
			return err
		}
		if err := l.Down(10 * time.Second); err != nil {
			return err
		}
		if !wipe {
			fmt.Fprintf(c.stdout, "down; its data is kept in %s\n", l.Dir)
			return nil
		}
		if err := os.RemoveAll(l.Dir); err != nil {
			return fmt.Errorf("wipe cluster: %w", err)
		}
		fmt.Fprintln(c.stdout, "down, and wiped")
		return nil
	}}
	cmd.Flags().BoolVar(&wipe, "wipe", false, "remove the directory, with all data")
	return cmd
}

func (c *cli) clusterStatus(dir *string) *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Show the cluster's nodes", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		l, err := local.Open(*dir)
		if err != nil {
			return err
		}
		return c.showCluster(cmd.Context(), l)
	}}
}

// hurt does something to nodes that are named by number, or as the leader.
func (c *cli) hurt(ctx context.Context, dir string, names []string, do func(context.Context, *local.Cluster, int) error, past string) error {
	l, err := local.Open(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		number, err := strconv.Atoi(strings.TrimPrefix(name, "node-"))
		if name == "leader" {
			if number, err = c.leaderOf(ctx, l); err != nil {
				return err
			}
		} else if err != nil {
			return usage("%q is neither a node's number nor leader", name)
		}
		if err := do(ctx, l, number); err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "node %d %s\n", number, past)
	}
	return nil
}

// statusOf asks one node how it is; nil when it does not answer.
func statusOf(ctx context.Context, address string) *v1.GetStatusResponse {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	client := newHTTPClient()
	defer client.CloseIdleConnections()
	res, err := servicesAt(client, address).cluster.GetStatus(ctx, connect.NewRequest(&v1.GetStatusRequest{Local: true}))
	if err != nil {
		return nil
	}
	return res.Msg
}

// leaderOf finds the node that says it leads, in the newest term that any speaks of.
func (c *cli) leaderOf(ctx context.Context, l *local.Cluster) (number int, err error) {
	term := uint64(0)
	for _, n := range l.Nodes {
		if l.State(n.Number) != "running" {
			continue
		}
		for _, g := range statusOf(ctx, n.API).GetGroups() {
			if g.State == "Leader" && g.Term > term {
				number, term = n.Number, g.Term
			}
		}
	}
	if number == 0 {
		return 0, fmt.Errorf("no node leads now; see `lockstep cluster status`")
	}
	return number, nil
}

func (c *cli) awaitLeader(ctx context.Context, l *local.Cluster) error {
	update, done := c.progress("waiting for a leader")
	defer done()
	const patience = 30 * time.Second
	limit := time.Now().Add(patience)
	for {
		if _, err := c.leaderOf(ctx, l); err == nil {
			return nil
		}
		for _, n := range l.Nodes {
			if !l.Running(n.Number) {
				return fmt.Errorf("node %d ended; its log says why: %s\n%s", n.Number, l.Log(n.Number), lastLines(l.Log(n.Number)))
			}
		}
		if time.Now().After(limit) {
			return fmt.Errorf("no leader after %s; the logs are in %s", patience, l.Dir)
		}
		update("")
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// lastLines is the end of a log, for a person to begin with.
func lastLines(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "\n")
}

// nodeStatus is what `cluster status --json` prints of a node.
type nodeStatus struct {
	Node    int    `json:"node"`
	State   string `json:"state"`
	PID     int    `json:"pid,omitempty"`
	Role    string `json:"role,omitempty"`
	Term    uint64 `json:"term,omitempty"`
	Applied uint64 `json:"applied,omitempty"`
	API     string `json:"api"`
	Log     string `json:"log"`
}

func (c *cli) showCluster(ctx context.Context, l *local.Cluster) error {
	var nodes []nodeStatus
	var rows [][]string
	for _, n := range l.Nodes {
		s := nodeStatus{Node: n.Number, State: l.State(n.Number), PID: l.PID(n.Number), API: n.API, Log: l.Log(n.Number)}
		if s.State == "running" {
			for _, g := range statusOf(ctx, n.API).GetGroups() {
				s.Role, s.Term, s.Applied = strings.ToLower(g.State), g.Term, g.AppliedIndex
			}
		}
		colour := map[string]string{"running": green, "paused": yellow, "down": red}[s.State]
		nodes = append(nodes, s)
		rows = append(rows, []string{strconv.Itoa(s.Node), c.paint(colour, s.State), cmp.Or(s.Role, "-"), strconv.FormatUint(s.Term, 10), strconv.FormatUint(s.Applied, 10), strconv.Itoa(s.PID), s.API})
	}
	if c.json {
		return c.printJSON(nodes)
	}
	c.table([]string{"node", "state", "role", "term", "applied", "pid", "api"}, rows)
	return nil
}
