package guard

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
)

// A newer token enters when the older have left, and those that come after it cannot keep it out.
func TestGates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, key := &gates{}, Key{"target", "lease"}
		var inside []int64
		enter := func(ctx context.Context, token int64) (leave func()) {
			leave, err := g.enter(ctx, key, token)
			if err != nil {
				return nil
			}
			inside = append(inside, token)
			return leave
		}
		first, second := enter(t.Context(), 1), enter(t.Context(), 1)
		if other, err := g.enter(t.Context(), Key{"target", "another lease"}, 9); err != nil {
			t.Fatal(err)
		} else {
			other()
		}
		given, cancel := context.WithCancel(t.Context())
		go enter(given, 3)
		var newer, late func()
		go func() { newer = enter(t.Context(), 2) }()
		synctest.Wait()
		go func() { late = enter(t.Context(), 1) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		if !slices.Equal(inside, []int64{1, 1}) {
			t.Fatalf("inside: %v", inside)
		}
		first()
		synctest.Wait()
		if !slices.Equal(inside, []int64{1, 1}) {
			t.Fatalf("one has left, inside: %v", inside)
		}
		second()
		synctest.Wait()
		for len(inside) < 4 { // 2 and the late 1, in either order, one at a time
			if len(inside) != 3 {
				t.Fatalf("inside together: %v", inside)
			}
			if inside[2] == 2 {
				newer()
			} else {
				late()
			}
			synctest.Wait()
		}
		if len(g.open) != 1 {
			t.Fatalf("%d gates", len(g.open))
		}
	})
}
