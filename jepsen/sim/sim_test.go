package sim

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
)

var (
	oneSeed = flag.Uint64("seed", 0, "run this seed only")
	from    = flag.Uint64("from", 1, "the first seed")
	seeds   = flag.Int("seeds", 12, "how many seeds")
	ops     = flag.Int("ops", 1500, "operations of each seed")
	without = flag.String("without", "", "kinds of faults to leave out, by comma; all is every kind")
	planted = flag.String("plant", "", "the bug to plant, in a build with -tags sabotage")
	trace   = flag.Bool("trace", false, "print every entry of the log, and every fault")
)

func config(seed uint64) Config {
	c := Config{Seed: seed, Ops: *ops}
	if *without != "" {
		c.Without = strings.Split(*without, ",")
	}
	if *trace {
		c.Trace = os.Stdout
	}
	return c
}

func TestMain(m *testing.M) {
	flag.Parse()
	if err := plant.Set(*planted); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	debug.SetGCPercent(400)
	debug.SetMemoryLimit(2 << 30)
	os.Exit(m.Run())
}

// each runs seeds on all processors; planted bugs look at one world at a time.
func each(first, last uint64, fn func(*Report)) {
	next := make(chan uint64)
	var all sync.WaitGroup
	var mu sync.Mutex
	workers := runtime.GOMAXPROCS(0)
	if plant.Built {
		workers = 1
	}
	for range workers {
		all.Go(func() {
			for seed := range next {
				r := Run(config(seed))
				mu.Lock()
				fn(r)
				mu.Unlock()
			}
		})
	}
	for seed := first; seed <= last; seed++ {
		next <- seed
	}
	close(next)
	all.Wait()
}

func TestNoGuaranteeIsBroken(t *testing.T) {
	first, last := *from, *from+uint64(*seeds)-1
	if *oneSeed != 0 {
		first, last = *oneSeed, *oneSeed
	}
	total := &Total{}
	each(first, last, func(r *Report) {
		total.Add(r)
		if r.Violation == nil {
			return
		}
		t.Errorf("seed %d: %v\n  %s", r.Config.Seed, r.Violation, r.Config.Command())
		if total.Violations == 1 && *oneSeed == 0 {
			c, small := Shrink(r.Config, r, 40)
			t.Errorf("shrunk: %v\n  %s", small.Violation, c.Command())
		}
	})
	t.Logf("seen:\n%s", total.Coverage())
	t.Logf("TOTAL %s", total)
	if *oneSeed != 0 || *without != "" || t.Failed() {
		return
	}
	for _, lack := range total.Void() {
		t.Errorf("void: %s", lack)
	}
}

// A run is its seed: every event happens again, in its order, at its time.
func TestTheSameSeedIsTheSameRun(t *testing.T) {
	for seed := range uint64(3) {
		a, b := Run(Config{Seed: seed + 1, Ops: 500}), Run(Config{Seed: seed + 1, Ops: 500})
		if a.Hash != b.Hash || a.Events != b.Events {
			t.Errorf("seed %d: %d events of hash %x, then %d of %x", seed+1, a.Events, a.Hash, b.Events, b.Hash)
		}
		if other := Run(Config{Seed: seed + 100, Ops: 500}); other.Hash == a.Hash {
			t.Errorf("seeds %d and %d are one run", seed+1, seed+100)
		}
	}
}
