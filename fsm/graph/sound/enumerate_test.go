package sound

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lockstep-dev/lockstep/fsm/graph"
)

// An enumeration goes through all that can happen to a workflow without bodies, forwards and in every order, as the state machine
// does it and one thing at a time. It shares nothing with the check but the graph.
type enumeration struct {
	g       *graph.Graph
	reads   []graph.Reading
	holds   []byte // by node: what its condition comes to: 't', 'f', or 'x' for no value
	seen    map[string]bool
	happens map[string]bool // findings that are witnessed, and "runs ID"
}

// Of a node: pending, begun, begun and standing still, completed, skipped; failed is the letter of a code.
const (
	pending, begun, stuck, done, passed = 'p', 'b', 'x', 'C', 'S'
)

// The codes that drawn needs name, and one that none names of each kind of step that has such: Z of workers, CALL_TOO_DEEP of calls, PARTIES_DIFFER of barriers.
var letters = map[string]byte{"A": '1', "B": '2', "Z": '3', rejected: '4', timeoutTotal: '5', instanceExists: '6', callTooDeep: '7', partiesDiffer: '8', awaitTooWide: '9'}

func (e *enumeration) all() {
	var conditions []int
	for n := range e.g.Nodes {
		if e.g.Nodes[n].HasWhen {
			conditions = append(conditions, n)
		}
	}
	ways := 1
	for range conditions {
		ways *= 3
	}
	for way := range ways {
		e.holds, e.seen = []byte(strings.Repeat("t", len(e.g.Nodes))), map[string]bool{}
		for _, n := range conditions {
			e.holds[n], way = "tfx"[way%3], way/3
		}
		s := []byte(strings.Repeat(string(rune(pending)), len(e.g.Nodes)))
		var over []int
		for n := range s {
			if len(e.g.Nodes[n].Needs) == 0 && s[n] == pending && e.begin(s, n) {
				over = append(over, n)
			}
		}
		e.advance(s, over)
		e.explore(s)
	}
}

// begin begins a node whose needs are met, and says whether it has ended with that.
func (e *enumeration) begin(s []byte, n int) bool {
	for _, rival := range e.g.Nodes[n].Rivals {
		if s[rival] == done {
			s[n] = passed
			return true
		}
	}
	if e.holds[n] == 'f' {
		s[n] = passed
		return true
	}
	e.happens["runs "+e.g.Nodes[n].ID] = true
	s[n] = begun
	if e.holds[n] == 'x' {
		s[n] = stuck
		return false
	}
	for _, r := range e.reads {
		if r.Node == n && s[r.Of] != done {
			s[n] = stuck
			e.happens["still "+e.g.Nodes[n].ID] = true
		}
	}
	return false
}

func (e *enumeration) advance(s []byte, over []int) {
	for ; len(over) > 0; over = over[1:] {
		n := over[0]
		if s[n] == done {
			for _, rival := range e.g.Nodes[n].Rivals {
				if s[rival] == pending || s[rival] == begun || s[rival] == stuck {
					s[rival] = passed
					over = append(over, rival)
				}
			}
		}
		for _, edge := range e.g.Nodes[n].Successors {
			if s[edge.To] != pending {
				continue
			}
			switch e.join(s, edge.To) {
			case passed:
				s[edge.To] = passed
				over = append(over, edge.To)
			case begun:
				if e.begin(s, edge.To) {
					over = append(over, edge.To)
				}
			}
		}
	}
}

func (e *enumeration) join(s []byte, n int) byte {
	met, barred, skips, wait := 0, 0, 0, 0
	for _, from := range e.g.Nodes[n].Needs {
		edge := e.g.Edge(from, n)
		switch so := s[from]; {
		case so == pending || so == begun || so == stuck:
			wait++
		case so == done && edge.Ends&graph.EndsCompleted != 0:
			met++
		case so == passed && edge.Ends&graph.EndsCompleted != 0:
			skips++
		case so != done && so != passed && edge.Takes(codeOf(so)):
			met++
		default:
			barred++
		}
	}
	if e.g.Nodes[n].Join == graph.JoinAll {
		switch {
		case barred > 0 || wait == 0 && met == 0:
			return passed
		case wait > 0:
			return pending
		}
		return begun
	}
	switch want := max(1, e.g.Nodes[n].AtLeast); {
	case met >= want:
		return begun
	case met+wait < want:
		return passed
	}
	return pending
}

func codeOf(letter byte) string {
	for code, l := range letters {
		if l == letter {
			return code
		}
	}
	return ""
}

func (e *enumeration) explore(s []byte) {
	if e.seen[string(s)] {
		return
	}
	e.seen[string(s)] = true
	e.look(s)
	for n := range s {
		for _, so := range e.ends(s, n) {
			if so != done && so != passed && !e.g.Nodes[n].Takes(codeOf(so)) {
				continue // the instance fails
			}
			next := slices.Clone(s)
			next[n] = so
			e.advance(next, []int{n})
			e.explore(next)
		}
	}
}

// ends are the ways in which what was begun can end.
func (e *enumeration) ends(s []byte, n int) []byte {
	if s[n] == stuck {
		return []byte{letters[timeoutTotal]}
	}
	if s[n] != begun {
		return nil
	}
	switch e.g.Nodes[n].Kind {
	case graph.KindTask:
		return []byte{done, '1', '2', '3', '4', '5', '6'}
	case graph.KindCall:
		if e.g.Nodes[n].Call.Detach {
			return []byte{done, '5', '6', '7'}
		}
		return []byte{done, '1', '2', '3', '4', '5', '6'}
	case graph.KindAwait:
		if n := &e.g.Nodes[n]; n.AwaitsKey != "" && n.AwaitsCount > 0 {
			return []byte{done, '5', '9'}
		}
		if e.g.Nodes[n].Awaits != "" {
			return []byte{done, passed, '1', '2', '3', '4', '5', '6'}
		}
		return []byte{done, '1', '2', '3', '4', '5', '6'}
	case graph.KindSignal:
		return []byte{done, '5'}
	case graph.KindApproval:
		return []byte{done, '4', '5'}
	case graph.KindBarrier:
		return []byte{done, '5', '8'}
	}
	return []byte{done}
}

// look says what a state is a witness of.
func (e *enumeration) look(s []byte) {
	over := true
	for n := range s {
		node := &e.g.Nodes[n]
		over = over && s[n] != pending && s[n] != begun && s[n] != stuck
		waits := node.Kind == graph.KindSignal || node.Kind == graph.KindApproval || node.Kind == graph.KindAwait || node.Kind == graph.KindBarrier
		if waits && s[n] == begun && len(node.Successors) > 0 && !node.Takes(timeoutTotal) &&
			!slices.ContainsFunc(node.Successors, func(edge graph.Edge) bool { return s[edge.To] == pending }) {
			e.happens["left "+node.ID] = true
		}
	}
	if !over {
		return
	}
	there := true
	for _, r := range e.reads {
		if r.Node < 0 && s[r.Of] != done {
			there = false
			e.happens["missing "] = true
		}
	}
	if there {
		e.happens["there "] = true
	}
}

// flat draws a definition without bodies.
func flat(rng *rand.Rand, reads bool) string {
	var b strings.Builder
	b.WriteString("workflow: w\nsteps:\n")
	var ids, waits []string
	up := map[string][]string{}
	conditions, met := 0, false
	for n := range 3 + rng.IntN(5) {
		id := fmt.Sprint("s", n)
		fmt.Fprintf(&b, "  %s:\n", id)
		if len(waits) > 1 && rng.IntN(3) == 0 {
			fmt.Fprintf(&b, "    race: [%s]\n", strings.Join(waits, ", "))
			up[id], waits, met = slices.Clone(waits), nil, false
		} else if needs, from := drawNeeds(rng, ids); len(needs) > 0 {
			fmt.Fprintf(&b, "    needs: [%s]\n", strings.Join(needs, ", "))
			if len(needs) > 1 && rng.IntN(3) == 0 {
				fmt.Fprintf(&b, "    join: {atLeast: %d}\n", 1+rng.IntN(len(needs)))
			}
			up[id] = from
		}
		for _, from := range slices.Clone(up[id]) {
			up[id] = append(up[id], up[from]...)
		}
		if rng.IntN(5) == 0 && conditions < 2 {
			conditions++
			fmt.Fprintf(&b, "    when: input.%s\n", id)
		}
		from := b.Len()
		races := drawKind(&b, rng, reads, up[id])
		if meets := strings.Contains(b.String()[from:], "barrier:"); races && !(meets && met) { // of a race one is a barrier
			waits, met = append(waits, id), met || meets
		}
		ids = append(ids, id)
	}
	if reads {
		fmt.Fprintf(&b, "output: [\"${steps.%s.output}\", \"${steps.%s.output}\"]\n", ids[rng.IntN(len(ids))], ids[rng.IntN(len(ids))])
	}
	return b.String()
}

// drawKind draws what a step does, and says whether it can race.
func drawKind(b *strings.Builder, rng *rand.Rand, reads bool, up []string) (races bool) {
	read := ""
	if reads && len(up) > 0 && rng.IntN(2) == 0 {
		read = fmt.Sprintf("${steps.%s.output}", up[rng.IntN(len(up))])
	}
	switch rng.IntN(10) {
	case 0:
		b.WriteString("    signal: {name: n}\n")
	case 1:
		b.WriteString("    approval: {}\n")
	case 2:
		b.WriteString("    timer: {after: 1s}\n")
	case 3:
		fmt.Fprintf(b, "    barrier: {name: \"n%s\", parties: 2}\n", read)
	case 4:
		whom := []string{"instance: \"x%s\"", "key: {k: \"x%s\"}", "key: {k: \"x%s\"}, of: all"}[rng.IntN(3)]
		fmt.Fprintf(b, "    await: {"+whom+"%s}\n", read, []string{"", ", step: s"}[rng.IntN(2)])
	case 5, 6:
		fmt.Fprintf(b, "    call: {workflow: w%s}\n", []string{"", ", detach: true"}[rng.IntN(2)])
		fmt.Fprintf(b, "    input: %q\n", read)
		return false
	default:
		fmt.Fprintf(b, "    queue: q\n    input: %q\n", read)
		return false
	}
	return true
}

func drawNeeds(rng *rand.Rand, ids []string) (needs, from []string) {
	for _, id := range ids {
		switch rng.IntN(5) {
		case 0:
			needs, from = append(needs, id), append(from, id)
		case 1:
			ends := []string{"failed", "any"}[rng.IntN(2)]
			codes := []string{"", ", codes: [A]", ", codes: [B, TIMEOUT_TOTAL]", ", codes: [REJECTED, INSTANCE_EXISTS]", ", codes: [REJECTED]"}[rng.IntN(5)]
			needs, from = append(needs, fmt.Sprintf("{step: %s, ends: %s%s}", id, ends, codes)), append(from, id)
		}
	}
	return needs, from
}

// compare says where the check and the enumeration differ on a definition.
func compare(t testing.TB, text string) {
	t.Helper()
	d := parse(t, text)
	r := Check(d.Checked)
	e := &enumeration{g: d.Checked.Graph, reads: d.Checked.Reads, happens: map[string]bool{}}
	e.all()
	said := map[string]bool{}
	for _, f := range r.Findings {
		said[string(f.Code)+" "+f.Step] = true
	}
	early := mayBeEarly(d.Checked.Graph, said)
	differ := func(finding, id string, is bool) {
		// What is said never to be is not; what may be need not be behind a step that is begun too early for what it reads.
		if says := said[finding+" "+id]; says != is && (!early || says == (finding == string(StepNeverRuns))) {
			t.Errorf("%s of %q: said is %v, and it is %v\n%s%s", finding, id, !is, is, text, say(r))
		}
	}
	for n := range d.Checked.Graph.Nodes {
		id := d.Checked.Graph.Nodes[n].ID
		runs, still := e.happens["runs "+id], e.happens["still "+id]
		differ(string(StepNeverRuns), id, !runs)
		if !said[string(StepStandsStill)+" "+id] {
			differ(string(StepMayStandStill), id, still)
		} else if !still && !early {
			t.Errorf("%s does not stand still\n%s%s", id, text, say(r))
		}
		differ(string(WaitMayBeLeft), id, e.happens["left "+id])
	}
	// Behind what stands still the end is another: its time passes, and the instance fails. The check does not go so far.
	never, may := said[string(OutputNeverThere)+" "], said[string(OutputMayBeMissing)+" "]
	exact := !early && !strings.Contains(say(r), "STAND")
	switch there, missing := e.happens["there "], e.happens["missing "]; {
	case len(e.reads) == 0:
	case never && there, !never && !there && exact:
		t.Errorf("the output: said is never %v, and it is there\n%s%s", never, text, say(r))
	case !never && !may && missing, may && !missing && exact:
		t.Errorf("the output: said is that it may be missing %v, and it may %v\n%s%s", may, missing, text, say(r))
	}
}

// mayBeEarly: a step that goes on with some of its needs, or one behind such a step, reads another. Whether that ever ends before is a
// question of order, which the check does not ask.
func mayBeEarly(g *graph.Graph, said map[string]bool) bool {
	early := func(node int) bool {
		for n := range g.Nodes {
			if g.Nodes[n].Join != graph.JoinAll && g.Before(n, node) {
				return true
			}
		}
		return false
	}
	for n := range g.Nodes {
		if id := g.Nodes[n].ID; (said[string(StepMayStandStill)+" "+id] || said[string(StepStandsStill)+" "+id]) && early(n) {
			return true
		}
	}
	return false
}

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, seed)) }

// What the check says is what happens when everything is tried.
func TestCheckAgreesWithAnEnumeration(t *testing.T) {
	rng := seeded(1)
	for range 400 {
		compare(t, flat(rng, false))
		if t.Failed() {
			return
		}
	}
}

func TestReadsAgreeWithAnEnumeration(t *testing.T) {
	rng := seeded(2)
	for range 400 {
		compare(t, flat(rng, true))
		if t.Failed() {
			return
		}
	}
}
