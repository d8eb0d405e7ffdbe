package check

import (
	"cmp"
	"slices"
	"time"
)

// clocksDiffer is by how much the cluster's time may pass faster than that of the history, in parts of it.
const clocksDiffer = 100

// Limits checks that a lease of a step that is limited takes the slots that it needs, and that there never were more leases in a window
// than a limit allows. Neither the clocks of nodes nor what events tell of time count: between which times of the history a lease was granted is told
// by the calls alone. It was not before the call that asked for it, or for one under an older token, and not after the answer to that, or to one under a newer
// token, nor after its holder went on with it. Leases that may have been as far apart as they must be are believed.
//
// limited are how many limits a step has, by the first word of an instance's name and the step.
func Limits(ops []*Op, events []Event, limited map[string]int) []Fact {
	var f faults
	taken := map[string][]Event{}
	var keys []string
	var leased Event
	left := 0
	for _, e := range events {
		switch {
		case e.Type == "limit.taken" && (left == 0 || e.Token != leased.Token):
			f.add("limits", "position %d: a slot of limit %s is taken under token %d, and no lease needs it", e.Position, e.LimitKey, e.Token)
		case e.Type == "limit.taken":
			left--
			if e.Count > e.Limit {
				f.add("limits", "position %d: %d slots of limit %s are taken, which has %d", e.Position, e.Count, e.LimitKey, e.Limit)
			}
			if taken[e.LimitKey] == nil {
				keys = append(keys, e.LimitKey)
			}
			taken[e.LimitKey] = append(taken[e.LimitKey], e)
		case left > 0:
			f.add("limits", "position %d: %s of %s is leased under token %d without %d of its slots", leased.Position, leased.Step, leased.Instance, leased.Token, left)
			left = 0
		}
		if e.Type == "step.leased" {
			leased, left = e, limited[first(e.Instance)+"/"+e.Step]
		}
	}
	times := grantTimes(ops)
	for _, key := range keys {
		f.window(key, taken[key], times)
	}
	return f.list
}

// window: between the first and the last of one more than there may be lies the time of the limit.
func (f *faults) window(key string, taken []Event, times []grantTime) {
	for n, last := range taken {
		if n < int(last.Limit) {
			continue
		}
		first := taken[n-int(last.Limit)]
		earliest, _ := between(times, first.Token)
		_, latest := between(times, last.Token)
		if least := last.Per - last.Per/clocksDiffer; latest-earliest < least {
			f.add("limits", "%d leases of limit %s, under tokens %d to %d, were within %s, and there are %d per %s", last.Limit+1, key, first.Token, last.Token, latest-earliest, last.Limit, last.Per)
		}
	}
}

// grantTime is what calls tell of when a token was granted: not before, and not after.
type grantTime struct {
	token         int64
	after, before time.Duration
}

const atTheEnd = time.Duration(1<<63 - 1)

// grantTimes are those of all tokens that calls tell of, by token: tokens grow with time, so what is known of one bounds the others.
func grantTimes(ops []*Op) (times []grantTime) {
	for _, op := range ops {
		switch {
		case op.Token == 0:
		case (op.Kind == "lease" || op.Kind == "acquire") && op.Outcome == OK:
			times = append(times, grantTime{op.Token, op.Invoke, op.Return})
		case op.Kind == "complete" || op.Kind == "release" || op.Kind == "unlock":
			times = append(times, grantTime{op.Token, 0, op.Invoke})
		}
	}
	slices.SortFunc(times, func(a, b grantTime) int { return cmp.Compare(a.token, b.token) })
	for n := range times[min(1, len(times)):] {
		times[n+1].after = max(times[n+1].after, times[n].after)
	}
	for n := len(times) - 2; n >= 0; n-- {
		times[n].before = min(times[n].before, times[n+1].before)
	}
	return times
}

// between are the times between which a token was granted.
func between(times []grantTime, token int64) (after, before time.Duration) {
	at, found := slices.BinarySearchFunc(times, token, func(t grantTime, token int64) int { return cmp.Compare(t.token, token) })
	before = atTheEnd
	if at < len(times) {
		before = times[at].before
	}
	for end := at; found && end < len(times) && times[end].token == token; end++ {
		after = max(after, times[end].after)
	}
	if !found && at > 0 {
		after = times[at-1].after
	}
	return after, before
}
