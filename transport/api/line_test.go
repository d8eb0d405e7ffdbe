package api

import (
	"strings"
	"testing"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// What a start says of an id that is taken, once over the API: it waits, is seen, and starts in the place of who had the id.
func TestStartsOfAnID(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: "workflow: w\nsteps: {a: {queue: q}}\n"})
	start := func(on v1.OnConflict, name string) *v1.StartInstanceRequest {
		return &v1.StartInstanceRequest{InstanceId: "i", Workflow: "w", OnConflict: on, StartId: name}
	}
	queue, replace := v1.OnConflict_ON_CONFLICT_QUEUE, v1.OnConflict_ON_CONFLICT_REPLACE
	must(t, client.StartInstance, start(queue, "1"))
	second := must(t, client.StartInstance, start(queue, "2"))
	if second.InstanceId != "i~2" || second.State != v1.InstanceState_INSTANCE_STATE_QUEUED || second.Place != 1 || second.Existing {
		t.Errorf("answered %v", second)
	}
	seen := must(t, client.GetInstance, &v1.GetInstanceRequest{InstanceId: "i~2"})
	if l := seen.Line; l.GetId() != "i" || l.GetStartId() != "2" || l.GetHolder() != "i" || strings.Join(l.GetQueued(), " ") != "i~2" {
		t.Errorf("shown as %v", seen)
	}
	third := must(t, client.StartInstance, start(replace, "3"))
	if third.InstanceId != "i~3" || third.State != v1.InstanceState_INSTANCE_STATE_RUNNING {
		t.Errorf("answered %v", third)
	}
	if got := must(t, client.WaitInstance, &v1.WaitInstanceRequest{InstanceId: "i~2"}); !got.Done || got.Instance.Code != "REPLACED" {
		t.Errorf("waited for %v", got)
	}
	for why, r := range map[string]*v1.StartInstanceRequest{
		"a start's name alone":           start(0, "1"),
		"no name to queue":               start(queue, ""),
		"names that are too long":        start(queue, strings.Repeat("x", maxName-1)),
		"a name with control characters": start(queue, "\n"),
		"a policy that is none":          start(9, "1"),
	} {
		if r := refusal(t, client.StartInstance, r); r.Code != v1.Code_CODE_INVALID {
			t.Errorf("%s is refused with %v", why, r)
		}
	}
	signal := &v1.SendSignalRequest{Key: &v1.Key{Name: "k", Value: "v"}, Name: "n", SignalId: "1", Start: start(queue, "4")}
	if r := refusal(t, client.SendSignal, signal); r.Code != v1.Code_CODE_INVALID {
		t.Errorf("a signal that starts one behind another is refused with %v", r)
	}
}
