package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/fsm/graph"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
	lockstepv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1/lockstepv1connect"
)

// underFire starts the work, hurts whoever does it, and waits for its end.
func (d *demo) underFire(ctx context.Context) error {
	stop, hang := filepath.Join(d.dir, "stopped"), filepath.Join(d.dir, "hanging")
	// The two that come to harm begin alone, so that they have something to lose.
	if err := errors.Join(d.startWorker("stopped", "--stop", stop), d.startWorker("killed", "--hang", hang)); err != nil {
		return err
	}
	if err := d.startInstances(ctx); err != nil {
		return err
	}
	stopped, err := d.marker(ctx, stop)
	if err != nil {
		return err
	}
	lost, err := d.marker(ctx, hang)
	if err != nil {
		return err
	}
	for _, name := range unharmed() {
		if err := d.startWorker(name, "--after", stop); err != nil {
			return err
		}
	}
	d.Say("a worker stopped itself on %s, between its last look at the clock and its write", stopped)
	killed := time.Now()
	if err := d.process("killed").Kill(); err != nil {
		return err
	}
	d.Say("killed a worker that held %s", lost)
	if err := d.killLeader(ctx); err != nil {
		return err
	}
	if d.result.WorkerLossRegrantMs, err = d.granted(ctx, lost, killed); err != nil {
		return err
	}
	d.Say("what the killed worker held was leased again after %d ms, of which its ttl is %d", d.result.WorkerLossRegrantMs, ttl.Milliseconds())
	if _, err := d.granted(ctx, stopped, killed); err != nil {
		return err
	}
	if err := d.written(ctx, stopped); err != nil {
		return err
	}
	if err := d.process("stopped").Signal(syscall.SIGCONT); err != nil {
		return err
	}
	d.Say("let the stopped worker go on, while another holds its step: it writes and completes, too late")
	if err := d.killUndoing(ctx); err != nil {
		return err
	}
	if err := errors.Join(d.ended(ctx), d.refused(ctx)); err != nil {
		return err
	}
	// What they were answered is in the ledger when they have ended.
	for _, name := range append(unharmed(), "stopped") {
		if err := d.finish(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// unharmed are the workers that nothing happens to.
func unharmed() []string { return []string{"worker-0", "worker-1"} }

func (d *demo) startInstances(ctx context.Context) error {
	start := func(workflow, id string, input any) error {
		d.started[id] = workflow
		_, err := d.client.Start(ctx, workflow, id, input, client.StartOptions{})
		return err
	}
	for i := range perKind {
		onboarding := fmt.Sprint("onboarding-", i)
		err := errors.Join(
			start("order-fulfilment", fmt.Sprint("order-", i), map[string]any{"order": fmt.Sprint(i), "customer": fmt.Sprint("c", i%3), "amount": 200 * i}),
			start("incident-handling", fmt.Sprint("incident-", i), map[string]any{"service": fmt.Sprint("s", i%2), "severity": 1 + i%4}),
			start("customer-onboarding", onboarding, map[string]any{"customer": fmt.Sprint("c", i), "email": "a@example.com"}),
		)
		if err != nil {
			return err
		}
		if _, err := d.client.Signal(ctx, onboarding, "documents", "s1", map[string]any{"passport": true}, client.SignalOptions{}); err != nil {
			return err
		}
		if _, err := d.client.Signal(ctx, fmt.Sprint("incident-", i), "acknowledged", "s1", nil, client.SignalOptions{}); err != nil {
			return err
		}
	}
	if err := start("order-fulfilment", doomed, map[string]any{"order": "lost", "customer": "c0", "amount": 70}); err != nil {
		return err
	}
	if d.graphs[pipeline] != nil {
		if err := start(pipeline, pipeline, map[string]any{}); err != nil {
			return err
		}
	}
	d.Say("started %d instances of %d workflows", len(d.started), len(d.graphs))
	return nil
}

// poll asks again and again, for processes and files have no channel.
func poll(ctx context.Context, what string, ok func() (bool, error)) error {
	for {
		done, err := ok()
		if done || err != nil {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s: not in time", what)
		}
	}
}

// marker waits for a worker to say which run it holds.
func (d *demo) marker(ctx context.Context, path string) (run string, err error) {
	err = poll(ctx, "a worker takes a step", func() (bool, error) {
		b, err := os.ReadFile(path)
		run = string(b)
		return err == nil && run != "", nil
	})
	return run, err
}

// killLeader kills the leader, measures until the next acknowledgement, and starts it again.
func (d *demo) killLeader(ctx context.Context) error {
	lead, err := d.leader(ctx)
	if err != nil {
		return err
	}
	killed := time.Now()
	if err := d.cluster.Kill(lead); err != nil {
		return err
	}
	// The same start again is a write like any other, and changes nothing.
	if _, err := d.client.Start(ctx, "incident-handling", "incident-0", map[string]any{"service": "s0", "severity": 1}, client.StartOptions{}); err != nil {
		return err
	}
	d.result.LeaderKills++
	took := time.Since(killed).Milliseconds()
	d.result.FailoverMs = max(d.result.FailoverMs, took)
	d.Say("killed the leader, node %d: the next write was acknowledged after %d ms", lead, took)
	return d.cluster.StartAttached(lead)
}

func (d *demo) statuses(ctx context.Context) map[int]*v1.GroupStatus {
	out := map[int]*v1.GroupStatus{}
	for _, n := range d.cluster.Nodes {
		asking, cancel := context.WithTimeout(ctx, time.Second)
		status, err := lockstepv1.NewClusterServiceClient(d.http, "http://"+n.API).GetStatus(asking, connect.NewRequest(&v1.GetStatusRequest{}))
		cancel()
		if err == nil && len(status.Msg.Groups) > 0 {
			out[n.Number] = status.Msg.Groups[0]
		}
	}
	return out
}

func (d *demo) leader(ctx context.Context) (number int, err error) {
	err = poll(ctx, "somebody leads", func() (bool, error) {
		for n, s := range d.statuses(ctx) {
			if s.State == "Leader" {
				number = n
				return true, nil
			}
		}
		return false, nil
	})
	return number, err
}

// granted waits until a run was leased after a time, and returns how long after.
func (d *demo) granted(ctx context.Context, name string, since time.Time) (ms int64, err error) {
	id, step, _ := strings.Cut(name, "/")
	err = poll(ctx, name+" is leased again", func() (bool, error) {
		for e, err := range d.client.History(ctx, id) {
			if err != nil {
				return false, err
			}
			if e.Type == "lockstep.step.leased.v1" && e.Data.Step == step && e.Time.AsTime().After(since) {
				ms = e.Time.AsTime().Sub(since).Milliseconds()
				return true, nil
			}
		}
		return false, nil
	})
	return ms, err
}

// written waits until a run has had an effect.
func (d *demo) written(ctx context.Context, name string) error {
	id, step, _ := strings.Cut(name, "/")
	return poll(ctx, name+" is done by another", func() (bool, error) {
		lines, err := readLedger(d.ledgerFile())
		return slices.ContainsFunc(lines, func(l Line) bool {
			return l.Instance == id && l.Step == step && l.Answer == "" && !l.Refused
		}), err
	})
}

// ended waits for every instance.
func (d *demo) ended(ctx context.Context) error {
	for id := range d.started {
		i, err := d.client.Wait(ctx, id)
		if err != nil {
			return fmt.Errorf("wait for %s: %w", id, err)
		}
		if i.State != ends(id) {
			d.problem("instance %s is %s: %s", id, i.State, i.Reason)
		}
	}
	return nil
}

// refused waits until the ledger has refused the write of the worker that was stopped.
func (d *demo) refused(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err := poll(waiting, "the late write", func() (bool, error) {
		lines, err := readLedger(d.ledgerFile())
		return slices.ContainsFunc(lines, func(l Line) bool { return l.Refused }), err
	})
	if waiting.Err() != nil && ctx.Err() == nil {
		return nil // it is told as a problem: no fenced write
	}
	return err
}

func (d *demo) problem(format string, args ...any) {
	d.result.Problems = append(d.result.Problems, fmt.Sprintf(format, args...))
}

// look reads what happened: the history of every instance, the ledger by itself, and every node's digests.
func (d *demo) look(ctx context.Context) error {
	completions := map[string][]int64{} // run -> the tokens under which the history says that it was
	var ofDoomed []string
	skipped := map[string]bool{}
	d.result.Instances = len(d.started)
	for id := range d.started {
		i, err := d.client.Get(ctx, id)
		if err != nil {
			return err
		}
		d.result.Runs += len(i.Runs)
		for _, r := range i.Runs {
			skipped[id+"/"+r.Step] = r.State == v1.RunState_RUN_STATE_SKIPPED
		}
		for e, err := range d.client.History(ctx, id) {
			if err != nil {
				return err
			}
			d.count(e, completions)
			if id == doomed && e.Type == "lockstep.step.completed.v1" {
				ofDoomed = append(ofDoomed, e.Data.Step)
			}
		}
	}
	lines, err := readLedger(d.ledgerFile())
	if err != nil {
		return err
	}
	j := judge(lines, func(instance, step string) []string { return d.needs(instance, step, skipped) }, d.done(completions))
	d.result.FencedWrites, d.result.OrderViolations = j.fenced, j.order
	d.result.DuplicateCompletions += j.duplicates
	if j.late == 0 {
		d.problem("no worker tried to complete under an older token than another had written with: the run proves nothing about completions")
	}
	if j.unfinished > 0 {
		d.problem("%d runs completed and left no effect in the ledger", j.unfinished)
	}
	if err := undone(d.graphs[d.started[doomed]], ofDoomed); err != nil {
		d.problem("the order that failed: %v", err)
	}
	d.result.HistoryDigestsEqual = d.digestsEqual(ctx)
	d.verdict()
	return nil
}

// count counts what an event of the history tells. Completions under several tokens are counted with the ledger's.
func (d *demo) count(e *v1.Event, completions map[string][]int64) {
	switch e.Type {
	case "lockstep.step.completed.v1":
		run := e.Data.InstanceId + "/" + e.Data.Step
		d.result.AcceptedCompletions++
		if slices.Contains(completions[run], e.Data.Token) {
			d.result.DuplicateCompletions++
		}
		completions[run] = append(completions[run], e.Data.Token)
	case "lockstep.instance.compensating.v1":
		d.result.Compensated++
	case "lockstep.step.late.v1":
		d.result.FencedCompletions++
	}
}

// needs are the steps that must have had an effect before a step does.
func (d *demo) needs(instance, step string, skipped map[string]bool) (out []string) {
	g := d.graphs[d.started[instance]]
	for n := range g.Nodes {
		if g.Nodes[n].ID != step {
			continue
		}
		if undoes, is := g.Nodes[n].Compensates(); is {
			return before(g, undoes)
		}
		for _, need := range g.Nodes[n].Needs {
			if id := g.Nodes[need].ID; g.Nodes[need].Kind == graph.KindTask && !skipped[instance+"/"+id] {
				out = append(out, id)
			}
		}
	}
	return out
}

// done are the completed runs that a worker did.
func (d *demo) done(completed map[string][]int64) map[string][]int64 {
	out := map[string][]int64{}
	for run, tokens := range completed {
		id, step, _ := strings.Cut(run, "/")
		for _, n := range d.graphs[d.started[id]].Nodes {
			if n.ID == step && n.Kind == graph.KindTask {
				out[run] = tokens
			}
		}
	}
	return out
}

// digestsEqual compares all nodes' digests at the newest index that all of them tell.
func (d *demo) digestsEqual(ctx context.Context) bool {
	waiting, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	equal := false
	err := poll(waiting, "digests", func() (bool, error) {
		statuses := d.statuses(ctx)
		if len(statuses) < len(d.cluster.Nodes) {
			return false, nil
		}
		told := map[uint64]map[string]int{}
		for _, s := range statuses {
			for _, at := range s.Digests[:len(s.Digests)-1] { // the last repeats the one before at the applied index
				if told[at.Index] == nil {
					told[at.Index] = map[string]int{}
				}
				told[at.Index][at.Digest]++
			}
		}
		common, same := 0, 0
		for _, digests := range told {
			nodes := 0
			for _, n := range digests {
				nodes += n
			}
			if nodes == len(statuses) {
				common++
				if len(digests) == 1 {
					same++
				}
			}
		}
		equal = common > 0 && same == common
		return common > 0, nil
	})
	return err == nil && equal
}

// CompletedTwice is the problem of a run of which several completions were accepted.
const CompletedTwice = "a run was completed twice"

// verdict says whether everything held.
func (d *demo) verdict() {
	r := &d.result
	for _, x := range []struct {
		wrong bool
		says  string
	}{
		{r.DuplicateCompletions > 0, CompletedTwice},
		{r.OrderViolations > 0, "a step had its effect before one that it needs"},
		{r.FencedWrites == 0, "the ledger refused no write: the run proves nothing about fencing"},
		{r.LeaderKills == 0, "no leader was killed"},
		{r.Compensated == 0, "no instance was undone"},
		{!r.LeaderKilledUndoing, "no leader was killed while an instance was undone"},
		{!r.HistoryDigestsEqual, "the nodes' histories differ"},
	} {
		if x.wrong {
			d.problem("%s", x.says)
		}
	}
	r.OK = len(r.Problems) == 0
}
