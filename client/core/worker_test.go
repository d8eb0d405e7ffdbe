package core

import (
	"slices"
	"testing"
	"time"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func runs(tokens ...int64) (out []*v1.LeasedRun) {
	for _, token := range tokens {
		out = append(out, &v1.LeasedRun{InstanceId: "i", Step: "s", Token: token})
	}
	return out
}

func answers(tokens ...int64) (out []*v1.WorkOutcome) {
	for _, token := range tokens {
		out = append(out, &v1.WorkOutcome{Token: token})
	}
	return out
}

func refused(token int64, code v1.Code) []*v1.WorkOutcome {
	return []*v1.WorkOutcome{{Token: token, Refusal: &v1.Refusal{Code: code, Reason: "why"}}}
}

func started(t *testing.T, w *Worker, want ...int64) {
	t.Helper()
	var got []int64
	for _, run := range w.Start() {
		got = append(got, run.Token)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("started %v, want %v", got, want)
	}
}

// message expects one with these results, and this credit of the cluster with it, set or asked for; credit -1 is no word of it.
func message(t *testing.T, w *Worker, credit int, completed, failed, released []int64) {
	t.Helper()
	m, _ := w.Message(0)
	if m == nil {
		t.Fatal("no message")
	}
	got := -1
	if m.Credit != nil {
		got = int(m.Credit.Count)
	} else if slices.ContainsFunc(m.Completions, func(c *v1.CompleteStepRequest) bool { return c.Next != nil }) {
		got = w.credit
	}
	if got != credit {
		t.Fatalf("credit %d, want %d", got, credit)
	}
	for _, list := range []struct {
		what      string
		got, want []int64
	}{
		{"completed", tokens(m.Completions), completed},
		{"failed", tokens(m.Failures), failed},
		{"released", tokens(m.Releases), released},
	} {
		if !slices.Equal(list.got, list.want) {
			t.Fatalf("%s %v, want %v", list.what, list.got, list.want)
		}
	}
}

func tokens[T interface{ GetToken() int64 }](s []T) (out []int64) {
	for _, m := range s {
		out = append(out, m.GetToken())
	}
	return out
}

func quiet(t *testing.T, w *Worker) {
	t.Helper()
	if m, _ := w.Message(0); m != nil {
		t.Fatalf("an unexpected message: %v", m)
	}
}

func opened(t *testing.T, slots int) *Worker {
	t.Helper()
	w := NewWorker([]string{"q"}, slots)
	w.Opened(nil)
	message(t, w, slots, nil, nil, nil)
	return w
}

// Credit is the free slots. It is sent again only when it is not what the cluster has left.
func TestWorkerCredit(t *testing.T) {
	w := opened(t, 3)
	quiet(t, w)
	w.Granted(runs(1, 2))
	started(t, w, 1, 2)
	quiet(t, w)
	w.Finished(1, Result{})
	message(t, w, 2, []int64{1}, nil, nil)
}

// A stream's completions ask for what has become free; what a refused one asked for is asked for again.
func TestWorkerAsksByCompletions(t *testing.T) {
	w := opened(t, 300)
	for token := range int64(300) {
		w.Granted(runs(token + 1))
	}
	for token := range int64(150) {
		w.Finished(token+1, Result{Outcome: Failed})
	}
	for token := range int64(150) {
		w.Finished(token+151, Result{})
	}
	next := func(m *v1.WorkRequest) (counts []int32) {
		for _, c := range m.Completions {
			counts = append(counts, c.Next.GetCount())
		}
		return counts
	}
	m, _ := w.Message(0) // 100 failures: there is nothing to ask with
	if m.Credit.GetCount() != 300 {
		t.Fatalf("credit %v", m.Credit)
	}
	w.Answered(0, answers(tokens(m.Failures)...))
	w.Granted(runs(1001, 1002))
	for range 250 {
		w.credit-- // as granted, without all the runs
	}
	m, _ = w.Message(0)
	if got := next(m); m.Credit != nil || len(got) != 50 || got[49] != 100 || got[48] != 100 || got[47] != 50 || got[46] != 0 {
		t.Fatalf("credit %v, next %v", m.Credit, got)
	}
	w.Answered(0, refused(200, v1.Code_CODE_FENCED)) // it asked for 100
	w.Answered(0, answers(append(tokens(m.Failures), tokens(m.Completions[:49])...)...))
	m, _ = w.Message(0)
	if got := next(m); m.Credit != nil || got[99] != 100 || got[98] != 0 {
		t.Fatalf("credit %v, next %v", m.Credit, got)
	}
	w.Closed()
	w.Opened(nil)
	if m, _ = w.Message(0); len(m.Completions) != 100 || next(m)[99] != 100 || next(m)[97] != 98 {
		t.Fatalf("sent again: credit %v, next %v", m.Credit, next(m))
	}
}

// One batch is on its way at a time: what ends meanwhile goes with the next.
func TestWorkerBatches(t *testing.T) {
	w := opened(t, 4)
	w.Granted(runs(1, 2, 3, 4))
	w.Finished(1, Result{})
	message(t, w, 1, []int64{1}, nil, nil)
	if !w.Owed() {
		t.Fatal("nothing is owed for a result that was sent")
	}
	w.Finished(2, Result{Outcome: Failed, Code: "X"})
	w.Finished(3, Result{Outcome: Released})
	w.Finished(4, Result{})
	quiet(t, w)
	w.Answered(0, answers(1))
	if w.Owed() {
		t.Fatal("an answer is owed still")
	}
	w.Granted(runs(5))
	message(t, w, 3, []int64{4}, []int64{2}, []int64{3})
	if done := w.Done(); len(done) != 1 || done[0].Run.Token != 1 || done[0].Refusal != nil {
		t.Fatalf("done: %v", done)
	}
}

func TestWorkerBatchIsBounded(t *testing.T) {
	w := opened(t, 250)
	for token := range int64(250) {
		w.Granted(runs(token + 1))
		w.Finished(token+1, Result{})
	}
	for _, want := range []int{100, 100, 50} {
		m, _ := w.Message(0)
		if len(m.Completions) != want {
			t.Fatalf("%d completions, want %d", len(m.Completions), want)
		}
		w.Answered(0, answers(tokens(m.Completions)...))
	}
	if !w.Idle() {
		t.Fatal("something is held")
	}
}

// The stream is lost with answers and grants on it: what was not answered is sent again, what we never heard of starts,
// and what the session no longer holds is lost.
func TestWorkerReconciles(t *testing.T) {
	w := opened(t, 5)
	w.Granted(runs(1, 2, 3))
	started(t, w, 1, 2, 3)
	w.Finished(1, Result{})
	message(t, w, 3, []int64{1}, nil, nil)
	w.Closed()
	w.Opened(runs(2, 4))
	started(t, w, 4)
	if lost := w.Lost(); !slices.Equal(lost, []int64{3}) {
		t.Fatalf("lost %v", lost)
	}
	message(t, w, 2, []int64{1}, nil, nil)
	w.Answered(0, answers(1))
	w.Finished(3, Result{Outcome: Dropped})
	message(t, w, 3, nil, nil, nil)
	if done := w.Done(); len(done) != 2 || done[0].Run.Token != 1 || done[1].Run.Token != 3 {
		t.Fatalf("done: %v", done)
	}
}

// A grant that crossed with a message and finds no free slot is given back at once; one that is told twice is one.
func TestWorkerSurplus(t *testing.T) {
	w := opened(t, 1)
	w.Granted(runs(1))
	w.Granted(runs(1, 2))
	started(t, w, 1)
	message(t, w, -1, nil, nil, []int64{2})
}

// What is refused for now is sent again, later; what can never be taken fails the run; a fenced result is over.
func TestWorkerRefusals(t *testing.T) {
	w := opened(t, 3)
	w.Granted(runs(1, 2, 3))
	w.Finished(1, Result{})
	message(t, w, 1, []int64{1}, nil, nil)
	w.Answered(0, refused(1, v1.Code_CODE_NO_LEADER))
	message(t, w, 1, nil, nil, nil)
	if m, again := w.Message(0); m != nil || again != 100*time.Millisecond {
		t.Fatalf("sent %v, again at %s", m, again)
	}
	if m, _ := w.Message(100 * time.Millisecond); tokens(m.GetCompletions())[0] != 1 {
		t.Fatalf("not sent again: %v", m)
	}
	w.Answered(0, refused(1, v1.Code_CODE_PAYLOAD_TOO_LARGE))
	message(t, w, -1, nil, []int64{1}, nil)
	w.Answered(0, answers(1))
	w.Finished(2, Result{})
	message(t, w, 2, []int64{2}, nil, nil)
	w.Answered(0, refused(2, v1.Code_CODE_FENCED))
	done := w.Done()
	if len(done) != 2 || done[0].Result.Code != "PAYLOAD_TOO_LARGE" || done[1].Refusal.GetCode() != v1.Code_CODE_FENCED {
		t.Fatalf("done: %v", done)
	}
}

// A worker that drains takes nothing more, and gives up what does not end.
func TestWorkerDrains(t *testing.T) {
	w := opened(t, 2)
	w.Granted(runs(1))
	started(t, w, 1)
	w.Drain()
	message(t, w, 0, nil, nil, nil)
	w.Granted(runs(2))
	message(t, w, -1, nil, nil, []int64{2})
	w.Answered(0, answers(2))
	w.GiveUp("stopped")
	message(t, w, -1, nil, nil, []int64{1})
	w.Answered(0, answers(1))
	if !w.Stopped() || w.Working() != 1 {
		t.Fatalf("stopped %t, working %d", w.Stopped(), w.Working())
	}
	w.Finished(1, Result{})
	quiet(t, w)
	if w.Working() != 0 {
		t.Fatal("the slot is not free")
	}
}

// A poll that brings less than it asked for leaves its slots to be asked for again.
func TestWorkerUnused(t *testing.T) {
	w := opened(t, 3)
	w.Granted(runs(1))
	w.Unused(2)
	message(t, w, 2, nil, nil, nil)
}
