package model

import "slices"

// message is a signal that an instance keeps until a step takes it or its time is up.
type message struct {
	name, id string
	expireAt int64
}

// seen is a signal's id, remembered as long as the signal would have been kept.
type seen struct {
	delivered bool
	expireAt  int64
}

const signalTTL = 7 * 24 * 3600 * second

// forget lets go what an instance kept and whose time is up.
func (s *State) forget(i *instance) {
	i.messages = slices.DeleteFunc(i.messages, func(m message) bool {
		if m.expireAt <= s.Uptime {
			s.saw(SignalExpired)
			return true
		}
		return false
	})
	for id, x := range i.seen {
		if x.expireAt <= s.Uptime {
			delete(i.seen, id)
		}
	}
}

// oldest is the place of the oldest message of a name; negative when there is none.
func (i *instance) oldest(name string) int {
	return slices.IndexFunc(i.messages, func(m message) bool { return m.name == name })
}

// signal decides on a message to an instance.
func (s *State) signal(c *Command) func() {
	if c.Key.Name != "" || c.Broadcast {
		return s.byKey(c)
	}
	i := s.instance(c.Instance)
	switch {
	case i == nil:
		s.refused(c, "INSTANCE_NOT_FOUND")
		return nil
	case over(i.state):
		s.refused(c, "ALREADY_ENDED")
		return nil
	}
	s.forget(i)
	if first := i.seen[c.Signal]; first != nil {
		if s.must(c); !c.Answer.Duplicate || c.Answer.Delivered != first.delivered {
			fault("S5", "%s is told again, and answered %+v", c.say(), c.Answer)
		}
		s.saw(SignalAgain)
		return nil
	}
	waits := i.waitsFor(c.Name)
	s.must(c)
	return func() {
		x := i.seen[c.Signal]
		if x == nil {
			fault("S5", "%s is told done, and the instance has no such signal", c.say())
		}
		if c.Answer.Duplicate || c.Answer.Delivered != waits || x.delivered != waits {
			fault("S4", "%s is answered %+v while a step waits for it: %v", c.say(), c.Answer, waits)
		}
		if waits {
			s.saw(SignalAtOnce)
		}
	}
}

func (s *State) signalReceived(f *Fact) {
	i, c := s.instance(f.Instance), s.cause.command
	if i != nil && (f.Key.Name != "" || c != nil && c.Key.Name != "") {
		s.has(i, f, s.received(f, i))
		return
	}
	if i == nil || c == nil || c.Kind != Signal || c.Instance != f.Instance || c.Signal != f.Code || c.Name != f.Name || i.seen[f.Code] != nil || over(i.state) {
		fault("S5", "signal %s of %s is received by %s", f.Code, f.Instance, c.say())
	}
	s.has(i, f, s.Uptime+c.signalTTL())
}

// has gives an instance a signal, which it keeps so long.
func (s *State) has(i *instance, f *Fact, until int64) {
	i.messages = append(i.messages, message{f.Name, f.Code, until})
	i.seen[f.Code] = &seen{expireAt: until}
	s.touch(i)
}

// signalDelivered: the step gets the oldest signal of its name, which nobody else gets.
func (s *State) signalDelivered(f *Fact, r *run) {
	i := r.of
	at := i.oldest(r.step.Signal)
	if r.state != Waiting || at < 0 || i.messages[at].id != f.Code || r.delivered {
		fault("S1", "step %s of %s, which is %s, gets signal %s; it keeps %v", f.Step, f.Instance, r.state, f.Code, i.messages)
	}
	if c := s.cause.command; c == nil || c.Kind != Signal {
		s.saw(SignalKept)
	}
	i.messages = slices.Delete(i.messages, at, at+1)
	i.seen[f.Code].delivered, r.delivered = true, true
	s.touch(i)
}
