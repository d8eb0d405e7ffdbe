package api

import (
	"context"
	"net/http"
	"sync"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// elsewhere says whether a stream is to be served by another node.
func (s *service) elsewhere(namespace string, h http.Header) (address string, ok bool) {
	address, self := s.cluster.Leader(namespace)
	return address, !self && address != "" && h.Get(forwarded) == ""
}

// Work is the fast path of workers: what arrives while a proposal is in flight is proposed together.
func (s *service) Work(ctx context.Context, stream *connect.BidiStream[v1.WorkRequest, v1.WorkResponse]) error {
	first, err := stream.Receive()
	if err != nil {
		return streamEnd(err)
	}
	if address, ok := s.elsewhere(first.Namespace, stream.RequestHeader()); ok {
		return pipe(s, ctx, stream, first, address)
	}
	session, err := sessionOf(first.SessionId)
	if err != nil {
		return asConnect(err)
	}
	ctx, cancel := context.WithCancel(withCaller(ctx, stream.RequestHeader()))
	defer cancel()
	w := &worker{s: s, stream: stream, namespace: first.Namespace, session: session, in: make(chan *v1.WorkRequest, 64), waitID: newWaitID()}
	defer w.tasks.Wait()
	defer cancel()
	return streamEnd(w.serve(ctx, first))
}

// worker is one Work stream. A goroutine receives; renewals have one each, for they must not wait behind the work.
type worker struct {
	s         *service
	stream    *connect.BidiStream[v1.WorkRequest, v1.WorkResponse]
	namespace string
	session   int64
	in        chan *v1.WorkRequest
	tasks     sync.WaitGroup

	waitID uint64 // of the credit in force: the same for all of a stream, so that no grant of an older one is missed

	mu sync.Mutex // guards stream.Send
}

func (w *worker) serve(ctx context.Context, first *v1.WorkRequest) error {
	changed := w.s.cluster.LeaderChanged()
	open, err := propose[*v1.PollStepsResponse](w.s, ctx, &logv1.Command{Envelope: envelope(ctx, w.namespace), Body: &logv1.Command_OpenStream{
		OpenStream: &logv1.OpenStream{Session: w.session},
	}})
	if err != nil {
		return err
	}
	if err := w.send(&v1.WorkResponse{Opened: true, Runs: open.Runs}); err != nil {
		return err
	}
	ended := make(chan error, 1)
	// Ends with the call: Receive fails when the handler has returned.
	go func() { ended <- w.receive(ctx) }()
	granted, unsubscribe := w.s.cluster.Await(w.waitID)
	defer unsubscribe()
	if err := w.handle(ctx, []*v1.WorkRequest{first}); err != nil {
		return err
	}
	for {
		select {
		case r := <-w.in:
			if err := w.handle(ctx, w.drain(r)); err != nil {
				return err
			}
		case settlement := <-granted:
			if err := w.grant(settlement); err != nil {
				return err
			}
		case <-changed:
			changed = w.s.cluster.LeaderChanged()
			if _, self := w.s.cluster.Leader(w.namespace); !self {
				return fsm.Refuse(v1.Code_CODE_NO_LEADER, "this node does not lead any more; open the stream again")
			}
		case err := <-ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *worker) receive(ctx context.Context) error {
	for {
		r, err := w.stream.Receive()
		if err != nil {
			return err
		}
		select {
		case w.in <- r:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// drain takes what has arrived.
func (w *worker) drain(r *v1.WorkRequest) []*v1.WorkRequest {
	batch := []*v1.WorkRequest{r}
	for len(batch) < maxBatch {
		select {
		case r := <-w.in:
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

func (w *worker) send(r *v1.WorkResponse) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stream.Send(r)
}

func (w *worker) grant(settlement fsm.Settlement) error {
	if settlement.Refusal != nil {
		return &fsm.Refusal{Detail: settlement.Refusal}
	}
	return w.send(&v1.WorkResponse{Runs: settlement.Reply.(*v1.PollStepsResponse).Runs})
}

// handle proposes what a batch of messages asks, and answers.
func (w *worker) handle(ctx context.Context, batch []*v1.WorkRequest) error {
	var p proposal
	var credit *v1.Credit
	for _, r := range batch {
		p.add(ctx, w.namespace, r)
		if r.Credit != nil {
			credit = r.Credit
		}
		if r.KeepAlive != nil {
			w.renew(ctx, r.KeepAlive)
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
	if len(response.Runs)+len(response.Outcomes)+len(response.Cancelled) == 0 {
		return nil
	}
	return w.send(response)
}

// proposal collects commands, each with the token that its outcome is told by; zero is for credit.
type proposal struct {
	commands []*logv1.Command
	tokens   []int64
	refused  []*v1.WorkOutcome
}

func (p *proposal) add(ctx context.Context, namespace string, r *v1.WorkRequest) {
	one := func(token int64, err error, command *logv1.Command) {
		if err != nil {
			p.refused = append(p.refused, &v1.WorkOutcome{Token: token, Refusal: refuseAny(err)})
			return
		}
		command.Envelope = envelope(ctx, namespace)
		p.commands, p.tokens = append(p.commands, command), append(p.tokens, token)
	}
	for _, c := range r.Completions {
		one(c.Token, checkComplete(c), &logv1.Command{Body: &logv1.Command_CompleteStep{CompleteStep: c}})
	}
	for _, c := range r.Failures {
		one(c.Token, checkFail(c), &logv1.Command{Body: &logv1.Command_FailStep{FailStep: c}})
	}
	for _, c := range r.Releases {
		one(c.Token, checkRelease(c), &logv1.Command{Body: &logv1.Command_ReleaseStep{ReleaseStep: c}})
	}
	for _, c := range r.Progress {
		one(c.Token, checkProgress(c), &logv1.Command{Body: &logv1.Command_ReportProgress{ReportProgress: c}})
	}
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

// maxCredit bounds how many runs a stream takes at a time.
const maxCredit = 10_000

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

// renew keeps the session alive, beside the work.
func (w *worker) renew(ctx context.Context, r *v1.KeepAliveRequest) {
	r.Namespace, r.SessionId = w.namespace, fsm.SessionName(w.session)
	w.tasks.Go(func() {
		reply, err := w.s.keepAlive(ctx, r)
		if err != nil {
			return // the client hears nothing, and tries again or ends by its own clock
		}
		_ = w.send(&v1.WorkResponse{KeptAlive: reply}) // a send that fails ends the stream elsewhere
	})
}
