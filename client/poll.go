package client

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/client/core"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

const (
	pollWait = 30 * time.Second
	maxPoll  = 100
)

// poll works by unary calls until the session is over, or the worker has stopped: credit becomes polls that wait.
func (r *runner) poll(ctx context.Context, session *Session) error {
	var polls sync.WaitGroup
	defer polls.Wait()
	polling, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(r.values, stop)()
	ended := make(chan error, 1)
	asked := &asked{}
	r.update(session, func(w *core.Worker) { w.Closed() })
	for {
		m, again := r.message()
		if m != nil {
			for _, count := range asked.more(int(m.Credit.GetCount())) {
				polls.Go(func() { r.pollOnce(polling, session, count, asked, ended) })
			}
			outcomes := r.deliver(ctx, m)
			r.update(session, func(w *core.Worker) { w.Answered(r.now(), outcomes) })
			continue
		}
		if r.stopped() {
			return nil
		}
		if err := r.rest(ctx, again, ended); err != nil {
			return err
		}
	}
}

// asked counts the runs that polls on their way may bring.
type asked struct {
	mu    sync.Mutex
	count int
}

// more says which polls to add for credit in all.
func (a *asked) more(credit int) (counts []int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.count < credit {
		n := min(credit-a.count, maxPoll)
		a.count += n
		counts = append(counts, n)
	}
	return counts
}

func (a *asked) less(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count -= n
}

// pollOnce asks for up to count runs. Its retries get the first answer, so that no grant is lost on the way.
func (r *runner) pollOnce(ctx context.Context, session *Session, count int, asked *asked, ended chan<- error) {
	var runs []*v1.LeasedRun
	err := session.request(ctx, func(ctx context.Context, id, lowest int64) error {
		reply, err := ask(ctx, r.c.Workers.PollSteps, &v1.PollStepsRequest{
			Namespace: r.c.namespace, SessionId: session.ID(), Queues: r.config.Queues, Count: int32(count),
			Wait: durationpb.New(pollWait), RequestId: id, LowestUnanswered: lowest,
		})
		runs = reply.GetRuns()
		return err
	})
	asked.less(count)
	r.update(session, func(w *core.Worker) {
		w.Granted(runs)
		w.Unused(count - len(runs))
	})
	if err != nil && ctx.Err() == nil {
		select {
		case ended <- err:
		default:
		}
	}
}

// deliver sends results, and says what became of each.
func (r *runner) deliver(ctx context.Context, m *v1.WorkRequest) (outcomes []*v1.WorkOutcome) {
	if len(m.Completions) > 0 {
		reply, err := ask(ctx, r.c.Workers.CompleteSteps, &v1.CompleteStepsRequest{Namespace: r.c.namespace, Completions: m.Completions})
		for i, c := range m.Completions {
			o := &v1.WorkOutcome{Token: c.Token, Refusal: refusalOf(err)}
			if i < len(reply.GetOutcomes()) {
				o.Refusal, o.Late = reply.Outcomes[i].Refusal, reply.Outcomes[i].Completed.GetLate()
			}
			outcomes = append(outcomes, o)
		}
	}
	for _, f := range m.Failures {
		_, err := ask(ctx, r.c.Workers.FailStep, f)
		outcomes = append(outcomes, &v1.WorkOutcome{Token: f.Token, Refusal: refusalOf(err)})
	}
	for _, f := range m.Releases {
		_, err := ask(ctx, r.c.Workers.ReleaseStep, f)
		outcomes = append(outcomes, &v1.WorkOutcome{Token: f.Token, Refusal: refusalOf(err)})
	}
	return outcomes
}

// refusalOf is the refusal in a call's error. An error without one leaves the outcome unknown: the result is sent again.
func refusalOf(err error) *v1.Refusal {
	if err == nil {
		return nil
	}
	if r, ok := AsRefusal(err); ok {
		return &v1.Refusal{Code: r.Code, Reason: r.Reason, Holder: r.Holder, Token: r.Token}
	}
	return &v1.Refusal{Code: v1.Code_CODE_UNKNOWN_OUTCOME, Reason: err.Error()}
}
