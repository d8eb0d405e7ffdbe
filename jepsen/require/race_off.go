//go:build !race

package require

// Race is whether the race detector looks on.
const Race = false
