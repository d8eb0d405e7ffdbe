package client_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Configurations say what is wrong with them, before anything is dialled.
func ExampleConfig() {
	config := client.Config{
		Servers:   []string{"10.0.0.1:7400", "https://lockstep.example.com"},
		Namespace: "shop",
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, nil)), // retries, reconnects, lost leases
		Author:    "billing",                                     // for the history
	}
	fmt.Println(config.Validate())
	config.Servers = append(config.Servers, "ftp://elsewhere")
	fmt.Println(config.Validate())
	// Output:
	// <nil>
	// client: server "ftp://elsewhere" is not host:port, http://host:port or https://host:port
}

// What a start says beside the workflow and its input: which version, what to find the instance by, what signals by key
// belong to it.
func ExampleStartOptions() {
	c, end := newExample()
	defer end()
	reply, err := c.Start(context.Background(), "order", "order-17", map[string]int{"amount": 40}, client.StartOptions{
		Version: 1,
		Labels:  map[string]string{"shop": "north"},
		Keys:    map[string]string{"order": "17"},
	})
	must(err)
	fmt.Println(reply.InstanceId, "version", reply.Version)
	// Output: order-17 version 1
}

// Starts of one id queue behind each other: the answer says what each is called.
func ExampleStartOptions_onConflict() {
	c, end := newExample()
	defer end()
	for _, change := range []string{"change-1", "change-2"} {
		reply, err := c.Start(context.Background(), "sync", "customer-42", nil, client.StartOptions{
			OnConflict: v1.OnConflict_ON_CONFLICT_QUEUE,
			StartID:    change,
		})
		must(err)
		fmt.Println(reply.InstanceId, reply.Place)
	}
	// Output:
	// customer-42 0
	// customer-42~change-2 1
}

// A version that is not to be started any more is drained, until what it started has ended.
func ExampleClient_Drain() {
	c, end := newExample()
	defer end()
	version, err := c.Drain(context.Background(), "order", 1, "it charges twice")
	must(err)
	fmt.Println("drained:", version.Drained, "live:", version.LiveInstances)
	version, err = c.Undrain(context.Background(), "order", 1, "it does not")
	must(err)
	fmt.Println("drained:", version.Drained)
	// Output:
	// drained: true live: 2
	// drained: false
}

// A signal may come before whoever waits for it: it is kept for its TTL.
func ExampleSignalOptions() {
	c, end := newExample()
	defer end()
	paid := client.SignalOptions{TTL: 24 * time.Hour}
	reply, err := c.Signal(context.Background(), "order-17", "paid", "payment-88", map[string]int{"amount": 40}, paid)
	must(err)
	fmt.Println(reply.Delivered)
	// Output: true
}

// A signal by key needs no instance's id, and may come before there is one.
func ExampleKey() {
	c, end := newExample()
	defer end()
	reply, err := c.SignalByKey(context.Background(), client.Key{Name: "order", Value: "17"}, "paid", "payment-88", map[string]int{"amount": 40}, client.SignalOptions{})
	must(err)
	fmt.Println(reply.InstanceId, reply.Delivered)
	// Output: order-17 true
}

// A signal may start the instance that it is for: of several that race the first does.
func ExampleSignalStart() {
	c, end := newExample()
	defer end()
	first := client.SignalOptions{Start: &client.SignalStart{Workflow: "order", Input: map[string]int{"order": 17}}}
	reply, err := c.SignalByKey(context.Background(), client.Key{Name: "order", Value: "17"}, "paid", "payment-88", nil, first)
	must(err)
	fmt.Println(reply.InstanceId)
	// Output: order-17
}

// A compensation that stands still waits for somebody to have it tried again, or to say that it was done by hand.
func ExampleCompensateOptions() {
	c, end := newExample()
	defer end()
	reply, err := c.Compensate(context.Background(), "order-17", "refunded at the counter", client.CompensateOptions{From: "charge", Skip: true})
	must(err)
	fmt.Println(reply.Steps)
	// Output: [charge.compensate]
}

// What an instance that still runs did wrong from a step on is undone, and done again in place.
func ExampleResetOptions() {
	c, end := newExample()
	defer end()
	reply, err := c.Reset(context.Background(), "order-17", "charge", client.ResetOptions{Compensate: true, Reason: "the price was wrong"})
	must(err)
	fmt.Println(reply.Index, reply.Undone)
	// Output: 1 1
}

// What went wrong from a step on is done again in a version that is corrected, and what was right is not.
func ExampleForkOptions() {
	c, end := newExample()
	defer end()
	reply, err := c.Fork(context.Background(), "order-17", "charge", "order-17-again", client.ForkOptions{Version: 2, Reason: "the price was wrong"})
	must(err)
	fmt.Println(reply.InstanceId, reply.Version)
	// Output: order-17-again 2
}

// A session's TTL is how long the cluster waits for a worker that says nothing; it is renewed every third of it.
func ExampleSessionConfig() {
	c, end := newExample()
	defer end()
	ctx := context.Background()
	session, err := c.OpenSession(ctx, client.SessionConfig{TTL: 3 * time.Second, Worker: "press 4"})
	must(err)
	fmt.Println(session.TTL(), time.Until(session.Deadline()) < 3*time.Second, session.Err())
	must(session.Close(ctx))
	fmt.Println(session.Err())
	// Output:
	// 3s true <nil>
	// the session is closed
}

// A permit of a pool, and what those who wait may read of its holder. Without a wait, what is held is refused at once.
func ExampleLockOptions() {
	c, end := newExample()
	defer end()
	ctx := context.Background()
	crane := client.LockOptions{Limit: 1, Note: "unloading until noon", Session: client.SessionConfig{TTL: 30 * time.Second}}
	held, err := c.Lock(ctx, "cranes", crane)
	must(err)
	fmt.Println("slot", held.Slot)

	crane.Wait = 20 * time.Millisecond
	_, err = c.Lock(ctx, "cranes", crane)
	fmt.Println("waited in vain:", client.IsWaitTimeout(err))
	crane.Wait = 0
	_, err = c.Lock(ctx, "cranes", crane)
	fmt.Println("held:", client.IsCode(err, v1.Code_CODE_LOCK_HELD))
	must(held.Release(ctx))
	// Output:
	// slot 1
	// waited in vain: true
	// held: true
}

// A run is named by its instance and step, and waited for until it is ready.
func ExampleLeaseOptions() {
	c, end := newExample()
	defer end()
	ctx := context.Background()
	session, err := c.OpenSession(ctx, client.SessionConfig{})
	must(err)
	defer func() { must(session.Close(ctx)) }()
	_, err = c.Start(ctx, "order", "order-17", nil, client.StartOptions{})
	must(err)
	lease, err := session.LeaseStep(ctx, client.LeaseOptions{Instance: "order-17", Step: "work", Wait: -1}) // as long as ctx lives
	must(err)
	fmt.Println(lease.InstanceID, lease.Step.Step, "attempt", lease.Attempt)
	must(lease.Release(ctx, "not today"))
	// Output: order-17 work attempt 1
}

// A watch that is to be resumed keeps the position that Progress tells, also of events that its filter left out.
func ExampleWatchOptions() {
	c, end := newExample()
	defer end()
	ctx := context.Background()
	for _, id := range []string{"a", "b"} {
		_, err := c.Start(ctx, "order", id, nil, client.StartOptions{})
		must(err)
	}
	resume := int64(0)
	watched := client.WatchOptions{
		Types:    []string{"lockstep.instance.started.v1"},
		Progress: func(position int64) { resume = position },
	}
	for event, err := range c.Watch(ctx, watched) {
		must(err)
		fmt.Println(event.Position, event.Subject)
		if event.Position == 2 {
			break
		}
	}
	watched.After = resume // next time
	fmt.Println("resume after", watched.After)
	// Output:
	// 1 instance/a
	// 2 instance/b
	// resume after 1
}

// A worker's configuration: where runs come from, how many at a time, who does which task, and who is told of the end.
func ExampleWorkerConfig() {
	ship := func(context.Context, *client.Step) (any, error) { return map[string]string{"tracking": "T-9"}, nil }
	config := client.WorkerConfig{
		Queues:      []string{"warehouse", "returns"},
		Concurrency: 16,
		Handlers:    map[string]client.Handler{"ship": ship},
		Session:     client.SessionConfig{TTL: 15 * time.Second, Worker: "warehouse-2"},
		Grace:       30 * time.Second, // for what runs when Run's context ends
		Answered: func(s *client.Step, err error) {
			if client.IsFenced(err) {
				slog.Warn("somebody else had the step meanwhile", "instance", s.InstanceID, "step", s.Step)
			}
		},
	}
	fmt.Println(config.Validate())
	config.Handlers = nil
	fmt.Println(config.Validate())
	// Output:
	// <nil>
	// client: a worker needs a Handler, or Handlers by task
}

// A schedule starts an instance at each time of a cron expression. While one runs, the next time waits.
func ExampleScheduleOptions() {
	c, end := newExample()
	defer end()
	s, err := c.CreateSchedule(context.Background(), "nightly", "30 2 * * *", "report", client.ScheduleOptions{
		Zone:    "Europe/Berlin",
		Input:   map[string]string{"of": "sales"},
		TimeKey: "at", // {"at": "2026-03-28T01:30:00Z", "of": "sales"}
		Overlap: v1.Overlap_OVERLAP_QUEUE,
		CatchUp: 6 * time.Hour, // after an outage
	})
	must(err)
	fmt.Println(s.Schedule, "at", s.Cron, "in", s.Zone)
	// Output: nightly at 30 2 * * * in Europe/Berlin
}

// What a worker is known to have done is completed by hand, and nobody waits for it any more. Whoever still holds the step is fenced.
func ExampleOperation() {
	c, end := newExample()
	defer end()
	charge := client.Operation{Instance: "order-7", Step: "charge", Reason: "paid by phone, receipt 4711"}
	done, err := c.ResolveStep(context.Background(), charge, map[string]bool{"paid": true})
	must(err)
	fmt.Println(done.Token > 0, done.Duplicate)
	// Output: true false
}
