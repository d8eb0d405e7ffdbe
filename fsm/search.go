package fsm

import (
	"math"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lockstep-dev/lockstep/fsm/table"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A list of instances is answered from the rows of the index (searchrow.go): those of the filter that has the fewest of them, as far as a
// short look tells. They are in the order of the list already, in a range for each state, and what they lead to is compared with the whole
// filter. A page looks at so many and no more, whatever the filter is; where few of many match it is short, and says how it goes on.

const (
	// searched is how many instances a page looks at.
	searched = 500
	// probed is how many rows of each filter are counted, to find the one that has the fewest.
	probed = 256
)

// filter is what instances are to be, all of it.
type filter struct {
	workflow     string
	version      int32
	state        v1.InstanceState
	labels, keys []*logv1.Pair
	// Times, the first in the range and the second behind it; a zero is none.
	startedFrom, startedTo, endedFrom, endedTo int64
	// It lives, and its history has not grown since then.
	stuck      bool
	quietSince int64
}

// filterOf checks the filter of a list.
func filterOf(r *v1.ListInstancesRequest, now int64) (*filter, *Refusal) {
	f := &filter{workflow: r.Workflow, version: r.Version, state: r.State, labels: sortedPairs(r.Labels), keys: sortedPairs(r.Keys)}
	for _, bound := range []struct {
		name string
		at   *timestamppb.Timestamp
		into *int64
	}{{"startedFrom", r.StartedFrom, &f.startedFrom}, {"startedTo", r.StartedTo, &f.startedTo}, {"endedFrom", r.EndedFrom, &f.endedFrom}, {"endedTo", r.EndedTo, &f.endedTo}} {
		if bound.at == nil {
			continue
		}
		if !bound.at.IsValid() || bound.at.Seconds <= 0 || bound.at.Seconds >= math.MaxInt64/1_000_000_000 {
			return nil, Refuse(v1.Code_CODE_INVALID, "%s is no time that is kept; give one from 1970 to 2262", bound.name)
		}
		*bound.into = bound.at.AsTime().UnixNano()
	}
	if r.StuckFor != nil {
		if !r.StuckFor.IsValid() || r.StuckFor.AsDuration() <= 0 {
			return nil, Refuse(v1.Code_CODE_INVALID, "stuckFor is how long nothing has happened, and more than nothing")
		}
		f.stuck, f.quietSince = true, now-int64(r.StuckFor.AsDuration())
	}
	return f, f.check(r.Order)
}

// check refuses what nothing can match, and what has no order.
func (f *filter) check(order v1.ListOrder) *Refusal {
	ends := f.endedFrom > 0 || f.endedTo > 0
	switch {
	case f.version != 0 && f.workflow == "":
		return Refuse(v1.Code_CODE_INVALID, "version %d is that of a workflow; say which", f.version)
	case f.version < 0:
		return Refuse(v1.Code_CODE_INVALID, "version %d is none: they count from 1", f.version)
	case f.startedTo > 0 && f.startedTo <= f.startedFrom:
		return Refuse(v1.Code_CODE_INVALID, "nothing started from startedFrom on and before startedTo: that is not behind it")
	case f.endedTo > 0 && f.endedTo <= f.endedFrom:
		return Refuse(v1.Code_CODE_INVALID, "nothing ended from endedFrom on and before endedTo: that is not behind it")
	case ends && f.stuck:
		return Refuse(v1.Code_CODE_INVALID, "what is stuck has not ended: leave out stuckFor, or endedFrom and endedTo")
	case ends && f.state != 0 && Live(f.state):
		return Refuse(v1.Code_CODE_INVALID, "what is %s has not ended: leave out the state, or endedFrom and endedTo", stateName(f.state))
	case f.stuck && f.state != 0 && !Live(f.state):
		return Refuse(v1.Code_CODE_INVALID, "what is %s is not stuck: leave out the state, or stuckFor", stateName(f.state))
	case order < 0 || order > v1.ListOrder_LIST_ORDER_OLDEST:
		return Refuse(v1.Code_CODE_INVALID, "order %d is none", order)
	case f.stuck && order != 0:
		return Refuse(v1.Code_CODE_INVALID, "what is stuck is listed by how long, the longest first: leave out the order")
	}
	return nil
}

// matches says whether an instance is what is looked for.
func (f *filter) matches(ns *namespace, rec *logv1.Instance) bool {
	switch started := accepted(rec); {
	case f.workflow != "" && f.workflow != rec.Workflow, f.version != 0 && f.version != rec.Version, f.state != 0 && f.state != rec.State:
		return false
	case started < f.startedFrom, f.startedTo > 0 && started >= f.startedTo:
		return false
	case f.endedFrom+f.endedTo > 0 && Live(rec.State), rec.EndedWall < f.endedFrom, f.endedTo > 0 && rec.EndedWall >= f.endedTo:
		return false
	case f.stuck && (!Live(rec.State) || ns.changedAt(rec) > f.quietSince):
		return false
	}
	return has(rec.Labels, f.labels) && has(rec.Keys, f.keys)
}

// has says whether all that are wanted are among pairs.
func has(pairs, wanted []*logv1.Pair) bool {
	for _, want := range wanted {
		if !slices.ContainsFunc(pairs, func(p *logv1.Pair) bool { return p.Key == want.Key && p.Value == want.Value }) {
			return false
		}
	}
	return true
}

// query is one page of a list, over a point in time.
type query struct {
	*filter
	in    table.Snapshot
	ns    *namespace // only its record and name are read, as they were at that point
	order listOrder
	from  *spot // the last of the page before
	limit int
}

// ListInstances lists instances. All filters that are set must match; a page may be short, or empty with a next one, when few of
// many instances match.
func (m *Machine) ListInstances(r *v1.ListInstancesRequest) (*v1.ListInstancesResponse, error) {
	s, level, err := m.query(r)
	if err != nil {
		return nil, err
	}
	defer s.in.Close()
	if level < searchLevel || s.order == byID {
		return s.scan(r, level)
	}
	return s.page()
}

// query pins the state, and checks what a list asks of it.
func (m *Machine) query(r *v1.ListInstancesRequest) (s *query, level uint32, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, level, refusal := m.queryOf(r)
	if refusal != nil {
		return nil, 0, refusal
	}
	s.in, err = m.viewed()
	return s, level, err
}

func (m *Machine) queryOf(r *v1.ListInstancesRequest) (*query, uint32, *Refusal) {
	ns, refusal := m.namespace(r.Namespace)
	if refusal != nil {
		return nil, 0, refusal
	}
	f, refusal := filterOf(r, m.group.Wall)
	if refusal != nil {
		return nil, 0, refusal
	}
	s := &query{filter: f, ns: &namespace{rec: &logv1.Namespace{Namespace: ns.rec.Namespace, IndexedWall: ns.rec.IndexedWall}}, limit: pageLimit(r.Limit)}
	level := m.level()
	if level < searchLevel {
		if f.stuck || r.Order != 0 {
			return nil, 0, Refuse(v1.Code_CODE_UNSUPPORTED, "this needs cluster level %d, and the cluster is at level %d: until then there is no order but that of ids, and nothing is known to be stuck", searchLevel, level)
		}
		return s, level, nil
	}
	if ns.rec.Indexing && r.Order != 0 {
		return nil, 0, Refuse(v1.Code_CODE_INDEX_NOT_READY, "the instances of namespace %s are being added to the index, up to %q now: until then there is no order but that of ids", ns.rec.Namespace, ns.rec.IndexedTo)
	}
	return s, level, s.resume(r, ns.rec.Indexing)
}

// page answers a page from the index.
func (s *query) page() (*v1.ListInstancesResponse, error) {
	in, err := s.fewest()
	if err != nil {
		return nil, err
	}
	out, seen, size := &v1.ListInstancesResponse{}, 0, 0
	last := s.from
	for {
		next, err := in.next()
		if err != nil || next == nil {
			return out, err
		}
		if len(out.Instances) >= s.limit || seen >= searched || size > pageBytes {
			out.NextPage = s.order.cursor(last)
			return out, nil
		}
		seen, last = seen+1, next
		value, found, err := s.in.Get(key(tableInstance, s.ns.rec.Namespace, next.id))
		if err != nil {
			return nil, err
		}
		rec := &logv1.Instance{}
		if err := proto.Unmarshal(value, rec); err != nil {
			return nil, err
		}
		if found && s.matches(s.ns, rec) {
			head, bytes, err := s.head(rec)
			if err != nil {
				return nil, err
			}
			size += len(value) + bytes
			out.Instances = append(out.Instances, head)
			if plant.Is(plant.PageSkips) && len(out.Instances) >= s.limit {
				if _, err := in.next(); err != nil {
					return nil, err
				}
			}
		}
	}
}

// head is what a list has of an instance, and how many bytes its payloads are.
func (s *query) head(rec *logv1.Instance) (*v1.Instance, int, error) {
	head, err := (&instance{ns: s.ns, rec: rec, root: frame{payloads: payloadsOf(rec), owner: whole}}).head(s.in)
	return head, len(head.GetInputPayload().GetBytes()) + len(head.GetOutputPayload().GetBytes()), err
}
