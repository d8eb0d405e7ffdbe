package sim

import (
	"fmt"
	"strings"

	"github.com/lockstep-dev/lockstep/jepsen/model"
)

// drawBarrier draws a barrier of a few, at which steps of any workflow meet, at times without agreeing on how many they are.
func drawBarrier(d draws) *model.Barrier {
	n := d.IntN(2)
	b := &model.Barrier{Name: fmt.Sprint("m", n), Own: d.one(4), Differs: d.one(6), Parties: 2 + n}
	if d.one(6) {
		b.Parties = 1 + d.IntN(3)
	}
	return b
}

// drawMeeting adds a barrier to steps, inside one of them or beside them, and a task that goes on behind it.
func drawMeeting(d draws, steps []model.Step) []model.Step {
	for at := range steps {
		if b := steps[at].Body; b != nil && d.one(2) {
			b.Steps = append(b.Steps, model.Step{Name: steps[at].Name + "m", Barrier: drawBarrier(d), Total: ms(d, 1000, 8000)})
		}
	}
	s := drawStep(d, steps, "m")
	s = model.Step{Name: "m", Needs: s.Needs, Failures: s.Failures, AtLeast: s.AtLeast, When: s.When, Barrier: drawBarrier(d), Total: ms(d, 1000, 8000)}
	behind := model.Step{Name: "n", Needs: []string{"m"}}
	if d.one(2) {
		behind.Failures = drawFailure(d, nil, "m")
	}
	drawWork(d, &behind)
	return append(steps, s, behind)
}

// writeBarrier writes where a step meets others.
func writeBarrier(b *strings.Builder, indent string, at *model.Barrier) {
	name, parties := at.Name, fmt.Sprint(at.Parties)
	if at.Own {
		name += "${input.n}"
	}
	if at.Differs {
		parties = fmt.Sprintf("\"${input.n %% 2 == 0 ? %d : %d}\"", at.Parties+1, at.Parties)
	}
	fmt.Fprintf(b, "%sbarrier: {name: \"%s\", parties: %s}\n", indent, name, parties)
}
