package api

import (
	"context"
	"net/http"
)

// cork holds back what a stream flushes: connect flushes each message, which on HTTP/2 is a frame, a system call and
// several turns of its goroutines. What is written while it holds goes out together when it lets go. As a response is,
// it is for one goroutine at a time.
type cork struct {
	http.ResponseWriter
	holds bool
	due   bool // something was to be flushed
}

type corkKey struct{}

// withCork gives each call a cork.
func withCork(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &cork{ResponseWriter: w}
		next.ServeHTTP(c, r.WithContext(context.WithValue(r.Context(), corkKey{}, c)))
	})
}

// Unwrap is for http.ResponseController.
func (c *cork) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// Flush implements http.Flusher.
func (c *cork) Flush() {
	if c.due = c.holds; c.due {
		return
	}
	if f, ok := c.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// together has what send sends on the context's call go out at once.
func together(ctx context.Context, send func() error) error {
	c, ok := ctx.Value(corkKey{}).(*cork)
	if !ok {
		return send()
	}
	c.holds = true
	defer func() {
		if c.holds = false; c.due {
			c.Flush()
		}
	}()
	return send()
}
