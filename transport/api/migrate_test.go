package api

import (
	"strings"
	"testing"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// An instance is migrated over the API; what is wrong with the request itself is refused before it is proposed.
func TestAnInstanceIsMigrated(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: "workflow: w\nsteps: {a: {signal: {name: go}}, b: {needs: [a], queue: q}}\n"})
	must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: "workflow: w\nsteps: {a: {signal: {name: go}}, c: {needs: [a], queue: q}}\n"})
	must(t, client.StartInstance, &v1.StartInstanceRequest{InstanceId: "i", Workflow: "w", Version: 1})
	migrate := func() *v1.MigrateInstanceRequest {
		return &v1.MigrateInstanceRequest{InstanceId: "i", Version: 2, Steps: map[string]string{"b": "c"}, Reason: "r"}
	}
	if got := must(t, client.MigrateInstance, migrate()); got.Version != 2 || got.FromVersion != 1 || got.Kept != 1 || got.Added != 1 || got.Existing {
		t.Errorf("migrated: %v", got)
	}
	if got := must(t, client.MigrateInstance, migrate()); !got.Existing {
		t.Errorf("migrated again: %v", got)
	}
	if got := must(t, client.GetInstance, &v1.GetInstanceRequest{InstanceId: "i"}); got.Version != 2 || got.MigratedFrom != 1 || got.Runs[1].Step != "c" {
		t.Errorf("it is %v", got)
	}
	for name, change := range map[string]func(*v1.MigrateInstanceRequest){
		"no instance":   func(r *v1.MigrateInstanceRequest) { r.InstanceId = "" },
		"no version":    func(r *v1.MigrateInstanceRequest) { r.Version = 0 },
		"no step":       func(r *v1.MigrateInstanceRequest) { r.Steps[""] = "c" },
		"to no step":    func(r *v1.MigrateInstanceRequest) { r.Steps["b"] = "" },
		"a long reason": func(r *v1.MigrateInstanceRequest) { r.Reason = strings.Repeat("x", maxText+1) },
	} {
		r := migrate()
		if change(r); refusal(t, client.MigrateInstance, r).Code != v1.Code_CODE_INVALID {
			t.Errorf("%s is not refused", name)
		}
	}
}
