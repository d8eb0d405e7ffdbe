package fsm

import (
	"fmt"
	"testing"
	"time"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A slice does as much as the leader says, in proportion, and never more than it may.
func TestASliceIsOfTheSizeThatIsSaid(t *testing.T) {
	scenario(t, func(r *rig) {
		r.ages(0)
		r.register(bulky)
		s := r.session(3600 * second)
		for n := range 3 * RemoveMost {
			r.start("w", fmt.Sprintf("i%03d", n), `{}`)
		}
		r.tell(bulkStart("b", toPause, &v1.InstanceFilter{Workflow: "w"}))
		for _, said := range []int32{1, 7, BulkMost, BulkMost + 1, 1000, 0} {
			was := r.bulk("b").Matched
			r.tell(&logv1.Command{Body: &logv1.Command_AdvanceBulk{AdvanceBulk: &logv1.AdvanceBulk{Most: said}}})
			want := int64(said)
			if said <= 0 || said > BulkMost {
				want = BulkMost
			}
			if got := r.bulk("b").Matched - was; got != want {
				r.t.Errorf("of %d a slice of a bulk operation does something to %d; want %d", said, got, want)
			}
			r.midway()
		}
		r.tell(bulkCancel("b"))
		r.tell(bulkStart("c", toResume, &v1.InstanceFilter{Workflow: "w"}))
		r.slices()
		for range 3 * RemoveMost {
			r.complete(r.poll(s, "q", 1)[0], `{}`)
		}
		r.tell(keepOf(time.Minute, 0, false))
		r.ages(time.Minute)
		for _, said := range []int32{1, 7, RemoveMost + 1, 0} {
			want := said
			if said <= 0 || said > RemoveMost {
				want = RemoveMost
			}
			reply, _ := r.do(&logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_Retain{Retain: &logv1.Retain{Most: said}}})
			if got := reply.(*logv1.Retained).Instances; got != want {
				r.t.Errorf("of %d a slice removes %d; want %d", said, got, want)
			}
			r.midway()
		}
	})
}

func TestSized(t *testing.T) {
	for _, c := range []struct {
		bound, most int
		said        int32
		want        int
	}{{2000, 50, 0, 2000}, {2000, 50, -1, 2000}, {2000, 50, 50, 2000}, {2000, 50, 51, 2000}, {2000, 50, 5, 200}, {5, 2, 1, 2}, {3, 50, 1, 1}} {
		if got := sized(c.bound, c.most, c.said); got != c.want {
			t.Errorf("of %d for %d, %d is %d; want %d", c.bound, c.most, c.said, got, c.want)
		}
	}
}
