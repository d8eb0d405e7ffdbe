package source_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/lockstep-dev/lockstep/fsm/graph/source"
)

// FuzzParse: every source is refused with a place inside it, or has one canonical form, which is a source of
// itself and compiles.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"workflow: w\nsteps: {a: }\n",
		"workflow: w\nsteps:\n  a: &x {queue: q, input: [1, 1.5, \"${input.x}\"]}\n  b: {<<: *x, needs: [a], when: steps.a.output.ok}\n",
		"workflow: w\nsteps:\n  a:\n    input: |\n      ${input.y}\n      x\n    locks: [l, {name: \"m\", limit: 2}]\n    timeouts: {run: 1h30m}\noutput: ~\n",
		`{"workflow": "w", "steps": [{"id": "a", "signal": {"name": "s"}}]}`,
		"- a\n- {b: [c, *d]}\n? e\n: f\n",
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, src []byte, yaml bool) {
		format := "json"
		if yaml {
			format = "yaml"
		}
		d, err := source.Parse(src, format)
		if err == nil {
			checkCanonical(t, d)
			return
		}
		var all source.Errors
		if !errors.As(err, &all) || len(all) == 0 || len(all) > 10 {
			t.Fatalf("%T with %d errors: %v", err, len(all), err)
		}
		lines := bytes.Count(src, []byte("\n")) + bytes.Count(src, []byte("\r")) + 1
		for _, one := range all {
			if one.Line < 1 || one.Line > lines || one.Column < 1 || one.Column > len(src)+2 || one.Message == "" {
				t.Fatalf("%d:%d is no place in %q: %s", one.Line, one.Column, src, one.Message)
			}
		}
	})
}
