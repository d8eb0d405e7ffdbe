package graph_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/lockstep-dev/lockstep/fsm/graph"
)

// FuzzCompile: what compiles has one canonical form, and two graphs of it agree on every result, whatever the
// order in which they are asked.
func FuzzCompile(f *testing.F) {
	for _, seed := range []string{
		`{"workflow":"w","steps":[{"id":"a"}]}`,
		`{"workflow":"w","inputSchema":{"type":"object","properties":{"x":{"type":"number"}}},"steps":[{"id":"a","when":"input.x > 1","input":{"y":"${input.x / 2.0}"},"locks":[{"name":"l/${input.x}"}]},{"id":"b","needs":["a"],"join":"any","input":"${steps.a.output.map(x, x + 1)}"}],"output":"${steps.b.output} ${index}"}`,
		`{"workflow":"w","steps":[{"id":"a","signal":{"name":"s"},"timeouts":{"total":"1d"}}],"output":[1,"$${x}"]}`,
	} {
		f.Add([]byte(seed), []byte(`{"x":3,"y":[1,2]}`))
	}
	f.Fuzz(func(t *testing.T, definition, data []byte) {
		g, err := graph.Compile(definition)
		if err != nil {
			return
		}
		again, err := graph.Compile(definition)
		if err != nil || again.Digest != g.Digest || fmt.Sprint(again.Nodes) != fmt.Sprint(g.Nodes) {
			t.Fatalf("compiles differently: %v", err)
		}
		s := graph.View{
			Input: graph.JSON(data), Output: func(node int) (*graph.Data, bool) { return graph.JSON(data), node%2 == 0 },
			Failure: func(node int) (code, reason string, failed bool) { return "CODE", string(data), node%3 == 0 },
		}
		forward, backward := results(g, s, false), results(again, s, true)
		for i := range forward {
			if forward[i] != backward[len(backward)-1-i] {
				t.Fatalf("evaluates differently: %s, %s", forward[i], backward[len(backward)-1-i])
			}
		}
	})
}

func results(g *graph.Graph, s graph.View, backward bool) []string {
	var asks []func() string
	for node, n := range g.Nodes {
		asks = append(asks, func() string { return evaluate(g, "when", node, s) }, func() string { return evaluate(g, "locks", node, s) })
		if n.HasInput {
			asks = append(asks, func() string { return evaluate(g, "input", node, s) })
		}
	}
	asks = append(asks, func() string { return evaluate(g, "output", 0, s) }, func() string { return fmt.Sprint(g.CheckInput(s.Input.Bytes())) })
	out := make([]string, len(asks))
	for i := range asks {
		if backward {
			out[i] = asks[len(asks)-1-i]()
		} else {
			out[i] = asks[i]()
		}
	}
	return out
}

// FuzzPayload: a payload passes through an expression unchanged in meaning, and what encoding/json refuses is
// refused.
func FuzzPayload(f *testing.F) {
	for _, seed := range []string{
		`null`, `[]`, `{"a":[1,-2.5e3,"x\u00e9\ud83d\ude00\n",true,null],"":{}}`, `1e400`, `"\ud800"`, `01`, `[1,]`, `{"a":1,"a":2}`, `-0`, `"` + "\xff" + `"`,
	} {
		f.Add([]byte(seed))
	}
	g := func(t *testing.T) *graph.Graph {
		return define(t, `{"workflow":"w","steps":{"a":{"input":"${input}"}}}`)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		out, err := g(t).Input(0, graph.View{Input: graph.JSON(payload)})
		if checked := g(t).CheckInput(payload); checked != nil && err == nil || checked == nil && err != nil && strings.Contains(err.Error(), graph.DataInvalid) {
			t.Fatalf("%q is checked with %v, and read with %v", payload, checked, err)
		}
		if err != nil {
			if json.Valid(payload) && utf8.Valid(payload) && !tolerable(payload, err) {
				t.Fatalf("refused %q: %v", payload, err)
			}
			return
		}
		if len(payload) > 0 && !json.Valid(payload) {
			t.Fatalf("took %q for %s", payload, out)
		}
		once, err := g(t).Input(0, graph.View{Input: graph.JSON(out)})
		if err != nil || !bytes.Equal(once, out) {
			t.Fatalf("%q is %s, then %s, %v", payload, out, once, err)
		}
		var want, got any
		if json.Unmarshal(payload, &want) == nil && json.Unmarshal(out, &got) == nil && fmt.Sprint(unsigned(want)) != fmt.Sprint(unsigned(got)) {
			t.Fatalf("%q became %s", payload, out)
		}
	})
}

// unsigned is the value without negative zeros.
func unsigned(v any) any {
	switch v := v.(type) {
	case float64:
		return v + 0
	case []any:
		for i := range v {
			v[i] = unsigned(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = unsigned(v[key])
		}
	}
	return v
}

// tolerable refusals of valid JSON are those of the limits.
func tolerable(payload []byte, err error) bool {
	var v any
	if code(err) == graph.TooLarge || json.Unmarshal(payload, &v) != nil { // a number out of range
		return true
	}
	return bytes.Count(payload, []byte("["))+bytes.Count(payload, []byte("{")) > 1000
}
