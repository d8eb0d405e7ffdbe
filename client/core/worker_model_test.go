package core

import (
	"math/rand/v2"
	"testing"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// cluster is what a worker talks to, as plainly as can be: leases, credit, and two pipes that are lost with the stream.
type cluster struct {
	t        *testing.T
	rng      *rand.Rand
	worker   *Worker
	credit   int
	next     int64
	leased   map[int64]bool
	accepted map[int64]int
	released map[int64]int
	up       []*v1.WorkRequest  // to the cluster, on its way
	down     []*v1.WorkResponse // to the worker
	running  []int64
	started  map[int64]int
	answered map[int64]int
}

const modelSlots = 3

// Whatever crosses and gets lost: no run is started twice, no more than slots at a time, each result is accepted once and
// answered once, and when all is quiet nothing is held by either side.
func TestWorkerModel(t *testing.T) {
	for seed := range uint64(300) {
		c := &cluster{
			t: t, rng: rand.New(rand.NewPCG(seed, 1)), worker: NewWorker([]string{"q"}, modelSlots), leased: map[int64]bool{},
			accepted: map[int64]int{}, released: map[int64]int{}, started: map[int64]int{}, answered: map[int64]int{},
		}
		c.reconnect()
		for range 600 {
			c.step()
		}
		c.worker.Drain()
		for range 50 {
			c.finish()
			c.deliverUp()
			c.deliverDown()
			c.send()
		}
		c.check(seed)
	}
}

func (c *cluster) step() {
	switch c.rng.IntN(6) {
	case 0:
		c.grant()
	case 1:
		c.deliverUp()
	case 2:
		c.deliverDown()
	case 3:
		c.finish()
	case 4:
		c.send()
	case 5:
		if c.rng.IntN(5) == 0 {
			c.reconnect()
		}
	}
}

// reconnect loses what is on its way, and tells the worker what it holds.
func (c *cluster) reconnect() {
	c.up, c.down, c.credit = nil, nil, 0
	c.worker.Closed()
	var held []int64
	for token := int64(1); token <= c.next; token++ {
		if c.leased[token] {
			held = append(held, token)
		}
	}
	c.worker.Opened(runs(held...))
	c.after()
}

func (c *cluster) grant() {
	if c.credit > 0 {
		c.credit--
		c.next++
		c.leased[c.next] = true
		c.down = append(c.down, &v1.WorkResponse{Runs: runs(c.next)})
	}
}

func (c *cluster) deliverUp() {
	if len(c.up) == 0 {
		return
	}
	m := c.up[0]
	c.up = c.up[1:]
	reply := &v1.WorkResponse{}
	for _, done := range m.Completions {
		outcome := c.end(done.Token, c.accepted, c.released)
		if outcome[0].Refusal == nil {
			c.credit += int(done.Next.GetCount())
		}
		reply.Outcomes = append(reply.Outcomes, outcome...)
	}
	if m.Credit != nil {
		c.credit = int(m.Credit.Count)
	}
	for _, token := range tokens(m.Releases) {
		reply.Outcomes = append(reply.Outcomes, c.end(token, c.released, c.accepted)...)
	}
	c.down = append(c.down, reply)
}

// end ends a lease one way; the same way again is answered like the first time. Now and then the cluster has no leader.
func (c *cluster) end(token int64, into, other map[int64]int) []*v1.WorkOutcome {
	switch {
	case c.rng.IntN(10) == 0:
		return refused(token, v1.Code_CODE_NO_LEADER)
	case c.leased[token]:
		delete(c.leased, token)
		into[token]++
	case other[token] > 0 || into[token] == 0:
		c.t.Fatalf("token %d was ended in two ways, or was never leased", token)
	}
	return answers(token)
}

func (c *cluster) deliverDown() {
	if len(c.down) == 0 {
		return
	}
	m := c.down[0]
	c.down = c.down[1:]
	c.worker.Answered(0, m.Outcomes)
	c.worker.Granted(m.Runs)
	c.after()
}

func (c *cluster) finish() {
	if len(c.running) > 0 {
		at := c.rng.IntN(len(c.running))
		c.worker.Finished(c.running[at], Result{})
		c.running = append(c.running[:at], c.running[at+1:]...)
		c.after()
	}
}

func (c *cluster) send() {
	if m, _ := c.worker.Message(resendAfter); m != nil {
		c.up = append(c.up, m)
	}
}

// after does what the worker wants.
func (c *cluster) after() {
	for _, run := range c.worker.Start() {
		c.started[run.Token]++
		c.running = append(c.running, run.Token)
	}
	if len(c.running) > modelSlots || c.worker.Working() != len(c.running) {
		c.t.Fatalf("%d run, the worker says %d", len(c.running), c.worker.Working())
	}
	for _, a := range c.worker.Done() {
		c.answered[a.Run.Token]++
	}
	if lost := c.worker.Lost(); len(lost) > 0 {
		c.t.Fatalf("leases %v were not lost", lost)
	}
}

func (c *cluster) check(seed uint64) {
	if !c.worker.Stopped() || len(c.leased) > 0 || c.next < 10 {
		c.t.Fatalf("seed %d: stopped %t, %d leased of %d", seed, c.worker.Stopped(), len(c.leased), c.next)
	}
	for token := int64(1); token <= c.next; token++ {
		if c.accepted[token] != c.started[token] || c.accepted[token]+c.released[token] != 1 || c.answered[token] != 1 {
			c.t.Fatalf("seed %d: token %d started %d, accepted %d, released %d, answered %d times",
				seed, token, c.started[token], c.accepted[token], c.released[token], c.answered[token])
		}
	}
}
