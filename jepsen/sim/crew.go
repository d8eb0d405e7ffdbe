package sim

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/fsm/graph/source"
	"github.com/lockstep-dev/lockstep/jepsen/model"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

var theQueues = []string{"q0", "q1", "q2"}

// crew are all who work.
type crew struct {
	pace     pace
	workers  []*worker
	starters []*starter
	watchers []*watcher
	planner  *planner // nil: nobody makes schedules
	heal     []func()
	// What was heard of: leases of runs, and of locks.
	runs   []heard
	locks  []heldLock
	queued []string // starts that waited for their id
}

// pace is how busy everybody is. In hot seeds most of what happens is work that is done; in cold ones everything waits,
// and there is time for what outlasts leases.
type pace struct {
	hot     bool
	workers int
	start   time.Duration // between two starts
	open    int           // instances of a starter that have not ended
	took    time.Duration // the most that most runs take
	room    int           // the most runs that a worker does at a time
	look    time.Duration // between two looks of a starter at what it started
}

func paces(d draws) pace {
	if d.one(3) {
		return pace{workers: 1 + d.IntN(5), start: d.between(5*time.Millisecond, 60*time.Millisecond), open: 8, took: 120 * time.Millisecond, room: pick(d, []int{1, 2, 8}), look: time.Second}
	}
	return pace{
		hot: true, workers: 3 + d.IntN(5), start: d.between(time.Millisecond, 8*time.Millisecond), open: 10 + d.IntN(90),
		took: d.between(2*time.Millisecond, 20*time.Millisecond), room: 16, look: 8 * time.Second,
	}
}

// hire has the workflows registered, and everybody begin.
func (w *world) hire() {
	d := newDraws(w.config.Seed, "crew")
	var clocks []time.Duration
	for _, n := range w.nodes {
		clocks = append(clocks, n.wall)
	}
	w.workflows = drawWorkflows(newDraws(w.config.Seed, "workflows"), clocks, w.deepest())
	w.history.model.Know(w.workflows)
	w.crew.pace = paces(d)
	for i := range w.crew.pace.workers {
		w.crew.workers = append(w.crew.workers, w.worker(fmt.Sprint("worker", i), newDraws(w.config.Seed, fmt.Sprint("worker", i))))
	}
	w.sleepers(d.IntN(12))
	for i := range d.IntN(4) {
		w.locker(fmt.Sprint("locker", i), newDraws(w.config.Seed, fmt.Sprint("locker", i)))
	}
	for i := range d.IntN(3) {
		w.meddler(fmt.Sprint("meddler", i), newDraws(w.config.Seed, fmt.Sprint("meddler", i)))
	}
	w.operator(newDraws(w.config.Seed, "operator"))
	if drains := newDraws(w.config.Seed, "drainer"); drains.one(2) {
		w.drainer(drains)
	}
	if forks := newDraws(w.config.Seed, "forker"); forks.one(2) {
		w.forker(forks)
	}
	if resets := newDraws(w.config.Seed, "resetter"); resets.one(2) {
		w.resetter(resets)
	}
	if keeps := newDraws(w.config.Seed, "keeper"); keeps.one(2) {
		w.keeper(keeps)
	}
	if steers := newDraws(w.config.Seed, "steerer"); steers.one(2) {
		w.steerer(steers)
	}
	if bulks := newDraws(w.config.Seed, "bulker"); bulks.one(2) {
		w.bulker(bulks)
	}
	if reports := newDraws(w.config.Seed, "reporter"); reports.one(2) {
		w.reporter(reports)
	}
	if sweeps := newDraws(w.config.Seed, "sweepers"); sweeps.one(2) {
		for i := range 2 {
			w.sweeper(fmt.Sprint("sweeper", i), newDraws(w.config.Seed, fmt.Sprint("sweeper", i)))
		}
	}
	if plans := newDraws(w.config.Seed, "planner"); plans.one(2) {
		w.crew.planner = w.planner(plans)
	}
	for i := range 1 + d.IntN(2) {
		w.crew.watchers = append(w.crew.watchers, w.watcher(fmt.Sprint("watcher", i), newDraws(w.config.Seed, fmt.Sprint("watcher", i))))
	}
	for i := range 1 + d.IntN(2) {
		w.reader(fmt.Sprint("reader", i), newDraws(w.config.Seed, fmt.Sprint("reader", i)))
	}
	for i := range 1 + d.IntN(2) {
		s := &starter{c: w.client(fmt.Sprint("starter", i), newDraws(w.config.Seed, fmt.Sprint("starter", i))), pace: w.crew.pace.start}
		w.crew.starters = append(w.crew.starters, s)
		s.register(0)
	}
}

// sleepers hold sessions and do nothing else. When one ends the next begins.
func (w *world) sleepers(n int) {
	c := w.client("sleeper", newDraws(w.config.Seed, "sleeper"))
	var open func()
	open = func() {
		c.open(c.draws.between(time.Second, 2500*time.Millisecond), func(s *session) {
			s.onEnd = func() {
				if !w.stopping {
					open()
				}
			}
		})
	}
	for range n {
		open()
	}
}

// retire has nothing new begun.
func (w *world) retire() {}

// starter starts instances.
type starter struct {
	c       *client
	pace    time.Duration
	started int
	open    int
}

// versions are how many each workflow has. They differ in nothing but in what is started of them.
const versions = 2

// register registers the workflows, one after the other. Registering one twice finds the first.
func (s *starter) register(at int) {
	w := s.c.w
	if at == versions*len(w.workflows) {
		s.next()
		return
	}
	flow := w.workflows[at%len(w.workflows)]
	d, err := source.Parse([]byte(yamlOf(flow)), "yaml")
	if err != nil {
		panic(fmt.Sprintf("sim: a drawn workflow is wrong: %v\n%s", err, yamlOf(flow)))
	}
	r := &request{commands: func() []*logv1.Command {
		return []*logv1.Command{{Envelope: &logv1.Envelope{}, Body: &logv1.Command_RegisterWorkflow{RegisterWorkflow: &logv1.RegisterWorkflow{
			Workflow: d.Name, Version: int32(1 + at/len(w.workflows)), Digest: d.Digest, Graph: d.Canonical,
		}}}}
	}}
	s.c.call(r, options{kind: "register"}, func(*response) { s.register(at + 1) })
}

func (s *starter) next() {
	w := s.c.w
	if w.stopping {
		return
	}
	w.by(s.c.process, s.c.draws.between(0, 2*s.pace), s.next)
	if s.open >= w.crew.pace.open {
		return
	}
	flow := pick(s.c.draws, w.workflows)
	s.started++
	s.open++
	if s.c.draws.one(6) {
		s.startBySignal(flow)
		return
	}
	id := fmt.Sprintf("%s-%d", s.c.name, s.started)
	if s.started > 1 && s.c.draws.one(20) {
		id = fmt.Sprintf("%s-%d", s.c.name, 1+s.c.draws.IntN(s.started-1)) // again, and perhaps another
	}
	n, keys, version := s.c.draws.IntN(4), s.keys(id), s.version()
	if s.c.draws.one(5) {
		s.line(flow)
		return
	}
	if s.c.draws.one(4) {
		s.signals(id, flow) // by its key, before there is anybody who has it
	}
	r := &request{commands: func() []*logv1.Command {
		return []*logv1.Command{{Envelope: &logv1.Envelope{}, Body: &logv1.Command_StartInstance{StartInstance: &v1.StartInstanceRequest{
			InstanceId: id, Workflow: flow.Name, Version: version, InputPayload: &v1.Payload{Bytes: fmt.Appendf(nil, `{"n":%d}`, n)}, Keys: keys,
		}}}}
	}}
	s.c.call(r, options{kind: "start"}, func(res *response) {
		if !res.ok() || res.outcomes[0].Refusal != nil {
			s.open--
			return
		}
		s.talk(id, flow, 2)
		s.wait(id)
	})
}

// talk sends signals to an instance and decides on its steps, and does so with those that it calls.
func (s *starter) talk(id string, flow model.Workflow, deep int) {
	s.signals(id, flow)
	s.decide(id, flow)
	for _, step := range flow.Steps {
		if step.Call == nil || deep == 0 {
			continue
		}
		for _, callee := range s.c.w.workflows {
			if callee.Name == step.Call.Workflow {
				s.talk(id+":"+step.Name, callee, deep-1)
			}
		}
	}
}

// startBySignal has a signal start an instance, unless somebody has the key by then: senders race for a few keys.
func (s *starter) startBySignal(flow model.Workflow) {
	d := s.c.draws
	start := &v1.StartInstanceRequest{Workflow: flow.Name, InputPayload: &v1.Payload{Bytes: fmt.Appendf(nil, `{"n":%d}`, d.IntN(4))}}
	if !d.one(8) {
		start.InstanceId = fmt.Sprintf("%s-%d", s.c.name, s.started)
	}
	if d.one(2) {
		start.Keys = map[string]string{"group": pick(d, theGroups)}
	}
	message := &v1.SendSignalRequest{Key: &v1.Key{Name: "sole", Value: fmt.Sprint(d.IntN(3))}, Name: pick(d, theSignals), SignalId: fmt.Sprint(s.c.name, d.IntN(s.started)), Start: start}
	if d.one(2) {
		message.Ttl = durationpb.New(d.between(100*time.Millisecond, 10*time.Second))
	}
	s.c.call(&request{commands: one(signal(message))}, options{kind: "signal"}, func(res *response) {
		if !res.ok() || res.outcomes[0].Refusal != nil {
			s.open--
			return
		}
		id := res.outcomes[0].Reply.(*v1.SendSignalResponse).InstanceId
		if id == "" { // it is kept: that was told before
			s.open--
			return
		}
		s.signals(id, flow)
		s.decide(id, flow)
		s.wait(id)
	})
}

// keys are those of an instance: one of its own, and often one that it shares with others.
func (s *starter) keys(id string) map[string]string {
	keys := map[string]string{"own": id}
	if !s.c.draws.one(3) {
		keys["group"] = pick(s.c.draws, theGroups)
	}
	return keys
}

// theGroups are values of a key that instances share; now and then nobody has one.
var theGroups = []string{"g0", "g1", "g2", "g3", "g4", "g5", "g6", "g7"}

// signals sends what the steps of an instance wait for: before or after they do, now and then twice, or never.
func (s *starter) signals(id string, flow model.Workflow) {
	d := s.c.draws
	for _, step := range flow.Steps {
		if step.Signal == "" || d.one(6) {
			continue
		}
		message := &v1.SendSignalRequest{InstanceId: id, Name: step.Signal, SignalId: step.Name, PayloadBytes: &v1.Payload{Bytes: []byte("1")}}
		if d.one(2) {
			message.InstanceId, message.Key = "", &v1.Key{Name: "own", Value: id}
		}
		if d.one(3) {
			message.Ttl = durationpb.New(d.between(100*time.Millisecond, 2*time.Second))
		}
		for range 1 + d.IntN(2) {
			s.c.w.by(s.c.process, d.between(0, 2*time.Second), func() {
				s.c.call(&request{commands: one(signal(message))}, options{kind: "signal"}, func(*response) {})
			})
		}
	}
}

// decide decides on the steps of an instance that wait for it: a few times, for the first may be too early, and now and then
// otherwise than before; or never.
func (s *starter) decide(id string, flow model.Workflow) {
	s.decideOf(id, flow.Steps, 1)
}

// decideOf decides on steps of which there may be so many.
func (s *starter) decideOf(id string, steps []model.Step, most int) {
	d := s.c.draws
	for _, step := range steps {
		if step.Body != nil {
			s.decideOf(id, step.Body.Steps, 3*most)
		}
		if !step.Approval || d.one(4) {
			continue
		}
		for range 1 + d.IntN(6) {
			command := decision(id, step.Name, int32(d.IntN(most)), !d.one(6))
			s.c.w.by(s.c.process, d.between(0, 4*time.Second), func() {
				s.c.call(&request{commands: one(command)}, options{kind: "decide"}, func(*response) {})
			})
		}
	}
}

func decision(id, step string, index int32, approve bool) *logv1.Command {
	if approve {
		return &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_ApproveStep{ApproveStep: &v1.ApproveStepRequest{InstanceId: id, Step: step, Index: index}}}
	}
	return &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_RejectStep{RejectStep: &v1.RejectStepRequest{InstanceId: id, Step: step, Index: index}}}
}

func signal(r *v1.SendSignalRequest) *logv1.Command {
	return &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_SendSignal{SendSignal: r}}
}

// wait reads the instance until it has ended.
func (s *starter) wait(id string) {
	r := &request{read: func(m *fsm.Machine) (proto.Message, error) {
		return m.GetInstance(&v1.GetInstanceRequest{InstanceId: id})
	}}
	s.c.call(r, options{kind: "read"}, func(res *response) {
		if i, is := res.value.(*v1.Instance); is && (i == nil || !fsm.Live(i.State)) { // it has ended, and may be removed
			s.open--
			return
		}
		s.c.w.by(s.c.process, s.c.draws.between(50*time.Millisecond, s.c.w.crew.pace.look), func() { s.wait(id) })
	})
}
