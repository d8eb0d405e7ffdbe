package core

import (
	"cmp"
	"maps"
	"slices"
	"time"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Worker decides for a worker that runs up to so many steps at a time: what to start, what to tell the cluster, how much
// more to ask for. A run is held from its grant until its result has been answered.
//
// Results are sent in batches, one batch on its way at a time. On a stream completions ask for the next runs, as many as
// slots have become free: so the cluster grants them in the command that takes the result, adds to the credit what it cannot
// grant yet, and grants no more than there are slots. Where there is no completion to ask with, credit is set anew, and
// grants that cross with it may find no slot. Those are released at once, which costs nobody an attempt.
type Worker struct {
	queues   []string
	slots    int
	draining bool
	streams  bool // a stream is open

	runs map[int64]*held
	// What the cluster may still grant without another word.
	credit int
	// Slots in use: runs whose work goes on, whether or not their lease does.
	working int
	// Results on their way, unanswered; zero or the newest batch.
	inFlight int

	start []*v1.LeasedRun
	lost  []int64
	done  []Answer
}

type held struct {
	run    *v1.LeasedRun
	result Result
	state  heldState
	// What it asked for next, as long as it is unanswered.
	next int
	// A result is not sent again before.
	notBefore time.Duration
}

type heldState int

const (
	running heldState = iota
	finished
	sent
)

// Outcome is how a run's work ended.
type Outcome int

const (
	// Completed: with an output.
	Completed Outcome = iota
	// Failed: with a code and a reason.
	Failed
	// Released: not done, and to be given to somebody without counting an attempt.
	Released
	// Dropped: its lease is lost and there is nothing to say.
	Dropped
)

// Result is what a run's work came to.
type Result struct {
	Outcome   Outcome
	Output    *v1.Payload
	Code      string
	Reason    string
	Retryable bool
}

// Answer is what became of a result: accepted when Refusal is nil.
type Answer struct {
	Run     *v1.LeasedRun
	Result  Result
	Refusal *v1.Refusal
	Late    bool
}

const (
	maxBatch = 100
	// What was refused for now is sent again after this.
	resendAfter = 100 * time.Millisecond
)

// NewWorker takes runs of queues into slots.
func NewWorker(queues []string, slots int) *Worker {
	return &Worker{queues: queues, slots: slots, runs: map[int64]*held{}}
}

// Opened says that a stream was opened, with every run that the session holds. Those that we never heard of were granted in
// an answer that was lost: they are ours, and start. Those that we work on and that are not listed are lost. What was
// sent and not answered is sent again, which its token makes safe.
func (w *Worker) Opened(runs []*v1.LeasedRun) {
	w.Closed()
	w.streams = true
	listed := make(map[int64]bool, len(runs))
	for _, run := range runs {
		listed[run.Token] = true
	}
	for _, token := range slices.Sorted(maps.Keys(w.runs)) {
		if w.runs[token].state == running && !listed[token] {
			w.lost = append(w.lost, token)
		}
	}
	w.take(runs)
}

// Closed says that the stream is gone: credit with it, and what it had not answered must be sent again.
func (w *Worker) Closed() {
	w.credit, w.inFlight, w.streams = 0, 0, false
	for _, h := range w.runs {
		if h.state == sent {
			h.state, h.next = finished, 0
		}
	}
}

// Granted says that the cluster used credit to grant runs.
func (w *Worker) Granted(runs []*v1.LeasedRun) {
	w.credit = max(0, w.credit-len(runs))
	w.take(runs)
}

// Unused says that credit ended without being used: a poll that was answered with less than it asked for.
func (w *Worker) Unused(credit int) { w.credit = max(0, w.credit-credit) }

func (w *Worker) take(runs []*v1.LeasedRun) {
	for _, run := range runs {
		if w.runs[run.Token] != nil {
			continue
		}
		h := &held{run: run}
		w.runs[run.Token] = h
		if w.draining || w.working >= w.slots {
			h.state, h.result = finished, Result{Outcome: Released, Reason: "the worker has no free slot"}
			continue
		}
		w.working++
		w.start = append(w.start, run)
	}
}

// Finished says that a run's work has ended.
func (w *Worker) Finished(token int64, r Result) {
	w.working--
	w.finish(token, r)
}

// GiveUp releases runs whose work goes on although it was told to stop. What it still comes to is ignored.
func (w *Worker) GiveUp(reason string) {
	for _, token := range slices.Sorted(maps.Keys(w.runs)) {
		w.finish(token, Result{Outcome: Released, Reason: reason})
	}
}

func (w *Worker) finish(token int64, r Result) {
	h := w.runs[token]
	switch {
	case h == nil || h.state != running:
	case r.Outcome == Dropped:
		h.result = r
		w.end(h, Answer{Run: h.run, Result: r})
	default:
		h.state, h.result = finished, r
	}
}

func (w *Worker) end(h *held, a Answer) {
	delete(w.runs, h.run.Token)
	w.done = append(w.done, a)
}

// Answered takes in what became of results. A result refused for now is sent again; an output that cannot be taken fails its
// run; anything else is over.
func (w *Worker) Answered(now time.Duration, outcomes []*v1.WorkOutcome) {
	for _, o := range outcomes {
		h := w.runs[o.Token]
		if h == nil || h.state != sent {
			continue
		}
		w.inFlight--
		if o.Refusal != nil {
			w.credit = max(0, w.credit-h.next)
		}
		h.next = 0
		switch code := o.Refusal.GetCode(); {
		case code == v1.Code_CODE_NO_LEADER || code == v1.Code_CODE_UNKNOWN_OUTCOME || code == v1.Code_CODE_OVERLOADED || code == v1.Code_CODE_UNAVAILABLE:
			h.state, h.notBefore = finished, now+resendAfter
		case h.result.Outcome == Completed && (code == v1.Code_CODE_INVALID || code == v1.Code_CODE_PAYLOAD_TOO_LARGE || code == v1.Code_CODE_KEY_REFUSED):
			h.state, h.notBefore = finished, 0
			h.result = Result{Outcome: Failed, Code: code.String()[len("CODE_"):], Reason: o.Refusal.Reason}
		default:
			w.end(h, Answer{Run: h.run, Result: h.result, Refusal: o.Refusal, Late: o.Late})
		}
	}
}

// Drain takes no more runs.
func (w *Worker) Drain() { w.draining = true }

// Idle says that nothing is held: all work has ended and was answered.
func (w *Worker) Idle() bool { return len(w.runs) == 0 }

// Stopped says that it is drained: nothing is held, and nothing more is taken.
func (w *Worker) Stopped() bool { return w.draining && w.Idle() }

// Working counts the runs whose work goes on.
func (w *Worker) Working() int { return w.working }

// Owed says that results are on their way whose answers are owed.
func (w *Worker) Owed() bool { return w.inFlight > 0 }

// Message is what to send now: results, and credit when it changed; nil when there is nothing. With nothing, or nothing
// yet, again is the time to ask next; zero means after the next change.
func (w *Worker) Message(now time.Duration) (m *v1.WorkRequest, again time.Duration) {
	if w.inFlight > 0 {
		return nil, 0
	}
	m = &v1.WorkRequest{}
	for _, h := range w.ready() {
		if h.notBefore > now {
			if again == 0 || h.notBefore < again {
				again = h.notBefore
			}
			continue
		}
		if w.inFlight == maxBatch {
			break
		}
		w.inFlight++
		h.state = sent
		h.put(m)
	}
	switch free := w.free(); {
	case free > w.credit && w.ask(m, free-w.credit):
	case free != w.credit:
		w.credit = free
		m.Credit = &v1.Credit{Queues: w.queues, Count: int32(free)}
	}
	if m.Credit == nil && w.inFlight == 0 {
		return nil, again
	}
	return m, again
}

// ask has completions of a message ask for more runs, if it can: the last first, for that comes when the others have made
// theirs ready.
func (w *Worker) ask(m *v1.WorkRequest, more int) (asked bool) {
	if !w.streams {
		return false
	}
	for _, c := range slices.Backward(m.Completions) {
		if more == 0 {
			break
		}
		n := min(more, maxBatch)
		c.Next, w.runs[c.Token].next = &v1.Next{Queues: w.queues, Count: int32(n)}, n
		more, w.credit, asked = more-n, w.credit+n, true
	}
	return asked
}

func (w *Worker) free() int {
	if w.draining {
		return 0
	}
	return max(0, w.slots-w.working)
}

// ready lists results to send, the oldest token first.
func (w *Worker) ready() []*held {
	var out []*held
	for _, h := range w.runs {
		if h.state == finished {
			out = append(out, h)
		}
	}
	slices.SortFunc(out, func(a, b *held) int { return cmp.Compare(a.run.Token, b.run.Token) })
	return out
}

func (h *held) put(m *v1.WorkRequest) {
	run, r := h.run, h.result
	switch r.Outcome {
	case Completed:
		m.Completions = append(m.Completions, &v1.CompleteStepRequest{
			Namespace: run.Namespace, InstanceId: run.InstanceId, Step: run.Step, Index: run.Index, Token: run.Token, OutputPayload: r.Output,
		})
	case Failed:
		m.Failures = append(m.Failures, &v1.FailStepRequest{
			Namespace: run.Namespace, InstanceId: run.InstanceId, Step: run.Step, Index: run.Index, Token: run.Token,
			Code: r.Code, Reason: r.Reason, Retryable: r.Retryable,
		})
	case Released, Dropped:
		m.Releases = append(m.Releases, &v1.ReleaseStepRequest{
			Namespace: run.Namespace, InstanceId: run.InstanceId, Step: run.Step, Index: run.Index, Token: run.Token, Reason: r.Reason,
		})
	}
}

// Start takes the runs to start now.
func (w *Worker) Start() []*v1.LeasedRun { return take(&w.start) }

// Lost takes the tokens whose leases are found to be over.
func (w *Worker) Lost() []int64 { return take(&w.lost) }

// Done takes the results that were answered, or dropped: their tokens are held no longer.
func (w *Worker) Done() []Answer { return take(&w.done) }

func take[T any](s *[]T) []T {
	out := *s
	*s = nil
	return out
}
