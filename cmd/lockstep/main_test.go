package main

import (
	"os"
	"testing"
)

// beLockstep, in the environment, makes the test binary the program itself: tests run real processes of it.
const beLockstep = "LOCKSTEP_TEST_IS_THE_BINARY"

func TestMain(m *testing.M) {
	if os.Getenv(beLockstep) != "" {
		main()
	}
	os.Setenv(beLockstep, "1") // children inherit it
	os.Exit(m.Run())
}
