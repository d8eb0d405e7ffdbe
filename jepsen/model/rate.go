package model

import (
	"slices"
	"strconv"
)

// Rate is a rate limit of which each lease of a step takes a slot: a text for its key, and behind it the rest of the instance's input by Rest, if
// that is more than zero; and how many leases there may be in any time of Per.
type Rate struct {
	Key   string
	Rest  int64
	Limit int32
	Per   int64
}

// key is that of a run.
func (w *Rate) key(r *run) string {
	if w.Rest == 0 {
		return w.Key
	}
	return w.Key + strconv.FormatInt(r.of.input%w.Rest, 10)
}

// slack is for how much longer than Per a slot may be kept: those of a limit with more than 64 come back together.
func (w *Rate) slack() int64 {
	if w.Limit <= 64 {
		return 0
	}
	return w.Per / 64
}

// free: the run needs nothing that others could have.
func (r *run) free() bool { return len(r.step.Locks) == 0 && len(r.step.Rates) == 0 }

// slots is a lease that is taking its slots.
type slots struct {
	token int64
	run   *run
	left  []Rate
}

// takesSlots: a run was leased, and takes a slot of each of its limits before anything else happens.
func (s *State) takesSlots(r *run, token int64) {
	if len(r.step.Rates) == 0 {
		return
	}
	s.slots = &slots{token: token, run: r}
	for _, w := range r.step.Rates {
		if !slices.ContainsFunc(s.slots.left, func(o Rate) bool { return o.key(r) == w.key(r) }) {
			s.slots.left = append(s.slots.left, w)
		}
	}
	if len(s.slots.left) > 1 {
		s.saw(SlotsMany)
	}
}

// slotTaken: in any time of Per that ends now, wherever it began, no more were taken than there are. Nobody here knows a log that is cut short: all
// that was taken in that time is counted, under whichever leader that was.
func (s *State) slotTaken(f *Fact) {
	c := s.slots
	if c == nil || f.Token != c.token || f.Instance != c.run.of.id || f.Step != c.run.name {
		fault("limits", "a slot of limit %s is taken under token %d, whose run is not being leased", f.LimitKey, f.Token)
	}
	at := slices.IndexFunc(c.left, func(w Rate) bool { return w.key(c.run) == f.LimitKey && w.Limit == f.Limit && w.Per == f.Per })
	if at < 0 {
		fault("limits", "a slot of limit %s, %d per %d, is taken under token %d, which does not claim it", f.LimitKey, f.Limit, f.Per, f.Token)
	}
	w := c.left[at]
	taken := append(s.inWindow(f.LimitKey, w.Per, 0), s.Uptime)
	if len(taken) > int(w.Limit) {
		fault("limits", "%d slots of limit %s are taken from uptime %d to %d, and there are %d per %d", len(taken), f.LimitKey, taken[0], s.Uptime, w.Limit, w.Per)
	}
	s.taken[f.LimitKey] = append(s.taken[f.LimitKey], s.Uptime)
	if len(taken) == int(w.Limit) {
		s.saw(LastSlot)
	}
	if c.run.attempt > 1 {
		s.saw(SlotAgain)
	}
	if c.run.undoes != nil {
		s.saw(SlotUndoes)
	}
	if c.left = slices.Delete(c.left, at, at+1); len(c.left) == 0 {
		s.slots = nil
	}
}

// inWindow are the times at which slots were taken that may not be back: so much longer ago than per.
func (s *State) inWindow(key string, per, slack int64) []int64 {
	all := s.taken[key]
	from := len(all)
	for from > 0 && s.Uptime-all[from-1] < per+slack {
		from--
	}
	return slices.Clone(all[from:])
}

// offered is how many are offered slots of a limit in one go; the rest are when what was due at that time is due by a tick.
const offered = 16

// limitedLong: a run for which somebody asks, and which needs slots alone, waits though there are some, and nobody needs more than that: a
// slot may be kept for who needs others as well. One that is due by the tick has come back.
func (s *State) limitedLong(r *run) {
	if !r.inLine() || len(r.step.Rates) == 0 || len(r.step.Locks) > 0 || !r.wanted() {
		return
	}
	asked := s.asked(r)
	behind := s.Uptime - s.horizon
	for _, w := range r.step.Rates {
		if len(s.inWindow(w.key(r), w.Per, w.slack()+behind)) >= int(w.Limit) {
			if asked {
				s.saw(SlotAwaited)
			}
			return
		}
		if behind > 0 && len(s.inWindow(w.key(r), behind, 0)) >= offered {
			return
		}
	}
	if asked && !s.contendsSlots(r) {
		fault("liveness", "step %s of %s waits for limit %s, which has room", r.name, r.of.id, r.step.Rates[0].key(r))
	}
}

// contendsSlots: another run that is ready needs one of the limits of a run, and more.
func (s *State) contendsSlots(r *run) bool {
	return slices.ContainsFunc(s.idling, func(o *run) bool {
		return o != r && o.inLine() && len(o.step.Rates) > 0 && (len(o.step.Rates) > 1 || len(o.step.Locks) > 0) && slices.ContainsFunc(o.step.Rates, func(w Rate) bool {
			return slices.ContainsFunc(r.step.Rates, func(mine Rate) bool { return mine.key(r) == w.key(o) })
		})
	})
}
