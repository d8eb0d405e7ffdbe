//go:build sabotage

package plant

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"
)

// Built tells whether this build holds the bugs.
const Built = true

var planted atomic.Value // a Bug

// Is tells whether a bug is planted.
func Is(bug Bug) bool {
	got, _ := planted.Load().(Bug)
	return got == bug
}

func set(bug Bug) error {
	planted.Store(bug)
	return nil
}

var host = Host{
	Wall: func() int64 { return time.Now().UnixNano() },
	Mono: func() int64 { return int64(time.Since(began)) },
	Draw: rand.IntN,
}

var began = time.Now()

// SetHost has bugs look at a simulated node. Its caller is one goroutine.
func SetHost(h Host) { host = h }

// Wall is the node's wall clock, in unix nanoseconds.
func Wall() int64 { return host.Wall() }

// Mono is the node's monotonic clock, in nanoseconds.
func Mono() int64 { return host.Mono() }

// Shuffled is a list in an order that is another on each node, as that of a map is.
func Shuffled[T any](list []T) []T {
	out := slices.Clone(list)
	for i := range out {
		j := host.Draw(i + 1)
		out[i], out[j] = out[j], out[i]
	}
	return out
}
