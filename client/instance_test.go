package client_test

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A named step is leased, worked on, and completed; whoever comes later gets its output.
func TestLeaseStep(t *testing.T) {
	_, c, _ := cluster(t, 1)
	start(t, c, "a", map[string]int{"amount": 3})
	s, err := c.OpenSession(within(t), client.SessionConfig{})
	if err != nil {
		t.Fatal(err)
	}
	named := client.LeaseOptions{Instance: "a", Step: "work"}
	lease, err := s.LeaseStep(within(t), named)
	if err != nil {
		t.Fatal(err)
	}
	var input struct{ Amount int }
	if err := lease.Input(&input); err != nil || input.Amount != 3 {
		t.Errorf("input %v, %v", input, err)
	}
	if err := lease.Progress(within(t), "half"); err != nil {
		t.Errorf("progress: %v", err)
	}
	if _, err := s.LeaseStep(within(t), named); !client.IsCode(err, v1.Code_CODE_NOT_READY) {
		t.Errorf("a second lease: %v", err)
	}
	if err := lease.Release(within(t), "changed my mind"); err != nil {
		t.Fatal(err)
	}
	if lease.Context().Err() == nil {
		t.Error("the released lease's context lives on")
	}
	again, err := s.LeaseStep(within(t), named)
	if err != nil || again.Token <= lease.Token {
		t.Fatalf("leased again: %v", err)
	}
	if _, err := lease.Complete(within(t), "old"); !client.IsFenced(err) {
		t.Errorf("the old token: %v", err)
	}
	if err := lease.Progress(within(t), nil); !errors.Is(err, client.ErrLeaseLost) {
		t.Errorf("progress under the old token: %v", err)
	}
	if _, err := again.Complete(within(t), "new"); err != nil {
		t.Fatal(err)
	}
	_, err = s.LeaseStep(within(t), named)
	refusal, _ := client.AsRefusal(err)
	if !client.IsAlreadyDone(err) || string(refusal.Output.GetBytes()) != `"new"` {
		t.Errorf("a finished step: %v", err)
	}
	if err := s.Close(within(t)); err != nil {
		t.Error(err)
	}
}

func TestHistory(t *testing.T) {
	_, c, _ := cluster(t, 1)
	start(t, c, "a", nil)
	start(t, c, "b", nil)
	stop := work(t, c, client.WorkerConfig{Handler: nothing})
	ended(t, c, "a", completed)
	stop()
	var types []string
	for event, err := range c.History(within(t), "a") {
		if err != nil {
			t.Fatal(err)
		}
		types = append(types, event.Type)
	}
	if want := []string{"lockstep.instance.started.v1", "lockstep.step.completed.v1"}; !slices.Equal(types, want) {
		t.Errorf("history is %v", types)
	}
}

// A watch yields every event once and in order, over as many streams as it takes and servers that go away.
func TestWatch(t *testing.T) {
	_, c, servers := cluster(t, 2)
	for id := range 9 {
		start(t, c, string(rune('a'+id)), nil)
	}
	var reached int64
	next := int64(3)
	for event, err := range c.Watch(within(t), client.WatchOptions{After: 2, Progress: func(p int64) { reached = p }}) {
		if err != nil {
			t.Fatal(err)
		}
		if event.Position != next {
			t.Fatalf("position %d, want %d", event.Position, next)
		}
		if next++; next == 6 {
			servers[0].CloseClientConnections()
			servers[0].Close()
		}
		if next > 9 {
			break
		}
	}
	if reached != 8 {
		t.Errorf("told of progress to %d", reached)
	}
}

// A watch from now misses nothing that happens while it reconnects.
func TestWatchFromNow(t *testing.T) {
	f, c, _ := cluster(t, 1)
	start(t, c, "before", nil)
	var asked sync.Once
	f.setHook(func(method string, _ any, done bool) error {
		if method == "GetNamespace" && done {
			go asked.Do(func() { start(t, c, "one", nil) })
		}
		return nil
	})
	var got []string
	for event, err := range c.Watch(within(t), client.WatchOptions{After: client.FromNow}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, event.Data.InstanceId)
		if len(got) == 1 {
			for _, id := range []string{"two", "three", "four"} {
				start(t, c, id, nil)
			}
		}
		if len(got) == 4 {
			break
		}
	}
	if want := []string{"one", "two", "three", "four"}; !slices.Equal(got, want) {
		t.Errorf("watched %v", got)
	}
}
