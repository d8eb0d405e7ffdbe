package sim

import (
	"fmt"
	"strings"

	"github.com/lockstep-dev/lockstep/jepsen/model"
)

// drawDependents adds steps that call workflows which were drawn before, or their own with less, and steps that wait for
// instances which starters start, or that are called; and a task that goes on behind them.
func drawDependents(d draws, f model.Workflow, flows []model.Workflow) []model.Step {
	steps := f.Steps
	behind := model.Step{Name: "z"}
	for i := range 1 + d.IntN(3) {
		s := drawDependent(d, f, flows, steps, fmt.Sprint("c", i))
		steps = append(steps, s)
		if behind.Needs = append(behind.Needs, s.Name); d.one(2) {
			behind.Failures = drawFailure(d, behind.Failures, s.Name)
		}
	}
	for at := range steps {
		if b := steps[at].Body; b != nil && d.one(2) {
			b.Steps = append(b.Steps, drawDependent(d, f, flows, b.Steps, steps[at].Name+"c"))
		}
	}
	drawWork(d, &behind)
	if len(behind.Needs) > 1 && d.one(3) {
		behind.AtLeast = 1
	}
	return append(steps, behind)
}

func drawDependent(d draws, f model.Workflow, flows []model.Workflow, before []model.Step, name string) model.Step {
	s := drawStep(d, before, name)
	s = model.Step{Name: name, Needs: s.Needs, Failures: s.Failures, AtLeast: s.AtLeast, When: s.When, Total: ms(d, 1000, 12000)}
	switch n := d.IntN(8); {
	case n < 3 && len(flows) > 0:
		s.Call = &model.Call{Workflow: pick(d, flows).Name, Detach: d.one(6)}
		s.Call.Abandon = !s.Call.Detach && d.one(6)
	case n == 3:
		s.Call, s.When = &model.Call{Workflow: f.Name, Add: -1}, &model.When{}
	default:
		s.Await = &model.Await{Before: fmt.Sprintf("starter%d-", d.IntN(2)), Add: int64(1 + d.IntN(40))}
		if d.one(3) {
			s.Await.Behind = pick(d, []string{":c0", ":c1", ":bc"})
		}
		if d.one(2) {
			s.Await.Step = pick(d, []string{"s0", "s0", "s1", "s1", "b", "c0", "c1", "z", "nothing"})
		}
		if s.Total = ms(d, 1000, 6000); d.one(2) {
			s.Await = drawByKey(d)
		}
	}
	return s
}

// writeDependent writes which workflow a step calls, or for which instance it waits.
func writeDependent(b *strings.Builder, indent string, s model.Step) {
	if a := s.Await; a != nil && a.Key != "" {
		writeByKey(b, indent, a)
		return
	}
	if a := s.Await; a != nil {
		fmt.Fprintf(b, "%sawait: {instance: \"%s${input.n + %d}%s\"", indent, a.Before, a.Add, a.Behind)
		if a.Step != "" {
			fmt.Fprintf(b, ", step: %s", a.Step)
		}
		b.WriteString("}\n")
		return
	}
	c := s.Call
	fmt.Fprintf(b, "%scall: {workflow: %s", indent, c.Workflow)
	if c.Detach {
		b.WriteString(", detach: true")
	}
	if c.Abandon {
		b.WriteString(", parentClose: abandon")
	}
	b.WriteString("}\n")
	if c.Add != 0 {
		fmt.Fprintf(b, "%sinput: {n: \"${input.n + %d}\"}\n", indent, c.Add)
	}
}
