package api

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A reporter is registered, listed and removed over the wire; what cannot be asked is refused before it is in the log.
func TestReporters(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	register := func(fn func(*v1.RegisterReporterRequest)) *v1.RegisterReporterRequest {
		r := &v1.RegisterReporterRequest{Reporter: "ledger", Url: "https://ledger:1/observe", Reason: "why"}
		if fn != nil {
			fn(r)
		}
		return r
	}
	first := must(t, client.RegisterReporter, register(nil))
	if again := must(t, client.RegisterReporter, register(nil)); !again.Existing || again.Position != first.Position {
		t.Errorf("again it is %v", again)
	}
	if list := must(t, client.ListReporters, &v1.ListReportersRequest{}); len(list.Reporters) != 1 || list.Reporters[0].Url != "https://ledger:1/observe" {
		t.Errorf("listed are %v", list)
	}
	if runs := must(t, client.ListOutOfContact, &v1.ListOutOfContactRequest{Reporter: "ledger"}); len(runs.Runs) != 0 {
		t.Errorf("out of contact are %v", runs)
	}
	for _, bad := range []func(*v1.RegisterReporterRequest){
		func(r *v1.RegisterReporterRequest) { r.Reporter = "" }, func(r *v1.RegisterReporterRequest) { r.Url = "" }, func(r *v1.RegisterReporterRequest) { r.Reason = "" },
		func(r *v1.RegisterReporterRequest) { r.Url = "ledger:1" }, func(r *v1.RegisterReporterRequest) { r.Url = "file:///etc" },
		func(r *v1.RegisterReporterRequest) { r.Url = "http://a:b@ledger/" }, func(r *v1.RegisterReporterRequest) { r.Url = "http:///observe" },
		func(r *v1.RegisterReporterRequest) { r.Url = "http://l/#f" }, func(r *v1.RegisterReporterRequest) { r.Url = "http://l/" + strings.Repeat("x", 300) },
		func(r *v1.RegisterReporterRequest) { r.Steps = []string{""} }, func(r *v1.RegisterReporterRequest) { r.Workflows = []string{"a\n"} },
		func(r *v1.RegisterReporterRequest) { r.Every = &durationpb.Duration{Nanos: -1, Seconds: 1} },
	} {
		if r := refusal(t, client.RegisterReporter, register(bad)); r.Code != v1.Code_CODE_INVALID {
			t.Errorf("%v is refused with %v", register(bad), r)
		}
	}
	if r := refusal(t, client.RegisterReporter, register(func(r *v1.RegisterReporterRequest) { r.Url = "http://elsewhere/" })); r.Code != v1.Code_CODE_REPORTER_EXISTS {
		t.Errorf("another of its name is refused with %v", r)
	}
	if r := refusal(t, client.RecordAsk, &v1.RecordAskRequest{Reporter: "ledger", Position: first.Position, Token: 1, AskId: "a"}); r.Code != v1.Code_CODE_FENCED {
		t.Errorf("without the lock it is refused with %v", r)
	}
	for _, bad := range []*v1.RecordAskRequest{{Reporter: "ledger", Token: 1}, {Reporter: "ledger", AskId: "a"}, {AskId: "a", Token: 1}, {Reporter: "ledger", AskId: "a", Token: 1, Error: strings.Repeat("x", 1<<20)}} {
		if r := refusal(t, client.RecordAsk, bad); r.Code != v1.Code_CODE_INVALID {
			t.Errorf("%v is refused with %v", bad, r)
		}
	}
	if r := refusal(t, client.ListOutOfContact, &v1.ListOutOfContactRequest{Reporter: "mainframe"}); r.Code != v1.Code_CODE_REPORTER_NOT_FOUND {
		t.Errorf("what is not there is refused with %v", r)
	}
	if r := refusal(t, client.RemoveReporter, &v1.RemoveReporterRequest{Reporter: "ledger"}); r.Code != v1.Code_CODE_INVALID {
		t.Errorf("without a reason it is refused with %v", r)
	}
	must(t, client.RemoveReporter, &v1.RemoveReporterRequest{Reporter: "ledger", Reason: "why"})
	if r := refusal(t, client.RemoveReporter, &v1.RemoveReporterRequest{Reporter: "ledger", Reason: "why"}); r.Code != v1.Code_CODE_REPORTER_NOT_FOUND {
		t.Errorf("again it is refused with %v", r)
	}
}
