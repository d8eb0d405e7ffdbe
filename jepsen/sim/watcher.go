package sim

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// watcher reads events by position, from one node after the other. It must see each event once, in order, as it was
// published.
type watcher struct {
	c     *client
	after int64 // from where it goes on
	seen  int64 // the last that came
	at    *node
	pace  time.Duration
}

func (w *world) watcher(name string, d draws) *watcher {
	k := &watcher{c: w.client(name, d), pace: d.between(20*time.Millisecond, 500*time.Millisecond)}
	k.at = pick(d, w.nodes)
	k.next()
	return k
}

func (k *watcher) next() {
	w, d := k.c.w, k.c.draws
	w.by(k.c.process, d.between(0, 2*k.pace), func() {
		if d.one(10) {
			k.at = pick(d, w.nodes) // it reconnects
			w.report.Reconnects++
			if plant.Is(plant.WatchSkips) && k.after > 0 {
				k.after++
			}
		}
		after := k.after
		r := &request{stale: true, read: func(m *fsm.Machine) (proto.Message, error) {
			if newest, err := m.Position(""); err != nil || newest <= after {
				return &v1.WatchEventsResponse{}, err // a node that is behind waits
			}
			events, err := m.Events("", after, 20+d.IntN(200))
			return &v1.WatchEventsResponse{Events: events}, err
		}}
		k.c.call(r, options{kind: "watch", to: k.at}, func(res *response) {
			if res.ok() {
				k.got(res)
			} else {
				k.at = pick(d, w.nodes)
			}
			k.next()
		})
	})
}

func (k *watcher) got(res *response) {
	w := k.c.w
	if r := res.refusal; r != nil && r.Code == v1.Code_CODE_POSITION_COMPACTED && r.Position > k.after+1 && r.Position <= w.history.model.Compacted()+1 {
		k.after, k.seen = r.Position-1, r.Position-1 // it goes on with the first that is kept
		return
	}
	if res.refusal != nil {
		w.fail("L7", "%s is refused events after %d: %s", k.c.name, k.after, res.refusal.Reason)
		return
	}
	for _, e := range res.value.(*v1.WatchEventsResponse).Events {
		if e.Position != k.seen+1 {
			w.fail("L7", "%s sees position %d behind %d", k.c.name, e.Position, k.seen)
		}
		if e.Position > int64(len(w.history.events)) || w.history.events[e.Position-1] != eventSum(e) {
			w.fail("L7", "%s sees another event at position %d than was published", k.c.name, e.Position)
		}
		k.after, k.seen = e.Position, e.Position
		w.report.Watched++
	}
}
