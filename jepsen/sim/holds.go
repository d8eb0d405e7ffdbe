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

// drawMore has the first step that a worker does hold a share of a lock for its instance, and the last one all of it: two instances that
// have a share wait for each other then.
func drawMore(steps []model.Step) {
	var tasks []*model.Step
	for at := range steps {
		if steps[at].Queue != "" {
			tasks = append(tasks, &steps[at])
		}
	}
	if len(tasks) < 2 {
		return
	}
	for n, s := range []*model.Step{tasks[0], tasks[len(tasks)-1]} {
		s.Locks = append(s.Locks, model.Want{Lock: "u0", Shared: n == 0, Take: 1, Hold: model.HoldInstance})
	}
}
