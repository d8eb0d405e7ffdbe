package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/jepsen/check"
	"github.com/lockstep-dev/lockstep/jepsen/lab"
	"github.com/lockstep-dev/lockstep/jepsen/workload"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Sizes of a run.
const (
	workerTTL  = time.Second
	workers    = 6
	pausing    = 2 // workers that are stopped at a time
	named      = 4
	starters   = 2
	startEvery = 150 * time.Millisecond
	locking    = 4
	lapsing    = 3
)

// world is a run: the lab, the work on it, and what is known of both.
type world struct {
	*config
	lab      *lab.Lab
	client   *client.Client
	clients  []*client.Client // one of each lane, for each has its own idea of who leads
	single   map[*lab.Node]*client.Client
	register *workload.Register
	history  *workload.Recorder
	workers  []*lab.Worker
	pulse    *pulse
	report   *report
	ids      map[*lab.Node]string

	mu    sync.Mutex // guards what follows
	taken map[*lab.Node]bool
	cuts  map[[2]*lab.Node]bool
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
		taken: map[*lab.Node]bool{}, cuts: map[[2]*lab.Node]bool{},
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
	return w.report, w.judge(ctx)
}

func (w *world) open(ctx context.Context) (err error) {
	args := []string{"--log-bytes", "2000000"} // snapshots, and logs cut behind them, while things break
	if w.Plant != "" {
		args = append(args, "--plant", w.Plant)
	}
	if w.lab, err = lab.Open(ctx, lab.Config{Dir: w.Dir, Binary: w.Binary, Nodes: w.Nodes, Args: args}); err != nil {
		return err
	}
	host := "127.0.0.1"
	if w.lab.Lacks["network"] == nil {
		host = lab.Hub
	}
	if w.register, err = workload.NewRegister(host); err != nil {
		return err
	}
	if w.history, err = workload.NewRecorder(filepath.Join(w.Out, "history.jsonl")); err != nil {
		return err
	}
	if w.client, err = w.newClient(0); err != nil {
		return err
	}
	for _, n := range w.lab.Nodes {
		if w.single[n], err = client.New(client.Config{Servers: []string{n.API}}); err != nil {
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
	for _, n := range w.lab.Nodes {
		if err := w.ready(starting, n, 30*time.Second); err != nil {
			return err
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

// work begins every workload.
func (w *world) work(ctx context.Context, lanes *sync.WaitGroup) {
	lane := func(do func(c *client.Client, lane int)) {
		n := len(w.clients)
		c, err := w.newClient(n)
		if err != nil {
			w.report.fail("the harness: %v", err)
			return
		}
		lanes.Go(func() { do(c, n) })
	}
	for range named {
		lane(func(c *client.Client, n int) { w.history.Named(ctx, c, n, w.Seed) })
	}
	for range starters {
		lane(func(c *client.Client, n int) { w.history.Start(ctx, c, n, w.Seed, startEvery) })
	}
	for range locking {
		lane(func(c *client.Client, n int) { w.history.Locks(ctx, c, n, 3, w.Seed) })
	}
	for range lapsing {
		lane(func(c *client.Client, n int) { w.history.Lapse(ctx, c, w.register, n, w.Seed) })
	}
	w.pulse = newPulse(w.history.Now)
	lane(func(c *client.Client, _ int) { w.pulse.run(ctx, c) })
	for at := range w.lab.Nodes {
		lanes.Go(func() { w.report.watch(ctx, w.clients[0], at) })
	}
	self, err := os.Executable()
	for i := 0; i < workers && err == nil; i++ {
		var p *lab.Worker
		name := fmt.Sprint("worker-", i)
		p, err = w.lab.StartWorker(name, self, "worker", "--servers", strings.Join(w.lab.APIs(), ","), "--register", w.register.URL(), "--name", name, "--ttl", workerTTL.String())
		w.workers = append(w.workers, p)
	}
	if err != nil {
		w.report.fail("the harness: %v", err)
		return
	}
	for i := range pausing {
		lanes.Go(func() { w.pauseWorkers(ctx, w.workers[i*workers/pausing:(i+1)*workers/pausing], w.Seed+uint64(i)) })
	}
}

// pauseWorkers stops one worker after the other, where it is, for longer than its TTL: what it held is somebody else's
// when it goes on, and it does not know.
func (w *world) pauseWorkers(ctx context.Context, some []*lab.Worker, seed uint64) {
	chance := rand.New(rand.NewPCG(seed, 5000))
	for n := 0; ctx.Err() == nil; n++ {
		worker := some[n%len(some)]
		err := worker.Pause()
		pause(ctx, workerTTL+400*time.Millisecond+time.Duration(chance.Int64N(int64(1500*time.Millisecond))))
		err = errors.Join(err, worker.Resume())
		w.report.paused(err)
		pause(ctx, time.Duration(chance.Int64N(int64(300*time.Millisecond))))
	}
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
		n := 1 + chance.IntN(3)
		round := slices.Clone(bag[:min(n, len(bag))])
		if i := slices.IndexFunc(round, func(f fault) bool { return f.whole }); i >= 0 {
			round = round[:max(i, 1)]
		}
		bag = bag[len(round):]
		if err := w.round(ctx, round, chance); err != nil {
			return err
		}
	}
	return ctx.Err()
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
		h := &harm{world: w, chance: rand.New(rand.NewPCG(chance.Uint64(), 0))}
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
		w.report.fail("%v", err)
		return errBroken
	}
	healed := w.history.Now()
	if err := w.recovered(ctx, healed); err != nil {
		w.report.fail("after %s: %v", strings.Join(names, "+"), err)
		return errBroken
	}
	w.report.round(began, round{names, w.pulse.next(healed) - healed, w.pulse.longest(began, w.history.Now()), max(0, w.term()-before)})
	for name, at := range struck {
		if len(some) > 1 {
			name += ", with others"
		}
		w.report.took(failOver+name, w.pulse.next(at)-at)
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

// status asks a node how it is; nil when it does not say.
func (w *world) status(n *lab.Node) *v1.GroupStatus {
	asking, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	res, err := w.single[n].Cluster.GetStatus(asking, connect.NewRequest(&v1.GetStatusRequest{Local: true}))
	if err != nil || len(res.Msg.Groups) == 0 {
		return nil
	}
	w.mu.Lock()
	w.ids[n] = res.Msg.NodeId
	w.mu.Unlock()
	return res.Msg.Groups[0]
}

// id is a node's own, as it said last.
func (w *world) id(n *lab.Node) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ids[n]
}

// leader is the node that says so in the newest term; nil when none does.
func (w *world) leader() (lead *lab.Node) {
	var newest uint64
	for _, n := range w.lab.Nodes {
		if s := w.status(n); s != nil && s.State == "Leader" && s.Term >= newest {
			lead, newest = n, s.Term
		}
	}
	return lead
}

func (w *world) term() (term int) {
	for _, n := range w.lab.Nodes {
		if s := w.status(n); s != nil {
			term = max(term, int(s.Term))
		}
	}
	return term
}

// ready waits until a node follows, or leads, and has what was committed when it was first asked.
func (w *world) ready(ctx context.Context, n *lab.Node, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var want uint64
	for {
		if s := w.status(n); s != nil && s.LeaderId != "" {
			if want == 0 {
				want = s.CommitIndex
			}
			if s.AppliedIndex >= want {
				return nil
			}
		}
		pause(ctx, 20*time.Millisecond)
		if ctx.Err() != nil {
			return fmt.Errorf("node %d does not come back: %w", n.Number, ctx.Err())
		}
	}
}

func (w *world) handOver(ctx context.Context) error {
	_, err := w.client.Cluster.TransferLeadership(ctx, connect.NewRequest(&v1.TransferLeadershipRequest{}))
	return err
}

func (w *world) removeMember(ctx context.Context, id string) error {
	for {
		_, err := w.client.Cluster.RemoveMember(ctx, connect.NewRequest(&v1.RemoveMemberRequest{NodeId: id}))
		refusal, refused := client.AsRefusal(err)
		if err == nil || refused && refusal.Code == v1.Code_CODE_MEMBER_NOT_FOUND || ctx.Err() != nil {
			if refused && refusal.Code == v1.Code_CODE_MEMBER_NOT_FOUND {
				return nil
			}
			return err
		}
		pause(ctx, 200*time.Millisecond)
	}
}

// voter waits until a node votes.
func (w *world) voter(ctx context.Context, n *lab.Node) (bool, error) {
	for {
		if s := w.status(n); s != nil {
			for _, m := range s.Members {
				if m.NodeId == w.id(n) && m.Voter {
					return true, nil
				}
			}
		}
		pause(ctx, 50*time.Millisecond)
		if ctx.Err() != nil {
			return false, fmt.Errorf("node %d does not become a voter: %w", n.Number, ctx.Err())
		}
	}
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
	if w.lab != nil {
		for _, n := range w.lab.Nodes { // their logs are part of what the run shows
			errs = append(errs, os.WriteFile(filepath.Join(w.Out, fmt.Sprintf("node-%d.log", n.Number)), []byte(n.Log()), 0o644))
		}
		errs = append(errs, w.lab.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(w.Dir))...)
}

// needs of the workloads' steps, and the permits of their locks.
var (
	needs = map[string][]string{
		"named/b": {"a"}, "named/c": {"a"}, "named/d": {"b", "c"},
		"polled/both": {"take"}, "polled/some": {"take"}, "polled/end": {"both", "some"},
	}
	limits = map[string]int64{"permits-3": 3}
)

// judge takes everything to its end and checks it.
func (w *world) judge(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	ops, err := w.history.Close()
	if err != nil {
		return err
	}
	w.report.count(ops)
	var ids []string
	for _, op := range ops {
		if op.Kind == "start" && op.Outcome == check.OK && strings.HasPrefix(op.Instance, "named-") {
			ids = append(ids, op.Instance)
		}
	}
	w.report.check("nothing is stuck", "liveness", w.finish(ctx, ids, ops))
	for _, p := range w.workers {
		if p != nil {
			_ = p.Close() // nothing is left to do
		}
	}
	events, facts, err := w.feeds(ctx)
	if err != nil {
		return err
	}
	w.report.check("all nodes tell the same events", "S7", facts)
	w.report.check("the feed keeps the rules", "S1", check.Feed(events, needs, limits))
	w.report.check("answers fit the feed", "S3", check.Answers(ops, events))
	w.report.check("locks are linearizable", "S4", check.Locks(ops, time.Minute))
	w.report.check("watches have no gap", "L7", w.report.watched())
	w.report.check("all digests are equal", "S7", w.digests(ctx))
	writes, err := w.register.Close()
	if err != nil {
		return err
	}
	w.report.register(writes, events)
	w.report.Events = len(events)
	w.report.verdict()
	return nil
}
