package sim

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/client/core"
	"github.com/lockstep-dev/lockstep/cluster/propose"
	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// request is what a client asks: one of commands, a renewal, or a read. It is made anew for each time that it arrives.
type request struct {
	commands func() []*logv1.Command
	renewal  func() *logv1.Renewal
	read     func(*fsm.Machine) (proto.Message, error)
	stale    bool
	// push gets what is granted to credit after the answer.
	push func(s fsm.Settlement)
	// stream is the wait id of the credit, the same for all of a stream.
	stream uint64
}

// response is an answer, or how there is none.
type response struct {
	failure  core.Failure // Final: there is an answer
	leader   string
	outcomes []fsm.Outcome
	calls    []uint64 // which the outcomes answer
	renewal  fsm.RenewalOutcome
	value    proto.Message
	refusal  *v1.Refusal
	applied  uint64
}

func (r *response) ok() bool { return r.failure == core.Final }

// serverCall is a call that a node has taken: one command of a request, a renewal, or a barrier.
type serverCall struct {
	id    uint64
	n     *node
	group *group
	place int
	over  bool

	logged uint64 // by which entry; zero: by none so far
	denied bool   // its caller was told that it was not done
}

// group is a request that a node has taken.
type group struct {
	request *request
	answers []fsm.Outcome
	calls   []uint64
	left    int
	send    func(*response)
}

// serve takes a request.
func (n *node) serve(r *request, send func(*response)) *group {
	g := &group{request: r, send: send}
	if r.renewal != nil || r.commands != nil {
		n.w.history.times.receives(n, r)
	}
	if _, leads := n.core.Leading(); !leads && !r.stale {
		send(n.noLeader())
		return g
	}
	switch {
	case r.stale:
		send(n.readValue(r.read))
		return g
	case r.read != nil:
		if plant.Is(plant.VerifyLeader) && n.raft.role == leader {
			send(n.readValue(r.read))
			return g
		}
		n.core.Barrier(n.call(g, 0))
	case r.renewal != nil:
		c := n.call(g, 0)
		n.received[c.id] = n.w.now
		n.core.Renew(r.renewal(), c)
		if plant.Is(plant.RenewalBeforeCommit) {
			c.reply(&response{renewal: fsm.RenewalOutcome{Reply: &v1.KeepAliveResponse{}}})
		}
	default:
		n.take(g, r.commands())
	}
	n.kick(0)
	return g
}

func (n *node) call(g *group, place int) *serverCall {
	n.w.ids++
	return &serverCall{id: n.w.ids, n: n, group: g, place: place}
}

// take proposes commands, each as a call that listens for what settles it.
func (n *node) take(g *group, commands []*logv1.Command) {
	list := make([]propose.Call, len(commands))
	g.answers, g.calls, g.left = make([]fsm.Outcome, len(commands)), make([]uint64, len(commands)), len(commands)
	for i, command := range commands {
		c := n.call(g, i)
		g.calls[i] = c.id
		list[i] = c
		if id := g.waitID(c, command); id != 0 {
			command.Envelope.WaitId = id
			n.waiting[id] = c
		}
	}
	if !n.core.Commands(commands, list) {
		g.fail(&response{failure: core.Overloaded})
		return
	}
	for _, id := range g.calls {
		n.received[id] = n.w.now
	}
}

// backlog is how long the oldest call waits that the node has received and has not logged.
func (n *node) backlog() time.Duration {
	oldest := n.w.now
	for _, at := range n.received {
		oldest = min(oldest, at)
	}
	return n.w.now - oldest
}

// waitID names what may be told later of a command: what is granted to the stream's credit, or the answer to a call.
func (g *group) waitID(c *serverCall, command *logv1.Command) uint64 {
	switch b := command.Body.(type) {
	case *logv1.Command_PollSteps:
		if b.PollSteps.Credit {
			return g.request.stream
		}
		return c.id
	case *logv1.Command_OpenStream:
		return g.request.stream
	case *logv1.Command_LeaseStep, *logv1.Command_AcquireLock:
		return c.id
	case *logv1.Command_CompleteStep:
		if b.CompleteStep.Next != nil {
			return g.request.stream
		}
	}
	return 0
}

func (g *group) fail(r *response) {
	if g.send != nil {
		g.send(r)
		g.send = nil
	}
}

// refuse answers a call that was not done, or of which nobody knows.
func (c *serverCall) refuse(r *response) {
	delete(c.n.waiting, c.id)
	if r.failure != core.Unknown {
		c.denied = true
		c.n.w.history.denied(c)
	}
	c.group.fail(r)
}

// reply answers a renewal or a read.
func (c *serverCall) reply(r *response) {
	r.calls = []uint64{c.id}
	c.group.fail(r)
}

func (c *serverCall) read() *response { return c.n.readValue(c.group.request.read) }

// outcome takes in what a command came to. One that parked is answered when it is settled.
func (c *serverCall) outcome(o fsm.Outcome) {
	if !o.Parked {
		delete(c.n.waiting, c.id)
		c.finish(o)
	}
}

func (c *serverCall) settled(s fsm.Settlement) {
	c.n.w.history.tells(c.n, c.n.applied)
	if push := c.group.request.push; push != nil {
		push(s)
		return
	}
	delete(c.n.waiting, c.id)
	c.finish(fsm.Outcome{Reply: s.Reply, Refusal: s.Refusal})
}

func (c *serverCall) finish(o fsm.Outcome) {
	g := c.group
	if c.over {
		return
	}
	c.over = true
	g.answers[c.place] = o
	if g.left--; g.left == 0 {
		g.fail(&response{outcomes: g.answers, calls: g.calls})
	}
}

// left has the node know that nobody waits for a request any more.
func (n *node) left(g *group) {
	if _, leads := n.core.Leading(); !leads {
		return
	}
	for _, id := range g.calls {
		if n.waiting[id] == nil {
			continue
		}
		delete(n.waiting, id)
		c := n.call(&group{answers: make([]fsm.Outcome, 1), calls: make([]uint64, 1), left: 1}, 0)
		if n.core.Commands([]*logv1.Command{{Envelope: &logv1.Envelope{}, Body: &logv1.Command_EndWait{EndWait: &logv1.EndWait{WaitId: id}}}}, []propose.Call{c}) {
			n.received[c.id] = n.w.now
		}
		n.kick(0)
	}
}
