package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/lockstep-dev/lockstep/client"
)

// workerConfig is what a worker is told.
type workerConfig struct {
	queues      []string
	exec        string
	concurrency int
	ttl, grace  time.Duration
	name        string
	poll        bool
}

func (c *cli) workerCommand() *cobra.Command {
	parent := &cobra.Command{Use: "worker", Short: "Do the steps of queues"}
	config := &workerConfig{}
	run := &cobra.Command{
		Use:   "run [--queue Q] (--exec CMD | -- CMD ARG...)",
		Short: "Run a command for each step",
		Long: `Run a command for each step of the queues. The command gets the step's input as JSON on stdin and what else there is
to know in the environment, LOCKSTEP_*; what it prints on stdout is the step's output. It ends with

    0    the step is completed
    65   it fails, and is not tried again
    75   it goes back to its queue, and no attempt is used
    else it fails as EXIT_n, and is tried again while attempts remain; the end of stderr is the reason

When the lease is lost the command's process group gets SIGTERM, and SIGKILL 5 s later. Told to stop, the worker takes
nothing more, gives running commands --grace, and gives back what is not done.`,
		Example: `  lockstep worker run --queue payments --exec ./charge.sh
  lockstep worker run --queue a,b --concurrency 8 -- python3 work.py`,
		RunE: func(cmd *cobra.Command, args []string) error { return c.work(cmd.Context(), config, args) },
	}
	f := run.Flags()
	f.StringSliceVar(&config.queues, "queue", []string{"default"}, "queues to work on")
	f.StringVar(&config.exec, "exec", "", "command line, for sh -c")
	f.IntVar(&config.concurrency, "concurrency", 1, "steps at a time")
	f.DurationVar(&config.ttl, "ttl", client.DefaultTTL, "how long after the worker's death its steps are others'")
	f.DurationVar(&config.grace, "grace", 10*time.Second, "how long running commands may go on when the worker is told to stop")
	f.StringVar(&config.name, "name", "", "name for people; default: host and process")
	f.BoolVar(&config.poll, "poll", false, "poll instead of holding a stream open")
	parent.AddCommand(run)
	return parent
}

func (c *cli) work(ctx context.Context, config *workerConfig, args []string) error {
	command := args
	switch {
	case config.exec != "" && len(args) > 0:
		return usage("give --exec or a command after --, not both")
	case config.exec != "":
		command = []string{"sh", "-c", config.exec}
	case len(args) == 0:
		return usage("give the command to run: --exec CMD, or -- CMD ARG...")
	case config.concurrency < 1:
		return usage("--concurrency is %d; at least 1 step at a time is needed", config.concurrency)
	}
	if config.name == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "worker"
		}
		config.name = fmt.Sprintf("%s/%d", host, os.Getpid())
	}
	log := &locked{w: c.stderr}
	connection, err := c.client(slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	defer connection.Close()
	x := &executor{command: command, log: log, settings: []string{"LOCKSTEP_SERVER=" + strings.Join(c.servers, ",")}}
	worker, err := connection.Worker(client.WorkerConfig{
		Queues: config.queues, Concurrency: config.concurrency, Grace: config.grace, Poll: config.poll,
		Session: client.SessionConfig{TTL: config.ttl, Worker: config.name},
		Handler: x.do,
		Answered: func(s *client.Step, err error) {
			if err != nil {
				fmt.Fprintf(log, "lockstep: %s %s attempt %d: %s\n", s.InstanceID, s.Step, s.Attempt, c.explain(err))
			}
		},
	})
	if err != nil {
		return usage("%v", err)
	}
	fmt.Fprintf(log, "lockstep: working on %s as %s\n", strings.Join(config.queues, ", "), config.name)
	return worker.Run(ctx)
}

// client talks to the cluster in a way that lasts: with sessions, and through changes of leader.
func (c *cli) client(logger *slog.Logger) (*client.Client, error) {
	connection, err := client.New(client.Config{Servers: c.servers, Namespace: c.namespace, Logger: logger})
	if err != nil {
		return nil, usage("%v", err)
	}
	return connection, nil
}

// locked has several goroutines write to one stream.
type locked struct {
	mu sync.Mutex // guards w
	w  io.Writer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
