package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// A node is ready when it knows a leader and has applied something of its term.
func TestReadiness(t *testing.T) {
	t.Parallel()
	c := newOne(t)
	c.apply(&logv1.Entry{})
	url := "http://" + serve(t, c)
	for _, x := range []struct {
		leads  bool
		leader string
		term   uint64
		want   int
	}{
		{true, "", 1, 200}, {false, "n2:1", 1, 200}, {false, "", 1, 503}, {true, "", 2, 503},
	} {
		c.set(x.leads, x.leader)
		c.lead.Lock()
		c.term = x.term
		c.lead.Unlock()
		if status, body := get(t, url+"/readyz"); status != x.want {
			t.Errorf("%+v: %d %s", x, status, body)
		}
		if status, _ := get(t, url+"/livez"); status != 200 {
			t.Errorf("%+v: not alive", x)
		}
		if serving, err := check(t, url, leaderHealth); err != nil || serving != (x.leads && x.want == 200) {
			t.Errorf("%+v: leads and serves is %v, %v", x, serving, err)
		}
	}
	for service, want := range map[string]connect.Code{"": 0, "lockstep.v1.LockService": 0, "none": connect.CodeNotFound} {
		if serving, err := check(t, url, service); serving != (want == 0) || err != nil && connect.CodeOf(err) != want {
			t.Errorf("%s: %v, %v", service, serving, err)
		}
	}
}

// Tools that know nothing of us find out what there is.
func TestReflection(t *testing.T) {
	t.Parallel()
	stream := grpcreflect.NewClient(hasty(t), "http://"+serve(t, newOne(t)), connect.WithGRPC()).NewStream(t.Context())
	defer stream.Close()
	names, err := stream.ListServices()
	if err != nil || len(names) != len(services()) {
		t.Errorf("%v, %v", names, err)
	}
	for _, name := range names {
		if files, err := stream.FileContainingSymbol(name); err != nil || len(files) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The API is spoken over Connect, gRPC and gRPC-Web, in protobuf and in JSON, streams too.
func TestProtocols(t *testing.T) {
	t.Parallel()
	address := serve(t, newOne(t))
	for name, options := range map[string][]connect.ClientOption{
		"connect":       nil,
		"connect, JSON": {connect.WithProtoJSON()},
		"gRPC":          {connect.WithGRPC()},
		"gRPC, JSON":    {connect.WithGRPC(), connect.WithProtoJSON()},
		"gRPC-Web":      {connect.WithGRPCWeb()},
		"GET":           {connect.WithHTTPGet()},
	} {
		client := dial(t, address, options...)
		session := open(t, client)
		if got := must(t, client.GetNamespace, &v1.GetNamespaceRequest{Namespace: "default"}); got.Token != 0 || got.Namespace != "default" {
			t.Errorf("%s: %v", name, got)
		}
		if r := refusal(t, client.GetNamespace, &v1.GetNamespaceRequest{Namespace: "none"}); r.Code != v1.Code_CODE_NAMESPACE_NOT_FOUND {
			t.Errorf("%s: %v", name, r)
		}
		work(t, client, session, 1)
	}
}

// What is not known is not ignored, and streams both ways say that they need HTTP/2.
func TestJSONThatIsNotKnown(t *testing.T) {
	t.Parallel()
	address := serve(t, newOne(t))
	status, reply := curl(t, address, "WorkerService/OpenSession", `{"tll":"5s"}`)
	if status != http.StatusBadRequest || !strings.Contains(reply["message"].(string), `unknown field "tll"`) {
		t.Errorf("%d, %v", status, reply)
	}
	if status, reply := curl(t, address, "WorkerService/OpenSession", ``); status != http.StatusBadRequest {
		t.Errorf("%d, %v", status, reply)
	}
	res, err := http.Post("http://"+address+"/lockstep.v1.WorkerService/OpenSession", "application/json; charset=utf-8", strings.NewReader(`{"ttl":"9s"}`))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), `"ttl":"9s"`) {
		t.Errorf("answered %s", b)
	}
	res, err = http.Post("http://"+address+"/lockstep.v1.WorkerService/Work", "application/connect+json", strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusHTTPVersionNotSupported {
		t.Errorf("a stream over HTTP/1.1 is answered with %s", res.Status)
	}
}

// A request over the limit is refused, and the connection goes on.
func TestARequestThatIsTooLarge(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	_, err := client.RegisterWorkflow(t.Context(), connect.NewRequest(&v1.RegisterWorkflowRequest{Source: strings.Repeat("#", maxRequest)}))
	if connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("refused with %v", err)
	}
	open(t, client)
}

// Prometheus sees calls, commands, refusals, streams, queues and the log.
func TestMetrics(t *testing.T) {
	t.Parallel()
	c := newOne(t)
	metrics := NewMetrics()
	metrics.Peers(func() uint64 { return 7 }, func() uint64 { return 8 })
	address := run(t, Config{Cluster: c, Metrics: metrics}).address
	client := dial(t, address)
	ordered(t, client, "o1", "o2")
	work(t, client, open(t, client), 1)
	refusal(t, client.GetLock, &v1.GetLockRequest{Lock: "none"})
	refusal(t, client.ReleaseLock, &v1.ReleaseLockRequest{Lock: "l", Token: 900})
	entry := c.apply(&logv1.Entry{})
	entry.Lags = []int64{1_500_000_000} // of a timer
	metrics.Observe(entry, time.Millisecond)
	status, text := get(t, "http://"+address+"/metrics")
	if status != 200 {
		t.Fatal(text)
	}
	for _, want := range []string{
		`lockstep_calls_total{code="ok",procedure="/lockstep.v1.InstanceService/StartInstance"} 2`,
		`lockstep_calls_total{code="not_found",procedure="/lockstep.v1.LockService/GetLock"} 1`,
		`lockstep_call_seconds_count{procedure="/lockstep.v1.InstanceService/StartInstance"} 2`,
		`lockstep_refusals_total{code="LOCK_NOT_FOUND"} 1`,
		`lockstep_commands_total{outcome="done",type="start_instance"} 2`,
		`lockstep_commands_total{outcome="TOKEN_UNKNOWN",type="release_lock"} 1`,
		`lockstep_streams{procedure="/lockstep.v1.WorkerService/Work"} 1`,
		`lockstep_queue_ready{namespace="default",queue="inventory"} 1`,
		`lockstep_queue_leased{namespace="default",queue="inventory"} 1`,
		`lockstep_queue_oldest_seconds{namespace="default",queue="inventory"} `,
		`lockstep_instances_live{namespace="default"} 2`,
		`lockstep_sessions 1`, `lockstep_leader{group="0"} 1`, `lockstep_applied_index{group="0"} `, `lockstep_flush_lag_entries{group="0"} `,
		`lockstep_entries_applied_total 1`, `lockstep_apply_seconds_count 1`, `lockstep_commit_seconds_count `, `go_goroutines `,
		`lockstep_peer_sent_bytes_total 7`, `lockstep_peer_received_bytes_total 8`,
		`lockstep_timer_lag_seconds_sum 1.5`,
	} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("not there: %s", want)
		}
	}
}

// What goes over the API's port is counted, both ways.
func TestTrafficIsCounted(t *testing.T) {
	t.Parallel()
	c, metrics := newOne(t), NewMetrics()
	r := run(t, Config{Cluster: c, Metrics: metrics})
	asked := strings.Repeat("x", 5000)
	if status, text := get(t, "http://"+r.address+"/"+asked); status != 404 {
		t.Fatal(text)
	}
	r.close() // what counts has ended
	page := httptest.NewRecorder()
	metrics.handler(c).ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	count := func(name string) (n float64) {
		_, rest, _ := strings.Cut(page.Body.String(), "\n"+name+" ")
		if _, err := fmt.Sscan(rest, &n); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return n
	}
	if sent, received := count("lockstep_api_sent_bytes_total"), count("lockstep_api_received_bytes_total"); received < 5000 || received > 6000 || sent < 20 || sent > 1000 {
		t.Errorf("of a request of 5,000 bytes and a short answer, %.0f were received and %.0f sent", received, sent)
	}
}

// The status page quotes nothing as HTML.
func TestTheStatusPage(t *testing.T) {
	t.Parallel()
	c := &named{newOne(t)}
	status, page := get(t, "http://"+serve(t, c))
	if status != 200 || !strings.Contains(page, "&lt;b&gt;") || strings.Contains(page, "<b>") {
		t.Errorf("%d: %s", status, page)
	}
	if status, _ := get(t, "http://"+serve(t, c)+"/else"); status != 404 {
		t.Errorf("another path is answered with %d", status)
	}
}

// named is a node with a strange name.
type named struct{ *node }

func (n *named) Status(uint64) *v1.GetStatusResponse {
	s := n.node.Status(0)
	s.NodeId = "<b>"
	return s
}

func TestTheClusterService(t *testing.T) {
	t.Parallel()
	c := newOne(t)
	client := dial(t, serve(t, c))
	if s := must(t, client.GetStatus, &v1.GetStatusRequest{}); s.Version != "test" || s.NodeId != "n1" {
		t.Errorf("status: %v", s)
	}
	must(t, client.AddMember, &v1.AddMemberRequest{NodeId: "n2", PeerAddress: "127.0.0.1:1", ApiAddress: "127.0.0.1:2"})
	must(t, client.RemoveMember, &v1.RemoveMemberRequest{NodeId: "n2"})
	if got := must(t, client.TransferLeadership, &v1.TransferLeadershipRequest{}); got.LeaderId != "n2" {
		t.Errorf("transferred: %v", got)
	}
	if r := refusal(t, client.RemoveMember, &v1.RemoveMemberRequest{NodeId: "n3"}); r.Code != v1.Code_CODE_MEMBER_NOT_FOUND {
		t.Errorf("refused with %v", r)
	}
	for _, r := range []*v1.AddMemberRequest{
		{PeerAddress: "h:1"}, {NodeId: "n"}, {NodeId: "n", PeerAddress: "h"}, {NodeId: "n", PeerAddress: "h:1", ApiAddress: ":2"},
	} {
		if got := refusal(t, client.AddMember, r); got.Code != v1.Code_CODE_INVALID {
			t.Errorf("%v is refused with %v", r, got)
		}
	}
	c.set(false, "")
	must(t, client.GetStatus, &v1.GetStatusRequest{}) // whether or not there is a leader
}

func TestConfig(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{}); err == nil {
		t.Error("no Cluster")
	}
	if _, err := New(Config{Cluster: newOne(t), Patience: -time.Second}); err == nil {
		t.Error("negative Patience")
	}
}

// check asks the health service over gRPC, as probes do.
func check(t *testing.T, url, service string) (serving bool, err error) {
	t.Helper()
	client := grpchealth.NewClient(hasty(t), url, connect.WithGRPC())
	response, err := client.Check(t.Context(), &grpchealth.CheckRequest{Service: service})
	return err == nil && response.Status == grpchealth.StatusServing, err
}
