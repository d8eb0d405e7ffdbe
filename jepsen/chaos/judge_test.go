package main

import (
	"context"
	"errors"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/fsm/graph/source"
	"github.com/lockstep-dev/lockstep/jepsen/check"
	"github.com/lockstep-dev/lockstep/jepsen/workload"
)

var (
	aWorkflow = regexp.MustCompile(`(?m)^workflow: (\w+)$`)
	aStep     = regexp.MustCompile(`(?m)^  (\w+): \{(.*)\}$`)
	itsAfter  = regexp.MustCompile(`timer: \{after: (\w+)\}`)
	itsRace   = regexp.MustCompile(`race: \[([^\]]*)\]`)
	itsTotal  = regexp.MustCompile(`(?m)^timeouts: \{total: (\w+)\}$`)
)

// What is judged by is what the definitions say.
func TestTheJudgeKnowsTheDefinitions(t *testing.T) {
	needs, seen := (&world{}).needs(), 0
	for _, definition := range workload.Definitions {
		g := compiled(t, definition)
		for node := range g.Scopes[0].Count {
			n := &g.Nodes[node]
			if _, compensates := n.Compensates(); compensates {
				continue
			}
			name := g.Name + "/" + n.ID
			wants := needsOf(g, node)
			if races(g, n) {
				wants = nil
			}
			got, there := needs[name]
			if slices.Sort(got); !there || !slices.Equal(got, namesOf(wants)) {
				t.Errorf("%s needs %v, and is judged by %v", name, wants, got)
			}
			if how, special := failures[g.Name]; special && !reflect.DeepEqual(byName(how[n.ID]), wants) {
				t.Errorf("%s needs %v, and is judged by %v", name, wants, how[n.ID])
			}
			if n.Signal != waits[name] {
				t.Errorf("%s is judged to wait for %q, and waits for %q", name, waits[name], n.Signal)
			}
			if n.Body > 0 != (bodies[g.Name][n.ID].Needs != nil) || n.Body > 0 && !reflect.DeepEqual(bodies[g.Name][n.ID], bodyOf(t, g, node)) {
				t.Errorf("%s has inside it %+v, and is judged by %+v", name, bodyOf(t, g, node), bodies[g.Name][n.ID])
			}
			seen++
		}
		if saga := sagas[g.Name]; bodies[g.Name] == nil && (!slices.Equal(saga.Undo, undoOf(g, g.Scopes[0])) || saga.Sequential != g.Sequential) {
			t.Errorf("%s undoes %v, and is judged by %+v", g.Name, undoOf(g, g.Scopes[0]), saga)
		}
	}
	if seen != len(needs) {
		t.Errorf("the definitions have %d steps, %d are judged", seen, len(needs))
	}
}

// races: the step goes on with the first of what it needs.
func races(g *graph.Graph, n *graph.Node) bool {
	return len(n.Needs) > 1 && g.Nodes[n.Needs[0]].Rivals != nil && n.Join == graph.JoinAny
}

func undoOf(g *graph.Graph, s graph.Scope) (undo []string) {
	for node := s.First; node < s.First+s.Count; node++ {
		if g.Nodes[node].Compensation > 0 {
			undo = append(undo, g.Nodes[node].ID)
		}
	}
	return undo
}

func bodyOf(t *testing.T, g *graph.Graph, node int) check.Body {
	t.Helper()
	n := &g.Nodes[node]
	if n.Body == 0 {
		return check.Body{}
	}
	s := g.Scopes[n.Body]
	b := check.Body{Needs: map[string][]string{}, Undo: undoOf(g, s), Width: n.Width, Turns: n.Turns}
	for inside := s.First; inside < s.First+s.Count; inside++ {
		if _, compensates := g.Nodes[inside].Compensates(); !compensates {
			b.Needs[g.Nodes[inside].ID] = namesOf(needsOf(g, inside))
		}
	}
	if n.Kind == graph.KindForEach {
		_, count, err := g.Items(node, graph.View{})
		if err != nil {
			t.Fatal(err)
		}
		b.Items = count
	}
	return b
}

func compiled(t *testing.T, definition string) *graph.Graph {
	t.Helper()
	d, err := source.Parse([]byte(definition), "yaml")
	if err != nil {
		t.Fatal(err)
	}
	g, err := graph.Compile(d.Canonical)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// needsOf are a step's needs, by name.
func needsOf(g *graph.Graph, step int) (needs []check.Need) {
	for _, need := range g.Nodes[step].Needs {
		edge := g.Edge(need, step)
		needs = append(needs, check.Need{
			Step: g.Nodes[need].ID, Completed: edge.Ends&graph.EndsCompleted != 0, Failed: edge.Ends&graph.EndsFailed != 0, Codes: edge.Codes,
		})
	}
	return byName(needs)
}

func byName(needs []check.Need) []check.Need {
	return slices.SortedFunc(slices.Values(needs), func(a, b check.Need) int { return strings.Compare(a.Step, b.Step) })
}

func namesOf(needs []check.Need) (names []string) {
	for _, n := range needs {
		names = append(names, n.Step)
	}
	return names
}

// The same of what waits for a time, for somebody's word, or for the first of several.
func TestTheJudgeKnowsWhatWaits(t *testing.T) {
	seen := 0
	for _, definition := range workload.Definitions {
		flow := aWorkflow.FindStringSubmatch(definition)[1]
		says := check.Waiting{After: map[string]time.Duration{}, Races: map[string][]string{}}
		if total := itsTotal.FindStringSubmatch(definition); total != nil {
			says.Total = duration(t, total[1])
		}
		for _, step := range aStep.FindAllStringSubmatch(definition, -1) {
			if after := itsAfter.FindStringSubmatch(step[2]); after != nil {
				says.After[step[1]] = duration(t, after[1])
			}
			if strings.Contains(step[2], "timer: {until: ") {
				says.Until = append(says.Until, step[1])
			}
			if strings.Contains(step[2], "approval: ") {
				says.Approvals = append(says.Approvals, step[1])
			}
			if race := itsRace.FindStringSubmatch(step[2]); race != nil {
				says.Races[step[1]] = strings.Split(race[1], ", ")
			}
		}
		if len(says.After)+len(says.Until)+len(says.Approvals)+len(says.Races) == 0 && says.Total == 0 {
			continue
		}
		if seen++; !reflect.DeepEqual(says, offers[flow]) {
			t.Errorf("%s says %+v, and is judged by %+v", flow, says, offers[flow])
		}
	}
	if seen != len(offers) {
		t.Errorf("%d of the definitions wait, %d are judged", seen, len(offers))
	}
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// They end well, or for a reason that they have.
func TestHowWhatWaitsMayEnd(t *testing.T) {
	for of, want := range map[[2]string]bool{
		{"offer-1-1", "REJECTED"}: true, {"rush-1-1", "REJECTED"}: true, {"rush-1-1", "TIMEOUT"}: true,
		{"offer-1-1", "TIMEOUT"}: false, {"rush-1-1", "TIMEOUT_TOTAL"}: false, {"rush-1-1", ""}: false, {"named-1-1", "REJECTED"}: false,
	} {
		if got := mayEnd(of[0], of[1]); got != want {
			t.Errorf("%s may end with %q: %v", of[0], of[1], got)
		}
	}
}

// A run in which no timer fired, the first of a race always won, or nothing was approved, shows nothing of it.
func TestARunWithoutWaitsIsVoid(t *testing.T) {
	timer := check.Event{Type: "timer.fired", Instance: "offer-1", Step: "cool"}
	other := check.Event{Type: "step.completed", Instance: "rush-1", Step: "lapses"}
	approved := check.Event{Type: "step.approved", Instance: "offer-1", Step: "signed"}
	none := []check.Event{{Type: "step.completed", Instance: "offer-1", Step: "agreed"}, {Type: "step.completed", Instance: "offer-1", Step: "cool"}, {Type: "step.completed", Instance: "named-1", Step: "bought"}, {Type: "step.rejected"}}
	for _, x := range []struct {
		events               []check.Event
		timer, race, approve string
	}{
		{append(none, timer, other, approved), pass, pass, pass}, {none, failed, failed, failed},
		{append(none, timer), pass, failed, failed}, {append(none, other), failed, pass, failed}, {append(none, approved), failed, failed, pass},
	} {
		r := newReport(&config{})
		r.waited(x.events)
		if r.Checks["a timer fired"] != x.timer || r.Checks["a race was won by another"] != x.race || r.Checks["a step was approved"] != x.approve {
			t.Errorf("%v: %v", x.events, r.Checks)
		}
	}
}

// A run in which nothing was undone, or no signal reached a step, shows nothing of it.
func TestARunWithoutSagasIsVoid(t *testing.T) {
	all := []check.Event{{Type: "instance.compensating", Instance: "saga-1"}, {Type: "instance.failed", Instance: "saga-2"}, {Type: "instance.failed", Instance: "saga-1"}, {Type: "signal.delivered"}}
	for _, x := range []struct {
		events           []check.Event
		instance, signal string
	}{{all, pass, pass}, {all[:2], failed, failed}, {all[:3], pass, failed}, {all[3:], failed, pass}} {
		r := newReport(&config{})
		r.undone(x.events)
		if r.Checks["an instance was undone"] != x.instance || r.Checks["a signal was applied"] != x.signal {
			t.Errorf("%v: %v", x.events, r.Checks)
		}
	}
}

// A run in which no instance held a lock shows nothing of that.
func TestARunWithoutHeldLocksIsVoid(t *testing.T) {
	for _, x := range []struct {
		event check.Event
		want  string
	}{{check.Event{Type: "lock.held", Instance: "move-1"}, pass}, {check.Event{Type: "lock.granted"}, failed}} {
		r := newReport(&config{})
		r.held([]check.Event{x.event})
		if r.Checks["an instance held a lock"] != x.want {
			t.Errorf("%v: %v", x.event, r.Checks)
		}
	}
}

// A queue that moves is waited for; one that does not is given up.
func TestItIsWaitedForWhileItMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		position := func(context.Context) (int64, error) {
			if time.Since(began)%(3*time.Second) == 0 {
				return 0, errors.New("no leader")
			}
			return int64(min(time.Since(began), 10*time.Minute) / (20 * time.Second)), nil
		}
		<-whileItMoves(t.Context(), 30*time.Second, position).Done()
		if took := time.Since(began); took < 10*time.Minute+29*time.Second || took > 10*time.Minute+32*time.Second {
			t.Fatalf("given up after %s", took)
		}
		began = time.Now()
		silent := func(ctx context.Context) (int64, error) { <-ctx.Done(); return 0, ctx.Err() }
		<-whileItMoves(t.Context(), 30*time.Second, silent).Done()
		if took := time.Since(began); took < 29*time.Second || took > 32*time.Second {
			t.Fatalf("one that says nothing is given up after %s", took)
		}
	})
}
