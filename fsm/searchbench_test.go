package fsm

import (
	"flag"
	"fmt"
	"math/rand"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/fsm/graph/source"
	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

var (
	searchEnded = flag.Int("search.ended", 100_000, "how many finished instances BenchmarkSearch looks among")
	searchLive  = flag.Int("search.live", 10_000, "and how many live ones")
)

const searchCustomers = 20_000

// filled is a state with as many instances as the flags say, on Pebble: each with two labels and two keys, of four workflows.
func filled(b *testing.B) *bench {
	dir, err := table.OpenDir(b.TempDir(), table.Options{Apart: Appended()})
	must(err)
	r := newBench(b, dir.Engine())
	for _, yaml := range []string{
		"workflow: ends0\nsteps:\n  a: {queue: q, when: \"input.pad == ''\"}\n", "workflow: ends1\nsteps:\n  a: {queue: q, when: \"input.pad == ''\"}\n",
		"workflow: lives0\nsteps:\n  a: {signal: {name: go}}\n", "workflow: lives1\nsteps:\n  a: {signal: {name: go}}\n",
	} {
		d, err := source.Parse([]byte(yaml), "yaml")
		must(err)
		r.one(&logv1.Command{Body: &logv1.Command_RegisterWorkflow{RegisterWorkflow: &logv1.RegisterWorkflow{Workflow: d.Name, Digest: d.Digest, Graph: d.Canonical}}})
	}
	total := *searchEnded + *searchLive
	var pack []*logv1.Command
	for n := range total {
		name := fmt.Sprint("ends", n%2)
		if n%(total / *searchLive) == 0 {
			name = fmt.Sprint("lives", n/(total / *searchLive)%2)
		}
		id := fmt.Sprintf("order-%09d", n*7919%total)
		pack = append(pack, &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_StartInstance{StartInstance: &v1.StartInstanceRequest{
			Workflow: name, InstanceId: id, InputPayload: benchPayload(),
			Labels: map[string]string{"region": fmt.Sprint("r", n%5), "batch": fmt.Sprint("b", n/1000)},
			Keys:   map[string]string{"customer": fmt.Sprint("c", n%searchCustomers), "order": id},
		}}})
		if len(pack) == benchPack || n == total-1 {
			r.packs(pack, nil)
			pack = pack[:0]
		}
	}
	r.flush()
	return r
}

// What one page of a list takes, of 100 instances with their payloads: half of them and 99 of a hundred are below what is told. What
// is dirty is flushed before, as nothing is here.
func BenchmarkSearch(b *testing.B) {
	r := filled(b)
	began := r.m.group.Wall - int64(r.index)*1e6
	for _, c := range []struct {
		name string
		ask  func(random *rand.Rand) *v1.ListInstancesRequest
	}{
		{"all", func(*rand.Rand) *v1.ListInstancesRequest { return &v1.ListInstancesRequest{} }},
		{"started-before", func(random *rand.Rand) *v1.ListInstancesRequest {
			return &v1.ListInstancesRequest{StartedTo: stamp(began + random.Int63n(int64(r.index)*1e6))}
		}},
		{"state", func(*rand.Rand) *v1.ListInstancesRequest {
			return &v1.ListInstancesRequest{State: v1.InstanceState_INSTANCE_STATE_RUNNING}
		}},
		{"state-of-none", func(*rand.Rand) *v1.ListInstancesRequest {
			return &v1.ListInstancesRequest{State: v1.InstanceState_INSTANCE_STATE_FAILED}
		}},
		{"workflow-and-state", func(random *rand.Rand) *v1.ListInstancesRequest {
			return &v1.ListInstancesRequest{Workflow: fmt.Sprint("lives", random.Intn(2)), Version: 1, State: v1.InstanceState_INSTANCE_STATE_RUNNING, StartedTo: stamp(began + random.Int63n(int64(r.index)*1e6))}
		}},
		{"label", func(random *rand.Rand) *v1.ListInstancesRequest {
			return &v1.ListInstancesRequest{Labels: map[string]string{"batch": fmt.Sprint("b", random.Intn(*searchEnded/1000))}}
		}},
		{"two-labels-and-workflow", func(random *rand.Rand) *v1.ListInstancesRequest {
			return &v1.ListInstancesRequest{Workflow: "lives1", Labels: map[string]string{"region": fmt.Sprint("r", random.Intn(5)), "batch": fmt.Sprint("b", random.Intn(*searchEnded/1000))}}
		}},
		{"key", func(random *rand.Rand) *v1.ListInstancesRequest {
			return &v1.ListInstancesRequest{Keys: map[string]string{"customer": fmt.Sprint("c", random.Intn(searchCustomers))}}
		}},
		{"ended-before", func(random *rand.Rand) *v1.ListInstancesRequest {
			return &v1.ListInstancesRequest{EndedTo: stamp(began + random.Int63n(int64(r.index)*1e6))}
		}},
		{"stuck", func(random *rand.Rand) *v1.ListInstancesRequest {
			return &v1.ListInstancesRequest{StuckFor: durationpb.New(time.Duration(1 + random.Int63n(int64(r.index)*1e6)))}
		}},
		{"few-of-many", func(random *rand.Rand) *v1.ListInstancesRequest { // which no index has: a page that looks at all that it may
			return &v1.ListInstancesRequest{Workflow: "ends0", Labels: map[string]string{"region": "r0"}, EndedTo: stamp(began + 1 + random.Int63n(int64(r.index)*1e6)), StartedFrom: stamp(r.m.group.Wall)}
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			random := rand.New(rand.NewSource(1))
			took := make([]time.Duration, b.N)
			found := 0
			b.ResetTimer()
			for n := range b.N {
				began := time.Now()
				page, err := r.m.ListInstances(c.ask(random))
				took[n] = time.Since(began)
				must(err)
				found += len(page.Instances)
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[b.N/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[b.N*99/100].Microseconds())/1000, "p99-ms")
			b.ReportMetric(float64(found)/float64(b.N), "found/op")
		})
	}
}
