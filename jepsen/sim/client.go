package sim

import (
	"time"

	"github.com/lockstep-dev/lockstep/client/core"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// client is a process that calls the cluster: the driver of client/core, as package client is.
type client struct {
	*process
	w        *world
	draws    draws
	failover *core.Failover
}

func (w *world) client(name string, draws draws) *client {
	p := w.process(name)
	c := &client{process: p, w: w, draws: draws}
	servers := make([]string, len(w.nodes))
	for i, at := range draws.Perm(len(w.nodes)) {
		servers[i] = w.nodes[at].address()
	}
	c.failover = core.NewFailover(servers)
	return c
}

// options of a call.
type options struct {
	kind     string
	once     bool          // one server, one try
	patience time.Duration // for one try; zero: two seconds
	over     func() bool   // the caller has lost interest
	to       *node         // the one server to ask, once
}

// call asks until there is an answer, or there is no use in asking again.
func (c *client) call(r *request, o options, done func(*response)) {
	w := c.w
	op := w.history.invoke(c, o.kind)
	state := core.Call{Safe: true, Servers: c.failover.Servers()}
	if o.patience == 0 {
		o.patience = 2 * time.Second
	}
	var try func()
	try = func() {
		server := c.failover.Server()
		n := w.address(server)
		if o.to != nil {
			n, server = o.to, o.to.address()
		}
		answered := false
		var taken []*group
		finish := func(res *response) {
			if answered {
				return
			}
			answered = true
			if res.ok() {
				w.history.respond(op, r, res)
				done(res)
				return
			}
			w.report.Failed++
			if res.failure != core.Overloaded {
				c.failover.Failed(server, res.leader)
			}
			after, again := state.Failed(res.failure, c.draws.Float64())
			if !again || o.once || o.to != nil || o.over != nil && o.over() {
				w.history.unanswered(op)
				done(res)
				return
			}
			w.by(c.process, c.sleep(after), try)
		}
		back := func(res *response) { w.net.send(n.process, c.process, func() { finish(res) }) }
		w.net.ask(c.process, n.process, func() { taken = append(taken, n.serve(r, back)) }, func() { back(&response{failure: core.Unreached}) })
		w.by(c.process, c.sleep(o.patience), func() {
			if !answered {
				for _, g := range taken {
					w.net.send(c.process, n.process, func() { n.left(g) })
				}
				finish(&response{failure: core.Unknown})
			}
		})
	}
	try()
}

func one(c *logv1.Command) func() []*logv1.Command {
	return func() []*logv1.Command { return []*logv1.Command{c} }
}

// session is kept alive by its client until it ends.
type session struct {
	c        *client
	id       int64
	ttl      time.Duration
	keeper   *core.Keeper
	zero     time.Duration
	ended    bool
	renewing bool
	onEnd    func()
	onLost   func(token int64)
	// forgetful leaves a token out of a renewal now and then, as a holder does that never heard of it.
	forgetful bool
}

func (c *client) own() time.Duration { return c.mono(c.w.now) }

// open opens a session.
func (c *client) open(ttl time.Duration, done func(*session)) {
	sent := c.own()
	r := &request{commands: func() []*logv1.Command {
		return []*logv1.Command{{Envelope: &logv1.Envelope{}, Body: &logv1.Command_OpenSession{OpenSession: &logv1.OpenSession{Ttl: int64(ttl), Worker: c.name}}}}
	}}
	c.call(r, options{kind: "open"}, func(res *response) {
		if !res.ok() || res.outcomes[0].Refusal != nil || c.own()-sent >= ttl-core.Margin(ttl) {
			c.w.by(c.process, c.sleep(100*time.Millisecond), func() { c.open(ttl, done) })
			return
		}
		reply := res.outcomes[0].Reply.(*v1.Session)
		s := &session{c: c, id: number(reply.SessionId), ttl: ttl, keeper: core.NewKeeper(ttl, 0), zero: sent}
		c.w.history.times.holds(s)
		s.step()
		done(s)
	})
}

func (s *session) now() time.Duration { return s.c.own() - s.zero }

// step does what the keeper wants.
func (s *session) step() {
	if s.ended || s.renewing {
		return
	}
	w := s.c.w
	switch act, at := s.keeper.Step(s.now()); act {
	case core.Expire:
		s.end()
	case core.Renew:
		s.renew()
	case core.Wait:
		w.by(s.c.process, s.c.sleep(at-s.now()), s.step)
	}
}

func (s *session) end() {
	if s.ended {
		return
	}
	s.ended = true
	if s.onEnd != nil {
		s.onEnd()
	}
}

func (s *session) renew() {
	sent, tokens := s.now(), s.keeper.Tokens()
	if s.forgetful && len(tokens) > 0 && s.c.draws.one(4) {
		tokens = tokens[1:]
	}
	s.renewing = true
	r := &request{renewal: func() *logv1.Renewal {
		return &logv1.Renewal{Session: s.id, Tokens: tokens, TokensComplete: true}
	}}
	o := options{kind: "renew", once: true, patience: min(s.keeper.Patience(), s.keeper.Deadline()-sent)}
	s.c.call(r, o, func(res *response) {
		s.renewing = false
		switch {
		case s.ended:
		case !res.ok():
			s.keeper.Failed(s.now(), s.c.draws.Float64())
		case res.renewal.Refusal != nil:
			s.end()
		default:
			s.keeper.Renewed(s.ttl, sent, s.now())
			s.c.w.history.times.holds(s)
			for _, token := range res.renewal.Reply.Lost {
				s.keeper.Drop(token)
				if s.onLost != nil {
					s.onLost(token)
				}
			}
		}
		s.step()
	})
}

// envelope makes what it is put on safe to try again.
func (s *session) envelope() (e func() *logv1.Envelope, answered func()) {
	id, lowest := s.keeper.Request()
	return func() *logv1.Envelope {
		return &logv1.Envelope{Session: s.id, RequestId: id, LowestUnanswered: lowest}
	}, func() { s.keeper.Answered(id) }
}

func (s *session) close() {
	if s.ended {
		return
	}
	s.end()
	r := &request{commands: func() []*logv1.Command {
		return []*logv1.Command{{Envelope: &logv1.Envelope{}, Body: &logv1.Command_CloseSession{CloseSession: &logv1.CloseSession{Session: s.id}}}}
	}}
	s.c.call(r, options{kind: "close"}, func(*response) {})
}
