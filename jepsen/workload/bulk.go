package workload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/jepsen/check"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// crowd is what bulk operations are about: it goes on when it is told, and nobody tells.
const crowd = `
workflow: crowd
steps:
  heard: {signal: {name: go}}
  end: {needs: [heard], queue: work}
`

const crowdMost = 30 // instances of a crowd

// Crowd is how the ids of instances begin that a bulk operation of the workload is about.
func Crowd(bulk string) string {
	prefix, _, _ := strings.Cut(bulk, "/")
	return prefix + "-"
}

// InCrowd says that an instance is one of a crowd.
func InCrowd(id string) bool { return strings.HasPrefix(id, "crowd-") }

// Bulks starts crowds until the context ends, and does things to each as a whole, one behind the other or beside each other, more than once by the
// same id now and then; with some it waits until it is done, with others it goes away, and some it cancels. While they run the crowd grows.
func (r *Recorder) Bulks(ctx context.Context, c *client.Client, lane int, seed uint64) {
	chance := rand.New(rand.NewPCG(seed, uint64(16000+lane)))
	for n := 0; ctx.Err() == nil; n++ {
		name := fmt.Sprintf("crowd-%d-%d", lane, n)
		k := 0
		grow := func(most int) {
			for range most {
				id := fmt.Sprintf("%s-%d", name, k)
				k++
				calling, cancel := call(ctx)
				_ = r.Do(check.Op{Kind: "start", Instance: id}, func(*check.Op) error {
					_, err := c.Start(calling, "crowd", id, nil, client.StartOptions{Labels: map[string]string{"crowd": name}})
					return err
				}) // its outcome is on record
				cancel()
			}
		}
		grow(5 + chance.IntN(crowdMost-5))
		for act := range 2 + chance.IntN(3) {
			r.bulk(ctx, c, name, fmt.Sprintf("%s/%d", name, act), []v1.BulkAct{v1.BulkAct_BULK_ACT_PAUSE, v1.BulkAct_BULK_ACT_RESUME, v1.BulkAct_BULK_ACT_RETRY}[chance.IntN(3)], chance)
			grow(chance.IntN(3))
		}
		r.bulk(ctx, c, name, name+"/last", v1.BulkAct_BULK_ACT_CANCEL, chance)
		pause(ctx, time.Duration(chance.IntN(1000))*time.Millisecond)
	}
}

// bulk starts one operation.
func (r *Recorder) bulk(ctx context.Context, c *client.Client, name, id string, act v1.BulkAct, chance *rand.Rand) {
	start := func() bool {
		calling, cancel := call(ctx)
		defer cancel()
		return r.Do(check.Op{Kind: "bulk", Reason: id}, func(*check.Op) error {
			_, err := c.StartBulk(calling, &v1.StartBulkRequest{BulkId: id, Act: act, Filter: &v1.InstanceFilter{Labels: map[string]string{"crowd": name}}, Reason: "of " + id})
			return err
		}) == nil
	}
	started := start()
	if chance.IntN(4) == 0 {
		start()
	}
	switch how := chance.IntN(4); {
	case !started || how == 0: // nobody waits
	case how == 1 && act != v1.BulkAct_BULK_ACT_CANCEL:
		calling, cancel := call(ctx)
		_, _ = c.CancelBulk(calling, id, "enough") // it may be over
		cancel()
	default:
		waiting, cancel := context.WithTimeout(ctx, 10*time.Second)
		_, _ = c.WaitBulk(waiting, id, nil) // the feed tells
		cancel()
	}
}

// CrowdRest ends what is left of crowds.
func CrowdRest(ctx context.Context, c *client.Client, ids []string) {
	for _, id := range ids {
		for ctx.Err() == nil {
			if _, err := c.Cancel(ctx, id, "it is to end"); over(err) {
				break
			}
			pause(ctx, 50*time.Millisecond)
		}
	}
}
