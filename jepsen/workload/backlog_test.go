package workload

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Only what nobody but a person moves stands still.
func TestWhatStandsStill(t *testing.T) {
	of := func(compensates string, run v1.RunState) *v1.Instance {
		return &v1.Instance{Runs: []*v1.Run{{State: v1.RunState_RUN_STATE_COMPLETED}, {State: run, Compensates: compensates}}}
	}
	if !standsStill(of("a", v1.RunState_RUN_STATE_INCIDENT)) {
		t.Error("a compensation that used up its attempts does")
	}
	for _, i := range []*v1.Instance{of("a", v1.RunState_RUN_STATE_BACKOFF), of("", v1.RunState_RUN_STATE_INCIDENT)} {
		if standsStill(i) {
			t.Errorf("%v does not", i)
		}
	}
}

// There is room when the oldest has ended, or never was; an error says neither.
func TestABacklogHasRoomWhenTheOldestHasEnded(t *testing.T) {
	b := backlog{most: 2}
	var asked []string
	answers := []error{errors.New("no leader"), nil, &client.Refusal{Code: v1.Code_CODE_INSTANCE_NOT_FOUND}}
	wait := func(_ context.Context, id string) error {
		err := answers[len(asked)]
		asked = append(asked, id)
		return err
	}
	for _, id := range []string{"a", "b", "c", "d"} {
		if !b.take(t.Context(), id, wait) {
			t.Fatalf("there is no room for %s", id)
		}
	}
	if !slices.Equal(asked, []string{"a", "a", "b"}) || !slices.Equal(b.open, []string{"c", "d"}) {
		t.Fatalf("asked for %v; %v are open", asked, b.open)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if b.take(over, "e", wait) {
		t.Fatal("one is started behind the end")
	}
}
