package guard_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/lockstep-dev/lockstep/client/guard"
)

var key = guard.Key{Target: "account/7", Lease: "default/i/charge/0"}

// raises is what every store does.
func raises(t *testing.T, store guard.Store) {
	t.Helper()
	for _, step := range []struct {
		key   guard.Key
		token int64
		have  int64 // refused because of it, unless zero
	}{
		{key, 5, 0},
		{key, 5, 0}, // the holder's next write
		{key, 4, 5},
		{key, 9, 0},
		{key, 5, 9},
		{guard.Key{Target: key.Target, Lease: "dock#2"}, 3, 0}, // another lease is nobody's zombie
		{guard.Key{Target: "account/8", Lease: key.Lease}, 3, 0},
		{key, 8, 9},
	} {
		err := store.Raise(t.Context(), step.key, step.token)
		fenced := (*guard.FencedError)(nil)
		switch {
		case step.have == 0 && err != nil:
			t.Fatalf("token %d of %s: %v", step.token, step.key, err)
		case step.have != 0 && (!errors.As(err, &fenced) || fenced.Have != step.have || fenced.Given != step.token):
			t.Fatalf("token %d of %s: %v, want it refused because of %d", step.token, step.key, err, step.have)
		}
	}
	for _, bad := range []struct {
		key   guard.Key
		token int64
	}{{key, 0}, {key, -1}, {guard.Key{Target: "x"}, 1}, {guard.Key{Lease: "x"}, 1}} {
		if err := store.Raise(t.Context(), bad.key, bad.token); err == nil {
			t.Errorf("token %d of %q was taken", bad.token, bad.key)
		}
	}
}

func TestMemory(t *testing.T) { raises(t, &guard.Memory{}) }

// Of many writers at once, what is accepted never goes back.
func TestMemoryConcurrent(t *testing.T) {
	store := &guard.Memory{}
	var wg sync.WaitGroup
	for token := int64(1); token <= 50; token++ {
		wg.Go(func() { _ = store.Raise(t.Context(), key, token) })
	}
	wg.Wait()
	if err := store.Raise(t.Context(), key, 49); err == nil {
		t.Error("token 49 was taken after 50")
	}
}

func ExampleMemory() {
	store := &guard.Memory{}
	key := guard.Key{Target: "invoice/17", Lease: "billing"}
	fmt.Println(store.Raise(context.Background(), key, 8))
	fmt.Println(store.Raise(context.Background(), key, 7))
	// Output:
	// <nil>
	// FENCED: token 7 is over for invoice/17 under lease billing: token 8 has written
}
