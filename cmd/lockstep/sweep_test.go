package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
	"github.com/lockstep-dev/lockstep/transport/sweep"
)

// ledger is a reporter that lies, lags, repeats itself, speaks of what is not, and is silent until it is told to speak.
type ledger struct {
	t *testing.T
	*httptest.Server

	mu     sync.Mutex // guards what follows
	silent bool
	speaks []string // of which instances it says anything
	asked  map[string]int
	now    int // asks that it is answering
}

func newLedger(t *testing.T) *ledger {
	l := &ledger{t: t, silent: true, asked: map[string]int{}}
	l.Server = httptest.NewServer(http.HandlerFunc(l.observe))
	t.Cleanup(l.Close)
	return l
}

func (l *ledger) host() string { return strings.TrimPrefix(l.URL, "http://") }

func (l *ledger) tell(silent bool, speaks ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent, l.speaks = silent, speaks
}

// times is how often it was asked about an instance.
func (l *ledger) times(instance string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked[instance]
}

func (l *ledger) observe(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now++; l.now > 1 {
		l.t.Error("two ask at a time")
	}
	defer func() { l.now-- }()
	var body json.RawMessage
	question := &v1.AskReporter{}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || protojson.Unmarshal(body, question) != nil {
		l.t.Errorf("it is asked %s: %v", body, err)
	}
	if l.silent {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	answer := &v1.ReporterAnswer{}
	for _, run := range question.Runs {
		if l.asked[run.InstanceId]++; slices.Contains(l.speaks, run.InstanceId) {
			answer.Observations = append(answer.Observations, l.says(run)...)
		}
	}
	text, err := protojson.Marshal(answer)
	if err != nil {
		l.t.Error(err)
	}
	_, _ = w.Write(text) // who asked may be gone
}

// says is what it answers about a run: by the instance, always the same.
func (l *ledger) says(run *v1.OutOfContact) []*v1.ReportObservationRequest {
	seen := func(id, step string, state v1.ObservedState, ago time.Duration, execution string, output float64) *v1.ReportObservationRequest {
		o := &v1.ReportObservationRequest{
			InstanceId: run.InstanceId, Step: step, ObservationId: id, State: state, ObservedAt: timestamppb.New(time.Now().Add(-ago)), Evidence: "the ledger", Execution: execution,
		}
		if state == v1.ObservedState_OBSERVED_STATE_COMPLETED {
			o.Output = structpb.NewNumberValue(output)
		}
		return o
	}
	const done, running, absent = v1.ObservedState_OBSERVED_STATE_COMPLETED, v1.ObservedState_OBSERVED_STATE_RUNNING, v1.ObservedState_OBSERVED_STATE_ABSENT
	switch run.InstanceId {
	case "ahead": // and it lags: what it says second is from before
		return []*v1.ReportObservationRequest{seen("e2", "post", done, 0, "tx-1", 7), seen("e1", "post", running, time.Hour, "", 0)}
	case "missing":
		return []*v1.ReportObservationRequest{seen("e1", "post", absent, 0, "", 0)}
	case "behind":
		return []*v1.ReportObservationRequest{seen("e1", "take", running, 0, "", 0), seen("e2", "post", absent, 0, "", 0)}
	case "duplicate": // it repeats itself
		return []*v1.ReportObservationRequest{seen("e1", "post", done, 0, "tx-1", 7), seen("e1", "post", done, 0, "tx-1", 7), seen("e2", "post", done, 0, "tx-2", 7)}
	case "conflicting": // it lies
		return []*v1.ReportObservationRequest{seen("e1", "take", done, 0, "tx-9", 99), seen("e2", "post", absent, 0, "", 0)}
	case "orphan":
		o := seen("e1", "post", done, 0, "tx-1", 7)
		o.InstanceId = "nobody"
		bad := seen("", "post", done, 0, "", 0) // and what it says badly is refused, and counted
		return []*v1.ReportObservationRequest{o, bad, seen("e2", "post", absent, 0, "", 0)}
	}
	return nil
}

var ledgered = []string{"ahead", "behind", "conflicting", "duplicate", "missing", "orphan"}

// until waits until something is so: it polls processes, which have no channel.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for limit := time.Now().Add(60 * time.Second); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("for a minute it was not so that %s", what)
		}
	}
}

// Three servers ask a reporter about runs that are out of contact. It is silent first, and then lies, lags and repeats itself, and each class of drift
// comes of that, some before the leader is killed and the rest when the next leader sweeps. They are planned, applied, and in the history; the
// same plan again changes nothing. Who swept before is fenced.
func TestTheSweepFindsDriftAndSurvivesItsLeader(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	h := newHurt(t, 3, "--reporter-hosts", l.host())
	leader := h.leader()
	var servers []string
	for _, n := range h.Nodes {
		servers = append(servers, n.API)
	}
	c, err := client.New(client.Config{Servers: servers, Author: "ann", HTTPClient: h.http})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err = c.Register(ctx, "workflow: book\nsteps:\n  take: {queue: work}\n  post: {needs: [take], queue: elsewhere}\n")
	must(err)
	session, err := c.OpenSession(ctx, client.SessionConfig{TTL: time.Minute})
	must(err)
	lease := func(id, step string) *v1.LeasedRun {
		t.Helper()
		run, err := c.Workers.LeaseStep(ctx, connect.NewRequest(&v1.LeaseStepRequest{SessionId: session.ID(), InstanceId: id, Step: step, Wait: durationpb.New(10 * time.Second)}))
		must(err)
		return run.Msg.Run
	}
	for _, id := range ledgered {
		_, err := c.Start(ctx, "book", id, map[string]any{}, client.StartOptions{})
		must(err)
		take := lease(id, "take")
		_, err = c.Workers.CompleteStep(ctx, connect.NewRequest(&v1.CompleteStepRequest{InstanceId: id, Step: "take", Token: take.Token, Output: structpb.NewNumberValue(1)}))
		must(err)
	}
	held := lease("missing", "post")
	_, err = c.RegisterReporter(ctx, &v1.RegisterReporterRequest{
		Reporter: "ledger", Url: l.URL, Workflows: []string{"book"}, Every: durationpb.New(time.Second), OutOfContact: durationpb.New(time.Second), Reason: "it books them",
	})
	must(err)
	known := func() *v1.Reporter {
		list, err := c.ListReporters(ctx)
		must(err)
		return list[0]
	}
	until(t, "its silence is told, again and again", func() bool { p := known(); return p.Failures >= 2 && strings.Contains(p.Error, "503") })

	half := []string{"ahead", "behind", "missing"}
	l.tell(false, half...)
	until(t, "the first leader has had answers", func() bool { p := known(); return p.Answered != nil && p.Observations >= 5 })
	first := known()
	h.kill(leader)
	l.tell(false, ledgered...)
	until(t, "the next leader has had answers", func() bool { p := known(); return p.Token > first.Token && p.Error == "" && p.Refused > 0 })
	until(t, "all is drift that it made so", func() bool {
		plan, err := c.PlanReconcile(ctx, &v1.PlanReconcileRequest{})
		must(err)
		return len(classesOf(plan)) == 6
	})
	err = c.RecordAsk(ctx, &v1.RecordAskRequest{Reporter: "ledger", Position: first.Position, Token: first.Token, AskId: "late"})
	if !client.IsFenced(err) {
		t.Errorf("who swept before is answered %v", err)
	}

	l.tell(true)
	until(t, "it is silent again", func() bool { return known().Failures > 0 })
	plan, err := c.PlanReconcile(ctx, &v1.PlanReconcileRequest{Policies: []*v1.ReconcilePolicy{
		{Drift: v1.DriftClass_DRIFT_CLASS_AHEAD, Action: v1.ReconcileAction_RECONCILE_ACTION_ADOPT},
		{Drift: v1.DriftClass_DRIFT_CLASS_MISSING, Action: v1.ReconcileAction_RECONCILE_ACTION_RERUN},
		{Drift: v1.DriftClass_DRIFT_CLASS_DUPLICATE, Action: v1.ReconcileAction_RECONCILE_ACTION_INCIDENT},
		{Action: v1.ReconcileAction_RECONCILE_ACTION_IGNORE},
	}})
	must(err)
	want := []string{"AHEAD ADOPT ahead/post", "BEHIND IGNORE behind/take", "CONFLICTING IGNORE conflicting/take", "DUPLICATE INCIDENT duplicate/post", "MISSING RERUN missing/post", "ORPHAN IGNORE nobody/post"}
	if got := classesOf(plan); !slices.Equal(got, want) {
		t.Fatalf("planned is %q, not %q", got, want)
	}
	applied, err := c.ApplyPlan(ctx, plan, "the ledger is asked")
	must(err)
	for _, a := range applied.Applied {
		if !a.Done {
			t.Errorf("not done: %v", a)
		}
	}
	position := func() int64 {
		ns, err := c.Namespaces.GetNamespace(ctx, connect.NewRequest(&v1.GetNamespaceRequest{Namespace: "default"}))
		must(err)
		return ns.Msg.Position
	}
	if i, err := c.Wait(ctx, "ahead"); err != nil || i.State != v1.InstanceState_INSTANCE_STATE_COMPLETED {
		t.Errorf("what was adopted is %v, %v", i, err)
	}
	complete := func(token int64) error {
		_, err := c.Workers.CompleteStep(ctx, connect.NewRequest(&v1.CompleteStepRequest{InstanceId: "missing", Step: "post", Token: token}))
		return err
	}
	must(complete(lease("missing", "post").Token))
	if err := complete(held.Token); !client.IsFenced(err) {
		t.Errorf("who was to do what is done again is answered %v", err)
	}
	must(c.RemoveReporter(ctx, "ledger", "it is over"))
	for _, id := range ledgered[:5] {
		events, err := c.Instances.GetHistory(ctx, connect.NewRequest(&v1.GetHistoryRequest{InstanceId: id, Limit: 1000}))
		must(err)
		var settled []string
		for _, e := range events.Msg.Events {
			if strings.HasPrefix(e.Type, "lockstep.drift.") {
				settled = append(settled, fmt.Sprintf("%s %s by %s: %s", e.Type, e.Data.Drift, e.Author.GetPrincipal(), e.Data.Reason))
			}
		}
		kind := "settled"
		if id == "duplicate" {
			kind = "raised"
		}
		if want := fmt.Sprintf("lockstep.drift.%s.v1 %s by ann: the ledger is asked", kind, strings.ToUpper(id)); len(settled) != 1 || settled[0] != want {
			t.Errorf("the history of %s has %q, not %q", id, settled, want)
		}
	}
	var before int64
	until(t, "nobody asks any more", func() bool { // it was asked for the last time, perhaps, while it was removed
		was := before
		before = position()
		return was == before
	})
	again, err := c.ApplyPlan(ctx, plan, "again")
	if err != nil || !again.Duplicate {
		t.Errorf("again it is answered %v, %v", again, err)
	}
	if now := position(); now != before {
		t.Errorf("again it told something: %d events", now-before)
	}
	must(session.Close(ctx))
}

// classesOf are the actions of a plan: class, action, run; in their order.
func classesOf(plan *v1.ReconcilePlan) (out []string) {
	for _, a := range plan.Actions {
		out = append(out, fmt.Sprintf("%s %s %s/%s", driftClass(a.Drift), strings.ToUpper(reconcileAction(a.Action)), a.InstanceId, a.Step))
	}
	slices.Sort(out)
	return out
}

// A reporter that hangs holds up no other; a host that a server may not ask is not asked, and the list of reporters says so.
func TestOneReporterHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	l, quick := newLedger(t), newLedger(t)
	quick.tell(false)
	over := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over }))
	t.Cleanup(hangs.Close)
	t.Cleanup(func() { close(over) }) // before that
	n := startDev(t, "--reporter-hosts", strings.TrimPrefix(hangs.URL, "http://")+","+quick.host())
	c, err := client.New(client.Config{Servers: []string{n.address}, HTTPClient: newHTTPClient()})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if _, err := c.Register(ctx, "workflow: w\nsteps:\n  a: {queue: q}\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(ctx, "w", "i", map[string]any{}, client.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, url := range map[string]string{"a-hangs": hangs.URL, "b-quick": quick.URL, "c-forbidden": l.URL} {
		_, err := c.RegisterReporter(ctx, &v1.RegisterReporterRequest{Reporter: name, Url: url, Every: durationpb.New(time.Second), OutOfContact: durationpb.New(time.Second), Reason: "r"})
		if err != nil {
			t.Fatal(err)
		}
	}
	until(t, "it is said that it may not be asked", func() bool {
		list, err := c.ListReporters(ctx)
		return err == nil && strings.Contains(list[2].Error, "not among its --reporter-hosts")
	})
	until(t, "the quick one is asked", func() bool { return quick.times("i") > 0 })
	if list, err := c.ListReporters(ctx); err != nil || list[0].Failures > 0 {
		t.Errorf("the one that hangs was waited for: %v, %v", list, err)
	}
	if lock, err := c.Locks.GetLock(ctx, connect.NewRequest(&v1.GetLockRequest{Namespace: "default", Lock: sweep.Lock})); err != nil || len(lock.Msg.Holders) != 1 || !strings.HasPrefix(lock.Msg.Holders[0].Note, "asks reporters: ") {
		t.Errorf("the lock is %v, %v", lock, err)
	}
	if l.times("i") > 0 {
		t.Error("it was asked")
	}
}
