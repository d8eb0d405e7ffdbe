package api

import (
	"testing"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A lease takes a slot: the list of limits has it, by prefix and page.
func TestRateLimits(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: "workflow: w\nsteps:\n  a: {limits: [{key: a, limit: 2, per: 1h}, {key: b, limit: 1, per: 1h}]}\n"})
	must(t, client.StartInstance, &v1.StartInstanceRequest{Workflow: "w", InstanceId: "i"})
	if limits := must(t, client.ListLimits, &v1.ListLimitsRequest{}).Limits; len(limits) != 0 {
		t.Errorf("nothing is leased, and the limits are %v", limits)
	}
	run := must(t, client.LeaseStep, &v1.LeaseStepRequest{SessionId: open(t, client), InstanceId: "i", Step: "a"}).Run
	must(t, client.ReleaseStep, &v1.ReleaseStepRequest{InstanceId: "i", Step: "a", Token: run.Token})
	all := must(t, client.ListLimits, &v1.ListLimitsRequest{Limit: 1})
	if len(all.Limits) != 1 || all.NextPage != "a" || all.Limits[0].Used != 1 || all.Limits[0].Limit != 2 {
		t.Errorf("the first page has %v", all)
	}
	rest := must(t, client.ListLimits, &v1.ListLimitsRequest{Page: all.NextPage})
	if len(rest.Limits) != 1 || rest.NextPage != "" || rest.Limits[0].Key != "b" || rest.Limits[0].Waiting != 1 {
		t.Errorf("the next page has %v", rest)
	}
	if some := must(t, client.ListLimits, &v1.ListLimitsRequest{Prefix: "b"}); len(some.Limits) != 1 || some.Limits[0].Key != "b" {
		t.Errorf("with prefix b there are %v", some)
	}
	if r := refusal(t, client.LeaseStep, &v1.LeaseStepRequest{SessionId: open(t, client), InstanceId: "i", Step: "a"}); r.Code != v1.Code_CODE_NOT_READY {
		t.Errorf("without a slot it is refused with %v", r)
	}
}
