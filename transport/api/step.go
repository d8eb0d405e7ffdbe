package api

import (
	"context"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

const defaultQueue = "default"

// queuesOf reads the queues of a poll: one, several, or the default one.
func queuesOf(one string, several []string) ([]string, error) {
	queues := several
	if one != "" {
		queues = append([]string{one}, several...)
	}
	if len(queues) == 0 {
		queues = []string{defaultQueue}
	}
	if len(queues) > maxBatch {
		return nil, invalid("a poll names up to %d queues, this one %d", maxBatch, len(queues))
	}
	for _, q := range queues {
		if err := name("queue", q); err != nil {
			return nil, err
		}
	}
	return queues, nil
}

// PollSteps leases ready runs of queues.
func (s *service) PollSteps(ctx context.Context, r *connect.Request[v1.PollStepsRequest]) (*connect.Response[v1.PollStepsResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.PollStepsRequest) (*v1.PollStepsResponse, error) {
		session, err := sessionOf(r.SessionId)
		if err != nil {
			return nil, err
		}
		queues, err := queuesOf(r.Queue, r.Queues)
		if err != nil {
			return nil, err
		}
		wait, err := waitOf(r.Wait)
		if err != nil {
			return nil, err
		}
		if r.Count < 0 || r.Count > maxBatch {
			return nil, invalid("count is %d, and must be between 1 and %d", r.Count, maxBatch)
		}
		e, err := request(envelope(ctx, r.Namespace), session, r.RequestId, r.LowestUnanswered)
		if err != nil {
			return nil, err
		}
		return proposeWait[*v1.PollStepsResponse](s, ctx, &logv1.Command{Envelope: e, Body: &logv1.Command_PollSteps{
			PollSteps: &logv1.PollSteps{Session: session, Queues: queues, Count: max(1, r.Count), Wait: int64(wait)},
		}}, wait)
	})
}

// LeaseStep leases one named run.
func (s *service) LeaseStep(ctx context.Context, r *connect.Request[v1.LeaseStepRequest]) (*connect.Response[v1.LeaseStepResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.LeaseStepRequest) (*v1.LeaseStepResponse, error) {
		session, err := sessionOf(r.SessionId)
		if err != nil {
			return nil, err
		}
		if err := names("instanceId", r.InstanceId, "step", r.Step); err != nil {
			return nil, err
		}
		if r.Index < 0 {
			return nil, invalid("index is %d", r.Index)
		}
		wait, err := waitOf(r.Wait)
		if err != nil {
			return nil, err
		}
		e, err := request(envelope(ctx, r.Namespace), session, r.RequestId, r.LowestUnanswered)
		if err != nil {
			return nil, err
		}
		return proposeWait[*v1.LeaseStepResponse](s, ctx, &logv1.Command{Envelope: e, Body: &logv1.Command_LeaseStep{
			LeaseStep: &logv1.LeaseStep{Session: session, InstanceId: r.InstanceId, Step: r.Step, Index: r.Index, Wait: int64(wait)},
		}}, wait)
	})
}

func checkComplete(r *v1.CompleteStepRequest) error {
	if err := held(r.InstanceId, r.Step, r.Index, r.Token); err != nil {
		return err
	}
	if err := checkNext(r); err != nil {
		return err
	}
	return payloadOf("output", &r.Output, &r.OutputPayload)
}

// checkNext checks what a completion asks for more. Its queues default to the completed run's.
func checkNext(r *v1.CompleteStepRequest) error {
	if r.Next == nil {
		return nil
	}
	if r.Next.Count < 0 || r.Next.Count > maxBatch {
		return invalid("next asks for %d runs, and may ask for up to %d", r.Next.Count, maxBatch)
	}
	if _, err := sessionOf(r.SessionId); err != nil {
		return err
	}
	_, err := queuesOf("", r.Next.Queues)
	return err
}

func completeCommand(ctx context.Context, namespace string, r *v1.CompleteStepRequest) *logv1.Command {
	return &logv1.Command{Envelope: envelope(ctx, namespace), Body: &logv1.Command_CompleteStep{CompleteStep: r}}
}

// CompleteStep completes a run.
func (s *service) CompleteStep(ctx context.Context, r *connect.Request[v1.CompleteStepRequest]) (*connect.Response[v1.CompleteStepResponse], error) {
	if err := checkComplete(r.Msg); err != nil {
		return nil, asConnect(err)
	}
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.CompleteStepRequest) (*v1.CompleteStepResponse, error) {
		return propose[*v1.CompleteStepResponse](s, ctx, completeCommand(ctx, r.Namespace, r))
	})
}

// CompleteSteps completes up to 100 runs, each with an outcome of its own.
func (s *service) CompleteSteps(ctx context.Context, r *connect.Request[v1.CompleteStepsRequest]) (*connect.Response[v1.CompleteStepsResponse], error) {
	if n := len(r.Msg.Completions); n == 0 || n > maxBatch {
		return nil, asConnect(invalid("a batch has 1 to %d completions, this one %d", maxBatch, n))
	}
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.CompleteStepsRequest) (*v1.CompleteStepsResponse, error) {
		out := &v1.CompleteStepsResponse{Outcomes: make([]*v1.CompleteOutcome, len(r.Completions))}
		var commands []*logv1.Command
		var places []int
		for i, one := range r.Completions {
			err := within(r.Namespace, one.Namespace)
			if err == nil {
				err = checkComplete(one)
			}
			if err != nil {
				out.Outcomes[i] = &v1.CompleteOutcome{Refusal: refusalOf(err)}
				continue
			}
			commands, places = append(commands, completeCommand(ctx, r.Namespace, one)), append(places, i)
		}
		outcomes, err := s.proposeAll(ctx, commands)
		for i, o := range outcomes {
			one := &v1.CompleteOutcome{Refusal: o.Refusal}
			if o.Refusal == nil {
				one.Completed = o.Reply.(*v1.CompleteStepResponse)
			}
			out.Outcomes[places[i]] = one
		}
		return out, err
	})
}

func checkFail(r *v1.FailStepRequest) error {
	if err := held(r.InstanceId, r.Step, r.Index, r.Token); err != nil {
		return err
	}
	if err := optional("code", r.Code); err != nil {
		return err
	}
	return text("reason", r.Reason)
}

// FailStep ends an attempt badly.
func (s *service) FailStep(ctx context.Context, r *connect.Request[v1.FailStepRequest]) (*connect.Response[v1.FailStepResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.FailStepRequest) (*v1.FailStepResponse, error) {
		if err := checkFail(r); err != nil {
			return nil, err
		}
		return propose[*v1.FailStepResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_FailStep{FailStep: r}})
	})
}

func checkRelease(r *v1.ReleaseStepRequest) error {
	if err := held(r.InstanceId, r.Step, r.Index, r.Token); err != nil {
		return err
	}
	return text("reason", r.Reason)
}

// ReleaseStep gives a run back.
func (s *service) ReleaseStep(ctx context.Context, r *connect.Request[v1.ReleaseStepRequest]) (*connect.Response[v1.ReleaseStepResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.ReleaseStepRequest) (*v1.ReleaseStepResponse, error) {
		if err := checkRelease(r); err != nil {
			return nil, err
		}
		return propose[*v1.ReleaseStepResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_ReleaseStep{ReleaseStep: r}})
	})
}

func checkProgress(r *v1.ReportProgressRequest) error {
	if err := held(r.InstanceId, r.Step, r.Index, r.Token); err != nil {
		return err
	}
	return payloadOf("progress", &r.Progress, &r.ProgressPayload)
}

// ReportProgress tells how far a run is.
func (s *service) ReportProgress(ctx context.Context, r *connect.Request[v1.ReportProgressRequest]) (*connect.Response[v1.ReportProgressResponse], error) {
	if err := checkProgress(r.Msg); err != nil {
		return nil, asConnect(err)
	}
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.ReportProgressRequest) (*v1.ReportProgressResponse, error) {
		return propose[*v1.ReportProgressResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_ReportProgress{ReportProgress: r}})
	})
}

// ListQueues lists queues.
func (s *service) ListQueues(ctx context.Context, r *connect.Request[v1.ListQueuesRequest]) (*connect.Response[v1.ListQueuesResponse], error) {
	return read(s, ctx, r, func(*v1.ListQueuesRequest) error { return nil }, (*fsm.Machine).ListQueues, nil)
}

// ListLateResults lists the inbox of fenced completions.
func (s *service) ListLateResults(ctx context.Context, r *connect.Request[v1.ListLateResultsRequest]) (*connect.Response[v1.ListLateResultsResponse], error) {
	return read(s, ctx, r, func(r *v1.ListLateResultsRequest) error {
		if err := optional("instanceId", r.InstanceId); err != nil {
			return err
		}
		return page(r.Limit, r.Page)
	}, (*fsm.Machine).ListLateResults, nil)
}
