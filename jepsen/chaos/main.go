// Command chaos hurts a cluster of real processes for a while, with work on it, and says whether its promises held.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
	"github.com/lockstep-dev/lockstep/jepsen/results"
	"github.com/lockstep-dev/lockstep/jepsen/workload"
)

// config is what a run is told.
type config struct {
	Binary, Dir, Out, Plant, Pipelines string
	Nodes                              int
	Time                               time.Duration
	Seed                               uint64
	Faults                             []string
	JSON, List                         bool
	// Record says that what comes out is a row of jepsen/RESULTS.md; Hours, that runs follow each other for so long.
	Record bool
	Built  results.Built
	// Clocks says that the binary is a build with -tags faults.
	Clocks bool
	Hours  float64
	// Lanes is how many runs of a series go on at the same time.
	Lanes int
}

func main() {
	debug.SetGCPercent(400) // what is kept is small beside what calls leave behind
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	if len(args) > 0 && args[0] == "worker" {
		return work(args[1:])
	}
	c, err := parse(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 2
	}
	if c.List {
		for _, f := range faults {
			fmt.Printf("%-16s %s\n", f.name, f.what)
		}
		return 0
	}
	if c.Hours != 0 {
		return series(c)
	}
	if os.Getenv(inside) == "" && os.Getuid() == 0 {
		if code, ok := isolate(args); ok {
			return code
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	report, err := chaos(ctx, c)
	if err == nil {
		err = report.end(c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 1
	}
	if report.Verdict != pass {
		return 1
	}
	return 0
}

// end hands the report to whoever wants it.
func (r *report) end(c *config) error {
	if err := r.write(c); err != nil {
		return err
	}
	if c.Record {
		if err := results.Append(".", c.Built, r.row(c)); err != nil {
			return err
		}
	}
	if !c.JSON {
		r.print(os.Stdout)
		return nil
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func parse(args []string) (*config, error) {
	c := &config{}
	f := flag.NewFlagSet("chaos", flag.ContinueOnError)
	f.StringVar(&c.Binary, "binary", "bin/lockstep", "the lockstep under test")
	f.StringVar(&c.Out, "out", "", "directory for histories and reports; default: a temporary one")
	f.StringVar(&c.Plant, "plant", "", "a bug to plant, in a binary built with -tags sabotage")
	f.StringVar(&c.Pipelines, "pipelines", "", "directory with recorded executions in WfFormat (wfcommons.org), to run too")
	f.IntVar(&c.Nodes, "nodes", 0, "3 or 5; default: 3, and with --hours one after the other")
	minutes := f.Float64("minutes", 5, "how long to hurt the cluster")
	f.Uint64Var(&c.Seed, "seed", 1, "what is drawn: faults, their order, their lengths")
	names := f.String("faults", "", "comma list of faults; default: all. See --list")
	f.BoolVar(&c.JSON, "json", false, "one JSON object at the end")
	f.BoolVar(&c.Record, "record", false, "append what comes out to jepsen/RESULTS.md, of the repository that this runs in")
	built := f.String("built", "", "what the binary was built from, as go run ./jepsen/results/record --built says")
	f.Float64Var(&c.Hours, "hours", 0, "run seeds one after the other until they have taken so long together; goes on where it was, with the same --out")
	f.IntVar(&c.Lanes, "lanes", 1, "with --hours: so many runs at the same time, each with a cluster, a network and disks of its own")
	f.BoolVar(&c.Clocks, "clocks", false, "the binary is a build with -tags faults: its wall clock can be moved")
	f.BoolVar(&c.List, "list", false, "list the faults")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if c.Nodes == 0 && c.Hours == 0 {
		c.Nodes = 3
	}
	c.Time = time.Duration(*minutes * float64(time.Minute))
	if *names != "" {
		c.Faults = strings.Split(*names, ",")
	}
	if c.Record || c.Hours != 0 {
		var err error
		if c.Built, err = results.ParseBuilt(*built); err != nil {
			return nil, fmt.Errorf("--built: %w", err)
		}
	}
	for _, name := range c.Faults {
		if !known(name) {
			return nil, fmt.Errorf("there is no fault %q; --list shows them", name)
		}
	}
	var err error
	if c.Pipelines != "" {
		if c.Pipelines, err = filepath.Abs(c.Pipelines); err != nil {
			return nil, err
		}
	}
	if c.Binary, err = filepath.Abs(c.Binary); err != nil {
		return nil, err
	}
	switch _, err := os.Stat(c.Binary); {
	case c.List:
	case err != nil:
		return nil, fmt.Errorf("no lockstep to test: %w; build one with go build -o bin/lockstep ./cmd/lockstep", err)
	case c.Hours != 0 && c.Out == "":
		return nil, errors.New("runs of hours need --out, a directory that keeps what was run")
	case c.Nodes != 3 && c.Nodes != 5 && (c.Nodes != 0 || c.Hours == 0):
		return nil, fmt.Errorf("%d nodes; it is 3 or 5", c.Nodes)
	case c.Lanes < 1 || c.Lanes > 1 && c.Hours == 0:
		return nil, fmt.Errorf("%d lanes; it is 1, or more with --hours", c.Lanes)
	case c.Time < 10*time.Second:
		return nil, fmt.Errorf("%s is too short to show anything; take 0.2 minutes or more", c.Time)
	}
	return c, nil
}

// inside says that this process is in a network of its own already.
const inside = "LOCKSTEP_CHAOS_INSIDE"

// isolate runs this command again in namespaces of its own, where it may make bridges and mounts that end with it. Without the right, the
// run goes on here, and says which faults it lacks.
func isolate(args []string) (code int, ok bool) {
	if exec.Command("unshare", "--net", "--mount", "true").Run() != nil {
		return 0, false
	}
	self, err := os.Executable()
	if err != nil {
		return 0, false
	}
	cmd := exec.Command("unshare", append([]string{"--net", "--mount", self}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode(), true
	case err != nil:
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 1, true
	}
	return 0, true
}

// work is a worker process of the harness.
func work(args []string) int {
	f := flag.NewFlagSet("worker", flag.ContinueOnError)
	servers := f.String("servers", "", "")
	register := f.String("register", "", "")
	name := f.String("name", "", "")
	ttl := f.Duration("ttl", 0, "")
	bug := f.String("plant", "", "")
	if err := f.Parse(args); err != nil {
		return 2
	}
	if err := plant.Set(*bug); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		_, _ = os.Stdin.Read(make([]byte, 1)) // it ends with the harness
	}()
	if err := workload.Work(ctx, strings.Split(*servers, ","), *register, *name, *ttl); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
