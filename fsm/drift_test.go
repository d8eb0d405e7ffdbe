package fsm

import (
	"fmt"
	"testing"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Every observed state beside every own state, as docs/reconciliation.md has them. The first of two is for an observation that is newer than
// the run's last change, the second for one that is not.
func TestDriftIsAFunctionOfBoth(t *testing.T) {
	const (
		none, ahead, behind, missing = v1.DriftClass_DRIFT_CLASS_UNSPECIFIED, v1.DriftClass_DRIFT_CLASS_AHEAD, v1.DriftClass_DRIFT_CLASS_BEHIND, v1.DriftClass_DRIFT_CLASS_MISSING
		orphan, conflicting          = v1.DriftClass_DRIFT_CLASS_ORPHAN, v1.DriftClass_DRIFT_CLASS_CONFLICTING
	)
	open := []v1.RunState{v1.RunState_RUN_STATE_PENDING, v1.RunState_RUN_STATE_READY, v1.RunState_RUN_STATE_BACKOFF, v1.RunState_RUN_STATE_WAITING, v1.RunState_RUN_STATE_INCIDENT}
	leased, completed := []v1.RunState{v1.RunState_RUN_STATE_LEASED}, []v1.RunState{v1.RunState_RUN_STATE_COMPLETED}
	failed, not := []v1.RunState{v1.RunState_RUN_STATE_FAILED}, []v1.RunState{v1.RunState_RUN_STATE_SKIPPED, v1.RunState_RUN_STATE_CANCELLED}
	absent, pending, running := v1.ObservedState_OBSERVED_STATE_ABSENT, v1.ObservedState_OBSERVED_STATE_PENDING, v1.ObservedState_OBSERVED_STATE_RUNNING
	done, broken := v1.ObservedState_OBSERVED_STATE_COMPLETED, v1.ObservedState_OBSERVED_STATE_FAILED
	for _, row := range []struct {
		saw         v1.ObservedState
		own         []v1.RunState
		newer, late v1.DriftClass
	}{
		{absent, open, none, none}, {absent, leased, missing, none}, {absent, completed, missing, none}, {absent, failed, none, none}, {absent, not, none, none},
		{pending, open, none, none}, {pending, leased, none, none}, {pending, completed, behind, none}, {pending, failed, none, none}, {pending, not, none, none},
		{running, open, ahead, none}, {running, leased, none, none}, {running, completed, behind, none}, {running, failed, ahead, none}, {running, not, ahead, none},
		{done, open, ahead, ahead}, {done, leased, ahead, ahead}, {done, completed, none, none}, {done, failed, conflicting, conflicting}, {done, not, conflicting, conflicting},
		{broken, open, ahead, none}, {broken, leased, ahead, none}, {broken, completed, conflicting, none}, {broken, failed, none, none}, {broken, not, none, none},
	} {
		for _, own := range row.own {
			for late, want := range []v1.DriftClass{row.newer, row.late} {
				o := &observed{state: row.saw, at: 10 - int64(late), executions: 1, output: &v1.Payload{Bytes: []byte(`1`)}}
				r := &recorded{known: true, state: own, changed: 9, output: &v1.Payload{Bytes: []byte(`1`)}}
				if got := driftOf(o, r); got != want {
					t.Errorf("%s beside %s, late: %v: %s, want %s", row.saw, own, late == 1, got, want)
				}
			}
		}
		o := &observed{state: row.saw, at: 10, executions: 1}
		want := orphan
		if row.saw == absent {
			want = none
		}
		if got := driftOf(o, &recorded{}); got != want {
			t.Errorf("%s of what is not known is %s, want %s", row.saw, got, want)
		}
	}
	for _, own := range []v1.RunState{v1.RunState_RUN_STATE_LEASED, v1.RunState_RUN_STATE_COMPLETED, v1.RunState_RUN_STATE_FAILED} {
		o := &observed{state: done, executions: 2}
		if got := driftOf(o, &recorded{known: true, state: own, changed: 9}); got != v1.DriftClass_DRIFT_CLASS_DUPLICATE {
			t.Errorf("two executions beside %s are %s", own, got)
		}
	}
	o := &observed{state: done, executions: 1, output: &v1.Payload{Bytes: []byte(`1`)}}
	if got := driftOf(o, &recorded{known: true, state: v1.RunState_RUN_STATE_COMPLETED, output: &v1.Payload{Bytes: []byte(`2`)}}); got != conflicting {
		t.Errorf("another output is %s", got)
	}
	if got := fmt.Sprint(driftName(none), driftName(ahead)); got != "AHEAD" {
		t.Errorf("classes are called %s", got)
	}
}
