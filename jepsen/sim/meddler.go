package sim

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// meddler says what others have heard, too late, twice, or without any right to: tokens that are over, requests that were
// answered, leases that it wants back, instances that it wants stopped.
type meddler struct {
	c    *client
	pace time.Duration
	s    *session
	old  []func() []*logv1.Command // requests of its session, which it makes again
}

// heard is a lease that somebody was told of.
type heard struct {
	instance, step string
	index          int32
	token          int64
}

// hear has everybody know of a lease, as what is written down somewhere is known.
func (c *crew) hear(run *v1.LeasedRun) {
	c.runs = append(c.runs, heard{run.InstanceId, run.Step, run.Index, run.Token})
}

func (c *crew) hearLock(lock string, token int64) { c.locks = append(c.locks, heldLock{lock, token}) }

// late picks one of the newest leases that were heard of.
func late[T any](d draws, list []T) (x T, ok bool) {
	if len(list) == 0 {
		return x, false
	}
	return list[len(list)-1-d.IntN(min(len(list), 1+d.IntN(60)))], true
}

func (w *world) meddler(name string, d draws) *meddler {
	m := &meddler{c: w.client(name, d), pace: d.between(10*time.Millisecond, 150*time.Millisecond)}
	m.open()
	m.next()
	return m
}

func (m *meddler) open() {
	m.c.open(m.c.draws.between(time.Second, 8*time.Second), func(s *session) {
		m.s, m.old = s, nil
		s.forgetful = true
		s.onEnd = func() {
			if !m.c.w.stopping {
				m.open()
			}
		}
	})
}

func (m *meddler) next() {
	w, d := m.c.w, m.c.draws
	w.by(m.c.process, d.between(0, 2*m.pace), func() {
		if w.stopping {
			if m.s != nil {
				m.s.close()
			}
			return
		}
		if command := m.command(); command != nil {
			r := &request{commands: one(command)}
			m.c.call(r, options{kind: "meddle", once: d.one(3)}, func(*response) {})
		} else if m.s != nil && !m.s.ended {
			m.remembered()
		}
		m.next()
	})
}

// command draws what needs no session.
func (m *meddler) command() *logv1.Command {
	d, w := m.c.draws, m.c.w
	run, known := late(d, w.crew.runs)
	held, knownLock := late(d, w.crew.locks)
	if d.one(30) {
		run.token += int64(d.IntN(1000)) // one that was never issued, perhaps
	}
	c := &logv1.Command{Envelope: &logv1.Envelope{}}
	n := d.IntN(40)
	switch {
	case n < 8 && known:
		c.Body = &logv1.Command_CompleteStep{CompleteStep: &v1.CompleteStepRequest{InstanceId: run.instance, Step: run.step, Index: run.index, Token: run.token, OutputPayload: &v1.Payload{Bytes: []byte("2")}}}
	case n < 12 && known:
		c.Body = &logv1.Command_ReportProgress{ReportProgress: &v1.ReportProgressRequest{InstanceId: run.instance, Step: run.step, Index: run.index, Token: run.token}}
	case n < 15 && known:
		c.Body = &logv1.Command_FailStep{FailStep: &v1.FailStepRequest{InstanceId: run.instance, Step: run.step, Index: run.index, Token: run.token, Code: "M", Retryable: !d.one(4)}}
	case n < 17 && known:
		c.Body = &logv1.Command_ReleaseStep{ReleaseStep: &v1.ReleaseStepRequest{InstanceId: run.instance, Step: run.step, Index: run.index, Token: run.token}}
	case n < 20 && knownLock:
		c.Body = &logv1.Command_ReleaseLock{ReleaseLock: &v1.ReleaseLockRequest{Lock: held.lock, Token: held.token}}
	case n == 20 && known:
		c.Body = &logv1.Command_RevokeLease{RevokeLease: &v1.RevokeLeaseRequest{Token: run.token}}
	case n == 21 && knownLock:
		c.Body = &logv1.Command_RevokeLease{RevokeLease: &v1.RevokeLeaseRequest{Token: held.token}}
	case n == 22 && known && d.one(2):
		c.Body = &logv1.Command_CancelInstance{CancelInstance: &v1.CancelInstanceRequest{InstanceId: run.instance}}
	case n == 25 && known && d.one(2):
		undo := &v1.CompensateInstanceRequest{InstanceId: run.instance, Skip: d.one(2)}
		if d.one(2) {
			undo.FromStep = pick(d, []string{"s0", "s1", "s2", "s3", "r0", "behind"})
		}
		return compensate(undo)
	case n == 24 && known:
		message := &v1.SendSignalRequest{InstanceId: run.instance, Name: pick(d, theSignals), SignalId: fmt.Sprint("m", d.IntN(3))}
		return signal(message)
	case n == 27 || n == 28:
		return signal(m.byKey())
	case n == 29 && len(w.crew.queued) > 0:
		id, _ := late(d, w.crew.queued)
		c.Body = &logv1.Command_CancelInstance{CancelInstance: &v1.CancelInstanceRequest{InstanceId: id}}
	case n == 26 && known:
		return decision(run.instance, run.step, run.index, d.one(2))
	case n == 23 && known:
		c.Body = &logv1.Command_RevokeLease{RevokeLease: &v1.RevokeLeaseRequest{Token: -run.token}}
	default:
		return nil
	}
	return c
}

// byKey draws a signal by a key: one that instances share or nobody has, or that of one.
func (m *meddler) byKey() *v1.SendSignalRequest {
	d, w := m.c.draws, m.c.w
	r := &v1.SendSignalRequest{Key: &v1.Key{Name: "group", Value: pick(d, theGroups)}, Name: pick(d, theSignals), SignalId: fmt.Sprint("k", d.IntN(40)), Broadcast: d.one(2)}
	if run, known := late(d, w.crew.runs); known && d.one(4) {
		r.Key = &v1.Key{Name: "own", Value: run.instance}
	}
	if d.one(2) {
		r.Ttl = durationpb.New(d.between(100*time.Millisecond, 10*time.Second))
	}
	return r
}

// remembered makes a request of the session: a new one, or an old one once more.
func (m *meddler) remembered() {
	d, s, w := m.c.draws, m.s, m.c.w
	if len(m.old) > 0 && d.one(3) {
		r := &request{commands: pick(d, m.old)}
		m.c.call(r, options{kind: "again", once: true}, func(*response) {})
		return
	}
	envelope, answered := s.envelope()
	wait := int64(0)
	if d.one(2) {
		wait = int64(d.between(0, 5*time.Second))
	}
	run, _ := late(d, w.crew.runs)
	want := pick(d, theLocks)
	kind := d.IntN(6)
	commands := func() []*logv1.Command {
		c := &logv1.Command{Envelope: envelope()}
		switch kind {
		case 0, 1:
			c.Body = &logv1.Command_LeaseStep{LeaseStep: &logv1.LeaseStep{Session: s.id, InstanceId: run.instance, Step: run.step, Index: run.index, Wait: wait}}
		case 2:
			c.Body = &logv1.Command_PollSteps{PollSteps: &logv1.PollSteps{Session: s.id, Queues: theQueues[:1], Count: 1, Wait: wait}}
		case 3:
			c.Body = &logv1.Command_CompleteStep{CompleteStep: &v1.CompleteStepRequest{
				InstanceId: run.instance, Step: run.step, Index: run.index, Token: run.token, OutputPayload: &v1.Payload{Bytes: []byte("0")}, SessionId: sessionName(s.id), Next: &v1.Next{Count: 2},
			}}
		default:
			c.Body = &logv1.Command_AcquireLock{AcquireLock: &logv1.AcquireLock{Session: s.id, Lock: want.Lock, Shared: want.Shared, Limit: want.Limit, Take: want.Take, Wait: wait}}
		}
		return []*logv1.Command{c}
	}
	m.old = append(m.old, commands)
	m.c.call(&request{commands: commands}, options{kind: "meddle", patience: time.Duration(wait) + time.Second, over: func() bool { return s.ended }}, func(res *response) {
		if !d.one(8) { // else it is never said to be answered
			answered()
		}
		m.got(s, res)
	})
}

// got hears of leases, and now and then keeps one alive; what it does not keep is given back as an orphan's.
func (m *meddler) got(s *session, res *response) {
	if !res.ok() {
		return
	}
	var runs []*v1.LeasedRun
	switch reply := res.outcomes[0].Reply.(type) {
	case *v1.LeaseStepResponse:
		runs = append(runs, reply.Run)
	case *v1.PollStepsResponse:
		runs = reply.Runs
	case *v1.CompleteStepResponse:
		runs = reply.Next
	case *v1.AcquireLockResponse:
		m.c.w.crew.hearLock(reply.Grant.Lock, reply.Token)
		m.keep(s, reply.Token)
	}
	for _, run := range runs {
		m.c.w.crew.hear(run)
		m.keep(s, run.Token)
	}
}

func (m *meddler) keep(s *session, token int64) {
	if !s.ended && m.c.draws.one(3) {
		s.keeper.Hold(token)
		m.c.w.by(m.c.process, m.c.draws.between(0, 2*time.Second), func() { s.keeper.Drop(token) })
	}
}
