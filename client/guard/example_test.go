package guard_test

import (
	"errors"
	"fmt"

	"github.com/lockstep-dev/lockstep/client/guard"
)

// A target that keeps its marks elsewhere needs one atomic step. This one is a map, for a service with one goroutine.
type ledger map[guard.Key]int64

func (l ledger) admit(key guard.Key, token int64) error {
	if have := l[key]; token < have {
		return &guard.FencedError{Key: key, Have: have, Given: token}
	}
	l[key] = token
	return nil
}

func ExampleFencedError() {
	l := ledger{}
	key := guard.Key{Target: "ledger", Lease: "default/order-17/charge/0"}
	_ = l.admit(key, 42)
	err := fmt.Errorf("post: %w", l.admit(key, 41))
	var fenced *guard.FencedError
	if errors.As(err, &fenced) {
		fmt.Println("lost to token", fenced.Have)
	}
	// Output: lost to token 42
}

// Branches that run side by side write to one target under leases of their own: neither fences the other.
func ExampleKey() {
	l := ledger{}
	fmt.Println(l.admit(guard.Key{Target: "ledger", Lease: "dock#1"}, 9))
	fmt.Println(l.admit(guard.Key{Target: "ledger", Lease: "dock#2"}, 8))
	// Output:
	// <nil>
	// <nil>
}
