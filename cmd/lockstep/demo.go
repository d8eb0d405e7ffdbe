package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/lockstep-dev/lockstep/cmd/lockstep/demo"
)

func (c *cli) demoCommand() *cobra.Command {
	config := demo.Config{}
	var planted, engine string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run workflows under fire on three servers, and show what that did",
		Long: `Start three servers with their data on disk, workers, and a ledger that knows nothing of Lockstep; kill the leader and a
worker, stop another worker between its last look at the clock and its write, and kill the leader once more while an order that
failed is undone. Then count, from the ledger and the
history, what happened. Status 0 only when everything held. Takes under a minute and leaves nothing behind.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if config.ServerArgs, err = plantArgs(planted); err != nil {
				return err
			}
			if err := checkEngine(engine); err != nil {
				return err
			}
			config.ServerArgs = append(config.ServerArgs, "--engine", engine)
			if config.Binary, err = os.Executable(); err != nil {
				return err
			}
			began := time.Now()
			config.Say = func(format string, args ...any) {
				fmt.Fprintf(c.stderr, "%5.1fs  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
			}
			result, err := demo.Run(cmd.Context(), config)
			if err != nil {
				return err
			}
			return c.showDemo(result)
		},
	}
	cmd.Flags().StringVar(&config.WfCommons, "wfcommons", "", "also run a recorded execution (WfFormat 1.5 or 1.6), scaled to five seconds")
	engineFlag(cmd.Flags(), &engine)
	plantFlag(cmd, &planted)
	return cmd
}

func (c *cli) showDemo(r *demo.Result) error {
	if c.json {
		b, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintln(c.stdout, string(b))
	} else {
		verdict := c.paint(green, "ok")
		if !r.OK {
			verdict = c.paint(red, "NOT OK")
		}
		fmt.Fprintf(c.stdout, "%s: %d instances, %d runs, %d completions, %d duplicates, %d out of order, %d late writes refused, in %.1f s\n",
			verdict, r.Instances, r.Runs, r.AcceptedCompletions, r.DuplicateCompletions, r.OrderViolations, r.FencedWrites, r.Seconds)
		for _, p := range r.Problems {
			fmt.Fprintln(c.stdout, " ", p)
		}
	}
	if !r.OK {
		return &exitError{code: exitFailed}
	}
	return nil
}

// demoParts are the processes of a demo.
func (c *cli) demoParts() []*cobra.Command {
	var file string
	ledger := &cobra.Command{Use: "demo-ledger", Hidden: true, Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		return demo.ServeLedger(file, c.stdin, c.stdout)
	}}
	ledger.Flags().StringVar(&file, "file", "", "")
	config := demo.WorkerConfig{}
	worker := &cobra.Command{Use: "demo-worker", Hidden: true, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		config.Servers = c.servers
		return demo.RunWorker(untilEOF(cmd.Context(), c.stdin), config)
	}}
	f := worker.Flags()
	f.StringSliceVar(&config.Queues, "queue", nil, "")
	f.StringVar(&config.Ledger, "ledger", "", "")
	f.StringVar(&config.Files, "files", "", "")
	f.StringVar(&config.Stop, "stop", "", "")
	f.StringVar(&config.Hang, "hang", "", "")
	f.StringVar(&config.After, "after", "", "")
	f.StringVar(&config.Undoing, "undoing", "", "")
	f.StringVar(&config.Name, "name", "", "")
	f.IntVar(&config.Slots, "slots", 6, "")
	f.DurationVar(&config.TTL, "ttl", 10*time.Second, "")
	return []*cobra.Command{ledger, worker}
}
