package sim

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/jepsen/model"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// advance has bulk operations go on when the node leads, as package cluster does.
func (n *node) advance(after time.Duration) {
	n.w.by(n.process, n.sleep(after), func() {
		var running []string
		if _, leads := n.core.Leading(); leads {
			running = n.machine.Advancing()
		}
		if len(running) == 0 {
			n.advance(100 * time.Millisecond)
			return
		}
		c := &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_AdvanceBulk{AdvanceBulk: &logv1.AdvanceBulk{Most: n.sliceOf()}}}
		n.take(&group{request: &request{}, send: func(*response) { n.advance(20 * time.Millisecond) }}, []*logv1.Command{c})
		n.kick(0)
	})
}

// bulker does things to many instances at once: of a workflow, a state, a key, or all. It starts an operation a second time now and then, or
// cancels one.
type bulker struct {
	c       *client
	started int
	asked   []*v1.StartBulkRequest
}

func (w *world) bulker(d draws) {
	k := &bulker{c: w.client("bulker", d)}
	k.next()
}

func (k *bulker) next() {
	w, d := k.c.w, k.c.draws
	w.by(k.c.process, d.between(0, 4*time.Second), func() {
		if w.stopping {
			return
		}
		switch {
		case len(k.asked) > 0 && d.one(8):
			again := proto.CloneOf(pick(d, k.asked))
			if d.one(2) {
				again.Act, again.Step, again.Compensate = v1.BulkAct_BULK_ACT_RESUME, "", false
			}
			k.start(again)
		default:
			for range 1 + d.IntN(2) {
				k.started++
				r := k.draw(fmt.Sprint("b", k.started))
				k.asked = append(k.asked[max(0, len(k.asked)-3):], r)
				k.start(r)
				if d.one(4) {
					w.by(k.c.process, d.between(0, 600*time.Millisecond), func() { k.cancel(r.BulkId) })
				}
			}
		}
		k.next()
	})
}

// draw draws an operation. What ends instances is for a few of them.
func (k *bulker) draw(id string) *v1.StartBulkRequest {
	d := k.c.draws
	r := &v1.StartBulkRequest{BulkId: id, Reason: "b", Filter: &v1.InstanceFilter{}}
	f := r.Filter
	if d.one(2) {
		f.Workflow = pick(d, k.c.w.workflows).Name
	}
	if d.one(2) {
		f.State = pick(d, []v1.InstanceState{v1.InstanceState_INSTANCE_STATE_RUNNING, v1.InstanceState_INSTANCE_STATE_RUNNING, v1.InstanceState_INSTANCE_STATE_COMPENSATING, v1.InstanceState_INSTANCE_STATE_CANCELLING, v1.InstanceState_INSTANCE_STATE_COMPLETED})
	}
	switch d.IntN(12) {
	case 10, 11:
		r.Act, r.Step, r.Compensate = v1.BulkAct_BULK_ACT_RESET, pick(d, []string{"s0", "s1", "s2", "s3"}), d.one(3)
	case 0, 1:
		r.Act = v1.BulkAct_BULK_ACT_PAUSE
	case 2, 3, 4:
		r.Act = v1.BulkAct_BULK_ACT_RESUME
	case 5, 6, 7:
		r.Act = v1.BulkAct_BULK_ACT_RETRY
	case 8:
		r.Act, r.Step = v1.BulkAct_BULK_ACT_SKIP, pick(d, []string{"s0", "s1", "s2", "s3"})
		f.Keys = map[string]string{"group": pick(d, theGroups)}
	default:
		r.Act = v1.BulkAct_BULK_ACT_CANCEL
		f.Keys = map[string]string{"group": pick(d, theGroups)}
	}
	r.All = f.Workflow == "" && f.State == 0 && len(f.Keys) == 0
	return r
}

func (k *bulker) start(r *v1.StartBulkRequest) {
	c := &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_StartBulk{StartBulk: r}}
	k.c.call(&request{commands: one(c)}, options{kind: "bulk"}, func(*response) {})
}

func (k *bulker) cancel(id string) {
	c := &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_CancelBulk{CancelBulk: &v1.CancelBulkRequest{BulkId: id, Reason: "c"}}}
	k.c.call(&request{commands: one(c)}, options{kind: "bulk"}, func(*response) {})
}

// bulkCommand is command of what is about bulk operations.
func bulkCommand(c *logv1.Command, m *model.Command) {
	switch b := c.Body.(type) {
	case *logv1.Command_StartBulk:
		r := b.StartBulk
		m.Kind, m.Bulk = model.Bulk, r.BulkId
		m.Plans = model.BulkPlan{Step: r.Step, Act: map[v1.BulkAct]model.Kind{
			v1.BulkAct_BULK_ACT_PAUSE: model.Halt, v1.BulkAct_BULK_ACT_RESUME: model.Unhalt, v1.BulkAct_BULK_ACT_CANCEL: model.Cancel,
			v1.BulkAct_BULK_ACT_RETRY: model.RetryAll, v1.BulkAct_BULK_ACT_SKIP: model.SkipRun, v1.BulkAct_BULK_ACT_RESET: model.Reset,
		}[r.Act], Compensate: r.Compensate}
		f := &m.Plans.Filter
		if f.Workflow = r.Filter.GetWorkflow(); r.Filter.GetState() != 0 {
			f.State = r.Filter.State.String()[len("INSTANCE_STATE_"):]
		}
		for _, name := range slices.Sorted(maps.Keys(r.Filter.GetKeys())) {
			f.Key = model.Key{Name: name, Value: r.Filter.Keys[name]}
		}
	case *logv1.Command_CancelBulk:
		m.Kind, m.Bulk = model.Unbulk, b.CancelBulk.BulkId
	case *logv1.Command_AdvanceBulk:
		m.Kind = model.Advance
	}
}

// bulks compares what all bulk operations have come to.
func (k *reader) bulks() *request {
	h := k.c.w.history
	return h.compared(func(m *fsm.Machine) (proto.Message, error) {
		return m.ListBulks(&v1.ListBulksRequest{Limit: 1000})
	}, func(x proto.Message, err error) string {
		if err != nil {
			return fmt.Sprintf("a list of bulk operations is refused: %v", err)
		}
		for _, b := range x.(*v1.ListBulksResponse).GetBulks() {
			matched, changed, refused, runs := h.model.BulkCame(b.BulkId)
			if b.Matched != matched || b.Changed != changed || b.Refused != refused || (b.State == v1.BulkState_BULK_STATE_RUNNING) != runs {
				return fmt.Sprintf("bulk operation %v; it came to %d, changed %d, was refused by %d, and runs: %v", b, matched, changed, refused, runs)
			}
		}
		return ""
	})
}
