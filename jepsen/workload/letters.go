package workload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/jepsen/check"
)

// letter is what signals by key are sent to.
const letter = `
workflow: letter
steps:
  heard: {signal: {name: go}}
  end: {needs: [heard], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
`

// lettersMost is how many instances a lane has at a time.
const lettersMost = 4

// Letters sends signals by key until the context ends: to an instance before and after it is started, to the first of two that are started with
// a key, to all that share one, by a key whose instance has ended, and by callers who race to start what nobody has. Some are told again.
func (r *Recorder) Letters(ctx context.Context, c *client.Client, lane int, seed uint64) {
	chance := rand.New(rand.NewPCG(seed, uint64(12000+lane)))
	running := backlog{most: lettersMost}
	for n := 0; ctx.Err() == nil; n++ {
		id := fmt.Sprintf("letter-%d-%d", lane, n)
		group := client.Key{Name: "group", Value: fmt.Sprint(chance.IntN(3))}
		if n%3 == 2 {
			id = r.race(ctx, c, id, group)
		} else {
			r.post(ctx, c, id, group, chance)
		}
		if !running.take(ctx, id, ends(c)) {
			return
		}
		if old := n - 2*lettersMost; old >= 0 { // what was started there has ended, as a rule: nobody has its key
			r.send(ctx, c, message{key: client.Key{Name: "order", Value: fmt.Sprintf("letter-%d-%d", lane, old)}, id: "b"})
		}
	}
}

// message is a signal by key.
type message struct {
	key       client.Key
	id        string
	broadcast bool
	starts    string // an instance; empty: none
	keys      []client.Key
}

// post starts an instance with three keys: one of its own, one that the one before it may have had, and one that it shares.
func (r *Recorder) post(ctx context.Context, c *client.Client, id string, group client.Key, chance *rand.Rand) {
	own := client.Key{Name: "order", Value: id}
	later := client.Key{Name: "later", Value: id[:len(id)-1]} // ten have it, one after the other or at once
	early := chance.IntN(2) == 0
	if early {
		r.send(ctx, c, message{key: own, id: "a"})
	}
	if chance.IntN(2) == 0 {
		r.send(ctx, c, message{key: later, id: id})
	}
	r.startWith(ctx, c, id, own, later, group)
	if chance.IntN(2) == 0 {
		r.send(ctx, c, message{key: group, id: "g-" + id, broadcast: chance.IntN(3) > 0})
	}
	r.sendAll(ctx, c, message{key: own, id: "a"}, message{key: own, id: "a"}) // the same, by two callers
	if chance.IntN(3) == 0 {
		pause(ctx, time.Duration(chance.IntN(400))*time.Millisecond)
		r.send(ctx, c, message{key: own, id: "a"}) // whether or not the instance has ended
	}
}

// race has callers start an instance each, by signals of one key. It says which was started.
func (r *Recorder) race(ctx context.Context, c *client.Client, id string, group client.Key) (started string) {
	key := client.Key{Name: "box", Value: id}
	all := make([]message, 3)
	for i := range all {
		all[i] = message{key: key, id: fmt.Sprint(i), starts: fmt.Sprintf("%s-%d", id, i), keys: []client.Key{group}}
	}
	for _, got := range r.sendAll(ctx, c, all...) {
		started = got
	}
	r.sendAll(ctx, c, all[0], all[1]) // again
	return started
}

func (r *Recorder) sendAll(ctx context.Context, c *client.Client, messages ...message) []string {
	out := make([]string, len(messages))
	var all sync.WaitGroup
	for i, m := range messages {
		all.Go(func() { out[i] = r.send(ctx, c, m) })
	}
	all.Wait()
	return out
}

// send sends a message until somebody says what became of it: who has it, if one has.
func (r *Recorder) send(ctx context.Context, c *client.Client, m message) (instance string) {
	o := client.SignalOptions{Broadcast: m.broadcast}
	if m.starts != "" {
		o.Start = &client.SignalStart{Workflow: "letter", InstanceID: m.starts, StartOptions: client.StartOptions{Keys: keysOf(m.keys)}}
	}
	op := check.Op{Kind: "message", Signal: m.id, Starts: m.starts, Keys: said(append([]client.Key{m.key}, m.keys...))}
	r.untilKnown(ctx, op, func(ctx context.Context, op *check.Op) error {
		reply, err := c.SignalByKey(ctx, m.key, "go", m.id, nil, o)
		if err == nil {
			op.Instance, instance = reply.InstanceId, reply.InstanceId
		}
		return err
	})
	return instance
}

func (r *Recorder) startWith(ctx context.Context, c *client.Client, id string, keys ...client.Key) {
	r.untilKnown(ctx, check.Op{Kind: "start", Instance: id, Keys: said(keys)}, func(ctx context.Context, _ *check.Op) error {
		_, err := c.Start(ctx, "letter", id, nil, client.StartOptions{Keys: keysOf(keys)})
		return err
	})
}

// untilKnown does what may be done again, until somebody says what became of it.
func (r *Recorder) untilKnown(ctx context.Context, op check.Op, do func(context.Context, *check.Op) error) {
	for ctx.Err() == nil {
		calling, cancel := call(ctx)
		err := r.Do(op, func(op *check.Op) error { return do(calling, op) })
		cancel()
		if refusal, refused := client.AsRefusal(err); err == nil || refused && !open(refusal) {
			return
		}
		pause(ctx, 50*time.Millisecond)
	}
}

func keysOf(keys []client.Key) map[string]string {
	out := map[string]string{}
	for _, k := range keys {
		out[k.Name] = k.Value
	}
	return out
}

func said(keys []client.Key) (out []string) {
	for _, k := range keys {
		out = append(out, k.Name+"="+k.Value)
	}
	return out
}
