package demo

import (
	"testing"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/fsm/graph/source"
)

// The reader of histories sees what is wrong with how an instance was undone.
func TestTheReaderSeesWhatIsNotUndone(t *testing.T) {
	d, err := source.Parse([]byte("workflow: w\nsteps:\n  a: {compensate: {}}\n  b: {needs: [a], compensate: {}}\n  c: {needs: [b]}\n"), "yaml")
	if err != nil {
		t.Fatal(err)
	}
	g, err := graph.Compile(d.Canonical)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name      string
		completed []string
		well      bool
	}{
		{"all is well", []string{"a", "b", "c", "b.compensate", "a.compensate"}, true},
		{"it stopped before", []string{"a", "a.compensate"}, true},
		{"not in order", []string{"a", "b", "a.compensate", "b.compensate"}, false},
		{"one is left out", []string{"a", "b", "b.compensate"}, false},
		{"one is undone twice", []string{"a", "b", "b.compensate", "b.compensate", "a.compensate"}, false},
		{"one was not done", []string{"a", "b.compensate", "a.compensate"}, false},
	} {
		if err := undone(g, x.completed); (err == nil) != x.well {
			t.Errorf("%s: %v", x.name, err)
		}
	}
}
