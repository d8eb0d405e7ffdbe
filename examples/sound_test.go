package examples

import (
	"testing"

	"github.com/lockstep-dev/lockstep/fsm/graph/sound"
	"github.com/lockstep-dev/lockstep/fsm/graph/source"
)

// Nothing is found wrong with what people copy.
func TestExamplesAreSound(t *testing.T) {
	for _, name := range Names() {
		text, err := Definition(name)
		if err != nil {
			t.Fatal(err)
		}
		d, err := source.Parse(text, "yaml")
		if err != nil {
			t.Fatal(err)
		}
		if r := sound.Check(d.Checked); r.Verdict != sound.Sound {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
