package sim

import (
	"fmt"
	"strings"

	"github.com/lockstep-dev/lockstep/jepsen/model"
)

// drawFairness has most of what workers do take turns by key: a few keys that several workflows share, by what an instance was
// started with, and weights of each kind.
func drawFairness(d draws, steps []model.Step) {
	for at := range steps {
		s := &steps[at]
		if s.Body != nil {
			drawFairness(d, s.Body.Steps)
		}
		for _, work := range []*model.Step{s, s.Undo} {
			if work == nil || work.Queue == "" || d.one(4) {
				continue
			}
			work.Fairness = &model.Fairness{Key: pick(d, []string{"k", "k", "m"}), Rest: int64(d.IntN(4)), Weight: pick(d, []int64{1, 1, 2, 3, 7, 1000})}
		}
	}
}

func writeFairness(b *strings.Builder, indent string, f *model.Fairness) {
	switch {
	case f == nil:
	case f.Rest == 0:
		fmt.Fprintf(b, "%sfairness: {key: %s, weight: %d}\n", indent, f.Key, f.Weight)
	default:
		fmt.Fprintf(b, "%sfairness: {key: \"%s${input.n %% %d}\", weight: %d}\n", indent, f.Key, f.Rest, f.Weight)
	}
}
