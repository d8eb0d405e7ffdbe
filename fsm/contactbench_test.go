package fsm

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/fsm/graph/source"
	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// BenchmarkOutOfContact is one page of runs that are out of contact, on Pebble: of instances whose step nobody takes, which are read, and of
// instances that wait for a signal, which are passed over.
func BenchmarkOutOfContact(b *testing.B) {
	for _, of := range []struct{ name, yaml string }{{"read", "a: {queue: q}"}, {"passed over", "a: {signal: {name: s}, timeouts: {total: 14d}}"}} {
		b.Run(of.name, func(b *testing.B) {
			const all = 20_000
			dir, err := table.OpenDir(b.TempDir(), table.Options{Apart: Appended()})
			must(err)
			r := newBench(b, dir.Engine())
			d, err := source.Parse([]byte("workflow: w\nsteps:\n  "+of.yaml+"\n"), "yaml")
			must(err)
			r.one(&logv1.Command{Body: &logv1.Command_RegisterWorkflow{RegisterWorkflow: &logv1.RegisterWorkflow{Workflow: d.Name, Digest: d.Digest, Graph: d.Canonical}}})
			r.one(registerOf("ledger", func(r *v1.RegisterReporterRequest) { r.OutOfContact = durationpb.New(time.Second) }))
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
			b.ReportAllocs()
			b.StartTimer()
			pages, page := 0, ""
			for range b.N {
				list, err := r.m.ListOutOfContact(&v1.ListOutOfContactRequest{Reporter: "ledger", Limit: 1000, Page: page})
				must(err)
				page = list.NextPage
				pages++
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(pages), "us/page")
		})
	}
}
