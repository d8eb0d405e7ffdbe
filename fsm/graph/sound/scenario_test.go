package sound

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/lockstep-dev/lockstep/fsm/graph/source"
)

// The files in testdata/scenario are definitions in YAML, and what is found.
func TestScenario(t *testing.T) {
	datadriven.Walk(t, "testdata/scenario", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return say(Check(parse(t, "workflow: w\n"+d.Input).Checked))
		})
	})
}

func parse(t testing.TB, yaml string) *source.Definition {
	t.Helper()
	d, err := source.Parse([]byte(yaml), "yaml")
	if err != nil {
		t.Fatalf("%v\n%s", err, yaml)
	}
	return d
}

func say(r *Report) string {
	var b strings.Builder
	fmt.Fprintln(&b, [...]string{"sound", "unsound", "not checked"}[r.Verdict])
	if r.Verdict == NotChecked {
		fmt.Fprintf(&b, "gave up at %s (%s)\n", r.Step, r.Path)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s %s: %s\n", f.Code, f.Step, f.Sentence)
		for _, line := range f.Witness {
			fmt.Fprintf(&b, "  when %s\n", line)
		}
	}
	return b.String()
}
