//go:build !linux || !cgo

package main

// oneArena has no meaning here: the store takes its memory from Go, or from a C library without arenas.
func oneArena() {}
