package sim

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// drainer has versions start nothing for a while, now and then all of a workflow.
type drainer struct {
	c    *client
	pace time.Duration
}

func (w *world) drainer(d draws) {
	k := &drainer{c: w.client("drainer", d), pace: d.between(50*time.Millisecond, 2*time.Second)}
	k.next()
}

func (k *drainer) next() {
	w, d := k.c.w, k.c.draws
	w.by(k.c.process, d.between(0, 2*k.pace), func() {
		if w.stopping {
			return
		}
		flow, number := pick(d, w.workflows).Name, int32(1+d.IntN(versions))
		if d.one(20) {
			number = int32(d.IntN(4)) // one that is none, perhaps
		}
		k.c.call(&request{commands: one(drain(flow, number))}, options{kind: "drain"}, func(*response) {})
		w.by(k.c.process, d.between(0, 3*time.Second), func() {
			k.c.call(&request{commands: one(undrain(flow, number))}, options{kind: "drain"}, func(*response) {})
		})
		k.next()
	})
}

func drain(flow string, number int32) *logv1.Command {
	return &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_DrainVersion{DrainVersion: &v1.DrainVersionRequest{Workflow: flow, Version: number}}}
}

func undrain(flow string, number int32) *logv1.Command {
	return &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_UndrainVersion{UndrainVersion: &v1.UndrainVersionRequest{Workflow: flow, Version: number}}}
}

// version is the one that a start asks for: mostly none.
func (s *starter) version() int32 {
	if !s.c.draws.one(8) {
		return 0
	}
	return int32(1 + s.c.draws.IntN(versions))
}

// versions compares how many live of each version, and whether it is drained.
func (k *reader) versions() *request {
	h := k.c.w.history
	return h.compared(func(m *fsm.Machine) (proto.Message, error) {
		return m.ListWorkflows(&v1.ListWorkflowsRequest{Limit: 1000})
	}, func(x proto.Message, _ error) string {
		for _, w := range x.(*v1.ListWorkflowsResponse).GetWorkflows() {
			if live, drained, known := h.model.Version(w.Workflow, w.Version); !known || live != w.LiveInstances || drained != w.Drained {
				return fmt.Sprintf("of %s version %d %d live, and it is drained: %v; it is known: %v, %d live, and it is drained: %v",
					w.Workflow, w.Version, w.LiveInstances, w.Drained, known, live, drained)
			}
		}
		return ""
	})
}
