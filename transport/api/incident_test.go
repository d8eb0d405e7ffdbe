package api

import (
	"strings"
	"testing"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// What stands still and what has failed is listed, page by page, with what can be done; what cannot be asked for is refused.
func TestIncidents(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: "workflow: w\nsteps:\n  a: {queue: q, input: \"${input.n}\"}\n"})
	must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: "workflow: v\nsteps:\n  a: {queue: q, retry: {attempts: 1}}\n"})
	must(t, client.StartInstance, &v1.StartInstanceRequest{Workflow: "w", InstanceId: "i"})
	must(t, client.StartInstance, &v1.StartInstanceRequest{Workflow: "v", InstanceId: "j"})
	run := must(t, client.LeaseStep, &v1.LeaseStepRequest{SessionId: open(t, client), InstanceId: "j", Step: "a"}).Run
	must(t, client.FailStep, &v1.FailStepRequest{InstanceId: "j", Step: "a", Token: run.Token, Code: "GONE", Reason: "the file is gone"})
	first := must(t, client.ListIncidents, &v1.ListIncidentsRequest{Limit: 1})
	if len(first.Incidents) != 1 || first.NextPage == "" {
		t.Fatalf("the first page has %v", first)
	}
	rest := must(t, client.ListIncidents, &v1.ListIncidentsRequest{Limit: 1, Page: first.NextPage})
	if len(rest.Incidents) != 1 || rest.NextPage != "" || rest.Incidents[0].InstanceId == first.Incidents[0].InstanceId {
		t.Fatalf("the next page has %v", rest)
	}
	standing := must(t, client.ListIncidents, &v1.ListIncidentsRequest{Standing: true, Workflow: "w"}).Incidents
	if len(standing) != 1 || standing[0].Kind != v1.IncidentKind_INCIDENT_KIND_EXPRESSION || standing[0].Code != "INPUT_INVALID" || standing[0].Commands[0] != "lockstep step resolve i a --output JSON --reason WHY" {
		t.Errorf("what stands still is %v", standing)
	}
	failed := must(t, client.ListIncidents, &v1.ListIncidentsRequest{Kind: v1.IncidentKind_INCIDENT_KIND_EXHAUSTED}).Incidents
	if len(failed) != 1 || failed[0].InstanceId != "j" || failed[0].Step != "a" || failed[0].Code != "GONE" || !strings.Contains(failed[0].Cause, "the file is gone") {
		t.Errorf("what failed is %v", failed)
	}
	must(t, client.ResolveIncident, &v1.ResolveIncidentRequest{InstanceId: "j", Reason: "sent again"})
	if again := must(t, client.ResolveIncident, &v1.ResolveIncidentRequest{InstanceId: "j", Reason: "and again"}); !again.Duplicate {
		t.Error("resolved twice is not told")
	}
	if left := must(t, client.ListIncidents, &v1.ListIncidentsRequest{}).Incidents; len(left) != 1 || left[0].InstanceId != "i" {
		t.Errorf("behind that there is %v", left)
	}
	all := must(t, client.ListIncidents, &v1.ListIncidentsRequest{Resolved: true, Kind: v1.IncidentKind_INCIDENT_KIND_EXHAUSTED}).Incidents
	if len(all) != 1 || all[0].Resolution.GetReason() != "sent again" || all[0].Resolution.At.AsTime().IsZero() {
		t.Errorf("what was resolved is %v", all)
	}
	must(t, client.ReopenIncident, &v1.ReopenIncidentRequest{InstanceId: "j", Reason: "it did not come"})
	if again := must(t, client.ReopenIncident, &v1.ReopenIncidentRequest{InstanceId: "j", Reason: "x"}); !again.Duplicate {
		t.Error("reopened twice is not told")
	}
	if left := must(t, client.ListIncidents, &v1.ListIncidentsRequest{}).Incidents; len(left) != 2 {
		t.Errorf("reopened there is %v", left)
	}
	if r := refusal(t, client.ResolveIncident, &v1.ResolveIncidentRequest{InstanceId: "i", Reason: "x"}); r.Code != v1.Code_CODE_NOT_FAILED {
		t.Errorf("what stands still is refused with %v", r)
	}
	for _, bad := range []*v1.ResolveIncidentRequest{{InstanceId: "j"}, {Reason: "why"}, {InstanceId: "j", Reason: strings.Repeat("x", 1<<20)}} {
		if r := refusal(t, client.ResolveIncident, bad); r.Code != v1.Code_CODE_INVALID {
			t.Errorf("%v is refused with %v", bad, r)
		}
		if r := refusal(t, client.ReopenIncident, &v1.ReopenIncidentRequest{InstanceId: bad.InstanceId, Reason: bad.Reason}); r.Code != v1.Code_CODE_INVALID {
			t.Errorf("to reopen %v is refused with %v", bad, r)
		}
	}
	for _, bad := range []*v1.ListIncidentsRequest{{Page: "x"}, {Limit: 1001}, {Kind: 99}} {
		if r := refusal(t, client.ListIncidents, bad); r.Code != v1.Code_CODE_INVALID {
			t.Errorf("%v is refused with %v", bad, r)
		}
	}
}
