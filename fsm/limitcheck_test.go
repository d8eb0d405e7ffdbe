package fsm

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// checkLimits: no limit has more slots taken than it has; each has those runs in line that need it; where it has room for one that waits, it
// is going to be looked at; and one that nobody uses is not there.
func checkLimits(m *Machine, ns *namespace) error {
	want := map[string]map[string]int{} // by key, queue and what the run does
	for _, i := range ns.instances {
		for at, r := range i.all() {
			if r.State != v1.RunState_RUN_STATE_READY || i.paused() { // then it is in no line
				if r.limitedBy() != "" {
					return fmt.Errorf("step %s of %s is %s, and waits at limit %s", i.step(at).ID, i.rec.InstanceId, r.State, r.limitedBy())
				}
				continue
			}
			k := i.key(at)
			for _, l := range r.limits() {
				what := "offered"
				if r.limitedBy() == l.Key {
					what = "waiting"
				} else if r.limitedBy() != "" || r.Parked != "" {
					what = "others"
				}
				if want[l.Key] == nil {
					want[l.Key] = map[string]int{}
				}
				want[l.Key][m.lineOf(&k, ns.queue(i.step(at).Queue)).lineName()+" "+what]++
			}
		}
	}
	if len(ns.limits) != ns.limited.Len() {
		return fmt.Errorf("there are %d limits, and %d in their order", len(ns.limits), ns.limited.Len())
	}
	for key, l := range ns.limits {
		if err := checkLimit(m, l, want[key]); err != nil {
			return fmt.Errorf("limit %s: %w", key, err)
		}
		delete(want, key)
	}
	if len(want) > 0 {
		return fmt.Errorf("runs need limits that are not there: %v", want)
	}
	return nil
}

func checkLimit(m *Machine, l *limit, want map[string]int) error {
	got, now := map[string]int{}, m.group.Uptime
	for _, line := range l.lines {
		for what, n := range map[string]int{"waiting": line.waiting.Len(), "others": line.others.Len(), "offered": line.offered} {
			if n != 0 {
				got[line.queue.lineName()+" "+what] = n
			}
		}
		if line.waiting.Len() > 0 && line.offered < min(l.room(now), maxOffered) && l.due == 0 {
			return fmt.Errorf("%d of %q wait, there is room, and nobody looks", line.waiting.Len(), line.queue.lineName())
		}
	}
	if !maps.Equal(got, want) && (len(got) > 0 || len(want) > 0) {
		return fmt.Errorf("it has in line %v, and there are %v", got, want)
	}
	var used int32
	for n, s := range l.log {
		used += s.n
		if n > 0 && s.from <= l.log[n-1].to {
			return fmt.Errorf("its log is out of order: %v", l.log)
		}
	}
	switch {
	case used != l.used || used > l.limit:
		return fmt.Errorf("%d of %d slots are taken, and its log says %d", l.used, l.limit, used)
	case len(l.log) > exactSlots+2:
		return fmt.Errorf("its log has %d items", len(l.log))
	case len(got) == 0 && !l.logged():
		return fmt.Errorf("nobody uses it")
	case l.logged() && l.due == 0:
		return fmt.Errorf("its slots never come back")
	}
	return nil
}

// sayLimits is all that is known of a namespace's limits.
func sayLimits(ns *namespace) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(ns.limits)) {
		l := ns.limits[key]
		if l.logged() {
			fmt.Fprintf(&b, "limit %q %d %d %d %v", key, l.limit, l.per, l.retryAt, l.log)
		} else {
			fmt.Fprintf(&b, "limit %q", key)
		}
		fmt.Fprintf(&b, " due %d\n", l.due)
		for _, line := range l.lines {
			fmt.Fprintf(&b, "  line %q %d\n", line.queue.lineName(), line.offered)
			line.waiting.Ascend(func(r readyRun) bool { fmt.Fprintf(&b, "    waits %d %d %v\n", r.order, r.seq, *r.run); return true })
			line.others.Ascend(func(r limitedRun) bool {
				fmt.Fprintf(&b, "    other %d %d %v %d\n", r.order, r.seq, *r.run, r.skippedAt)
				return true
			})
		}
	}
	return b.String()
}
