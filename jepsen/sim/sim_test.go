package sim

import (
	"flag"
	"os"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
)

var (
	oneSeed = flag.Uint64("seed", 0, "run this seed only")
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
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(2)
	}
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

func TestNoGuaranteeIsBroken(t *testing.T) {
	first, last := uint64(1), uint64(*seeds)
	if *oneSeed != 0 {
		first, last = *oneSeed, *oneSeed
	}
	for seed := first; seed <= last; seed++ {
		r := Run(config(seed))
		t.Logf("seed %d: ops %d advances %d late %d leaders %d crashes %d installs %d fenced %d expiries %d events %d in %s", seed, r.Ops, r.Advances, r.Late, r.Leaders, r.Crashes, r.Installs, r.Fenced, r.Expiries, r.Events, r.Simulated)
		if r.Violation != nil {
			t.Errorf("seed %d: %v", seed, r.Violation)
		}
	}
}

// A run is its seed: every event happens again, in its order, at its time.
func TestTheSameSeedIsTheSameRun(t *testing.T) {
	for seed := range uint64(3) {
		a, b := Run(Config{Seed: seed + 1, Ops: 600}), Run(Config{Seed: seed + 1, Ops: 600})
		if a.Hash != b.Hash || a.Events != b.Events {
			t.Errorf("seed %d: %d events of hash %x, then %d of %x", seed+1, a.Events, a.Hash, b.Events, b.Hash)
		}
		if other := Run(Config{Seed: seed + 100, Ops: 600}); other.Hash == a.Hash {
			t.Errorf("seeds %d and %d are one run", seed+1, seed+100)
		}
	}
}
