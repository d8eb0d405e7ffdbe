package graph_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/lockstep-dev/lockstep/fsm/graph"
)

func code(err error) string {
	var e *graph.EvalError
	if errors.As(err, &e) {
		return e.Code
	}
	return fmt.Sprint(err)
}

func jsonString(n int) []byte { return []byte(`"` + strings.Repeat("x", n-2) + `"`) }

// A computed payload is refused above 256 KiB, before it is built whole.
func TestResultLimit(t *testing.T) {
	const limit = 256 << 10
	whole := define(t, `{"workflow":"w","steps":{"a":{"input":"${input}"}}}`)
	if out, err := whole.Input(0, graph.View{Input: graph.JSON(jsonString(limit))}); err != nil || len(out) != limit {
		t.Errorf("at the limit: %d bytes, %v", len(out), err)
	}
	if _, err := whole.Input(0, graph.View{Input: graph.JSON(jsonString(limit + 1))}); code(err) != graph.TooLarge {
		t.Errorf("above the limit: %v", err)
	}
	list := strings.TrimSuffix(strings.Repeat(`"${input}",`, 10_000), ",")
	many := define(t, `{"workflow":"w","steps":{"a":{"input":[`+list+`]},"b":{"input":"`+strings.Repeat("${input}", 10_000)+`"}}}`)
	for node := range 2 {
		if _, err := many.Input(node, graph.View{Input: graph.JSON(jsonString(limit))}); code(err) != graph.TooLarge {
			t.Errorf("10,000 times the largest payload: %v", err)
		}
	}
}

// All expressions of one evaluation share one budget.
func TestCostLimit(t *testing.T) {
	input := []byte("[" + strings.TrimSuffix(strings.Repeat("1,", 1000), ",") + "]")
	for _, c := range []struct {
		times int
		want  string
	}{{19, "<nil>"}, {20, graph.CostLimit}} {
		list := strings.TrimSuffix(strings.Repeat(`"${input.all(x, x >= 0)}",`, c.times), ",")
		g := define(t, `{"workflow":"w","steps":{"a":{"input":[`+list+`]}}}`)
		if _, err := g.Input(0, graph.View{Input: graph.JSON(input)}); code(err) != c.want {
			t.Errorf("%d times: %v, want %s", c.times, err, c.want)
		}
	}
}

func TestLockNameLimit(t *testing.T) {
	g := define(t, `{"workflow":"w","steps":{"a":{"locks":["l/${input}"]}}}`)
	if locks, err := g.LocksOf(0, graph.View{Input: graph.JSON(jsonString(256))}); err != nil || len(locks[0].Name) != 256 {
		t.Errorf("at the limit: %v", err)
	}
	if _, err := g.LocksOf(0, graph.View{Input: graph.JSON(jsonString(257))}); code(err) != graph.LockInvalid {
		t.Errorf("above the limit: %v", err)
	}
}

// Payloads nest at most 1,000 deep.
func TestDepthLimit(t *testing.T) {
	g := define(t, `{"workflow":"w","steps":{"a":{"input":"${input}"}}}`)
	for _, c := range []struct {
		depth int
		want  string
	}{{1000, "<nil>"}, {1001, graph.DataInvalid}, {100_000, graph.DataInvalid}} {
		input := strings.Repeat("[", c.depth) + strings.Repeat("]", c.depth)
		if _, err := g.Input(0, graph.View{Input: graph.JSON([]byte(input))}); code(err) != c.want {
			t.Errorf("%d deep: %v, want %s", c.depth, err, c.want)
		}
	}
}

// Only the canonical spelling compiles.
func TestCompileRefuses(t *testing.T) {
	good := `{"workflow":"w","steps":[{"id":"a"},{"id":"b","needs":["a"]}]}`
	if _, err := graph.Compile([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"", "null", "{}", good + " ", strings.Replace(good, ":", ": ", 1),
		`{"steps":[{"id":"a"}],"workflow":"w"}`,
		`{"workflow":"w","version":1,"steps":[{"id":"a"}]}`,
		`{"workflow":"w","steps":{"a":{}}}`,
		`{"workflow":"w","steps":[{"id":"a","queue":"default"}]}`,
		`{"workflow":"w","steps":[{"id":"a","needs":["b"]}]}`,
		`{"workflow":"w","steps":[{"id":"a","needs":["b"]},{"id":"b","needs":["a"]}]}`,
		`{"workflow":"w","steps":[{"id":"a"},{"id":"a"}]}`,
		`{"workflow":"w","steps":[{"id":"a","call":{}}]}`,
		`{"workflow":"w","steps":[{"id":"a","input":"${x"}]}`,
		`{"workflow":"w","steps":[{"id":"a","when":" input.x "}]}`,
		`{"workflow":"w","steps":[{"id":"a","timeouts":{"run":"60s"}}]}`,
		`{"workflow":"w","steps":[{"id":"a","input":1.0}]}`,
		`{"workflow":"w","steps":[{"id":"a","input":"` + strings.Repeat("x", 512<<10) + `"}]}`,
	} {
		if _, err := graph.Compile([]byte(bad)); err == nil {
			t.Errorf("compiled %.80s", bad)
		}
	}
}

// Expressions that Check would refuse fail in evaluation with a code, the same in any order of evaluation.
func TestUncheckedExpressions(t *testing.T) {
	definition := []byte(`{"workflow":"w","steps":[{"id":"a","when":"1 + 1","input":"${1 + 1}"},{"id":"b","when":"((","input":"${steps.nowhere.output}"}]}`)
	for _, whenFirst := range []bool{true, false} {
		g, err := graph.Compile(definition)
		if err != nil {
			t.Fatal(err)
		}
		if !whenFirst {
			if out, err := g.Input(0, graph.View{}); err != nil || string(out) != "2" {
				t.Errorf("input %s, %v", out, err)
			}
		}
		if _, err := g.When(0, graph.View{}); code(err) != graph.TypeMismatch {
			t.Errorf("condition that is a number, when first %v: %v", whenFirst, err)
		}
		if _, err := g.When(1, graph.View{}); code(err) != graph.ExpressionInvalid {
			t.Errorf("condition that does not parse: %v", err)
		}
		if _, err := g.Input(1, graph.View{}); code(err) != graph.MissingField {
			t.Errorf("unknown step: %v", err)
		}
	}
}

// A graph may be evaluated from many goroutines, also while it compiles its expressions.
func TestConcurrentEvaluation(t *testing.T) {
	g := define(t, `{"workflow":"w","inputSchema":{"type":"object"},"steps":{"a":{"when":"input.n > 0","input":"${input.n + 1}","locks":["l${input.n}"]}}}`)
	var group sync.WaitGroup
	for n := 1; n <= 8; n++ {
		group.Go(func() {
			s := graph.View{Input: graph.JSON(fmt.Appendf(nil, `{"n":%d}`, n))}
			runs, err := g.When(0, s)
			input, err2 := g.Input(0, s)
			locks, err3 := g.LocksOf(0, s)
			if err := errors.Join(err, err2, err3, g.CheckInput(s.Input.Bytes())); err != nil {
				t.Error(err)
				return
			}
			if !runs || string(input) != fmt.Sprint(n+1) || locks[0].Name != fmt.Sprintf("l%d", n) {
				t.Errorf("%d: %v %s %v", n, runs, input, locks)
			}
		})
	}
	group.Wait()
}
