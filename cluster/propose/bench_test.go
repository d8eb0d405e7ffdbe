package propose

import (
	"fmt"
	"strings"
	"testing"
	"time"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// The proposer alone, per command: it takes what has come, a thousand times faster than a cluster would, and packs it into
// entries. Encoding them is not in it.

func completion(i int) *logv1.Command {
	return &logv1.Command{
		Envelope: &logv1.Envelope{Namespace: "default", WaitId: 0x9e3779b97f4a7c15, Salt: []byte("8 of it.")},
		Body: &logv1.Command_CompleteStep{CompleteStep: &v1.CompleteStepRequest{
			Namespace: "default", InstanceId: fmt.Sprintf("bench-dx1y2z3a4b5c-%06d", i), Step: "s3", Token: int64(3_000_000 + i), Next: &v1.Next{Count: 1},
			OutputPayload: &v1.Payload{Bytes: []byte(`{"pad":"` + strings.Repeat("x", 246) + `"}`)},
		}},
	}
}

// drained proposes until nothing waits, and returns how many entries that were.
func drained(c *Core, now time.Duration) (entries int) {
	for c.waiting() {
		c.Done(c.Next(now, 1, Clock{Sessions: 64}))
		entries++
	}
	return entries
}

// Commands come as a Work stream of 32 steps sends them: together is how many.
func BenchmarkCommands(b *testing.B) {
	for _, together := range []int{1, 32} {
		b.Run(fmt.Sprint("together-", together), func(b *testing.B) {
			commands, calls := make([]*logv1.Command, together), make([]Call, together)
			for i := range commands {
				commands[i], calls[i] = completion(i), new(int)
			}
			c := lead(Config{})
			now, entries := time.Duration(0), 0
			b.ReportAllocs()
			for n := 0; n < b.N; n += together {
				if !c.Commands(commands, calls) {
					b.Fatal("the queue is full")
				}
				if n/together%(128/together) == 0 { // as many as come while entries are in flight
					now += time.Millisecond
					entries += drained(c, now)
				}
			}
			entries += drained(c, now)
			b.ReportMetric(float64(b.N)/float64(entries), "commands/entry")
		})
	}
}

// Each of 10,000 sessions renews in turn; those of a session that wait at the same time are one.
func BenchmarkRenewals(b *testing.B) {
	const sessions = 10_000
	c := lead(Config{})
	now := time.Duration(0)
	call := Call(new(int))
	b.ReportAllocs()
	for n := range b.N {
		c.Renew(&logv1.Renewal{Namespace: "default", Session: int64(n % sessions)}, call)
		if n%128 == 0 {
			now += time.Millisecond
			drained(c, now)
		}
	}
}

// A read that is linearizable is a barrier.
func BenchmarkBarriers(b *testing.B) {
	c := lead(Config{})
	now := time.Duration(0)
	call := Call(new(int))
	b.ReportAllocs()
	for n := range b.N {
		c.Barrier(call)
		if n%64 == 0 {
			now += time.Millisecond
			drained(c, now)
		}
	}
}
