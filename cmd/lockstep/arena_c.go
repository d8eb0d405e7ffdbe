//go:build linux && cgo

package main

/*
#include <malloc.h>

static void one_arena(void) {
#ifdef M_ARENA_MAX
	mallopt(M_ARENA_MAX, 1);
#endif
}
*/
import "C"

// oneArena has the C library, from which the store's block cache takes its memory, keep one arena. By itself glibc has up to eight for
// each processor, and blocks that are taken in one and given back in another leave more unused than the cache is large.
func oneArena() { C.one_arena() }
