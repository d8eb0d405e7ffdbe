package api

import (
	"cmp"
	"context"
	"maps"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
	lockstepv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1/lockstepv1connect"
)

func checkStart(r *v1.StartInstanceRequest) error {
	if err := name("instanceId", r.InstanceId); err != nil {
		return err
	}
	if err := optional("startId", r.StartId); err != nil {
		return err
	}
	return checkStarting(r)
}

// checkStarting is checkStart but for the id.
func checkStarting(r *v1.StartInstanceRequest) error {
	if err := name("workflow", r.Workflow); err != nil {
		return err
	}
	if err := version(r.Version); err != nil {
		return err
	}
	if err := pairs("labels", r.Labels, maxLabels); err != nil {
		return err
	}
	if err := pairs("keys", r.Keys, maxKeys); err != nil {
		return err
	}
	return payloadOf("input", &r.Input, &r.InputPayload)
}

// StartInstance starts an instance, or does what it says of an id that is taken: without a word it finds the one that is there.
func (s *service) StartInstance(ctx context.Context, r *connect.Request[v1.StartInstanceRequest]) (*connect.Response[v1.StartInstanceResponse], error) {
	if err := checkStart(r.Msg); err != nil {
		return nil, asConnect(err)
	}
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.StartInstanceRequest) (*v1.StartInstanceResponse, error) {
		return propose[*v1.StartInstanceResponse](s, ctx, startCommand(ctx, r.Namespace, r))
	})
}

func startCommand(ctx context.Context, namespace string, r *v1.StartInstanceRequest) *logv1.Command {
	return &logv1.Command{Envelope: envelope(ctx, namespace), Body: &logv1.Command_StartInstance{StartInstance: r}}
}

// StartInstances starts up to 100, each with an outcome of its own.
func (s *service) StartInstances(ctx context.Context, r *connect.Request[v1.StartInstancesRequest]) (*connect.Response[v1.StartInstancesResponse], error) {
	if n := len(r.Msg.Instances); n == 0 || n > maxBatch {
		return nil, asConnect(invalid("a batch has 1 to %d instances, this one %d", maxBatch, n))
	}
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.StartInstancesRequest) (*v1.StartInstancesResponse, error) {
		out := &v1.StartInstancesResponse{Outcomes: make([]*v1.StartOutcome, len(r.Instances))}
		var commands []*logv1.Command
		var places []int
		for i, one := range r.Instances {
			err := within(r.Namespace, one.Namespace)
			if err == nil {
				err = checkStart(one)
			}
			if err != nil {
				out.Outcomes[i] = &v1.StartOutcome{Refusal: refusalOf(err)}
				continue
			}
			commands, places = append(commands, startCommand(ctx, r.Namespace, one)), append(places, i)
		}
		outcomes, err := s.proposeAll(ctx, commands)
		for i, o := range outcomes {
			one := &v1.StartOutcome{Refusal: o.Refusal}
			if o.Refusal == nil {
				one.Started = o.Reply.(*v1.StartInstanceResponse)
			}
			out.Outcomes[places[i]] = one
		}
		return out, err
	})
}

// CancelInstance asks an instance to stop.
func (s *service) CancelInstance(ctx context.Context, r *connect.Request[v1.CancelInstanceRequest]) (*connect.Response[v1.CancelInstanceResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.CancelInstanceRequest) (*v1.CancelInstanceResponse, error) {
		if err := name("instanceId", r.InstanceId); err != nil {
			return nil, err
		}
		if err := text("reason", r.Reason); err != nil {
			return nil, err
		}
		return propose[*v1.CancelInstanceResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_CancelInstance{CancelInstance: r}})
	})
}

// checkReceiver checks to whom a signal goes: to an instance, or by a key.
func checkReceiver(r *v1.SendSignalRequest) error {
	switch k := r.Key; {
	case k != nil && r.InstanceId != "":
		return invalid("a signal goes to instanceId %q or by the key %s=%s, not both", r.InstanceId, k.Name, k.Value)
	case k != nil:
		return pairs("key", map[string]string{k.Name: k.Value}, 1)
	case r.Broadcast:
		return invalid("a broadcast goes by a key")
	}
	return name("instanceId", r.InstanceId)
}

func checkSignal(r *v1.SendSignalRequest) error {
	if err := checkReceiver(r); err != nil {
		return err
	}
	if err := names("name", r.Name, "signalId", r.SignalId); err != nil {
		return err
	}
	if ttl := r.Ttl.AsDuration(); r.Ttl != nil && (!r.Ttl.IsValid() || ttl < 0 || ttl > maxTTL) {
		return invalid("ttl is %s, and must be between 0 (7 days are taken) and %s", ttl, maxTTL)
	}
	if err := checkStarted(r); err != nil {
		return err
	}
	return payloadOf("payload", &r.Payload, &r.PayloadBytes)
}

// checkStarted checks what a signal by key may start. It will have that key.
func checkStarted(r *v1.SendSignalRequest) error {
	start := r.Start
	switch {
	case start == nil:
		return nil
	case r.Key == nil || r.Broadcast:
		return invalid("a signal that starts an instance goes by a key, and is no broadcast")
	}
	if err := within(r.Namespace, start.Namespace); err != nil {
		return err
	}
	if start.OnConflict != v1.OnConflict_ON_CONFLICT_UNSPECIFIED || start.StartId != "" {
		return invalid("what a signal starts has no onConflict and no startId: who has the key gets the signal")
	}
	keys := maps.Clone(start.Keys)
	if keys == nil {
		keys = map[string]string{}
	}
	keys[r.Key.Name] = r.Key.Value
	if err := pairs("start.keys, with the signal's", keys, maxKeys); err != nil {
		return err
	}
	if err := name("start.instanceId, or NAME/VALUE of the key in its place,", cmp.Or(start.InstanceId, r.Key.Name+"/"+r.Key.Value)); err != nil {
		return err
	}
	return checkStarting(start)
}

// SendSignal sends a message to an instance, or to those that have a key.
func (s *service) SendSignal(ctx context.Context, r *connect.Request[v1.SendSignalRequest]) (*connect.Response[v1.SendSignalResponse], error) {
	if err := checkSignal(r.Msg); err != nil {
		return nil, asConnect(err)
	}
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.SendSignalRequest) (*v1.SendSignalResponse, error) {
		return propose[*v1.SendSignalResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_SendSignal{SendSignal: r}})
	})
}

// GetInstance returns an instance with its runs.
func (s *service) GetInstance(ctx context.Context, r *connect.Request[v1.GetInstanceRequest]) (*connect.Response[v1.Instance], error) {
	return read(s, ctx, r, func(r *v1.GetInstanceRequest) error { return name("instanceId", r.InstanceId) }, (*fsm.Machine).GetInstance,
		func(i *v1.Instance) { showInstance(i) })
}

func checkList(r *v1.ListInstancesRequest) error {
	if _, known := v1.InstanceState_name[int32(r.State)]; !known {
		return invalid("state %d is none", r.State)
	}
	if err := optional("workflow", r.Workflow); err != nil {
		return err
	}
	if err := pairs("labels", r.Labels, maxLabels); err != nil {
		return err
	}
	if err := pairs("keys", r.Keys, maxKeys); err != nil {
		return err
	}
	return page(r.Limit, r.Page)
}

// ListInstances lists instances. What their filter is, beyond names and sizes, the state machine checks.
func (s *service) ListInstances(ctx context.Context, r *connect.Request[v1.ListInstancesRequest]) (*connect.Response[v1.ListInstancesResponse], error) {
	return read(s, ctx, r, checkList, (*fsm.Machine).ListInstances,
		func(l *v1.ListInstancesResponse) {
			for _, i := range l.Instances {
				showInstance(i)
			}
		})
}

// GetHistory returns an instance's events.
func (s *service) GetHistory(ctx context.Context, r *connect.Request[v1.GetHistoryRequest]) (*connect.Response[v1.GetHistoryResponse], error) {
	return read(s, ctx, r, func(r *v1.GetHistoryRequest) error {
		if err := name("instanceId", r.InstanceId); err != nil {
			return err
		}
		if r.After < 0 {
			return invalid("after is %d; positions count from 1", r.After)
		}
		return page(r.Limit, "")
	}, (*fsm.Machine).GetHistory, nil)
}

// Explain says why an instance does not move.
func (s *service) Explain(ctx context.Context, r *connect.Request[v1.ExplainRequest]) (*connect.Response[v1.ExplainResponse], error) {
	return read(s, ctx, r, func(r *v1.ExplainRequest) error {
		if err := name("instanceId", r.InstanceId); err != nil {
			return err
		}
		if r.Index < 0 {
			return invalid("index is %d", r.Index)
		}
		return optional("step", r.Step)
	}, (*fsm.Machine).Explain, nil)
}

// WaitInstance waits for an instance's end: a barrier first, wherever the leader is, then this node's own state, so that
// the call outlives a change of leadership.
func (s *service) WaitInstance(ctx context.Context, r *connect.Request[v1.WaitInstanceRequest]) (*connect.Response[v1.WaitInstanceResponse], error) {
	wait, err := waitOf(r.Msg.Wait)
	if err == nil {
		err = name("instanceId", r.Msg.InstanceId)
	}
	if err != nil {
		return nil, asConnect(err)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	i, err := s.leadersInstance(ctx, r)
	if err == nil && fsm.Live(i.State) {
		var ended bool
		if ended, err = s.untilEnded(ctx, r.Msg, timer); err == nil {
			i, err = s.instanceNow(ctx, r, ended, i)
		}
	}
	if err != nil {
		return nil, asConnect(err)
	}
	return connect.NewResponse(&v1.WaitInstanceResponse{Done: !fsm.Live(i.State), Instance: showInstance(i)}), nil
}

// leadersInstance reads an instance behind a barrier.
func (s *service) leadersInstance(ctx context.Context, r *connect.Request[v1.WaitInstanceRequest]) (*v1.Instance, error) {
	get := &v1.GetInstanceRequest{Namespace: r.Msg.Namespace, InstanceId: r.Msg.InstanceId}
	return ask(s, ctx, r.Header(), lockstepv1.InstanceServiceGetInstanceProcedure, get.Namespace, get, (*fsm.Machine).GetInstance)
}

// instanceNow reads an instance when the wait for it is over: here, if it has ended, for then nothing changes any more.
// Without a leader to ask, what it was when the wait began is the answer.
func (s *service) instanceNow(ctx context.Context, r *connect.Request[v1.WaitInstanceRequest], ended bool, before *v1.Instance) (*v1.Instance, error) {
	if ended {
		get := &v1.GetInstanceRequest{Namespace: r.Msg.Namespace, InstanceId: r.Msg.InstanceId}
		i, _, err := readOf(s, ctx, get.Namespace, v1.Consistency_CONSISTENCY_STALE, get, (*fsm.Machine).GetInstance)
		return i, err
	}
	now, err := s.leadersInstance(ctx, r)
	if code := refusalOf(err).GetCode(); code == v1.Code_CODE_NO_LEADER || code == v1.Code_CODE_UNAVAILABLE {
		return before, nil
	}
	return now, err
}

// untilEnded waits until this node knows that the instance has ended; false when the wait is over first. It may be
// behind, and not know the instance yet.
func (s *service) untilEnded(ctx context.Context, r *v1.WaitInstanceRequest, timer *time.Timer) (bool, error) {
	for {
		changed, led := s.cluster.Changed(r.Namespace), s.cluster.LeaderChanged()
		ended := false
		_, err := s.cluster.Read(ctx, r.Namespace, v1.Consistency_CONSISTENCY_STALE, func(m *fsm.Machine) (err error) {
			ended, err = m.InstanceEnded(r.Namespace, r.InstanceId)
			return err
		})
		if err != nil && !behind(err) || ended {
			return ended, err
		}
		select {
		case <-changed:
		case <-led:
		case <-timer.C:
			return false, nil
		case <-s.ctx.Done():
			return false, stopping()
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// behind says that a node may know later what it does not know now.
func behind(err error) bool {
	switch refusalOf(err).GetCode() {
	case v1.Code_CODE_NAMESPACE_NOT_FOUND, v1.Code_CODE_INSTANCE_NOT_FOUND, v1.Code_CODE_UNAVAILABLE:
		return true
	}
	return false
}
