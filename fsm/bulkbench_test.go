package fsm

import (
	"fmt"
	"testing"

	"github.com/lockstep-dev/lockstep/fsm/graph/source"
	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// BenchmarkBulkSlice measures what an entry takes in which a bulk operation goes on, over instances that rest on disk.
func BenchmarkBulkSlice(b *testing.B) {
	const all = 20_000
	dir, err := table.OpenDir(b.TempDir(), table.Options{Apart: Appended()})
	must(err)
	r := newBench(b, dir.Engine())
	d, err := source.Parse([]byte("workflow: w\nsteps:\n  a: {queue: q, input: \"${input.nothing}\"}\n"), "yaml")
	must(err)
	r.one(&logv1.Command{Body: &logv1.Command_RegisterWorkflow{RegisterWorkflow: &logv1.RegisterWorkflow{Workflow: d.Name, Digest: d.Digest, Graph: d.Canonical}}})
	var pack []*logv1.Command
	for n := range all {
		pack = append(pack, &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_StartInstance{StartInstance: &v1.StartInstanceRequest{
			Workflow: "w", InstanceId: fmt.Sprintf("order-%09d", n), InputPayload: benchPayload(),
		}}})
		if len(pack) == benchPack || n == all-1 {
			r.packs(pack, nil)
			pack = pack[:0]
		}
	}
	r.flush()
	acts := []v1.BulkAct{toPause, toResume, toRetry}
	b.ReportAllocs()
	n, slices := 0, 0
	b.StartTimer()
	for range b.N {
		if len(r.m.Advancing()) == 0 {
			r.one(bulkStart(fmt.Sprint("b", n), acts[n%3], &v1.InstanceFilter{Workflow: "w"}))
			n++
		}
		r.one(advanceOf())
		slices++
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(slices*r.m.bulkMost), "us/instance")
}
