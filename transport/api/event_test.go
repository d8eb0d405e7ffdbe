package api

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

type watchClient = connect.ServerStreamForClient[v1.WatchEventsResponse]

func watchFor(t *testing.T, c *clients, r *v1.WatchEventsRequest) *watchClient {
	t.Helper()
	stream, err := c.WatchEvents(t.Context(), connect.NewRequest(r))
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// watched hears until the watch has come to a position, and returns what it was sent.
func watched(t *testing.T, stream *watchClient, position int64) (events []*v1.Event) {
	t.Helper()
	for stream.Receive() {
		events = append(events, stream.Msg().Events...)
		if stream.Msg().Position >= position {
			return events
		}
	}
	t.Fatalf("the watch ended before %d: %v", position, stream.Err())
	return nil
}

// A filter is the AND of what it sets; labels are those of the instance, whatever event it is.
func TestAWatchFilters(t *testing.T) {
	t.Parallel()
	c := newOne(t)
	client := dial(t, serve(t, c))
	ordered(t, client)
	for i := range 3 {
		r := startRequest(fmt.Sprint("o", i))
		r.Labels = map[string]string{"parity": fmt.Sprint(i % 2), "all": "yes"}
		must(t, client.StartInstance, r)
	}
	session := open(t, client)
	for _, run := range must(t, client.PollSteps, &v1.PollStepsRequest{SessionId: session, Queue: "inventory", Count: 3}).Runs {
		must(t, client.CompleteStep, completion(run))
	}
	newest, err := c.machine.Position("")
	if err != nil {
		t.Fatal(err)
	}
	all := watched(t, watchFor(t, client, &v1.WatchEventsRequest{}), newest)
	if len(all) != int(newest) {
		t.Fatalf("%d events up to %d", len(all), newest)
	}
	instance := func(e *v1.Event) string { return e.Data.InstanceId }
	for name, x := range map[string]struct {
		ask  *v1.WatchEventsRequest
		want func(*v1.Event) bool
	}{
		"types": {&v1.WatchEventsRequest{Types: []string{"lockstep.step.completed.v1", "lockstep.step.leased.v1"}}, func(e *v1.Event) bool {
			return e.Type == "lockstep.step.completed.v1" || e.Type == "lockstep.step.leased.v1"
		}},
		"instance": {&v1.WatchEventsRequest{InstanceId: "o1"}, func(e *v1.Event) bool { return instance(e) == "o1" }},
		"workflow": {&v1.WatchEventsRequest{Workflow: "order"}, func(e *v1.Event) bool { return e.Data.Workflow == "order" }},
		"labels": {&v1.WatchEventsRequest{Labels: map[string]string{"parity": "0", "all": "yes"}}, func(e *v1.Event) bool {
			return instance(e) == "o0" || instance(e) == "o2"
		}},
		"no such label": {&v1.WatchEventsRequest{Labels: map[string]string{"none": ""}}, func(*v1.Event) bool { return false }},
		"several": {&v1.WatchEventsRequest{Types: []string{"lockstep.step.completed.v1"}, Labels: map[string]string{"parity": "0"}}, func(e *v1.Event) bool {
			return e.Type == "lockstep.step.completed.v1" && instance(e) != "o1"
		}},
	} {
		var want []int64
		for _, e := range all {
			if x.want(e) {
				want = append(want, e.Position)
			}
		}
		if len(want) == 0 && name != "no such label" {
			t.Fatalf("%s: nothing to find", name)
		}
		var got []int64
		for _, e := range watched(t, watchFor(t, client, x.ask), newest) { // what is skipped at the end is told within a second
			got = append(got, e.Position)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: events at %v, want %v", name, got, want)
		}
	}
}

// From now on means: the first message says from where, and nothing before is sent.
func TestAWatchFromNow(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	ordered(t, client, "before")
	stream := watchFor(t, client, &v1.WatchEventsRequest{After: -1})
	if !stream.Receive() || len(stream.Msg().Events) > 0 {
		t.Fatalf("from now: %v, %v", stream.Msg(), stream.Err())
	}
	now := stream.Msg().Position
	if now != must(t, client.GetNamespace, &v1.GetNamespaceRequest{Namespace: "default"}).Position {
		t.Errorf("now is %d", now)
	}
	must(t, client.StartInstance, startRequest("after"))
	if events := watched(t, stream, now+1); events[0].Position != now+1 || events[0].Data.InstanceId != "after" {
		t.Errorf("events: %v", events)
	}
}

// A node that is behind has a watch wait for what it does not know yet: a namespace, or a position.
func TestAWatchOnANodeThatIsBehind(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	leader := serve(t, newNode(l))
	late := newNode(emptyLog(t))
	late.follow(leader)
	client := dial(t, serve(t, late))
	must(t, client.CreateNamespace, &v1.CreateNamespaceRequest{Namespace: "n"})
	must(t, client.UpdateNamespace, &v1.UpdateNamespaceRequest{Namespace: "n", Description: "2"})
	stream := watchFor(t, client, &v1.WatchEventsRequest{Namespace: "n", After: 1})
	if !stream.Receive() || len(stream.Msg().Events) > 0 || stream.Msg().Position != 1 {
		t.Fatalf("before: %v, %v", stream.Msg(), stream.Err())
	}
	late.catchUp(l)
	if events := watched(t, stream, 2); len(events) != 1 || events[0].Position != 2 {
		t.Errorf("then: %v", events)
	}
}

func TestWatchesThatAreRefused(t *testing.T) {
	t.Parallel()
	c := newOne(t)
	leader := serve(t, c)
	follower := newNode(emptyLog(t))
	follower.follow(leader)
	for node, address := range map[string]string{"leader": leader, "follower": serve(t, follower)} {
		client := dial(t, address)
		for name, x := range map[string]struct {
			ask  *v1.WatchEventsRequest
			want v1.Code
		}{
			"a namespace that is not":  {&v1.WatchEventsRequest{Namespace: "none"}, v1.Code_CODE_NAMESPACE_NOT_FOUND},
			"a position before all":    {&v1.WatchEventsRequest{After: -2}, v1.Code_CODE_INVALID},
			"a position in the future": {&v1.WatchEventsRequest{After: 1 << 40}, v1.Code_CODE_INVALID},
			"a control character":      {&v1.WatchEventsRequest{InstanceId: "\n"}, v1.Code_CODE_INVALID},
		} {
			stream := watchFor(t, client, x.ask)
			for stream.Receive() {
				t.Errorf("%s on the %s: sent %v", name, node, stream.Msg())
			}
			if r := refusedBy(t, stream.Err()); r.Code != x.want {
				t.Errorf("%s on the %s: refused with %v", name, node, r)
			}
		}
	}
}

// A namespace that is deleted ends its watches.
func TestAWatchEndsWithItsNamespace(t *testing.T) {
	t.Parallel()
	c := newOne(t)
	client := dial(t, serve(t, c))
	must(t, client.CreateNamespace, &v1.CreateNamespaceRequest{Namespace: "n"})
	stream := watchFor(t, client, &v1.WatchEventsRequest{Namespace: "n", After: -1})
	if !stream.Receive() {
		t.Fatal(stream.Err())
	}
	must(t, client.DeleteNamespace, &v1.DeleteNamespaceRequest{Namespace: "n"})
	for stream.Receive() {
	}
	if code := refusedBy(t, stream.Err()).Code; code != v1.Code_CODE_NAMESPACE_NOT_FOUND && code != v1.Code_CODE_NAMESPACE_DELETING {
		t.Errorf("the watch ends with %v", code)
	}
}

// A watch reads on while there is more, also when nothing of it is asked for: not a page a second.
func TestAWatchThatSkipsEverythingGoesOn(t *testing.T) {
	t.Parallel()
	const pages = 5
	c := newOne(t)
	client := dial(t, serve(t, c))
	for range pages * eventsPage {
		c.apply(&logv1.Entry{Commands: []*logv1.Command{{Envelope: &logv1.Envelope{}, Body: &logv1.Command_OpenSession{OpenSession: &logv1.OpenSession{}}}}})
	}
	began := time.Now()
	stream := watchFor(t, client, &v1.WatchEventsRequest{Types: []string{"none"}})
	if events := watched(t, stream, pages*eventsPage); len(events) > 0 {
		t.Errorf("sent %v", events)
	}
	if took := time.Since(began); took > (pages-1)*progressEvery {
		t.Errorf("%d pages took %s", pages, took)
	}
}
