package sim

import (
	"github.com/lockstep-dev/lockstep/client/core"
	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// item is one result on its way.
type item struct {
	token   int64
	command func() *logv1.Command
}

func items(m *v1.WorkRequest) (out []item) {
	for _, x := range m.Completions {
		out = append(out, item{x.Token, func() *logv1.Command {
			return &logv1.Command{Envelope: &logv1.Envelope{Salt: []byte{1}}, Body: &logv1.Command_CompleteStep{CompleteStep: x}}
		}})
	}
	for _, x := range m.Failures {
		out = append(out, item{x.Token, func() *logv1.Command {
			return &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_FailStep{FailStep: x}}
		}})
	}
	for _, x := range m.Releases {
		out = append(out, item{x.Token, func() *logv1.Command {
			return &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_ReleaseStep{ReleaseStep: x}}
		}})
	}
	return out
}

// deliver sends results, and tells the core what became of each; on a stream, credit goes with them.
func (k *worker) deliver(m *v1.WorkRequest) {
	for _, c := range m.Completions {
		if c.Next != nil {
			c.SessionId = sessionName(k.s.id)
		}
	}
	list := items(m)
	credit := m.Credit
	if !k.streams {
		credit = nil
	}
	if len(list) == 0 && credit == nil {
		return
	}
	k.busy = true
	session, stream := k.s, k.stream
	r := &request{stream: stream, push: k.pushed(session, stream), commands: func() (out []*logv1.Command) {
		for _, x := range list {
			out = append(out, x.command())
		}
		if credit != nil {
			out = append(out, &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_PollSteps{PollSteps: &logv1.PollSteps{
				Session: session.id, Queues: credit.Queues, Count: credit.Count, Credit: true,
			}}})
		}
		return out
	}}
	o := options{kind: "results"}
	if k.streams {
		o.to = k.server
	}
	k.c.call(r, o, func(res *response) {
		k.busy = false
		if k.streams && (!res.ok() || stream != k.stream) {
			k.hangUp()
			k.later(k.c.draws.between(0, k.ttl/6))
			return
		}
		k.answered(list, res, credit != nil)
	})
}

// answered tells the core what became of results, and of what credit was used at once.
func (k *worker) answered(list []item, res *response, credit bool) {
	outcomes := make([]*v1.WorkOutcome, len(list))
	var granted []*v1.LeasedRun
	for i, x := range list {
		outcomes[i] = &v1.WorkOutcome{Token: x.token}
		if !res.ok() {
			outcomes[i].Refusal = &v1.Refusal{Code: v1.Code_CODE_UNKNOWN_OUTCOME}
			continue
		}
		outcomes[i].Refusal = res.outcomes[i].Refusal
		if done, is := res.outcomes[i].Reply.(*v1.CompleteStepResponse); is {
			outcomes[i].Late = done.Late
			granted = append(granted, done.Next...)
		}
	}
	if credit {
		last := res.outcomes[len(list)]
		if last.Refusal != nil {
			k.s.end()
			return
		}
		granted = append(granted, last.Reply.(*v1.PollStepsResponse).Runs...)
	}
	k.update(func(c *core.Worker) { c.Answered(k.c.own(), outcomes); c.Granted(granted) })
}

// pushed gets what credit is granted later.
func (k *worker) pushed(s *session, stream uint64) func(fsm.Settlement) {
	server := k.server
	if stream == 0 {
		return nil
	}
	return func(x fsm.Settlement) {
		wanted := func() bool { return k.s == s && k.stream == stream }
		k.c.w.net.stream(server.process, k.c.process, wanted, func() {
			switch {
			case k.s != s || k.stream != stream:
			case x.Refusal.GetCode() == v1.Code_CODE_UNAVAILABLE: // another took its place
				k.hangUp()
				k.later(k.c.draws.between(0, k.ttl/6))
			case x.Refusal != nil:
				s.end()
			default:
				k.update(func(c *core.Worker) { c.Granted(x.Reply.(*v1.PollStepsResponse).Runs) })
			}
		})
	}
}

// connect opens a stream: the server tells all leases of the session.
func (k *worker) connect() {
	w, s := k.c.w, k.s
	w.ids++
	k.stream, k.server, k.busy = w.ids, w.address(k.c.failover.Server()), true
	stream := k.stream
	r := &request{stream: stream, push: k.pushed(s, stream), commands: func() []*logv1.Command {
		return []*logv1.Command{{Envelope: &logv1.Envelope{}, Body: &logv1.Command_OpenStream{OpenStream: &logv1.OpenStream{Session: s.id}}}}
	}}
	k.c.call(r, options{kind: "stream", to: k.server, patience: k.ttl / 3}, func(res *response) {
		k.busy = false
		switch {
		case k.s != s || k.stream != stream:
			k.later(0)
		case !res.ok() || !k.server.up || k.server.raft.role != leader:
			k.hangUp()
			k.later(k.c.draws.between(0, k.ttl/6))
		case res.outcomes[0].Refusal != nil:
			s.end()
		default:
			k.server.attached = append(k.server.attached, attached{k.c.process, func() {
				if k.stream == stream {
					k.hangUp()
					k.later(k.c.draws.between(0, k.ttl/6))
				}
			}})
			runs := res.outcomes[0].Reply.(*v1.PollStepsResponse).Runs
			k.update(func(c *core.Worker) { c.Opened(runs) })
		}
	})
}

// hangUp ends the stream. The server hears of it, or does not.
func (k *worker) hangUp() {
	if k.stream == 0 {
		return
	}
	server, stream := k.server, k.stream
	k.stream = 0
	k.core.Closed()
	k.c.w.net.send(k.c.process, server.process, func() { server.left(&group{calls: []uint64{stream}}) })
}
