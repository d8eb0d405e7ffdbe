package client

import (
	"cmp"
	"context"
	"iter"
	"math/rand/v2"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/client/core"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// FromNow is the position of a watch that wants only what is still to come.
const FromNow = -1

// WatchOptions say which events to watch. All that are set must match.
type WatchOptions struct {
	// After is the position to go on from: events after it are sent. Zero means from the first, FromNow from the next.
	After int64
	// Types of events, as in lockstep.step.completed.v1; empty means all.
	Types    []string
	Instance string
	Workflow string
	Labels   map[string]string
	// Progress, when set, is told each position up to which everything was seen or filtered out: what to resume After.
	Progress func(position int64)
}

// Watch yields events in order, without gap or duplicate, across reconnects and changes of server, until the context ends
// or the loop does. It yields an error once, as the last thing: the context's, or a *Refusal, such as POSITION_COMPACTED
// when events after the position are no longer kept.
func (c *Client) Watch(ctx context.Context, o WatchOptions) iter.Seq2[*v1.Event, error] {
	return func(yield func(*v1.Event, error) bool) {
		w := &watch{c: c, WatchOptions: o, after: o.After, yield: yield}
		if err := w.run(ctx); err != nil {
			yield(nil, err)
		}
	}
}

type watch struct {
	WatchOptions
	c     *Client
	after int64
	yield func(*v1.Event, error) bool
}

// run watches over one stream after the other. It returns nil when the loop has ended.
func (w *watch) run(ctx context.Context) error {
	if w.after == FromNow { // once, so that what happens while we reconnect is not missed
		ns, err := ask(ctx, w.c.Namespaces.GetNamespace, &v1.GetNamespaceRequest{Namespace: w.c.namespace})
		if err != nil {
			return err
		}
		w.after = ns.Position
	}
	for tries := 0; ; tries++ {
		server, before := w.c.router.server(), w.after
		ended, err := w.stream(withServer(ctx, server), server)
		switch {
		case ended:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && classify(ctx, err) == core.Final:
			return asError(err)
		case err != nil:
			w.c.router.failed(server, err)
		}
		if w.after > before {
			tries = 0
		}
		w.c.logger.Debug("watch reconnects", "after", w.after, "error", err)
		pause(ctx, core.Backoff(tries, 20*time.Millisecond, time.Second, rand.Float64()))
	}
}

// stream yields what one stream brings. ended says that the loop wants no more.
func (w *watch) stream(ctx context.Context, server string) (ended bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	left := w.c.router.waits(ctx, server, cancel)
	defer func() { left(cmp.Or(err, errSilent)) }()
	stream, err := w.c.Events.WatchEvents(ctx, connect.NewRequest(&v1.WatchEventsRequest{
		Namespace: w.c.namespace, After: w.after, Types: w.Types, InstanceId: w.Instance, Workflow: w.Workflow, Labels: w.Labels,
	}))
	if err != nil {
		return false, err
	}
	defer func() { _ = stream.Close() }() // its error is that of the stream, which Err tells
	for stream.Receive() {
		w.c.router.heard(server)
		m := stream.Msg()
		for _, event := range m.Events {
			if event.Position <= w.after {
				continue
			}
			w.after = event.Position
			if !w.yield(event, nil) {
				return true, nil
			}
		}
		w.after = max(w.after, m.Position)
		if w.Progress != nil {
			w.Progress(w.after)
		}
	}
	return false, stream.Err()
}
