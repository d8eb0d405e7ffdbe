package api

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// pending is a command that may be answered by a later entry. Subscribe before it is proposed.
type pending struct {
	s       *service
	command *logv1.Command
	wait    time.Duration
	settled <-chan []fsm.Settlement
	cancel  func()
}

// subscribe names the call that waits, and listens for what it will be answered. Call cancel when done with it.
func (s *service) subscribe(command *logv1.Command, wait time.Duration) *pending {
	id := newWaitID()
	command.Envelope.WaitId = id
	settled, cancel := s.cluster.Await(id)
	return &pending{s, command, wait, settled, cancel}
}

// proposeWait has a command applied that may be answered by a later entry, and waits for that.
func proposeWait[Res proto.Message](s *service, ctx context.Context, command *logv1.Command, wait time.Duration) (Res, error) {
	var none Res
	p := s.subscribe(command, wait)
	defer p.cancel()
	out, err := s.proposeAll(ctx, []*logv1.Command{command})
	if err != nil {
		return none, err
	}
	if !out[0].Parked {
		return replyOf[Res](out[0].Reply, out[0].Refusal)
	}
	settlement, err := p.settle(ctx)
	if err != nil {
		return none, err
	}
	return replyOf[Res](settlement.Reply, settlement.Refusal)
}

// settle waits for the answer of a command that was parked. Waits are replicated and every node applies what answers
// them, so that a call outlives a change of leadership, as long as this node has a leader to hear from.
func (p *pending) settle(ctx context.Context) (fsm.Settlement, error) {
	namespace := p.command.Envelope.Namespace
	limit := time.NewTimer(p.wait + commandLimit)
	defer limit.Stop()
	var alone <-chan time.Time
	for {
		changed := p.s.cluster.LeaderChanged()
		if address, self := p.s.cluster.Leader(namespace); self || address != "" {
			alone = nil
		} else if alone == nil {
			alone = time.After(p.s.config.Patience)
		}
		select {
		case settled := <-p.settled:
			return settled[0], nil // a call has one answer
		case <-changed:
		case <-alone:
			return fsm.Settlement{}, lost("no leader is known")
		case <-limit.C:
			return fsm.Settlement{}, lost("the answer did not come in time")
		case <-p.s.ctx.Done():
			return fsm.Settlement{}, lost("this node is stopping")
		case <-ctx.Done():
			p.s.leavers.add(namespace, p.command.Envelope.WaitId)
			return fsm.Settlement{}, ctx.Err()
		}
	}
}

// lost refuses a call whose answer will not be heard here.
func lost(why string) error {
	return fsm.Refuse(v1.Code_CODE_UNKNOWN_OUTCOME, "%s while the call waited; ask again with the same requestId", why)
}

func newWaitID() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:]) | 1
}

// leavers drops the waits of callers that are gone, in the background: nobody is there to wait for that. One goroutine
// (run) does it, many waits at a time.
type leavers struct {
	s    *service
	wake chan struct{}

	mu   sync.Mutex // guards gone
	gone []*logv1.Command
}

func newLeavers(s *service) *leavers { return &leavers{s: s, wake: make(chan struct{}, 1)} }

func (l *leavers) add(namespace string, waitID uint64) {
	l.mu.Lock()
	l.gone = append(l.gone, &logv1.Command{
		Envelope: &logv1.Envelope{Namespace: namespace},
		Body:     &logv1.Command_EndWait{EndWait: &logv1.EndWait{WaitId: waitID}},
	})
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run drops waits until the server closes. What cannot be dropped, because another node leads now, ends by its deadline.
func (l *leavers) run() {
	for {
		select {
		case <-l.wake:
		case <-l.s.ctx.Done():
			return
		}
		l.mu.Lock()
		gone := l.gone
		l.gone = nil
		l.mu.Unlock()
		space := func(c *logv1.Command) string { return c.Envelope.Namespace }
		slices.SortStableFunc(gone, func(a, b *logv1.Command) int { return cmp.Compare(space(a), space(b)) })
		for len(gone) > 0 {
			n := 1
			for n < min(len(gone), maxBatch) && space(gone[n]) == space(gone[0]) {
				n++
			}
			if _, err := l.s.proposeAll(l.s.ctx, gone[:n]); err != nil {
				l.s.config.Logger.Debug("drop waits of callers that left", "waits", n, "error", err)
			}
			gone = gone[n:]
		}
	}
}
