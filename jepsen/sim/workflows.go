package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lockstep-dev/lockstep/jepsen/model"
)

var theSignals = []string{"g0", "g1"}

// drawWorkflows draws a few definitions: graphs with conditions, joins, signals, timers, approvals, races and priorities, locks
// of each kind, retries and timeouts. Dates are such as some node's clock comes by.
func drawWorkflows(d draws, clocks []time.Duration, deepest int) []model.Workflow {
	var out []model.Workflow
	for i := range 2 + d.IntN(3) {
		f := model.Workflow{Name: fmt.Sprint("w", i)}
		for j := range 1 + d.IntN(6) {
			f.Steps = append(f.Steps, drawStep(d, f.Steps, fmt.Sprint("s", j)))
		}
		if d.one(2) {
			f.Steps = drawBody(d, f.Steps, "b", deepest)
			f.Steps = append(f.Steps, drawStep(d, f.Steps, "t"))
		}
		if d.one(3) {
			f.Steps = drawRace(d, f.Steps, pick(d, clocks))
		}
		if d.one(3) {
			f.Steps = drawMeeting(d, f.Steps)
		}
		if d.one(2) {
			f.Steps = drawDependents(d, f, out)
		}
		if d.one(6) {
			f.Total = ms(d, 1500, 15000)
		}
		drawCompensations(d, &f)
		if d.one(3) {
			drawHolds(d, f.Steps, 1+d.IntN(3))
			drawMore(f.Steps)
			f.Total = ms(d, 2000, 12000) // one after the other holds the lock, and there are many of them
		}
		if d.one(2) {
			drawFairness(d, f.Steps)
		}
		if d.one(3) {
			drawRates(d, f.Steps)
		}
		if d.one(2) {
			drawGiven(d, f.Steps)
		}
		out = append(out, f)
	}
	return out
}

// deepest is how many bodies are inside each other, beside the outermost. Where entries leave frames to later ones nothing tells of, the
// oracle could not tell whose they are if the same step had several of them at a time.
func (w *world) deepest() int {
	if w.mostWork > 0 {
		return 0
	}
	return 2
}

func drawStep(d draws, before []model.Step, name string) model.Step {
	s := model.Step{Name: name}
	for _, need := range before {
		if !d.one(2) {
			continue
		}
		s.Needs = append(s.Needs, need.Name)
		if d.one(6) {
			s.Failures = drawFailure(d, s.Failures, need.Name)
		}
	}
	if n := len(s.Needs); n > 1 && d.one(3) {
		s.AtLeast = int32(1 + d.IntN(n))
	}
	if d.one(4) {
		s.When = drawWhen(d, s, before)
	}
	if d.one(6) {
		drawWait(d, &s)
	} else {
		drawWork(d, &s)
	}
	if s.When != nil && s.When.Step == "" && s.After == 0 && d.one(4) { // it stands still, and a timer's step would for ever
		s.When.Unsound = true
		s.Total = ms(d, 500, 4000)
	}
	return s
}

// drawBody adds a step with a body to those before it, and at times one inside that.
func drawBody(d draws, before []model.Step, name string, deeper int) []model.Step {
	s := drawStep(d, before, name)
	b := &model.Body{}
	s = model.Step{Name: name, Needs: s.Needs, Failures: s.Failures, AtLeast: s.AtLeast, When: s.When, Body: b, Total: ms(d, 2000, 20000)}
	switch d.IntN(3) {
	case 0:
		b.Items, b.Width, b.Fed = 1+d.IntN(4), 1+d.IntN(3), d.one(3)
	case 1:
		b.Turns, b.While = 1+d.IntN(4), d.one(2)
	}
	b.Unsound, b.Spoils = !b.Fed && d.one(3), d.one(8)
	for at := range 1 + d.IntN(3) {
		b.Steps = append(b.Steps, drawStep(d, b.Steps, fmt.Sprint(name, "s", at)))
	}
	if deeper > 0 && d.one(3) {
		b.Steps = drawBody(d, b.Steps, name+"b", deeper-1)
	} else if deeper > 0 && b.Items > 0 { // an item may fail as it begins
		b.Steps = append(b.Steps, model.Step{Name: name + "f", Total: s.Total, Body: &model.Body{
			Turns: 1 + d.IntN(3), While: true, Unsound: true, Steps: []model.Step{drawStep(d, nil, name+"fs")},
		}})
	}
	return append(before, s)
}

// drawFailure has a need count failures: of each code that workers and time fail with, or of some.
func drawFailure(d draws, failures map[string]model.Failure, need string) map[string]model.Failure {
	if failures == nil {
		failures = map[string]model.Failure{}
	}
	f := model.Failure{Either: d.one(3)}
	if d.one(2) {
		f.Codes = []string{pick(d, []string{"N", "E", "TIMEOUT_TOTAL", "TIMEOUT_QUEUE", "CANCELLED", "AWAIT_CYCLE", "PARTIES_DIFFER", "CONDITION_INVALID"}), "REJECTED"}
	}
	failures[need] = f
	return failures
}

// drawWait draws what a step waits for: it comes by itself, or fails to in a while.
func drawWait(d draws, s *model.Step) {
	switch d.IntN(5) {
	case 0:
		s.After = ms(d, 1, 4000)
	case 1:
		s.Approval, s.Total = true, ms(d, 1000, 6000)
	case 2:
		s.Barrier, s.Total = drawBarrier(d), ms(d, 1000, 8000)
	default:
		s.Signal, s.Total = pick(d, theSignals), ms(d, 1000, 6000)
	}
}

// drawRace adds a race to steps, and a task that goes on behind it. A date may never come, for it is another node that leads,
// so one races with a timer that needs nothing.
func drawRace(d draws, steps []model.Step, clock time.Duration) []model.Step {
	behind := model.Step{Name: "behind", Race: true, AtLeast: 1}
	before, met := len(steps), false
	for i := range 2 + d.IntN(2) {
		s := model.Step{Name: fmt.Sprint("r", i)}
		if i > 0 && d.one(2) {
			s.Needs = []string{steps[d.IntN(before)].Name}
		}
		switch {
		case i == 0:
			s.After = ms(d, 1, 4000)
		case d.one(3):
			s.Until = int64(epoch + (clock + d.between(-5*time.Second, 20*time.Second)).Truncate(time.Millisecond))
		default:
			drawWait(d, &s)
		}
		if s.Barrier != nil && met { // of a race one is a barrier
			s.Barrier, s.Approval = nil, true
		}
		met = met || s.Barrier != nil
		steps = append(steps, s)
		behind.Needs = append(behind.Needs, s.Name)
	}
	drawWork(d, &behind)
	return append(steps, behind)
}

// drawWork draws what a worker is told, and how it is tried.
func drawWork(d draws, s *model.Step) {
	s.Queue, s.Attempts = pick(d, theQueues), int32(3+d.IntN(4))
	s.Backoff, s.MaxBackoff = ms(d, 100, 1000), int64(2*time.Second)
	if d.one(4) {
		s.NonRetryable = []string{"N"}
	}
	if d.one(4) {
		s.Priority = pick(d, []int64{-1, 1, 2})
	}
	if d.one(2) {
		s.RunTimeout = ms(d, 300, 3000)
	}
	if d.one(8) {
		s.Heartbeat = ms(d, 500, 3000)
	}
	if d.one(8) {
		s.QueueTimeout = ms(d, 1000, 12000)
	}
	if d.one(8) {
		s.Total = ms(d, 1000, 15000)
	}
	s.Locks = drawLocks(d)
}

// drawCompensations gives steps what undoes them: in one workflow of two to each that a worker does, in the others to some.
func drawCompensations(d draws, f *model.Workflow) { drawUndo(d, f, f.Steps, d.one(2)) }

func drawUndo(d draws, f *model.Workflow, steps []model.Step, most bool) {
	for at := range steps {
		s := &steps[at]
		if s.Body != nil {
			drawUndo(d, f, s.Body.Steps, most)
		}
		if s.Queue == "" && s.Call == nil || !most && !d.one(3) {
			continue
		}
		s.Undo = &model.Step{Name: s.Name + ".compensate"}
		drawWork(d, s.Undo)
		f.Sequential = f.Sequential || d.one(6)
	}
}

// drawWhen draws a condition on the input, or on the output of a need that is never skipped: a step that is begun has it.
func drawWhen(d draws, s model.Step, before []model.Step) *model.When {
	w := &model.When{Above: int64(d.IntN(3))}
	if s.AtLeast > 0 {
		return w
	}
	for _, need := range before {
		_, failures := s.Failures[need.Name]
		if slices.Contains(s.Needs, need.Name) && !failures && len(need.Needs) == 0 && need.When == nil && need.Queue != "" && need.Body == nil {
			w.Step = need.Name
		}
	}
	return w
}

// ms draws whole milliseconds, for definitions say no less.
func ms(d draws, lo, hi int) int64 { return int64(lo+d.IntN(hi-lo)) * int64(time.Millisecond) }

func yamlOf(f model.Workflow) string {
	var b strings.Builder
	fmt.Fprintf(&b, "workflow: %s\n", f.Name)
	if f.Sequential {
		b.WriteString("compensation: sequential\n")
	}
	if f.Total > 0 {
		fmt.Fprintf(&b, "timeouts: {total: %dms}\n", f.Total/1e6)
	}
	b.WriteString("steps:\n")
	writeSteps(&b, "  ", f.Steps)
	return b.String()
}

func writeSteps(b *strings.Builder, indent string, steps []model.Step) {
	within := indent + "  "
	for _, s := range steps {
		fmt.Fprintf(b, "%s%s:\n", indent, s.Name)
		switch {
		case s.Race:
			fmt.Fprintf(b, "%srace: [%s]\n", within, strings.Join(s.Needs, ", "))
		case len(s.Needs) > 0:
			fmt.Fprintf(b, "%sneeds: [%s]\n", within, strings.Join(needsOf(s), ", "))
		}
		switch {
		case s.Race:
		case s.AtLeast == 1:
			fmt.Fprintf(b, "%sjoin: any\n", within)
		case s.AtLeast > 1:
			fmt.Fprintf(b, "%sjoin: {atLeast: %d}\n", within, s.AtLeast)
		}
		switch w := s.When; {
		case w != nil && w.Unsound:
			fmt.Fprintf(b, "%swhen: input.n > %d || input.none\n", within, w.Above)
		case w != nil && w.Step == "":
			fmt.Fprintf(b, "%swhen: input.n > %d\n", within, w.Above)
		case w != nil:
			fmt.Fprintf(b, "%swhen: steps.%s.output > %d\n", within, w.Step, w.Above)
		}
		writeTimeouts(b, within, s)
		switch {
		case s.Body != nil:
			writeBody(b, within, s.Body)
			continue
		case !writeWait(b, within, s):
			writeWork(b, within, s)
		}
		if s.Undo != nil {
			fmt.Fprintf(b, "%scompensate:\n", within)
			writeTimeouts(b, within+"  ", *s.Undo)
			writeWork(b, within+"  ", *s.Undo)
		}
	}
}

func writeBody(b *strings.Builder, indent string, body *model.Body) {
	within := indent + "  "
	switch {
	case body.Items > 0:
		var items []string
		for n := range body.Items {
			items = append(items, fmt.Sprint(n))
		}
		list := "[" + strings.Join(items, ", ") + "]"
		switch {
		case body.Unsound:
			list = fmt.Sprintf("\"${input.n %% 2 == 0 ? %s : input.none}\"", list)
		case body.Fed:
			list = fmt.Sprintf("\"${%s.filter(x, x < input.n)}\"", list)
		}
		fmt.Fprintf(b, "%sforEach:\n%sin: %s\n%swidth: %d\n", indent, within, list, within, body.Width)
	case body.Turns > 0:
		fmt.Fprintf(b, "%sloop:\n%smax: %d\n", indent, within, body.Turns)
		switch {
		case body.While && body.Unsound:
			fmt.Fprintf(b, "%swhile: index < input.n %% 3 || input.none\n", within)
		case body.While:
			fmt.Fprintf(b, "%swhile: index < input.n\n", within)
		}
	default:
		fmt.Fprintf(b, "%sscope:\n", indent)
	}
	if body.Spoils {
		fmt.Fprintf(b, "%soutput: \"${input.n %% 2 == 0 ? 1 : input.none}\"\n", within)
	}
	fmt.Fprintf(b, "%ssteps:\n", within)
	writeSteps(b, within+"  ", body.Steps)
}

func needsOf(s model.Step) []string {
	list := slices.Clone(s.Needs)
	for at, need := range list {
		if f, failures := s.Failures[need]; failures {
			ends := map[bool]string{true: "any", false: "failed"}[f.Either]
			list[at] = fmt.Sprintf("{step: %s, ends: %s, codes: [%s]}", need, ends, strings.Join(f.Codes, ", "))
		}
	}
	return list
}

func writeWork(b *strings.Builder, indent string, s model.Step) {
	fmt.Fprintf(b, "%squeue: %s\n%spriority: %d\n", indent, s.Queue, indent, s.Priority)
	fmt.Fprintf(b, "%sretry: {attempts: %d, backoff: %dms, maxBackoff: %dms, nonRetryable: [%s]}\n", indent, s.Attempts, s.Backoff/1e6, s.MaxBackoff/1e6, strings.Join(s.NonRetryable, ", "))
	writeFairness(b, indent, s.Fairness)
	writeRates(b, indent, s.Rates)
	writeGiven(b, indent, s.Keys)
	writeLocks(b, indent, s.Locks)
}

// writeWait writes what a step waits for, if it does.
func writeWait(b *strings.Builder, indent string, s model.Step) bool {
	on := time.Unix(0, s.Until).UTC().Format(time.RFC3339Nano)
	switch {
	case s.Signal != "":
		fmt.Fprintf(b, "%ssignal: {name: %s}\n", indent, s.Signal)
	case s.After > 0:
		fmt.Fprintf(b, "%stimer: {after: %dms}\n", indent, s.After/1e6)
	case s.Until != 0 && s.Until/1e6%2 == 0:
		fmt.Fprintf(b, "%stimer: {until: %q}\n", indent, on)
	case s.Until != 0:
		fmt.Fprintf(b, "%stimer: {until: \"${timestamp('%s') + duration('0s')}\"}\n", indent, on)
	case s.Call != nil || s.Await != nil:
		writeDependent(b, indent, s)
	case s.Barrier != nil:
		writeBarrier(b, indent, s.Barrier)
	case s.Approval:
		fmt.Fprintf(b, "%sapproval: {role: anybody}\n", indent)
	}
	return s.Queue == ""
}

func writeTimeouts(b *strings.Builder, indent string, s model.Step) {
	var limits []string
	for _, t := range []struct {
		name string
		at   int64
	}{{"run", s.RunTimeout}, {"heartbeat", s.Heartbeat}, {"queue", s.QueueTimeout}, {"total", s.Total}, {"locks", s.LockTimeout}} {
		if t.at > 0 {
			limits = append(limits, fmt.Sprintf("%s: %dms", t.name, t.at/1e6))
		}
	}
	if len(limits) > 0 {
		fmt.Fprintf(b, "%stimeouts: {%s}\n", indent, strings.Join(limits, ", "))
	}
}
