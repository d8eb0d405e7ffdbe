package guard

import (
	"context"
	"sync"
)

// gates let requests of one token in together, and those of another only when they have left.
type gates struct {
	mu   sync.Mutex
	open map[Key]*gate
}

// gate is there while somebody is inside.
type gate struct {
	token  int64
	inside int
	// The newest token that waits: whoever is older no longer gets in, or a zombie that keeps writing would keep it out.
	wanted int64
	left   chan struct{} // closed when nobody is inside
}

// enter waits until nobody with another token is inside, or the context ends. Whoever entered must leave.
func (g *gates) enter(ctx context.Context, key Key, token int64) (leave func(), err error) {
	for {
		g.mu.Lock()
		at := g.open[key]
		if at == nil {
			at = &gate{token: token, left: make(chan struct{})}
			if g.open == nil {
				g.open = map[Key]*gate{}
			}
			g.open[key] = at
		}
		if at.token == token && at.wanted <= token {
			at.inside++
			g.mu.Unlock()
			return func() { g.leave(key, at) }, nil
		}
		at.wanted = max(at.wanted, token)
		g.mu.Unlock()
		select {
		case <-at.left:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (g *gates) leave(key Key, at *gate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if at.inside--; at.inside == 0 {
		delete(g.open, key)
		close(at.left)
	}
}
