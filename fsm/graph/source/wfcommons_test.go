package source_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/fsm/graph/source"
)

// executions finds the recorded executions beside the module, or beside one of the folders above it.
func executions(t *testing.T) []string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if files, _ := filepath.Glob(filepath.Join(dir, "shared/data/wfcommons/*.json")); len(files) > 0 {
			return files
		}
	}
	t.Skip("../shared/data/wfcommons is absent")
	return nil
}

// Every recorded execution becomes a workflow with the same tasks and dependencies, and its critical path takes as
// long as asked for.
func TestWfCommons(t *testing.T) {
	for _, file := range executions(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			yaml, err := source.WfCommons(raw, source.WfCommonsOptions{Queue: "replay", CriticalPath: 5})
			if err != nil {
				t.Fatal(err)
			}
			d, err := source.Parse(yaml, "yaml")
			if err != nil {
				t.Fatal(err)
			}
			checkCanonical(t, d)
			g, err := graph.Compile(d.Canonical)
			if err != nil {
				t.Fatal(err)
			}
			checkExecution(t, raw, g)
		})
	}
}

// checkExecution reads the execution in a way of its own.
func checkExecution(t *testing.T, raw []byte, g *graph.Graph) {
	var file map[string]any
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	parts := file["workflow"].(map[string]any)
	tasks := parts["specification"].(map[string]any)["tasks"].([]any)
	runtimes := map[any]float64{}
	for _, run := range parts["execution"].(map[string]any)["tasks"].([]any) {
		runtimes[run.(map[string]any)["id"]], _ = run.(map[string]any)["runtimeInSeconds"].(float64)
	}
	if len(tasks) != len(g.Nodes) {
		t.Fatalf("%d tasks became %d steps", len(tasks), len(g.Nodes))
	}
	ends := make([]float64, len(g.Nodes))
	var order func(node int)
	order = func(node int) {
		if ends[node] > 0 {
			return
		}
		for _, need := range g.Nodes[node].Needs {
			order(need)
			ends[node] = max(ends[node], ends[need])
		}
		ends[node] += checkTask(t, tasks[node].(map[string]any), runtimes[g.Nodes[node].ID], g, node)
	}
	for node := range g.Nodes {
		order(node)
	}
	if longest := slices.Max(ends); longest < 4.99 || longest > 5.01 {
		t.Errorf("the critical path takes %v s, not 5", longest)
	}
}

func checkTask(t *testing.T, task map[string]any, runtime float64, g *graph.Graph, node int) (seconds float64) {
	n := g.Nodes[node]
	var needs []string
	for _, need := range n.Needs {
		needs = append(needs, g.Nodes[need].ID)
	}
	var parents []string
	for _, p := range task["parents"].([]any) {
		parents = append(parents, p.(string))
	}
	slices.Sort(needs)
	slices.Sort(parents)
	if n.ID != task["id"] || n.Queue != "replay" || !slices.Equal(needs, parents) {
		t.Errorf("task %v with parents %v became %s on %s with %v", task["id"], parents, n.ID, n.Queue, needs)
	}
	input, err := g.Input(node, graph.View{})
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		ID                          string
		RuntimeSeconds, WaitSeconds float64
		Parents, Reads, Outputs     []string
	}
	if err := json.Unmarshal(input, &got); err != nil {
		t.Fatal(err)
	}
	files, _ := task["outputFiles"].([]any)
	if got.ID != n.ID || len(got.Parents) != len(parents) || len(got.Outputs) != len(files) || got.RuntimeSeconds != runtime {
		t.Errorf("the input of %s is %s", n.ID, input)
	}
	for _, file := range got.Reads {
		if !slices.Contains(task["inputFiles"].([]any), any(file)) {
			t.Errorf("%s reads %s, which is no input of the task", n.ID, file)
		}
	}
	return got.WaitSeconds
}

func TestWfCommonsRefuses(t *testing.T) {
	for _, c := range []struct{ raw, want string }{
		{`{`, "read WfFormat"},
		{`{"schemaVersion":"1.4"}`, `schemaVersion is "1.4"`},
		{`{"schemaVersion":"1.5"}`, "no tasks"},
		{execution(`{"id":"a"},{"id":"a"}`), `two tasks "a"`},
		{execution(`{"id":"a","parents":["b"]}`), `unknown parent "b"`},
		{execution(`{"id":"a","children":["b"]}`), `unknown child "b"`},
		{execution(`{"id":"a","parents":["b"]},{"id":"b","parents":["a"]}`), "depends on itself"},
	} {
		if _, err := source.WfCommons([]byte(c.raw), source.WfCommonsOptions{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.raw, err, c.want)
		}
	}
}

func execution(tasks string) string {
	return `{"name":"w","schemaVersion":"1.5","workflow":{"specification":{"tasks":[` + tasks + `]},"execution":{"tasks":[]}}}`
}

// The collection is in 1.6 by now, which adds what nobody needs here, and ids may have these characters.
func TestWfCommonsOfEachVersion(t *testing.T) {
	for _, version := range []string{"1.5", "1.6"} {
		raw := strings.Replace(execution(`{"id":"a/b#1:x.y-z_0"},{"id":"9","parents":["a/b#1:x.y-z_0"]}`), "1.5", version, 1)
		text, err := source.WfCommons([]byte(raw), source.WfCommonsOptions{Name: "w"})
		if err != nil {
			t.Fatal(err)
		}
		if d, err := source.Parse(text, "yaml"); err != nil || d.Steps != 2 {
			t.Fatalf("WfFormat %s: %v", version, err)
		}
	}
}

// Names that look like expressions stay names; a dependency counts if only the parent records it.
func TestWfCommonsLiterals(t *testing.T) {
	raw := execution(`{"id":"a_ID1","name":"a_ID1","children":["b\""],"outputFiles":["x ${y}"]},{"id":"b\"","name":"7","inputFiles":["x ${y}"]}`)
	yaml, err := source.WfCommons([]byte(raw), source.WfCommonsOptions{Name: "other"})
	if err != nil {
		t.Fatal(err)
	}
	d, err := source.Parse(yaml, "yaml")
	if err != nil {
		t.Fatalf("%v\n%s", err, yaml)
	}
	g, err := graph.Compile(d.Canonical)
	if err != nil {
		t.Fatal(err)
	}
	input, err := g.Input(1, graph.View{})
	want := `{"id":"b\"","outputs":[],"parents":["a_ID1"],"reads":["x ${y}"],"runtimeSeconds":0,"waitSeconds":0}`
	if err != nil || string(input) != want {
		t.Errorf("input %s, %v; want %s", input, err, want)
	}
	if g.Name != "other" || g.Nodes[0].Task != "a" || g.Nodes[1].Task != `b"` || !slices.Equal(g.Nodes[1].Needs, []int{0}) {
		t.Errorf("graph %+v", g.Nodes)
	}
}
