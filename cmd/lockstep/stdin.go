package main

import (
	"context"
	"io"
)

// untilEOF is a context that ends when the stream does: a process that is started with a pipe ends at the latest with
// whoever holds the other end, however that one ends.
func untilEOF(ctx context.Context, stream io.Reader) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	// Ends with the stream, which may be after the context: this process is about to end then.
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, stream) // an error is an end too
	}()
	return ctx
}
