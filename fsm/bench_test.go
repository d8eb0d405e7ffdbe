package fsm

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/fsm/graph/source"
	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// The state machine alone, per command: entries of 128 commands, as a loaded leader packs them, 256 bytes in and out of
// each step, five steps to an instance, 64 sessions. Decoding an entry is not in it. Flushes are as production has them: at 8 MiB of
// dirt, and every five seconds.
const (
	benchPack  = 128
	benchRound = 64 * benchPack // instances, sessions and locks at a time
	benchSteps = 5
	benchDirt  = 8 << 20

	benchSessions = 64
)

// bench drives a machine over an engine, with its timer on where the command that is measured is applied.
type bench struct {
	b       *testing.B
	m       *Machine
	index   uint64
	flushed time.Time
	session []int64
	round   int
	ids     int
	left    int           // commands to measure
	cpu     time.Duration // of those that were
}

func eachEngine(b *testing.B, run func(*bench)) {
	b.Run("memory", func(b *testing.B) { run(newBench(b, table.NewMemory())) })
	b.Run("pebble", func(b *testing.B) {
		dir, err := table.OpenDir(b.TempDir(), table.Options{Apart: Appended()})
		if err != nil {
			b.Fatal(err)
		}
		run(newBench(b, dir.Engine()))
	})
}

func newBench(b *testing.B, engine table.Engine) *bench {
	b.StopTimer()
	b.ReportAllocs()
	m, err := Open(engine)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := m.Close(); err != nil {
			b.Error(err)
		}
	})
	r := &bench{b: b, m: m, flushed: time.Now(), round: benchRound, left: b.N}
	text := strings.Builder{}
	text.WriteString("workflow: w\nsteps:\n  s0: {queue: q}\n")
	for n := 1; n < benchSteps; n++ {
		fmt.Fprintf(&text, "  s%d: {queue: q, needs: [s%d]}\n", n, n-1)
	}
	d, err := source.Parse([]byte(text.String()), "yaml")
	if err != nil {
		b.Fatal(err)
	}
	r.one(&logv1.Command{Body: &logv1.Command_RegisterWorkflow{RegisterWorkflow: &logv1.RegisterWorkflow{Workflow: d.Name, Digest: d.Digest, Graph: d.Canonical}}})
	for range benchSessions {
		r.session = append(r.session, r.open())
	}
	return r
}

// apply applies an entry, and flushes as production does.
func (r *bench) apply(e *logv1.Entry) Result {
	r.index++
	e.Header = &logv1.Header{Term: 1, Elapsed: int64(r.index) * 1e6, Wall: 1e18 + int64(r.index)*1e6, Level: Level}
	result := r.m.Apply(r.index, 1, e)
	if err := r.m.Relieve(benchDirt); err != nil {
		r.b.Fatal(err)
	}
	if time.Since(r.flushed) > 5*time.Second {
		r.flush()
	}
	return result
}

func (r *bench) flush() {
	if err := r.m.Flush(); err != nil {
		r.b.Fatal(err)
	}
	r.flushed = time.Now()
}

func (r *bench) one(c *logv1.Command) proto.Message { return r.all([]*logv1.Command{c}, false)[0] }

// all applies commands in packs, with the timer on if they are what is measured and some are left to measure.
func (r *bench) all(commands []*logv1.Command, measured bool) (replies []proto.Message) {
	if n := min(len(commands), r.left); measured && n > 0 {
		r.measure(n, func() { replies = r.packs(commands[:n], replies) })
		commands = commands[n:]
	}
	return r.packs(commands, replies)
}

// measure has the timer on while n commands are applied. A flush is counted where it falls: over many, each command has
// its share of them.
func (r *bench) measure(n int, apply func()) {
	r.left -= n
	before := r.used()
	r.b.StartTimer()
	apply()
	r.b.StopTimer()
	r.cpu += r.used() - before
}

// used is the processor time of this process, collection and compaction included. Unlike time it does not grow when
// others use the machine.
func (r *bench) used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		r.b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (r *bench) packs(commands []*logv1.Command, replies []proto.Message) []proto.Message {
	for len(commands) > 0 {
		n := min(len(commands), benchPack)
		for _, o := range r.apply(&logv1.Entry{Commands: commands[:n]}).Outcomes {
			if o.Refusal != nil {
				r.b.Fatal(o.Refusal)
			}
			replies = append(replies, o.Reply)
		}
		commands = commands[n:]
	}
	return replies
}

// rounds repeats a round until enough was measured.
func (r *bench) rounds(round func()) {
	for r.left > 0 {
		round()
	}
	r.b.ReportMetric(float64(r.cpu.Nanoseconds())/float64(r.b.N), "cpu-ns/op")
}

func (r *bench) open() int64 {
	s := r.one(&logv1.Command{Body: &logv1.Command_OpenSession{OpenSession: &logv1.OpenSession{Ttl: 3600 * second}}})
	return sessionID(s.(*v1.Session).SessionId)
}

func benchPayload() *v1.Payload {
	return &v1.Payload{Bytes: []byte(`{"pad":"` + strings.Repeat("x", 246) + `"}`)}
}

func (r *bench) starts(n int) (commands []*logv1.Command) {
	for range n {
		r.ids++
		commands = append(commands, &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_StartInstance{StartInstance: &v1.StartInstanceRequest{
			Workflow: "w", InstanceId: fmt.Sprintf("instance-%09d", r.ids), InputPayload: benchPayload(),
		}}})
	}
	return commands
}

func (r *bench) polls(n int) (commands []*logv1.Command) {
	for i := range n {
		commands = append(commands, &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_PollSteps{PollSteps: &logv1.PollSteps{
			Session: r.session[i%benchSessions], Queues: []string{"q"}, Count: 1,
		}}})
	}
	return commands
}

func (r *bench) completes(runs []*v1.LeasedRun, next *v1.Next) (commands []*logv1.Command) {
	for _, run := range runs {
		commands = append(commands, &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_CompleteStep{CompleteStep: &v1.CompleteStepRequest{
			InstanceId: run.InstanceId, Step: run.Step, Token: run.Token, OutputPayload: benchPayload(), Next: next, SessionId: run.SessionId,
		}}})
	}
	return commands
}

func leased(replies []proto.Message) (runs []*v1.LeasedRun) {
	for _, reply := range replies {
		switch reply := reply.(type) {
		case *v1.PollStepsResponse:
			runs = append(runs, reply.Runs...)
		case *v1.CompleteStepResponse:
			runs = append(runs, reply.Next...)
		}
	}
	return runs
}

func BenchmarkStart(b *testing.B) {
	eachEngine(b, (*bench).startAll)
}

func (r *bench) startAll() { r.rounds(func() { r.all(r.starts(r.round), true) }) }

// levels runs instances to their end, step after step, measuring the polls or the completions.
func (r *bench) levels(polls, completes bool) {
	r.rounds(func() {
		r.all(r.starts(r.round), false)
		for range benchSteps {
			runs := leased(r.all(r.polls(r.round), polls))
			if len(runs) != r.round {
				r.b.Fatalf("%d runs were leased of %d", len(runs), r.round)
			}
			r.all(r.completes(runs, nil), completes)
		}
	})
}

func BenchmarkLeaseByPoll(b *testing.B) {
	eachEngine(b, func(r *bench) { r.levels(true, false) })
}

func BenchmarkComplete(b *testing.B) {
	eachEngine(b, func(r *bench) { r.levels(false, true) })
}

// One command completes a run and leases the next: a whole cycle.
func BenchmarkCompleteWithNext(b *testing.B) {
	eachEngine(b, (*bench).cycles)
}

func (r *bench) cycles() {
	r.rounds(func() {
		r.all(r.starts(r.round), false)
		held := leased(r.all(r.polls(r.round/8), false))
		for len(held) > 0 {
			held = leased(r.all(r.completes(held, &v1.Next{Count: 1}), true))
		}
	})
}

// The removal of one finished instance of five steps, which is in the engine and not in memory, in slices as a leader asks for them.
func BenchmarkRetain(b *testing.B) {
	eachEngine(b, (*bench).retain)
}

func (r *bench) retain() {
	r.one(&logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_UpdateNamespace{UpdateNamespace: &v1.UpdateNamespaceRequest{
		Retention: &v1.Retention{Finished: durationpb.New(time.Second)},
	}}})
	ask := []*logv1.Command{{Envelope: &logv1.Envelope{}, Body: &logv1.Command_Retain{Retain: &logv1.Retain{}}}}
	r.rounds(func() {
		r.all(r.starts(r.round), false)
		for range benchSteps {
			r.all(r.completes(leased(r.all(r.polls(r.round), false)), nil), false)
		}
		r.flush()
		r.index += 2000 // of a millisecond each
		n := min(r.round, r.left)
		r.measure(n, func() {
			for gone := 0; gone < n; {
				did := int(r.packs(ask, nil)[0].(*logv1.Retained).Instances)
				if did == 0 {
					r.b.Fatalf("%d of %d are gone, and no more go", gone, n)
				}
				gone += did
			}
		})
	})
}

func BenchmarkRenewal(b *testing.B) {
	eachEngine(b, (*bench).renewals)
}

func (r *bench) renewals() {
	var sessions []int64
	for range r.round {
		sessions = append(sessions, r.open())
	}
	r.rounds(func() {
		n := min(len(sessions), r.left)
		r.measure(n, func() { r.renew(sessions[:n]) })
	})
}

func (r *bench) renew(sessions []int64) {
	for len(sessions) > 0 {
		e := &logv1.Entry{}
		for _, s := range sessions[:min(len(sessions), benchPack)] {
			e.Renewals = append(e.Renewals, &logv1.Renewal{Namespace: DefaultNamespace, Session: s})
		}
		for _, o := range r.apply(e).Renewals {
			if o.Refusal != nil {
				r.b.Fatal(o.Refusal)
			}
		}
		sessions = sessions[len(e.Renewals):]
	}
}

func (r *bench) locks(acquires, releases bool) {
	r.rounds(func() {
		var asks, ends []*logv1.Command
		for n := range r.round {
			asks = append(asks, &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_AcquireLock{AcquireLock: &logv1.AcquireLock{
				Session: r.session[n%benchSessions], Lock: fmt.Sprintf("lock-%06d", n),
			}}})
		}
		for n, reply := range r.all(asks, acquires) {
			ends = append(ends, &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_ReleaseLock{ReleaseLock: &v1.ReleaseLockRequest{
				Lock: fmt.Sprintf("lock-%06d", n), Token: reply.(*v1.AcquireLockResponse).Token,
			}}})
		}
		r.all(ends, releases)
	})
}

func BenchmarkAcquireLock(b *testing.B) {
	eachEngine(b, func(r *bench) { r.locks(true, false) })
}

func BenchmarkReleaseLock(b *testing.B) {
	eachEngine(b, func(r *bench) { r.locks(false, true) })
}

// A checkpoint, of a state of 8,192 instances that are not resident and of as many events and more: its slice alone, and with
// the flush of what 1,024 entries of a command each made dirty. It is a stall of apply, so the longest is told too.
func BenchmarkSlice(b *testing.B) {
	for _, commands := range []int{0, checkpointEvery} {
		b.Run(fmt.Sprint("dirty-", commands), func(b *testing.B) {
			eachEngine(b, func(r *bench) {
				r.sliceState(benchRound)
				var longest time.Duration
				r.cpu = 0
				for range r.b.N {
					for range commands {
						r.packs(r.starts(1), nil)
					}
					r.b.StartTimer()
					begin, before := time.Now(), r.used()
					r.m.slice()
					longest, r.cpu = max(longest, time.Since(begin)), r.cpu+r.used()-before
					r.b.StopTimer()
				}
				r.b.ReportMetric(float64(r.cpu.Nanoseconds())/float64(r.b.N), "cpu-ns/op")
				r.b.ReportMetric(float64(longest.Nanoseconds()), "longest-ns")
			})
		})
	}
}

// sliceState makes a state, and opens it anew so that its instances are on disk alone.
func (r *bench) sliceState(instances int) {
	r.left = 0
	r.packs(r.starts(instances), nil)
	r.all(r.completes(leased(r.all(r.polls(instances/2), false)), nil), false)
	r.flush()
	m, err := Open(r.m.engine)
	if err != nil {
		r.b.Fatal(err)
	}
	r.m = m
}
