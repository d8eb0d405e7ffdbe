package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/jepsen/model"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// reader reads what is, behind a barrier or stale, and has every answer compared with what the log had come to there.
type reader struct {
	c    *client
	pace time.Duration
}

func (w *world) reader(name string, d draws) *reader {
	k := &reader{w.client(name, d), d.between(10*time.Millisecond, 200*time.Millisecond)}
	k.next()
	return k
}

func (k *reader) next() {
	w, d := k.c.w, k.c.draws
	if w.stopping {
		return
	}
	w.by(k.c.process, d.between(0, 2*k.pace), func() {
		if k.c.draws.one(40) {
			k.walk()
		}
		r := k.read()
		r.stale = d.one(3)
		o := options{kind: "read"}
		if r.stale {
			o.to = pick(d, w.nodes)
		}
		k.c.call(r, o, func(*response) {})
		k.next()
	})
}

// read draws what to read. The comparison is made where the state is read, for there the log is known.
func (k *reader) read() *request {
	d, w := k.c.draws, k.c.w
	run, _ := late(d, w.crew.runs)
	held, _ := late(d, w.crew.locks)
	h := w.history
	switch d.IntN(7) {
	case 6:
		return k.past(run.instance)
	case 5:
		return k.versions()
	case 0:
		return h.compared(func(m *fsm.Machine) (proto.Message, error) {
			return m.GetLock(&v1.GetLockRequest{Lock: held.lock})
		}, func(x proto.Message, _ error) string {
			var tokens []int64
			for _, holder := range x.(*v1.Lock).GetHolders() {
				tokens = append(tokens, holder.Token)
			}
			if want := h.model.Holders(held.lock); !slices.Equal(tokens, want) {
				return fmt.Sprintf("lock %s has holders %v; it has %v", held.lock, tokens, want)
			}
			return ""
		})
	case 1:
		return h.compared(func(m *fsm.Machine) (proto.Message, error) {
			return m.CheckToken(&v1.CheckTokenRequest{Token: run.token})
		}, func(x proto.Message, _ error) string {
			if holds := x.(*v1.CheckTokenResponse).GetHolds(); holds != h.model.Holds(run.token) {
				return fmt.Sprintf("token %d holds: %v", run.token, holds)
			}
			return ""
		})
	case 2:
		switch {
		case d.one(4):
			return k.list()
		case d.one(8):
			return k.incidents()
		case d.one(8):
			return k.bulks()
		case d.one(4):
			return k.drift()
		case d.one(8):
			return k.reporters()
		}
	}
	return h.compared(func(m *fsm.Machine) (proto.Message, error) {
		return m.GetInstance(&v1.GetInstanceRequest{InstanceId: run.instance})
	}, func(x proto.Message, _ error) string { return h.sameInstance(run.instance, x.(*v1.Instance)) })
}

// compared makes a read whose answer is compared with the model's, if the node is where the model is.
func (h *history) compared(fn func(*fsm.Machine) (proto.Message, error), differs func(proto.Message, error) string) *request {
	return &request{read: func(m *fsm.Machine) (proto.Message, error) {
		x, err := fn(m)
		if index, _ := m.Applied(); index == h.model.Index {
			h.w.report.Compared++
			if what := differs(x, err); what != "" {
				h.w.fail("S4", "a read at entry %d says that %s", index, what)
			}
		}
		return x, err
	}}
}

func (h *history) sameInstance(id string, x *v1.Instance) string {
	state, runs := h.model.Instance(id)
	if got := strings.TrimPrefix(x.GetState().String(), "INSTANCE_STATE_"); got != state && (x != nil || state != "") {
		return fmt.Sprintf("%s is %s; it is %s", id, got, state)
	}
	if line := x.GetLine(); line != nil {
		if holder, queued := h.model.Line(id); holder != line.Holder || !slices.Equal(queued, line.Queued) {
			return fmt.Sprintf("%s has the id of %s, and %v wait; it is %s, and %v", line.Holder, id, line.Queued, holder, queued)
		}
	}
	known := map[string]model.View{}
	for _, r := range runs {
		known[r.Step] = r
	}
	untold := h.model.Untold(id)
	if x != nil && (len(known) > len(x.Runs) || len(known) < len(x.Runs) && !untold) {
		return fmt.Sprintf("%s has %d runs; they are %d", id, len(x.Runs), len(known))
	}
	for _, r := range x.GetRuns() {
		got := model.View{Step: runName(r), State: strings.TrimPrefix(r.State.String(), "RUN_STATE_"), Attempt: r.Attempt, Used: r.Used, Token: r.Token}
		if want, known := known[got.Step]; got != want && (known || got.State != model.Pending || !untold) {
			return fmt.Sprintf("a run of %s is %+v; it is %+v", id, got, want)
		}
	}
	return ""
}
