package workload

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

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
		b.room(t.Context(), wait)
		b.open = append(b.open, id)
	}
	if !slices.Equal(asked, []string{"a", "a", "b"}) || !slices.Equal(b.open, []string{"c", "d"}) {
		t.Fatalf("asked for %v; %v are open", asked, b.open)
	}
}
