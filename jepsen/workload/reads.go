package workload

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/jepsen/check"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Sizes of Reads.
const (
	readEvery = 30 * time.Millisecond
	readAhead = 128 // reads that are not answered yet
	recent    = 4
)

// newest names that of which something was acknowledged last: that is what a read may miss.
type newest struct {
	mu    sync.Mutex // guards names
	names []string   // newest last
}

func (n *newest) note(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names = append(slices.DeleteFunc(n.names, func(other string) bool { return other == name }), name)
	n.names = n.names[max(0, len(n.names)-recent):]
}

func (n *newest) any(chance *rand.Rand) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.names) == 0 {
		return ""
	}
	if chance.IntN(2) == 0 {
		return n.names[len(n.names)-1]
	}
	return n.names[chance.IntN(len(n.names))]
}

// Reads reads instances and looks at locks that are worked on until the context ends, by a client that knows one node only. A read is asked
// whether or not those before were answered, as by clients that do not know of each other: a node that is stopped has
// reads waiting when it goes on, of which some were asked after others have led and acknowledged.
func (r *Recorder) Reads(ctx context.Context, c *client.Client, seed uint64) {
	chance := rand.New(rand.NewPCG(seed, 6000))
	var asked sync.WaitGroup
	defer asked.Wait()
	idle, asking := make(chan func()), 0 // those who ask again and again have the stacks for it already
	defer close(idle)
	for ctx.Err() == nil {
		id, key := r.instances.any(chance), r.locks.any(chance)
		for _, ask := range []func(){
			func() { _ = r.read(ctx, c, id) }, // what it says is compared later
			func() { _ = r.stale(ctx, c, id) },
			func() { r.look(ctx, c, "peek", key) },
		} {
			if id == "" || key == "" {
				break // nothing is worked on yet
			}
			select {
			case idle <- ask:
				continue
			default:
			}
			if asking < readAhead {
				asking++
				asked.Go(func() {
					for ask(); ; {
						next, more := <-idle
						if !more {
							return
						}
						next()
					}
				})
			}
		}
		pause(ctx, readEvery)
	}
}

// stale reads what a node has, and how old it says that this may be.
func (r *Recorder) stale(ctx context.Context, c *client.Client, id string) error {
	calling, cancel := call(ctx)
	defer cancel()
	return r.Do(check.Op{Kind: "stale", Instance: id}, func(op *check.Op) error {
		get := &v1.GetInstanceRequest{InstanceId: id, Consistency: v1.Consistency_CONSISTENCY_STALE}
		res, err := c.Instances.GetInstance(calling, connect.NewRequest(get))
		if err != nil {
			return err
		}
		age, err := strconv.ParseInt(res.Header().Get("Lockstep-Stale-Ms"), 10, 64)
		op.Age, op.Seen = time.Duration(age+1)*time.Millisecond, completed(res.Msg) // it counts whole ones
		return err
	})
}
