package sim

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// retain has what is over be removed when the node leads, as package cluster does.
func (n *node) retain(after time.Duration) {
	n.w.by(n.process, n.sleep(after), func() {
		var over []string
		if _, leads := n.core.Leading(); leads {
			over = n.machine.Overdue(max(n.wallClock(), n.machine.Clock().Wall))
		}
		if len(over) == 0 {
			n.retain(time.Second)
			return
		}
		c := &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_Retain{Retain: &logv1.Retain{Most: n.sliceOf()}}}
		n.take(&group{request: &request{}, send: func(res *response) {
			for _, o := range res.outcomes {
				if r, is := o.Reply.(*logv1.Retained); is && r.Instances+r.Events+r.Ordered > 0 {
					n.retain(20 * time.Millisecond)
					return
				}
			}
			n.retain(time.Second)
		}}, []*logv1.Command{c})
		n.kick(0)
	})
}

// sliceOf is how large the next slice is to be, as a leader may say at the cluster's level.
func (n *node) sliceOf() int32 {
	if n.machine.Clock().Level < fsm.SizedLevel {
		return 0
	}
	return int32(n.sizes.IntN(4))
}

// keeper says how long things are kept, changes that now and then, and exports what is over.
type keeper struct {
	c     *client
	after int64 // that it exported
}

func (w *world) keeper(d draws) {
	k := &keeper{c: w.client("keeper", d)}
	k.next(0)
	k.export()
}

func (k *keeper) next(after time.Duration) {
	w, d := k.c.w, k.c.draws
	w.by(k.c.process, after, func() {
		if w.stopping {
			return
		}
		keep := &v1.Retention{}
		if !d.one(8) {
			keep.Finished = durationpb.New(pick(d, []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 20 * time.Second}))
		}
		if d.one(2) {
			keep.Events = durationpb.New(pick(d, []time.Duration{time.Second, 3 * time.Second, 15 * time.Second}))
		}
		keep.ExportFirst = d.one(3)
		c := &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_UpdateNamespace{UpdateNamespace: &v1.UpdateNamespaceRequest{Retention: keep}}}
		k.c.call(&request{commands: one(c)}, options{kind: "keep", once: true}, func(*response) {})
		k.next(d.between(2*time.Second, 20*time.Second))
	})
}

// export reads a page of what has ended, and says that it has it. It goes on until the end, for what is not exported may not be removed.
func (k *keeper) export() {
	w, d := k.c.w, k.c.draws
	w.by(k.c.process, d.between(0, time.Second), func() {
		r := &request{read: func(m *fsm.Machine) (proto.Message, error) {
			return m.ExportInstances(&v1.ExportInstancesRequest{After: k.after})
		}}
		k.c.call(r, options{kind: "read"}, func(res *response) {
			page, is := res.value.(*v1.ExportInstancesResponse)
			if !is || page == nil || page.After <= k.after {
				k.export()
				return
			}
			k.got(page)
			c := &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_AckExport{AckExport: &v1.AckExportRequest{Position: page.After}}}
			k.c.call(&request{commands: one(c)}, options{kind: "ack"}, func(*response) { k.export() })
		})
	})
}

// got: what is exported is whole, and in order.
func (k *keeper) got(page *v1.ExportInstancesResponse) {
	last, events, begun := k.after, 0, false
	for _, p := range page.Pieces {
		switch {
		case p.Instance != nil:
			if begun = true; p.Position <= last || fsm.Live(p.Instance.State) {
				k.c.w.fail("retention", "%s is exported at %d behind %d, and is %v", p.InstanceId, p.Position, last, p.Instance.State)
			}
			events = 0
		case p.Event != nil:
			events++
		case p.Last:
			if !begun || events < 2 {
				k.c.w.fail("retention", "%s is exported with %d events", p.InstanceId, events)
			}
			last, begun = p.Position, false
		}
	}
	k.after = page.After
}

// past compares an instance's history.
func (k *reader) past(id string) *request {
	h := k.c.w.history
	return h.compared(func(m *fsm.Machine) (proto.Message, error) {
		all := &v1.GetHistoryResponse{}
		for after := int64(0); ; {
			out, err := m.GetHistory(&v1.GetHistoryRequest{InstanceId: id, After: after})
			if err != nil {
				return nil, err
			}
			all.Events = append(all.Events, out.Events...)
			if after = out.NextAfter; after == 0 {
				return all, nil
			}
		}
	}, func(x proto.Message, err error) string {
		var got []int64
		if list, is := x.(*v1.GetHistoryResponse); is {
			for _, e := range list.Events {
				if got = append(got, e.Position); e.Data.InstanceId != id {
					return fmt.Sprintf("position %d is of the history of %s, and about %q", e.Position, id, e.Data.InstanceId)
				}
			}
		}
		if want := h.model.History(id); !slices.Equal(got, want) {
			return fmt.Sprintf("the history of %s is %v (%v); it is %v", id, got, err, want)
		}
		return ""
	})
}
