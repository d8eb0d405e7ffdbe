package client

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/lockstep-dev/lockstep/client/core"
)

// Handler does the work of a step. Its context ends when the lease is lost or runs out, the instance is stopped, or the
// worker is: context.Cause says which, and what the handler does after that another worker may do too. It returns the
// step's output, which becomes JSON (a *v1.Payload is taken as it is), or an error: Fail, Retry, Release, or any other,
// which is retried. A panic fails the attempt with code PANIC.
type Handler func(ctx context.Context, s *Step) (output any, err error)

// WorkerConfig says what a worker does.
type WorkerConfig struct {
	// Queues to take runs from; empty means "default".
	Queues []string
	// Concurrency is how many steps run at a time, up to 10,000; zero means 1.
	Concurrency int
	// Handlers by task.
	Handlers map[string]Handler
	// Handler of tasks that Handlers does not have. One of the two is required.
	Handler Handler
	// Session of the worker. It opens another when one is lost.
	Session SessionConfig
	// Grace is how long the worker, once told to stop, lets running steps go on before it interrupts and releases them. Zero
	// means 10 s, below zero none.
	Grace time.Duration
	// Poll has the worker poll, and not try a stream first.
	Poll bool
	// Answered, when set, is told what became of each result: nil when it was accepted, a *Refusal when not. It must not block.
	Answered func(s *Step, err error)
}

// Validate says what is wrong with a configuration.
func (c *WorkerConfig) Validate() error {
	switch {
	case c.Handler == nil && len(c.Handlers) == 0:
		return errors.New("client: a worker needs a Handler, or Handlers by task")
	case c.Concurrency < 0 || c.Concurrency > maxConcurrency:
		return fmt.Errorf("client: a worker's concurrency is %d; it is between 1 and %d", c.Concurrency, maxConcurrency)
	}
	return nil
}

const (
	defaultGrace = 10 * time.Second
	// What interrupted handlers get to return before their runs are released.
	lastGrace = time.Second
	// What the cluster takes at most.
	maxConcurrency = 10_000
	maxReason      = 4 << 10
	maxCode        = 256
)

// Worker leases runs of queues, has handlers do them, and completes them.
type Worker struct {
	c      *Client
	config WorkerConfig
}

// Worker makes a worker. It does nothing until Run.
func (c *Client) Worker(config WorkerConfig) (*Worker, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if len(config.Queues) == 0 {
		config.Queues = []string{"default"}
	}
	if config.Concurrency == 0 {
		config.Concurrency = 1
	}
	if config.Grace == 0 {
		config.Grace = defaultGrace
	}
	return &Worker{c: c, config: config}, nil
}

// Run works until its context ends. Then it takes nothing more, lets what runs go on for as long as Grace allows, releases
// the rest, and closes its session. It returns nil after that, and an error only when the cluster refuses the worker. It may
// be called again, also at the same time.
//
// Run uses one goroutine for each running step, two for the stream (or one for each poll), the session's, and one that
// waits for the end. They have ended when it returns: so it waits for handlers that do not heed their context, though
// their runs are released by then.
func (w *Worker) Run(ctx context.Context) error {
	r := &runner{
		Worker: w, values: ctx, zero: time.Now(), wake: make(chan struct{}, 1), quiet: make(chan struct{}),
		core: core.NewWorker(w.config.Queues, w.config.Concurrency), steps: map[int64]*working{},
	}
	return r.run(ctx)
}

// do has a handler do a step, and says what came of it.
func (w *Worker) do(ctx context.Context, s *Step) core.Result {
	handler := w.config.Handlers[s.Task]
	if handler == nil {
		handler = w.config.Handler
	}
	if handler == nil {
		return failed("NO_HANDLER", fmt.Sprintf("this worker has no handler for task %q", s.Task), true)
	}
	if !s.Deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, s.Deadline)
		defer cancel()
	}
	output, err := w.call(ctx, handler, s)
	if err != nil {
		return resultOf(context.Cause(ctx), err)
	}
	payload, err := encode(output)
	if err != nil {
		return failed("OUTPUT_INVALID", err.Error(), false)
	}
	return core.Result{Outcome: core.Completed, Output: payload}
}

func (w *Worker) call(ctx context.Context, handler Handler, s *Step) (output any, err error) {
	defer func() {
		if value := recover(); value != nil {
			w.c.logger.Error("handler panicked", "task", s.Task, "instance", s.InstanceID, "step", s.Step, "panic", value, "stack", string(debug.Stack()))
			err = Retry("PANIC", fmt.Sprint(value))
		}
	}()
	return handler(ctx, s)
}

// resultOf says what a handler's error means, given why its context ended, if it did.
func resultOf(cause, err error) core.Result {
	step := (*StepError)(nil)
	switch {
	case errors.Is(cause, ErrLeaseLost), errors.Is(cause, ErrSessionExpired), errors.Is(cause, ErrSessionClosed):
		return core.Result{Outcome: core.Dropped}
	case errors.Is(err, errRelease), errors.Is(cause, ErrStopping), errors.Is(cause, ErrCancelled):
		return core.Result{Outcome: core.Released, Reason: short(err.Error(), maxReason)}
	case errors.As(err, &step):
		return failed(step.Code, step.Reason, step.Retryable)
	case errors.Is(cause, context.DeadlineExceeded):
		return failed("TIMEOUT_RUN", err.Error(), true)
	}
	return failed("ERROR", err.Error(), true)
}

func failed(code, text string, retryable bool) core.Result {
	return core.Result{Outcome: core.Failed, Code: short(code, maxCode), Reason: short(text, maxReason), Retryable: retryable}
}

// short is a text as the cluster takes it: UTF-8, and not too long.
func short(text string, limit int) string {
	text = strings.ToValidUTF8(text, "�")
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "")
	}
	return text
}
