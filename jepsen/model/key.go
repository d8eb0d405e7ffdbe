package model

import (
	"cmp"
	"slices"
)

// Key is one by which instances are found. No name is no key.
type Key struct{ Name, Value string }

// letter is a signal that was sent by a key: what was answered, and where it is.
type letter struct {
	key      Key
	name, id string
	expireAt int64
	first    Answer
	kept     int64 // while it is kept under its key: the position of the fact that says so
	owner    string
}

// letter finds what is remembered of a signal by key.
func (s *State) letter(k Key, id string) *letter {
	for _, l := range s.letters {
		if l.key == k && l.id == id {
			return l
		}
	}
	return nil
}

// keyed are the live instances that have a key, by id.
func (s *State) keyed(k Key) (out []*instance) {
	for _, i := range s.instances {
		if !over(i.state) && i.state != InQueue && slices.Contains(i.keys, k) {
			out = append(out, i)
		}
	}
	slices.SortFunc(out, func(a, b *instance) int { return cmp.Compare(a.id, b.id) })
	return out
}

// keptUnder are the signals that are kept under a key, and are not over, oldest first.
func (s *State) keptUnder(k Key) (out []*letter) {
	for _, l := range s.letters {
		if l.key == k && l.kept > 0 && l.expireAt > s.Uptime {
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b *letter) int { return cmp.Compare(a.kept, b.kept) })
	return out
}

// mostKept is how many signals one key keeps.
const mostKept = 100

// byKey decides on a signal by key.
func (s *State) byKey(c *Command) func() {
	if l := s.letter(c.Key, c.Signal); l != nil {
		want := l.first
		want.Instance = l.owner
		if s.must(c); !c.Answer.Duplicate || !sameSignal(c.Answer, want) {
			fault("S5", "%s is told again, and answered %+v; the first was answered %+v", c.say(), c.Answer, want)
		}
		s.saw(KeyAgain)
		return nil
	}
	to := s.keyed(c.Key)
	switch {
	case c.Broadcast:
		return s.broadcast(c, to)
	case len(to) > 1:
		s.saw(KeyAmbiguous)
		s.refused(c, "KEY_AMBIGUOUS")
		return nil
	case len(to) == 1:
		return s.correlated(c, to[0])
	case c.Starts:
		return s.starts(c)
	case len(s.keptUnder(c.Key)) >= mostKept:
		s.refused(c, "OVERLOADED")
		return nil
	}
	s.must(c)
	return func() {
		if l := s.letter(c.Key, c.Signal); l == nil || l.kept == 0 || !sameSignal(c.Answer, Answer{}) {
			fault("S4", "%s finds nobody, and is answered %+v", c.say(), c.Answer)
		}
	}
}

func sameSignal(a, b Answer) bool {
	return a.Delivered == b.Delivered && a.Instance == b.Instance && a.Reached == b.Reached && a.Started == b.Started
}

// starts: nobody has the key, and the signal starts an instance.
func (s *State) starts(c *Command) func() {
	switch {
	case s.workflows[c.Workflow] == nil:
		s.refused(c, "WORKFLOW_NOT_FOUND")
		return nil
	case s.instance(c.Instance) != nil:
		s.refused(c, "INSTANCE_EXISTS")
		return nil
	case s.turnsAway(c), c.Answer.Code == "WORKFLOW_NOT_FOUND":
		return nil // it was not registered yet
	}
	s.must(c)
	waited := s.awaiting(c.Keys)
	return func() {
		i := s.instance(c.Instance)
		if i == nil || i.seen[c.Signal] == nil {
			fault("S4", "%s finds nobody, and starts nobody who has the signal", c.say())
		}
		if l := s.letter(c.Key, c.Signal); l == nil || !sameSignal(c.Answer, Answer{Started: true, Instance: i.id, Delivered: i.seen[c.Signal].delivered}) {
			fault("S4", "%s starts %s, where it is delivered: %v; it is answered %+v", c.say(), i.id, i.seen[c.Signal].delivered, c.Answer)
		}
		tookAll(waited, i.id)
		s.saw(KeyStarted)
	}
}

// correlated: the one instance that has the key has the signal.
func (s *State) correlated(c *Command, i *instance) func() {
	s.forget(i)
	s.must(c)
	if first := i.seen[c.Signal]; first != nil {
		delivered := first.delivered
		return func() {
			if l := s.letter(c.Key, c.Signal); l == nil || !c.Answer.Duplicate || !sameSignal(c.Answer, Answer{Delivered: delivered, Instance: i.id}) {
				fault("S5", "%s was sent to %s before, and is answered %+v", c.say(), i.id, c.Answer)
			}
		}
	}
	waits := i.waitsFor(c.Name)
	return func() {
		l := s.letter(c.Key, c.Signal)
		if l == nil || l.owner != i.id || c.Answer.Duplicate || !sameSignal(c.Answer, Answer{Delivered: waits, Instance: i.id}) {
			fault("S4", "%s finds %s, where a step waits for it: %v; it is answered %+v", c.say(), i.id, waits, c.Answer)
		}
		s.saw(KeyFound)
	}
}

// broadcast: all that have the key have the signal, but for those that have had one of its id.
func (s *State) broadcast(c *Command, to []*instance) func() {
	s.must(c)
	var fresh []*instance
	want := Answer{}
	for _, i := range to {
		if s.forget(i); i.seen[c.Signal] == nil {
			fresh = append(fresh, i)
			want.Delivered = i.waitsFor(c.Name) || want.Delivered
		}
	}
	want.Reached = len(fresh)
	return func() {
		if c.Answer.Duplicate || !sameSignal(c.Answer, want) || s.letter(c.Key, c.Signal) == nil {
			fault("S4", "%s is to reach %d instances, and is answered %+v", c.say(), len(fresh), c.Answer)
		}
		for _, i := range fresh {
			if !over(i.state) && i.seen[c.Signal] == nil {
				fault("S4", "%s does not reach %s", c.say(), i.id)
			}
		}
		if s.saw(KeyBroadcast); len(fresh) > 1 {
			s.saw(BroadcastMany)
		}
	}
}

func (i *instance) waitsFor(name string) bool {
	return slices.ContainsFunc(i.runs, func(r *run) bool { return r.state == Waiting && r.step.Signal == name })
}

// signalTold takes in what became of a signal by key.
func (s *State) signalTold(f *Fact, how string) {
	c := s.cause.command
	if c == nil || c.Kind != Signal || c.Key != f.Key || c.Key.Name == "" || c.Signal != f.Code || c.Name != f.Name || s.letter(f.Key, f.Code) != nil {
		fault("S5", "signal %s is %s under %v by %s", f.Code, how, f.Key, c.say())
	}
	l := &letter{key: f.Key, name: f.Name, id: f.Code, first: c.Answer, expireAt: s.Uptime + c.signalTTL(), owner: f.Instance}
	others := s.keyed(f.Key)
	switch {
	case how == "kept":
		if l.kept = f.Position; len(others) > 0 {
			fault("S4", "signal %s is kept under %v, which %s has", f.Code, f.Key, others[0].id)
		}
		s.saw(KeyKept)
	case how == "correlated":
		if i := s.instance(f.Instance); i == nil || !slices.Contains(i.keys, f.Key) {
			fault("S4", "signal %s by %v is told to have reached %s, which has no such key", f.Code, f.Key, f.Instance)
		}
	}
	s.letters = append(s.letters, l)
}

func (c *Command) signalTTL() int64 {
	if c.TTL <= 0 {
		return signalTTL
	}
	return c.TTL
}

// received: a signal by key reaches an instance, at once or because it was kept for it.
func (s *State) received(f *Fact, i *instance) (expireAt int64) {
	c := s.cause.command
	if over(i.state) || i.seen[f.Code] != nil {
		fault("S5", "signal %s by key is received by %s, which is %s, by %s", f.Code, f.Instance, i.state, c.say())
	}
	if f.Key.Name == "" { // sent now
		if c == nil || c.Kind != Signal || c.Signal != f.Code || c.Name != f.Name || !slices.Contains(i.keys, c.Key) || s.letter(c.Key, c.Signal) != nil {
			fault("S5", "signal %s of %s is received by %s", f.Code, f.Instance, c.say())
		}
		return s.Uptime + c.signalTTL()
	}
	l := s.letter(f.Key, f.Code)
	if l == nil || l.kept == 0 || l.name != f.Name || l.expireAt <= s.Uptime || !slices.Contains(i.keys, f.Key) || i != s.fresh && i != s.given {
		fault("S1", "signal %s, kept under %v, is received by %s; known of it is %+v", f.Code, f.Key, f.Instance, l)
	}
	if first := s.keptUnder(f.Key)[0]; first != l && i.seen[first.id] == nil {
		fault("S4", "signal %s is taken before the older %s", l.id, first.id)
	}
	s.saw(KeyTaken)
	l.kept, l.owner = 0, i.id
	return l.expireAt
}

// awaiting are the signals that an instance which is started with keys takes: all that are kept under them, and of one id the first.
func (s *State) awaiting(keys []Key) (out []*letter) {
	for _, k := range keys {
		for _, l := range s.keptUnder(k) {
			if !slices.ContainsFunc(out, func(o *letter) bool { return o.id == l.id }) {
				out = append(out, l)
			}
		}
	}
	return out
}

// tookAll: an instance that was started has taken what waited for it.
func tookAll(waited []*letter, id string) {
	for _, l := range waited {
		if l.kept > 0 || l.owner != id {
			fault("S4", "%s is started and leaves signal %s under %v", id, l.id, l.key)
		}
	}
}

// letterExpired: a signal that nobody took goes when its time is up.
func (s *State) letterExpired(f *Fact) {
	l := s.letter(f.Key, f.Code)
	if l == nil || l.kept == 0 || l.name != f.Name || !s.cause.tick || l.expireAt > s.horizon {
		fault("S6", "signal %s under %v expires at uptime %d; known of it is %+v", f.Code, f.Key, s.horizon, l)
	}
	s.saw(KeyExpired)
	s.letters = slices.DeleteFunc(s.letters, func(o *letter) bool { return o == l })
}

// lettersOver: behind a tick nothing is kept that is over, and nothing is remembered of it.
func (s *State) lettersOver() {
	s.letters = slices.DeleteFunc(s.letters, func(l *letter) bool {
		if l.expireAt <= s.horizon && l.kept > 0 {
			fault("liveness", "signal %s is kept under %v beyond its time", l.id, l.key)
		}
		return l.expireAt <= s.horizon
	})
}
