package fsm

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// scenario tells a story to machines over each engine: to one that lives through it, one that is opened again where the
// story says midway, and one that is restored from a snapshot there.
func scenario(t *testing.T, story func(*rig)) {
	t.Helper()
	for name, engine := range map[string]func() table.Engine{
		"memory": func() table.Engine { return table.NewMemory() },
		"pebble": func() table.Engine {
			engine, err := table.OpenPebble("db", table.Options{FS: vfs.NewMem(), CacheBytes: 1 << 20, MemtableBytes: 1 << 20})
			must(err)
			return engine
		},
	} {
		for how, again := range map[string]func(*rig){
			"whole": func(*rig) {},
			"opened again": func(r *rig) {
				must(r.m.Flush())
				m, err := Open(r.engine)
				must(err)
				r.m = m
			},
			"restored": func(r *rig) { r.m, r.engine = restored(r.t, r.m) },
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				m, err := Open(engine())
				must(err)
				defer m.Close()
				r := &rig{t: t, m: m, engine: m.engine, again: again}
				r.apply(&logv1.Entry{})
				story(r)
				if how == "whole" { // the others have not all instances in memory
					if err := check(r.m); err != nil {
						t.Error(err)
					}
				}
				r.midway()
			})
		}
	}
}

// midway is where a machine may be another one that has the same state: nobody may tell.
func (r *rig) midway() {
	r.t.Helper()
	was, limit, most, looked := dump(r.m), r.m.workMost, r.m.bulkMost, r.m.bulkLooked
	r.again(r)
	r.m.LimitWork(limit)
	r.m.LimitBulk(most, looked)
	if dump(r.m) != was {
		r.t.Fatalf("midway it is\n%s\nand was\n%s", dump(r.m), was)
	}
}

// kinds are the types of an entry's events, shortened.
func kinds(r Result) (out []string) {
	for _, e := range r.Events() {
		kind := e.Type[len("lockstep.") : len(e.Type)-len(".v1")]
		if e.Data.Step != "" {
			kind += " " + e.Data.Step
		}
		out = append(out, kind)
	}
	return out
}

// tell applies one command, and returns what the entry did.
func (r *rig) tell(c *logv1.Command) Result {
	r.t.Helper()
	if c.Envelope == nil {
		c.Envelope = &logv1.Envelope{}
	}
	return r.apply(&logv1.Entry{Commands: []*logv1.Command{c}})
}

// state is that of an instance, with its code, and of each of its steps.
func (r *rig) state(id string) string {
	r.t.Helper()
	i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: id})
	if err != nil {
		r.t.Fatal(err)
	}
	out := stateName(i.State)
	if i.Code != "" {
		out += "(" + i.Code + ")"
	}
	for _, run := range i.Runs {
		out += " " + run.Step + "=" + runStateName(run.State)
	}
	return out
}

func (r *rig) is(id, want string) {
	r.t.Helper()
	if got := r.state(id); got != want {
		r.t.Fatalf("instance %s is %s; want %s", id, got, want)
	}
}

// why is what Explain says of a step.
func (r *rig) why(id, step string) *v1.Explanation {
	r.t.Helper()
	reply, err := r.m.Explain(&v1.ExplainRequest{InstanceId: id, Step: step})
	if err != nil || len(reply.Explanations) != 1 {
		r.t.Fatalf("explained as %v, %v", reply, err)
	}
	return reply.Explanations[0]
}

// hears waits for a signal.
const hears = "workflow: w\nsteps:\n  a: {signal: {name: go}}\n"

func startOf(workflow, id, input string) *logv1.Command {
	return &logv1.Command{Body: &logv1.Command_StartInstance{StartInstance: &v1.StartInstanceRequest{
		InstanceId: id, Workflow: workflow, InputPayload: &v1.Payload{Bytes: []byte(input)},
	}}}
}

func signalOf(id, name string) *logv1.Command {
	return &logv1.Command{Body: &logv1.Command_SendSignal{SendSignal: &v1.SendSignalRequest{InstanceId: id, Name: name, SignalId: name}}}
}
