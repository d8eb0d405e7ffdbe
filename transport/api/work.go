package api

import (
	"cmp"
	"context"
	"sync"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Bounds of a Work stream.
const (
	maxItems  = 1000   // in one message, and about as many in one proposal
	maxCredit = 10_000 // runs that a stream takes at a time

	grantBytes = 1 << 20 // of inputs, behind which what is granted goes into another message
)

// Work is the fast path of workers: what arrives while a proposal is in flight is proposed together.
func (s *service) Work(ctx context.Context, stream *connect.BidiStream[v1.WorkRequest, v1.WorkResponse]) error {
	return serveStream(s, ctx, stream, (*v1.WorkRequest).GetNamespace, func(ctx context.Context, first *v1.WorkRequest) error {
		session, err := sessionOf(first.SessionId)
		if err != nil {
			return err
		}
		w := &worker{
			s: s, stream: stream, namespace: first.Namespace, session: session, waitID: newWaitID(),
			renewals: make(chan *v1.KeepAliveRequest, 1), ended: make(chan error, 1),
		}
		return w.serve(ctx, first)
	})
}

// worker is one Work stream. Two goroutines end with it: one receives, and one renews, for a renewal must not wait
// behind the work.
type worker struct {
	s         *service
	stream    *connect.BidiStream[v1.WorkRequest, v1.WorkResponse]
	namespace string
	session   int64
	waitID    uint64 // names the stream, and what its credit is granted

	granted  <-chan []fsm.Settlement
	renewals chan *v1.KeepAliveRequest // the newest that was asked for
	ended    chan error                // why a renewal was refused

	mu sync.Mutex // guards stream.Send
}

func (w *worker) serve(ctx context.Context, first *v1.WorkRequest) error {
	ctx, cancel := context.WithCancel(ctx)
	in := receive(ctx, w.s, w.namespace, w.stream)
	var renewing sync.WaitGroup
	renewing.Go(func() { w.renew(ctx) })
	defer renewing.Wait()
	defer cancel()
	var unsubscribe func()
	w.granted, unsubscribe = w.s.cluster.Await(w.waitID)
	defer unsubscribe()
	defer w.s.leavers.add(w.namespace, w.waitID) // nobody is there to be granted anything
	if err := w.open(ctx); err != nil {
		return err
	}
	for message := first; ; {
		if message != nil {
			if err := w.handle(ctx, in.batch(message, maxItems, items)); err != nil {
				return err
			}
		}
		var err error
		select {
		case message = <-in.messages:
			if message == nil {
				return in.err
			}
			continue
		case settled := <-w.granted:
			err = w.answer(&v1.WorkResponse{}, settled)
		case <-in.changed:
			err = in.stay()
		case err = <-w.ended:
		case <-w.s.ctx.Done():
			err = stopping()
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		message = nil
	}
}

// open takes the session's stream over from the one before, and tells all leases of the session.
func (w *worker) open(ctx context.Context) error {
	e := envelope(ctx, w.namespace)
	e.WaitId = w.waitID
	open, err := propose[*v1.PollStepsResponse](w.s, ctx, &logv1.Command{Envelope: e, Body: &logv1.Command_OpenStream{
		OpenStream: &logv1.OpenStream{Session: w.session},
	}})
	if err != nil {
		return err
	}
	return w.send(&v1.WorkResponse{Opened: true, Runs: open.Runs})
}

func items(r *v1.WorkRequest) int {
	return 1 + len(r.Completions) + len(r.Failures) + len(r.Releases) + len(r.Progress)
}

// send sends a response that says anything.
func (w *worker) send(r *v1.WorkResponse) error {
	if !r.Opened && r.KeptAlive == nil && len(r.Runs)+len(r.Outcomes)+len(r.Cancelled) == 0 {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stream.Send(r)
}

// answer sends a response, and with it what was granted meanwhile: a message costs more than the little that is in most. A refusal is
// the end of the credit, and so of the stream.
func (w *worker) answer(response *v1.WorkResponse, settled []fsm.Settlement) error {
	size := 0
	for _, s := range settled {
		if s.Refusal != nil {
			return cmp.Or(w.send(response), error(&fsm.Refusal{Detail: s.Refusal}))
		}
		if size > grantBytes {
			if err := w.send(response); err != nil {
				return err
			}
			response, size = &v1.WorkResponse{}, 0
		}
		for _, run := range s.Reply.(*v1.PollStepsResponse).Runs {
			response.Runs = append(response.Runs, run)
			size += len(run.InputPayload.GetBytes())
		}
	}
	return w.send(response)
}

// handle proposes what a batch of messages asks, and answers.
func (w *worker) handle(ctx context.Context, batch []*v1.WorkRequest) error {
	p := proposal{w: w}
	var credit *v1.Credit
	for _, r := range batch {
		if n := items(r) - 1; n > maxItems {
			return invalid("a message has up to %d items, this one %d", maxItems, n)
		}
		p.add(ctx, r)
		if r.Credit != nil {
			credit = r.Credit
		}
		if r.KeepAlive != nil {
			w.askRenewal(r.KeepAlive)
		}
	}
	if credit != nil {
		command, err := w.credit(ctx, credit)
		if err != nil {
			return err
		}
		p.commands, p.tokens = append(p.commands, command), append(p.tokens, 0)
	}
	outcomes, err := w.s.proposeAll(ctx, p.commands)
	if err != nil {
		return err
	}
	response := &v1.WorkResponse{Outcomes: p.refused}
	for i, o := range outcomes {
		if err := collect(response, p.tokens[i], o); err != nil {
			return err
		}
	}
	var settled []fsm.Settlement
	select {
	case settled = <-w.granted:
	default:
	}
	return w.answer(response, settled)
}

// proposal collects commands, each with the token that its outcome is told by; zero is for credit.
type proposal struct {
	w        *worker
	commands []*logv1.Command
	tokens   []int64
	refused  []*v1.WorkOutcome
}

func (p *proposal) add(ctx context.Context, r *v1.WorkRequest) {
	one := func(namespace string, token int64, err error, command *logv1.Command) {
		if err == nil {
			err = within(p.w.namespace, namespace)
		}
		if err != nil {
			p.refused = append(p.refused, &v1.WorkOutcome{Token: token, Refusal: refuseAny(err)})
			return
		}
		command.Envelope = envelope(ctx, p.w.namespace)
		if command.GetCompleteStep().GetNext() != nil {
			command.Envelope.WaitId = p.w.waitID // what is not granted at once parks as the stream's credit
		}
		p.commands, p.tokens = append(p.commands, command), append(p.tokens, token)
	}
	for _, c := range r.Completions {
		one(c.Namespace, c.Token, p.w.checkComplete(c), &logv1.Command{Body: &logv1.Command_CompleteStep{CompleteStep: c}})
	}
	for _, c := range r.Failures {
		one(c.Namespace, c.Token, checkFail(c), &logv1.Command{Body: &logv1.Command_FailStep{FailStep: c}})
	}
	for _, c := range r.Releases {
		one(c.Namespace, c.Token, checkRelease(c), &logv1.Command{Body: &logv1.Command_ReleaseStep{ReleaseStep: c}})
	}
	for _, c := range r.Progress {
		one(c.Namespace, c.Token, checkProgress(c), &logv1.Command{Body: &logv1.Command_ReportProgress{ReportProgress: c}})
	}
}

// checkComplete checks a completion. What it asks for next is for the stream's session.
func (w *worker) checkComplete(c *v1.CompleteStepRequest) error {
	session := fsm.SessionName(w.session)
	if c.Next != nil && c.SessionId != "" && c.SessionId != session {
		return invalid("the stream is that of session %s, and next is asked for session %s", session, c.SessionId)
	}
	if c.Next != nil {
		c.SessionId = session
	}
	return checkComplete(c)
}

func collect(response *v1.WorkResponse, token int64, o fsm.Outcome) error {
	if token == 0 {
		if o.Refusal != nil {
			return &fsm.Refusal{Detail: o.Refusal}
		}
		response.Runs = append(response.Runs, o.Reply.(*v1.PollStepsResponse).Runs...)
		return nil
	}
	out := &v1.WorkOutcome{Token: token, Refusal: o.Refusal}
	switch reply := o.Reply.(type) {
	case *v1.CompleteStepResponse:
		out.Late = reply.Late
		response.Runs = append(response.Runs, reply.Next...)
	case *v1.ReportProgressResponse:
		if reply.Cancelled {
			response.Cancelled = append(response.Cancelled, token)
		}
	}
	response.Outcomes = append(response.Outcomes, out)
	return nil
}

// credit replaces the credit in force.
func (w *worker) credit(ctx context.Context, c *v1.Credit) (*logv1.Command, error) {
	queues, err := queuesOf("", c.Queues)
	if err != nil {
		return nil, err
	}
	if c.Count < 0 || c.Count > maxCredit {
		return nil, invalid("credit is %d, and must be between 0 and %d", c.Count, maxCredit)
	}
	e := envelope(ctx, w.namespace)
	e.WaitId = w.waitID
	return &logv1.Command{Envelope: e, Body: &logv1.Command_PollSteps{PollSteps: &logv1.PollSteps{
		Session: w.session, Queues: queues, Count: c.Count, Credit: true,
	}}}, nil
}

// askRenewal has the session be renewed; the newest wish stands for those before it.
func (w *worker) askRenewal(r *v1.KeepAliveRequest) {
	r.Namespace, r.SessionId = w.namespace, fsm.SessionName(w.session)
	select {
	case <-w.renewals:
	default:
	}
	w.renewals <- r // this goroutine alone sends, and there is room
}

// renew keeps the session alive. A refusal ends the stream; of anything else the client hears nothing, and tries again
// or stops by its own clock.
func (w *worker) renew(ctx context.Context) {
	for {
		select {
		case r := <-w.renewals:
			reply, err := w.s.keepAlive(ctx, r)
			switch code := refusalOf(err).GetCode(); {
			case err == nil:
				err = w.send(&v1.WorkResponse{KeptAlive: reply})
			case code == v1.Code_CODE_NO_LEADER || code == v1.Code_CODE_UNKNOWN_OUTCOME || code == v1.Code_CODE_UNAVAILABLE || code == v1.Code_CODE_UNSPECIFIED:
				err = nil
			}
			if err != nil {
				w.ended <- err
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
