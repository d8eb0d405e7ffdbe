package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/jepsen/model"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// sweeper records that it has asked reporters, while it holds the lock of the sweep, and does not believe that it has lost it. It registers and
// removes them too. What a reporter answers is another's to say (reporter.go).
type sweeper struct {
	c     *client
	s     *session
	token int64 // the newest that it was granted
	asks  int
	said  []*v1.RecordAskRequest
}

func (w *world) sweeper(name string, d draws) {
	k := &sweeper{c: w.client(name, d)}
	k.open()
	k.next()
}

func (k *sweeper) open() {
	k.c.open(k.c.draws.between(time.Second, 4*time.Second), func(s *session) {
		k.s = s
		s.onEnd = func() {
			if !k.c.w.stopping {
				k.open()
			}
		}
		k.acquire()
	})
}

func (k *sweeper) acquire() {
	s := k.s
	envelope, answered := s.envelope()
	wait := 3 * time.Second
	r := &request{commands: func() []*logv1.Command {
		return []*logv1.Command{{Envelope: envelope(), Body: &logv1.Command_AcquireLock{AcquireLock: &logv1.AcquireLock{Session: s.id, Lock: fsm.SweepLock, Take: 1, Wait: int64(wait)}}}}
	}}
	k.c.call(r, options{kind: "acquire", patience: wait + 2*time.Second, over: func() bool { return s.ended }}, func(res *response) {
		answered()
		switch {
		case s.ended || k.s != s:
		case res.ok() && res.outcomes[0].Refusal == nil:
			k.token = res.outcomes[0].Reply.(*v1.AcquireLockResponse).Token
			s.keeper.Hold(k.token)
			k.c.w.by(k.c.process, k.c.draws.between(time.Second, 10*time.Second), func() { k.release(s) })
		case !k.c.w.stopping:
			k.c.w.by(k.c.process, time.Second, func() {
				if !s.ended && k.s == s {
					k.acquire()
				}
			})
		}
	})
}

// release gives the lock up, one way or another, and asks for it again.
func (k *sweeper) release(s *session) {
	if s.ended || k.s != s {
		return
	}
	if k.c.w.stopping || k.c.draws.one(2) {
		s.close()
		return
	}
	token := k.token
	r := &request{commands: one(&logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_ReleaseLock{ReleaseLock: &v1.ReleaseLockRequest{Lock: fsm.SweepLock, Token: token}}})}
	k.c.call(r, options{kind: "unlock"}, func(*response) {
		s.keeper.Drop(token)
		if !s.ended && k.s == s && !k.c.w.stopping {
			k.acquire()
		}
	})
}

func (k *sweeper) next() {
	w, d := k.c.w, k.c.draws
	w.by(k.c.process, d.between(0, 300*time.Millisecond), func() {
		if w.stopping {
			if k.s != nil {
				k.s.close()
			}
			return
		}
		name := fmt.Sprint("rep", d.IntN(3))
		switch {
		case d.one(8):
			k.do(&logv1.Command{Body: &logv1.Command_RegisterReporter{RegisterReporter: &v1.RegisterReporterRequest{
				Reporter: name, Url: pick(d, []string{"http://a", "http://a", "http://b"}), Every: durationpb.New(time.Minute), OutOfContact: durationpb.New(time.Second), Reason: "r",
			}}})
		case d.one(20):
			k.do(&logv1.Command{Body: &logv1.Command_RemoveReporter{RemoveReporter: &v1.RemoveReporterRequest{Reporter: name, Reason: "r"}}})
		case d.one(6) && len(k.said) > 0:
			k.do(&logv1.Command{Body: &logv1.Command_RecordAsk{RecordAsk: pick(d, k.said)}})
		default:
			k.ask()
		}
		k.next()
	})
}

// ask records an ask of a reporter that is there, under the newest token that it had.
func (k *sweeper) ask() {
	d := k.c.draws
	if k.token == 0 {
		return
	}
	token := k.token
	k.c.call(&request{read: func(m *fsm.Machine) (proto.Message, error) { return m.ListReporters(&v1.ListReportersRequest{}) }}, options{kind: "read"}, func(res *response) {
		list, is := res.value.(*v1.ListReportersResponse)
		if !is || len(list.GetReporters()) == 0 || k.c.w.stopping {
			return
		}
		p := pick(d, list.Reporters)
		k.asks++
		r := &v1.RecordAskRequest{Reporter: p.Reporter, Position: p.Position, Token: token, AskId: fmt.Sprint(k.c.name, "-", k.asks), Runs: int32(1 + d.IntN(5)), Observations: int32(d.IntN(4))}
		if r.Refused = int32(d.IntN(int(r.Observations) + 1)); d.one(4) {
			r.Error, r.Observations, r.Refused = "silence", 0, 0
		}
		if k.said = append(k.said, r); len(k.said) > 4 {
			k.said = k.said[1:]
		}
		k.do(&logv1.Command{Body: &logv1.Command_RecordAsk{RecordAsk: r}})
	})
}

func (k *sweeper) do(c *logv1.Command) {
	c.Envelope = &logv1.Envelope{}
	k.c.call(&request{commands: one(c)}, options{kind: "sweep"}, func(*response) {})
}

// contact compares the runs that a reporter would be asked about with the model's: each is as the list says, somebody could be doing it, and nothing
// was heard of it for as long as that reporter says. Since when a run is as it is the model does not know of all, so what is left out is not looked at.
func (k *reader) contact(name string) *request {
	h := k.c.w.history
	return h.compared(func(m *fsm.Machine) (proto.Message, error) {
		list, err := m.ListOutOfContact(&v1.ListOutOfContactRequest{Reporter: name, Limit: 1000})
		if err != nil {
			return nil, nil // it may have been removed; which there are is another read
		}
		return list, nil
	}, func(x proto.Message, _ error) string {
		list, _ := x.(*v1.ListOutOfContactResponse)
		last := ""
		for _, run := range list.GetRuns() {
			state, runs := h.model.Instance(run.InstanceId)
			at := slices.IndexFunc(runs, func(r model.View) bool { return r.Step == runName(run) })
			if at < 0 && h.model.Untold(run.InstanceId) {
				continue
			}
			if at < 0 || run.InstanceId < last || runs[at].Token != run.Token || runs[at].State != strings.TrimPrefix(run.State.String(), "RUN_STATE_") || !slices.Contains(couldBeDone, runs[at].State) {
				return fmt.Sprintf("%v is out of contact; instance %s is %s, and its runs are %+v", run, run.InstanceId, state, runs)
			}
			if last = run.InstanceId; h.model.Wall-run.Since.AsTime().UnixNano() < int64(time.Second) {
				return fmt.Sprintf("%v is out of contact at %d, and was heard of less than a second before", run, h.model.Wall)
			}
		}
		return ""
	})
}

// couldBeDone are the states in which somebody could be doing a run.
var couldBeDone = []string{model.Ready, model.Leased, model.Backoff, model.Incident}

// reporters compares the list of reporters with the model's; or the runs of one.
func (k *reader) reporters() *request {
	h := k.c.w.history
	if names := h.model.ReporterNames(); len(names) > 0 && k.c.draws.one(2) {
		return k.contact(pick(k.c.draws, names))
	}
	return h.compared(func(m *fsm.Machine) (proto.Message, error) {
		return m.ListReporters(&v1.ListReportersRequest{})
	}, func(x proto.Message, err error) string {
		if err != nil {
			return fmt.Sprintf("a list of reporters is refused: %v", err)
		}
		var names []string
		for _, p := range x.(*v1.ListReportersResponse).GetReporters() {
			names = append(names, p.Reporter)
		}
		if want := h.model.ReporterNames(); !slices.Equal(names, want) {
			return fmt.Sprintf("there are the reporters %v; there are %v", names, want)
		}
		for _, p := range x.(*v1.ListReportersResponse).GetReporters() {
			total, failures, position, token := h.model.ReporterIs(p.Reporter)
			if p.Runs != total.Runs || p.Observations != total.Observations || p.Refused != total.Refused || p.Error != total.Error || int(p.Failures) != failures || p.Position != position || p.Token != token {
				return fmt.Sprintf("reporter %v; it was asked %+v under token %d, failed %d times, and is of position %d", p, total, token, failures, position)
			}
		}
		return ""
	})
}
