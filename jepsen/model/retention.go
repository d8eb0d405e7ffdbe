package model

import "slices"

// What is over goes when it was kept for long enough: instances in the order of their ends, and events in that of their positions.

// rested is an instance that has ended, and when; or when it was put behind the others.
type rested struct {
	i                      *instance
	position, wall, uptime int64
}

// retention is how long things are kept, in nanoseconds; zero is for ever.
type retention struct {
	finished, events int64
	exportFirst      bool
	exported         int64           // up to this position
	endings          []*rested       // in order
	walls            []int64         // of events, by position, from 1
	compacted        int64           // events up to here are dropped
	gone             map[string]bool // ids of which one was removed
}

// record is what is remembered of each event.
func (s *State) record(f *Fact) {
	s.retention.walls = append(s.retention.walls, s.Wall)
	if i := s.instances[f.Instance]; i != nil {
		i.history = append(i.history, f.Position)
	}
}

func (s *State) rests(f *Fact, i *instance) {
	s.retention.endings = append(s.retention.endings, &rested{i, f.Position, s.Wall, s.Uptime})
}

// askRetention decides on what has things be kept, and go.
func (s *State) askRetention(c *Command) func() {
	if c.Kind == Ack && c.Position > s.Position {
		s.refused(c, "INVALID")
		return nil
	}
	s.must(c)
	return func() {
		k := &s.retention
		switch {
		case c.Kind == Keep && (k.finished != c.KeepFinished || k.events != c.KeepEvents || k.exportFirst != c.ExportFirst):
			fault("S5", "%s is told done, and is not", c.say())
		case c.Kind == Ack && k.exported < c.Position:
			fault("S5", "%s is told done, and %d are exported", c.say(), k.exported)
		}
	}
}

func (s *State) retentionFact(f *Fact) {
	k, c := &s.retention, s.cause.command
	kind := map[string]Kind{"namespace.updated": Keep, "retention.exported": Ack, "retention.removed": Retain, "retention.compacted": Retain}[f.Kind]
	if c == nil || c.Kind != kind {
		fault("retention", "%s by %s", f.Kind, c.say())
	}
	switch f.Kind {
	case "namespace.updated":
		k.finished, k.events, k.exportFirst = c.KeepFinished, c.KeepEvents, c.ExportFirst
	case "retention.exported":
		if f.Through != c.Position || f.Through <= k.exported {
			fault("retention", "up to %d is exported by %s, behind %d", f.Through, c.say(), k.exported)
		}
		k.exported = f.Through
	case "retention.removed":
		s.removed(f)
	case "retention.compacted":
		s.compacted(f)
	}
}

// removed: what has ended up to a position goes, and nothing that is needed.
func (s *State) removed(f *Fact) {
	k := &s.retention
	gone := int64(0)
	for len(k.endings) > 0 && k.endings[0].position <= f.Through {
		e := k.endings[0]
		k.endings = k.endings[1:]
		switch i := e.i; {
		case !s.outlived(e):
			fault("retention", "%s ended at uptime %d and %d, and is removed at %d and %d; it is kept for %d, and exported up to %d of %d",
				i.id, e.uptime, e.wall, s.Uptime, s.Wall, k.finished, k.exported, e.position)
		case !over(i.state) || s.instances[i.id] != i:
			fault("retention", "%s is removed, which is %s", i.id, i.state)
		case s.counted(i):
			s.saw(KeptForKey)
			k.endings = append(k.endings, &rested{i, f.Position, s.Wall, s.Uptime})
		case i.leads():
			s.saw(PutBehind)
			k.endings = append(k.endings, &rested{i, f.Position, s.Wall, s.Uptime})
		default:
			s.remove(i)
			gone++
		}
	}
	if gone != f.Removed {
		fault("retention", "%d instances are removed up to position %d; they are %d", f.Removed, f.Through, gone)
	}
}

// leads: others were started under its id, and one of them is there.
func (i *instance) leads() bool {
	return i.heads != nil && (i.heads.holder != i || len(i.heads.queued) > 0)
}

// counted: somebody waits by a key that it has.
func (s *State) counted(i *instance) bool {
	return i.ran && slices.ContainsFunc(s.dependents, func(r *run) bool {
		return r.state == Waiting && r.step.byKey() && slices.Contains(i.keys, r.awaitsKey())
	})
}

func (s *State) outlived(e *rested) bool {
	k := &s.retention
	return k.finished > 0 && s.Wall-e.wall >= k.finished && s.Uptime-e.uptime >= k.finished && (!k.exportFirst || e.position <= k.exported)
}

func (s *State) remove(i *instance) {
	for _, r := range s.dependents {
		if r.state == Waiting && r.other == i.id && !over(r.of.state) {
			fault("retention", "%s is removed, and step %s of %s waits for it", i.id, r.name, r.of.id)
		}
	}
	s.saw(Removed)
	delete(s.instances, i.id)
	s.forgetSightings(i.id)
	if s.retention.gone == nil {
		s.retention.gone = map[string]bool{}
	}
	s.retention.gone[i.id] = true
	if x := i.line; x != nil && x.holder == i {
		if first := s.instances[x.id]; first != nil && first.heads == x {
			x.holder = first
		}
	}
}

// compacted: the feed is cut, not before what is dropped is over its time.
func (s *State) compacted(f *Fact) {
	k := &s.retention
	if f.Through <= k.compacted || f.Through >= f.Position || f.Removed != f.Through-k.compacted {
		fault("L7", "%d events up to %d are dropped; %d are already", f.Removed, f.Through, k.compacted)
	}
	if at := k.walls[f.Through-1]; k.events == 0 || s.Wall-at < k.events {
		fault("L7", "an event of %d is dropped at %d; it is kept for %d", at, s.Wall, k.events)
	}
	s.saw(Dropped)
	k.compacted = f.Through
}

// Compacted is the position up to which events are dropped.
func (s *State) Compacted() int64 { return s.retention.compacted }

// Outlived names an instance that is over its time by more than so long, by the log's own time.
func (s *State) Outlived(by int64) string {
	if len(s.retention.endings) == 0 {
		return ""
	}
	e := s.retention.endings[0]
	late := *e
	late.wall, late.uptime = late.wall+by, late.uptime+by
	if !s.outlived(&late) {
		return ""
	}
	return e.i.id
}

// History is the positions of an instance's events.
func (s *State) History(id string) []int64 {
	if i := s.instances[id]; i != nil {
		return i.history
	}
	return nil
}

// WasRemoved says that an instance of the id was removed once; another may be there.
func (s *State) WasRemoved(id string) bool { return s.retention.gone[id] }
