package sim

import (
	"fmt"
	"io"
	"time"

	"github.com/lockstep-dev/lockstep/cluster/propose"
	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/jepsen/model"
)

// Config is all that a run depends on.
type Config struct {
	Seed uint64
	// Ops is how many operations clients begin; zero means 1000.
	Ops int
	// Without names kinds of faults that are left out; "all" is every kind.
	Without []string
	// AtOnce is how many faults may overlap; zero means three. With one, each has been over for a while before the next begins.
	AtOnce int
	// Trace is told every entry of the log and every fault; nil is nobody.
	Trace io.Writer
}

// world is one run.
type world struct {
	clock
	config Config
	report Report

	net      *network
	nodes    []*node
	register *register
	history  *history
	sites    int
	ids      uint64

	raft, disks, faults, work draws
	hosts                     []draws

	proposer  propose.Config
	logLimit  int  // entries behind a snapshot
	tardy     bool // proposers often hear late of leadership
	sharing   bool // nodes share decoded entries
	flushes   time.Duration
	flushy    bool // machines also flush behind any entry: what is clean may be forgotten
	workflows []model.Workflow
	mostWork  int    // see fsm.Machine.LimitWork; zero is as in production
	slices    [2]int // see fsm.Machine.LimitBulk
	crew      crew
	stopping  bool
}

const maxSites = 64

// process makes one at a site of its own.
func (w *world) process(name string) *process {
	p := &process{name: name, site: w.sites, up: true, rate: 1 + (w.work.Float64()-0.5)*0.0008}
	w.sites++
	if w.sites > maxSites {
		panic("sim: more sites than the network has")
	}
	return p
}

func (w *world) address(server string) *node {
	for _, n := range w.nodes {
		if n.process.name == server {
			return n
		}
	}
	panic("sim: no server " + server)
}

// fail ends the run: a guarantee is broken.
func (w *world) fail(guarantee, format string, args ...any) {
	if w.report.Violation == nil {
		w.report.Violation = &Violation{Guarantee: guarantee, What: fmt.Sprintf(format, args...), At: w.now}
	}
}

// tell tells the trace. Whoever calls often looks first whether there is one.
func (w *world) tell(format string, args ...any) {
	if w.config.Trace != nil {
		fmt.Fprintf(w.config.Trace, "%s "+format+"\n", append([]any{w.now}, args...)...)
	}
}

// Run simulates a cluster from a seed, and checks it. A panic is a broken guarantee: the state machine only panics when its
// own invariants do not hold.
func Run(c Config) (report *Report) {
	if c.Ops == 0 {
		c.Ops = 1000
	}
	w := &world{config: c}
	w.raft, w.disks = newDraws(c.Seed, "raft"), newDraws(c.Seed, "disks")
	w.faults, w.work = newDraws(c.Seed, "faults"), newDraws(c.Seed, "work")
	w.report.Config = c
	defer func() {
		if x := recover(); x != nil {
			w.fail("S7", "panic: %v", x)
			report = &w.report
		}
	}()
	w.report.Faults = map[string]*Fault{}
	w.net = newNetwork(w, maxSites)
	w.build()
	w.run()
	w.report.Seen = w.history.model.Seen
	w.report.Hash, w.report.Events, w.report.Simulated = w.trace, w.count, w.now
	return &w.report
}

// build draws the cluster.
func (w *world) build() {
	w.history = newHistory(w)
	w.proposer = propose.Config{MaxCommands: 1 + w.work.IntN(32), MaxBytes: 200 + w.work.IntN(4000), MaxInFlight: 1 + w.work.IntN(4)}
	if w.work.one(3) {
		w.proposer.MaxBytes = 60 + w.work.IntN(300)
	}
	w.sharing, w.flushes = !w.work.one(8), pick(w.work, []time.Duration{time.Second, 3 * time.Second, 6 * time.Second})
	w.flushy = w.work.one(5)
	w.logLimit, w.tardy = 100+w.work.IntN(1000), w.work.one(4)
	for i := range pick(w.work, []int{3, 3, 3, 3, 3, 3, 3, 5}) {
		n := &node{id: i, w: w, process: w.process(fmt.Sprint("n", i))}
		n.wall = w.work.between(-time.Hour, time.Hour)
		n.disk = &disk{w: w, kept: kept{vote: -1}, store: newStore()}
		n.raft = &raft{n: n, w: w}
		w.nodes = append(w.nodes, n)
		w.hosts = append(w.hosts, newDraws(w.config.Seed, fmt.Sprint("host", i)))
	}
	if d := newDraws(w.config.Seed, "limits"); d.one(3) {
		w.mostWork = pick(d, []int{1, 1, 200, 500})
		w.history.model.Limit = model.Limit((w.mostWork + fsm.RunWork - 1) / fsm.RunWork)
	}
	bulks := newDraws(w.config.Seed, "slices")
	w.slices[0] = 1 + bulks.IntN(12)
	w.slices[1] = w.slices[0] + bulks.IntN(20)
	w.register = &register{w: w, at: w.process("register"), values: map[string]int64{}}
	for _, n := range w.nodes {
		n.start()
	}
}

// Limits of simulated time.
const (
	longest = time.Hour
	healing = 10 * time.Minute // in which no step is completed, behind the last fault
)

// run has clients work under faults until they have done enough, heals everything, and waits until all that was begun has
// come to its end.
func (w *world) run() {
	w.hire()
	w.strike()
	for w.report.Violation == nil && !w.stopping && w.step() {
		if w.report.Ops >= w.config.Ops {
			w.stopping = true
		}
		if w.now > longest {
			w.fail("liveness", "%d of %d operations were begun in %s of simulated time", w.report.Ops, w.config.Ops, longest)
		}
	}
	w.heal()
	w.retire()
	last, end, look, completed := w.now+longest, w.now+healing, w.now, w.history.model.Completed
	for w.report.Violation == nil && w.step() {
		if w.now < look {
			continue
		}
		look = w.now + time.Second
		if w.settled() {
			break
		}
		if done := w.history.model.Completed; done != completed { // what few workers have before them they may take long for
			end, completed = min(last, w.now+healing), done
		}
		if w.now > end {
			w.stuck()
		}
	}
	if w.report.Violation == nil {
		w.finish()
	}
}
