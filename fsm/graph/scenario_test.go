package graph_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/lockstep-dev/lockstep/fsm/graph"
)

// The files in testdata/scenario define a graph and evaluate it: `define` reads a definition; `when`, `input`,
// `until`, `locks` and `output` evaluate it with lines of data, `input JSON`, `STEP JSON` for completed steps, and
// `failed STEP CODE REASON`.
func TestScenario(t *testing.T) {
	datadriven.Walk(t, "testdata/scenario", func(t *testing.T, path string) {
		var g *graph.Graph
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "define" {
				g = define(t, d.Input)
				return describe(g)
			}
			node := 0
			if d.HasArg("step") {
				node = nodeOf(t, g, d.CmdArgs[0].Vals[0])
			}
			return evaluate(g, d.Cmd, node, view(t, g, d.Input)) + "\n"
		})
	})
}

// define compiles what Read and Check let through.
func define(t *testing.T, definition string) *graph.Graph {
	t.Helper()
	value, err := graph.DecodeOrdered([]byte(definition))
	if err != nil {
		t.Fatal(err)
	}
	d, problems := graph.Read(value)
	var canonical []byte
	if len(problems) == 0 {
		canonical, _, problems = graph.Check(d)
	}
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	g, err := graph.Compile(canonical)
	if err != nil {
		t.Fatal(err)
	}
	checkScopes(t, g)
	return g
}

func describe(g *graph.Graph) string {
	var out strings.Builder
	if g.Total > 0 {
		fmt.Fprintf(&out, "total=%d edition=%d\n", g.Total, g.Edition)
	}
	for i, s := range g.Scopes[1:] {
		fmt.Fprintf(&out, "scope %d of %s: %d nodes from %d\n", i+1, g.Nodes[s.Owner].ID, s.Count, s.First)
	}
	for i, n := range g.Nodes {
		fmt.Fprintf(&out, "%d %s needs=%v successors=%v", i, n.ID, n.Needs, successors(n))
		switch n.Kind {
		case graph.KindSignal:
			fmt.Fprintf(&out, " signal=%s total=%d", n.Signal, n.Timeouts.Total)
		case graph.KindTimer:
			fmt.Fprintf(&out, " timer=%d dated=%v", n.After, n.Dated)
		case graph.KindApproval:
			fmt.Fprintf(&out, " approval=%q total=%d", n.Role, n.Timeouts.Total)
		case graph.KindCall:
			fmt.Fprintf(&out, " call=%+v total=%d", n.Call, n.Timeouts.Total)
		case graph.KindAwait:
			fmt.Fprintf(&out, " await=%q total=%d", n.Awaits, n.Timeouts.Total)
			if n.AwaitsKey != "" {
				fmt.Fprintf(&out, " key=%s count=%d", n.AwaitsKey, n.AwaitsCount)
			}
		case graph.KindBarrier:
			fmt.Fprintf(&out, " barrier total=%d", n.Timeouts.Total)
		case graph.KindScope, graph.KindForEach, graph.KindLoop:
			fmt.Fprintf(&out, " body=%d width=%d turns=%d total=%d", n.Body, n.Width, n.Turns, n.Timeouts.Total)
		default:
			fmt.Fprintf(&out, " queue=%s task=%s retry=%v timeouts=%v", n.Queue, n.Task, n.Retry, n.Timeouts)
		}
		if step, is := n.Compensates(); is {
			fmt.Fprintf(&out, " compensates=%d", step)
		}
		fmt.Fprintf(&out, " join=%d/%d when=%v input=%v locks=%d priority=%d\n", n.Join, n.AtLeast, n.HasWhen, n.HasInput, n.Locks, n.Priority)
		if len(n.Rivals) > 0 {
			fmt.Fprintf(&out, "  rivals=%v\n", n.Rivals)
		}
	}
	return out.String()
}

func successors(n graph.Node) []string {
	list := []string{}
	for _, e := range n.Successors {
		says := strconv.Itoa(e.To)
		if e.Ends != graph.EndsCompleted {
			says += fmt.Sprintf("%s%v", []string{"", "", " if failed", " if ended"}[e.Ends], e.Codes)
		}
		list = append(list, says)
	}
	return list
}

func nodeOf(t *testing.T, g *graph.Graph, id string) int {
	t.Helper()
	for i, n := range g.Nodes {
		if n.ID == id {
			return i
		}
	}
	t.Fatalf("there is no step %s", id)
	return 0
}

func view(t *testing.T, g *graph.Graph, data string) graph.View {
	outputs, failures := map[int][]byte{}, map[int][]string{}
	s := graph.View{
		Output: func(node int) (*graph.Data, bool) {
			output, completed := outputs[node]
			return graph.JSON(output), completed
		},
		Failure: func(node int) (code, reason string, failed bool) {
			f := failures[node]
			if f == nil {
				return "", "", false
			}
			return f[0], strings.Join(f[1:], " "), true
		},
	}
	for _, line := range strings.Split(data, "\n") {
		switch name, json, _ := strings.Cut(line, " "); name {
		case "":
		case "input":
			s.Input = graph.JSON([]byte(json))
		case "item":
			s.Item = graph.JSON([]byte(json))
		case "own":
			s.Own = graph.JSON([]byte(json))
		case "last":
			s.Last = graph.JSON([]byte(json))
		case "index":
			s.Index, _ = strconv.Atoi(json)
		case "failed":
			words := strings.Fields(json)
			failures[nodeOf(t, g, words[0])] = words[1:]
		default:
			outputs[nodeOf(t, g, name)] = []byte(json)
		}
	}
	return s
}

func evaluate(g *graph.Graph, what string, node int, s graph.View) string {
	var result any
	var err error
	switch what {
	case "when":
		result, err = g.When(node, s)
	case "input":
		var json []byte
		json, err = g.Input(node, s)
		result = string(json)
	case "until":
		var at int64
		at, err = g.Until(node, s)
		result = time.Unix(0, at).UTC().Format(time.RFC3339Nano)
	case "awaited":
		result, err = g.Awaited(node, s)
	case "barrier":
		var parties int
		result, parties, err = g.Barrier(node, s)
		result = fmt.Sprintf("%s for %d", result, parties)
	case "items":
		var list []byte
		var count int
		list, count, err = g.Items(node, s)
		result = fmt.Sprintf("%d of %s", count, list)
	case "again":
		result, err = g.Again(node, s)
	case "bodyoutput":
		if !g.HasBodyOutput(node) {
			return "no output"
		}
		var json []byte
		json, err = g.BodyOutput(node, s)
		result = string(json)
	case "locks":
		result, err = g.LocksOf(node, s)
	case "limits":
		result, err = g.LimitsOf(node, s)
	case "keys":
		var keys []graph.Key
		keys, err = g.Keys(node, s)
		result = fmt.Sprint(keys)
	case "fairness":
		var key string
		key, err = g.FairnessKey(node, s)
		result = fmt.Sprintf("%q of weight %d", key, g.Nodes[node].Weight)
	case "output":
		if !g.HasOutput() {
			return "no output"
		}
		var json []byte
		json, err = g.Output(s)
		result = string(json)
	}
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%+v", result)
}
