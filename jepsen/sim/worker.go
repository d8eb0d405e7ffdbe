package sim

import (
	"fmt"
	"time"

	"github.com/lockstep-dev/lockstep/client/core"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// worker does runs of queues, by calls: the driver of core.Worker, as package client is when it polls.
type worker struct {
	c      *client
	s      *session
	core   *core.Worker
	queues []string
	ttl    time.Duration
	asked  int
	busy   bool // results are on their way
	at     time.Duration
	runs   map[int64]*work
	// A worker on a stream is told of grants by the one server that it is connected to.
	streams bool
	stream  uint64 // zero: none
	server  *node
	// A stubborn worker does not heed that its lease is lost, as one does that was paused while it did the work.
	stubborn bool
	stopped  bool
}

// work is a run that somebody works on.
type work struct {
	run  *v1.LeasedRun
	over bool
}

func (w *world) worker(name string, d draws) *worker {
	k := &worker{
		c: w.client(name, d), queues: theQueues, ttl: d.between(1500*time.Millisecond, 6*time.Second),
		runs: map[int64]*work{}, stubborn: d.one(2), streams: d.one(2), at: -1,
	}
	if name != "worker0" && d.one(2) { // somebody takes what is in any queue
		k.queues = theQueues[d.IntN(len(theQueues)):]
	}
	k.core = core.NewWorker(k.queues, 1+d.IntN(w.crew.pace.room))
	k.open()
	return k
}

func (k *worker) open() {
	k.c.open(k.ttl, func(s *session) {
		k.s, k.asked = s, 0
		s.forgetful = k.c.draws.one(6)
		s.onEnd = func() {
			k.hangUp()
			for _, token := range s.keeper.Tokens() {
				k.lose(token)
			}
			if !k.stopped {
				k.open()
			}
		}
		s.onLost = k.lose
		k.update(func(c *core.Worker) { c.Closed() })
	})
}

// lose stops the work under a token, if the worker heeds it.
func (k *worker) lose(token int64) {
	if x := k.runs[token]; x != nil && !x.over && !k.stubborn {
		x.over = true
		k.update(func(c *core.Worker) { c.Finished(token, core.Result{Outcome: core.Dropped}) })
	}
}

// update changes the core, and does what it then wants.
func (k *worker) update(change func(*core.Worker)) {
	change(k.core)
	for _, run := range k.core.Start() {
		k.start(run)
	}
	for _, token := range k.core.Lost() {
		k.lose(token)
	}
	for _, a := range k.core.Done() {
		k.s.keeper.Drop(a.Run.Token)
		delete(k.runs, a.Run.Token)
	}
	k.later(0)
}

// later has the worker look for something to send.
func (k *worker) later(d time.Duration) {
	at := k.c.w.now + d
	if k.at >= 0 && k.at <= at {
		return
	}
	k.at = at
	k.c.w.by(k.c.process, d, func() {
		if k.at == at {
			k.at = -1
			k.pump()
		}
	})
}

// pump sends what there is to send.
func (k *worker) pump() {
	if k.s == nil || k.s.ended || k.busy {
		return
	}
	if k.streams && k.stream == 0 {
		k.connect()
		return
	}
	m, again := k.core.Message(k.c.own())
	if m == nil {
		if again > 0 {
			k.later(k.c.sleep(again - k.c.own()))
		}
		return
	}
	if !k.streams {
		for n := int(m.Credit.GetCount()); k.asked < n && !k.s.ended; {
			k.poll(n - k.asked)
		}
	}
	k.deliver(m)
}

// poll asks for up to count runs.
func (k *worker) poll(count int) {
	k.asked += count
	s := k.s
	envelope, answered := s.envelope()
	wait := k.c.draws.between(0, 10*time.Second)
	r := &request{commands: func() []*logv1.Command {
		return []*logv1.Command{{Envelope: envelope(), Body: &logv1.Command_PollSteps{PollSteps: &logv1.PollSteps{
			Session: s.id, Queues: k.queues, Count: int32(count), Wait: int64(wait),
		}}}}
	}}
	o := options{kind: "poll", patience: wait + 2*time.Second, over: func() bool { return s.ended }}
	k.c.call(r, o, func(res *response) {
		answered()
		if k.s == s {
			k.asked -= count
		}
		var runs []*v1.LeasedRun
		if res.ok() {
			if reply, is := res.outcomes[0].Reply.(*v1.PollStepsResponse); is {
				runs = reply.Runs
			}
			if refusal := res.outcomes[0].Refusal; refusal.GetCode() == v1.Code_CODE_SESSION_EXPIRED {
				s.end()
			}
		}
		if k.s == s {
			k.update(func(c *core.Worker) { c.Granted(runs); c.Unused(count - len(runs)) })
		}
	})
}

// start does a run.
func (k *worker) start(run *v1.LeasedRun) {
	x := &work{run: run}
	k.runs[run.Token] = x
	k.s.keeper.Hold(run.Token)
	k.c.w.crew.hear(run)
	d := k.c.draws
	took := d.between(time.Millisecond, k.c.w.crew.pace.took)
	if d.one(12) && !k.c.w.crew.pace.hot || d.one(200) {
		took = d.between(0, 2*k.ttl)
	}
	if d.one(6) {
		k.c.w.by(k.c.process, took/2, func() { k.progress(x) })
	}
	k.c.w.by(k.c.process, took, func() {
		if x.over {
			return
		}
		k.c.w.register.write(k.c, run.IdempotencyKey, run.Token, func(taken bool) { k.finish(x, taken) })
	})
}

func (k *worker) finish(x *work, taken bool) {
	if x.over {
		return
	}
	x.over = true
	d := k.c.draws
	result := core.Result{Outcome: core.Completed, Output: &v1.Payload{Bytes: fmt.Appendf(nil, "%d", d.IntN(4))}}
	switch n := d.IntN(24); {
	case !taken:
		result = core.Result{Outcome: core.Released, Reason: "fenced"}
	case n < 2:
		result = core.Result{Outcome: core.Failed, Code: pick(d, []string{"E", "E", "N"}), Reason: "drawn", Retryable: n == 0 || d.one(2)}
	case n == 3:
		result = core.Result{Outcome: core.Released, Reason: "drawn"}
	}
	k.update(func(c *core.Worker) { c.Finished(x.run.Token, result) })
}

func (k *worker) progress(x *work) {
	if x.over {
		return
	}
	run := x.run
	r := &request{commands: func() []*logv1.Command {
		return []*logv1.Command{{Envelope: &logv1.Envelope{}, Body: &logv1.Command_ReportProgress{ReportProgress: &v1.ReportProgressRequest{
			InstanceId: run.InstanceId, Step: run.Step, Index: run.Index, Token: run.Token,
		}}}}
	}}
	k.c.call(r, options{kind: "progress", once: true}, func(*response) {})
}
