package model

import (
	"fmt"
	"slices"
	"strings"
)

// What reporters have observed of runs, how that differs from what is recorded, and plans that settle it.

// What was observed of a run.
const (
	Absent       = "ABSENT"
	SeenPending  = "PENDING"
	SeenRunning  = "RUNNING"
	SeenDone     = "COMPLETED"
	SeenFailed   = "FAILED"
	lateReporter = "late-results"
)

// Classes of drift; none is that they agree.
const (
	Ahead       = "AHEAD"
	Behind      = "BEHIND"
	Missing     = "MISSING"
	Duplicate   = "DUPLICATE"
	Orphaned    = "ORPHAN"
	Conflicting = "CONFLICTING"
)

// Actions of a plan.
const (
	Adopt     = "ADOPT"
	Rerun     = "RERUN"
	UndoDrift = "COMPENSATE"
	ToPerson  = "INCIDENT"
	Ignore    = "IGNORE"
)

const (
	mostObservedOf = 64
	mostOrphans    = 1000
	mostObserved   = 10_000
	plansKnown     = 32
)

// Sighting names an observation: who has seen which run, of an instance or of none that has a key.
type Sighting struct {
	Instance, Step, Reporter string
	Key                      Key
}

func (x Sighting) say() string {
	return fmt.Sprintf("%s%s%s/%s by %s", x.Instance, x.Key.Name, x.Key.Value, x.Step, x.Reporter)
}

// Action is what a plan does about an observation, and where that and its instance were.
type Action struct {
	Sighting
	ID, Drift, Do          string
	InstanceAt, ObservedAt int64
}

// Done is what became of an action.
type Done struct {
	Done  bool
	Token int64
}

// observation is what is kept of what a reporter has seen of a run.
type observation struct {
	Sighting
	id, state, code string
	at, received    int64
	output          int64
	executions      []string // in order
	orphan          bool     // there was no instance
	position        int64
	token           int64 // of a late result
	// How drift of which class was settled, and how many executions there were then.
	settled, class string
	counted        int
}

// classes are those of which drift may be: one, unless it is not known since when a run waits, for nothing is told of its beginning, or what
// it put out.
func (s *State) classes(o *observation) []string {
	r := s.seen(o)
	if r == nil {
		if i := s.instances[o.Instance]; i != nil && s.hides(i) && s.within(i, o.Step) {
			return []string{s.class(o, nil, 0), s.class(o, &run{state: Pending}, 0), s.class(o, &run{state: Pending}, s.Wall)}
		}
		return []string{s.class(o, nil, 0)}
	}
	if r.state == Pending && r.frame != nil && r.frame.owner != nil && s.hides(r.of) {
		return []string{s.class(o, r, 0), s.class(o, r, s.Wall)}
	}
	class := s.class(o, r, r.changed)
	if o.state == SeenDone && r.state == Completed && r.step.waits() && class != Duplicate { // what it waited for has put something out
		return []string{"", Conflicting}
	}
	return []string{class}
}

// since has runs that came to be by the fact at hand wait since now.
func (s *State) since(runs []*run) {
	for _, r := range runs {
		if r.changed == 0 {
			r.changed = s.Wall
		}
	}
}

// hides: frames of an instance may have been begun of which nothing was told.
func (s *State) hides(i *instance) bool { return s.Limit > 0 || i.wasPaused }

// within: the step is inside another.
func (s *State) within(i *instance, name string) bool {
	name, _, _ = strings.Cut(name, "#")
	step, compensation := i.flow.step(name)
	return step != nil && !compensation && !slices.ContainsFunc(i.flow.Steps, func(o Step) bool { return o.Name == name })
}

// seen is the run that an observation is about; nil when there is none.
func (s *State) seen(o *observation) *run {
	if i := s.instances[o.Instance]; i != nil {
		return i.run(o.Step)
	}
	return nil
}

// class is how an observation differs from a run, which came to be as it is at a time.
func (s *State) class(o *observation, r *run, changed int64) string {
	if r == nil {
		if o.state == Absent {
			return ""
		}
		return Orphaned
	}
	if o.state == SeenDone {
		switch {
		case len(o.executions)-max(0, o.counted-1) > 1:
			return Duplicate
		case !over(r.state):
			return Ahead
		case r.state != Completed || o.output != r.output:
			return Conflicting
		}
		return ""
	}
	if min(o.at, o.received) <= changed {
		return ""
	}
	return map[[2]string]string{
		{Absent, Leased}: Missing, {Absent, Completed}: Missing,
		{SeenPending, Completed}: Behind, {SeenRunning, Completed}: Behind,
		{SeenRunning, Pending}: Ahead, {SeenRunning, Ready}: Ahead, {SeenRunning, Backoff}: Ahead, {SeenRunning, Waiting}: Ahead, {SeenRunning, Incident}: Ahead,
		{SeenRunning, Failed}: Ahead, {SeenRunning, Skipped}: Ahead, {SeenRunning, Cancelled}: Ahead,
		{SeenFailed, Pending}: Ahead, {SeenFailed, Ready}: Ahead, {SeenFailed, Leased}: Ahead, {SeenFailed, Backoff}: Ahead, {SeenFailed, Waiting}: Ahead, {SeenFailed, Incident}: Ahead,
		{SeenFailed, Completed}: Conflicting,
	}[[2]string{o.state, r.state}]
}

// merged is what is to be kept of two observations, and whether that is more than the first, which may be none.
func merged(was, o *observation) (*observation, bool) {
	if was == nil {
		return o, true
	}
	all := slices.Clone(was.executions)
	for _, e := range o.executions {
		if !slices.Contains(all, e) && len(all) < 16 {
			all = append(all, e)
		}
	}
	slices.Sort(all)
	more := len(all) > len(was.executions)
	kept := *was
	switch newer := o.at > was.at || o.at == was.at && o.id > was.id; {
	case newer:
		kept = *o
		if kept.counted = was.counted; !more && o.state == was.state && o.code == was.code && o.output == was.output && o.token == was.token {
			kept.settled, kept.class = was.settled, was.class
		}
	case more:
		kept.settled, kept.class = "", ""
	default:
		return was, false
	}
	kept.executions = all
	return &kept, true
}

// full: there is no room for one more observation.
func (s *State) full(was, o *observation) bool {
	of, orphans := 0, 0
	for _, x := range s.sightings {
		if x.Instance == o.Instance {
			of++
		}
		if x.orphan {
			orphans++
		}
	}
	known := s.instances[o.Instance] != nil
	switch {
	case was != nil && (was.orphan || known):
		return false
	case !known && orphans >= mostOrphans:
		return true
	case was != nil:
		return false
	}
	return len(s.sightings) >= mostObserved || known && of >= mostObservedOf
}

// keeps has an observation be kept.
func (s *State) keepSighting(o *observation, position int64) {
	if s.sightings == nil {
		s.sightings = map[Sighting]*observation{}
	}
	o.orphan, o.position = s.instances[o.Instance] == nil, position
	s.sightings[o.Sighting] = o
}

// observedLate has a result that came too late be an observation.
func (s *State) observedLate(f *Fact, output int64) {
	o := &observation{
		Sighting: Sighting{Instance: f.Instance, Step: f.Step, Reporter: lateReporter}, id: fmt.Sprintf("token-%016x", f.Token), state: SeenDone,
		at: s.Wall, received: s.Wall, output: output, token: f.Token,
	}
	was := s.sightings[o.Sighting]
	kept, moved := merged(was, o)
	if was != nil && was.token == o.token {
		kept, moved = o, true
	}
	if moved && !s.full(was, o) {
		s.keepSighting(kept, f.Position)
	}
}

// forgetSightings has nothing be kept of an instance that is removed.
func (s *State) forgetSightings(id string) {
	for x := range s.sightings {
		if x.Instance == id {
			delete(s.sightings, x)
		}
	}
}

// report decides on what a reporter says.
func (s *State) report(c *Command) func() {
	o := &observation{
		Sighting: c.Sighting, id: c.Observation, state: c.Observed, code: c.Code, at: c.At, received: s.Wall, output: c.Output,
	}
	if o.at == 0 {
		o.at = s.Wall
	}
	if c.Execution != "" {
		o.executions = []string{c.Execution}
	}
	if o.Key != (Key{}) {
		switch all := s.keyed(o.Key); len(all) {
		case 0:
		case 1:
			o.Key, o.Instance = Key{}, all[0].id
		default:
			s.refused(c, "KEY_AMBIGUOUS")
			return nil
		}
	}
	was := s.sightings[o.Sighting]
	instance := ""
	if s.instances[o.Instance] != nil {
		instance = o.Instance
	}
	same := func(class []string, duplicate, superseded bool) {
		if a := &c.Answer; a.Duplicate != duplicate || a.Superseded != superseded || a.Instance != instance || !slices.Contains(class, a.Drift) {
			fault("drift", "%s of %s is answered %+v; it is of %q, and %v", c.say(), o.say(), a, instance, class)
		}
	}
	if was != nil && was.id == o.id {
		s.must(c)
		same(s.classes(was), true, false)
		s.saw(ObservedAgain)
		return nil
	}
	kept, moved := merged(was, o)
	if !moved {
		s.must(c)
		same(s.classes(was), false, true)
		s.saw(ObservedLess)
		return nil
	}
	if s.full(was, o) {
		s.refused(c, "OBSERVATIONS_FULL")
		return nil
	}
	s.must(c)
	if !s.pending() || s.e.Facts[0].Kind != "observation.reported" {
		fault("drift", "%s of %s is not told", c.say(), o.say())
	}
	f := &s.e.Facts[0]
	if instance != "" && f.Step != "" {
		s.begun(s.instances[instance], f.Step, false)
	}
	s.observing = kept
	return func() {
		if s.observing != nil {
			fault("drift", "%s of %s is not told", c.say(), o.say())
		}
		same([]string{f.Drift}, false, false)
	}
}

// observed: what a reporter says is told, with how it differs, and kept.
func (s *State) observed(f *Fact) {
	o, c := s.observing, s.cause.command
	if o == nil || f.Reporter != o.Reporter || f.Observation != c.Observation || f.Observed != c.Observed || f.Code != c.Code || f.Name != c.Execution {
		fault("drift", "an observation %s of %s is told, by %s", f.Observation, f.Reporter, c.say())
	}
	s.observing = nil
	s.isOfRun(f, o)
	if classes := s.classes(o); !slices.Contains(classes, f.Drift) {
		r := s.seen(o)
		fault("drift", "the observation of %s as %s at %d, by executions %v, is %q; the run is %+v, and it is %q", o.say(), o.state, min(o.at, o.received), o.executions, f.Drift, r, classes)
	}
	if drift := f.Drift; drift != "" {
		s.saw(Class("drift: " + drift))
	}
	s.keepSighting(o, f.Position)
}

// isOfRun: a fact about an observation names the run, or the instance, that is there.
func (s *State) isOfRun(f *Fact, o *observation) {
	i, r := s.instances[o.Instance], s.seen(o)
	instance, step, other := "", "", ""
	switch {
	case r != nil:
		instance, step = o.Instance, o.Step
	case i != nil:
		instance = o.Instance
	default:
		other = o.Instance
	}
	if f.Instance != instance || f.Step != step || f.Other != other || step == "" && f.OtherStep != o.Step || i == nil && f.Key != o.Key {
		fault("drift", "%s tells of %q/%q%q/%q %v; it is of %s", f.Kind, f.Instance, f.Step, f.Other, f.OtherStep, f.Key, o.say())
	}
	if r != nil && (f.Token != r.token || f.Attempt != r.attempt || f.Used != r.used) {
		fault("S7", "%s of step %s of %s tells token %d, attempt %d, used %d; they are %d, %d, %d", f.Kind, f.Step, f.Instance, f.Token, f.Attempt, f.Used, r.token, r.attempt, r.used)
	}
}

// open: an observation is drift of a class, and that is not settled.
func (o *observation) open(class string) bool {
	return class != "" && !(o.settled != "" && o.settled != ToPerson && o.class == class)
}

// applying is a plan that is being applied: what of it is left that is said to be done.
type applying struct {
	command *Command
	left    []Action
	told    bool
	by      *Command // what the first of them is by hand
}

// apply decides on a plan.
func (s *State) apply(c *Command) func() {
	for _, id := range s.plans {
		if id != c.PlanID {
			continue
		}
		if s.must(c); !c.Answer.Duplicate || len(c.Answer.Done) > 0 {
			fault("drift", "%s is applied again, and answered %+v", c.say(), c.Answer)
		}
		s.saw(PlanAgain)
		return nil
	}
	if len(c.Actions) == 0 {
		s.refused(c, "INVALID")
		return nil
	}
	sure := true
	for _, a := range c.Actions {
		o := s.sightings[a.Sighting]
		if o == nil || o.id != a.ID || o.position != a.ObservedAt || s.newest(a.Instance) != a.InstanceAt {
			s.saw(PlanStale)
			s.refused(c, "STALE_PLAN")
			return nil
		}
		classes := s.classes(o)
		if !slices.Contains(classes, a.Drift) || !o.open(a.Drift) {
			s.refused(c, "STALE_PLAN")
			return nil
		}
		sure = sure && len(classes) == 1
	}
	if !sure && c.Answer.Code == "STALE_PLAN" {
		return nil
	}
	s.must(c)
	if len(c.Answer.Done) != len(c.Actions) || c.Answer.Duplicate {
		fault("drift", "%s has %d actions, and is answered %+v", c.say(), len(c.Actions), c.Answer)
	}
	p := &applying{command: c}
	for n, a := range c.Actions {
		if c.Answer.Done[n].Done {
			p.left = append(p.left, a)
		} else if n == 0 && !s.keysRefused(a) {
			fault("drift", "%s leaves the first of its actions, on %s", c.say(), a.say())
		}
	}
	s.applies = p
	return func() {
		s.cause.command, s.applies = c, nil
		if !p.told || len(p.left) > 0 {
			fault("drift", "%s is done, and of its actions %d are not told: %+v", c.say(), len(p.left), p.left)
		}
		s.plans = append(s.plans, c.PlanID)
		s.plans = s.plans[max(0, len(s.plans)-plansKnown):]
		for n, a := range c.Actions {
			s.wasDone(c, a, c.Answer.Done[n])
		}
	}
}

// keysRefused: an output that was observed does not give the keys that the step says.
func (s *State) keysRefused(a Action) bool {
	o := s.sightings[a.Sighting]
	r := s.seen(o)
	if a.Do != Adopt || r == nil || o.state != SeenDone {
		return false
	}
	_, conflicts := r.gives(o.output)
	return conflicts
}

// wasDone: behind a plan a run that was adopted has the end that was observed, and the token that is told.
func (s *State) wasDone(c *Command, a Action, d Done) {
	o := s.sightings[a.Sighting]
	if !d.Done || a.Do != Adopt || o == nil {
		return
	}
	r := s.seen(o)
	switch {
	case o.state == SeenDone && (r.state != Completed || r.token != d.Token || r.output != o.output),
		o.state == SeenFailed && r.state != Failed:
		fault("S1", "%s adopts %s, and the run is %s under token %d with %d", c.say(), a.say(), r.state, r.token, r.output)
	}
	if fresh, _ := r.gives(o.output); o.state == SeenDone && len(fresh) > 0 {
		fault("S1", "%s adopts %s, and the instance does not have %v", c.say(), a.say(), fresh)
	}
}

// newest is the position of the newest fact about an instance.
func (s *State) newest(id string) int64 {
	if i := s.instances[id]; i != nil && len(i.history) > 0 {
		return i.history[len(i.history)-1]
	}
	return 0
}

// stand has the command at hand be what the next action of a plan asks for, as somebody would ask for it by hand.
func (s *State) stand() {
	p := s.applies
	if p == nil || !p.told {
		return
	}
	s.cause.command = p.command
	if len(p.left) == 0 {
		return
	}
	a := p.left[0]
	o := s.sightings[a.Sighting]
	r := s.seen(o)
	by := &Command{Kind: Apply, Instance: a.Instance, Step: a.Step}
	switch {
	case r == nil:
	case a.Do == Adopt && o.state == SeenFailed:
		by.Kind, by.Code = Resolve, o.code
		if by.Code == "" {
			by.Code = "OBSERVED_FAILED"
		}
	case a.Do == Adopt:
		by.Kind, by.Output = Resolve, o.output
	case a.Do == UndoDrift:
		by.Kind = Compensate
		by.From, _, _ = strings.Cut(a.Step, "#") // whichever run of it was seen
	case a.Do == Rerun && r.state == Leased:
		by.Kind, by.Token = Revoke, r.token
	case a.Do == Rerun && r.state == Backoff:
		by.Kind, by.Update.Now = Update, true
	case a.Do == Rerun && (r.state == Incident || p.by != nil && p.by.Kind == Retry):
		by.Kind = Retry
	}
	if p.by != nil && p.by.Instance == by.Instance && p.by.Step == by.Step && p.by.Kind != Apply {
		by = p.by // the run has moved by it
	}
	p.by, s.cause.command = by, by
}

// planApplied: a plan begins to be done.
func (s *State) planApplied(f *Fact) {
	p := s.applies
	if p == nil || p.told || f.Plan != p.command.PlanID || int(f.Count) != len(p.command.Actions) {
		fault("drift", "plan %s is applied by %s", f.Plan, s.cause.command.say())
	}
	p.told = true
	s.saw(PlanApplied)
}

// driftSettled: an action of a plan is done, and what was observed is settled by it, or left to a person.
func (s *State) driftSettled(f *Fact) {
	p := s.applies
	if p == nil || !p.told || len(p.left) == 0 {
		fault("drift", "%s by %s", f.Kind, s.cause.command.say())
	}
	a := p.left[0]
	o := s.sightings[a.Sighting]
	if f.Plan != p.command.PlanID || f.Name != a.Do || f.Drift != a.Drift || f.Reporter != a.Reporter || f.Observation != a.ID || f.Observed != o.state || (f.Kind == "drift.raised") != (a.Do == ToPerson) {
		fault("drift", "%s of %s tells %+v; the action is %+v", f.Kind, o.say(), f, a)
	}
	s.isOfRun(f, o)
	settled := *o
	settled.settled, settled.class = a.Do, a.Drift
	if a.Do != ToPerson {
		settled.counted = len(o.executions)
	}
	s.keepSighting(&settled, f.Position)
	s.saw(Class("settled: " + a.Do))
	p.left, p.by = p.left[1:], nil
}

// Drifting is what is open drift, with its class; of what is unsure it is not known whether it is, or how.
func (s *State) Drifting(instance string) (names []string, unsure map[string]bool) {
	unsure = map[string]bool{}
	for _, o := range s.sightings {
		if instance != "" && o.Instance != instance {
			continue
		}
		classes := s.classes(o)
		name := o.say()
		for _, class := range classes {
			if len(classes) > 1 && class != classes[0] {
				unsure[name] = true
			}
		}
		if o.open(classes[0]) && !unsure[name] {
			names = append(names, name+": "+classes[0])
		}
	}
	slices.Sort(names)
	return names, unsure
}

// Raised says whether drift is left to a person.
func (s *State) Raised(x Sighting, class string) bool {
	o := s.sightings[x]
	return o != nil && o.settled == ToPerson && o.class == class
}

// Say names it.
func (x Sighting) Say() string { return x.say() }
