package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
)

// sum is what many runs come to.
type sum struct {
	Runs          int               `json:"runs"`
	Hours         float64           `json:"hours"`
	Ops           int               `json:"ops"`
	Advances      int               `json:"advances"`
	LeaderChanges int               `json:"leaderChanges"`
	WorkerPauses  int               `json:"workerPauses"`
	FencedWrites  int               `json:"fencedWrites"`
	Undone        int               `json:"undone"`
	Resumed       int               `json:"resumed"`
	WentOn        int               `json:"wentOn"`
	Signals       int               `json:"signals"`
	Timers        int               `json:"timers"`
	Races         int               `json:"races"`
	Approvals     int               `json:"approvals"`
	Fired         int               `json:"fired"`
	Overlapped    int               `json:"overlapped"`
	Missed        int               `json:"missed"`
	Faults        map[string]*tally `json:"faults"`
	Unmet         []string          `json:"unmet,omitempty"`  // faults that were never seen to have an effect
	Failed        []string          `json:"failed,omitempty"` // commands that show it again
	Times         []timed           `json:"times"`
	Verdict       string            `json:"verdict"`

	samples samples
}

// series runs seed after seed, each as a process of its own, until they have taken the hours that were asked for. What
// was run before on the same code is in the directory, and counts.
func series(c *config) int {
	total, err := runs(c)
	if err == nil {
		err = total.end(c)
	}
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 1
	case total.Verdict != pass:
		return 1
	}
	return 0
}

func runs(c *config) (*sum, error) {
	release, err := own(c.Out)
	if err != nil {
		return nil, err
	}
	defer release()
	s := &seeds{config: c, total: &sum{Faults: map[string]*tally{}, samples: samples{}}}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		<-signals
		s.stop(nil) // the runs have the signal too, and end
	}()
	var lanes sync.WaitGroup
	for range c.Lanes {
		lanes.Go(s.lane)
	}
	lanes.Wait()
	slices.Sort(s.total.Failed)
	return s.total, s.err
}

// own makes a directory, and has it be this series' alone: two would run the same seeds.
func own(dir string) (release func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another series runs in %s: %w", dir, err), f.Close())
	}
	return func() { _ = f.Close() }, nil // only locked
}

// seeds are what lanes take from, one after the other: a lane takes the next one when it is done with its own.
type seeds struct {
	*config

	mu      sync.Mutex // guards what follows
	taken   uint64
	running int
	total   *sum
	ended   bool
	err     error
}

func (s *seeds) lane() {
	for one := s.next(); one != nil; one = s.next() {
		r, err := one.once()
		if err != nil {
			s.stop(fmt.Errorf("%s: %w", one.command(), err))
			return
		}
		s.mu.Lock()
		s.running--
		s.total.add(r, one)
		s.mu.Unlock()
	}
}

// next is the run of the next seed; nil when there were enough, with those that are running.
func (s *seeds) next() *config {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.total.Hours+float64(s.running)*s.Time.Hours() >= s.Hours {
		return nil
	}
	one := *s.config
	one.Seed += s.taken
	if s.Nodes == 0 {
		one.Nodes = 3 + 2*int(s.taken%2)
	}
	s.taken++
	s.running++
	one.Out = filepath.Join(s.Out, fmt.Sprintf("%s-%d-nodes-%g-minutes-seed-%d", s.Built.Code, one.Nodes, one.Time.Minutes(), one.Seed))
	return &one
}

// stop has no more seeds be taken. What follows the first reason is not another.
func (s *seeds) stop(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended, s.err = true, why
	}
}

// once returns the report of a run, which is done unless it is there.
func (c *config) once() (*report, error) {
	r, err := readReport(c.Out)
	if !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"--binary", c.Binary, "--out", c.Out, "--nodes", fmt.Sprint(c.Nodes), "--minutes", fmt.Sprint(c.Time.Minutes()), "--seed", fmt.Sprint(c.Seed)}
	if c.Pipelines != "" {
		args = append(args, "--pipelines", c.Pipelines)
	}
	if c.Clocks {
		args = append(args, "--clocks")
	}
	if c.Record {
		args = append(args, "--record", "--built", c.Built.String())
	}
	if len(c.Faults) > 0 {
		args = append(args, "--faults", strings.Join(c.Faults, ","))
	}
	cmd := exec.Command(self, args...)
	var said io.Writer = os.Stderr
	if c.Lanes > 1 {
		said = &lines{to: os.Stderr, head: fmt.Sprintf("%d nodes, seed %d: ", c.Nodes, c.Seed)}
	}
	cmd.Stdout, cmd.Stderr = said, said
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	return readReport(c.Out) // a run that found something has one too
}

func readReport(dir string) (*report, error) {
	b, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err != nil {
		return nil, err
	}
	r := &report{}
	return r, json.Unmarshal(b, r)
}

func (t *sum) add(r *report, c *config) {
	t.Runs++
	t.Hours += r.Minutes / 60
	t.Ops += r.Ops
	t.Advances += r.Advances
	t.LeaderChanges += r.LeaderChanges
	t.WorkerPauses += r.WorkerPauses
	t.FencedWrites += r.FencedWrites
	t.Undone += r.Undone
	t.Resumed += r.Resumed
	t.WentOn += r.WentOn
	t.Signals += r.Signals
	t.Timers += r.Timers
	t.Races += r.Races
	t.Approvals += r.Approvals
	t.Fired += r.Fired
	t.Overlapped += r.Overlapped
	t.Missed += r.Missed
	for name, f := range r.Faults {
		if t.Faults[name] == nil {
			t.Faults[name] = &tally{}
		}
		t.Faults[name].Injected += f.Injected
		t.Faults[name].Observed += f.Observed
	}
	if r.Verdict != pass {
		t.Failed = append(t.Failed, c.command())
	}
	t.samples.merge(r.Samples)
}

// end judges and tells.
func (t *sum) end(c *config) error {
	t.Times = t.samples.times()
	t.Verdict = pass
	for _, f := range faults {
		asked := len(c.Faults) == 0 || slices.Contains(c.Faults, f.name)
		if met := t.Faults[f.name]; asked && (met == nil || met.Observed == 0) {
			t.Unmet = append(t.Unmet, f.name)
		}
	}
	if len(t.Failed) > 0 || len(t.Unmet) > 0 || t.Hours < c.Hours {
		t.Verdict = failed
	}
	b, err := json.MarshalIndent(t, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(c.Out, "total.json"), b, 0o644)
	}
	if c.JSON {
		return errors.Join(err, json.NewEncoder(os.Stdout).Encode(t))
	}
	t.print(os.Stdout, c)
	return err
}

func (t *sum) print(out io.Writer, c *config) {
	fmt.Fprintf(out, "%d runs of %.2f hours (of %g): %d operations, %d advances, %d changes of leader, %d worker pauses, %d late writes refused, %d instances undone, %d compensations tried again by hand, %d went on behind failures, %d signals applied, %d timers fired, %d races won by others, %d approvals, %d times of schedules fired, %d overlapped, %d missed\n\n",
		t.Runs, t.Hours, c.Hours, t.Ops, t.Advances, t.LeaderChanges, t.WorkerPauses, t.FencedWrites, t.Undone, t.Resumed, t.WentOn, t.Signals, t.Timers, t.Races, t.Approvals, t.Fired, t.Overlapped, t.Missed)
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "FAULT\tINJECTED\tOBSERVED")
	for _, name := range slices.Sorted(maps.Keys(t.Faults)) {
		fmt.Fprintf(w, "%s\t%d\t%d\n", name, t.Faults[name].Injected, t.Faults[name].Observed)
	}
	_ = w.Flush() // a terminal
	fmt.Fprintln(out)
	printTimes(out, t.Times)
	if len(t.Unmet) > 0 {
		fmt.Fprintln(out, "never met:", strings.Join(t.Unmet, ", "))
	}
	for _, command := range t.Failed {
		fmt.Fprintln(out, "failed:", command)
	}
	fmt.Fprintf(out, "\nverdict: %s\n", t.Verdict)
}
