package main

import (
	"flag"
	"os"
	"testing"
)

// beLockstep, in the environment, makes the test binary the program itself: tests run real processes of it.
const beLockstep = "LOCKSTEP_TEST_IS_THE_BINARY"

// waiting is how many tests that say Parallel run at a time. They wait for timers, elections and the ends of leases, and
// hardly compute, so that it need not be the number of cores. A test that keeps the cores busy does not say Parallel: it
// would move the others' times.
const waiting = "4"

func TestMain(m *testing.M) {
	if os.Getenv(beLockstep) != "" {
		main()
	}
	os.Setenv(beLockstep, "1") // children inherit it
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" || f.Name == "parallel" })
	if !given {
		if err := flag.Set("test.parallel", waiting); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
