package main

import (
	"os"
	"runtime/debug"
)

// collectAt is how much garbage there may be for each hundred bytes that live before it is collected; Go's own default is 100. What a server
// keeps lives for as long as its instances do, and what commands leave behind is dead at once, so a smaller heap costs little (decision 26).
const collectAt = 60

// boundMemory has the process take no more memory than it needs for the speed that it has. GOGC and MALLOC_ARENA_MAX overrule it.
func boundMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	if os.Getenv("MALLOC_ARENA_MAX") == "" {
		oneArena()
	}
}
