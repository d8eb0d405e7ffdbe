package source_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/fsm/graph/source"
)

// The files in testdata/parse are sources with what Parse makes of them: the canonical form with a step a line, or the
// errors.
func TestParse(t *testing.T) {
	datadriven.Walk(t, "testdata/parse", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			definition, err := source.Parse([]byte(d.Input), d.Cmd)
			if err != nil {
				return refusal(t, err)
			}
			checkCanonical(t, definition)
			return strings.ReplaceAll(string(definition.Canonical), `{"id":`, "\n{\"id\":")
		})
	})
}

func refusal(t *testing.T, err error) string {
	var all source.Errors
	if !errors.As(err, &all) {
		return err.Error()
	}
	var out strings.Builder
	for _, one := range all {
		out.WriteString(one.Error())
		if one.Unsupported {
			out.WriteString(" [unsupported]")
		}
		out.WriteString("\n")
	}
	var first *source.Error
	if !errors.As(err, &first) || first != all[0] {
		t.Errorf("errors.As does not find the first error")
	}
	return out.String()
}

// checkCanonical holds for every definition: its canonical form is a source of the same definition, and
// compiles to a graph of the same digest.
func checkCanonical(t *testing.T, d *source.Definition) {
	t.Helper()
	again, err := source.Parse(d.Canonical, "json")
	if err != nil {
		t.Fatalf("the canonical form is refused: %v\n%s", err, d.Canonical)
	}
	if !bytes.Equal(again.Canonical, d.Canonical) || again.Digest != d.Digest {
		t.Fatalf("the canonical form changes:\n%s\n%s", d.Canonical, again.Canonical)
	}
	if !json.Valid(d.Canonical) {
		t.Fatalf("the canonical form is not JSON: %s", d.Canonical)
	}
	g, err := graph.Compile(d.Canonical)
	if err != nil {
		t.Fatalf("the canonical form does not compile: %v\n%s", err, d.Canonical)
	}
	if g.Digest != d.Digest || g.Name != d.Name || g.Steps() != d.Steps {
		t.Fatalf("graph %s %s with %d nodes, definition %s %s with %d", g.Name, g.Digest, g.Steps(), d.Name, d.Digest, d.Steps)
	}
}

// A part of a definition is found by its path, in mappings and in lists; what is not spelled is where the nearest part around is.
func TestLinesOfADefinition(t *testing.T) {
	for text, want := range map[string]map[string]int{
		"workflow: w\nsteps:\n  a: {}\n  b:\n    needs: [a]\n    when: input.x\n": {"steps.a": 3, "steps.b": 4, "steps.b.when": 6, "steps.b.input": 4, "output": 1},
		"workflow: w\nsteps:\n- id: a\n- id: b\n  when: input.x\n":                {"steps.a": 3, "steps.b": 4, "steps.b.when": 5},
	} {
		d, err := source.Parse([]byte(text), "yaml")
		if err != nil {
			t.Fatal(err)
		}
		for path, line := range want {
			if got := d.Line(path); got != line {
				t.Errorf("%s is on line %d; want %d of\n%s", path, got, line, text)
			}
		}
	}
}
