package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/lockstep-dev/lockstep/jepsen/model"
)

// drawWorkflows draws a few definitions: graphs with locks of each kind, retries and timeouts.
func drawWorkflows(d draws) []model.Workflow {
	var out []model.Workflow
	for i := range 2 + d.IntN(3) {
		f := model.Workflow{Name: fmt.Sprint("w", i)}
		for j := range 1 + d.IntN(5) {
			s := model.Step{
				Name: fmt.Sprint("s", j), Queue: pick(d, theQueues), Attempts: int32(3 + d.IntN(4)),
				Backoff: ms(d, 100, 1000), MaxBackoff: int64(2 * time.Second),
			}
			for need := range j {
				if d.one(2) {
					s.Needs = append(s.Needs, fmt.Sprint("s", need))
				}
			}
			if d.one(2) {
				s.RunTimeout = ms(d, 300, 3000)
			}
			if d.one(8) {
				s.Heartbeat = ms(d, 500, 3000)
			}
			s.Locks = drawLocks(d)
			f.Steps = append(f.Steps, s)
		}
		out = append(out, f)
	}
	return out
}

// ms draws whole milliseconds, for definitions say no less.
func ms(d draws, lo, hi int) int64 { return int64(lo+d.IntN(hi-lo)) * int64(time.Millisecond) }

// drawLocks draws what a step needs: of two exclusive locks, one that is also shared, and one with three places.
func drawLocks(d draws) []model.Want {
	var out []model.Want
	if !d.one(3) {
		return nil
	}
	for _, name := range []string{"x0", "x1"} {
		if d.one(3) {
			out = append(out, model.Want{Lock: name, Take: 1})
		}
	}
	if d.one(3) {
		out = append(out, model.Want{Lock: "s0", Shared: !d.one(4), Take: 1})
	}
	if d.one(3) {
		out = append(out, model.Want{Lock: "p0", Limit: 3, Take: int32(1 + d.IntN(2))})
	}
	return out
}

func yamlOf(f model.Workflow) string {
	var b strings.Builder
	fmt.Fprintf(&b, "workflow: %s\nsteps:\n", f.Name)
	for _, s := range f.Steps {
		fmt.Fprintf(&b, "  %s:\n    queue: %s\n", s.Name, s.Queue)
		if len(s.Needs) > 0 {
			fmt.Fprintf(&b, "    needs: [%s]\n", strings.Join(s.Needs, ", "))
		}
		fmt.Fprintf(&b, "    retry: {attempts: %d, backoff: %dms, maxBackoff: %dms}\n", s.Attempts, s.Backoff/1e6, s.MaxBackoff/1e6)
		var limits []string
		for _, t := range []struct {
			name string
			at   int64
		}{{"run", s.RunTimeout}, {"heartbeat", s.Heartbeat}} {
			if t.at > 0 {
				limits = append(limits, fmt.Sprintf("%s: %dms", t.name, t.at/1e6))
			}
		}
		if len(limits) > 0 {
			fmt.Fprintf(&b, "    timeouts: {%s}\n", strings.Join(limits, ", "))
		}
		if len(s.Locks) > 0 {
			b.WriteString("    locks:\n")
		}
		for _, l := range s.Locks {
			switch {
			case l.Limit > 0:
				fmt.Fprintf(&b, "      - {name: %s, limit: %d, take: %d}\n", l.Lock, l.Limit, l.Take)
			case l.Shared:
				fmt.Fprintf(&b, "      - {name: %s, shared: true}\n", l.Lock)
			default:
				fmt.Fprintf(&b, "      - %s\n", l.Lock)
			}
		}
	}
	return b.String()
}
