package fsm

import (
	"flag"
	"fmt"
	"testing"

	"github.com/lockstep-dev/lockstep/fsm/table"
	"github.com/lockstep-dev/lockstep/jepsen/require"
)

// The bar of a command is 20 allocations, its share of flushes and of the tables' memory included.
func TestACommandAllocatesLittle(t *testing.T) {
	require.WithoutRace(t)
	const commands = 2048
	before := flag.Lookup("test.benchtime").Value.String()
	set := func(benchtime string) {
		if err := flag.Set("test.benchtime", benchtime); err != nil {
			t.Fatal(err)
		}
	}
	set(fmt.Sprint(commands, "x"))
	defer set(before)
	for _, x := range []struct {
		name string
		most int64
		run  func(*bench)
	}{
		{"start an instance of five steps", 20, (*bench).startAll},
		{"lease by poll", 20, func(r *bench) { r.levels(true, false) }},
		{"complete", 20, func(r *bench) { r.levels(false, true) }},
		{"complete, and lease the next", 20, (*bench).cycles},
		{"renew", 20, (*bench).renewals},
		{"acquire a lock", 20, func(r *bench) { r.locks(true, false) }},
		{"release a lock", 20, func(r *bench) { r.locks(false, true) }},
	} {
		result := testing.Benchmark(func(b *testing.B) {
			r := newBench(b, table.NewMemory())
			r.round = 1024
			x.run(r)
		})
		if result.N != commands || result.AllocsPerOp() > x.most {
			t.Errorf("%s: %d allocations a command over %d of them; at most %d are good", x.name, result.AllocsPerOp(), result.N, x.most)
		}
	}
}
