package sim

import (
	"fmt"
	"strings"

	"github.com/lockstep-dev/lockstep/jepsen/model"
)

// drawByKey draws a wait by one of the keys that instances share: those that they are started with, or that a step gives.
func drawByKey(d draws) *model.Await {
	a := &model.Await{Key: "group", Before: "g", Add: int64(d.IntN(5)), Of: d.IntN(4)}
	if d.one(2) {
		a.Key, a.Before, a.Add = "made", "s", int64(d.IntN(2))
	}
	if d.one(2) {
		a.Step = pick(d, []string{"s0", "s0", "s1", "b", "c0", "z", "nothing"})
	}
	return a
}

// drawGiven has some of what workers do give its instance a key: of a few that instances share, which this one may have otherwise.
func drawGiven(d draws, steps []model.Step) {
	for at := range steps {
		if s := &steps[at]; s.Body != nil {
			drawGiven(d, s.Body.Steps)
		} else if s.Queue != "" && d.one(3) {
			if d.one(3) {
				s.Keys = append(s.Keys, model.Given{Name: "group", Before: "g"})
			}
			s.Keys = append(s.Keys, model.Given{Name: "made", Before: "s"})
		}
	}
}

// writeByKey writes by which key a step waits, and for how many.
func writeByKey(b *strings.Builder, indent string, a *model.Await) {
	fmt.Fprintf(b, "%sawait: {key: {%s: \"%s${input.n + %d}\"}", indent, a.Key, a.Before, a.Add)
	if a.Step != "" {
		fmt.Fprintf(b, ", step: %s", a.Step)
	}
	switch {
	case a.Of == 0:
		b.WriteString(", of: all")
	case a.Of > 1:
		fmt.Fprintf(b, ", of: {atLeast: %d}", a.Of)
	}
	b.WriteString("}\n")
}

// writeGiven writes which keys a step gives its instance.
func writeGiven(b *strings.Builder, indent string, keys []model.Given) {
	if len(keys) == 0 {
		return
	}
	var list []string
	for _, k := range keys {
		list = append(list, fmt.Sprintf("%s: \"%s${output}\"", k.Name, k.Before))
	}
	fmt.Fprintf(b, "%skeys: {%s}\n", indent, strings.Join(list, ", "))
}
