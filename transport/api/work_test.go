package api

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

type workClient = connect.BidiStreamForClient[v1.WorkRequest, v1.WorkResponse]

// work opens a stream with credit for the queue inventory.
func work(t *testing.T, c *clients, session string, credit int32) *workClient {
	t.Helper()
	stream := c.Work(t.Context())
	tell(t, stream, &v1.WorkRequest{SessionId: session, Credit: &v1.Credit{Queues: []string{"inventory"}, Count: credit}})
	if opened := hear(t, stream); !opened.Opened {
		t.Fatalf("opened with %v", opened)
	}
	return stream
}

func tell(t *testing.T, stream *workClient, r *v1.WorkRequest) {
	t.Helper()
	if err := stream.Send(r); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, stream *workClient) *v1.WorkResponse {
	t.Helper()
	r, err := stream.Receive()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// granted hears until so many runs have come.
func granted(t *testing.T, stream *workClient, n int) (runs []*v1.LeasedRun) {
	t.Helper()
	for len(runs) < n {
		runs = append(runs, hear(t, stream).Runs...)
	}
	return runs
}

func completion(run *v1.LeasedRun) *v1.CompleteStepRequest {
	return &v1.CompleteStepRequest{InstanceId: run.InstanceId, Step: run.Step, Token: run.Token, OutputPayload: &v1.Payload{Bytes: []byte(`{"hold":"h"}`)}}
}

func startRequest(id string) *v1.StartInstanceRequest {
	return &v1.StartInstanceRequest{InstanceId: id, Workflow: "order", InputPayload: &v1.Payload{Bytes: []byte(`{"order":"A1"}`)}}
}

// ordered registers the workflow, and starts instances of it.
func ordered(t *testing.T, c *clients, ids ...string) {
	t.Helper()
	must(t, c.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: orderYAML})
	for _, id := range ids {
		must(t, c.StartInstance, startRequest(id))
	}
}

// What is sent before the client ends its half is done and answered; what the stream left in credit ends with it.
func TestAStreamIsAnsweredToItsEnd(t *testing.T) {
	t.Parallel()
	c := newOne(t)
	client := dial(t, serve(t, c))
	ordered(t, client, "o1", "o2")
	stream := work(t, client, open(t, client), 5)
	runs := granted(t, stream, 2)
	if n := c.waiting("inventory"); n != 3 {
		t.Errorf("%d of 5 runs are waited for, after 2", n)
	}
	for _, run := range runs {
		tell(t, stream, &v1.WorkRequest{Completions: []*v1.CompleteStepRequest{completion(run)}})
	}
	if err := stream.CloseRequest(); err != nil {
		t.Fatal(err)
	}
	var outcomes []*v1.WorkOutcome
	for {
		r, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		outcomes = append(outcomes, r.Outcomes...)
	}
	if len(outcomes) != 2 || outcomes[0].Refusal != nil || outcomes[1].Refusal != nil {
		t.Errorf("answered: %v", outcomes)
	}
	eventually(t, "the credit ended with the stream", func() bool { return c.waiting("inventory") == 0 })
}

// One message may do several things; a completion's next comes with its outcome.
func TestAMessageOfManyThings(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	ordered(t, client, "o1", "o2", "o3", "o4", "o5")
	session := open(t, client)
	stream := work(t, client, session, 4)
	runs := granted(t, stream, 4)
	done, strange, nothing := completion(runs[0]), completion(runs[1]), completion(runs[1])
	done.SessionId, done.Next = session, &v1.Next{Count: 1}
	strange.Namespace = "other"
	nothing.Token = 0
	progress := []*v1.ReportProgressRequest{{InstanceId: runs[3].InstanceId, Step: "reserve", Token: runs[3].Token}}
	tell(t, stream, &v1.WorkRequest{
		Completions: []*v1.CompleteStepRequest{done, strange, nothing},
		Failures:    []*v1.FailStepRequest{{InstanceId: runs[1].InstanceId, Step: "reserve", Token: runs[1].Token, Code: "NO"}},
		Releases:    []*v1.ReleaseStepRequest{{InstanceId: runs[2].InstanceId, Step: "reserve", Token: runs[2].Token}},
		Progress:    progress,
	})
	r := hear(t, stream)
	var refused []v1.Code
	for _, o := range r.Outcomes {
		refused = append(refused, o.Refusal.GetCode())
	}
	if want := []v1.Code{v1.Code_CODE_INVALID, v1.Code_CODE_INVALID, 0, 0, 0, 0}; !slices.Equal(refused, want) {
		t.Errorf("outcomes %v, want %v", refused, want)
	}
	if len(r.Runs) != 1 || r.Runs[0].InstanceId != "o5" || r.Runs[0].Input != nil || r.Runs[0].InputPayload == nil {
		t.Errorf("next: %v", r.Runs)
	}
	must(t, client.CancelInstance, &v1.CancelInstanceRequest{InstanceId: runs[3].InstanceId})
	tell(t, stream, &v1.WorkRequest{Progress: progress})
	if r := hear(t, stream); !slices.Equal(r.Cancelled, []int64{runs[3].Token}) {
		t.Errorf("a cancelled run's progress is answered with %v", r)
	}
}

// What is granted while a proposal is in flight comes in one message with its outcomes, unless it is much.
func TestWhatIsGrantedMeanwhileGoesAlong(t *testing.T) {
	t.Parallel()
	c := newOne(t)
	client := dial(t, serve(t, c))
	ordered(t, client, "o1")
	stream := work(t, client, open(t, client), 20)
	first := granted(t, stream, 1)[0]
	start := func(prefix string, n, size int) {
		e := &logv1.Entry{}
		for i := range n {
			r := startRequest(fmt.Sprint(prefix, i))
			r.InputPayload = &v1.Payload{Bytes: fmt.Appendf(nil, `{"order":%q}`, strings.Repeat("x", size))}
			e.Commands = append(e.Commands, &logv1.Command{Envelope: &logv1.Envelope{Namespace: fsm.DefaultNamespace}, Body: &logv1.Command_StartInstance{StartInstance: r}})
		}
		c.apply(e)
	}
	meanwhile := func(do func()) *v1.WorkResponse {
		t.Helper()
		var once sync.Once
		c.inject(nil, func([]*logv1.Command) { once.Do(do) })
		defer c.inject(nil, nil)
		tell(t, stream, &v1.WorkRequest{Progress: []*v1.ReportProgressRequest{{InstanceId: first.InstanceId, Step: first.Step, Token: first.Token}}})
		return hear(t, stream)
	}
	if r := meanwhile(func() { start("a", 3, 1) }); len(r.Outcomes) != 1 || len(r.Runs) != 3 {
		t.Errorf("3 runs were granted meanwhile, and one thing done: %d outcomes and %d runs came together", len(r.Outcomes), len(r.Runs))
	}
	r := meanwhile(func() { start("b", 8, 200<<10) })
	if size := len(r.Runs) * 200 << 10; len(r.Outcomes) != 1 || size < grantBytes || size > grantBytes+200<<10 {
		t.Errorf("1,600 KiB were granted meanwhile: %d outcomes and %d runs came together", len(r.Outcomes), len(r.Runs))
	}
	granted(t, stream, 8-len(r.Runs))
}

// What arrives while a proposal is in flight is taken together, about so much at a time.
func TestWhatArrivedIsTakenTogether(t *testing.T) {
	t.Parallel()
	in := &inbox[v1.WorkRequest]{messages: make(chan *v1.WorkRequest, 64)}
	message := &v1.WorkRequest{Completions: make([]*v1.CompleteStepRequest, 399)}
	for range 4 {
		in.messages <- message
	}
	close(in.messages)
	for i, want := range []int{3, 3, 1} {
		if n := len(in.batch(message, maxItems, items)); n != want {
			t.Errorf("batch %d has %d messages of 400 items", i, n)
		}
	}
}

// A stream keeps its session alive, and ends when that has ended.
func TestAStreamRenewsItsSession(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	ordered(t, client, "o1")
	session := open(t, client)
	stream := work(t, client, session, 1)
	run := granted(t, stream, 1)[0]
	tell(t, stream, &v1.WorkRequest{KeepAlive: &v1.KeepAliveRequest{Tokens: []int64{run.Token, 999}}})
	if r := hear(t, stream).KeptAlive; r.GetTtl().AsDuration() != time.Minute || !slices.Equal(r.Lost, []int64{999}) {
		t.Errorf("kept alive: %v", r)
	}
	must(t, client.CloseSession, &v1.CloseSessionRequest{SessionId: session})
	tell(t, stream, &v1.WorkRequest{KeepAlive: &v1.KeepAliveRequest{}})
	if _, err := stream.Receive(); refusedBy(t, err).Code != v1.Code_CODE_SESSION_EXPIRED {
		t.Errorf("the stream ends with %v", err)
	}
}

// When another node leads, a stream ends and says who; also one that another node passes on.
func TestAStreamEndsWithLeadership(t *testing.T) {
	t.Parallel()
	c := newOne(t)
	leader := serve(t, c)
	follower := newOne(t)
	follower.follow(leader)
	var streams []*workClient
	for _, address := range []string{leader, serve(t, follower)} {
		client := dial(t, address)
		streams = append(streams, work(t, client, open(t, client), 1))
	}
	c.follow("127.0.0.1:1")
	for _, stream := range streams {
		_, err := stream.Receive()
		if r := refusedBy(t, err); r.Code != v1.Code_CODE_NO_LEADER || r.Leader != "127.0.0.1:1" {
			t.Errorf("the stream ends with %v", r)
		}
	}
}

// A newer stream of the session takes the credit over.
func TestANewerStreamTakesOver(t *testing.T) {
	t.Parallel()
	c := newOne(t)
	client := dial(t, serve(t, c))
	ordered(t, client)
	session := open(t, client)
	first := work(t, client, session, 5)
	eventually(t, "there is credit", func() bool { return c.waiting("inventory") == 5 })
	second := work(t, client, session, 1)
	if _, err := first.Receive(); refusedBy(t, err).Code != v1.Code_CODE_UNAVAILABLE {
		t.Errorf("the stream that was replaced ends with %v", err)
	}
	eventually(t, "credit is replaced", func() bool { return c.waiting("inventory") == 1 })
	must(t, client.StartInstance, startRequest("o1"))
	granted(t, second, 1)
}

func TestStreamsThatAreRefused(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	session := open(t, client)
	releases := func(n int) (all []*v1.ReleaseStepRequest) {
		for i := range n {
			all = append(all, &v1.ReleaseStepRequest{Token: int64(i + 1)})
		}
		return all
	}
	for name, x := range map[string]struct {
		r    *v1.WorkRequest
		want v1.Code
	}{
		"no session":          {&v1.WorkRequest{}, v1.Code_CODE_INVALID},
		"a session not known": {&v1.WorkRequest{SessionId: "77"}, v1.Code_CODE_SESSION_EXPIRED},
		"no such namespace":   {&v1.WorkRequest{Namespace: "none", SessionId: session}, v1.Code_CODE_NAMESPACE_NOT_FOUND},
		"a namespace's name":  {&v1.WorkRequest{Namespace: "a\n", SessionId: session}, v1.Code_CODE_INVALID},
		"too much credit":     {&v1.WorkRequest{SessionId: session, Credit: &v1.Credit{Count: maxCredit + 1}}, v1.Code_CODE_INVALID},
		"too many items":      {&v1.WorkRequest{SessionId: session, Releases: releases(maxItems + 1)}, v1.Code_CODE_INVALID},
	} {
		stream := client.Work(t.Context())
		err := stream.Send(x.r)
		if errors.Is(err, io.EOF) { // refused before all of it was sent: Receive says why
			err = nil
		}
		for err == nil { // it may have been opened first
			_, err = stream.Receive()
		}
		if r := refusedBy(t, err); r.Code != x.want {
			t.Errorf("%s: refused with %v", name, r)
		}
	}
	stream := work(t, client, session, maxCredit)
	tell(t, stream, &v1.WorkRequest{Releases: releases(maxItems)})
	if r := hear(t, stream); len(r.Outcomes) != maxItems {
		t.Errorf("%d of %d items are answered", len(r.Outcomes), maxItems)
	}
}
