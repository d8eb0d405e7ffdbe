package sim

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// forker forks instances from steps that somebody has heard of, while they run and when they have ended; now and then twice, or under an
// id that is taken.
type forker struct {
	s     *starter
	pace  time.Duration
	forks int
}

func (w *world) forker(d draws) {
	f := &forker{s: &starter{c: w.client("forker", d)}, pace: d.between(50*time.Millisecond, 500*time.Millisecond)}
	f.next()
}

func (f *forker) next() {
	w, d := f.s.c.w, f.s.c.draws
	w.by(f.s.c.process, d.between(0, 2*f.pace), func() {
		if w.stopping {
			return
		}
		if run, known := late(d, w.crew.runs); known {
			f.fork(run)
		}
		f.next()
	})
}

func (f *forker) fork(run heard) {
	d := f.s.c.draws
	f.forks++
	r := &v1.ForkInstanceRequest{InstanceId: run.instance, FromStep: run.step, NewInstanceId: fmt.Sprint("fork-", f.forks), Version: f.s.version()}
	switch {
	case d.one(4):
		r.FromStep = pick(d, []string{"s0", "s1", "s2", "s3", "s4", "s5", "r0", "behind"})
	case d.one(10):
		r.NewInstanceId = fmt.Sprint("fork-", 1+d.IntN(f.forks))
	case d.one(20):
		r.NewInstanceId = run.instance
	}
	r.Keys = f.s.keys(r.NewInstanceId)
	call := func(behind func(*response)) {
		f.s.c.call(&request{commands: one(forkCommand(r))}, options{kind: "fork"}, behind)
	}
	call(func(res *response) {
		if !res.ok() || res.outcomes[0].Refusal != nil {
			return
		}
		f.talk(r.NewInstanceId)
		if d.one(6) {
			call(func(*response) {})
		}
	})
}

// talk sends a fork what it waits for.
func (f *forker) talk(id string) {
	r := &request{read: func(m *fsm.Machine) (proto.Message, error) {
		return m.GetInstance(&v1.GetInstanceRequest{InstanceId: id})
	}}
	f.s.c.call(r, options{kind: "read"}, func(res *response) {
		i, is := res.value.(*v1.Instance)
		for _, flow := range f.s.c.w.workflows {
			if is && i != nil && flow.Name == i.Workflow {
				f.s.talk(id, flow, 2)
			}
		}
	})
}

func forkCommand(r *v1.ForkInstanceRequest) *logv1.Command {
	return &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_ForkInstance{ForkInstance: r}}
}
