package cluster

import (
	"fmt"
	"time"

	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/fsm/graph/source"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// hand is somebody with a session, who makes one request after the other.
type hand struct {
	s       *storm
	session int64
	request int64
}

func (s *storm) holder(ttl time.Duration) *hand {
	id, _, _ := s.session(ttl)
	return &hand{s: s, session: id}
}

func bare() *logv1.Envelope { return &logv1.Envelope{} }

func (h *hand) envelope() *logv1.Envelope {
	h.request++
	return &logv1.Envelope{Session: h.session, RequestId: h.request, LowestUnanswered: h.request}
}

// poll asks for runs of a queue until it gets one, for a minute.
func (h *hand) poll(queue string) *v1.LeasedRun {
	for end := time.Now().Add(time.Minute); h.s.ctx.Err() == nil && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if run := h.look(queue); run != nil {
			return run
		}
	}
	return nil
}

// look asks once; nil: there is none.
func (h *hand) look(queue string) *v1.LeasedRun {
	reply, refusal := h.s.do(&logv1.Command{Envelope: h.envelope(), Body: &logv1.Command_PollSteps{PollSteps: &logv1.PollSteps{Session: h.session, Queues: []string{queue}, Count: 1}}})
	if refusal != nil {
		h.s.t.Errorf("a poll of session %d: %v", h.session, refusal)
	}
	if runs, ok := reply.(*v1.PollStepsResponse); ok && len(runs.Runs) > 0 {
		return runs.Runs[0]
	}
	return nil
}

// refused has a command refused with a code.
func (s *storm) refused(what string, want v1.Code, c *logv1.Command) {
	if reply, refusal := s.do(c); s.ctx.Err() == nil && refusal.GetCode() != want {
		s.t.Errorf("%s must be refused as %s; the answer is %v %v", what, want, reply, refusal)
	}
}

// done has a command done.
func (s *storm) done(what string, c *logv1.Command) {
	if _, refusal := s.do(c); refusal != nil {
		s.t.Errorf("%s is refused: %v", what, refusal)
	}
}

const stormFlows = `workflow: w
steps: {a: {queue: q, retry: {attempts: 1000}, timeouts: {run: 2s}, locks: [{name: p, limit: 1}]}}
`

func (s *storm) register(yaml string) {
	d, err := source.Parse([]byte(yaml), "yaml")
	if err != nil {
		s.t.Fatal(err)
	}
	s.done("a workflow", &logv1.Command{Envelope: bare(), Body: &logv1.Command_RegisterWorkflow{RegisterWorkflow: &logv1.RegisterWorkflow{
		Workflow: d.Name, Version: 1, Digest: d.Digest, Graph: d.Canonical,
	}}})
}

func (s *storm) start(workflow, id string) {
	s.done("the start of "+id, &logv1.Command{Envelope: bare(), Body: &logv1.Command_StartInstance{StartInstance: &v1.StartInstanceRequest{InstanceId: id, Workflow: workflow}}})
}

// stale has runs taken from a holder that is too slow, who then says what it has to say; and a list has every instance.
func (s *storm) stale() {
	s.register(stormFlows)
	slow, quick := s.holder(time.Hour), s.holder(time.Hour)
	for n := 1; s.ctx.Err() == nil; n++ {
		id := fmt.Sprint("i", n)
		s.start("w", id)
		s.listed(n)
		first := slow.poll("q")
		second := quick.poll("q")
		if s.ctx.Err() != nil {
			return
		}
		if first == nil || second == nil || second.Token <= first.Token {
			s.t.Errorf("%s is granted as %v, and when that was over as %v", id, first, second)
			return
		}
		s.refused("the progress of a holder that is over", v1.Code_CODE_FENCED, &logv1.Command{Envelope: bare(), Body: &logv1.Command_ReportProgress{
			ReportProgress: &v1.ReportProgressRequest{InstanceId: id, Step: "a", Token: first.Token}}})
		s.refused("the completion of a holder that is over", v1.Code_CODE_FENCED, completion(id, first.Token))
		s.done("the completion of the newest holder", completion(id, second.Token))
		old := &logv1.Envelope{Session: slow.session, RequestId: slow.request - 1, LowestUnanswered: slow.request}
		if slow.request > 1 {
			s.refused("a request that was answered long ago", v1.Code_CODE_REQUEST_TOO_OLD, &logv1.Command{Envelope: old, Body: &logv1.Command_PollSteps{
				PollSteps: &logv1.PollSteps{Session: slow.session, Queues: []string{"none"}, Count: 1}}})
		}
		s.passOn(slow, quick)
		s.mu.Lock()
		s.fenced++
		s.mu.Unlock()
	}
}

func completion(id string, token int64) *logv1.Command {
	return &logv1.Command{Envelope: &logv1.Envelope{Salt: []byte{1}}, Body: &logv1.Command_CompleteStep{CompleteStep: &v1.CompleteStepRequest{InstanceId: id, Step: "a", Token: token}}}
}

// passOn has a lock go from one to the other; the first cannot give it back any more.
func (s *storm) passOn(first, second *hand) {
	take := func(h *hand) int64 {
		reply, refusal := s.do(&logv1.Command{Envelope: h.envelope(), Body: &logv1.Command_AcquireLock{AcquireLock: &logv1.AcquireLock{Session: h.session, Lock: "cold"}}})
		if granted, ok := reply.(*v1.AcquireLockResponse); ok {
			return granted.Token
		}
		if s.ctx.Err() == nil {
			s.t.Errorf("a free lock is refused: %v", refusal)
		}
		return 0
	}
	back := func(token int64) *logv1.Command {
		return &logv1.Command{Envelope: bare(), Body: &logv1.Command_ReleaseLock{ReleaseLock: &v1.ReleaseLockRequest{Lock: "cold", Token: token}}}
	}
	one := take(first)
	s.do(back(one)) // told twice it is refused the second time
	two := take(second)
	if s.ctx.Err() == nil {
		s.refused("the return of a lock that went on", v1.Code_CODE_FENCED, back(one))
	}
	s.do(back(two))
}

// listed: a list has all that was started.
func (s *storm) listed(n int) {
	var got int
	if s.read(func(m *fsm.Machine) error {
		list, err := m.ListInstances(&v1.ListInstancesRequest{Workflow: "w", Limit: 1000})
		got = len(list.GetInstances())
		return err
	}) && got != min(n, 1000) && s.ctx.Err() == nil {
		s.t.Errorf("a list has %d instances of %d", got, n)
	}
}

// doomed sessions take runs and end with them: all nodes in one order.
func (s *storm) doomed() {
	s.register("workflow: d\nsteps: {a: {queue: d, retry: {attempts: 1000000}}}\n")
	for n := range 4 {
		s.start("d", fmt.Sprint("d", n))
	}
	for s.ctx.Err() == nil {
		h := s.holder(2 * time.Second)
		if s.ctx.Err() != nil {
			return
		}
		s.do(&logv1.Command{Envelope: h.envelope(), Body: &logv1.Command_PollSteps{PollSteps: &logv1.PollSteps{Session: h.session, Queues: []string{"d"}, Count: 4}}})
		time.Sleep(4 * time.Second)
	}
}
