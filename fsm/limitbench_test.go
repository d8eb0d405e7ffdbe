package fsm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lockstep-dev/lockstep/fsm/graph/source"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// What a poll and a completion cost of a step that claims nothing, one lock of its own, a slot of a limit that all share, of one of a thousand, or
// of one of its own.
func BenchmarkClaim(b *testing.B) {
	for _, claims := range []struct{ name, text string }{
		{"nothing", ""},
		{"lock", `locks: ["l/${input.n}"]`},
		{"limit-of-all", `limits: [{key: all, limit: 1000000, per: 1s}]`},
		{"limit-of-1000", `limits: [{key: "k/${input.n % 1000}", limit: 50, per: 1s}]`},
		{"limit-of-its-own", `limits: [{key: "k/${input.n}", limit: 50, per: 1m}]`},
	} {
		b.Run(claims.name, func(b *testing.B) {
			eachEngine(b, func(r *bench) { r.claims(claims.text) })
		})
	}
}

func (r *bench) claims(text string) {
	d, err := source.Parse(fmt.Appendf(nil, "workflow: w\nsteps:\n  s: {queue: q, %s}\n", text), "yaml")
	must(err)
	r.one(&logv1.Command{Body: &logv1.Command_RegisterWorkflow{RegisterWorkflow: &logv1.RegisterWorkflow{Workflow: d.Name, Digest: d.Digest, Graph: d.Canonical}}})
	r.rounds(func() {
		starts := r.starts(r.round)
		for n, c := range starts {
			c.Body.(*logv1.Command_StartInstance).StartInstance.InputPayload = &v1.Payload{Bytes: fmt.Appendf(nil, `{"n":%d,"pad":"%s"}`, n, strings.Repeat("x", 230))}
		}
		r.all(starts, false)
		runs := leased(r.all(r.polls(r.round), true))
		if len(runs) != r.round {
			r.b.Fatalf("%d runs were leased of %d", len(runs), r.round)
		}
		r.all(r.completes(runs, nil), true)
		r.index += 2000 // two seconds later
	})
}
