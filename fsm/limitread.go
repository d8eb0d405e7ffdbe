package fsm

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// placesTold is up to which place that of a run among those that wait for a limit is counted.
const placesTold = 1000

// ListLimits lists the limits of which slots are taken, or that runs wait for, by key.
func (m *Machine) ListLimits(r *v1.ListLimitsRequest) (*v1.ListLimitsResponse, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	ns, refusal := m.namespace(r.Namespace)
	if refusal != nil {
		return nil, refusal
	}
	out := &v1.ListLimitsResponse{}
	ns.limited.AscendGreaterOrEqual(&limit{key: max(r.Page, r.Prefix)}, func(l *limit) bool {
		tells := m.tellLimit(l)
		switch {
		case !strings.HasPrefix(l.key, r.Prefix):
			return false
		case r.Page != "" && l.key <= r.Page || tells.Used == 0 && tells.Waiting == 0:
			return true
		case len(out.Limits) == pageLimit(r.Limit):
			out.NextPage = out.Limits[len(out.Limits)-1].Key
			return false
		}
		out.Limits = append(out.Limits, tells)
		return true
	})
	return out, nil
}

func (m *Machine) tellLimit(l *limit) *v1.Limit {
	now := m.group.Uptime
	out := &v1.Limit{Namespace: l.ns.rec.Namespace, Key: l.key, Limit: l.limit, Per: durationpb.New(time.Duration(l.per)), Used: l.taken(now)}
	for _, line := range l.lines {
		out.Waiting += int64(line.waiting.Len())
	}
	for _, s := range l.log {
		if back := s.to + l.per; back > now {
			out.NextIn = durationpb.New(elapsed(now, back))
			break
		}
	}
	return out
}

// explainLimit says of a run that waits for a slot which, and which place it has; it says nothing of one that has room.
func (m *Machine) explainLimit(i *instance, at at, e *v1.Explanation) (explained bool) {
	r, k := i.run(at), i.key(at)
	asking := readyRun{r.Order, r.OrderSeq, &k}
	q := i.ns.queues[i.step(at).Queue]
	for n := range r.limits() {
		l := i.ns.limits[r.limits()[n].Key]
		if l == nil || l.differs(&r.limits()[n], m.group.Uptime) || r.limitedBy() != l.key && (r.limitedBy() != "" || m.limitedAs(l, &r.limits()[n], asking) == free) {
			continue
		}
		if l.room(m.group.Uptime) > 0 && (q == nil || !m.wanted(k, q)) {
			continue // there is room, and no worker
		}
		e.Code, e.Limit, e.LimitPlace = v1.ExplainCode_EXPLAIN_CODE_RATE_LIMITED, m.tellLimit(l), 1
		for _, line := range l.lines {
			line.waiting.AscendLessThan(asking, func(readyRun) bool {
				e.LimitPlace++
				return e.LimitPlace < placesTold
			})
		}
		e.Sentence = fmt.Sprintf("Step %q needs a slot of limit %q, of which %d of %s are taken", e.Step, l.key, e.Limit.Used, l.say())
		if e.Limit.NextIn != nil {
			e.NextIn = e.Limit.NextIn
			e.Sentence += fmt.Sprintf("; the next comes back in %s", e.NextIn.AsDuration().Round(time.Millisecond))
		}
		e.Sentence += fmt.Sprintf(", and it is number %d of those who wait.", e.LimitPlace)
		return true
	}
	return false
}

// limitedAs is limited of one that may not be used by anybody now.
func (m *Machine) limitedAs(l *limit, want *graph.Limit, asking readyRun) busyness {
	if l.limit != want.Limit || l.per != want.Per {
		return free
	}
	return m.limited(l, asking)
}

// sayWait says behind a refusal what a run that cannot be leased at once waits for, if that is a slot.
func (i *instance) sayWait(at at) string {
	if key := i.run(at).limitedBy(); key != "" {
		return fmt.Sprintf(", and waits for a slot of limit %q", key)
	}
	return ""
}
