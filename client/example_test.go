package client_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// must ends an example that cannot go on.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// A workflow is registered, started, worked on, and waited for.
func Example() {
	c, end := newExample() // client.New(client.Config{Servers: []string{"127.0.0.1:7400"}})
	defer end()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	workflow, err := c.Register(ctx, "workflow: greet\nsteps: {work: {queue: greet}}\n")
	must(err)
	_, err = c.Start(ctx, workflow.Workflow, "greet-1", map[string]string{"name": "Ada"}, client.StartOptions{})
	must(err)

	worker, err := c.Worker(client.WorkerConfig{
		Queues: []string{"greet"},
		Handler: func(_ context.Context, s *client.Step) (any, error) {
			var input struct{ Name string }
			if err := s.Input(&input); err != nil {
				return nil, client.Fail("INPUT", err.Error())
			}
			return "Hello, " + input.Name, nil
		},
	})
	must(err)
	working, stop := context.WithCancel(ctx)
	stopped := make(chan error)
	go func() { stopped <- worker.Run(working) }()

	instance, err := c.Wait(ctx, "greet-1")
	must(err)
	var greeting string
	must(client.Output(instance, &greeting))
	fmt.Println(greeting)
	stop()
	must(<-stopped)
	// Output: Hello, Ada
}

func ExampleNew() {
	_, err := client.New(client.Config{})
	fmt.Println(err)
	c, err := client.New(client.Config{Servers: []string{"10.0.0.1:7400", "10.0.0.2:7400", "10.0.0.3:7400"}, Namespace: "shop"})
	fmt.Println(c.Namespace(), c.Server(), err)
	// Output:
	// client: no server given; name at least one, as in 127.0.0.1:7400
	// shop http://10.0.0.1:7400 <nil>
}

// The generated services are there for what the methods do not cover.
func ExampleClient() {
	c, end := newExample()
	defer end()
	reply, err := c.Instances.StartInstance(context.Background(), connect.NewRequest(&v1.StartInstanceRequest{
		Namespace: c.Namespace(), InstanceId: "order-17", Workflow: "order",
	}))
	must(err)
	fmt.Println(reply.Msg.State)
	// Output: INSTANCE_STATE_RUNNING
}

// Starting is safe to repeat: the id makes it the same instance.
func ExampleClient_Start() {
	c, end := newExample()
	defer end()
	for range 2 {
		reply, err := c.Start(context.Background(), "order", "order-17", nil, client.StartOptions{Labels: map[string]string{"shop": "north"}})
		must(err)
		fmt.Println(reply.InstanceId, reply.Existing)
	}
	// Output:
	// order-17 false
	// order-17 true
}

func ExampleClient_Signal() {
	c, end := newExample()
	defer end()
	reply, err := c.Signal(context.Background(), "order-17", "delivered", "message-1", map[string]bool{"intact": true}, client.SignalOptions{TTL: time.Hour})
	must(err)
	fmt.Println(reply.Delivered)
	// Output: true
}

func ExampleClient_Explain() {
	c, end := newExample()
	defer end()
	why, err := c.Explain(context.Background(), "order-17", "")
	must(err)
	for _, e := range why {
		fmt.Println(e.Code, e.Sentence)
	}
	// Output: EXPLAIN_CODE_NO_POLLER no worker polls the queue of step work
}

func ExampleClient_History() {
	c, end := newExample()
	defer end()
	_, err := c.Start(context.Background(), "order", "order-17", nil, client.StartOptions{})
	must(err)
	for event, err := range c.History(context.Background(), "order-17") {
		must(err)
		fmt.Println(event.Position, event.Type)
	}
	// Output: 1 lockstep.instance.started.v1
}

func ExampleClient_Watch() {
	c, end := newExample()
	defer end()
	for _, id := range []string{"a", "b", "c"} {
		_, err := c.Start(context.Background(), "order", id, nil, client.StartOptions{})
		must(err)
	}
	for event, err := range c.Watch(context.Background(), client.WatchOptions{After: 1}) { // resume after position 1
		must(err)
		fmt.Println(event.Position, event.Subject)
		if event.Position == 3 {
			break
		}
	}
	// Output:
	// 2 instance/b
	// 3 instance/c
}

func ExampleWorker() {
	c, end := newExample()
	defer end()
	ctx := context.Background()
	_, err := c.Start(ctx, "mail", "welcome-9", nil, client.StartOptions{})
	must(err)
	working, stop := context.WithCancel(ctx)
	worker, err := c.Worker(client.WorkerConfig{
		Queues:      []string{"mail"},
		Concurrency: 8,
		Handlers: map[string]client.Handler{
			"work": func(ctx context.Context, s *client.Step) (any, error) {
				fmt.Println("sending under key", s.IdempotencyKey)
				return nil, nil
			},
		},
		Answered: func(s *client.Step, err error) {
			fmt.Println(s.InstanceID, s.Step, "accepted:", err == nil)
			stop()
		},
	})
	must(err)
	must(worker.Run(working))
	// Output:
	// sending under key default/welcome-9/work/0
	// welcome-9 work accepted: true
}

// What a handler returns decides what becomes of the run.
func ExampleHandler() {
	charge := func(amount int) client.Handler {
		return func(context.Context, *client.Step) (any, error) {
			switch {
			case amount < 0:
				return nil, client.Fail("AMOUNT", "an amount is not negative") // no retry helps
			case amount > 1000:
				return nil, client.Retry("LIMIT", "over today's limit") // later, while attempts remain
			case amount == 0:
				return nil, client.Release() // somebody else's, and no attempt is used
			}
			return map[string]int{"charged": amount}, nil
		}
	}
	for _, amount := range []int{5, -1, 5000, 0} {
		fmt.Println(charge(amount)(context.Background(), &client.Step{}))
	}
	// Output:
	// map[charged:5] <nil>
	// <nil> AMOUNT: an amount is not negative
	// <nil> LIMIT: over today's limit
	// <nil> released by the handler
}

func ExampleStepError() {
	err := fmt.Errorf("charge: %w", client.Fail("CARD_EXPIRED", "the card has expired"))
	var failed *client.StepError
	fmt.Println(errors.As(err, &failed), failed.Code, failed.Retryable)
	// Output: true CARD_EXPIRED false
}

// A step's code gets its input, and says how far it is.
func ExampleStep() {
	c, end := newExample()
	defer end()
	ctx := context.Background()
	_, err := c.Start(ctx, "order", "order-17", map[string]int{"parcels": 3}, client.StartOptions{})
	must(err)
	working, stop := context.WithCancel(ctx)
	worker, err := c.Worker(client.WorkerConfig{
		Queues: []string{"order"},
		Handler: func(ctx context.Context, s *client.Step) (any, error) {
			defer stop()
			var input struct{ Parcels int }
			if err := s.Input(&input); err != nil {
				return nil, err
			}
			for n := range input.Parcels {
				if err := s.Progress(ctx, n+1); err != nil {
					return nil, err // the lease is lost, or the instance is being cancelled
				}
			}
			fmt.Println("attempt", s.Attempt, "under token", s.Token)
			return input.Parcels, nil
		},
	})
	must(err)
	must(worker.Run(working))
	// Output: attempt 1 under token 1
}

func ExampleSession() {
	c, end := newExample()
	defer end()
	ctx := context.Background()
	session, err := c.OpenSession(ctx, client.SessionConfig{TTL: 30 * time.Second, Worker: "nightly"})
	must(err)
	lock, err := session.Lock(ctx, "reports", client.LockOptions{})
	must(err)
	fmt.Println("held:", lock.Err() == nil)
	must(session.Close(ctx)) // frees all that it holds
	fmt.Println("then:", lock.Err())
	// Output:
	// held: true
	// then: the session is closed
}

func ExampleLock() {
	c, end := newExample()
	defer end()
	ctx := context.Background()
	lock, err := c.Lock(ctx, "dock", client.LockOptions{Limit: 1, Wait: time.Minute, Note: "crane 2"})
	must(err)
	// Work under lock.Context(), and have what is written refuse tokens older than lock.Token.
	fmt.Println(lock.Key(), "under token", lock.Token)

	_, err = c.Lock(ctx, "dock", client.LockOptions{Limit: 1})
	fmt.Println("meanwhile:", client.IsCode(err, v1.Code_CODE_LOCK_HELD))
	must(lock.Release(ctx))
	// Output:
	// dock#1 under token 1
	// meanwhile: true
}

// Another engine takes a step that it owns by its name.
func ExampleLease() {
	c, end := newExample()
	defer end()
	ctx := context.Background()
	_, err := c.Start(ctx, "order", "order-17", nil, client.StartOptions{})
	must(err)
	session, err := c.OpenSession(ctx, client.SessionConfig{})
	must(err)
	defer func() { must(session.Close(ctx)) }()
	named := client.LeaseOptions{Instance: "order-17", Step: "work", Wait: time.Minute}
	lease, err := session.LeaseStep(ctx, named)
	must(err)
	_, err = lease.Complete(ctx, "done by hand")
	must(err)

	_, err = session.LeaseStep(ctx, named)
	if refusal, ok := client.AsRefusal(err); ok && client.IsAlreadyDone(err) {
		fmt.Printf("already done: %s\n", refusal.Output.Bytes)
	}
	// Output: already done: "done by hand"
}

func ExampleRefusal() {
	c, end := newExample()
	defer end()
	_, err := c.Get(context.Background(), "nobody")
	var refusal *client.Refusal
	if errors.As(err, &refusal) {
		fmt.Println(client.CodeName(refusal.Code), "-", refusal.Reason)
	}
	// Output: INSTANCE_NOT_FOUND - no instance nobody
}
