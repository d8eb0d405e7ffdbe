package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/jepsen/lab"
)

// Sizes of a run.
const (
	workerTTL     = time.Second
	workers       = 6
	pausing       = 2 // workers that are stopped at a time
	named         = 4
	contending    = 2
	starters      = 2
	undoing       = 2
	waiting       = 2
	scheduling    = 2
	posting       = 2
	turning       = 2
	operating     = 2
	redoing       = 1
	crowding      = 2
	reporting     = 2
	startEvery    = 150 * time.Millisecond
	startMost     = 15 // that run, of each starter
	pipelineEvery = 6 * time.Second
	pipelineMost  = 2
	locking       = 4
	lapsing       = 3
)

// work begins every workload.
func (w *world) work(ctx context.Context, lanes *sync.WaitGroup) {
	lane := func(do func(c *client.Client, lane int)) {
		n := len(w.clients)
		c, err := w.newClient(n)
		if err != nil {
			w.report.fail("%v", err)
			return
		}
		lanes.Go(func() { do(c, n) })
	}
	for range named {
		lane(func(c *client.Client, n int) { w.history.Named(ctx, c, n, w.Seed) })
	}
	for range contending {
		lane(func(c *client.Client, n int) { w.history.Contend(ctx, c, n, w.Seed) })
	}
	for range starters {
		lane(func(c *client.Client, n int) { w.history.Start(ctx, c, n, w.Seed, startEvery, startMost) })
	}
	for range undoing {
		lane(func(c *client.Client, n int) { w.history.Sagas(ctx, c, n, w.Seed) })
	}
	for range waiting {
		lane(func(c *client.Client, n int) { w.history.Waits(ctx, c, n, w.Seed) })
	}
	for range posting {
		lane(func(c *client.Client, n int) { w.history.Letters(ctx, c, n, w.Seed) })
	}
	for range turning {
		lane(func(c *client.Client, n int) { w.history.Turns(ctx, c, n, w.Seed) })
	}
	for range reporting {
		lane(func(c *client.Client, n int) { w.history.Reconcile(ctx, c, n, w.Seed) })
	}
	for range operating {
		lane(func(c *client.Client, n int) { w.history.Operate(ctx, c, n, w.Seed) })
	}
	for range redoing {
		lane(func(c *client.Client, n int) { w.history.Redos(ctx, c, n, w.Seed) })
	}
	for range crowding {
		lane(func(c *client.Client, n int) { w.history.Bulks(ctx, c, n, w.Seed) })
	}
	for range scheduling {
		lane(func(c *client.Client, n int) { w.history.Schedules(ctx, c, n, w.Seed) })
	}
	if len(w.pipelines) > 0 {
		lane(func(c *client.Client, n int) {
			w.history.Replay(ctx, c, w.pipelines, n, w.Seed, pipelineEvery, pipelineMost)
		})
	}
	for range locking {
		lane(func(c *client.Client, n int) { w.history.Locks(ctx, c, n, 3, w.Seed) })
	}
	for range lapsing {
		lane(func(c *client.Client, n int) { w.history.Lapse(ctx, c, w.register, n, w.Seed) })
	}
	for _, n := range w.lab.Nodes {
		lanes.Go(func() { w.history.Reads(ctx, w.single[n], w.Seed+uint64(n.Number)) })
	}
	for n := range archiving {
		lanes.Go(func() { w.archive.fill(ctx, n, w.Seed) })
	}
	lanes.Go(func() { w.export(ctx, w.Seed) })
	w.look(ctx, lanes)
	lane(func(c *client.Client, _ int) { w.pulse.run(ctx, c, beatEvery) })
	w.employ(ctx, lanes)
}

// look begins what sees how the cluster is.
func (w *world) look(ctx context.Context, lanes *sync.WaitGroup) {
	w.pulse, w.nodes = newPulse(w.history.Now), newPulse(w.history.Now)
	for _, n := range w.lab.Nodes {
		lanes.Go(func() { w.nodes.run(ctx, w.single[n], 3*beatEvery) })
	}
	for _, n := range w.lab.Nodes {
		lanes.Go(func() { w.reigns(ctx, n) })
	}
	for at := range w.lab.Nodes {
		lanes.Go(func() { w.report.watch(ctx, w.clients[0], at, w.history.Now) })
	}
}

// employ starts the worker processes, and stops some of them at any time.
func (w *world) employ(ctx context.Context, lanes *sync.WaitGroup) {
	self, err := os.Executable()
	for i := 0; i < workers && err == nil; i++ {
		var p *lab.Worker
		name := fmt.Sprint("worker-", i)
		p, err = w.lab.StartWorker(name, self, "worker", "--servers", strings.Join(w.lab.APIs(), ","), "--register", w.register.URL(), "--name", name, "--ttl", workerTTL.String(), "--plant", w.Plant)
		w.workers = append(w.workers, p)
	}
	if err != nil {
		w.report.fail("%v", err)
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
		w.report.died(worker.Name, w.history.Now())
		err := worker.Pause()
		pause(ctx, workerTTL+400*time.Millisecond+time.Duration(chance.Int64N(int64(1500*time.Millisecond))))
		w.report.died(worker.Name, 0)
		err = errors.Join(err, worker.Resume())
		w.report.paused(err)
		pause(ctx, time.Duration(chance.Int64N(int64(300*time.Millisecond))))
	}
}
