package sound

import (
	"fmt"
	"strings"
	"testing"
)

// chained is a chain of steps each of which has one behind its failure.
func chained(n int) string {
	var b strings.Builder
	b.WriteString("workflow: w\nsteps:\n  s0: {}\n")
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "  s%d: {needs: [s%d]}\n  h%d: {needs: [{step: s%d, ends: failed}]}\n", i, i-1, i, i-1)
	}
	return b.String()
}

// wide is steps beside each other, each with one behind its failure, and what needs all of them, and so many times all of these.
func wide(n, times int) string {
	var b strings.Builder
	b.WriteString("workflow: w\nsteps:\n  s: {}\n")
	var all, handlers []string
	for i := range n {
		fmt.Fprintf(&b, "  s%d: {needs: [s]}\n  h%d: {needs: [{step: s%d, ends: failed}]}\n", i, i, i)
		all, handlers = append(all, fmt.Sprint("s", i)), append(handlers, fmt.Sprint("h", i))
	}
	fmt.Fprintf(&b, "  all: {needs: [%s]}\n", strings.Join(all, ", "))
	for i := range times {
		fmt.Fprintf(&b, "  bad%d: {needs: [%s], join: {atLeast: %d}}\n", i, strings.Join(handlers, ", "), n)
	}
	return b.String()
}

// reading is a chain of steps that all read the first.
func reading(n int) string {
	var b strings.Builder
	b.WriteString("workflow: w\nsteps:\n  s0: {}\n")
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "  s%d: {needs: [s%d], input: \"${steps.s0.output}\"}\n", i, i-1)
	}
	return b.String()
}

// nested is bodies beside each other, each with a step behind a failure in it.
func nested(n int) string {
	var b strings.Builder
	b.WriteString("workflow: w\nsteps:\n")
	for i := range n {
		fmt.Fprintf(&b, "  b%d: {scope: {steps: {s%d: {}, h%d: {needs: [{step: s%d, ends: failed, codes: [A]}]}}}}\n", i, i, i, i)
		fmt.Fprintf(&b, "  f%d: {needs: [{step: b%d, ends: failed, codes: [B]}]}\n", i, i)
	}
	return b.String()
}

// pigeons is a step that runs if so many pigeons have a hole each, of one fewer: a step for each place of each pigeon, which completes
// or fails; one for each pigeon that has a place, and one for each two that are not in the same.
func pigeons(n int) string {
	var b strings.Builder
	b.WriteString("workflow: w\nsteps:\n")
	var clauses []string
	clause := func(literals []string) {
		id := fmt.Sprint("c", len(clauses))
		fmt.Fprintf(&b, "  %s: {needs: [%s], join: any}\n", id, strings.Join(literals, ", "))
		clauses = append(clauses, id)
	}
	for p := range n {
		var places []string
		for h := range n - 1 {
			fmt.Fprintf(&b, "  x%d_%d: {}\n", p, h)
			places = append(places, fmt.Sprintf("x%d_%d", p, h))
		}
		clause(places)
	}
	for h := range n - 1 {
		for p := range n {
			for q := range p {
				clause([]string{fmt.Sprintf("{step: x%d_%d, ends: failed}", p, h), fmt.Sprintf("{step: x%d_%d, ends: failed}", q, h)})
			}
		}
	}
	fmt.Fprintf(&b, "  all: {needs: [%s], join: {atLeast: %d}}\n", strings.Join(clauses, ", "), len(clauses))
	return b.String()
}

// Large definitions are checked whole: what they have many of costs a few states each.
func TestLargeDefinitionsAreChecked(t *testing.T) {
	for name, text := range map[string]string{
		"chained": chained(5000), "wide": wide(1000, 1), "reading": reading(300), "nested": nested(500),
	} {
		d := parse(t, text)
		r := Check(d.Checked)
		if t.Logf("%s: %d steps, %d states", name, d.Steps, r.States); r.Verdict != Sound {
			t.Errorf("%s: %s", name, say(r))
		}
	}
}

// worked is a check that may look at so many needs, and at how many it did.
func worked(t *testing.T, text string, most int) (c *check, looks int) {
	t.Helper()
	c = newCheck(parse(t, text).Checked, MaxStates)
	c.budget.looks = most
	c.all()
	return c, most - c.budget.looks
}

// The largest definitions that are registered, in many shapes: a check of them looks at no more than it may, but for what it does before it
// looks again whether it may. It may less than others here: most end far below that, and the rest would take only longer.
func TestWorkIsBounded(t *testing.T) {
	const most = maxLooks / 20
	const over = 20_000 // the needs of one step, and its goals
	for name, text := range map[string]string{
		"chained": chained(5000), "wide": wide(2000, 20), "dense": dense(300), "quorums": quorums(300), "reading": reading(4000), "early": early(2000),
		"nested": nested(2490), "deep": deep(15, 600), "dead": dead(5000), "left": left(30), "pigeons": pigeons(12), "calls": calls(3000),
	} {
		c, looks := worked(t, text, most)
		t.Logf("%s: %d KiB, %d nodes, %d states, %d looks, gave up: %v", name, len(text)>>10, len(c.g.Nodes), MaxStates-c.budget.states, looks, c.budget.out)
		if looks > most+over || c.budget.states < -1000 {
			t.Errorf("%s: %d looks, %d states", name, looks, MaxStates-c.budget.states)
		}
	}
}

// A definition that takes all states that there are is checked, and one that takes one more is not: nothing is said of what was not
// looked at.
func TestLimitOfStates(t *testing.T) {
	d := parse(t, pigeons(3))
	whole := Check(d.Checked)
	if whole.Verdict != Unsound || len(whole.Findings) != 1 || whole.Findings[0].Code != StepNeverRuns || whole.Findings[0].Step != "all" {
		t.Fatalf("pigeons: %s", say(whole))
	}
	if r := checkWithin(d.Checked, whole.States); say(r) != say(whole) || r.States != whole.States {
		t.Errorf("with %d states: %d, %s", whole.States, r.States, say(r))
	}
	for states := max(0, whole.States-200); states < whole.States; states++ {
		r := checkWithin(d.Checked, states)
		if r.Verdict != NotChecked || r.States > states {
			t.Fatalf("with %d of %d states: %d, %s", states, whole.States, r.States, say(r))
		}
		for _, f := range r.Findings {
			if f.Code != whole.Findings[0].Code || f.Step != whole.Findings[0].Step {
				t.Fatalf("with %d states: %s", states, say(r))
			}
		}
	}
}

// What is beyond the limit is not checked, and said to be.
func TestBeyondTheLimit(t *testing.T) {
	if r := Check(parse(t, wide(500, 90)).Checked); r.Verdict != Sound || r.States < 90_000 {
		t.Errorf("below: %d states: %s", r.States, say(r))
	}
	if r := Check(parse(t, wide(500, 110)).Checked); r.Verdict != NotChecked || r.States != MaxStates || len(r.Findings) > 0 {
		t.Errorf("above: %d states: %s", r.States, say(r))
	}
	if r := Check(parse(t, pigeons(9)).Checked); r.Verdict != NotChecked || len(r.Findings) > 0 {
		t.Errorf("nine pigeons: %d states: %s", r.States, say(r))
	}
	var needs []string
	text := "workflow: w\nsteps:\n  s: {}\n"
	for i := range maxFailures + 1 {
		needs = append(needs, fmt.Sprintf("  f%d: {needs: [{step: s, ends: failed, codes: [C%d]}]}\n", i, i))
	}
	if r := Check(parse(t, text+strings.Join(needs[:maxFailures], "")).Checked); r.Verdict != Sound {
		t.Errorf("%d failures: %s", maxFailures, say(r))
	}
	if r := Check(parse(t, text+strings.Join(needs, "")).Checked); r.Verdict != NotChecked {
		t.Errorf("one more: %s", say(r))
	}
}

// FuzzCheck: the check and the enumeration agree on whatever is drawn.
func FuzzCheck(f *testing.F) {
	f.Add(uint64(1), true)
	f.Fuzz(func(t *testing.T, seed uint64, reads bool) { compare(t, flat(seeded(seed), reads)) })
}
