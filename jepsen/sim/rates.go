package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/lockstep-dev/lockstep/jepsen/model"
)

// theRates are limits that several workflows share. Who has one has it as all others do: one that differs is refused.
var theRates = []model.Rate{
	{Key: "r", Rest: 3, Limit: 2, Per: int64(time.Second)},
	{Key: "s", Limit: 5, Per: int64(2 * time.Second)},
	{Key: "t", Limit: 80, Per: int64(4 * time.Second)},
}

// drawRates has much of what workers do take slots of limits: of one, and at times of several.
func drawRates(d draws, steps []model.Step) {
	for at := range steps {
		s := &steps[at]
		if s.Body != nil {
			drawRates(d, s.Body.Steps)
		}
		for _, work := range []*model.Step{s, s.Undo} {
			if work == nil || work.Queue == "" || d.one(3) {
				continue
			}
			first := d.IntN(len(theRates))
			work.Rates = append(work.Rates, theRates[first])
			if d.one(4) {
				work.Rates = append(work.Rates, theRates[(first+1)%len(theRates)])
			}
		}
	}
}

func writeRates(b *strings.Builder, indent string, rates []model.Rate) {
	var list []string
	for _, r := range rates {
		key := r.Key
		if r.Rest > 0 {
			key = fmt.Sprintf("\"%s${input.n %% %d}\"", r.Key, r.Rest)
		}
		list = append(list, fmt.Sprintf("{key: %s, limit: %d, per: %dms}", key, r.Limit, r.Per/1e6))
	}
	if len(list) > 0 {
		fmt.Fprintf(b, "%slimits: [%s]\n", indent, strings.Join(list, ", "))
	}
}
