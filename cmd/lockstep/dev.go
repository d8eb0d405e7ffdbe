package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
)

func (c *cli) devCommand() *cobra.Command {
	config := &serverConfig{expect: 1, heartbeat: 200 * time.Millisecond, logBytes: 64 << 20, peer: "127.0.0.1:0", gossip: "127.0.0.1:0"}
	var workflow string
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run one node to develop with",
		Long: `Run one node to develop with. Without --data it keeps what it has in a temporary directory, which is removed at the end.
With --workflow a definition is registered, and registered again each time that its file changes.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.develop(cmd.Context(), config, workflow) },
	}
	f := cmd.Flags()
	f.StringVar(&config.data, "data", "", "data directory; default: a temporary one")
	f.StringVar(&config.listen, "listen", "127.0.0.1:7400", "API address; port 0: any that is free")
	f.StringVar(&workflow, "workflow", "", "definition to register, now and when it changes")
	engineFlag(f, &config.engine)
	f.StringVar(&config.logLevel, "log-level", "warn", "trace, debug, info, warn or error")
	hostsFlag(f, &config.reporterHosts)
	f.BoolVar(&config.untilEOF, "until-stdin-ends", false, "stop when the standard input ends: with whoever started it")
	return cmd
}

func (c *cli) develop(ctx context.Context, config *serverConfig, workflow string) (err error) {
	kept := "kept in " + absolute(config.data)
	if config.data == "" {
		if config.data, err = os.MkdirTemp("", "lockstep-dev-"); err != nil {
			return fmt.Errorf("make a data directory: %w", err)
		}
		kept = "in " + config.data + ", removed at the end"
		defer os.RemoveAll(config.data) // it is temporary
	}
	ctx, cancel := context.WithCancel(ctx)
	var guide sync.WaitGroup
	defer guide.Wait()
	defer cancel()
	config.started = func(s *server) {
		address := s.listen.Addr().String()
		own := *c
		own.servers = []string{address}
		guide.Go(func() {
			if own.awaitReady(ctx, s) {
				own.greet(address, kept)
				own.reload(ctx, workflow)
			}
		})
	}
	return c.serve(ctx, config)
}

// awaitReady says whether the node leads, before ctx ends.
func (c *cli) awaitReady(ctx context.Context, s *server) bool {
	for {
		changed := s.node.LeaderChanged()
		if _, self := s.node.Leader(""); self {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// greet prints what can be pasted into another terminal.
func (c *cli) greet(address, kept string) {
	at := ""
	if address != "127.0.0.1:7400" {
		at = " --server " + address
	}
	fmt.Fprintf(c.stdout, `Lockstep is up at http://%[1]s, data %[2]s

In another terminal:

  lockstep init
  lockstep workflow register workflow.yaml%[3]s
  lockstep worker run --exec ./worker.sh%[3]s &
  lockstep instance start hello --id hello-1 --input '{"name": "world"}' --wait%[3]s

or with curl alone:

  curl http://%[1]s/lockstep.v1.WorkflowService/RegisterWorkflow -H 'Content-Type: application/json' \
    -d '{"definition": {"workflow": "by-curl", "steps": {"greet": {}}}}'
  curl http://%[1]s/lockstep.v1.InstanceService/StartInstance -H 'Content-Type: application/json' \
    -d '{"workflow": "by-curl", "instanceId": "c-1", "input": {"name": "world"}}'
  curl http://%[1]s/lockstep.v1.InstanceService/Explain -H 'Content-Type: application/json' -d '{"instanceId": "c-1"}'

`, address, kept, at)
}

// reload registers a definition whenever its file changes, until ctx ends. What is wrong with it is told, and waited out.
func (c *cli) reload(ctx context.Context, path string) {
	if path == "" {
		return
	}
	const pollEvery = 300 * time.Millisecond // editors replace files: asking for the contents is what always works
	var seen []byte
	var missing bool
	stays := ""
	for {
		text, err := os.ReadFile(path)
		switch {
		case err != nil && !missing:
			fmt.Fprintln(c.stderr, "lockstep: waiting for the workflow:", err)
		case err == nil && !bytes.Equal(text, seen):
			seen = text
			if w, err := c.registerSource(ctx, text, 0); err != nil {
				fmt.Fprintf(c.stderr, "lockstep: %s: %s%s\n", path, c.explain(err), stays)
			} else {
				stays = fmt.Sprintf("; %s version %d stays", w.Workflow, w.Version)
				fmt.Fprintf(c.stdout, "%s: %s version %d\n", path, w.Workflow, w.Version)
			}
		}
		missing = err != nil
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return
		}
	}
}
