package fsm

import (
	"testing"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A read tells of each run whose body it is in; of very many, those that are over are left out, and that is said.
func TestAReadTellsWhatRunsAreInsideOf(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: w
steps:
  b: {forEach: {in: "${input.l}", steps: {c: {loop: {max: 900, steps: {d: {when: "index == 899", queue: q}}}}}}}
`)
		worker := r.session(600 * second)
		r.start("w", "few", `{"l":[1]}`)
		r.start("w", "many", `{"l":[1,2,3]}`)
		read := func(id string) *v1.Instance {
			i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: id})
			if err != nil {
				r.t.Fatal(err)
			}
			return i
		}
		few := read("few")
		last := few.Runs[len(few.Runs)-1]
		if few.RunsOmitted || len(few.Runs) != 902 || last.Step != "d" || last.Inside != "c" || last.InsideIndex != 0 || last.Place != 899 || few.Runs[1].Inside != "b" {
			r.t.Fatalf("%d runs, the last is %v", len(few.Runs), last)
		}
		for range 2 {
			for _, run := range r.poll(worker, "q", 9) {
				r.done(run, `{}`)
			}
		}
		r.midway()
		if many := read("many"); !many.RunsOmitted || len(many.Runs) != 3 {
			r.t.Fatalf("%d runs of many", len(many.Runs))
		}
	})
}
