package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/jepsen/check"
	"github.com/lockstep-dev/lockstep/jepsen/workload"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// limits of the workloads' locks.
var limits = map[string]int64{"permits-3": 3}

// sagas are the workloads' instances that may be undone.
var sagas = map[string]check.Saga{
	"saga":  {Undo: []string{"take", "left", "right", "pay"}, Attempts: 3},
	"row":   {Undo: []string{"one", "two", "three", "end"}, Sequential: true, Attempts: 3},
	"bill":  {Undo: []string{"hold", "charge", "ship", "call"}, Attempts: 3},
	"trade": {Undo: []string{"open", "parcel"}, Attempts: 3},
	"move":  {Undo: []string{"debit", "credit"}, Attempts: 3},
	// What a trade called goes by the name of its step.
	"parcel": {Undo: []string{"pack", "send"}, Attempts: 3},
}

// bodies are the workloads' steps inside steps.
var bodies = map[string]map[string]check.Body{"fleet": {
	"each":  {Needs: map[string][]string{"take": nil, "send": {"take"}}, Undo: []string{"take", "send"}, Items: 3, Width: 2},
	"again": {Needs: map[string][]string{"look": nil, "tell": {"look"}}, Undo: []string{"tell"}},
	"turn":  {Needs: map[string][]string{"ask": nil}, Undo: []string{"ask"}, Turns: 2},
}}

// failures are the workloads' instances that go on behind some, with all that their steps need.
var failures = map[string]map[string][]check.Need{"fleet": {
	"list": nil, "each": completed("list"),
	"again": {{Step: "each", Failed: true, Codes: []string{"CHOSEN"}}},
	"turn":  {{Step: "each", Completed: true, Failed: true, Codes: []string{"CHOSEN"}}, {Step: "again", Completed: true}},
	"end":   completed("turn"),
}, "trade": {
	"open": nil, "parcel": completed("open"), "news": nil, "meet": completed("open"), "lot": completed("open"),
	"end": append(completed("parcel", "news"), check.Need{Step: "meet", Completed: true, Failed: true}, check.Need{Step: "lot", Completed: true, Failed: true}),
}, "bill": {
	"hold": nil, "charge": completed("hold"), "ship": completed("charge"),
	"call": {{Step: "charge", Failed: true, Codes: []string{"CHOSEN"}}},
	"look": {{Step: "charge", Failed: true, Codes: []string{"OTHER", "NONE"}}},
	"note": {{Step: "charge", Completed: true, Failed: true}},
	"late": {{Step: "ship", Failed: true, Codes: []string{"OTHER"}}},
	"end":  completed("ship", "call", "look", "note"),
}, "hand": {
	"take": nil, "both": either("take"), "heard": either("take"), "lacks": either("take"),
	"end": append(completed("heard"), append(either("both"), either("lacks")...)...),
}, "book": {
	"take": nil, "post": either("take"), "file": either("take"), "end": append(either("post"), either("file")...),
}}

// either is the need of a step that may as well have failed.
func either(step string) []check.Need {
	return []check.Need{{Step: step, Completed: true, Failed: true}}
}

func completed(steps ...string) (needs []check.Need) {
	for _, s := range steps {
		needs = append(needs, check.Need{Step: s, Completed: true})
	}
	return needs
}

// waits are the signals that steps of the workloads wait for.
var waits = map[string]string{"saga/heard": "go", "row/heard": "go", "row/again": "go", "move/heard": "go", "offer/bought": "go", "rush/bought": "go", "letter/heard": "go", "hand/heard": "go", "crowd/heard": "go"}

// offers are the workloads' instances that wait for anything else.
var offers = map[string]check.Waiting{
	"offer": {After: map[string]time.Duration{"cool": time.Second, "lapses": time.Second}, Until: []string{"opens"}, Approvals: []string{"agreed", "signed"}, Races: map[string][]string{"close": {"agreed", "bought", "lapses"}}},
	"rush":  {After: map[string]time.Duration{"cool": time.Second}, Until: []string{"lapses"}, Approvals: []string{"agreed", "signed"}, Races: map[string][]string{"close": {"agreed", "bought", "lapses"}}, Total: 3 * time.Second},
	"beat":  {After: map[string]time.Duration{"rest": 1500 * time.Millisecond}, Races: map[string][]string{}},
}

// needs are those of the workloads' steps.
func (w *world) needs() map[string][]string {
	out := map[string][]string{
		"named/a": nil, "named/b": {"a"}, "named/c": {"a"}, "named/d": {"b", "c"},
		"polled/take": nil, "polled/both": {"take"}, "polled/some": {"take"}, "polled/end": {"both", "some"},
		"saga/take": nil, "saga/left": {"take"}, "saga/right": {"take"}, "saga/heard": {"left"}, "saga/pay": {"heard", "right"}, "saga/end": {"pay"},
		"row/one": nil, "row/two": nil, "row/heard": {"one"}, "row/again": {"heard"}, "row/three": {"again"}, "row/end": {"two", "three"},
		"move/debit": nil, "move/heard": {"debit"}, "move/credit": {"heard"}, "move/end": {"credit"},
		"parcel/pack": nil, "parcel/send": {"pack"},
		"offer/write": nil, "offer/cool": {"write"}, "offer/opens": {"write"}, "offer/send": {"cool", "opens"}, "offer/agreed": {"send"}, "offer/bought": {"send"}, "offer/lapses": {"send"},
		"offer/close": nil, "offer/signed": {"close"}, "offer/end": {"signed"},
		"beat/rest": nil, "beat/end": {"rest"}, "letter/heard": nil, "letter/end": {"heard"}, "turn/take": nil, "turn/end": {"take"},
		"redo/plan": nil, "redo/cut": {"plan"}, "redo/sew": {"cut"}, "redo/label": {"plan"}, "redo/end": {"sew", "label"},
		"crowd/heard": nil, "crowd/end": {"heard"},
		"rush/write": nil, "rush/agreed": {"write"}, "rush/bought": {"write"}, "rush/lapses": {"write"}, "rush/close": nil, "rush/cool": {"close"}, "rush/signed": {"cool"}, "rush/end": {"signed"},
	}
	for flow, steps := range failures {
		for step, needs := range steps {
			out[flow+"/"+step] = nil
			for _, n := range needs {
				out[flow+"/"+step] = append(out[flow+"/"+step], n.Step)
			}
		}
	}
	for _, p := range w.pipelines {
		for step, needs := range p.Needs {
			out[p.Name+"/"+step] = needs
		}
	}
	return out
}

// plain are the needs of the steps that need completions.
func (w *world) plain() map[string][]string {
	needs := w.needs()
	maps.DeleteFunc(needs, func(of string, _ []string) bool {
		flow, _, _ := strings.Cut(of, "/")
		return failures[flow] != nil || flow == redone
	})
	return needs
}

// judge takes everything to its end and checks it.
func (w *world) judge(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	ops, err := w.history.Close()
	if err != nil {
		return err
	}
	w.report.count(ops)
	w.report.check("what has not ended is explained", "liveness", w.explained(ctx))
	w.report.check("nothing is stuck", "liveness", w.finish(ctx, ops))
	for _, p := range w.workers {
		if p != nil {
			_ = p.Close() // nothing is left to do
		}
	}
	events, facts, err := w.feeds(ctx)
	if err != nil {
		return err
	}
	w.report.check("all nodes tell the same events", "S7", facts)
	w.report.check("the feed keeps the rules", "S1", check.Feed(events, w.plain(), limits))
	w.report.check("what is behind a failure needs it", "S1", check.Failures(events, failures))
	w.report.check("what is inside a step keeps its rules", "S1", check.Bodies(events, bodies))
	w.report.check("who is called ends before who called", "saga", check.Calls(events))
	w.report.check("the parties of a barrier go on together", "S1", check.Barriers(events))
	w.report.check("who waits by a key goes on with those that have it", "S1", check.AwaitKeys(events))
	w.report.check("what was completed is undone", "saga", check.Sagas(events, w.needs(), sagas))
	w.report.check("a fork has what was done before its step", "S1", check.Forks(events, w.needs(), sagas))
	w.report.check("what is set back is done anew", "S1", check.Resets(events, w.redos()))
	w.report.check("what is held is held by one", "locks", check.Holds(events))
	w.report.check("a signal is applied once", "S5", check.Signals(events, waits))
	w.report.check("a signal by key finds who has the key", "S4", check.Keys(ops, events))
	w.report.check("what waits ends once, and in its time", "S1", check.Waits(ops, events, offers))
	w.report.check("each time of a schedule is decided once", "schedule", check.Schedules(ops, events, plans()))
	w.report.check("operators are obeyed", "S1", check.Operators(ops, events))
	w.report.check("a bulk operation comes to each once", "S4", check.Bulks(events, workload.Crowd))
	w.report.check("one at a time has an id", "id", check.Lines(events, "turn"))
	w.report.check("answers fit the feed", "S3", check.Answers(ops, events))
	w.report.check("locks are linearizable", "S4", check.Locks(ops, time.Minute))
	w.report.check("looks see what was acknowledged", "S4", check.Peeks(ops))
	w.report.check("no window has more leases than its limit", "limits", check.Limits(ops, events, workload.Limited))
	w.report.limited(events)
	w.report.check("no lease ends early", "S6", check.Leases(ops))
	w.report.check("stale reads are as old as they say", "stale reads", check.Stale(ops, events))
	w.report.check("watches have no gap", "L7", w.report.watched())
	w.judgeArchive(ctx)
	w.report.check("all digests are equal", "S7", w.digests(ctx))
	writes, err := w.register.Close()
	if err != nil {
		return err
	}
	w.report.register(writes, events)
	w.report.undone(events)
	w.report.held(events)
	w.report.waited(events)
	w.report.scheduled(events)
	w.report.keyed(events)
	w.report.lined(events)
	w.report.forked(events)
	w.report.operated(events)
	w.report.reset(events)
	w.report.bulked(events)
	w.report.check("a plan is applied once, and when nothing has moved", "S4", check.Plans(ops, events))
	w.report.reconciled(ops, events)
	w.report.swept(events)
	w.report.Events = len(events)
	w.report.verdict()
	return nil
}

// finish takes every instance that was started to its end; one that does not get there is explained. A queue that moves is not
// stuck, however long it is; what has not ended when nothing moves any more is.
func (w *world) finish(ctx context.Context, ops []*check.Op) (facts []check.Fact) {
	told, wait := started(ops, append(slices.Collect(maps.Keys(sagas)), "letter")...), started(ops, slices.Collect(maps.Keys(offers))...)
	limited, cancel := context.WithTimeout(ctx, 10*time.Minute) // what is stuck must not keep the rest from being checked
	defer cancel()
	moving := whileItMoves(limited, 30*time.Second, w.position)
	if err := errors.Join(workload.Finish(moving, w.client, started(ops, "named")), workload.TellRest(moving, w.client, told, ops), workload.DecideRest(moving, w.client, wait)); err != nil {
		facts = append(facts, check.Fact{Guarantee: "liveness", What: err.Error()})
	}
	workload.HandRest(moving, w.client, started(ops, "hand"))
	workload.CrowdRest(moving, w.client, started(ops, "crowd"))
	w.history.BookRest(moving, w.client, started(ops, "book"))
	facts = append(facts, w.settle(ctx, moving)...)
	for _, id := range started(ops) {
		workload.End(moving, w.client, id)
	}
	for _, id := range started(ops) {
		i, err := w.client.Get(ctx, id)
		if err == nil && (i.State == v1.InstanceState_INSTANCE_STATE_COMPLETED || ended(i.State) && (undoes(id) || mayEnd(id, i.Code))) {
			continue
		}
		facts = append(facts, check.Fact{Guarantee: "liveness", What: fmt.Sprintf("instance %s is %s: %v; %s", id, i.GetState(), err, w.explain(ctx, id))})
		if len(facts) > 20 {
			break
		}
	}
	return facts
}

// whileItMoves is a context that ends when a position has not moved for so long, or was not told.
func whileItMoves(ctx context.Context, patience time.Duration, position func(context.Context) (int64, error)) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		last, since := int64(-1), time.Now()
		for ctx.Err() == nil && time.Since(since) < patience {
			looking, enough := context.WithDeadline(ctx, since.Add(patience))
			if at, err := position(looking); err == nil && at != last {
				last, since = at, time.Now()
			}
			enough()
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}()
	return ctx
}

func ended(s v1.InstanceState) bool {
	return s == v1.InstanceState_INSTANCE_STATE_COMPLETED || s == v1.InstanceState_INSTANCE_STATE_FAILED || s == v1.InstanceState_INSTANCE_STATE_CANCELLED
}

// started are the instances of which a start was acknowledged, or that a signal by key was told to have reached: of some workflows, or all.
func started(ops []*check.Op, workflows ...string) (ids []string) {
	seen := map[string]bool{}
	for _, op := range ops {
		workflow, _, _ := strings.Cut(op.Instance, "-")
		is := (op.Kind == "start" || op.Kind == "message" && op.Instance != "") && op.Outcome == check.OK && !seen[op.Instance]
		if is && (len(workflows) == 0 || slices.Contains(workflows, workflow)) {
			seen[op.Instance] = true
			ids = append(ids, op.Instance)
		}
	}
	return ids
}

// undoes says that an instance is of a saga: it may end otherwise than well.
func undoes(id string) bool {
	workflow, _, _ := strings.Cut(id, "-")
	_, is := sagas[workflow]
	return is || bodies[workflow] != nil
}

// mayEnd says that an instance may end for the reason that it has: who is asked says no, its time is over, another took its id, an operator
// failed it, or it was cancelled with a crowd.
func mayEnd(id, code string) bool {
	workflow, _, _ := strings.Cut(id, "-")
	is, waits := offers[workflow]
	return workload.InCrowd(id) || workflow == "turn" && code == "REPLACED" || workflow == "hand" && code == "BY_HAND" || workflow == "book" && code == workload.SeenBad || waits && (code == "REJECTED" || code == "TIMEOUT" && is.Total > 0)
}

func (w *world) explain(ctx context.Context, id string) string {
	all, err := w.client.Explain(ctx, id, "")
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, e := range all {
		out = append(out, e.Sentence)
	}
	return strings.Join(out, " ")
}

// feeds reads the whole feed from every node, up to what the first has, and compares them.
func (w *world) feeds(ctx context.Context) (events []check.Event, facts []check.Fact, err error) {
	ns, err := w.position(ctx)
	if err != nil {
		return nil, nil, err
	}
	var first []*v1.Event
	for at, n := range w.lab.Nodes {
		got, err := feed(ctx, w.single[n], ns)
		if err != nil {
			return nil, nil, fmt.Errorf("read the feed of node %d: %w", n.Number, err)
		}
		if at == 0 {
			first = got
			continue
		}
		for i := range first {
			if i >= len(got) || !proto.Equal(first[i], got[i]) {
				facts = append(facts, check.Fact{Guarantee: "S7", What: fmt.Sprintf("event %d is %v on node 1 and %v on node %d", i+1, first[i], got[min(i, len(got)-1)], n.Number)})
				break
			}
		}
	}
	for _, e := range first {
		events = append(events, event(e))
	}
	return events, facts, nil
}

func (w *world) position(ctx context.Context) (int64, error) {
	ns, err := w.client.Namespaces.GetNamespace(ctx, connect.NewRequest(&v1.GetNamespaceRequest{Namespace: client.DefaultNamespace}))
	if err != nil {
		return 0, fmt.Errorf("read the newest position: %w", err)
	}
	return ns.Msg.Position, nil
}

// feed reads a node's events up to a position.
func feed(ctx context.Context, c *client.Client, until int64) (out []*v1.Event, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for e, err := range c.Watch(ctx, client.WatchOptions{}) {
		if err != nil {
			return nil, err
		}
		out = append(out, e)
		if e.Position >= until {
			break
		}
	}
	return out, nil
}

func event(e *v1.Event) check.Event {
	kind := strings.TrimSuffix(strings.TrimPrefix(e.Type, "lockstep."), ".v1")
	d := e.Data
	out := check.Event{
		Position: e.Position, Type: kind, Instance: d.GetInstanceId(), Step: check.RunName(d.GetStep(), d.GetIndex()), Token: d.GetToken(), Lock: d.GetLock(),
		Shared: d.GetShared(), Take: int64(d.GetTake()), Late: d.GetLate(), Code: d.GetCode(), Wall: e.Time.AsTime().UnixNano(),
		Other: d.GetOtherInstance(), OtherStep: check.RunName(d.GetOtherStep(), d.GetOtherIndex()),
	}
	if due := d.GetDue(); due != nil {
		out.Due = due.AsTime().UnixNano()
	}
	switch {
	case strings.HasPrefix(kind, "signal."):
		if out.Signal, out.Name = d.GetCode(), d.GetName(); d.GetKeyName() != "" {
			out.Key = d.KeyName + "=" + d.KeyValue
		}
	case kind == "limit.taken":
		out.LimitKey, out.Limit, out.Per, out.Count = d.GetLimitKey(), int64(d.GetLimit()), time.Duration(d.GetPer()), int64(d.GetCount())
	case kind == "instance.reset":
		out.Name, out.Count, out.Index = d.GetName(), int64(d.GetCount()), d.GetIndex()
	case d.GetForkedFrom() != "", kind == "step.copied":
		out.Name, out.Count, out.Forked = d.GetName(), int64(d.GetCount()), d.GetForkedFrom()
	case kind == "retention.removed":
		out.Count, out.Through = d.GetRemoved(), d.GetThrough()
	case strings.HasPrefix(kind, "schedule."), kind == "barrier.passed", out.Code == "BARRIER":
		out.Name, out.Count = d.GetName(), int64(d.GetCount())
	case kind == "instance.keyed", kind == "step.waiting" && out.Code == "KEY":
		out.Key, out.Count = d.GetKeyName()+"="+d.GetKeyValue(), int64(d.GetCount())
	}
	if out.Bulk, out.Changed = d.GetBulk(), d.GetChanged(); strings.HasPrefix(kind, "bulk.") {
		out.Count = int64(d.GetCount())
	}
	out.Instances, out.Reason = d.GetInstances(), d.GetReason()
	out.Plan, out.Drift = d.GetPlan(), d.GetDrift()
	return out
}

// digests compares all nodes' at the newest index that all of them tell.
func (w *world) digests(ctx context.Context) []check.Fact {
	for limit := time.Now().Add(20 * time.Second); ; {
		told := map[uint64]map[string][]int{}
		for _, n := range w.lab.Nodes {
			if s := w.status(n); s != nil {
				for _, d := range s.Digests {
					if told[d.Index] == nil {
						told[d.Index] = map[string][]int{}
					}
					told[d.Index][d.Digest] = append(told[d.Index][d.Digest], n.Number)
				}
			}
		}
		common := 0
		for index, digests := range told {
			nodes := map[int]bool{}
			for _, list := range digests {
				for _, n := range list {
					nodes[n] = true
				}
			}
			if len(nodes) < len(w.lab.Nodes) {
				continue
			}
			if common++; len(digests) > 1 {
				return []check.Fact{{Guarantee: "S7", What: fmt.Sprintf("digests at index %d differ: %v", index, digests)}}
			}
		}
		if common > 0 {
			w.report.DigestsEqual = true
			return nil
		}
		if time.Now().After(limit) || ctx.Err() != nil {
			return []check.Fact{{Guarantee: "S7", What: "no index was found at which all nodes tell a digest"}}
		}
		pause(ctx, 200*time.Millisecond)
	}
}
