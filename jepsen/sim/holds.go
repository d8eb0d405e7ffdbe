package sim

import (
	"fmt"

	"github.com/lockstep-dev/lockstep/jepsen/model"
)

// drawHolds has steps need locks that are held for longer, out of so many, and some for the step alone; compensations too.
func drawHolds(d draws, steps []model.Step, names int) {
	draw := func(hold bool) model.Want {
		w := model.Want{Lock: fmt.Sprint("h", d.IntN(names)), Shared: d.one(3), Take: 1}
		if hold {
			w.Hold = d.IntN(model.HoldInstance + 1)
		}
		return w
	}
	for at := range steps {
		s := &steps[at]
		if s.Body != nil {
			drawHolds(d, s.Body.Steps, names)
		}
		if s.Queue != "" && d.one(2) {
			s.Locks = append(s.Locks, draw(true))
			if d.one(4) {
				s.LockTimeout = ms(d, 100, 3000)
			}
			if d.one(4) {
				s.NonRetryable = append(s.NonRetryable, "DEADLOCK")
			}
		}
		if s.Undo != nil && d.one(6) {
			s.Undo.Locks = append(s.Undo.Locks, draw(false))
		}
	}
}
