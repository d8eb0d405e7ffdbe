package graph

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"cel.dev/cel-go/common/types"
	"github.com/cockroachdb/datadriven"
)

// TestGolden fails if an upgrade of cel-go or of the schema library changes a result, a cost or a code: replicas that run
// two versions would then disagree. Never rewrite a line of an old corpus for an upgrade; a changed line is a new
// level of the cluster.
//
// Each case is an expression, optionally after a line -- the data it sees: `input JSON`, `STEP JSON`.
func TestGolden(t *testing.T) {
	datadriven.Walk(t, "testdata/golden", func(t *testing.T, path string) {
		var schema any
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "schema":
				schema = mustDecode(t, d.Input)
				if p := (&Graph{schemaSource: schema}).checkSchema(); p != nil {
					return p.String()
				}
				return "ok"
			case "check":
				return describeError((&Graph{schemaSource: schema}).CheckInput([]byte(d.Input)))
			case "eval":
				return golden(t, d.Input, schema, asValue)
			case "date":
				return golden(t, d.Input, schema, asDate)
			}
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		})
	})
}

func mustDecode(t *testing.T, s string) any {
	t.Helper()
	v, err := decodeValue([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func describeError(err error) string {
	var e *EvalError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &e):
		return e.Error()
	}
	return "not an EvalError: " + err.Error()
}

func golden(t *testing.T, text string, schema any, use use) string {
	expr, data, _ := strings.Cut(text, "\n--\n")
	g := &Graph{schemaSource: schema, programs: map[programKey]*program{}, byID: map[string]int{"a": 0, "b": 1, "c": 2}}
	l, err := newLanguage(schema)
	if err != nil {
		t.Fatal(err)
	}
	if _, problems := l.check(expr, use); len(problems) > 0 {
		return fmt.Sprintf("refused at %d: %s", problems[0].Offset, problems[0].Message)
	}
	view := goldenView(t, data)
	first := goldenOf(g, view, expr, use)
	read := fmt.Sprint(view.Input, view.Work.Decoded)
	if again := goldenOf(g, view, expr, use); again != first || fmt.Sprint(view.Input, view.Work.Decoded) != read {
		t.Errorf("%s: over data that were read before it is\n%s\nand was\n%s", expr, again, first)
	}
	return first
}

func goldenOf(g *Graph, view View, expr string, use use) string {
	v := g.evaluation(view)
	result, err := v.eval(&expression{text: expr, where: "here", use: use})
	if err != nil {
		return fmt.Sprintf("%s\ncost %d", describeError(err), v.cost)
	}
	if use == asDate {
		return fmt.Sprintf("%s %v\ncost %d", result.Type().TypeName(), result.ConvertToType(types.StringType).Value(), v.cost)
	}
	json, err := encodeValue(result, maxResult)
	if err != nil {
		json = []byte("(" + err.Error() + ")")
	}
	inText, code := appendText(nil, result)
	if code != "" {
		inText = []byte("(" + code + ")")
	}
	return fmt.Sprintf("%s %s\nin text %s\ncost %d", result.Type().TypeName(), json, inText, v.cost)
}

// goldenView knows the steps a, b and c.
func goldenView(t *testing.T, data string) View {
	outputs := map[int]*Data{}
	s := View{
		Index: 7, Work: &Work{},
		Output: func(node int) (*Data, bool) {
			output, ok := outputs[node]
			return output, ok
		},
		Failure: func(int) (code, reason string, failed bool) { return "", "", false },
	}
	for _, line := range strings.Split(strings.TrimSpace(data), "\n") {
		switch name, value, _ := strings.Cut(line, " "); name {
		case "":
		case "input":
			s.Input = JSON([]byte(value))
		case "a", "b", "c":
			outputs[int(name[0]-'a')] = JSON([]byte(value))
		default:
			t.Fatalf("unknown data %q", line)
		}
	}
	return s
}
