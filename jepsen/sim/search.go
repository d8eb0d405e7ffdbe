package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/jepsen/model"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// drawFilter draws what to look for, as a list is asked for it and as the model is.
func (k *reader) drawFilter() (*v1.ListInstancesRequest, model.Filter) {
	d := k.c.draws
	ask, f := &v1.ListInstancesRequest{Limit: int32(1 + d.IntN(50)), Order: v1.ListOrder(d.IntN(3))}, model.Filter{}
	if d.one(2) {
		ask.State = v1.InstanceState(1 + d.IntN(8))
		f.State = strings.TrimPrefix(ask.State.String(), "INSTANCE_STATE_")
	}
	if d.one(2) {
		f.Workflow = pick(d, k.c.w.workflows).Name
		if ask.Workflow = f.Workflow; d.one(2) {
			f.Version = int32(1 + d.IntN(2))
			ask.Version = f.Version
		}
	}
	if d.one(3) {
		f.Key = model.Key{Name: "group", Value: pick(d, theGroups)}
		ask.Keys = map[string]string{f.Key.Name: f.Key.Value}
	}
	if d.one(4) {
		stuck := d.between(10*time.Millisecond, 20*time.Second)
		ask.State, ask.Order, ask.StuckFor, f.State, f.StuckFor = 0, 0, durationpb.New(stuck), "", int64(stuck)
	}
	return ask, f
}

// list lists instances that are so, page by page, of one moment, and has all of them compared.
func (k *reader) list() *request {
	h := k.c.w.history
	ask, f := k.drawFilter()
	return h.compared(func(m *fsm.Machine) (proto.Message, error) {
		all, ask := &v1.ListInstancesResponse{}, proto.CloneOf(ask)
		for {
			out, err := m.ListInstances(ask)
			if err != nil {
				return nil, err
			}
			all.Instances = append(all.Instances, out.Instances...)
			if ask.Page = out.NextPage; ask.Page == "" {
				return all, nil
			}
		}
	}, func(x proto.Message, err error) string {
		if err != nil {
			return fmt.Sprintf("a list by %+v is refused: %v", f, err)
		}
		var ids []string
		for _, i := range x.(*v1.ListInstancesResponse).GetInstances() {
			ids = append(ids, i.InstanceId)
		}
		slices.Sort(ids)
		if want, unsure := h.model.Matching(f); !slices.Equal(ids, want) && !unsure {
			return fmt.Sprintf("by %+v there are %v; they are %v", f, ids, want)
		}
		return ""
	})
}

// walk lists instances by what does not change, page by page, each of another moment and perhaps another node: those that were there
// when it began are listed, all of them, and none is twice.
func (k *reader) walk() {
	d, h := k.c.draws, k.c.w.history
	f := model.Filter{Workflow: pick(d, k.c.w.workflows).Name}
	ask := &v1.ListInstancesRequest{Workflow: f.Workflow, Limit: int32(1 + d.IntN(20)), Order: v1.ListOrder(d.IntN(3))}
	before, _ := h.model.Matching(f)
	seen := map[string]bool{}
	var step func()
	step = func() {
		page := proto.CloneOf(ask)
		k.c.call(&request{read: func(m *fsm.Machine) (proto.Message, error) { return m.ListInstances(page) }}, options{kind: "read"}, func(res *response) {
			list, is := res.value.(*v1.ListInstancesResponse)
			if !is {
				return // it is not known how it would have gone on
			}
			for _, i := range list.Instances {
				if seen[i.InstanceId] && !h.model.WasRemoved(i.InstanceId) {
					h.w.fail("S4", "a list by %+v has %s twice", f, i.InstanceId)
				}
				seen[i.InstanceId] = true
			}
			if ask.Page = list.NextPage; ask.Page != "" {
				k.c.w.by(k.c.process, d.between(0, k.pace), step)
				return
			}
			h.w.report.Walked++
			for _, id := range before {
				if !seen[id] && !h.model.WasRemoved(id) {
					h.w.fail("S4", "a list by %+v lacks %s, which was there before it began", f, id)
				}
			}
		})
	}
	step()
}

// incidents lists what needs a person, page by page, of one moment, and has all of it compared.
func (k *reader) incidents() *request {
	d, h := k.c.draws, k.c.w.history
	first := &v1.ListIncidentsRequest{Limit: int32(1 + d.IntN(50)), Standing: d.one(3), Resolved: d.one(2)}
	return h.compared(func(m *fsm.Machine) (proto.Message, error) {
		all, ask := &v1.ListIncidentsResponse{}, proto.CloneOf(first)
		for {
			out, err := m.ListIncidents(ask)
			if err != nil {
				return nil, err
			}
			all.Incidents = append(all.Incidents, out.Incidents...)
			if ask.Page = out.NextPage; ask.Page == "" {
				return all, nil
			}
		}
	}, func(x proto.Message, err error) string {
		if err != nil {
			return fmt.Sprintf("a list of what needs a person is refused: %v", err)
		}
		var names, drifts []string
		for _, i := range x.(*v1.ListIncidentsResponse).GetIncidents() {
			name := i.InstanceId
			if i.Kind == v1.IncidentKind_INCIDENT_KIND_DRIFT {
				drifts = append(drifts, i.Code+" "+runName(i)+" "+name)
				continue
			}
			if i.State != v1.InstanceState_INSTANCE_STATE_FAILED {
				name += "/" + runName(i)
			}
			names = append(names, name)
		}
		slices.Sort(names)
		if want := h.model.Troubled(first.Standing, first.Resolved); !slices.Equal(names, want) {
			return fmt.Sprintf("of what needs a person there is %v; it is %v", names, want)
		}
		if first.Standing {
			return ""
		}
		want, unsure := h.model.Drifting("")
		if low, high := len(want), len(want)+len(unsure); len(drifts) < low || len(drifts) > high {
			return fmt.Sprintf("of drift that needs a person there is %v; it is %v, and perhaps %v", drifts, want, unsure)
		}
		return ""
	})
}

// differs compares what is listed as drift with what the model says is; of some that is not known.
func differs(names []string, m *model.State, instance string) string {
	want, unsure := m.Drifting(instance)
	names = slices.DeleteFunc(names, func(name string) bool { return unsure[name[:strings.LastIndex(name, ": ")]] })
	slices.Sort(names)
	if !slices.Equal(names, want) {
		return fmt.Sprintf("as drift of %q there is %v; it is %v, and perhaps %v", instance, names, want, unsure)
	}
	return ""
}
