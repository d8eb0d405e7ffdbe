package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lockstep-dev/lockstep/cmd/lockstep/bench"
)

func (c *cli) benchCommand() *cobra.Command {
	config, html := bench.Config{}, ""
	seconds, warmUp := 60.0, 5.0
	cmd := &cobra.Command{
		Use:   "bench " + strings.Join(bench.Kinds(), "|"),
		Short: "Measure a cluster under load",
		Long: `Measure a cluster under load: one that runs, with --server, or three servers of its own, with their data on disk, fsync
on and the defaults. Each figure is the median of several runs; beside it stand what an fsync of the disk takes and what
the servers use. Status 1 when an output is wrong, or the load costs the cluster its leader.`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: bench.Kinds(),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if config.Binary, err = os.Executable(); err != nil {
				return err
			}
			if cmd.Flags().Changed("server") {
				config.Servers = c.servers
			}
			config.Namespace = c.namespace
			config.Seconds, config.WarmUp = inSeconds(seconds), inSeconds(warmUp)
			if err := errors.Join(checkHeartbeat(config.Heartbeat), config.Validate()); err != nil {
				return usageError{err}
			}
			return c.bench(cmd, args[0], config, html)
		},
	}
	f := cmd.Flags()
	f.Float64Var(&seconds, "seconds", seconds, "how long each run measures")
	f.Float64Var(&warmUp, "warm-up", warmUp, "seconds under load before")
	f.IntVar(&config.Runs, "runs", 3, "how many runs, each on a fresh cluster if it is our own")
	f.IntVar(&config.Workers, "workers", 64, "worker streams")
	f.IntVar(&config.Credit, "credit", 32, "steps that a worker takes at a time, at most 32")
	f.IntVar(&config.Clients, "clients", 64, "callers, where there are no workers")
	f.IntVar(&config.Instances, "instances", 10_000, "instances that live at a time")
	f.IntVar(&config.Steps, "steps", 10, "steps of an instance, one after the other")
	f.IntVar(&config.Payload, "payload", 256, "bytes that go in and come out of each step")
	f.Float64Var(&config.Rate, "rate", 0, "cycles a second that fall due whatever becomes of those before (open loop): of steps of instances, with --unary of the clients' calls; 0: the next when one is done")
	f.BoolVar(&config.Unary, "unary", false, "poll and complete steps by calls of the clients, in place of worker streams (steps)")
	f.IntVar(&config.Batch, "batch", 8, "steps that a caller polls for, and completes, at a time (steps --unary)")
	heartbeatFlag(f, &config.Heartbeat)
	f.IntVar(&config.Kills, "kills", 20, "how often the leader is killed (failover)")
	f.IntVar(&config.Sessions, "sessions", 10_000, "sessions kept alive (sessions)")
	f.IntVar(&config.Watchers, "watchers", 10_000, "watches on one server, each of one instance (watchers)")
	f.IntVar(&config.Finished, "finished", 1_000_000, "finished instances that are kept (kept)")
	f.IntVar(&config.Remove, "remove", 500_000, "of these, how many are removed while steps go on (kept)")
	f.IntVar(&config.Live, "live", 100_000, "live instances beside them (kept), or that operations are about (bulk)")
	f.StringVar(&config.Dir, "dir", "", "where our own servers keep their data; default: the directory for temporary files")
	f.StringVar(&html, "html", "", "file for a page with curves of throughput and latency")
	f.StringVar(&config.Profile, "profile", "", "directory for profiles of the servers under load")
	return cmd
}

func inSeconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func (c *cli) bench(cmd *cobra.Command, kind string, config bench.Config, html string) error {
	update, done := c.progress("bench " + kind)
	config.Say = update
	report, err := bench.Run(cmd.Context(), kind, config)
	done()
	if cmd.Context().Err() != nil {
		return fmt.Errorf("interrupted; nothing is left behind")
	}
	if err != nil {
		return err
	}
	if c.json {
		err = c.printJSON(report)
	} else {
		c.showBench(report)
	}
	if html != "" {
		err = errors.Join(err, drawBench(report, html))
	}
	for _, problem := range report.Problems {
		fmt.Fprintln(c.stderr, "lockstep: bench:", problem)
	}
	if err == nil && !report.OK() {
		return &exitError{code: exitFailed}
	}
	return err
}

// drawBench writes the report's page.
func drawBench(r *bench.Report, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(r.WriteHTML(f), f.Close())
}

func (c *cli) showBench(r *bench.Report) {
	number := func(v float64) string {
		if v >= 100 || v == float64(int64(v)) {
			return fmt.Sprintf("%.0f", v)
		}
		return fmt.Sprintf("%.2f", v)
	}
	var rows [][]string
	for _, row := range r.Rows() {
		rows = append(rows, []string{row.Name, number(row.Median), number(row.Min), number(row.Max)})
	}
	fmt.Fprintf(c.stdout, "%s: median of %d runs, which lie %.0f %% apart, on %s\n\n", r.Kind, len(r.All), 100*r.Spread(), r.Machine)
	c.table([]string{"figure", "median", "least", "most"}, rows)
}
