package fsm

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/btree"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Explain answers why an instance, or one of its steps, does not move: a code for programs, a sentence for
// people, who holds what, and what happens next by itself.
func (m *Machine) Explain(r *v1.ExplainRequest) (*v1.ExplainResponse, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	i, err := m.lookup(r.Namespace, r.InstanceId)
	if err != nil {
		return nil, err
	}
	out := &v1.ExplainResponse{}
	if !i.live() {
		out.Explanations = append(out.Explanations, &v1.Explanation{
			Code: v1.ExplainCode_EXPLAIN_CODE_ENDED, Sentence: strings.TrimSpace(fmt.Sprintf("The instance has ended: it is %s. %s", stateName(i.rec.State), i.rec.Reason)),
		})
		return out, nil
	}
	defer func() { m.explainDrift(i, r.Step, out) }()
	if i.paused() {
		out.Explanations = append(out.Explanations, i.explainPause())
	}
	switch {
	case i.rec.State == v1.InstanceState_INSTANCE_STATE_QUEUED:
		queued, err := m.explainQueued(i)
		if err != nil {
			return nil, err
		}
		out.Explanations = append(out.Explanations, queued)
		return out, nil
	case i.compensating():
		out.Explanations = append(out.Explanations, i.explainCompensation())
	case i.stage(whole) == stageStops:
		out.Explanations = append(out.Explanations, i.explainStopping())
	}
	if r.Step != "" {
		at, refusal := i.named(r.Step, r.Index)
		if refusal != nil {
			return nil, refusal
		}
		out.Explanations = append(out.Explanations, m.explainRun(i, at))
		return out, nil
	}
	for at, run := range i.all() {
		if !ended(run.State) && (run.State != v1.RunState_RUN_STATE_PENDING || run.Todo > 0) {
			out.Explanations = append(out.Explanations, m.explainRun(i, at))
		}
	}
	return out, nil
}

func (i *instance) explainStopping() *v1.Explanation {
	e := &v1.Explanation{Code: v1.ExplainCode_EXPLAIN_CODE_CANCELLING}
	e.Sentence = fmt.Sprintf("The instance is %s: it ends when none of its %d leased runs is left", stateName(i.rec.State), i.root.leased)
	if n := i.root.undoing; n > 0 {
		e.Sentence += fmt.Sprintf(", and what was completed inside %d of its steps is undone", n)
	}
	if n := i.undoneBack(); n > 0 {
		e.Sentence += fmt.Sprintf(", and %d completions that a reset undoes are undone", n)
	}
	e.Sentence += "."
	return e
}

func (m *Machine) explainRun(i *instance, at at) *v1.Explanation {
	r, n := i.run(at), i.step(at)
	e := &v1.Explanation{Step: n.ID, Index: at.index, Queue: n.Queue}
	if at := due(r); at > 0 {
		e.NextIn = durationpb.New(elapsed(m.group.Uptime, at))
	}
	if i.explainHeld(at, e) {
		return e
	}
	of, compensates := i.compensates(at)
	switch r.State {
	case unbegun:
		e.Code = v1.ExplainCode_EXPLAIN_CODE_NEEDS_PENDING
		e.Sentence = fmt.Sprintf("Step %q is not undone, unless the instance fails or is cancelled behind its completion.", i.step(of).ID)
	case v1.RunState_RUN_STATE_PENDING:
		if compensates && r.Todo == 0 {
			i.explainUndo(of, e)
			break
		}
		m.explainPending(i, at, e)
	case v1.RunState_RUN_STATE_READY:
		m.explainReady(i, at, e)
	case v1.RunState_RUN_STATE_LEASED:
		e.Code, e.Holder = v1.ExplainCode_EXPLAIN_CODE_LEASED, i.holder(at)
		if s := m.sessions[r.Session]; s != nil {
			e.Holder.Remaining = remaining(s, m.group.Uptime)
		}
		e.Sentence = fmt.Sprintf("Session %s works on attempt %d of step %q under token %d.", sessionName(r.Session), r.Attempt, n.ID, r.Token)
	case v1.RunState_RUN_STATE_BACKOFF:
		e.Code = v1.ExplainCode_EXPLAIN_CODE_BACKOFF
		e.NextIn = durationpb.New(elapsed(m.group.Uptime, r.RetryAt))
		e.Sentence = fmt.Sprintf("Step %q failed (%s: %s) and is tried again in %s; %d of %d attempts are used.", n.ID, r.Code, r.Reason, e.NextIn.AsDuration().Round(time.Millisecond), r.Used, n.Retry.Attempts)
	case v1.RunState_RUN_STATE_WAITING:
		m.explainWaiting(i, at, e)
	case v1.RunState_RUN_STATE_INCIDENT:
		e.Code = v1.ExplainCode_EXPLAIN_CODE_INCIDENT
		e.Sentence = fmt.Sprintf("Step %q stands still (%s): %s. Have it tried again, skip it, give it its end with resolve, or cancel the instance.", n.ID, r.Code, r.Reason)
		if compensates {
			e.Sentence = fmt.Sprintf("Step %q is not undone: %s stands still (%s): %s. Compensate the instance again to have it tried again or skipped.", i.step(of).ID, n.ID, r.Code, r.Reason)
		}
	default:
		e.Code = v1.ExplainCode_EXPLAIN_CODE_ENDED
		e.Sentence = fmt.Sprintf("Step %q has ended: it is %s.", n.ID, runStateName(r.State))
	}
	return e
}

func (m *Machine) explainPending(i *instance, at at, e *v1.Explanation) {
	if by, gated := i.gated(i.frame(at)); gated {
		if isCompensation(i.step(by)) {
			e.Code, e.Missing = v1.ExplainCode_EXPLAIN_CODE_NEEDS_PENDING, []string{i.step(by).ID}
			e.Sentence = fmt.Sprintf("Step %q is done anew when what was completed before is undone: %s.", e.Step, i.step(by).ID)
			return
		}
		e.Code, e.Missing = v1.ExplainCode_EXPLAIN_CODE_INSTANCE_PENDING, []string{i.run(by).Other}
		e.Sentence = fmt.Sprintf("Step %q is done anew when what was called before has ended: %s.", e.Step, i.run(by).Other)
		return
	}
	e.Code = v1.ExplainCode_EXPLAIN_CODE_NEEDS_PENDING
	var waits []string
	for _, need := range i.step(at).Needs {
		if ended(i.run(i.before(at.index, need)).State) {
			continue
		}
		id := i.graph.Nodes[need].ID
		e.Missing = append(e.Missing, id)
		switch i.graph.Edge(need, int(at.node)).Ends {
		case graph.EndsFailed:
			id += " to fail"
		case graph.EndsAny:
			id += " to end"
		}
		waits = append(waits, id)
	}
	e.Sentence = fmt.Sprintf("Step %q waits for %s.", e.Step, strings.Join(waits, ", "))
	if i.run(at).Todo > 0 || len(waits) == 0 {
		explainPostponed(e)
	}
}

func (m *Machine) explainReady(i *instance, at at, e *v1.Explanation) {
	r := i.run(at)
	q := i.ns.queues[i.step(at).Queue]
	if r.Fair != nil {
		e.FairnessKey = *r.Fair
	}
	if q != nil && q.fair != nil {
		m.explainTurn(i, at, q, e)
	} else if q != nil {
		k := i.key(at)
		for _, line := range [...]*btree.BTreeG[readyRun]{q.ready, q.parked} {
			line.AscendLessThan(readyRun{r.Order, r.OrderSeq, &k}, func(readyRun) bool {
				e.Place = min(e.Place+1, 1000)
				return e.Place < 1000
			})
		}
		e.Place++
	}
	if r.limitedBy() != "" && m.explainLimit(i, at, e) {
		return
	}
	for _, want := range r.Locks {
		l, err := m.readLock(i.ns, want.Lock)
		if err != nil {
			continue
		}
		switch m.busy(l, &claim{order: r.Order, seq: r.OrderSeq, run: i.key(at), want: want}) {
		case held:
			e.Code, e.Holder = v1.ExplainCode_EXPLAIN_CODE_LOCK_HELD, m.holderOf(l)
			e.Sentence = fmt.Sprintf("Step %q needs lock %q, which %s holds under token %d.", e.Step, want.Lock, sayHolder(e.Holder), e.Holder.GetToken())
			m.explainHeld(i, at, l, e)
			return
		case reserved:
			e.Code = v1.ExplainCode_EXPLAIN_CODE_LOCK_RESERVED
			e.Sentence = fmt.Sprintf("Step %q needs lock %q, which is kept for an older claim that was passed over.", e.Step, want.Lock)
			return
		}
	}
	if m.explainLimit(i, at, e) {
		return
	}
	e.Code = v1.ExplainCode_EXPLAIN_CODE_NO_POLLER
	e.Sentence = fmt.Sprintf("Step %q is %s in queue %q, and no worker polls it", e.Step, sayPlace(q, e), e.Queue)
	if q != nil && q.leased > 0 {
		e.Sentence += fmt.Sprintf(" now; workers hold %d of its runs", q.leased)
	}
	e.Sentence += "."
}

func sayHolder(h *v1.Holder) string {
	switch {
	case h == nil:
		return "somebody"
	case h.InstanceId != "" && h.Step == "":
		return fmt.Sprintf("instance %q", h.InstanceId)
	case h.InstanceId != "":
		return fmt.Sprintf("step %q of instance %q", h.Step, h.InstanceId)
	}
	return "session " + h.SessionId
}

// explainDrift tells what reporters have observed that is not what is recorded.
func (m *Machine) explainDrift(i *instance, step string, out *v1.ExplainResponse) {
	if m.level() < reconcileLevel {
		return
	}
	m.observations(i.ns, i.rec.InstanceId, func(rec *logv1.Observation) bool {
		if d := m.compare(i.ns, i, rec); d.open() && (step == "" || step == rec.Step) {
			out.Explanations = append(out.Explanations, &v1.Explanation{
				Code: v1.ExplainCode_EXPLAIN_CODE_DRIFT, Step: rec.Step, Index: rec.Index, Sentence: fmt.Sprintf("%s: %s", driftName(d.class), d.describe()),
			})
		}
		return true
	})
}
