package fsm

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lockstep-dev/lockstep/fsm/graph/source"
	"github.com/lockstep-dev/lockstep/fsm/table"
	"github.com/lockstep-dev/lockstep/jepsen/require"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// theWorkflows have everything that a random walk should meet: locks of each kind, joins, conditions, signals,
// retries, timeouts, expressions that fail, compensations, timers, races, approvals, calls, waits for other instances, barriers, keys of
// fairness, waits by keys, and keys that steps give.
var theWorkflows = [...]string{`
workflow: w0
steps:
  a: {queue: q0, locks: ["x/${input.k}"], retry: {attempts: 3, backoff: 1s}, timeouts: {run: 20s, queue: 60s, total: 200s}}
  b: {queue: q1, needs: [a], locks: [{name: p, limit: 2}], when: "input.k != 2", timeouts: {heartbeat: 5s}}
  c: {queue: q0, needs: [a], locks: [{name: "x/0", shared: true}, {name: p, limit: 2, take: 2}]}
  d: {queue: q1, needs: [b, c], join: any, input: {was: "${input.k}"}}
  e: {needs: [d], signal: {name: go}, timeouts: {total: 90s}}
output: {k: "${input.k}"}
`, `
workflow: w1
steps:
  a: {queue: q0}
  b: {queue: q0, needs: [a], input: {x: "${steps.a.output.n + 1}"}}
  c: {queue: q1, needs: [a], when: "input.k == 7"}
  d: {queue: q1, needs: [c, b], priority: 3, retry: {attempts: 1}}
`, `
workflow: w2
steps:
  a: {queue: q0, compensate: {retry: {attempts: 1}}}
  b: {queue: q1, needs: [a], compensate: {queue: q0, task: u, input: {n: "${steps.b.output.n}"}, locks: [{name: p, limit: 2}, "x/${input.k}"], priority: 2}}
  c: {queue: q0, needs: [a], when: "input.k != 2", compensate: {retry: {attempts: 2}, timeouts: {run: 20s, queue: 60s, total: 100s, heartbeat: 5s}}}
  d: {queue: q1, needs: [b, c], retry: {attempts: 1}, compensate: {}}
  e: {queue: q0, needs: [d], retry: {attempts: 1}}
output: {k: "${steps.e.output.n}"}
`, `
workflow: w3
compensation: sequential
steps:
  a: {queue: q0, compensate: {queue: q1}}
  b: {queue: q0, locks: ["x/${input.k}"], compensate: {}}
  c: {needs: [a, b], queue: q1, input: {x: "${steps.a.output.n + 1}"}, compensate: {retry: {attempts: 1}}}
  d: {needs: [c], queue: q1, retry: {attempts: 1}}
`, `
workflow: w4
timeouts: {total: 150s}
steps:
  a: {queue: q0, compensate: {queue: q1}}
  b: {needs: [a], timer: {after: 7s}}
  c: {needs: [a], approval: {role: r}, timeouts: {total: 40s}}
  d: {timer: {until: "2024-01-01T00:0${input.k}:30Z"}}
  e: {race: [c, d, f], queue: q1, compensate: {}}
  f: {needs: [b], signal: {name: go}}
  g: {race: [h, i], queue: q1}
  h: {timer: {after: 20s}}
  i: {needs: [a], timer: {until: "${timestamp(steps.a.output.n == 1 ? '2024-01-01T00:00:20Z' : input.k)}"}}
`, `
workflow: w5
steps:
  a: {queue: q0, locks: ["x/${input.k}"], retry: {attempts: 2, backoff: 1s}, timeouts: {queue: 60s}, compensate: {}}
  b: {needs: [{step: a, ends: failed, codes: [E, TIMEOUT_QUEUE]}], queue: q1, locks: ["x/${input.k}"], retry: {attempts: 1}, compensate: {}}
  c: {needs: [a], approval: {}, timeouts: {total: 30s}}
  d: {needs: [{step: c, ends: failed}, {step: b, ends: any}], join: any, queue: q0, input: {why: "${has(steps.c.error) ? steps.c.error.code : ''}"}, compensate: {}}
  e: {needs: [{step: a, ends: any}, {step: d, ends: failed}, {step: b, ends: failed}], join: {atLeast: 2}, queue: q1}
`, `
workflow: w6
steps:
  a: {queue: q0, compensate: {}}
  b: {needs: [a], call: {workflow: w7}, input: {k: "${input.k}"}, timeouts: {total: 60s}, compensate: {queue: q1}}
  c: {needs: [{step: b, ends: failed}], queue: q1}
  d: {await: {instance: "i${input.k}", step: a}, timeouts: {total: 40s}}
  e: {needs: [d], when: "input.k == 1", call: {workflow: w1, parentClose: abandon}}
  f: {await: {instance: "i${input.k + 4}"}}
  g: {timer: {after: 50s}}
  h: {race: [f, g], queue: q0}
output: {k: "${input.k}"}
`, `
workflow: w7
steps:
  a: {queue: q0, retry: {attempts: 2, backoff: 1s}, compensate: {}}
  b: {needs: [a], when: "input.k == 2", call: {workflow: w6, detach: true}, compensate: {}}
  c: {needs: [a], await: {instance: "i${input.k + 5}", step: h}, timeouts: {total: 30s}}
  d: {needs: [{step: c, ends: any}, b], queue: q1}
`, `
workflow: w8
steps:
  a: {queue: q0, locks: [{name: "x/${input.k}", hold: instance}], compensate: {locks: ["x/${input.k}", y]}}
  b: {needs: [a], queue: q1, locks: [{name: "x/${(input.k + 1) % 3}", hold: instance}], retry: {attempts: 2, backoff: 1s}, timeouts: {total: 90s, locks: 20s}, compensate: {locks: [y], timeouts: {locks: 15s}}}
  c: {queue: q0, locks: [{name: y, shared: true, hold: instance}], retry: {nonRetryable: [DEADLOCK]}, timeouts: {locks: 9s}}
  d: {needs: [{step: b, ends: any}, c], queue: q1, locks: [{name: y, hold: instance}, "x/${input.k}"], retry: {attempts: 2}}
  e: {needs: [a], await: {instance: "i${input.k + 6}"}, timeouts: {total: 40s}}
`, `
workflow: w9
steps:
  a:
    forEach:
      in: [0, 1, 2]
      width: 2
      steps:
        f: {queue: q0, locks: [{name: "x/${item}", hold: scope}], compensate: {locks: ["x/${item}"]}}
        g: {needs: [f], queue: q1, locks: ["x/${item}", {name: "x/${(item + 1) % 3}", shared: true, hold: scope}], retry: {attempts: 2, backoff: 1s}}
    timeouts: {total: 120s}
  b: {needs: [{step: a, ends: any}], queue: q0, locks: [{name: "x/${input.k}", hold: scope}], compensate: {}}
  c: {needs: [b], call: {workflow: w8}, input: {k: "${input.k}"}, timeouts: {total: 60s}}
`, `
workflow: w10
steps:
  a: {barrier: {name: "m${input.k % 2}", parties: "${input.k == 3 ? 3 : 2}"}, timeouts: {total: 40s}}
  b: {needs: [a], queue: q0, input: "${steps.a.output}"}
  c: {queue: q1, compensate: {}}
  d: {needs: [c], barrier: {name: m0, parties: 2}, timeouts: {total: 20s}}
  e: {timer: {after: 15s}}
  f: {race: [d, e], queue: q0}
  g: {forEach: {in: [1, 2, 3], width: 2, steps: {h: {barrier: {name: items, parties: 2}, timeouts: {total: 30s}}}}}
`, `
workflow: w11
steps:
  a: {queue: q0, fairness: {key: "c${input.k}", weight: 3}, compensate: {fairness: {key: u}}}
  b: {queue: q0, fairness: {key: "${input.k == 0 ? '' : 'c1'}"}, priority: 1}
  c: {needs: [a], queue: q0, fairness: {key: "c${steps.a.output.n}"}, locks: ["x/${input.k}"], retry: {attempts: 2, backoff: 1s}}
  d: {needs: [b], queue: q1, fairness: {key: "d${input.k}", weight: 7}, timeouts: {queue: 60s, run: 20s}}
`, `
workflow: w12
steps:
  a: {queue: q0, limits: [{key: "p${input.k}", limit: 2, per: 10s}], compensate: {limits: [{key: undo, limit: 1, per: 1s}]}}
  b: {queue: q1, limits: [{key: "p${input.k}", limit: 2, per: 10s}, {key: all, limit: 3, per: 7s}], priority: 1, retry: {attempts: 4, backoff: 1s}}
  c: {needs: [a], queue: q0, limits: [{key: all, limit: 3, per: 7s}], locks: ["x/${input.k}"], fairness: {key: "c${input.k}"}, timeouts: {run: 20s}}
  d: {queue: q2, limits: [{key: all, limit: 3, per: 7s}], timeouts: {queue: 60s}}
  e: {needs: [b], queue: q0, limits: [{key: "p${input.k}", limit: 5, per: 10s}], locks: [{name: "y", limit: 2}]}
`, `
workflow: w13
steps:
  a: {queue: q0, keys: {k2: "v${input.k}"}}
  b: {await: {key: {k0: "v${input.k}"}}, timeouts: {total: 60s}}
  c: {needs: [a], await: {key: {k0: "v${input.k + 1}"}, of: all}, timeouts: {total: 40s}}
  d: {await: {key: {k2: "v${input.k}"}, step: a, of: {atLeast: 2}}, timeouts: {total: 50s}}
  e: {await: {key: {k1: v1}, step: a, of: all}, timeouts: {total: 30s}}
  f: {needs: [{step: b, ends: any}, {step: d, ends: any}], queue: q1, keys: {k1: "v${output.n}", k2: "v${input.k}"}, compensate: {}}
  g: {timer: {after: 15s}}
  h: {race: [e, g], queue: q0}
`}

// walk makes random entries that mean something: it remembers sessions and leases.
type walk struct {
	random   *rand.Rand
	index    uint64
	term     uint64
	elapsed  int64
	wall     int64 // behind that of the workflows' dates
	requests map[int64]int64
	sessions []int64
	runs     []*v1.LeasedRun
	locks    []struct {
		name  string
		token int64
	}
	seen    []*v1.PlannedAction // observations that are drift
	fresh   bool                // one of them was told in the last entry
	started int
	planned map[string][2]int64 // by schedule, the position of the event that made it, and up to when its times are over
	streams map[int64]uint64    // by session: the wait id of its stream
}

func newWalk(seed int64) *walk {
	return &walk{random: rand.New(rand.NewSource(seed)), term: 1, requests: map[int64]int64{}, streams: map[int64]uint64{}, planned: map[string][2]int64{}}
}

func (w *walk) pick(n int) int { return w.random.Intn(n) }

func (w *walk) session() int64 {
	if len(w.sessions) == 0 || w.pick(40) == 0 {
		return int64(w.pick(20))
	}
	return w.sessions[w.pick(len(w.sessions))]
}

func (w *walk) run() *v1.LeasedRun {
	if len(w.runs) == 0 {
		return &v1.LeasedRun{InstanceId: "i0", Step: "a", Token: int64(w.pick(30))}
	}
	// Newer ones more often, so that most completions are the first.
	at := len(w.runs) - 1 - w.pick(min(len(w.runs), 1+w.pick(20)))
	return w.runs[at]
}

// entry makes the next entry, often of several commands.
func (w *walk) entry() *logv1.Entry {
	w.elapsed += int64(w.pick(4)) * second / 4
	if w.pick(30) == 0 {
		w.elapsed += int64(w.pick(30)) * second
	}
	if w.pick(60) == 0 {
		w.term++
		w.elapsed = 0
	}
	e := &logv1.Entry{Header: &logv1.Header{Term: w.term, Elapsed: w.elapsed, Due: w.elapsed, Level: Level}}
	if w.wall += int64(w.pick(3)) * second; w.pick(20) > 0 {
		e.Header.Wall = 1704067200*second + w.wall - int64(w.pick(5))*second
	}
	if w.pick(2) == 0 {
		e.Header.Due -= int64(w.pick(20)) * second // the leader had more in hand
	}
	if w.pick(50) == 0 {
		e.Header.Term-- // proposed in another term than it is committed in
	}
	for _, s := range w.sessions {
		if w.pick(6) == 0 {
			r := &logv1.Renewal{Session: s, TokensComplete: w.pick(3) == 0}
			for _, run := range w.runs[max(0, len(w.runs)-8):] {
				if run.SessionId == sessionName(s) && w.pick(4) > 0 {
					r.Tokens = append(r.Tokens, run.Token)
				}
			}
			e.Renewals = append(e.Renewals, r)
		}
	}
	if w.fresh = w.fresh && w.pick(2) == 0; w.fresh {
		e.Commands = append(e.Commands, &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_ApplyPlan{ApplyPlan: &v1.ApplyPlanRequest{Reason: "at once", Plan: w.plan()}}})
		w.fresh = false
	}
	for range w.pick(4) {
		e.Commands = append(e.Commands, w.command())
	}
	w.retain(e)
	w.bulk(e)
	w.reporters(e)
	return e
}

// bulk has bulk operations be started, go on, and be cancelled.
func (w *walk) bulk(e *logv1.Entry) {
	switch n := w.index % 11; n {
	case 1:
		act := v1.BulkAct(1 + w.index/11%5)
		start := &v1.StartBulkRequest{BulkId: fmt.Sprint("b", w.index/200%30), Act: act, Reason: "r", Filter: &v1.InstanceFilter{Workflow: fmt.Sprint("w", w.index/11%7)}}
		switch w.index % 3 {
		case 0:
			start.Filter.State = v1.InstanceState_INSTANCE_STATE_RUNNING
		case 1:
			start.Filter = &v1.InstanceFilter{Labels: map[string]string{"b": "2"}}
		}
		if act == v1.BulkAct_BULK_ACT_SKIP {
			start.Step = "b"
		}
		e.Commands = append(e.Commands, &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_StartBulk{StartBulk: start}})
	case 2, 3, 4, 5, 6:
		e.Commands = append(e.Commands, advanceOf())
		if n == 6 {
			e.Commands = append([]*logv1.Command{advanceOf()}, e.Commands...)
		}
	case 7:
		if w.index%5 == 0 {
			e.Commands = append(e.Commands, &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_CancelBulk{CancelBulk: &v1.CancelBulkRequest{BulkId: fmt.Sprint("b", w.index/200%30), Reason: "r"}}})
		}
	}
}

// reporters has reporters be registered, asked and removed, by who holds the lock and by others.
func (w *walk) reporters(e *logv1.Entry) {
	add := func(c *logv1.Command) { c.Envelope = &logv1.Envelope{}; e.Commands = append(e.Commands, c) }
	name := fmt.Sprint("rep", w.index/13%4)
	switch w.index % 13 {
	case 1:
		add(&logv1.Command{Body: &logv1.Command_RegisterReporter{RegisterReporter: &v1.RegisterReporterRequest{Reporter: name, Url: "http://u", Every: durationpb.New(time.Duration(1+w.index/13%2) * time.Second), Reason: "r"}}})
	case 4, 7, 9:
		ask := &v1.RecordAskRequest{Reporter: name, AskId: fmt.Sprint(w.index / 2), Runs: 2, Observations: 1, Token: int64(w.index / 3)}
		ask.Position = w.planned["reporter/"+name][0]
		for _, l := range w.locks {
			if l.name == SweepLock && w.index%4 > 0 {
				ask.Token = l.token
			}
		}
		if w.index%5 == 0 {
			ask.Error = "silence"
		}
		add(&logv1.Command{Body: &logv1.Command_RecordAsk{RecordAsk: ask}})
	case 3:
		if n := len(w.sessions); n > 0 {
			add(&logv1.Command{Body: &logv1.Command_AcquireLock{AcquireLock: &logv1.AcquireLock{Session: w.sessions[n-1], Lock: SweepLock}}})
		}
	case 11:
		if w.index%3 == 0 {
			add(&logv1.Command{Body: &logv1.Command_RemoveReporter{RemoveReporter: &v1.RemoveReporterRequest{Reporter: name, Reason: "r"}}})
		}
	}
}

func advanceOf() *logv1.Command {
	return &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_AdvanceBulk{AdvanceBulk: &logv1.AdvanceBulk{}}}
}

// retain has what is over be kept for a while, and slices of it go.
func (w *walk) retain(e *logv1.Entry) {
	switch w.index % 9 {
	case 2:
		keep := &v1.Retention{Finished: durationpb.New(60e9), Events: durationpb.New(40e9)}
		if w.index%2 == 0 {
			keep.Finished, keep.Events = keep.Events, keep.Finished
		}
		if w.index%5 == 0 {
			keep = &v1.Retention{Events: durationpb.New(5e9)}
		}
		e.Commands = append(e.Commands, &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_UpdateNamespace{UpdateNamespace: &v1.UpdateNamespaceRequest{Retention: keep}}})
	case 3, 4, 5:
		e.Commands = append(e.Commands, retainOf())
	}
}

func retainOf() *logv1.Command {
	return &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_Retain{Retain: &logv1.Retain{}}}
}

func (w *walk) command() *logv1.Command {
	c := &logv1.Command{Envelope: &logv1.Envelope{WaitId: w.random.Uint64() | 1, Salt: []byte("s")}}
	session := w.session()
	if w.pick(3) == 0 {
		w.requests[session]++
		c.Envelope.Session, c.Envelope.RequestId = session, max(1, w.requests[session]-int64(w.pick(3)))
		c.Envelope.LowestUnanswered = max(0, c.Envelope.RequestId-int64(w.pick(6)))
	}
	wait := int64(w.pick(3)) * 5 * second
	run := w.run()
	if w.pick(2) == 0 && w.streams[session] != 0 {
		c.Envelope.WaitId = w.streams[session]
	}
	switch w.pick(24) {
	case 0, 1:
		c.Body = &logv1.Command_OpenSession{OpenSession: &logv1.OpenSession{Ttl: int64(2+w.pick(20)) * second}}
	case 2, 3, 4:
		id := fmt.Sprint("i", w.started)
		if w.pick(5) > 0 {
			w.started++
		}
		start := &v1.StartInstanceRequest{
			InstanceId: id, Workflow: fmt.Sprint("w", w.pick(len(theWorkflows))), InputPayload: &v1.Payload{Bytes: fmt.Appendf(nil, `{"k":%d}`, w.pick(3))},
			Labels: map[string]string{"a": "1", "b": "2", "c": "3"}, Keys: w.keys(),
		}
		w.line(start)
		c.Body = &logv1.Command_StartInstance{StartInstance: start}
	case 5, 6, 7:
		c.Body = &logv1.Command_PollSteps{PollSteps: &logv1.PollSteps{
			Session: session, Queues: []string{fmt.Sprint("q", w.pick(2)), fmt.Sprint("q", w.pick(2))}, Count: int32(1 + w.pick(3)), Wait: wait, Credit: w.pick(4) == 0,
		}}
	case 8:
		c.Body = &logv1.Command_LeaseStep{LeaseStep: &logv1.LeaseStep{
			Session: session, InstanceId: fmt.Sprint("i", max(0, w.started-1-w.pick(5))), Step: string(rune('a'+w.pick(6))) + [...]string{"", "", ".compensate"}[w.pick(3)], Wait: wait,
		}}
	case 9, 10, 11, 12:
		complete := &v1.CompleteStepRequest{
			InstanceId: run.InstanceId, Step: run.Step, Token: run.Token, OutputPayload: &v1.Payload{Bytes: []byte(`{"n":1}`)},
		}
		if w.pick(6) == 0 {
			complete.OutputPayload = nil // what depends on it fails to evaluate
		}
		if w.pick(3) == 0 {
			complete.Next, complete.SessionId = &v1.Next{Count: int32(1 + w.pick(2))}, sessionName(session)
		}
		c.Body = &logv1.Command_CompleteStep{CompleteStep: complete}
	case 13:
		c.Body = &logv1.Command_FailStep{FailStep: &v1.FailStepRequest{InstanceId: run.InstanceId, Step: run.Step, Token: run.Token, Code: "E", Retryable: w.pick(4) > 0}}
	case 14:
		c.Body = &logv1.Command_ReleaseStep{ReleaseStep: &v1.ReleaseStepRequest{InstanceId: run.InstanceId, Step: run.Step, Token: run.Token}}
	case 15:
		c.Body = w.lockCommand(session, wait)
	case 16:
		c.Body = w.lockCommand(session, wait)
	case 17:
		w.rare(c, session, run)
	case 18:
		signal := &v1.SendSignalRequest{
			InstanceId: fmt.Sprint("i", max(0, w.started-1-w.pick(6))), Name: "go", SignalId: fmt.Sprint(w.pick(4)), Ttl: durationpb.New(30e9),
		}
		if w.index%3 > 0 {
			w.byKey(signal)
		}
		c.Body = &logv1.Command_SendSignal{SendSignal: signal}
	case 20:
		w.decide(c)
	case 22, 23:
		w.operate(c)
	case 21:
		w.schedule(c)
	case 19:
		c.Body = &logv1.Command_ReportProgress{ReportProgress: &v1.ReportProgressRequest{InstanceId: run.InstanceId, Step: run.Step, Token: run.Token}}
	}
	return c
}

// line has a start say what becomes of it when its id is taken, and be of one of a few ids.
func (w *walk) line(r *v1.StartInstanceRequest) {
	if w.index%3 > 0 {
		return
	}
	r.OnConflict = v1.OnConflict(1 + w.index%5%4)
	r.InstanceId = fmt.Sprint("i", max(0, w.started-1-int(w.index%11)))
	if w.index%7 > 0 {
		r.StartId = fmt.Sprint(w.index % 8)
	}
}

// keys are those of an instance: few, so that several share them.
func (w *walk) keys() map[string]string {
	keys := map[string]string{"k0": fmt.Sprint("v", w.started%5)}
	if w.started%3 == 0 {
		keys["k1"] = fmt.Sprint("v", w.started%2)
	}
	return keys
}

// byKey sends a signal by a key: one that an instance has, or will have, or none ever.
func (w *walk) byKey(r *v1.SendSignalRequest) {
	r.InstanceId, r.SignalId = "", r.SignalId+fmt.Sprint(w.index%7)
	r.Key = &v1.Key{Name: fmt.Sprint("k", w.index%5%3), Value: fmt.Sprint("v", w.index%4)}
	r.Broadcast = w.index%4 == 1
	if w.index%4 == 2 {
		r.Start = &v1.StartInstanceRequest{Workflow: fmt.Sprint("w", w.index%uint64(len(theWorkflows))), InstanceId: fmt.Sprint("s", w.index), InputPayload: &v1.Payload{Bytes: []byte(`{"k":1}`)}, Keys: w.keys()}
	}
	if w.index%8 < 4 {
		r.Ttl = durationpb.New(600e9)
	}
}

// decide approves or rejects a step of one of the newest instances.
func (w *walk) decide(c *logv1.Command) {
	id, step := fmt.Sprint("i", max(0, w.started-1-w.pick(8))), "c"
	c.Envelope.Author = &v1.Author{Principal: "ann"}
	if w.pick(3) > 0 {
		c.Body = &logv1.Command_ApproveStep{ApproveStep: &v1.ApproveStepRequest{InstanceId: id, Step: step, Reason: "fine"}}
	} else {
		c.Body = &logv1.Command_RejectStep{RejectStep: &v1.RejectStepRequest{InstanceId: id, Step: step}}
	}
}

// operate takes the place of what moves one of the newest instances, or a run of it.
func (w *walk) operate(c *logv1.Command) {
	id := fmt.Sprint("i", max(0, w.started-1-w.pick(8)))
	step := string(rune('a'+w.pick(9))) + [...]string{"", "", "", ".compensate"}[w.pick(4)]
	index := int32(max(0, w.pick(6)-3))
	what := w.pick(17)
	if run := w.run(); w.pick(3) == 0 || what >= 10 && what < 15 && w.pick(2) == 0 {
		id, step, index = run.InstanceId, run.Step, run.Index
	}
	c.Envelope.Author = &v1.Author{Principal: "ann"}
	switch what {
	case 10, 11, 12:
		c.Body = &logv1.Command_ReportObservation{ReportObservation: w.observation(id, step, index)}
	case 13, 14:
		c.Body = &logv1.Command_ApplyPlan{ApplyPlan: &v1.ApplyPlanRequest{Reason: "as it was seen", Plan: w.plan()}}
	case 15:
		c.Body = &logv1.Command_ResolveIncident{ResolveIncident: &v1.ResolveIncidentRequest{InstanceId: id, Reason: "done outside"}}
	case 16:
		c.Body = &logv1.Command_ReopenIncident{ReopenIncident: &v1.ReopenIncidentRequest{InstanceId: id, Reason: "it is not"}}
	case 0, 1:
		c.Body = &logv1.Command_PauseInstance{PauseInstance: &v1.PauseInstanceRequest{InstanceId: id, Reason: "wait"}}
	case 2, 3, 4:
		c.Body = &logv1.Command_ResumeInstance{ResumeInstance: &v1.ResumeInstanceRequest{InstanceId: id, Reason: "go on"}}
	case 5:
		c.Body = &logv1.Command_RetryStep{RetryStep: &v1.RetryStepRequest{InstanceId: id, Step: step, Index: index, Reason: "again"}}
	case 6:
		c.Body = &logv1.Command_SkipStep{SkipStep: &v1.SkipStepRequest{InstanceId: id, Step: step, Index: index, Reason: "not needed"}}
	case 7:
		c.Body = &logv1.Command_ResolveStep{ResolveStep: &v1.ResolveStepRequest{InstanceId: id, Step: step, Index: index, Reason: "done by hand", OutputPayload: &v1.Payload{Bytes: []byte(`{"n":1}`)}}}
	case 8:
		c.Body = &logv1.Command_ResolveStep{ResolveStep: &v1.ResolveStepRequest{InstanceId: id, Step: step, Index: index, Reason: "given up", Code: "E"}}
	case 9:
		c.Body = &logv1.Command_UpdateStep{UpdateStep: w.update(id, step, index)}
	}
}

// observation is what one of a few reporters has seen of a run, about now.
func (w *walk) observation(id, step string, index int32) *v1.ReportObservationRequest {
	r := &v1.ReportObservationRequest{
		InstanceId: id, Step: step, Index: index, Reporter: fmt.Sprint("r", w.pick(2)), ObservationId: fmt.Sprint("o", w.pick(20)),
		State: v1.ObservedState(1 + w.pick(5)), ObservedAt: stamp(1704067200*second + w.wall + int64(w.pick(9)-6)*second), Evidence: "seen",
	}
	switch r.State {
	case v1.ObservedState_OBSERVED_STATE_COMPLETED:
		r.OutputPayload = &v1.Payload{Bytes: fmt.Appendf(nil, `{"n":%d}`, 1+w.pick(2))}
		r.Execution = [...]string{"", "x", "y"}[w.pick(3)]
	case v1.ObservedState_OBSERVED_STATE_FAILED:
		r.Code = [...]string{"", "E"}[w.pick(2)]
	}
	if w.pick(5) == 0 {
		r.InstanceId, r.Key = "", &v1.Key{Name: fmt.Sprint("k", w.pick(3)), Value: fmt.Sprint("v", w.pick(4))}
	}
	return r
}

// plan is as whoever planned behind the newest observations would have it, if nothing has moved since; now and then as it was before.
func (w *walk) plan() *v1.ReconcilePlan {
	p := &v1.ReconcilePlan{Namespace: DefaultNamespace, Position: int64(w.pick(3))}
	for range min(len(w.seen), 1+w.pick(4)/3) {
		a := proto.CloneOf(w.seen[len(w.seen)-1-w.pick(min(len(w.seen), 2))])
		a.Action = [...]v1.ReconcileAction{adopt, adopt, adopt, rerun, rerun, undoes, toPerson, leaveDrift}[w.pick(8)]
		p.Actions = append(p.Actions, a)
	}
	p.PlanId = planID(p)
	return p
}

func (w *walk) update(id, step string, index int32) *v1.UpdateStepRequest {
	r := &v1.UpdateStepRequest{InstanceId: id, Step: step, Index: index, Reason: "it takes long"}
	for k, field := range [...]**durationpb.Duration{&r.TotalTimeout, &r.RunTimeout, &r.QueueTimeout} {
		if w.pick(3) == k {
			*field = durationpb.New(time.Duration(w.pick(60)) * time.Second)
		}
	}
	r.AttemptsLeft, r.RetryNow = int32(max(0, w.pick(6)-2)), w.pick(4) == 0
	return r
}

// schedule does something to one of a few schedules: mostly it has a time come, the next one or one that was before.
func (w *walk) schedule(c *logv1.Command) {
	names := [...]string{"s1", "s2", "s3", "s4"}
	n := w.pick(len(names))
	at := (1704067200 + w.wall/second - int64(w.pick(8))) * second
	switch w.pick(12) {
	case 0, 1:
		c.Body = &logv1.Command_CreateSchedule{CreateSchedule: &v1.CreateScheduleRequest{
			Schedule: names[n], Cron: "@every 1s", Workflow: fmt.Sprint("w", w.pick(len(theWorkflows))), Overlap: v1.Overlap(n + 1), QueueLimit: 2,
			InputPayload: &v1.Payload{Bytes: []byte(`{"k":1}`)}, TimeKey: "at", CatchUp: durationpb.New(10e9), Labels: map[string]string{"b": "1", "a": "2"},
		}}
	case 2:
		c.Body = &logv1.Command_PauseSchedule{PauseSchedule: &v1.PauseScheduleRequest{Schedule: names[n], Reason: "r"}}
	case 3, 4:
		c.Body = &logv1.Command_ResumeSchedule{ResumeSchedule: &v1.ResumeScheduleRequest{Schedule: names[n], CatchUp: w.pick(2) == 0}}
	case 5:
		if w.pick(4) == 0 {
			c.Body = &logv1.Command_DeleteSchedule{DeleteSchedule: &v1.DeleteScheduleRequest{Schedule: names[n]}}
			break
		}
		c.Body = &logv1.Command_TriggerSchedule{TriggerSchedule: &v1.TriggerScheduleRequest{Schedule: names[n], At: stamp(at)}}
	default:
		c.Body = &logv1.Command_FireSchedule{FireSchedule: &logv1.FireSchedule{Schedule: names[n], Position: w.planned[names[n]][0], After: w.planned[names[n]][1], At: at, Missed: int32(max(0, w.pick(8)-5))}}
	}
}

func (w *walk) lockCommand(session, wait int64) *logv1.Command_AcquireLock {
	names := [...]string{"x/0", "x/1", "p", "y"}
	a := &logv1.AcquireLock{Session: session, Lock: names[w.pick(4)], Shared: w.pick(2) == 0, Wait: wait}
	if a.Lock == "p" {
		a.Shared, a.Limit, a.Take = false, 2, int32(1+w.pick(2))
	}
	return &logv1.Command_AcquireLock{AcquireLock: a}
}

// rare are commands that would end everything if they came often.
func (w *walk) rare(c *logv1.Command, session int64, run *v1.LeasedRun) {
	if w.index%16 < 4 { // few versions stay drained for long
		version, name := int32(1+w.index%2), fmt.Sprint("w", w.index%uint64(len(theWorkflows)))
		c.Body = &logv1.Command_UndrainVersion{UndrainVersion: &v1.UndrainVersionRequest{Workflow: name, Version: version}}
		if w.index%16 == 0 {
			c.Body = &logv1.Command_DrainVersion{DrainVersion: &v1.DrainVersionRequest{Workflow: name, Version: version, Reason: "r"}}
		}
		return
	}
	if w.index%16 == 9 { // an instance that is leased, to the step that is, or to another, perhaps by an activation that is not the newest
		reset := &v1.ResetInstanceRequest{InstanceId: run.InstanceId, FromStep: run.Step, Index: run.Index, Compensate: w.index%64 < 32}
		if w.index%32 == 9 {
			reset.FromStep, reset.Index = string(rune('a'+w.index/32%5)), int32(w.index/512%3)
		}
		c.Body = &logv1.Command_ResetInstance{ResetInstance: reset}
		return
	}
	if w.index%16 == 5 { // of an instance that is leased, from any step, perhaps under an id that is taken
		fork := &v1.ForkInstanceRequest{InstanceId: run.InstanceId, FromStep: run.Step, NewInstanceId: fmt.Sprint("f", w.index%512), Version: int32(w.index / 16 % 3)}
		if w.index%32 == 5 {
			fork.FromStep = string(rune('a' + w.index/32%5))
		}
		c.Body = &logv1.Command_ForkInstance{ForkInstance: fork}
		return
	}
	switch w.pick(9) {
	case 7, 8:
		compensate := &v1.CompensateInstanceRequest{InstanceId: run.InstanceId, Reason: "r", Skip: w.pick(2) == 0}
		if w.pick(2) == 0 {
			compensate.FromStep = string(rune('a' + w.pick(5)))
		}
		c.Body = &logv1.Command_CompensateInstance{CompensateInstance: compensate}
	case 0:
		c.Body = &logv1.Command_CloseSession{CloseSession: &logv1.CloseSession{Session: session}}
	case 1:
		id := run.InstanceId
		if w.index%2 == 0 { // perhaps one that is queued
			id = fmt.Sprint("i", max(0, w.started-1-int(w.index%11)), "~", w.index%8)
		}
		c.Body = &logv1.Command_CancelInstance{CancelInstance: &v1.CancelInstanceRequest{InstanceId: id}}
	case 2:
		c.Body = &logv1.Command_RevokeLease{RevokeLease: &v1.RevokeLeaseRequest{Token: run.Token}}
	case 3:
		w.streams[session] = c.Envelope.WaitId
		c.Body = &logv1.Command_OpenStream{OpenStream: &logv1.OpenStream{Session: session}}
	case 4:
		c.Body = &logv1.Command_EndWait{EndWait: &logv1.EndWait{WaitId: w.random.Uint64()}}
	default:
		release := &v1.ReleaseLockRequest{Lock: "y", Token: int64(w.pick(50))}
		if len(w.locks) > 0 {
			l := w.locks[w.pick(len(w.locks))]
			release.Lock, release.Token = l.name, l.token
		}
		c.Body = &logv1.Command_ReleaseLock{ReleaseLock: release}
	}
}

// learn takes what an entry answered into the walk.
func (w *walk) learn(e *logv1.Entry, r Result) {
	for _, event := range r.Events() {
		switch over := event.Data.Due.AsTime().UnixNano(); {
		case event.Type == "lockstep.schedule.created.v1":
			w.planned[event.Data.Name] = [2]int64{event.Position, event.Time.AsTime().UnixNano()}
		case event.Type == "lockstep.reporter.registered.v1":
			w.planned[event.Subject] = [2]int64{event.Position}
		case strings.HasPrefix(event.Type, "lockstep.schedule.") && event.Data.Due != nil && w.pick(10) > 0:
			w.planned[event.Data.Name] = [2]int64{w.planned[event.Data.Name][0], max(over, w.planned[event.Data.Name][1])}
		}
	}
	take := func(m proto.Message) {
		switch m := m.(type) {
		case *v1.Session:
			w.sessions = append(w.sessions, sessionID(m.SessionId))
			if len(w.sessions) > 8 {
				w.sessions = w.sessions[1:]
			}
		case *v1.PollStepsResponse:
			w.runs = append(w.runs, m.Runs...)
		case *v1.LeaseStepResponse:
			w.runs = append(w.runs, m.Run)
		case *v1.CompleteStepResponse:
			w.runs = append(w.runs, m.Next...)
		case *v1.AcquireLockResponse:
			w.locks = append(w.locks, struct {
				name  string
				token int64
			}{m.Grant.Lock, m.Token})
		}
	}
	for n, o := range r.Outcomes {
		if o.Reply != nil {
			take(o.Reply)
		}
		if reply, is := o.Reply.(*v1.ReportObservationResponse); is && reply.Drift != 0 && e.Commands[n].GetReportObservation() != nil {
			told := e.Commands[n].GetReportObservation()
			a := &v1.PlannedAction{
				InstanceId: reply.InstanceId, Step: told.Step, Index: told.Index, Reporter: told.Reporter, ObservationId: told.ObservationId, Drift: reply.Drift,
				InstancePosition: reply.Position, ObservationPosition: reply.Position,
			}
			if reply.InstanceId == "" {
				a.InstanceId, a.Key, a.InstancePosition = told.InstanceId, told.Key, 0
			}
			w.seen, w.fresh = append(w.seen, a), true
		}
	}
	for _, s := range r.Settled {
		if s.Reply != nil {
			take(s.Reply)
		}
	}
}

func register(t testing.TB) *logv1.Entry {
	e := &logv1.Entry{Header: &logv1.Header{Term: 1, Level: Level}}
	for _, yaml := range theWorkflows {
		d, err := source.Parse([]byte(yaml), "yaml")
		if err != nil {
			t.Fatal(err)
		}
		e.Commands = append(e.Commands, &logv1.Command{Body: &logv1.Command_RegisterWorkflow{RegisterWorkflow: &logv1.RegisterWorkflow{
			Workflow: d.Name, Digest: d.Digest, Graph: d.Canonical,
		}}})
	}
	return e
}

// answers tells what an entry answered, for comparing replicas.
func answers(r Result) string {
	text := fmt.Sprintf("w %d\n", r.Work)
	for _, o := range r.Outcomes {
		text += fmt.Sprintf("%v|%v|%v\n", wire(o.Reply), wire(o.Refusal), o.Parked)
	}
	for _, o := range r.Renewals {
		text += fmt.Sprintf("r %v|%v\n", wire(o.Reply), wire(o.Refusal))
	}
	for _, s := range r.Settled {
		text += fmt.Sprintf("s %d|%v|%v|%v\n", s.WaitID, wire(s.Reply), wire(s.Refusal), s.More)
	}
	for _, e := range r.Events() {
		text += string(appendEvent(nil, e))
	}
	return text
}

func wire(m proto.Message) string {
	if m == nil {
		return ""
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	must(err)
	return string(b)
}

// replay walks entries through machines that must not differ: one in memory; one on Pebble that flushes at other
// moments; and one that is thrown away and opened again from its engine, or restored from a snapshot, in the middle.
func replay(t testing.TB, seed int64, entries int) (completed int) {
	w := newWalk(seed)
	memory := table.NewMemory()
	limited := func(m *Machine, err error) *Machine {
		must(err)
		m.LimitWork([]int{workMost, 1, 150, 2000}[uint64(seed)%4])
		m.LimitBulk(1+int(uint64(seed)%5), 3+int(uint64(seed)%7))
		return m
	}
	a := limited(Open(memory))
	disk, err := table.OpenPebble("db", table.Options{FS: vfs.NewMem(), CacheBytes: 1 << 20, MemtableBytes: 1 << 20})
	must(err)
	b := limited(Open(disk))
	defer b.Close()
	third := table.NewMemory()
	c := limited(Open(third))
	r := &rig{engine: third}
	done := map[string]bool{}
	starts := map[string]int{} // an id starts again when retention has removed what had it
	var lastToken int64
	for n := range entries {
		// Not every index is an entry of ours, and checkpoints are to come often.
		w.index += 1 + uint64(w.pick(200))
		e := w.entry()
		if n == 0 {
			e = register(t)
		}
		data, err := proto.Marshal(e)
		must(err)
		step := func(m *Machine) Result {
			again := &logv1.Entry{}
			must(proto.Unmarshal(data, again))
			return m.Apply(w.index, w.term, again)
		}
		result := step(a)
		want := answers(result)
		if got := answers(step(b)); got != want {
			t.Fatalf("seed %d, entry %d: Pebble answers\n%q\nmemory\n%q", seed, n, got, want)
		}
		if got := answers(step(c)); got != want {
			t.Fatalf("seed %d, entry %d: the one opened again answers\n%q\nthe other\n%q", seed, n, got, want)
		}
		if err := check(a); err != nil {
			t.Fatalf("seed %d, entry %d (%v): %v", seed, n, e, err)
		}
		for name, m := range map[string]*Machine{"Pebble": b, "the one opened again": c} {
			if got, want := fmt.Sprintf("%x", m.Checkpoints()), fmt.Sprintf("%x", a.Checkpoints()); got != want {
				t.Fatalf("seed %d, entry %d: %s has the checkpoints\n%s\nmemory\n%s", seed, n, name, got, want)
			}
		}
		w.learn(e, result)
		for _, event := range result.Events() {
			if event.Type == "lockstep.step.leased.v1" || event.Type == "lockstep.lock.granted.v1" && event.Data.InstanceId == "" {
				if event.Data.Token <= lastToken {
					t.Fatalf("seed %d, entry %d: token %d was granted after %d", seed, n, event.Data.Token, lastToken)
				}
				lastToken = event.Data.Token
			}
			switch event.Type {
			case "lockstep.instance.started.v1":
				starts[event.Data.InstanceId]++
			case "lockstep.step.completed.v1":
				id := event.Data.InstanceId
				key := fmt.Sprintf("%s/%d/%s/%d", id, starts[id], event.Data.Step, event.Data.Index)
				if done[key] {
					t.Fatalf("seed %d, entry %d: %s was completed twice", seed, n, key)
				}
				done[key] = true
			}
		}
		if err := checkRows(a); err != nil {
			t.Fatalf("seed %d, entry %d (%v): %v", seed, n, e, err)
		}
		if w.pick(3) == 0 {
			must(b.Flush())
			if err := checkRows(b); err != nil {
				t.Fatalf("seed %d, entry %d (%v): flushed, %v", seed, n, e, err)
			}
		}
		if w.pick(12) == 0 {
			must(c.Flush())
			if err := checkIndex(c); err != nil {
				t.Fatalf("seed %d, entry %d: %v", seed, n, err)
			}
			c = limited(Open(r.engine))
			if got, want := dump(c), dump(a); got != want {
				t.Fatalf("seed %d, entry %d: opened again it differs:\n%s", seed, n, cmp.Diff(want, got))
			}
		}
		if w.pick(40) == 0 {
			c, r.engine = restored(t, c)
			limited(c, nil)
		}
	}
	return len(done)
}

// restored sends a machine through its snapshot.
func restored(t testing.TB, m *Machine) (*Machine, table.Engine) {
	snapshot, err := m.Snapshot()
	must(err)
	defer snapshot.Close()
	var stream bytes.Buffer
	_, err = snapshot.WriteTo(&stream)
	must(err)
	engine := table.NewMemory()
	if _, err := ReadSnapshot(&stream, engine); err != nil {
		t.Fatal(err)
	}
	again, err := Open(engine)
	must(err)
	return again, engine
}

var (
	replaySeed  = flag.Int64("replay.seed", 0, "the first seed of TestReplicasAgree")
	replaySeeds = flag.Int64("replay.seeds", 16, "how many seeds TestReplicasAgree walks")
)

func TestReplicasAgree(t *testing.T) {
	first, seeds, entries := *replaySeed, *replaySeeds, 600
	if testing.Short() || require.Race {
		seeds, entries = 3, 300
	}
	completed := 0
	for seed := first; seed < first+seeds; seed++ {
		completed += replay(t, seed, entries)
	}
	t.Logf("%d completions", completed)
	if completed < 50 {
		t.Fatalf("%d completions in %d seeds: the walk does not get anywhere", completed, seeds)
	}
}

func FuzzReplay(f *testing.F) {
	f.Add(int64(1))
	f.Add(int64(503)) // an instance ends, is removed, and starts again under its id
	f.Fuzz(func(t *testing.T, seed int64) { replay(t, seed, 200) })
}
