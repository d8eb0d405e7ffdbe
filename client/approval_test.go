package client_test

import (
	"testing"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A decision names its step and its reason.
func TestDecisions(t *testing.T) {
	f, c, _ := cluster(t, 1)
	start(t, c, "a", nil)
	if state, err := c.Approve(within(t), "a", "work", "fine"); err != nil || state != v1.InstanceState_INSTANCE_STATE_RUNNING {
		t.Errorf("approved: %v, %v", state, err)
	}
	if state, err := c.Reject(within(t), "a", "work", "too dear"); err != nil || state != v1.InstanceState_INSTANCE_STATE_FAILED {
		t.Errorf("rejected: %v, %v", state, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var told []string
	for _, e := range f.events {
		told = append(told, e.Type)
	}
	if n := len(told); n < 2 || told[n-2] != "lockstep.step.approved work fine.v1" || told[n-1] != "lockstep.step.rejected work too dear.v1" {
		t.Errorf("told: %q", told)
	}
}
