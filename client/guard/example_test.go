package guard_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

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

// Marks may be kept wherever one atomic step can compare and raise them: a store is one method.
func ExampleStore() {
	var store guard.Store = &guard.Memory{}
	write := func(key guard.Key, token int64) {
		if err := store.Raise(context.Background(), key, token); err != nil {
			fmt.Println("not written:", err)
			return
		}
		fmt.Println("written under", key)
	}
	write(guard.Key{Target: "bucket/a", Lease: "nightly"}, 5)
	write(guard.Key{Target: "bucket/a", Lease: "nightly"}, 4)
	// Output:
	// written under bucket/a under lease nightly
	// not written: FENCED: token 4 is over for bucket/a under lease nightly: token 5 has written
}

// Requests carry the lease of their context, and only those: the rest of a client's calls pass as they are.
func ExampleTransport() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Printf("%s: lease %q token %q\n", r.URL.Path, r.Header.Get(guard.HeaderLease), r.Header.Get(guard.HeaderToken))
	}))
	defer server.Close()
	client := &http.Client{Transport: &guard.Transport{}}
	get := func(ctx context.Context, path string) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+path, nil)
		if err != nil {
			panic(err)
		}
		res, err := client.Do(r)
		if err != nil {
			panic(err)
		}
		_ = res.Body.Close() // nothing is in it
	}
	get(context.Background(), "/read")
	get(guard.WithLease(context.Background(), "default/order-17/charge/0", 42), "/write")
	// Output:
	// /read: lease "" token ""
	// /write: lease "default/order-17/charge/0" token "42"
}
