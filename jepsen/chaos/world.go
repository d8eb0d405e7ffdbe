package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/jepsen/lab"
	"github.com/lockstep-dev/lockstep/jepsen/workload"
)

// world is a run: the lab, the work on it, and what is known of both.
type world struct {
	*config
	lab      *lab.Lab
	client   *client.Client
	clients  []*client.Client // one of each lane, for each has its own idea of who leads
	single   map[*lab.Node]*client.Client
	register *workload.Register
	asked    *workload.Swept
	history  *workload.Recorder
	workers  []*lab.Worker
	pulse    *pulse // of one client that knows all nodes
	nodes    *pulse // of clients that know one each: what whoever asks a node that is well can have
	report   *report
	ids      map[*lab.Node]string
	archive  *archive

	pipelines []workload.Pipeline

	mu    sync.Mutex // guards what follows
	taken map[*lab.Node]bool
	cuts  map[[2]*lab.Node]bool
	wired map[[2]*lab.Node]bool
	moved map[*lab.Node]bool // clocks
}

// errBroken says that the cluster did not come back from a fault: why is in the report.
var errBroken = errors.New("the cluster did not come back")

// chaos runs it all. An error says that the run could not be done; what was found is in the report.
func chaos(ctx context.Context, c *config) (_ *report, err error) {
	if c.Dir, err = os.MkdirTemp("", "lockstep-chaos-"); err != nil {
		return nil, err
	}
	if c.Out == "" {
		c.Out = c.Dir + ".report"
	}
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return nil, err
	}
	w := &world{
		config: c, report: newReport(c), single: map[*lab.Node]*client.Client{}, ids: map[*lab.Node]string{},
		taken: map[*lab.Node]bool{}, cuts: map[[2]*lab.Node]bool{}, wired: map[[2]*lab.Node]bool{}, moved: map[*lab.Node]bool{},
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := w.open(ctx); err != nil {
		return nil, err
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	var lanes sync.WaitGroup
	w.work(working, &lanes)
	err = w.hurt(ctx)
	stop()
	lanes.Wait()
	switch {
	case errors.Is(err, errBroken):
		// The cluster does not come back: nothing more can be asked of it.
		w.report.verdict()
		return w.report, nil
	case err != nil:
		return nil, fmt.Errorf("%w\n%s", err, w.logs())
	}
	w.report.check("the cluster comes back", "liveness", nil)
	return w.report, w.judge(ctx)
}

func (w *world) open(ctx context.Context) (err error) {
	args := []string{"--log-bytes", "1000000", "--reporter-hosts", "127.0.0.1," + lab.Hub} // snapshots, and logs cut behind them, while things break
	if w.Plant != "" {
		args = append(args, "--plant", w.Plant)
	}
	if w.lab, err = lab.Open(ctx, lab.Config{Dir: w.Dir, Binary: w.Binary, Nodes: w.Nodes, Args: args, Clocks: w.Clocks}); err != nil {
		return err
	}
	host := "127.0.0.1"
	if w.lab.Lacks["network"] == nil {
		host = lab.Hub
	}
	if w.register, err = workload.NewRegister(host); err != nil {
		return err
	}
	if w.asked, err = workload.NewSwept(host, w.Seed); err != nil {
		return err
	}
	if w.history, err = workload.NewRecorder(filepath.Join(w.Out, "history.jsonl")); err != nil {
		return err
	}
	if w.client, err = w.newClient(0); err != nil {
		return err
	}
	for _, n := range w.lab.Nodes {
		if w.single[n], err = newSingle(n.API); err != nil {
			return err
		}
	}
	starting, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, definition := range workload.Definitions {
		if _, err := w.client.Register(starting, definition); err != nil {
			return fmt.Errorf("register a workflow: %w\n%s", err, w.logs())
		}
	}
	if err := errors.Join(w.importPipelines(starting), w.openArchive(starting), w.asked.Register(starting, w.client)); err != nil {
		return err
	}
	for _, n := range w.lab.Nodes {
		if err := w.ready(starting, n, 30*time.Second); err != nil {
			return err
		}
	}
	return nil
}

// importPipelines has the product make workflows of recorded executions, as a user would.
func (w *world) importPipelines(ctx context.Context) (err error) {
	if w.Pipelines == "" {
		w.report.NotRun["pipelines"] = "no --pipelines"
		return nil
	}
	if w.pipelines, err = workload.Pipelines(w.Pipelines); err != nil {
		return err
	}
	for _, p := range w.pipelines {
		text, err := exec.CommandContext(ctx, w.Binary, "workflow", "import", p.Path, "--name", p.Name, "--queue", "work").Output()
		if err != nil {
			return fmt.Errorf("import %s: %w", p.Path, err)
		}
		// Workers are stopped more often than a step is tried by default.
		patient := strings.ReplaceAll(string(text), "\n    queue: ", "\n    retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}\n    queue: ")
		if _, err := w.client.Register(ctx, patient); err != nil {
			return fmt.Errorf("register %s: %w", p.Path, err)
		}
	}
	return nil
}

func (w *world) newClient(lane int) (*client.Client, error) {
	apis := w.lab.APIs()
	at := lane % len(apis)
	c, err := client.New(client.Config{Servers: slices.Concat(apis[at:], apis[:at])})
	if err == nil {
		w.clients = append(w.clients, c)
	}
	return c, err
}

// hurt draws rounds of one to three faults that overlap, and waits after each until the cluster does its work again.
func (w *world) hurt(ctx context.Context) error {
	chance := rand.New(rand.NewPCG(w.Seed, 4000))
	var can []fault
	for _, f := range faults {
		lack := w.lab.Lacks[f.lacks]
		if len(w.Faults) > 0 && !slices.Contains(w.Faults, f.name) {
			continue
		}
		if f.lacks != "" && lack != nil {
			w.report.NotRun[f.name] = lack.Error()
			continue
		}
		can = append(can, f)
	}
	if len(can) == 0 {
		return errors.New("none of the faults can be done here: " + fmt.Sprint(w.report.NotRun))
	}
	bag := []fault{}
	for until := time.Now().Add(w.Time); time.Now().Before(until) && ctx.Err() == nil; {
		if len(bag) < 3 { // every fault comes up before any comes up again
			fresh := slices.Clone(can)
			chance.Shuffle(len(fresh), func(i, j int) { fresh[i], fresh[j] = fresh[j], fresh[i] })
			bag = append(bag, fresh...)
		}
		round := together(bag[:min(1+chance.IntN(3), len(bag))])
		bag = bag[len(round):]
		if err := w.round(ctx, round, chance); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// together returns those of the first faults that may overlap.
func together(bag []fault) []fault {
	taken := false
	for i, f := range bag {
		if i > 0 && (f.whole || f.takes && taken) {
			return slices.Clone(bag[:i])
		}
		if taken = taken || f.takes; f.whole {
			return slices.Clone(bag[:i+1])
		}
	}
	return slices.Clone(bag)
}

func (w *world) round(ctx context.Context, some []fault, chance *rand.Rand) error {
	var names []string
	for _, f := range some {
		names = append(names, f.name)
	}
	before := w.term()
	began := w.history.Now()
	var running sync.WaitGroup
	errs := make([]error, len(some))
	var mu sync.Mutex // guards what follows
	struck := map[string]time.Duration{}
	for i, f := range some {
		h := &harm{world: w, chance: rand.New(rand.NewPCG(chance.Uint64(), 0)), alone: len(some) == 1}
		delay := time.Duration(i) * 300 * time.Millisecond
		running.Go(func() {
			defer h.giveBack()
			pause(ctx, delay)
			from := w.history.Now()
			observed, err := f.do(ctx, h)
			if errors.Is(err, errBusy) {
				return
			}
			w.report.injected(f.name, observed, from, w.history.Now())
			mu.Lock()
			defer mu.Unlock()
			if struck[f.name] = h.struck; h.struck == 0 {
				delete(struck, f.name)
			}
			if err != nil {
				errs[i] = fmt.Errorf("%s: %w", f.name, err)
			}
		})
	}
	running.Wait()
	if err := errors.Join(errs...); err != nil {
		w.report.gone("%v", err)
		return errBroken
	}
	healed := w.history.Now()
	if err := w.recovered(ctx, healed); err != nil {
		w.report.gone("after %s: %v", strings.Join(names, "+"), err)
		return errBroken
	}
	w.report.round(began, round{names, w.pulse.next(healed) - healed, w.pulse.longest(began, w.history.Now()), max(0, w.term()-before)})
	for name, at := range struck {
		if len(some) > 1 {
			name += ", with others"
		}
		w.report.took(ofClient, w.pulse.next(at)-at)
		if next := w.nodes.next(at); next > 0 { // a round may be over while one of those is asked
			w.report.took(failOver+name, next-at)
		}
	}
	return nil
}

// recovered waits until a write is acknowledged that was begun after everything was healed, and every node answers.
func (w *world) recovered(ctx context.Context, healed time.Duration) error {
	limit, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for w.pulse.next(healed) == 0 {
		pause(limit, 10*time.Millisecond)
		if limit.Err() != nil {
			return errors.New("nothing was acknowledged for a minute")
		}
	}
	for _, n := range w.lab.Nodes {
		if !n.Running() {
			if err := n.Start(); err != nil {
				return err
			}
		}
		if err := w.ready(limit, n, 60*time.Second); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) logs() string {
	var b strings.Builder
	for _, n := range w.lab.Nodes {
		log := n.Log()
		fmt.Fprintf(&b, "node %d:\n%s\n", n.Number, log[max(0, len(log)-2000):])
	}
	return b.String()
}

func (w *world) close() error {
	var errs []error
	for _, p := range w.workers {
		if p != nil {
			errs = append(errs, p.Close())
		}
	}
	for _, c := range w.clients {
		c.Close()
	}
	for _, c := range w.single {
		c.Close()
	}
	if w.asked != nil {
		errs = append(errs, w.asked.Close())
	}
	if w.lab != nil {
		for _, n := range w.lab.Nodes { // their logs are part of what the run shows
			errs = append(errs, os.WriteFile(filepath.Join(w.Out, fmt.Sprintf("node-%d.log", n.Number)), []byte(n.Log()), 0o644))
		}
		errs = append(errs, w.lab.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(w.Dir))...)
}
