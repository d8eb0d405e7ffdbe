//go:build !sabotage

package plant

import "errors"

// Built tells whether this build holds the bugs.
const Built = false

// Is tells whether a bug is planted: never, in this build.
func Is(Bug) bool { return false }

func set(Bug) error { return errors.New("this build holds no bugs; build with -tags sabotage") }

// SetHost, Wall, Mono and Shuffled are for bugs.
func SetHost(Host) {}

// Wall is zero in this build.
func Wall() int64 { return 0 }

// Mono is zero in this build.
func Mono() int64 { return 0 }

// Shuffled is the list itself in this build.
func Shuffled[T any](list []T) []T { return list }
