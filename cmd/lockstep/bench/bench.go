// Package bench measures a cluster from outside, as its users load it: one kind of load per file, on a cluster that
// runs or on one of three server processes that it starts itself, with their data on disk and the shipped defaults.
//
// Every figure is the median of several runs. Beside it stand how far the runs lie apart, what an fsync of the disk
// took just before, what the servers used, and whether the load cost them their leader.
package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Config of a benchmark.
type Config struct {
	// Binary is the lockstep that runs the servers of an own cluster.
	Binary string
	// Servers of a cluster that runs; empty means an own one for each run, of three servers.
	Servers   []string
	Namespace string
	// Dir is where an own cluster has its data; empty means the directory for temporary files.
	Dir string
	// Seconds are measured after WarmUp, Runs times.
	Seconds, WarmUp time.Duration
	Runs            int
	// Workers each take up to Credit steps at a time; Clients make the other calls.
	Workers, Credit, Clients int
	// Instances live at a time, of Steps steps each; Payload bytes go in and come out of each step.
	Instances, Steps, Payload int
	// Rate is of cycles a second: so many steps of instances that fall due to be started, whatever becomes of those before. Zero starts an
	// instance when another ends. With Unary it is the calls that fall due, each caller's evenly, and an instance starts when another ends.
	Rate float64
	// Unary has Clients poll and complete Batch steps at a time by calls, in place of workers with streams.
	Unary bool
	Batch int
	// Kills of the leader.
	Kills int
	// Heartbeat is the timeout of an own cluster's servers; zero is the default.
	Heartbeat time.Duration
	// Sessions to be kept alive; Watchers on one server.
	Sessions, Watchers int
	// Finished instances are kept, beside Live ones; Remove of them go at the end. Bulk operations are over Live ones.
	Finished, Live, Remove int
	// Profile is a directory for profiles of the servers, taken under load; empty takes none.
	Profile string
	// Say is told how it goes.
	Say func(string)
}

// offers says that instances fall due to be started at the rate.
func (c *Config) offers() bool { return c.Rate > 0 && !c.Unary }

// Kinds of load.
const (
	Steps     = "steps"
	Workflows = "workflows"
	Locks     = "locks"
	Sessions  = "sessions"
	Reads     = "reads"
	Failover  = "failover"
	Starts    = "starts"
	Watchers  = "watchers"
	Kept      = "kept"
	Bulk      = "bulk"
)

// Kinds lists every kind.
func Kinds() []string {
	return []string{Steps, Workflows, Starts, Locks, Sessions, Reads, Watchers, Kept, Bulk, Failover}
}

// measure is one run of a kind, on a cluster.
type measure func(ctx context.Context, t *target) (Figures, error)

func measureOf(kind string) (headline string, m measure) {
	switch kind {
	case Steps:
		return "stepCyclesPerSecond", steps
	case Failover:
		return "failoverP50Ms", failover
	case Workflows:
		return "workflowsPerSecond", workflows
	case Locks:
		return "lockCyclesPerSecond", locks
	case Sessions:
		return "renewalsPerSecond", sessions
	case Reads:
		return "readsPerSecond", reads
	case Starts:
		return "startsPerSecond", starts
	case Watchers:
		return "toldP99Ms", watchers
	case Kept:
		return "stepWhileRemovedP99Ms", kept
	case Bulk:
		return "stepWhileBulkP99Ms", bulks
	}
	return "", nil
}

// Validate says which field is wrong.
func (c *Config) Validate() error {
	for _, x := range []struct {
		wrong bool
		says  string
	}{
		{c.Runs < 1 || c.Runs > 100, "runs must be 1 to 100"},
		{c.Seconds < 100*time.Millisecond, "seconds must be at least 0.1"},
		{c.WarmUp < 0, "warm-up must not be negative"},
		{c.Workers < 1 || c.Workers > 10_000, "workers must be 1 to 10,000"},
		{c.Credit < 1 || c.Credit > 32, "credit must be 1 to 32"},
		{c.Batch < 1 || c.Batch > 100, "batch must be 1 to 100"},
		{c.Clients < 1 || c.Clients > 10_000, "clients must be 1 to 10,000"},
		{c.Instances < 1, "instances must be at least 1"},
		{c.Steps < 1 || c.Steps > 1000, "steps must be 1 to 1,000"},
		{c.Payload < 64 || c.Payload > 256<<10, "payload must be 64 bytes to 256 KiB"},
		{c.Rate < 0, "rate must not be negative"},
		{c.Kills < 1, "kills must be at least 1"},
		{c.Sessions < 1, "sessions must be at least 1"},
		{c.Finished < 1 || c.Live < 1, "finished and live must be at least 1"},
		{c.Remove < 1, "remove must be at least 1"},
		{c.Watchers < 1 || c.Watchers > 100_000, "watchers must be 1 to 100,000"},
	} {
		if x.wrong {
			return errors.New(x.says)
		}
	}
	return nil
}

// Run measures a kind of load. The error says that it could not be measured; what was wrong with what was measured is in
// the report.
func Run(ctx context.Context, kind string, c Config) (*Report, error) {
	headline, m := measureOf(kind)
	if m == nil {
		return nil, fmt.Errorf("there is no benchmark %q", kind)
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if kind == Failover && len(c.Servers) > 0 {
		return nil, errNotOurs
	}
	if c.Say == nil {
		c.Say = func(string) {}
	}
	report := &Report{Kind: kind, Headline: headline, Machine: machine()}
	for n := range c.Runs {
		figures, err := once(ctx, c, n+1, m, report)
		if err != nil {
			return nil, fmt.Errorf("run %d of %d: %w", n+1, c.Runs, err)
		}
		report.All = append(report.All, figures)
	}
	return report, nil
}

// once is one run, on a cluster that ends with it if it is ours.
func once(ctx context.Context, c Config, run int, m measure, report *Report) (figures Figures, err error) {
	say, prefix := c.Say, fmt.Sprintf("run %d of %d: ", run, c.Runs)
	c.Say = func(s string) { say(prefix + s) }
	t, err := open(ctx, c)
	if t != nil {
		defer func() { err = errors.Join(err, t.close()) }()
	}
	if err != nil {
		return nil, err
	}
	t.report, t.run = report, run
	t.problem = func(format string, args ...any) {
		report.Problems = append(report.Problems, prefix+fmt.Sprintf(format, args...))
	}
	fsync, err := fsyncTime(c.Dir)
	if err != nil {
		return nil, err
	}
	lead, _, err := t.leader(ctx)
	if err != nil {
		return nil, err
	}
	if figures, err = m(ctx, t); err != nil && report.Kind != Failover { // which kills leaders itself
		err = t.blame(ctx, lead.Term, err)
	}
	if err != nil {
		return nil, err
	}
	figures["fsyncMs"] = milliseconds(fsync)
	return figures, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
