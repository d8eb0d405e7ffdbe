package workload

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/lockstep-dev/lockstep/client"
)

// Sizes of Reads.
const (
	readEvery = 25 * time.Millisecond
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
	room := make(chan struct{}, readAhead)
	for ctx.Err() == nil {
		id, key := r.instances.any(chance), r.locks.any(chance)
		for _, ask := range []func(){
			func() { _ = r.read(ctx, c, id) }, // what it says is compared later
			func() { r.look(ctx, c, "peek", key) },
		} {
			if id == "" || key == "" {
				break // nothing is worked on yet
			}
			select {
			case room <- struct{}{}:
				asked.Go(func() {
					defer func() { <-room }()
					ask()
				})
			default:
			}
		}
		pause(ctx, readEvery)
	}
}
